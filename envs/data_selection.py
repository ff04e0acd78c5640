"""Sequential data selection: one point a step joins a training set, and the reward is how good the set is then.

Shapes: `P` = 1 player, `A` = N actions (action `a` takes point `a`), `C` = 1 chance outcome, which is never pending.

Reference: arXiv 2502.04554, section 3. The best return is that of a dynamic program over the 2^N sets; an order of all
points has the return N times the area under its selection curve.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.base import NoChance
from jaxrl_suite.envs.rules import refuse, takes_legal
from jaxrl_suite.errors import UserError

MAX_POINTS = 512


class DataSelectionState(NamedTuple):
    """The set chosen so far. There is no chance and nothing hidden."""

    chosen: jax.Array  # bool[N]
    utility: jax.Array  # float32[], of the set; 0 before the first point
    reward: jax.Array  # float32[P], the utility of the set that the last step made
    terminated: jax.Array  # bool[]
    truncated: jax.Array  # bool[], always False


@dataclasses.dataclass(frozen=True)
class DataSelection(NoChance):
    """The decision problem.

    Args:
      num_points: N, 2 to 512.
      budget: points that are chosen; all by default.
      utility: float32[] of a set bool[N], a jax function. By default the accuracy on 64 held-out rows of a classifier
        that takes the class with the nearest mean, on points of two overlapping classes, a fifth of them mislabelled.
      seed: of the default points.

    Raises:
      UserError: if an argument is out of range.
    """

    num_points: int = 12
    budget: int | None = None
    utility: Callable[[jax.Array], jax.Array] | None = None
    seed: int = 0

    def __post_init__(self):
        if not 2 <= self.num_points <= MAX_POINTS:
            raise UserError(f"num_points must be 2 to {MAX_POINTS}, got {self.num_points}")
        if self.budget is not None and not 1 <= self.budget <= self.num_points:
            raise UserError(f"budget must be 1 to {self.num_points}, the number of points, got {self.budget}")

    @property
    def num_players(self) -> int:
        return 1

    @property
    def num_actions(self) -> int:
        return self.num_points

    @property
    def max_turns(self) -> int:
        """Steps of an episode."""
        return self.num_points if self.budget is None else self.budget

    def value_of(self, chosen: jax.Array) -> jax.Array:
        """float32[]: the utility of a set bool[N]."""
        if self.utility is not None:
            return jnp.asarray(self.utility(chosen), jnp.float32)
        return nearest_mean_accuracy(self.num_points, self.seed, chosen)

    def start(self) -> DataSelectionState:
        """No point chosen."""
        return DataSelectionState(
            chosen=jnp.zeros(self.num_points, bool),
            utility=jnp.float32(0),
            reward=jnp.zeros(1, jnp.float32),
            terminated=jnp.bool_(False),
            truncated=jnp.bool_(False),
        )

    def init(self, key: jax.Array) -> DataSelectionState:
        """No point chosen; the key is not needed."""
        del key
        return self.start()

    def legal(self, state: DataSelectionState) -> jax.Array:
        """bool[P, A]: the points that are not chosen yet; none after the end."""
        return (~state.chosen & ~state.terminated)[None]

    def apply(self, state: DataSelectionState, action: jax.Array) -> DataSelectionState:
        """Takes point `action[0]`; a finished state is returned unchanged, with reward 0.

        Args:
          state: the current state.
          action: int32[P], a legal action; any other is refused, see `envs.rules`.
        """
        chosen = state.chosen.at[action[0]].set(True)
        utility = self.value_of(chosen)
        after = DataSelectionState(
            chosen=chosen,
            utility=utility,
            reward=utility[None],
            terminated=jnp.sum(chosen) >= self.max_turns,
            truncated=jnp.bool_(False),
        )
        after = refuse(takes_legal(self.legal(state), action), after, state)
        absorbed = state._replace(reward=jnp.zeros_like(state.reward))
        return jax.tree.map(lambda old, new: jnp.where(state.terminated, old, new), absorbed, after)

    def step(self, state: DataSelectionState, action: jax.Array, key: jax.Array) -> DataSelectionState:
        """`apply`: there is no chance."""
        del key
        return self.apply(state, action)

    def observe(self, state: DataSelectionState, player: jax.Array | int) -> jax.Array:
        """float32[N + 2]: the set, its utility, and the share of the budget that is spent."""
        del player
        spent = jnp.sum(state.chosen) / self.max_turns
        return jnp.concatenate([state.chosen.astype(jnp.float32), jnp.stack([state.utility, spent])])


def nearest_mean_accuracy(num_points: int, seed: int, chosen: jax.Array) -> jax.Array:
    """float32[]: the default utility; 0 for no points, and a class without points is never predicted."""
    x, y, rows, labels = _problem(num_points, seed)
    members = jax.nn.one_hot(jnp.asarray(y), 2) * chosen[:, None]  # [N, 2]
    count = jnp.sum(members, axis=0)
    means = members.T @ jnp.asarray(x) / jnp.maximum(count, 1)[:, None]
    distance = jnp.sum((jnp.asarray(rows)[:, None] - means[None]) ** 2, axis=-1)
    predicted = jnp.argmin(jnp.where(count[None] > 0, distance, jnp.inf), axis=1)
    return jnp.where(jnp.any(chosen), jnp.mean((predicted == jnp.asarray(labels)).astype(jnp.float32)), 0.0)


@functools.lru_cache(maxsize=32)
def _problem(num_points: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points float32[N, 2] with labels int32[N], and 64 held-out rows with theirs, as numpy arrays."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(num_points + 64) % 2)
    x = (rng.normal(size=(num_points + 64, 2)) + 1.5 * truth[:, None]).astype(np.float32)
    labels = truth.astype(np.int32)
    labels[rng.permutation(num_points)[: num_points // 5]] ^= 1
    return x[:num_points], labels[:num_points], x[num_points:], labels[num_points:]
