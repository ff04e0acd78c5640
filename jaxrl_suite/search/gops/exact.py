"""GOPS solved exactly, by backward induction over all reachable states.

Every decision state is a matrix game whose payoffs are the values of the states that follow. The host lists states and
gathers payoffs; the device solves the games of a layer, a large batch at a time.

Shapes: `P` = 2 players, `N` cards, `A` = N actions, `k` cards left, `S` chance states, `m` prizes that may be drawn
(see `states`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxrl_suite.envs.gops.game import Gops, GopsState
from jaxrl_suite.envs.rules import has_bit, popcount
from jaxrl_suite.search.gops.keys import Detail, StateSpace
from jaxrl_suite.search.gops.states import Layout, StateIndex, enumerate_states, slices, state_number, successors
from jaxrl_suite.search.matrix_game import MatrixGameSolution, solve_batch_last

_GAMES = 8192  # sent to the device at once; one size, so that there is one compilation for each number of cards left
_BLOCK = 512  # solved at once


@struct.dataclass
class GopsSolution:
    """Values and one equilibrium of every reachable state, in arrays on the device: an argument for jitted functions.

    The flat arrays go by cards left from 1 up; within a layer by chance state, then prize, then card held, ascending.
    """

    game: Gops = struct.field(pytree_node=False)
    detail: Detail = struct.field(pytree_node=False)
    counts: tuple[int, ...] = struct.field(pytree_node=False)  # chance states by cards left, from 0 to N
    index: StateIndex
    chance_values: jax.Array  # float32[chance states], before the prize is drawn
    values: jax.Array  # float32[decision states]
    row: jax.Array  # float32[decision states x cards held], player 0's probabilities
    col: jax.Array  # float32[decision states x cards held], player 1's

    @property
    def num_decisions(self) -> int:
        """Decision states solved, the ones with a single card left included."""
        return self.values.shape[0]


def solve_gops(game: Gops, root: GopsState | None = None) -> GopsSolution:
    """Solves a game: the value and an equilibrium of every state reachable from `root`.

    On two cores six cards take a few seconds and seven less than a minute; seven need some 1.5 GB with objective
    `win_loss`. Values are correct to some 1e-7 times the points in the game.

    Args:
      game: the rules; its objective decides what is maximised.
      root: the state to start from, the start of the game by default. Give a state that the start does not lead to, in
        order to solve the rest of a game that began elsewhere.

    Returns:
      The solution, for `value`, `policy` and `batched_policy`.

    Raises:
      UserError: if there are too many states, or `root` is over or no state of the game.
    """
    detail: Detail = "points" if game.objective == "points" else "win_loss"
    layout = enumerate_states(game, detail, root)
    chance, values, rows, cols = [np.zeros(0, np.float32)], [], [], []
    for k in range(1, game.num_cards + 1):
        solved = _solve_layer(layout, k, np.concatenate(chance))
        chance.append(solved.value.mean(1))
        for flat, layer in zip((values, rows, cols), solved, strict=True):
            flat.append(layer.ravel())
    arrays = [jnp.asarray(np.concatenate(parts)) for parts in (chance, values, rows, cols)]
    return GopsSolution(game, detail, layout.counts, jax.tree.map(jnp.asarray, layout.index), *arrays)


def value(solution: GopsSolution, state: GopsState) -> jax.Array:
    """Player 0's value of a state; player 1's is its negative. It can be jitted and vmapped.

    Args:
      solution: of the game or of a part of it.
      state: before or after its prize is revealed, or over.

    Returns:
      float32[]: the expected sign of the final difference of points (`win_loss`) or that difference, what has been won
      so far included (`points`). NaN if the state is not among those solved.
    """
    game = solution.game
    at = _locate(solution, state)
    looked_up = jnp.where(state.prize > 0, solution.values[at.decision], solution.chance_values[at.chance])
    diff = (state.score[0] - state.score[1]).astype(jnp.float32)
    if game.objective == "points":
        looked_up += diff
    result = jnp.where(at.exists, looked_up, jnp.nan)
    result = jnp.where(_decided(game, state), jnp.sign(diff), result)
    return jnp.where(state.terminated, game.outcome(diff)[0], result)


def policy(solution: GopsSolution, state: GopsState) -> jax.Array:
    """Both players' equilibrium strategies in a state. It can be jitted and vmapped.

    Args:
      solution: of the game or of a part of it.
      state: a state with its prize revealed.

    Returns:
      float32[P, A]: probabilities of the bids; uniform over the legal ones where the winner is decided (`win_loss`), 0
      where nobody acts, and NaN on the legal bids if the state is not among those solved.
    """
    game = solution.game
    at = _locate(solution, state)
    cards = jnp.arange(game.num_cards)
    position = popcount(state.hands[:, None] & ((1 << cards) - 1)[None], game.num_cards)
    probabilities = jnp.stack([solution.row[at.strategy + position[0]], solution.col[at.strategy + position[1]]])
    legal = has_bit(state.hands[:, None], cards[None]) & (state.prize > 0)
    uniform = legal / jnp.maximum(legal.sum(1, keepdims=True), 1)
    result = jnp.where(at.exists, probabilities, jnp.nan)
    return jnp.where(legal, jnp.where(_decided(game, state), uniform, result), 0.0)


def batched_policy(solution: GopsSolution) -> Callable[[GopsState], jax.Array]:
    """`policy` as a jitted function of batched states alone, float32[B, P, A]: what `evaluation` takes."""
    return functools.partial(jax.jit(jax.vmap(policy, in_axes=(None, 0))), solution)


class _Layer(NamedTuple):
    """Solved states on the host."""

    value: np.ndarray  # float32[S, m]
    row: np.ndarray  # float32[S, m, k]
    col: np.ndarray  # float32[S, m, k]


def _solve_layer(layout: Layout, k: int, below: np.ndarray) -> _Layer:
    """All states with k cards left.

    `below` float32[...] are the values of all chance states with fewer cards left.
    """
    m, keys = layout.space.num_prizes(k), layout.keys[k]
    parts = [_Layer(np.zeros((0, m), np.float32), *[np.zeros((0, m, k), np.float32)] * 2)]
    running: tuple[int, MatrixGameSolution] | None = None
    for part in slices(layout.space, k, len(keys), _GAMES):
        payoff = _payoffs(layout, k, keys[part], below).reshape(k, k, -1)
        games = payoff.shape[2]
        padded = np.zeros((k, k, _GAMES), np.float32)
        padded[:, :, :games] = payoff
        started = games, _solve_games(padded)  # runs while the host gathers the next payoffs
        if running:
            parts.append(_batch_first(*running, m))
        running = started
    if running:
        parts.append(_batch_first(*running, m))
    return _Layer(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _batch_first(games: int, solution: MatrixGameSolution, m: int) -> _Layer:
    """The first `games` of values [m * S] and strategies [k, m * S], fetched from the device."""
    value, row, col = (np.asarray(leaf)[..., :games] for leaf in solution)
    return _Layer(value.reshape(m, -1).T, row.reshape(len(row), m, -1).T, col.reshape(len(col), m, -1).T)


@jax.jit
def _solve_games(payoff: jax.Array) -> MatrixGameSolution:
    """`solve_batch_last` of payoff float32[k, k, _GAMES], in blocks that stay in a core's cache."""
    k = payoff.shape[0]
    legal = jnp.ones((k, _BLOCK), bool)
    blocks = jnp.moveaxis(payoff.reshape(k, k, -1, _BLOCK), 2, 0)
    solved = jax.lax.map(lambda block: solve_batch_last(block, legal, legal), blocks)
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -2).reshape(*leaf.shape[1:-1], -1), solved)


