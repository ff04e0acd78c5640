"""KNN-Shapley's closed form against enumeration of all subsets."""

import numpy as np
import pytest
from fixtures import set_games as games

from jaxrl_suite import datavalue as dv
from jaxrl_suite.tabular import datasets as tabular_data


def split(seed, rows=8):
    rng = np.random.default_rng(seed)
    data = [rng.normal(size=(n, 2)).astype(np.float32) for n in (rows, 7, 1)]
    labels = [rng.integers(0, 3, n).astype(np.int32) for n in (rows, 7, 1)]
    return tabular_data.Split(data[0], labels[0], data[1], labels[1], data[2], labels[2], 3, np.arange(rows))


@pytest.mark.parametrize("k", range(1, 10))
def test_closed_form_equals_enumeration(k):
    utility = dv.neighbour_utility(split(k), k)
    table = dv.utility_table(utility, 8)
    np.testing.assert_allclose(dv.knn_shapley(utility), dv.shapley(table), atol=1e-6)


def test_the_utility_is_the_share_of_right_votes():
    data = split(0)
    utility = dv.neighbour_utility(data, 3)
    for mask, found in zip(games.members(8)[::17], dv.evaluate(utility, games.members(8)[::17]), strict=True):
        expected = 0.0
        for x, y in zip(data.valid_x, data.valid_y, strict=True):
            near = sorted(np.flatnonzero(mask), key=lambda i: np.sum((data.x[i] - x) ** 2))[:3]
            expected += sum(data.y[i] == y for i in near) / 3 / 7
        assert found == pytest.approx(expected, abs=1e-6)


def test_values_sum_to_the_utility_of_all_for_many_points():
    table = tabular_data.load_table("digits")
    utility = dv.neighbour_utility(tabular_data.split_table(table, (900, 200, 100), 0), 7)
    values = dv.knn_shapley(utility)
    assert values.sum() == pytest.approx(dv.evaluate(utility, np.ones((1, 900), bool))[0], abs=1e-5)


def test_k_must_be_a_number_of_neighbours():
    with pytest.raises(ValueError, match="k must be"):
        dv.neighbour_utility(split(0), 0)
