"""Classification tables that need no network, checked, split and standardised.

scikit-learn's own tables, and two synthetic ones of the OpenML collection, drawn again from their closed forms.

Shapes: `N` rows, `D` columns, `K` classes.

Reference: 2dplanes from Breiman et al., "Classification and regression trees" (1984), p. 238; fried from Friedman,
"Multivariate adaptive regression splines", Annals of Statistics 19 (1991), equation 61. OpenML's classification tasks
on both ask whether the target lies above its mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.errors import UserError, suggest


class Dataset(NamedTuple):
    """One classification table."""

    name: str
    x: np.ndarray  # float64[N, D]
    y: np.ndarray  # int32[N], 0 to K - 1
    columns: tuple[str, ...]  # D names
    classes: tuple[str, ...]  # K names


class Split(NamedTuple):
    """A table in three disjoint parts."""

    x: np.ndarray  # float32[N, D], for training
    y: np.ndarray  # int32[N]
    valid_x: np.ndarray  # float32[N', D], for the utility
    valid_y: np.ndarray  # int32[N']
    test_x: np.ndarray  # float32[N'', D], for the report
    test_y: np.ndarray  # int32[N'']
    num_classes: int
    rows: np.ndarray  # int64[N], the training rows in the table


SKLEARN = ("breast_cancer", "digits", "iris", "wine")
SYNTHETIC = ("2dplanes", "fried")
_MOST_CLASSES = 1 << 20  # every classifier makes arrays [..., K]
TABLES = tuple(sorted(SKLEARN + SYNTHETIC))


def load_table(name: str, *, rows: int = 4000, seed: int = 0) -> Dataset:
    """A table by name; columns that are constant in it (three pixels of digits) are left out.

    Args:
      name: one of `TABLES`.
      rows: how many to draw of a synthetic table; the others come whole.
      seed: of a synthetic table.

    Raises:
      UserError: if there is no such table.
    """
    if name in SYNTHETIC:
        if rows < 2:
            raise UserError(f"a synthetic table needs at least 2 rows, got {rows}: raise rows")
        x, target = (_two_d_planes if name == "2dplanes" else _fried)(np.random.default_rng(seed), rows)
        columns = tuple(f"x{column + 1}" for column in range(x.shape[1]))
        return Dataset(name, x, (target > target.mean()).astype(np.int32), columns, ("N", "P"))
    if name not in SKLEARN:
        raise UserError(f"there is no table {name!r}{suggest(name, TABLES)}")
    from sklearn import datasets

    raw = getattr(datasets, f"load_{name}")()
    x = np.asarray(raw.data, np.float64)
    kept = np.ptp(x, axis=0) > 0
    columns = tuple(str(column) for column, keep in zip(raw.feature_names, kept, strict=True) if keep)
    classes = tuple(str(label) for label in raw.target_names)
    return check_table(x[:, kept], raw.target, columns=columns, classes=classes, name=name)


def check_table(
    x: ArrayLike,
    y: ArrayLike,
    *,
    columns: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    name: str = "table",
) -> Dataset:
    """A table of one's own, if it can be used as it is: nothing is filled in, dropped or converted.

    Args:
      x: float[N, D], finite, no column constant.
      y: int[N], labels from 0 on, at least two of them (`encode_labels` makes them from text).
      columns: D names; x1, x2, ... by default.
      classes: K names; the numbers by default.
      name: for messages.

    Raises:
      UserError: with the first row or column that cannot be used, and what to do.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise UserError(f"{name}: x must hold numbers, got {array.dtype}: encode text columns first")
    array = array.astype(np.float64)
    if array.ndim != 2 or not array.size:
        raise UserError(f"{name}: x must be [rows, columns] with at least one of each, got shape {array.shape}")
    labels = check_labels(y, rows=len(array), name=name, named=bool(classes))
    columns = tuple(columns or (f"x{column + 1}" for column in range(array.shape[1])))
    if len(columns) != array.shape[1]:
        raise UserError(f"{name}: {len(columns)} column names for {array.shape[1]} columns: give one for each")
    if len(bad := np.argwhere(~np.isfinite(array))):
        row, column = bad[0]
        raise UserError(
            f"{name}: row {row}, column {columns[column]!r} is {array[row, column]} ({len(bad)} such in all): "
            "fill in or drop these rows"
        )
    if len(constant := np.flatnonzero(np.ptp(array, axis=0) == 0)):
        column = constant[0]
        raise UserError(
            f"{name}: column {columns[column]!r} is {array[0, column]:g} in every row ({len(constant)} such in all): "
            "drop it, it tells nothing apart"
        )
    classes = tuple(classes or (str(label) for label in range(int(labels.max()) + 1)))
    if labels.max() >= len(classes):
        raise UserError(f"{name}: label {labels.max()} has no name: give {labels.max() + 1} classes")
    return Dataset(name, array, labels, columns, classes)