def _payoffs(layout: Layout, k: int, keys: np.ndarray, below: np.ndarray) -> np.ndarray:
    """float32[k, k, m, S]: what each pair of bids is worth to player 0 from here on."""
    points = layout.space.game.objective == "points"
    after = successors(layout.space, k, keys)
    ends = after.gain if points else np.sign(after.diff)
    if k == 1:
        return np.broadcast_to(ends, (1, 1, ends.shape[2], len(keys))).astype(np.float32)
    number, _ = layout.index.find(after.keys)
    if points:
        return after.gain + below[number]
    # a decided state has no number: what is found in its place is not used, and lies within the array
    return np.where(after.decided, ends.astype(np.float32), below[np.minimum(number, len(below) - 1)])


def _decided(game: Gops, state: GopsState) -> jax.Array:
    """bool[]: whether the winner is known already, which only matters to the objective `win_loss`."""
    if game.objective == "points":
        return jnp.zeros_like(state.terminated)
    left = sum((card + 1) * ((state.deck >> card) & 1) for card in range(game.num_cards))
    return jnp.abs(state.score[0] - state.score[1]) > left + state.prize + state.carry


class _Place(NamedTuple):
    """The place of a state in the flat arrays of a solution; 0 if it is not found. All int32[]."""

    exists: jax.Array  # bool[]
    chance: jax.Array
    decision: jax.Array
    strategy: jax.Array  # of its first card


def _locate(solution: GopsSolution, state: GopsState) -> _Place:
    space = StateSpace(solution.game, solution.detail)
    sizes = range(len(solution.counts))
    prizes = np.array([space.num_prizes(k) for k in sizes])
    decisions = prizes * np.array(solution.counts)
    before = [np.cumsum(counts) - counts for counts in (np.array(solution.counts), decisions, decisions * sizes)]
    k = popcount(state.hands[0], solution.game.num_cards)
    m, first_chance, first_decision, first_strategy = jnp.asarray(np.stack([prizes, *before]), jnp.int32)[:, k]
    chance, position, exists = state_number(space, solution.index, state)
    within = (chance - first_chance) * m + position
    places = chance, first_decision + within, first_strategy + within * k
    return _Place(exists, *(jnp.where(exists, place, 0) for place in places))
