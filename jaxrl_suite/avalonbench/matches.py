"""Whole games in which one side's players search and the other side's are bots.

Shapes: `B` games, `P` players.
"""

from __future__ import annotations

from typing import NamedTuple

import jax

from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.avalonbench.driver import Side, by_side, play
from jaxrl_suite.avalonbench.player import BotPlayer, by_proposal
from jaxrl_suite.avalonbench.search_agent import SearchAgent
from jaxrl_suite.envs.avalon.game import ASSASSINATION, AvalonState
from jaxrl_suite.errors import UserError


class Outcome(NamedTuple):
    """The ends of games."""

    good_wins: jax.Array  # bool[B]
    by_missions: jax.Array  # bool[B], evil won three quests, or five proposals were rejected
    by_assassination: jax.Array  # bool[B], evil named Merlin
    proposals: jax.Array  # int32[B]
    decisions: jax.Array  # int32[B], decisions that were searched
    final: AvalonState  # batched


def play_side(agent: SearchAgent, side: Side, bots: Bots, keys: jax.Array) -> Outcome:
    """One game a key: the players of `side` search, the others are `bots`.

    Good players pass every quest, so that is not searched for them.

    Args:
      agent: the search.
      side: who searches, each with its own knowledge.
      bots: of the same game as the agent's.
      keys: key[B], consumed; they deal the same roles and first leaders whoever plays.

    Raises:
      UserError: if the agent is for another game, or `side` is unknown.
    """
    game = bots.game
    if agent.game != game:
        raise UserError(f"the agent plays {agent.game}, the bots {game}: give both the same game")
    games = play(game, (BotPlayer(bots, by_proposal), agent), keys, holders=by_side(side))
    final = games.final
    assassination_reached = final.phase == ASSASSINATION
    return Outcome(
        good_wins=final.good_victory,
        by_missions=~assassination_reached,
        by_assassination=assassination_reached & ~final.good_victory,
        proposals=final.num_proposals,
        decisions=games.plans[:, 1],
        final=final,
    )