def check_labels(y: ArrayLike, *, rows: int | None = None, name: str = "labels", named: bool = False) -> np.ndarray:
    """int32[N]: the labels, if they are whole numbers from 0 on and at least two differ.

    Numbers far above the count of those that occur are codes, such as ids or dates, unless the classes are `named`:
    every number below would be a class.

    Raises:
      UserError: with the first row that is wrong, and what to do.
    """
    labels = np.asarray(y)
    if labels.ndim != 1 or (rows is not None and len(labels) != rows):
        raise UserError(f"{name}: y must have one label a row{f', {rows}' if rows else ''}, got shape {labels.shape}")
    if labels.dtype.kind not in "iu":
        shown = repr(labels[0].item()) if len(labels) else "nothing"
        raise UserError(
            f"{name}: labels must be whole numbers from 0 on, got {shown} ({labels.dtype}) in row 0: use encode_labels"
        )
    if len(negative := np.flatnonzero(labels < 0)):
        raise UserError(f"{name}: row {negative[0]} has the label {labels[negative[0]]}: use encode_labels")
    present = len(np.unique(labels))
    if present < 2:
        raise UserError(f"{name}: all rows have one label: a classification needs at least two")
    row = int(np.argmax(labels))
    if labels[row] >= (_MOST_CLASSES if named else min(_MOST_CLASSES, 100 + 10 * present)):
        raise UserError(
            f"{name}: row {row} has the label {labels[row]}, where {present} differ: use encode_labels, which numbers "
            "codes from 0 on, or name all classes"
        )
    return labels.astype(np.int32)


def encode_labels(y: ArrayLike) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of any kind as (int32[N] from 0 on, their names in sorted order).

    Raises:
      UserError: if a label is missing (None, NaN, empty text), which is no class; or labels have no order.
    """
    given = np.empty(len(y), object) if isinstance(y, list | tuple) else np.asarray(y)  # no text made of None
    if isinstance(y, list | tuple):
        given[:] = y
    if given.ndim != 1:
        raise UserError(f"labels must be [N], one a row, got shape {list(given.shape)}: flatten them")
    missing = [row for row, label in enumerate(given.tolist()) if _is_missing(label)]
    if missing:
        raise UserError(f"row {missing[0]} has no label ({len(missing)} such in all): fill it in or drop the row")
    try:
        names, labels = np.unique(given, return_inverse=True)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in given.tolist()})
        raise UserError(f"labels of different types have no order: {', '.join(kinds)}; convert them to text") from None
    return labels.reshape(-1).astype(np.int32), tuple(str(label) for label in names)


def _is_missing(label: Any) -> bool:
    if isinstance(label, str):
        return label.strip() in ("", "nan", "NaN", "NaT", "<NA>")
    return label is None or type(label).__name__ in ("NAType", "NaTType") or bool(label != label)


def to_float32(x: np.ndarray, name: str, remedy: str) -> np.ndarray:
    """float32[N, D] of finite float[N, D], unless rounding would change what tells rows apart.

    Args:
      x: the rows.
      name: for messages.
      remedy: what to do about a column that lies far from 0.

    Raises:
      UserError: if rounding moves an entry by a thousandth of its column's deviation or more.
    """
    rounded = x.astype(np.float32)
    if (x.dtype.kind == "f" and x.dtype.itemsize <= 4) or not x.size:
        return rounded
    wide = x.astype(np.float64)
    moved, spread = np.abs(rounded - wide).max(axis=0), wide.std(axis=0)
    if len(lost := np.flatnonzero((moved > 1e-3 * spread) & (spread > 0))):
        column = int(lost[0])
        raise UserError(
            f"{name}: column {column} is {wide[0, column]:.6g} with deviation {spread[column]:.3g}, which float32 "
            f"cannot hold: {remedy}"
        )
    return rounded


def split_table(
    table: Dataset,
    sizes: tuple[int, int, int],
    seed: int,
    *,
    scale: Literal["train", "pool", "none"] = "train",
) -> Split:
    """Draws training, validation and test rows without replacement, at random but with every class in training.

    Args:
      table: from `load_table` or `check_table`.
      sizes: rows of each part.
      seed: of the draw.
      scale: columns get mean 0 and deviation 1 in the training rows (`train`), or in all rows that are not for the
        test (`pool`, steadier where a few rows train); a column that is constant there is only centred.

    Raises:
      UserError: if the table has too few rows, or training too few for its classes.
    """
    train, valid, test = sizes
    present = np.unique(table.y)
    if min(sizes) < 1 or sum(sizes) > len(table.y):
        raise UserError(f"{table.name} has {len(table.y)} rows: sizes {sizes} must be at least 1 and fit in them")
    if train < len(present):
        raise UserError(f"{table.name} has {len(present)} classes: train on at least as many rows, not {train}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(table.y))
    first = np.array([np.flatnonzero(table.y[order] == label)[0] for label in present])
    order = np.concatenate([order[np.sort(first)], np.delete(order, np.sort(first))])
    rows, held, tested = np.split(order[: train + valid + test], [train, train + valid])
    rows = rng.permutation(rows)
    x = table.x
    if scale != "none":
        seen = rows if scale == "train" else np.setdiff1d(order, tested)
        deviation = x[seen].std(axis=0)
        x = (x - x[seen].mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    x = to_float32(x, table.name, 'use scale="train", or subtract the mean')
    parts = [part for chosen in (rows, held, tested) for part in (x[chosen], table.y[chosen])]
    return Split(*parts, num_classes=len(table.classes), rows=rows)


def _two_d_planes(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.concatenate([rng.choice([-1.0, 1.0], (rows, 1)), rng.choice([-1.0, 0.0, 1.0], (rows, 9))], axis=1)
    up = 3 + 3 * x[:, 1] + 2 * x[:, 2] + x[:, 3]
    down = -3 + 3 * x[:, 4] + 2 * x[:, 5] + x[:, 6]
    return x, np.where(x[:, 0] > 0, up, down) + rng.normal(size=rows)


def _fried(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    x = rng.uniform(size=(rows, 10))
    signal = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return x, signal + rng.normal(size=rows)
