"""Leaves are named by their paths, and the first one that is not finite is found."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.core.trees import check_finite, first_not_finite, leaf_paths
from jaxrl_suite.errors import UserError


class Pair(NamedTuple):
    params: dict
    rest: list


def test_paths_read_as_python():
    tree = Pair({"Dense_0": {"kernel": 1, "a b": 2}, "0": 3}, [4, (5,)])
    assert leaf_paths(tree) == [
        ".params['0']", ".params.Dense_0['a b']", ".params.Dense_0.kernel", ".rest[0]", ".rest[1][0]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("leaf", "kind"),
    [
        (jnp.array([1.0, jnp.nan]), "NaN"),
        (jnp.array([jnp.inf, jnp.nan]), "NaN"),
        (jnp.array(-jnp.inf, jnp.bfloat16), "an infinite value"),
        (np.array([np.inf]), "an infinite value"),
        (np.asarray(jnp.array(jnp.nan, jnp.bfloat16)), "NaN"),
        (np.float64("nan"), "NaN"),
        (float("inf"), "an infinite value"),
        (jnp.array(1 + 1j * np.nan, jnp.complex64), "NaN"),
    ],
)
def test_the_first_leaf_that_is_not_finite_is_named(leaf, kind):
    fine = {"a": jnp.ones(2), "key": jax.random.key(0), "n": 3, "text": "nan", "none": None, "empty": jnp.zeros((0,))}
    assert first_not_finite(fine) is None
    assert first_not_finite({**fine, "b": {"w": leaf}, "c": jnp.nan}) == (".b.w", kind)
    assert first_not_finite(leaf) == ("the value", kind)
    with pytest.raises(UserError, match=rf"^training, step 3: \.b\.w holds {kind}: choose a lower learning rate"):
        check_finite({**fine, "b": {"w": leaf}}, "training, step 3")


def test_nothing_is_finite():
    assert first_not_finite({}) is None
    check_finite((), "nothing")
