"""Selection rules: a simulation's two actions at a node where both players move at once.

Shapes: `P` = 2 players, `A` actions; matrices are `[A, A]`, player 0's action first. Values are player 0's.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from jaxrl_suite.errors import UserError


class Node(NamedTuple):
    """The statistics of one node, which a rule may look at."""

    visits: jax.Array  # float32[A, A]
    values: jax.Array  # float32[A, A], mean value of each visited joint action; 0 where unvisited
    value: jax.Array  # float32[], mean value of the node
    legal: jax.Array  # bool[P, A]
    prior: jax.Array  # float32[P, A], probabilities; 0 where illegal


class SelectionRule(Protocol):
    """A rule is a frozen, hashable record that is called once a node and level."""

    def __call__(self, key: jax.Array, node: Node) -> jax.Array:
        """int32[P]: one legal action for each player. `key` is consumed."""
        ...


@dataclasses.dataclass(frozen=True)
class RegretMatching:
    """Each player plays in proportion to its positive cumulative regret, and explores uniformly now and then.

    No solver inside: with the counts as they stand, the regret of action a for not having been played is the a-th row
    of the value matrix times the opponent's visit counts, less the value obtained.

    Args:
      exploration: probability of a uniformly random legal action, in [0, 1].

    Reference: Lisy, Kovarik, Lanctot and Bosansky, "Convergence of Monte Carlo tree search in simultaneous move
    games", NeurIPS 2013.
    """

    exploration: float = 0.25

    def __post_init__(self):
        if not 0 <= self.exploration <= 1:
            raise UserError(f"exploration must lie in [0, 1], got {self.exploration}")

    def __call__(self, key: jax.Array, node: Node) -> jax.Array:
        payoff = jnp.where(node.visits > 0, node.values, node.value)
        played0, played1 = jnp.sum(node.visits, axis=1), jnp.sum(node.visits, axis=0)
        got = jnp.sum(node.visits * payoff)
        regret = jnp.stack([_dot(payoff, played1) - got, got - _dot(played0, payoff)])
        positive = jnp.where(node.legal, jnp.maximum(regret, 0.0), 0.0)
        total = jnp.sum(positive, axis=1, keepdims=True)
        uniform = node.legal / jnp.sum(node.legal, axis=1, keepdims=True)
        strategy = jnp.where(total > 0, positive / total, node.prior)
        return draw(key, (1 - self.exploration) * strategy + self.exploration * uniform)


@dataclasses.dataclass(frozen=True)
class DecoupledPUCT:
    """Each player maximises its own mean value plus an exploration bonus, as if the other were part of the environment.

    Args:
      c_init: constant c1 of PUCT.
      c_base: constant c2 of PUCT.
      value_scale: width of the range of values, by which they are divided.

    Reference: the decoupled UCT of Tak, Lanctot and Winands (2014) with the bonus of Silver et al. (2018).
    """

    c_init: float = 1.25
    c_base: float = 19652.0
    value_scale: float = 2.0

    def __post_init__(self):
        if not (self.c_base > 0 and self.value_scale > 0):
            raise UserError(f"c_base and value_scale must be above 0, got {self.c_base} and {self.value_scale}")

    def __call__(self, key: jax.Array, node: Node) -> jax.Array:
        totals = node.visits * node.values
        counts = jnp.stack([jnp.sum(node.visits, axis=1), jnp.sum(node.visits, axis=0)])
        mine = jnp.stack([jnp.sum(totals, axis=1), -jnp.sum(totals, axis=0)])
        sign = jnp.array([1.0, -1.0])[:, None]
        quality = jnp.where(counts > 0, mine / jnp.maximum(counts, 1), sign * node.value)
        score = quality / self.value_scale + puct_bonus(node, counts, self.c_init, self.c_base)
        return first_best(key, score, node.legal)


@dataclasses.dataclass(frozen=True)
class UniformOpponentPUCT:
    """The published search of Strategist: a uniformly random opponent, PUCT with its constants, values as they are.

    Args:
      c_init: constant c1, 1 in the released code.
      c_base: constant c2, 19652 in the released code.
      expanded: whether joint actions that were not visited have values of their own, as in a search that evaluates all
        children of a node at once; else they count as much as the node.

    Reference: Light et al., "Strategist" (arXiv 2408.10635), low-level search.
    """

    c_init: float = 1.0
    c_base: float = 19652.0
    expanded: bool = False

    def __call__(self, key: jax.Array, node: Node) -> jax.Array:
        return first_best(key, self.scores(node), node.legal)

    def scores(self, node: Node) -> jax.Array:
        """float32[P, A]: what each player maximises."""
        payoff = node.values if self.expanded else jnp.where(node.visits > 0, node.values, node.value)
        against_uniform = node.legal / jnp.sum(node.legal, axis=1, keepdims=True)
        quality = jnp.stack(
            [
                jnp.sum(payoff * against_uniform[1][None, :], axis=1),
                -jnp.sum(payoff * against_uniform[0][:, None], axis=0),
            ]
        )
        counts = jnp.stack([jnp.sum(node.visits, axis=1), jnp.sum(node.visits, axis=0)])
        return quality + puct_bonus(node, counts, self.c_init, self.c_base)


def puct_bonus(node: Node, counts: jax.Array, c_init: float, c_base: float) -> jax.Array:
    """float32[P, A]: P sqrt(N) / (1 + n) (c1 + ln((N + c2 + 1) / c2))."""
    total = jnp.sum(node.visits)
    return node.prior * jnp.sqrt(total) / (1 + counts) * (c_init + jnp.log((total + c_base + 1) / c_base))


def first_best(key: jax.Array, score: jax.Array, legal: jax.Array) -> jax.Array:
    """int32[P]: the legal action with the highest score; ties are broken at random."""
    tie_break = 1e-6 * jax.random.uniform(key, score.shape)
    return jnp.argmax(jnp.where(legal, score + tie_break, -jnp.inf), axis=-1).astype(jnp.int32)


def draw(key: jax.Array, probabilities: jax.Array) -> jax.Array:
    """int32[P]: one draw from every row of `probabilities` [P, A]; entries of 0 are never drawn."""
    cumulative = jnp.cumsum(probabilities, axis=-1)
    threshold = jax.random.uniform(key, cumulative.shape[:-1])[..., None] * cumulative[..., -1:]
    return jnp.sum(cumulative <= threshold, axis=-1, dtype=jnp.int32)


def _dot(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)  # visit counts are whole numbers: no TF32


def shrunk_values(node: Node, shrinkage: float) -> jax.Array:
    """float32[A, A]: the joint actions' values, each shrunk towards an additive model of the matrix.

    A root with 36 joint actions and 100 simulations knows few of them well, but every visit also tells something of its
    row and its column. The additive model value + row + column is fitted by shrunken averages, in turn; then each
    entry is the mean of its own visits and `shrinkage` imaginary ones at the model's value.
    """
    excess = node.visits * (node.values - node.value)
    row_visits, col_visits = jnp.sum(node.visits, axis=1), jnp.sum(node.visits, axis=0)
    row, col = jnp.zeros_like(row_visits), jnp.zeros_like(col_visits)
    for _ in range(3):
        row = (jnp.sum(excess, axis=1) - jnp.sum(node.visits * col[None, :], axis=1)) / (row_visits + shrinkage)
        col = (jnp.sum(excess, axis=0) - jnp.sum(node.visits * row[:, None], axis=0)) / (col_visits + shrinkage)
    model = node.value + row[:, None] + col[None, :]
    return (node.visits * node.values + shrinkage * model) / (node.visits + shrinkage)
