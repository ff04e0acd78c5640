"""A buyer's thin table, and a lake of tables that may or may not help, tied to it by join keys.

A lake is made from one classification table: a few of its columns stay with the buyer, the others are dealt to side
tables whose rows are shuffled and partly missing. Distractors stand beside them: columns of noise, and true columns
under keys that belong to other rows, which look alike and tell nothing.

Shapes: `N` rows of the buyer, `M` rows of a side table, `D` columns, `P` side tables.

Reference: arXiv 2310.17843, section 6.1 (its pool of city tables was not released).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.errors import UserError
from jaxrl_suite.tabular.datasets import Dataset, check_table


class SideTable(NamedTuple):
    """A table of the lake; make it with `check_side_table`."""

    name: str
    key: np.ndarray  # int64[M], or uint64[M] if a key is beyond int64; no key twice
    columns: np.ndarray  # float64[M, D]


@dataclasses.dataclass(frozen=True, eq=False)
class Lake:
    """A buyer's task and the tables around it."""

    task: Dataset  # x float64[N, D] holds the buyer's own columns
    key: np.ndarray  # int[N], of any size and sign
    tables: tuple[SideTable, ...]
    useful: tuple[bool, ...]  # P, whether a side table holds true columns under true keys; for reports only


class Joined(NamedTuple):
    """All columns side by side, those of a table that is not used to be masked."""

    x: np.ndarray  # float64[N, D], what did not match filled with the column's mean
    owner: np.ndarray  # int[D], the side table of each column; -1 for the buyer's own
    missing: np.ndarray  # float[P], share of the buyer's rows without a match


def check_side_table(name: str, key: ArrayLike, columns: ArrayLike) -> SideTable:
    """A side table, if it can be joined as it is: nothing is dropped, filled or aggregated silently.

    Args:
      name: for messages.
      key: int[M].
      columns: float[M, D].

    Raises:
      UserError: naming the row or column and the remedy.
    """
    keys = np.asarray(key)
    try:
        values = np.array(columns, np.float64)
    except (TypeError, ValueError):
        raise UserError(f"table {name!r} holds something that is no number: encode text columns first") from None
    if keys.ndim != 1 or keys.dtype.kind not in "iu":
        raise UserError(f"table {name!r}: keys must be whole numbers, got {keys.dtype}: encode them as the buyer's are")
    if values.ndim != 2 or not values.size or len(values) != len(keys):
        raise UserError(
            f"table {name!r}: columns must be [{len(keys)}, D], a row a key and at least one of each, got "
            f"{list(values.shape)}"
        )
    if not np.isfinite(values).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise UserError(
            f"table {name!r}: row {row}, column {column} is {values[row, column]}: leave the row out, which a join "
            "fills, or fill it in"
        )
    order = np.argsort(keys, kind="stable")
    if (again := np.flatnonzero(keys[order][1:] == keys[order][:-1])).size:
        row = int(order[again[0] + 1])
        raise UserError(f"table {name!r}: row {row} repeats the key {keys[row]}: aggregate it to one row a key")
    if (flat := np.flatnonzero(np.ptp(values, axis=0) == 0)).size:
        raise UserError(f"table {name!r}: column {int(flat[0])} is constant: drop it, it tells nothing apart")
    wide = keys.dtype == np.uint64 and keys.max() > np.iinfo(np.int64).max
    return SideTable(name, keys if wide else keys.astype(np.int64), values)


def join(lake: Lake) -> Joined:
    """Left joins of every side table on the buyer's key.

    Raises:
      UserError: if the task cannot be used as it is (see `check_table`), its keys do not fit it, there is no side
        table, or one matches no row at all.
    """
    check_table(lake.task.x, lake.task.y, columns=lake.task.columns, classes=lake.task.classes, name=lake.task.name)
    if lake.key.dtype.kind not in "iu" or lake.key.shape != lake.task.y.shape:
        raise UserError(
            f"the buyer's keys must be whole numbers, one for each of {len(lake.task.y)} rows, got "
            f"{lake.key.dtype}{list(lake.key.shape)}"
        )
    if not lake.tables:
        raise UserError("the lake holds no table: add one, or sweep models alone (automl.sweep)")
    wanted, below = _words(lake.key)
    parts, owner, missing = [lake.task.x], [-1] * lake.task.x.shape[1], []
    for place, table in enumerate(lake.tables):
        words, negative = _words(table.key)
        order = np.argsort(words)
        spot = np.minimum(np.searchsorted(words[order], wanted), len(order) - 1)
        row = order[spot]
        matched = (words[row] == wanted) & (negative[row] == below)
        if not matched.any():
            raise UserError(
                f"table {table.name!r} shares no key with the buyer's: drop it, or check how keys are coded"
            )
        values = np.where(matched[:, None], table.columns[row], table.columns[row[matched]].mean(0))
        parts.append(values)
        owner += [place] * values.shape[1]
        missing.append(1 - matched.mean())
    return Joined(np.concatenate(parts, 1), np.array(owner), np.array(missing))


