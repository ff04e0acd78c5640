"""Information sets of Avalon's players before any public event, as numbers: what each was told at the start.

All private information of a player is its role and the seats that the rules point out to it. Everything else is public,
so a player's belief is the public one restricted to its information set.

Shapes: `K` assignments of roles, `P` players, `I` information sets of a player at most (15 with 5 players).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.errors import UserError

MOST_ASSIGNMENTS = 1000


class InformationSets(NamedTuple):
    index: np.ndarray  # int32[P, K], the player's information set under each assignment
    member: np.ndarray  # float32[P, I, K], 1 where the assignment belongs to the set
    role: np.ndarray  # int32[P, I], the player's role in it; -1 beyond the sets that there are


@functools.lru_cache(maxsize=8)
def information_sets(game: Avalon) -> InformationSets:
    """The constant tables of a game.

    Raises:
      UserError: if there are more than 1,000 assignments, for which what is built on these tables is not meant.
    """
    table = tables(game)
    assignments, players = table.roles.shape
    if assignments > MOST_ASSIGNMENTS:
        raise UserError(f"{assignments} assignments are too many to enumerate here: take a game of 5 to 7 players")
    index = np.zeros((players, assignments), np.int32)
    roles = []
    for seat in range(players):
        told = np.stack([table.roles[:, seat], table.seen[:, seat]], axis=1)
        sets, index[seat] = np.unique(told, axis=0, return_inverse=True)
        roles.append(sets[:, 0])
    width = max(map(len, roles))
    member = (index[:, None, :] == np.arange(width)[None, :, None]).astype(np.float32)
    role = np.full((players, width), -1, np.int32)
    for seat, held in enumerate(roles):
        role[seat, : len(held)] = held
    for array in (index, member, role):
        array.setflags(write=False)
    return InformationSets(index, member, role)


def conditional(member: jax.Array | np.ndarray, weights: jax.Array, values: jax.Array) -> jax.Array:
    """float32[I, ...]: the mean of `values` within each information set.

    Args:
      member: float32[I, K], of one player.
      weights: float32[K]; a set in which all are 0 counts its assignments equally.
      values: float32[K, ...].
    """
    flat = values.reshape(values.shape[0], -1)
    inside = jnp.asarray(member) * weights[None]
    total = jnp.sum(inside, axis=1, keepdims=True)
    inside = jnp.where(total > 0, inside, member)
    share = inside / jnp.maximum(jnp.sum(inside, axis=1, keepdims=True), 1e-30)
    mean = jnp.matmul(share, flat, precision=jax.lax.Precision.HIGHEST)
    return mean.reshape(-1, *values.shape[1:])
