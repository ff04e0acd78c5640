"""AutoML as arrays: every model, hyper-parameter and choice of tables is fitted in batches, and remembered.

A choice of tables is a mask over columns. A column that is zero in every row gets no weight from a penalised linear
model, no part in a distance and no gradient, so a masked fit is the fit without it, and shapes stay static.

Shapes: `B` choices, `N` rows, `D` columns, `P` side tables, `G` models (with their hyper-parameters).

Reference: the role of TPOT in arXiv 2310.17843, section 6.1.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.datamarket.tables import Joined, Lake, join, profiles
from jaxrl_suite.errors import UserError
from jaxrl_suite.tabular import blas
from jaxrl_suite.tabular.classifiers import Classifier, Logistic, Neighbours, Perceptron, Ridge
from jaxrl_suite.tabular.datasets import Dataset, Split, split_table

MODELS: Mapping[str, Classifier] = {
    "logistic, l2 = 0.1": Logistic(l2=0.1),
    "logistic, l2 = 10": Logistic(l2=10.0),
    "ridge, alpha = 1": Ridge(1.0),
    "ridge, alpha = 100": Ridge(100.0),
    "5 neighbours": Neighbours(5),
    "15 neighbours": Neighbours(15),
    "perceptron": Perceptron((16,), steps=60),
}
BATCH = 8  # choices in a call on a CPU, where they are fitted one after the other; an accelerator takes more at once


class SweepScores(NamedTuple):
    """Accuracies of a sweep."""

    valid: np.ndarray  # float[G, B]
    test: np.ndarray  # float[G, B]


class LakeTrainer:
    """Fits models on a buyer's task with chosen side tables; a fit that was made before is not made again.

    Attributes:
      trained: fits made so far, repeated ones not counted.
    """

    def __init__(
        self,
        lake: Lake,
        models: Mapping[str, Classifier] = MODELS,
        *,
        sizes: tuple[int, int, int] | None = None,
        seed: int = 0,
        batch: int | None = None,
    ):
        """Joins the lake and splits its rows.

        Args:
          lake: the task and the tables.
          models: name to classifier.
          sizes: rows for training, validation and test; 50, 25 and 25 % by default.
          seed: of the split.
          batch: choices in a call, vmapped; fewer are padded, so that a model compiles once. By default 64 on an
            accelerator; a CPU is as fast one by one.

        Raises:
          UserError: if there is no model, `batch` is below 1, or what `join` and `split_table` refuse.
        """
        if not models:
            raise UserError("there is no model to train: give at least one")
        if batch is not None and batch < 1:
            raise UserError(f"batch must be at least 1, got {batch}")
        on_cpu = jax.default_backend() == "cpu"
        self._batch = batch or (BATCH if on_cpu else 64)
        self._vmapped = batch is not None or not on_cpu
        self.names, self.models = tuple(models), tuple(models.values())
        self.joined: Joined = join(lake)
        rows = len(lake.task.y)
        whole = Dataset(
            lake.task.name,
            self.joined.x,
            lake.task.y,
            tuple(str(c) for c in range(self.joined.x.shape[1])),
            lake.task.classes,
        )
        self.split: Split = split_table(whole, sizes or (rows // 2, rows // 4, rows - rows // 2 - rows // 4), seed)
        self.profiles = profiles(self.joined, lake.task.y, self.split.rows)
        self.trained = 0
        self._known: dict[tuple[int, bytes], tuple[float, float]] = {}

    @property
    def num_tables(self) -> int:
        return len(self.joined.missing)

    def scores(self, requests: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
        """float[R, 2]: accuracies on validation and test rows.

        Args:
          requests: pairs of a model's index and bool[P], which side tables it may use.

        Raises:
          UserError: if a choice is not bool[P] or there is no such model.
        """
        for place, (model, choice) in enumerate(requests):
            if np.shape(choice) != (self.num_tables,) or not 0 <= model < len(self.models):
                raise UserError(
                    f"request {place} is for model {model} and a choice of shape {list(np.shape(choice))}: give a "
                    f"model of 0 to {len(self.models) - 1} and a flag for each of {self.num_tables} tables"
                )
        keys = [(model, np.packbits(np.asarray(choice, bool)).tobytes()) for model, choice in requests]
        for model in sorted({model for model, _ in keys}):
            fresh = {
                key: choice
                for key, (_, choice) in zip(keys, requests, strict=True)
                if key[0] == model and key not in self._known
            }
            for part in range(0, len(fresh), self._batch):
                batch = list(fresh.items())[part : part + self._batch]
                masks = np.ones((self._batch, len(self.joined.owner)), np.float32)
                for row, (_, choice) in enumerate(batch):
                    masks[row] = np.append(np.asarray(choice, bool), True)[self.joined.owner]  # -1 is the buyer's own
                with blas.one_thread():
                    found = np.stack([np.asarray(x) for x in self._fit(model, masks)], 1)
                for row, (key, _) in enumerate(batch):
                    self._known[key] = (float(found[row, 0]), float(found[row, 1]))
            self.trained += len(fresh)
        return np.array([self._known[key] for key in keys])

    def _fit(self, model: int, masks: np.ndarray):
        split = self.split
        data = (split.x, split.y, split.valid_x, split.valid_y, split.test_x, split.test_y)
        arrays = tuple(map(jnp.asarray, data))
        return _accuracies(self.models[model], split.num_classes, self._vmapped, arrays, jnp.asarray(masks))


def sweep(trainer: LakeTrainer, choices: np.ndarray) -> SweepScores:
    """Every model on every choice of tables, bool[B, P]."""
    requests = [(model, choice) for model in range(len(trainer.models)) for choice in choices]
    found = trainer.scores(requests).reshape(len(trainer.models), len(choices), 2)
    return SweepScores(found[..., 0], found[..., 1])


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _accuracies(model: Classifier, classes: int, vmapped: bool, data, masks: jax.Array):
    """Two float32[B]: accuracy on validation and test rows under each mask float32[B, D]."""
    x, y, valid_x, valid_y, test_x, test_y = data
    queries, labels = jnp.concatenate([valid_x, test_x]), jnp.concatenate([valid_y, test_y])
    ones = jnp.ones((1, x.shape[0]))

    def one(mask):
        scores = model.scores(x * mask[None], y, ones, queries * mask[None], classes)[0]
        right = jnp.argmax(scores, -1) == labels
        return jnp.mean(right[: valid_x.shape[0]]), jnp.mean(right[valid_x.shape[0] :])

    return jax.vmap(one)(masks) if vmapped else jax.lax.map(one, masks)
