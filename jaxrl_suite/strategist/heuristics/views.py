"""Views of a game for a value heuristic: records of fixed shapes, made of 0/1 masks and points.

A heuristic is judged inside a search, on states the search imagines, so it sees all of such a state: in GOPS that is
public anyway; in Avalon it includes the roles that the search assumes.

Shapes: `P` players, `N` cards, Q = 5 quests, H = 25 proposals at most, `B` examples.

Reference: the inputs of the heuristics of Light et al., "Strategist" (arXiv 2408.10635), as arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.avalon.game import Avalon, AvalonState
from jaxrl_suite.envs.avalon.roles import ASSASSIN, MERLIN
from jaxrl_suite.envs.avalon.state import VOTE
from jaxrl_suite.envs.gops.game import Gops, GopsState
from jaxrl_suite.envs.rules import has_bit, popcount
from jaxrl_suite.errors import UserError

StrategyGame: TypeAlias = Gops | Avalon

AVALON_TURNS = 24  # of random play, at most


class GopsView(NamedTuple):
    """GOPS before both bids of a round, or while its prize is still to be drawn."""

    cards: jax.Array  # float32[N], the numbers 1 to N: what card or prize each column of a mask stands for
    hands: jax.Array  # float32[P, N], 1 where the player holds the card
    deck: jax.Array  # float32[N], 1 where the prize is still face down
    prize: jax.Array  # float32[], the prize bid for now; 0 while it is to be drawn
    carry: jax.Array  # float32[], points of tied rounds that go to the next winner
    scores: jax.Array  # float32[P], points won so far
    rounds_left: jax.Array  # float32[], cards in each hand


class AvalonView(NamedTuple):
    """Avalon before a decision, with the roles that the search assumes. Seats are 0 to P - 1."""

    evil: jax.Array  # float32[P], 1 for the evil players
    merlin: jax.Array  # float32[P], 1 for Merlin
    assassin: jax.Array  # float32[P], 1 for the Assassin
    phase: jax.Array  # float32[4], one of: team selection, team vote, quest, assassination
    quest: jax.Array  # float32[], index of the quest, 0 to 4
    round: jax.Array  # float32[], proposals rejected for this quest, 0 to 4
    leader: jax.Array  # float32[P], 1 for who proposes next
    team: jax.Array  # float32[P], 1 for the members of the team voted on or on the quest; 0 in other phases
    won: jax.Array  # float32[Q], 1 for the quests that succeeded
    lost: jax.Array  # float32[Q], 1 for the quests that failed
    fails: jax.Array  # float32[Q], fail votes on each quest
    team_sizes: jax.Array  # float32[Q], players on each quest
    fails_needed: jax.Array  # float32[Q], fail votes that make each quest fail
    quest_teams: jax.Array  # float32[Q, P], 1 for who went on each quest that was played
    voted: jax.Array  # float32[H], 1 for each proposal that was voted on, in order
    accepted: jax.Array  # float32[H], 1 for those that went on the quest
    proposers: jax.Array  # float32[H, P], 1 for who proposed it
    proposals: jax.Array  # float32[H, P], 1 for the members of the proposed team
    approvals: jax.Array  # float32[H, P], 1 for who voted for it


def gops_view(game: Gops, state: GopsState) -> GopsView:
    """The view of one state; a prize may be pending."""
    cards = jnp.arange(game.num_cards)
    hands = has_bit(state.hands[:, None], cards[None]).astype(jnp.float32)
    return GopsView(
        cards=(cards + 1).astype(jnp.float32),
        hands=hands,
        deck=has_bit(state.deck, cards).astype(jnp.float32),
        prize=state.prize.astype(jnp.float32),
        carry=state.carry.astype(jnp.float32),
        scores=state.score.astype(jnp.float32),
        rounds_left=popcount(state.hands[0], game.num_cards).astype(jnp.float32),
    )


def avalon_view(game: Avalon, state: AvalonState) -> AvalonView:
    """The view of one state; who is who is taken from the state, true or assumed."""
    seats, quests = jnp.arange(game.num_players), jnp.arange(len(game.team_sizes))

    def mask(bits: jax.Array) -> jax.Array:
        return has_bit(bits[..., None], seats.reshape((1,) * bits.ndim + (-1,))).astype(jnp.float32)

    slots = jnp.arange(state.proposals.shape[-1])
    voted = (slots < state.num_proposals).astype(jnp.float32)
    accepted = state.proposal_accepted.astype(jnp.float32)
    proposals = mask(state.proposal_team)
    on_quest = (state.proposal_quest[None] == quests[:, None]) & state.proposal_accepted[None]
    played = has_bit(state.won | state.lost, quests)
    quest_teams = jnp.where(played, jnp.sum(jnp.where(on_quest, state.proposal_team[None], 0), axis=1), 0)
    return AvalonView(
        evil=mask(state.evil),
        merlin=mask(state.seats_of(MERLIN)),
        assassin=mask(state.seats_of(ASSASSIN)),
        phase=(state.phase == jnp.arange(4)).astype(jnp.float32),
        quest=state.quest.astype(jnp.float32),
        round=state.round.astype(jnp.float32),
        leader=(state.leader == seats).astype(jnp.float32),
        team=mask(state.team),
        won=has_bit(state.won, quests).astype(jnp.float32),
        lost=has_bit(state.lost, quests).astype(jnp.float32),
        fails=state.fails.astype(jnp.float32),
        team_sizes=jnp.asarray(game.team_sizes, jnp.float32),
        fails_needed=jnp.asarray(game.fails_needed, jnp.float32),
        quest_teams=mask(quest_teams),
        voted=voted,
        accepted=accepted,
        proposers=(state.proposal_leader[:, None] == seats[None]) * voted[:, None],
        proposals=proposals,
        approvals=mask(state.proposal_votes),
    )


def view_of(game: StrategyGame) -> Callable[[Any], Any]:
    """The function from one state of `game` to its view.

    Raises:
      UserError: if strategies are not defined for this game.
    """
    if isinstance(game, Gops):
        return lambda state: gops_view(game, state)
    if isinstance(game, Avalon):
        return lambda state: avalon_view(game, state)
    raise UserError(f"strategies are written for GOPS and Avalon, not for {type(game).__name__}")


def example_states(game: StrategyGame, key: jax.Array, count: int = 48) -> Any:
    """States [B, ...] to try a heuristic on: the first half from one fixed key, the others from `key`, consumed.

    Play is uniformly random, for 0, 1, 2 ... turns, so that every stage of the game is there. In GOPS every second
    state still waits for its prize. No state is over: the rules know what such a state is worth.

    Raises:
      UserError: if `count` is below 2.
    """
    if count < 2:
        raise UserError(f"count must be at least 2, got {count}")
    half = count // 2
    keys = jnp.concatenate([jax.random.split(jax.random.key(0), half), jax.random.split(key, count - half)])
    index = jnp.concatenate([jnp.arange(half), jnp.arange(count - half)])
    pending = jnp.arange(count) % 2 == 1
    return jax.vmap(lambda key, index, pending: random_state(game, key, index, pending))(keys, index, pending)


def example_views(game: StrategyGame, key: jax.Array, count: int = 48) -> Any:
    """Views [B, ...] of `example_states`: what the sandbox tries a written heuristic on; `key` is consumed."""
    return jax.vmap(view_of(game))(example_states(game, key, count))


def random_state(game: Any, key: jax.Array, turns: jax.Array, pending: jax.Array | bool = False) -> Any:
    """A state after `turns` int32[] turns of random play, or the last one before the end; `key` is consumed.

    Turns are counted modulo those of a whole game, in Avalon modulo `AVALON_TURNS`; with `pending` bool[] what chance
    is to say is still open.
    """
    init_key, turn_key = jax.random.split(key)
    avalon = isinstance(game, Avalon)

    def turn(step, state):
        choice_key, chance_key = jax.random.split(jax.random.fold_in(turn_key, step))
        logits = jnp.where(game.legal(state), 0.0, -1e9)
        actions = jax.random.categorical(choice_key, logits)
        if avalon:  # half of all votes pass, so that games of every length are met
            actions = jnp.where(state.phase == VOTE, actions | (step // 2 % 2), actions)
        moved = game.apply(state, actions)
        drawn = jax.random.categorical(chance_key, jnp.maximum(game.chance_logits(moved), -1e9))
        last = step == steps - 1
        hold = pending & last & game.chance_pending(moved)
        after = jax.tree.map(lambda a, b: jnp.where(hold, a, b), moved, game.step_chance(moved, drawn))
        return jax.tree.map(lambda old, new: jnp.where(moved.terminated, old, new), state, after)

    steps = turns % (AVALON_TURNS if avalon else game.max_turns)
    return jax.lax.fori_loop(0, steps, turn, game.init(init_key))


GOPS_CONTRACT = """\
Write a function `evaluate_state(view)` that estimates how a game of GOPS will end.

