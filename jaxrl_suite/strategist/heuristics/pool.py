"""From strategies to what a search evaluates leaves with: a pool of heuristics of which each game picks its own.

Weights of features are data: any number of such heuristics share one compiled program. A heuristic that came as text is
a function of its own, and a program holds those of a pool beside each other.

Shapes: `K` strategies, `F` features, `P` players, `B` rows of a batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.sandbox.export import EXPORT, EXPORT_LIMITS, ExportReport, ExportRequest, export_functions
from jaxrl_suite.sandbox.exported import ExportedFunction
from jaxrl_suite.sandbox.records import Limits
from jaxrl_suite.sandbox.sandbox import Sandbox
from jaxrl_suite.strategist.heuristics.features import ENTRY, FeatureLibrary
from jaxrl_suite.strategist.heuristics.views import StrategyGame, example_views

Function = Callable[[Any], jax.Array]  # view -> float32[P]

ROLLOUT, COMPACT = -1, 0  # members of every pool; a function has its place, from 1
LARGEST = 1e6  # value that counts


class Choice(NamedTuple):
    """The choice of a heuristic of a pool: data, so that every row of a batch has its own."""

    member: jax.Array | np.ndarray  # int32[], ROLLOUT, COMPACT or the place of a function, from 1
    weights: jax.Array | np.ndarray  # float32[F], of the compact form; any numbers otherwise


@dataclasses.dataclass(frozen=True)
class Pool:
    """Heuristics that can play in one program.

    Args:
      library: of the features whose weights are the compact form.
      functions: others, each from a view to a value for each player.
      compact: whether any row uses the compact form; False saves its computation.
      rollout: whether any row evaluates leaves by play to the end, without a heuristic: the player that fills up.
    """

    library: FeatureLibrary
    functions: tuple[Function, ...] = ()
    compact: bool = True
    rollout: bool = False

    def values(self, choice: Choice, view: Any) -> jax.Array:
        """float32[P]: what the heuristic of one row says of one view. ROLLOUT has no heuristic: it gets zeros.

        A written function may be finite on all states that it was tried on, and not on others; with a value that is no
        number a search could pick illegal actions. Where one of the values is not finite all count as 0, and values
        beyond `LARGEST` count as that.
        """
        result = jnp.zeros((self.library.game.num_players,))
        if self.compact:
            result = jnp.where(choice.member == COMPACT, self.library.evaluate(jnp.asarray(choice.weights), view), 0.0)
        for place, function in enumerate(self.functions, 1):
            result = jnp.where(choice.member == place, function(view), result)
        return jnp.where(jnp.all(jnp.isfinite(result)), jnp.clip(result, -LARGEST, LARGEST), 0.0)


def compact_choices(weights: Any) -> Choice:
    """Choices [K] of compact heuristics from `weights` float32[K, F]."""
    array = np.asarray(weights, np.float32)
    return Choice(np.full(len(array), COMPACT, np.int32), array)


def choices_of(library: FeatureLibrary, strategies: Sequence[Strategy], places: dict[str, int]) -> Choice:
    """Choices [K]: the compact form of a strategy where it has weights, else the place of its text in a pool.

    Raises:
      UserError: if a strategy has neither, or its weights do not fit the library.
    """
    members = np.zeros(len(strategies), np.int32)
    weights = np.zeros((len(strategies), library.size), np.float32)
    for row, strategy in enumerate(strategies):
        if strategy.weights is None:
            if strategy.text not in places:
                raise UserError(f"strategy {strategy.id} has neither weights nor an exported text: check it first")
            members[row] = places[strategy.text]
        elif len(strategy.weights) != library.size:
            raise UserError(f"strategy {strategy.id} has {len(strategy.weights)} weights, expected {library.size}")
        else:
            weights[row] = strategy.weights
    return Choice(members, weights)


def export_texts(
    game: StrategyGame,
    sandbox: Sandbox,
    texts: Sequence[str],
    *,
    limits: Limits = EXPORT_LIMITS,
    platforms: tuple[str, ...] = ("cpu",),
) -> list[ExportReport]:
    """Sends the texts of heuristics through the sandbox; `report.function` is an `ExportedFunction` where one passed.

    Args:
      game: whose views they take; each is tried on fixed and random ones.
      sandbox: of the toolset `EXPORT`.
      texts: each defines `evaluate_state`.
      limits: of one text.
      platforms: where the functions shall run.
    """
    views = jax.jit(lambda key: example_views(game, key))(jax.random.key(1))
    output = jax.ShapeDtypeStruct((game.num_players,), jnp.float32)
    requests = [ExportRequest(text, ENTRY, views, output, platforms) for text in texts]
    return export_functions(sandbox, requests, limits)


class Exports:
    """Texts of heuristics as functions; each goes through the sandbox once, which starts with the first.

    Args:
      game: whose views they take.
      workers: of the sandbox.
    """

    def __init__(self, game: StrategyGame, workers: int = 1):
        self.game, self._workers = game, workers
        self._sandbox: Sandbox | None = None
        self._known: dict[str, ExportedFunction | str] = {}

    def check(self, texts: Sequence[str]) -> list[str]:
        """For each text an empty line if it passed the sandbox, else what is wrong with it."""
        missing = list(dict.fromkeys(text for text in texts if text not in self._known))
        if missing:
            if self._sandbox is None:
                self._sandbox = Sandbox(EXPORT, workers=self._workers)
            platform = jax.default_backend()
            platforms = ("cpu",) if platform == "cpu" else ("cpu", "cuda" if platform == "gpu" else platform)
            reports = export_texts(self.game, self._sandbox, missing, platforms=platforms)
            for text, report in zip(missing, reports, strict=True):
                self._known[text] = report.function or report.feedback or "it failed"
        return [said if isinstance(said := self._known[text], str) else "" for text in texts]

    def __getitem__(self, text: str) -> ExportedFunction:
        """The function of a text that passed."""
        function = self._known[text]
        assert isinstance(function, ExportedFunction)
        return function

    def close(self) -> None:
        """Ends the sandbox's workers."""
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None
