"""Tables: what loads, how it is split, and which tables of one's own are refused."""

import numpy as np
import pytest

from jaxrl_suite.tabular import datasets as tables

GOOD = np.random.default_rng(0).normal(size=(6, 2))
LABELS = np.array([0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("breast_cancer", (569, 30), 2),
        ("digits", (1797, 61), 10),  # 64 pixels of which 3 are always 0
        ("iris", (150, 4), 3),
        ("wine", (178, 13), 3),
        ("2dplanes", (4000, 10), 2),
        ("fried", (4000, 10), 2),
    ],
)
def test_tables_have_their_published_sizes(name, shape, classes):
    table = tables.load_table(name)
    assert table.x.shape == shape
    assert len(table.columns) == shape[1]
    assert len(table.classes) == classes == len(np.unique(table.y))


def test_synthetic_tables_follow_their_formulas():
    planes, fried = tables.load_table("2dplanes", rows=20_000), tables.load_table("fried", rows=20_000)
    assert set(np.unique(planes.x[:, 0])) == {-1.0, 1.0}
    assert set(np.unique(planes.x[:, 1:])) == {-1.0, 0.0, 1.0}
    # Friedman's function has slopes 10 and 5 in its fourth and fifth column.
    target = fried.y - fried.y.mean()
    slope = [np.cov(fried.x[:, column], target)[0, 1] for column in range(10)]
    assert slope[3] / slope[4] == pytest.approx(2, abs=0.4)
    assert max(map(abs, slope[5:])) < 0.1 * slope[3]  # the last five columns are noise
    assert 0.45 < planes.y.mean() < 0.55


def test_splits_are_disjoint_standardised_and_have_every_class():
    table = tables.load_table("digits")
    for seed in range(5):
        split = tables.split_table(table, (12, 30, 40), seed)
        assert (len(split.y), len(split.valid_y), len(split.test_y)) == (12, 30, 40)
        assert set(split.y) == set(range(10))
        np.testing.assert_array_equal(split.y, table.y[split.rows])
        np.testing.assert_allclose(split.x.mean(0), 0, atol=1e-5)
        spread = split.x.std(0)
        assert np.all((np.abs(spread - 1) < 1e-4) | (spread == 0))
    raw = tables.split_table(table, (12, 30, 40), 3, scale="none")
    rows = [tuple(row) for part in (raw.x, raw.valid_x, raw.test_x) for row in part]
    assert len(set(rows)) == len(rows)
    again = tables.split_table(table, (12, 30, 40), 3, scale="none")
    np.testing.assert_array_equal(raw.x, again.x)


def test_the_pool_scale_knows_nothing_of_the_test():
    table = tables.load_table("wine")
    split = tables.split_table(table, (12, 30, 40), 0, scale="pool")
    moved = table._replace(x=table.x.copy())
    raw = tables.split_table(table, (12, 30, 40), 0, scale="none")
    for row in raw.test_x:
        moved.x[np.flatnonzero(np.all(moved.x.astype(np.float32) == row, axis=1))] += 100.0
    np.testing.assert_allclose(tables.split_table(moved, (12, 30, 40), 0, scale="pool").x, split.x, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(x=np.where(np.arange(12).reshape(6, 2) == 7, np.nan, GOOD)),
            r"row 3, column 'x2' is nan.*drop these rows",
        ),
        (dict(x=GOOD * [1, 0]), "column 'x2' is .* in every row.*drop it"),
        (dict(x=GOOD.astype(str)), "must hold numbers"),
        (dict(x=GOOD[:, 0]), r"\[rows, columns\]"),
        (dict(y=LABELS.astype(float)), "whole numbers from 0 on, got 0.0.*encode_labels"),
        (dict(y=LABELS.astype(str)), "row 0: use encode_labels"),
        (dict(y=LABELS - 1), "row 0 has the label -1"),
        (dict(y=LABELS * 0), "at least two"),
        (dict(y=LABELS[:5]), "one label a row, 6"),
        (dict(columns=["a"]), "1 column names for 2 columns"),
        (dict(classes=["only"]), "label 1 has no name"),
    ],
)
def test_refuses_tables_that_cannot_be_used(change, message):
    with pytest.raises(ValueError, match=message) as error:
        tables.check_table(**(dict(x=GOOD, y=LABELS) | change))
    assert "\n" not in str(error.value)


def test_labels_of_any_kind_can_be_encoded():
    labels, names = tables.encode_labels(["b", "a", "b"])
    assert (labels.tolist(), names) == ([1, 0, 1], ("a", "b"))
    assert tables.check_table(GOOD, LABELS).columns == ("x1", "x2")


@pytest.mark.parametrize("sizes", [(2, 10, 10), (100, 100, 100), (20, 0, 5)])
def test_refuses_splits_that_do_not_fit(sizes):
    with pytest.raises(ValueError, match=r"wine has"):
        tables.split_table(tables.load_table("wine"), sizes, 0)


def test_an_unknown_table_gets_a_suggestion():
    with pytest.raises(ValueError, match="Did you mean digits"):
        tables.load_table("digit")
