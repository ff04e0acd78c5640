"""Heuristics in compact form: weights of a library of features, and the same heuristic as text.

A population of weight vectors is one array, so it plays in one compiled program; as text, each is a function of its own
that goes through the sandbox. Both say the same.

Shapes: `F` features, `P` players.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.llm_proposer import Kind
from jaxrl_suite.llm.parsing import code_of
from jaxrl_suite.strategist.heuristics.views import StrategyGame

ENTRY = "evaluate_state"
HEURISTIC = Kind(
    "heuristic",
    "value function",
    "jaxrl_suite.strategist.heuristics",
    functools.partial(code_of, entry=ENTRY),
    "python",
)
MAX_NAMED = 30  # intermediate values of a text; the sandbox takes 32

Feature = Callable[[Any], jax.Array]  # view -> float32[]


@dataclasses.dataclass(frozen=True)
class FeatureLibrary:
    """Features of a game's views, and how a weighted sum of them becomes a value for each player.

    Every function reads the view alone and uses `jnp` alone, so that its source is a piece of a strategy's text. For
    GOPS the sum is the expected final score of player 0 less player 1's, and every feature changes sign when the
    players swap seats; for Avalon it is the log-odds that good wins.

    Args:
      game: whose views they read.
      functions: the features, by name of the function; the first line of each docstring says what it is.
      seed: weights of the seed strategy: weak, but sensible. A name that is missing has weight 0.
      values: the last lines of the text: from `total` and `view` to `values`.
      of_total: the same as a function `(total float32[], view) -> float32[P]`.
      entry: name of the function in the text.
    """

    game: StrategyGame
    functions: tuple[Feature, ...]
    seed: tuple[tuple[str, float], ...]
    values: tuple[str, ...]
    of_total: Callable[[jax.Array, Any], jax.Array]
    entry: str = ENTRY

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(function.__name__ for function in self.functions)

    @property
    def summaries(self) -> tuple[str, ...]:
        return tuple((inspect.getdoc(function) or "").splitlines()[0] for function in self.functions)

    @property
    def size(self) -> int:
        """F."""
        return len(self.functions)

    @property
    def seed_weights(self) -> tuple[float, ...]:
        """[F]: of the seed strategy."""
        given = dict(self.seed)
        return tuple(given.get(name, 0.0) for name in self.names)

    def features(self, view: Any) -> jax.Array:
        """float32[F]: all features of one view."""
        return jnp.stack([function(view) for function in self.functions])

    def evaluate(self, weights: jax.Array, view: Any) -> jax.Array:
        """float32[P]: a value for each player, in points or as chances of winning, from `weights` float32[F]."""
        total = jnp.sum(weights * self.features(view))
        return self.of_total(total, view)

    def render(self, weights: Sequence[float]) -> str:
        """The heuristic as text: the features that count, and the entry that weighs them.

        Raises:
          UserError: if there are not F weights, or one is not finite.
        """
        if len(weights) != self.size or not all(abs(float(w)) < float("inf") for w in weights):
            raise UserError(f"weights must be {self.size} finite numbers, one a feature, got {list(weights)}")
        used = [(f, float(w)) for f, w in zip(self.functions, weights, strict=True) if w != 0]
        parts = [textwrap.dedent(inspect.getsource(function)).rstrip() for function, _ in used]
        shown = sorted(used, key=lambda pair: -abs(pair[1]))[:MAX_NAMED]
        body = [f"{function.__name__}_now = {function.__name__}(view)" for function, _ in used]
        body += ["total = jnp.zeros(())"]
        body += [f"total = total + {weight!r} * {function.__name__}_now" for function, weight in used]
        body += [*self.values]
        body += ["named = {"]
        body += [f'    "{function.__name__}": {function.__name__}_now,' for function, _ in shown]
        body += ["}", "return values, named"]
        entry = [f"def {self.entry}(view):", *(f"    {line}" for line in body)]
        return "\n\n\n".join([*parts, "\n".join(entry)]) + "\n"
