"""The states that tell most about a heuristic: where the search that used it came to another estimate.

Shapes: `M` states seen, `P` players, `F` features.

Reference: Light et al., "Strategist" (arXiv 2408.10635): the examples of feedback are the states of stored trajectories
with the largest L2 gap between search estimate and heuristic value, or states drawn uniformly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.avalon import render as avalon_render
from jaxrl_suite.envs.gops import render as gops_render
from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.records import KeyState
from jaxrl_suite.sandbox.exported import ExportedFunction
from jaxrl_suite.strategist.heuristics.features import MAX_NAMED, FeatureLibrary
from jaxrl_suite.strategist.heuristics.views import StrategyGame, view_of
from jaxrl_suite.strategist.play.records import Seen

Rule = Literal["gap", "uniform"]

BATCH = 64  # states whose features are computed at a time


def joined(parts: Sequence[Seen]) -> Seen:
    """All of them, one after the other."""
    return jax.tree.map(lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves]), *parts)


def gaps(heuristic: jax.Array, search: jax.Array) -> jax.Array:
    """float[..., M]: the L2 distance over the players between heuristic values and estimates [..., M, P]."""
    return jnp.sqrt(jnp.sum((search - heuristic) ** 2, axis=-1))


def select(seen: Seen, strategy: int, count: int, rule: Rule = "gap", seed: int = 0) -> np.ndarray:
    """int[<= count]: which states to show for one strategy, the most telling first; no state twice.

    Args:
      seen: what was met.
      strategy: whose.
      count: how many at most.
      rule: by the largest gap, or drawn uniformly.
      seed: of the draw.

    Raises:
      UserError: if there is no such rule.
    """
    if rule not in ("gap", "uniform"):
        raise UserError(f"rule must be gap or uniform, got {rule!r}")
    own = np.flatnonzero((seen.strategy == strategy) & seen.counts)
    if rule == "gap":
        order = own[np.argsort(-_gaps(seen.heuristic[own], seen.search[own]), kind="stable")]
    else:
        order = np.random.default_rng([seed, strategy]).permutation(own)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(seen.state)]
    chosen, known = [], set()
    for row in order:
        if len(chosen) == count:
            break
        name = b"".join(leaf[row].tobytes() for leaf in leaves)
        if name not in known:
            known.add(name)
            chosen.append(row)
    return np.array(chosen, int)


class Describer:
    """Turns rows of `Seen` into `KeyState`s; holds the compiled features of one library."""

    def __init__(self, library: FeatureLibrary):
        self.library = library
        view = view_of(library.game)
        self._views = jax.jit(jax.vmap(view))
        self._features = jax.jit(jax.vmap(lambda state: library.features(view(state))))

    def features(self, states: Any) -> np.ndarray:
        """float32[M, F], in batches of one size."""
        return self._batched(self._features, states)

    def views(self, states: Any) -> Any:
        """Views [M, ...]."""
        return self._batched(self._views, states)

    def key_states(
        self,
        seen: Seen,
        rows: np.ndarray,
        strategy: int,
        function: ExportedFunction | None = None,
        weights: Sequence[float] | None = None,
    ) -> list[KeyState]:
        """The records of `rows`.

        Args:
          seen: what was met.
          rows: which of it, from `select`.
          strategy: id that the records carry.
          function: a heuristic that is a text, whose auxiliary output are intermediate values by name.
          weights: [F], for one in compact form, whose intermediate values are the features that count.
        """
        if len(rows) == 0:
            return []
        states = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], seen.state)
        features, values = self.features(states), {}
        if weights is not None:
            used = sorted(np.flatnonzero(weights).tolist(), key=lambda place: -abs(weights[place]))[:MAX_NAMED]
            values = {self.library.names[place]: features[:, place] for place in used}
        elif function is not None:
            # jitted, and let go: what an eager call compiles is never freed
            named = jax.jit(lambda views: function.call_with_auxiliary(views)[1])(self.views(states))
            values = {name: np.asarray(column) for name, column in named.items()}
        return [
            KeyState(
                strategy=strategy,
                state=in_words(self.library.game, jax.tree.map(lambda leaf, at=at: leaf[at], states)),
                heuristic=_floats(seen.heuristic[row]),
                named={name: float(column[at]) for name, column in values.items()},
                search=_floats(seen.search[row]),
                outcome=_floats(seen.outcome[row]),
                features=_floats(features[at]),
            )
            for at, row in enumerate(rows)
        ]

    def _batched(self, function: Callable[[Any], Any], states: Any) -> Any:
        size = jax.tree.leaves(states)[0].shape[0]
        parts = []
        for start in range(0, size, BATCH):
            index = np.minimum(np.arange(start, start + BATCH), size - 1)
            parts.append(jax.tree.map(np.asarray, function(jax.tree.map(lambda leaf, i=index: leaf[i], states))))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:size], *parts)


def in_words(game: StrategyGame, state: Any) -> str:
    """One state in a few lines, everything shown."""
    return gops_render.text(game, state) if isinstance(game, Gops) else avalon_render.text(game, state)


_gaps = jax.jit(gaps)


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in np.asarray(values))