GOPS: two players hold the cards 1 to N each. A prize of 1 to N is revealed, both bid one card at the same time, and
the higher bid wins the prize; both bids are discarded. After equal bids the prize is carried over to the next round;
what is carried after the last round goes to nobody. The player with more points at the end is ahead by the difference.

`view` has these fields, all of them float32 arrays of jax.numpy:
- view.cards [N]: the numbers 1 to N, what each column of the masks below stands for
- view.hands [2, N]: 1 where a player holds the card, 0 elsewhere
- view.deck [N]: 1 where the prize is still face down
- view.prize []: the prize bid for now, 0 while it is still to be drawn
- view.carry []: points carried from tied rounds to the next winner
- view.scores [2]: points won so far
- view.rounds_left []: cards left in each hand

Return a pair: first a float32 array [2] with the score that each player is expected to have at the end of the game,
then a dict that maps names to scalars, the intermediate values that the estimate is made of (32 at most).
Use `jnp` alone (jax.numpy; `jax`, `lax` and `nn` are there too); the view is traced, so branch with `jnp.where`, not
with `if`. Every value must be finite. Players are alike: swapping the two must swap the two results.
"""

AVALON_CONTRACT = """\
Write a function `evaluate_state(view)` that estimates who will win a game of Avalon.

Avalon: some players are evil and know each other; the others are good, and of them Merlin knows who is evil. In turn a
leader proposes a team for a quest and all vote on it; if more than half approve, or it is the fifth proposal in a row,
the team goes on the quest. Its members secretly pass or fail it. Three failed quests win the game for evil. After three
successful ones the Assassin names a player: if that is Merlin, evil wins, else good wins.

