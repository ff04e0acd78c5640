"""Utilities: what a subset of the data is worth, as pure functions of a batch of masks.

A utility is called with masks bool[B, N] and gives float32[B]. The ones here are dataclasses of arrays (pytrees), so
that a program is compiled once and serves every data set of one size; any jax function of masks is a utility too, and
`HostUtility` wraps one that is not, such as a fit by another library.

Shapes: `B` masks, `N` points, `D` columns, `M` validation rows.

Reference: Ghorbani and Zou, "Data Shapley" (ICML 2019), section 2, for a utility as a validation score.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from numpy.typing import ArrayLike

from jaxrl_suite.core import devices
from jaxrl_suite.errors import UserError
from jaxrl_suite.tabular import blas, classifiers
from jaxrl_suite.tabular.datasets import Split, to_float32

Utility: TypeAlias = Callable[[jax.Array], jax.Array]  # bool[B, N] -> float32[B]
MAX_TABLE = 24  # points of a table of all subsets: 2^24 float64 are 134 MB


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ModelUtility:
    """Validation accuracy of a model fitted on the chosen points; make it with `model_utility`."""

    x: jax.Array  # float32[N, D]
    y: jax.Array  # int32[N]
    valid_x: jax.Array  # float32[M, D]
    valid_y: jax.Array  # int32[M]
    model: classifiers.Classifier = dataclasses.field(metadata={"static": True})
    num_classes: int = dataclasses.field(metadata={"static": True})
    empty: float = dataclasses.field(default=0.0, metadata={"static": True})

    @property
    def uses_lapack(self) -> bool:
        """Such a utility is not split over CPU devices: LAPACK uses all cores from one."""
        return getattr(self.model, "uses_lapack", False)

    def __call__(self, masks: jax.Array) -> jax.Array:
        right = self.correct(masks.astype(jnp.float32), self.valid_x, self.valid_y)
        return jnp.where(jnp.any(masks, axis=1), jnp.mean(right.astype(jnp.float32), axis=1), self.empty)

    def correct(self, weights: jax.Array, queries: jax.Array, labels: jax.Array) -> jax.Array:
        """bool[B, M]: which queries the model fitted with each of the weightings float32[B, N] gets right."""
        scores = self.model.scores(self.x, self.y, weights, queries, self.num_classes)
        return jnp.argmax(scores, axis=-1) == labels[None]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TableUtility:
    """A set function given by its value on every subset: bit i of the index of a value says whether point i is in."""

    values: jax.Array  # float32[2^N]

    def __call__(self, masks: jax.Array) -> jax.Array:
        return self.values[jnp.sum(masks << jnp.arange(masks.shape[1])[None], axis=1)]


@dataclasses.dataclass(frozen=True)
class HostUtility:
    """A utility in plain Python, float[B] from bool[B, N] as numpy arrays; it runs on the host, one batch at a time.

    Args:
      fn: the function of masks.
      failed: what a subset is worth on which `fn` raises, as a classifier does on rows of one class; by default such a
        subset is an error.
    """

    fn: Callable[[np.ndarray], ArrayLike]
    failed: float | None = None

    def __call__(self, masks: Any) -> Any:
        masks = np.asarray(masks)
        try:
            return np.asarray(self.fn(masks), np.float64)
        except UserError:
            raise
        except Exception:
            return np.concatenate([self._one(mask) for mask in masks])  # to find the subset

    def _one(self, mask: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(self.fn(mask[None]), np.float64).reshape(1)
        except UserError:
            raise
        except Exception as error:
            if self.failed is not None:
                return np.array([self.failed])
            points = np.flatnonzero(mask)
            shown = ", ".join(map(str, points[:10].tolist())) + (", ..." if len(points) > 10 else "")
            reason = (str(error).split("\n")[0] or "no message")[:200]
            raise UserError(
                f"the utility failed on the subset of points [{shown}] ({type(error).__name__}: {reason}): say what "
                "such a subset is worth, HostUtility(fn, failed=0.0)"
            ) from error


def model_utility(
    split: Split,
    model: classifiers.Classifier | None = None,
    *,
    part: str = "valid",
    empty: float = 0.0,
) -> ModelUtility:
    """The accuracy of a model as a utility of the training rows.

    Args:
      split: from `datasets.split_table`, or one's own.
      model: `classifiers.Logistic()` by default.
      part: `valid` or `test`, the rows it is judged on.
      empty: the utility of no points at all. A subset of one class predicts that class.

    Raises:
      UserError: if a row is not finite, a label is not of the classes, or sizes do not agree.
    """
    if part not in ("valid", "test"):
        raise UserError(f"part must be valid or test, got {part!r}")
    queries, labels = (split.valid_x, split.valid_y) if part == "valid" else (split.test_x, split.test_y)
    for name, x, y in (("training", split.x, split.y), (part, queries, labels)):
        _check_rows(name, np.asarray(x), np.asarray(y), split.num_classes)
    if split.x.shape[1] != queries.shape[1]:
        raise UserError(
            f"training rows have {split.x.shape[1]} columns and {part} rows {queries.shape[1]}: use the same"
        )
    centre = "subtract the mean of the training rows from all, or use split_table"
    x, queries = (to_float32(np.asarray(part), name, centre) for name, part in (("training", split.x), (part, queries)))
    arrays = (jnp.asarray(array) for array in (x, split.y, queries, labels))
    return ModelUtility(*arrays, model=model or classifiers.Logistic(), num_classes=split.num_classes, empty=empty)


def evaluate(utility: Utility, masks: ArrayLike, *, batch: int = 256, mesh: Mesh | None = None) -> np.ndarray:
    """float64[M]: the utility of each mask.

    Args:
      utility: a pytree of arrays that can be called, any jax function of masks, or a `HostUtility`.
      masks: bool[M, N].
      batch: masks a call of the compiled program, on all devices together; the last is filled up.
      mesh: devices to split each batch over; what uses LAPACK stays on one CPU device and uses all cores from there.

    Raises:
      UserError: if a utility is not finite.
    """
    masks = np.asarray(masks, bool)
    if masks.ndim != 2:
        raise UserError(f"masks must be bool[masks, points], got shape {masks.shape}")
    if isinstance(utility, HostUtility):
        return _finite(np.asarray(utility(masks), np.float64))
    mesh = _usable(utility, mesh)
    batch = _fit_batch(batch, mesh)
    chunks = [masks[start : start + batch] for start in range(0, len(masks), batch)]
    program, args = _program(utility, mesh, None)
    batches = []
    for chunk in chunks:
        filled = np.concatenate([chunk, np.zeros((batch - len(chunk), masks.shape[1]), bool)])
        batches.append(filled)
    found = _run(utility, program, args, batches)
    values = [value[: len(chunk)] for value, chunk in zip(found, chunks, strict=True)]
    return _finite(np.concatenate(values)) if values else np.zeros(0)


def utility_table(utility: Utility, num_points: int, *, batch: int = 2048, mesh: Mesh | None = None) -> np.ndarray:
    """float64[2^N]: the utility of every subset; bit i of the index says whether point i is in.

    Raises:
      UserError: if there are more than `MAX_TABLE` points, or a utility is not finite.
    """
    if not 1 <= num_points <= MAX_TABLE:
        raise UserError(f"a table of all subsets takes 1 to {MAX_TABLE} points, got {num_points}: sample instead")
    size = 1 << num_points
    if isinstance(utility, HostUtility):
        codes = np.arange(size)[:, None]
        return evaluate(utility, codes >> np.arange(num_points) & 1)
    mesh = _usable(utility, mesh)
    batch = _fit_batch(batch, mesh)
    program, args = _program(utility, mesh, num_points)
    starts = range(0, size, batch)
    batches = [np.arange(start, start + batch, dtype=np.int32) % size for start in starts]
    return _finite(np.concatenate(_run(utility, program, args, batches))[:size])


def _fit_batch(batch: int, mesh: Mesh | None) -> int:
    """The batch, rounded up to what the devices divide."""
    if batch < 1:
        raise UserError(f"batch must be at least 1, got {batch}")
    return batch if mesh is None else -(-batch // mesh.size) * mesh.size


def _program(utility: Utility, mesh: Mesh | None, points: int | None) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A compiled function of (arrays of the utility, batch), and the arguments before the batch."""
    leaves = jax.tree.leaves(utility)
    if leaves and all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves):
        return _compiled(None, mesh, points), (utility,)
    return _compiled(utility, mesh, points), ()