def _words(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys of any integer type as (uint64, bool: negative), which are equal where the numbers are.

    numpy would compare int64 with uint64 as float64, in which neighbours beyond 2^53 are one.
    """
    return key.astype(np.int64 if key.dtype.kind == "i" else np.uint64).astype(np.uint64), key < 0


def make_lake(
    table: Dataset,
    *,
    seed: int = 0,
    own: int = 2,
    width: int = 2,
    most: int = 8,
    noise: int = 4,
    shuffled: int = 4,
    keep_share: float = 0.9,
) -> Lake:
    """A lake from one table.

    Args:
      table: whose columns are dealt.
      seed: of the deal.
      own: columns that stay with the buyer.
      width: columns of a side table.
      most: side tables with true columns, at most.
      noise: distractors of noise.
      shuffled: distractors of true columns under keys of other rows.
      keep_share: share of rows that a side table has.

    Raises:
      UserError: if the table is too narrow or a number is out of range.
    """
    rows, columns = table.x.shape
    if own < 1 or width < 1 or most < 1 or min(noise, shuffled) < 0 or not 0 < keep_share <= 1:
        raise UserError(
            "own, width and most must be at least 1, noise and shuffled at least 0, and keep_share in (0, 1]"
        )
    if columns < own + width:
        raise UserError(f"{table.name} has {columns} columns: keep fewer with the buyer than {own}")
    rng = np.random.default_rng(seed)
    deal = rng.permutation(columns)
    key = rng.permutation(10 * rows)[:rows].astype(np.int64)
    groups = [deal[i : i + width] for i in range(own, columns - width + 1, width)][:most]

    def side(name: str, values: np.ndarray, keys: np.ndarray) -> SideTable:
        shown = rng.permutation(rows)[: max(2, round(keep_share * rows))]
        live = np.ptp(values[shown], axis=0) > 0
        return check_side_table(name, keys[shown], values[shown][:, live if live.any() else slice(None)])

    made = [(side("+".join(table.columns[c] for c in group), table.x[:, group], key), True) for group in groups]
    for i in range(shuffled):
        group = groups[i % len(groups)]
        made.append((side(f"wrong key {i}", table.x[:, group], rng.permutation(key)), False))
    made += [(side(f"noise {i}", rng.normal(size=(rows, width)), key), False) for i in range(noise)]
    order = rng.permutation(len(made))
    mine = deal[:own]
    task = table._replace(x=table.x[:, mine], columns=tuple(table.columns[c] for c in mine))
    return Lake(task, key, tuple(made[i][0] for i in order), tuple(made[i][1] for i in order))


def profiles(joined: Joined, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float[P, 4]: what is known of each side table before anything is trained.

    Missing share; best and mean absolute correlation of its columns with a class, on training rows; and best
    correlation with the buyer's own columns, which is how much of it the buyer has already.

    Args:
      joined: from `join`.
      y: int[N].
      rows: int[R], the training rows.
    """
    x = joined.x[rows] - joined.x[rows].mean(0)
    x /= np.maximum(np.linalg.norm(x, axis=0), 1e-12)
    hot = (y[rows][:, None] == np.unique(y[rows])[None]).astype(float)
    hot -= hot.mean(0)
    hot /= np.maximum(np.linalg.norm(hot, axis=0), 1e-12)
    target = np.abs(x.T @ hot).max(1)
    mine = np.abs(x.T @ x[:, joined.owner < 0]).max(1)
    of = [joined.owner == place for place in range(len(joined.missing))]
    return np.array([(joined.missing[p], target[o].max(), target[o].mean(), mine[o].max()) for p, o in enumerate(of)])
