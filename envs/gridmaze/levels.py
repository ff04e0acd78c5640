"""Mazes from numbers, and exact distances in them.

The rooms of a maze are joined by the spanning tree of least weight under random weights (Prim's algorithm), and some of
the remaining walls are opened: every room can be reached, and there can be several ways.

Shapes: `N` = cells^2 rooms, `W` = 2 cells (cells - 1) inner walls between rooms, `H` = 2 cells + 1 squares along a
side. Room (i, j) is the square (2i + 1, 2j + 1).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]], np.int32)  # up, right, down, left
UNREACHABLE = np.int32(2**30)


class Level(NamedTuple):
    walls: jax.Array  # bool[H, H]
    start: jax.Array  # int32[2], the square of a room
    goal: jax.Array  # int32[2], that of another, drawn from the half of the rooms that is farther from the start


def make_level(cells: int, openings: float, level: jax.Array | int) -> Level:
    """The maze with this number; another size or share of openings makes another one.

    Args:
      cells: rooms along a side.
      openings: probability with which a wall outside the tree is opened.
      level: int32[], the number.
    """
    key = jax.random.fold_in(jax.random.key(0), level)
    weight_key, opening_key, place_key = jax.random.split(key, 3)
    rooms, squares = _inner_walls(cells)
    open_walls = spanning_tree(jax.random.uniform(weight_key, (len(rooms),)), cells)
    open_walls |= jax.random.bernoulli(opening_key, float(openings), (len(rooms),))
    side = 2 * cells + 1
    room = np.arange(cells) * 2 + 1
    walls = jnp.ones((side, side), bool).at[np.ix_(room, room)].set(False)
    walls = walls.at[squares[:, 0], squares[:, 1]].set(~open_walls)
    start_key, goal_key = jax.random.split(place_key)
    start = 2 * jax.random.randint(start_key, (2,), 0, cells) + 1
    away = distances(walls, jnp.zeros(walls.shape, bool).at[start[0], start[1]].set(True))[np.ix_(room, room)].ravel()
    far = away >= jnp.sort(away)[(cells**2 + 1) // 2]
    goal = jax.random.categorical(goal_key, jnp.where(far, 0.0, -jnp.inf))
    return Level(walls, start, 2 * jnp.stack(jnp.divmod(goal, cells)).astype(jnp.int32) + 1)


def spanning_tree(weights: jax.Array, cells: int) -> jax.Array:
    """bool[W]: the spanning tree of least weight of the grid of rooms, for weights float32[W]."""
    ends = jnp.asarray(_inner_walls(cells)[0])

    def grow(_, carry: tuple[jax.Array, jax.Array]):
        reached, chosen = carry
        leaving = reached[ends[:, 0]] != reached[ends[:, 1]]
        best = jnp.argmin(jnp.where(leaving, weights, jnp.inf))
        return reached.at[ends[best]].set(True), chosen.at[best].set(True)

    first = jnp.zeros(cells**2, bool).at[0].set(True)
    return jax.lax.fori_loop(0, cells**2 - 1, grow, (first, jnp.zeros(len(ends), bool)))[1]


def distances(walls: jax.Array, goal: jax.Array) -> jax.Array:
    """int32[H, W]: steps to the goal from every square, `UNREACHABLE` in walls and where there is no way.

    Args:
      walls: bool[H, W], with walls all around.
      goal: bool[H, W], true at one square.
    """

    def relax(carry: tuple[jax.Array, jax.Array]):
        away, _ = carry
        nearest = functools.reduce(jnp.minimum, [jnp.roll(away, tuple(-move), (0, 1)) for move in MOVES])
        closer = jnp.where(walls, UNREACHABLE, jnp.minimum(away, nearest + 1))
        return closer, jnp.any(closer != away)

    at_goal = jnp.where(goal & ~walls, 0, UNREACHABLE).astype(jnp.int32)
    return jax.lax.while_loop(lambda carry: carry[1], relax, (at_goal, jnp.bool_(True)))[0]


@functools.lru_cache(maxsize=32)
def _inner_walls(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """The two rooms int32[W, 2] and the square int32[W, 2] of every wall between neighbouring rooms."""
    index = np.arange(cells**2, dtype=np.int32).reshape(cells, cells)
    rows, columns = np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij")
    across = np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()], axis=1)
    down = np.stack([index[:-1].ravel(), index[1:].ravel()], axis=1)
    across_at = np.stack([2 * rows + 1, 2 * columns + 2], axis=-1)[:, :-1].reshape(-1, 2)
    down_at = np.stack([2 * rows + 2, 2 * columns + 1], axis=-1)[:-1].reshape(-1, 2)
    return np.concatenate([across, down]), np.concatenate([across_at, down_at]).astype(np.int32)