`view` has these fields, all of them float32 arrays of jax.numpy, for P seats, 5 quests and up to H proposals. Roles are
those that the player who looks ahead assumes, so they are known here:
- view.evil [P], view.merlin [P], view.assassin [P]: 1 for the evil players, for Merlin, for the Assassin
- view.phase [4]: one of team selection, team vote, quest, assassination
- view.quest []: index of the quest, 0 to 4; view.round []: proposals rejected for it, 0 to 4
- view.leader [P]: 1 for who proposes next
- view.team [P]: 1 for the members of the team voted on or on the quest; all 0 in the other phases
- view.won [5], view.lost [5]: 1 for the quests that succeeded, that failed
- view.fails [5]: fail votes on each quest
- view.team_sizes [5], view.fails_needed [5]: players on each quest, and how many fail votes make it fail
- view.quest_teams [5, P]: 1 for who went on each quest that was played
- view.voted [H], view.accepted [H]: 1 for each proposal that was voted on, that was accepted, in order
- view.proposers, view.proposals, view.approvals [H, P]: who proposed it, who was on the team, who approved

Return a pair: first a float32 array [P] with each player's probability of winning, the same for all players of a side,
then a dict that maps names to scalars, the intermediate values that the estimate is made of (32 at most).
Use `jnp` alone (jax.numpy; `jax`, `lax` and `nn` are there too); the view is traced, so branch with `jnp.where`, not
with `if`. Every value must be finite. Seats are alike: the result must not depend on their numbers.
"""


def contract(game: StrategyGame) -> str:
    """The contract of a heuristic for `game`, in words, for a prompt.

    Raises:
      UserError: if strategies are not defined for this game.
    """
    view_of(game)
    return GOPS_CONTRACT if isinstance(game, Gops) else AVALON_CONTRACT
