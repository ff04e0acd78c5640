"""The naive bots' own policies as an observation model."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench import log_pair
from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.avalonbench.bots import Bots, Memory
from jaxrl_suite.avalonbench.log_pair import LogPair
from jaxrl_suite.avalonbench.observation_models import Proposal, Quest, Vote
from jaxrl_suite.avalonbench.word_sets import contains, size
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import encode_roles
from jaxrl_suite.errors import UserError


@dataclasses.dataclass(frozen=True)
class BotPolicies:
    """Every player is a naive bot, except that it now and then does something else.

    A bot's proposal is uniform over the teams that it goes for; its votes and the number of fails follow from the
    roles and the past. With probability `epsilon` each proposal, vote and number of fails is uniform instead, so that
    no event excludes anybody.

    Args:
      epsilon: strictly between 0 and 1.
    """

    epsilon: float = 0.01

    def __post_init__(self):
        if not 0 < self.epsilon < 1:
            raise UserError(f"epsilon must lie strictly between 0 and 1, got {self.epsilon}")

    def init(self, game: Avalon) -> Memory:
        return Bots(game).init()

    def update(self, game: Avalon, memory: Memory, event: Quest) -> Memory:
        return Bots(game).remember(memory, event.quest, event.team, event.fails)

    def proposal(self, game: Avalon, memory: Memory, event: Proposal) -> LogPair:
        bots = Bots(game)
        index = bots.index_of(event.quest, event.team)

        def choices(deal: jax.Array) -> tuple[jax.Array, jax.Array]:
            teams = bots.proposals(deal, event.leader, event.quest, memory)
            return size(teams), contains(teams, index)

        number, chosen = jax.vmap(choices)(_deals(game))
        every = np.count_nonzero(game.teams(), axis=1)[:, None]
        other = self.epsilon / every
        share = (1 - self.epsilon) / np.maximum(np.arange(game.num_actions + 1), 1)[None]
        logs = log_pair.log_constant(np.stack([np.broadcast_to(other, (5, share.size)), share + other], axis=1))
        return log_pair.take(logs, event.quest, chosen, number)

    def vote(self, game: Avalon, memory: Memory, event: Vote) -> LogPair:
        bots = Bots(game)
        index = bots.index_of(event.quest, event.team)
        word = jnp.uint32(0)  # naive bots vote by rule
        votes = jax.vmap(lambda deal: bots.vote(word, deal, event.quest, index, event.team, memory))(_deals(game))
        astray = jax.lax.population_count(votes ^ event.votes)
        logs = log_pair.log_constant(np.array([1 - self.epsilon / 2, self.epsilon / 2]))
        as_bot, otherwise = log_pair.take(logs, 0), log_pair.take(logs, 1)
        return log_pair.add(log_pair.times(game.num_players - astray, as_bot), log_pair.times(astray, otherwise))

    def quest(self, game: Avalon, memory: Memory, event: Quest) -> LogPair:
        bots = Bots(game)
        passes = jax.vmap(lambda deal: bots.passes(deal, event.quest, event.team))(_deals(game))
        expected = jax.lax.population_count(event.team & ~passes) == event.fails
        other = self.epsilon / (np.asarray(game.team_sizes) + 1)
        logs = log_pair.log_constant(np.stack([other, 1 - self.epsilon + other], axis=1))
        return log_pair.take(logs, event.quest, expected.astype(jnp.int32))


def _deals(game: Avalon) -> jax.Array:
    return jnp.asarray(encode_roles(tables(game).roles))
