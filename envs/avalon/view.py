"""The view of a player of Avalon: sides, candidates, an observation as numbers, and deals it cannot tell apart.

Shapes: `P` players, H = 25 proposals at most, `D` numbers in an observation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.avalon import roles as tables
from jaxrl_suite.envs.avalon.roles import MAX_PROPOSALS, MAX_ROUNDS, NUM_QUESTS
from jaxrl_suite.envs.avalon.setup import AvalonSetup
from jaxrl_suite.envs.avalon.state import AvalonState
from jaxrl_suite.envs.rules import has_bit


def shown_to(game: AvalonSetup, state: AvalonState, role: int) -> jax.Array:
    """int32[]: bit mask of the seats, among them perhaps its own, that are pointed out to the holder of `role`."""
    mask = jnp.zeros_like(state.deal)
    for other in tables.pointed_out(role, game.roles, game.rules):
        mask = mask | state.seats_of(other)
    return mask


def pointed_out(game: AvalonSetup, state: AvalonState, player: jax.Array | int) -> jax.Array:
    """int32[]: bit mask of the other seats that `player` was shown at the start, as one unordered set."""
    role, mask = tables.role_at(state.deal, player), jnp.zeros_like(state.deal)
    for viewer in sorted(set(game.roles)):
        mask = jnp.where(role == viewer, shown_to(game, state, viewer), mask)
    return mask & ~_own(player)


def known_masks(game: AvalonSetup, state: AvalonState, player: jax.Array | int) -> tuple[jax.Array, jax.Array]:
    """(int32[], int32[]): bit masks of the seats that `player` knows to be good, and evil, itself among them."""
    role, shown, own = tables.role_at(state.deal, player), pointed_out(game, state, player), _own(player)
    rest = ((1 << game.num_players) - 1) & ~shown & ~own
    evil = good = jnp.zeros_like(state.deal)
    for viewer in sorted(set(game.roles)):
        masks = [jnp.zeros_like(state.deal)] * 2  # indexed by side: 0 evil, 1 good
        shown_side, rest_side = tables.known_sides(viewer, game.roles, game.rules)
        for group, side in ((own, int(viewer in tables.GOOD_ROLES)), (shown, shown_side), (rest, rest_side)):
            if side >= 0:
                masks[side] = masks[side] | group
        evil, good = jnp.where(role == viewer, masks[0], evil), jnp.where(role == viewer, masks[1], good)
    return good, evil


def knowledge(game: AvalonSetup, state: AvalonState) -> jax.Array:
    """int32[P, P]: row i is what player i knows of each seat's side, 1 good, 0 evil, -1 unknown."""
    seats = jnp.arange(game.num_players)
    good, evil = jax.vmap(lambda player: known_masks(game, state, player))(seats)
    known_good, known_evil = (has_bit(mask[:, None], seats[None]) for mask in (good, evil))
    return jnp.where(known_good, 1, jnp.where(known_evil, 0, -1))


def merlin_candidates(game: AvalonSetup, state: AvalonState, player: jax.Array | int) -> jax.Array:
    """int32[]: bit mask of the seats that `player` was shown as Merlin or Morgana; 0 for all but Percival."""
    role = tables.role_at(state.deal, player)
    return jnp.where(role == tables.PERCIVAL, pointed_out(game, state, player), 0)


def scramble(game: AvalonSetup, state: AvalonState, player: jax.Array | int, key: jax.Array) -> AvalonState:
    """Redraws the roles uniformly among the deals that `player` cannot tell from this one by what it was shown.

    These are the permutations of the roles among the seats pointed out to it, times those among the rest.
    """
    return _rearranged(game, state, player, jax.random.uniform(key, (game.num_players,)))


def redact(game: AvalonSetup, state: AvalonState, player: jax.Array | int) -> AvalonState:
    """The state as `player` may see it: roles are sorted within each group of seats that it cannot tell apart."""
    return _rearranged(game, state, player, state.roles / len(tables.ROLE_NAMES))


