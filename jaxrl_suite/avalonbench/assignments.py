"""Every assignment of roles to seats, as constant bit masks, and which of them a player considers possible.

Shapes: `K` assignments, `P` players. Sets of seats are int32 bit masks.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.avalon import roles as avalon_roles
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import ASSASSIN, EVIL_ROLES, MERLIN

OUTSIDER = -1  # the viewer who has no private information


class Assignments(NamedTuple):
    """The assignments in lexicographic order of their role ids, and what follows from them."""

    roles: np.ndarray  # int32[K, P]
    evil: np.ndarray  # int32[K], the evil seats
    merlin: np.ndarray  # int32[K], Merlin's seat, 0 without Merlin
    assassin: np.ndarray  # int32[K], the Assassin's seat
    seen: np.ndarray  # int32[K, P], the other seats that the rules point out to each player


@functools.lru_cache(maxsize=32)
def tables(game: Avalon) -> Assignments:
    """The constant tables of a game: 60 assignments at 5 players and 5,040 at 10 with the basic roles."""
    roles = avalon_roles.assignments(game.roles).astype(np.int32)
    result = Assignments(
        roles=roles,
        evil=_seats(roles, EVIL_ROLES),
        merlin=_seats(roles, (MERLIN,)),
        assassin=_seats(roles, (ASSASSIN,)),
        seen=_seen(game, roles),
    )
    for array in result:
        array.setflags(write=False)
    return result


def possible(game: Avalon, roles: jax.Array, viewer: jax.Array | int) -> jax.Array:
    """bool[K]: the assignments that agree with all that `viewer` was told, when `roles` are the true ones.

    Args:
      game: its `rules` decide what a role is shown.
      roles: int32[P], the true roles; of these only the viewer's own and what it is shown are used.
      viewer: int32[], a seat, or -1 for an outsider, for whom all are possible.
    """
    table = tables(game)
    seat = jnp.maximum(viewer, 0)
    own = roles[seat]
    shown = jnp.int32(0)
    for role in sorted(set(game.roles)):
        pointed = avalon_roles.pointed_out(role, game.roles, game.rules)
        mask = jnp.int32(0)
        for index in range(game.num_players):
            points = jnp.any(roles[index] == jnp.asarray(pointed, jnp.int32)) if pointed else False
            mask = mask | jnp.where(points, 1 << index, 0)
        shown = jnp.where(own == role, mask, shown)
    shown = shown & ~(1 << seat)
    agrees = (jnp.asarray(table.roles)[:, seat] == own) & (jnp.asarray(table.seen)[:, seat] == shown)
    return agrees | (jnp.asarray(viewer) < 0)


def index_of(game: Avalon, roles: jax.Array) -> jax.Array:
    """int32[]: the index of `roles` int32[P] among the assignments; 0 if they are not one of them."""
    return jnp.argmax(jnp.all(jnp.asarray(tables(game).roles) == roles[None], axis=1)).astype(jnp.int32)


def _seats(roles: np.ndarray, which: tuple[int, ...]) -> np.ndarray:
    return (np.isin(roles, which) * (1 << np.arange(roles.shape[-1]))).sum(-1).astype(np.int32)


def _seen(game: Avalon, roles: np.ndarray) -> np.ndarray:
    seen = np.zeros(roles.shape, np.int32)
    for role in set(game.roles):
        pointed = avalon_roles.pointed_out(role, game.roles, game.rules)
        seen = np.where(roles == role, _seats(roles, pointed)[:, None], seen)
    return (seen & ~(1 << np.arange(roles.shape[1]))).astype(np.int32)