@functools.lru_cache(maxsize=64)
def _compiled(fixed: Utility | None, mesh: Mesh | None, points: int | None) -> Callable[..., Any]:
    def masks_of(rows):
        return rows if points is None else (rows[:, None] >> jnp.arange(points)[None] & 1) == 1

    if fixed is None:
        call, replicated = lambda utility, rows: utility(masks_of(rows)), (0,)
    else:
        call, replicated = lambda rows: fixed(masks_of(rows)), ()
    return jax.jit(call) if mesh is None else devices.map_batch(call, mesh, replicated=replicated)


def _run(utility: Utility, program: Callable[..., Any], args: tuple[Any, ...], batches: Any) -> list[np.ndarray]:
    """float64[batch] of each batch; all are queued at once, but for LAPACK, which gets one at a time."""
    if getattr(utility, "uses_lapack", False) and jax.default_backend() == "cpu":
        with blas.one_thread():
            return [np.asarray(program(*args, batch), np.float64) for batch in batches]
    return [np.asarray(values, np.float64) for values in [program(*args, batch) for batch in batches]]


def _usable(utility: Utility, mesh: Mesh | None) -> Mesh | None:
    """The mesh, or none for LAPACK on CPU devices: it spreads over all cores itself, and two devices that do wait for
    each other forever (jaxlib 0.10)."""
    lapack = mesh is not None and mesh.devices.flat[0].platform == "cpu" and getattr(utility, "uses_lapack", False)
    return None if lapack else mesh


def _finite(values: np.ndarray) -> np.ndarray:
    if len(bad := np.flatnonzero(~np.isfinite(values))):
        raise UserError(f"the utility of mask {bad[0]} is {values[bad[0]]}: a utility must be finite on every subset")
    return values


def _check_rows(part: str, x: np.ndarray, y: np.ndarray, classes: int) -> None:
    if x.ndim != 2 or not x.size or y.shape != (len(x),):
        raise UserError(f"{part} rows must be x [rows, columns] and y [rows], got shapes {x.shape} and {y.shape}")
    if len(bad := np.flatnonzero(~np.isfinite(x).all(axis=1))):
        raise UserError(f"{part} row {bad[0]} is not finite ({len(bad)} such rows): fill in or drop them")
    if y.dtype.kind not in "iu":
        raise UserError(
            f"{part} labels must be whole numbers from 0 on, got {y.dtype}: use tabular.datasets.encode_labels"
        )
    if len(bad := np.flatnonzero((y < 0) | (y >= classes))):
        raise UserError(f"{part} row {bad[0]} has the label {y[bad[0]]}, which is not one of the {classes} classes")