def _rearranged(game: AvalonSetup, state: AvalonState, player: jax.Array | int, order: jax.Array) -> AvalonState:
    """The roles sorted by `order` float32[P], from 0 to 1, among the seats pointed out to `player` and the rest."""
    seats = jnp.arange(game.num_players)
    shown = has_bit(pointed_out(game, state, player), seats)
    group = jnp.where(seats == player, 0, jnp.where(shown, 1, 2)).astype(jnp.float32)
    into, origin = jnp.argsort(group), jnp.argsort(group + order)
    roles = state.roles
    return state._replace(deal=tables.encode_roles(roles.at[into].set(roles[origin])))


def observation_layout(game: AvalonSetup) -> dict[str, slice]:
    """The place of each part in `observe`.

    Seats are counted from the observer: seat j is j places after it, in the order of play, and seat 0 is itself.

    | part | numbers | what |
    |---|---|---|
    | role | 8 | own role, one-hot |
    | good, evil | P each | seats known to be of that side, itself among them |
    | candidates | P | Percival: who may be Merlin |
    | acts | 1 | whether it acts now |
    | phase, quest, round | 4, 5, 5 | one-hot |
    | leader, team | P each | who proposes next; who is voted on or on the quest |
    | won, lost, fails | 5 each | by quest: succeeded; failed; fail votes / P |
    | target | P | whom the Assassin named |
    | winner | 2 | good has won; evil has won |
    | proposals | H (3 P + 2) | each in order: leader, team, approvals (P each), (quest + 1) / 5, accepted |
    """
    players = game.num_players
    sizes = {
        "role": len(tables.ROLE_NAMES),
        "good": players,
        "evil": players,
        "candidates": players,
        "acts": 1,
        "phase": 4,
        "quest": NUM_QUESTS,
        "round": MAX_ROUNDS,
        "leader": players,
        "team": players,
        "won": NUM_QUESTS,
        "lost": NUM_QUESTS,
        "fails": NUM_QUESTS,
        "target": players,
        "winner": 2,
        "proposals": MAX_PROPOSALS * (3 * players + 2),
    }
    layout, start = {}, 0
    for name, size in sizes.items():
        layout[name] = slice(start, start + size)
        start += size
    return layout


def observe(game: AvalonSetup, state: AvalonState, player: jax.Array | int, acts: jax.Array) -> jax.Array:
    """float32[D]: all that `player` may know and nothing else, laid out as `observation_layout` says.

    Args:
      game: the rules.
      state: the current state.
      player: int32[], who looks.
      acts: 0 or 1, whether `player` acts now.
    """
    players = game.num_players
    seats = (jnp.arange(players) + player) % players
    good, evil = known_masks(game, state, player)
    entries = jnp.arange(MAX_PROPOSALS)[:, None] < state.num_proposals
    history = [
        (state.proposal_leader[:, None] == seats[None]) & entries,
        has_bit(state.proposal_team[:, None], seats[None]),
        has_bit(state.proposal_votes[:, None], seats[None]),
        (state.proposal_quest[:, None] + 1) / NUM_QUESTS * entries,
        state.proposal_accepted[:, None],
    ]
    parts = {
        "role": tables.role_at(state.deal, player) == jnp.arange(len(tables.ROLE_NAMES)),
        "good": has_bit(good, seats),
        "evil": has_bit(evil, seats),
        "candidates": has_bit(merlin_candidates(game, state, player), seats),
        "acts": acts[None],
        "phase": state.phase == jnp.arange(4),
        "quest": state.quest == jnp.arange(NUM_QUESTS),
        "round": state.round == jnp.arange(MAX_ROUNDS),
        "leader": state.leader == seats,
        "team": has_bit(state.team, seats),
        "won": has_bit(state.won, jnp.arange(NUM_QUESTS)),
        "lost": has_bit(state.lost, jnp.arange(NUM_QUESTS)),
        "fails": state.fails / players,
        "target": state.target == seats,
        "winner": jnp.stack([state.good_victory, state.terminated & ~state.good_victory]),
        "proposals": jnp.concatenate([part.astype(jnp.float32) for part in history], axis=1).ravel(),
    }
    return jnp.concatenate([parts[name].astype(jnp.float32) for name in observation_layout(game)])


def _own(player: jax.Array | int) -> jax.Array:
    return 1 << jnp.asarray(player, jnp.int32)
