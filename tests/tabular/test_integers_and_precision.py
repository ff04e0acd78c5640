"""Integers and labels are never narrowed without a check; features far from 0 are centred before they are rounded."""

import numpy as np
import pytest

from jaxrl_suite.datamarket import tables
from jaxrl_suite.tabular import datasets

RNG = np.random.default_rng(0)
TASK = datasets.check_table(RNG.normal(size=(40, 2)), np.arange(40) % 2)


def joined(own, side):
    order, info = RNG.permutation(40), RNG.normal(size=(40, 1))
    table = tables.check_side_table("side", np.asarray(side)[order], info[order])
    found = tables.join(tables.Lake(TASK, np.asarray(own), (table,), (True,)))
    return found.missing[0], np.isclose(found.x[:, 2], info[:, 0])


NEAR = 2**60 + RNG.permutation(40)


@pytest.mark.parametrize(
    "keys",
    [
        RNG.integers(0, 2**64, 40, dtype=np.uint64),
        NEAR.astype(np.uint64),
        NEAR,
        -NEAR,
        np.where(np.arange(40) % 2, NEAR, -NEAR),
        RNG.permutation(40).astype(np.uint8),
        RNG.permutation(40).astype(np.int8) - np.int8(20),
    ],
)
def test_keys_of_every_size_and_sign_find_their_row(keys):
    missing, right = joined(keys, keys)
    assert missing == 0
    assert right.all()
    for kind in (np.int64, np.uint64, np.int16):
        if keys.min() >= np.iinfo(kind).min and keys.max() <= np.iinfo(kind).max:
            assert joined(keys.astype(kind), keys)[1].all()
            assert joined(keys, keys.astype(kind))[1].all()


def test_keys_that_only_wrap_to_the_same_bits_differ():
    own = np.arange(1, 41)
    missing, right = joined(
        np.where(own > 20, -own, own), np.where(own > 20, 2**64 - own.astype(object), own).astype(np.uint64)
    )
    assert missing == 0.5
    assert right[:20].all()


@pytest.mark.parametrize(("low", "high"), [(5, 3_000_000_000), (202_001, 210_101), (0, 2**63), (3, 900)])
def test_labels_that_are_codes_are_refused_and_encoded(low, high):
    labels = np.where(np.arange(40) % 2, high, low).astype(np.uint64)
    with pytest.raises(ValueError, match=f"row 1 has the label {high}, where 2 differ: use encode_labels"):
        datasets.check_table(TASK.x, labels)
    encoded, names = datasets.encode_labels(labels)
    assert datasets.check_table(TASK.x, encoded, classes=names).classes == (str(low), str(high))


def test_many_classes_may_be_named():
    table = datasets.check_table(TASK.x, np.where(np.arange(40) % 2, 900, 3), classes=[str(k) for k in range(1000)])
    assert len(table.classes) == 1000


@pytest.mark.parametrize(
    ("labels", "row"),
    [
        (["a", "b", None], 2),
        (["a", float("nan"), "b"], 1),
        (np.array([1.0, np.nan, 2.0]), 1),
        (np.array(["a", "", "b"]), 1),
        (np.array(["a", np.nan, "b"]), 1),
        (np.array(["2020-01-01", "NaT"], "M8[D]"), 1),
    ],
)
def test_missing_labels_are_named_by_row(labels, row):
    with pytest.raises(ValueError, match=f"row {row} has no label \\(1 such in all\\): fill it in or drop the row"):
        datasets.encode_labels(labels)


def test_labels_of_one_type_are_encoded_and_others_refused():
    assert datasets.encode_labels(["b", "a", "b"])[0].tolist() == [1, 0, 1]
    assert datasets.encode_labels([3.5, -1.0])[1] == ("-1.0", "3.5")
    with pytest.raises(ValueError, match="no order: int, str; convert them to text"):
        datasets.encode_labels(["a", 1])
    with pytest.raises(ValueError, match=r"labels must be \[N\]"):
        datasets.encode_labels(np.ones((2, 2)))


def test_features_far_from_zero_keep_their_differences():
    x = TASK.x + 1e9
    near = datasets.split_table(TASK, (20, 10, 10), 0)
    far = datasets.split_table(TASK._replace(x=x), (20, 10, 10), 0)
    np.testing.assert_allclose(far.x, near.x, atol=1e-5)
    with pytest.raises(
        ValueError, match=r"table: column 0 is 1e\+09 with deviation .* float32 cannot hold: use scale="
    ):
        datasets.split_table(TASK._replace(x=x), (20, 10, 10), 0, scale="none")
    assert datasets.to_float32(np.full((3, 1), 1e9), "x", "").dtype == np.float32  # constant: nothing to lose
