"""Utilities: the same on one device and on two, batched or not, defined at the ends, and checked at the door."""

import functools

import chex
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures import set_games as games
from sklearn.linear_model import LogisticRegression

from jaxrl_suite import datavalue as dv
from jaxrl_suite.core import devices
from jaxrl_suite.tabular import classifiers
from jaxrl_suite.tabular import datasets as tabular_data


@functools.cache
def split(name="breast_cancer", train=10):
    return tabular_data.split_table(tabular_data.load_table(name), (train, 40, 40), 0, scale="pool")


MASKS = np.random.default_rng(0).uniform(size=(37, 10)) < 0.5


def test_batches_and_devices_do_not_change_a_utility():
    utility = dv.model_utility(split(), classifiers.Neighbours(2))
    plain = np.asarray(utility(jnp.asarray(MASKS)))
    for batch, mesh in ((64, None), (5, None), (8, devices.mesh(2)), (7, devices.mesh(2))):
        np.testing.assert_allclose(dv.evaluate(utility, MASKS, batch=batch, mesh=mesh), plain, atol=1e-6)
    alone = [float(utility(jnp.asarray(mask[None]))[0]) for mask in MASKS[:5]]
    np.testing.assert_allclose(plain[:5], alone, atol=1e-6)
    closure = dv.evaluate(lambda masks: jnp.mean(masks, axis=1), MASKS)  # any jax function of masks will do
    np.testing.assert_allclose(closure, MASKS.mean(1), atol=1e-6)


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_a_utility_is_a_pure_function(self):
        utility = dv.model_utility(split(), classifiers.Neighbours(2))
        found = self.variant(lambda utility, masks: utility(masks))(utility, jnp.asarray(MASKS))
        np.testing.assert_allclose(found, dv.evaluate(utility, MASKS, batch=5), atol=1e-6)


def test_large_sharded_batches_end():
    """On CPU devices, models that solve systems stay on one; nearest neighbours are split."""
    data = split("breast_cancer", 40)
    masks = np.random.default_rng(2).uniform(size=(2048, 40)) < 0.5
    for model in (classifiers.Ridge(), classifiers.Neighbours(3)):
        utility = dv.model_utility(data, model)
        found = dv.evaluate(utility, masks, batch=2048, mesh=devices.mesh(2))
        np.testing.assert_allclose(found[:16], dv.evaluate(utility, masks[:16]), atol=1e-6)


def test_the_table_of_all_subsets_is_in_the_order_of_bits():
    utility = dv.model_utility(split(), classifiers.Ridge())
    table = dv.utility_table(utility, 10, batch=300)
    assert table.shape == (1024,)
    np.testing.assert_allclose(table, dv.evaluate(utility, games.members(10)), atol=1e-6)
    np.testing.assert_allclose(dv.utility_table(utility, 10, mesh=devices.mesh(2)), table, atol=1e-6)
    again = dv.utility_table(dv.TableUtility(jnp.asarray(table, jnp.float32)), 10)
    np.testing.assert_allclose(again, table, atol=1e-6)
    small = dv.model_utility(split(train=3), classifiers.Ridge())
    np.testing.assert_array_equal(dv.utility_table(small, 3), dv.evaluate(small, games.members(3)))


def test_the_ends_are_defined():
    data = split("wine")
    utility = dv.model_utility(data, empty=0.25)
    one_class = data.y == 1
    single = np.arange(10) == 4
    found = dv.evaluate(utility, np.stack([np.zeros(10, bool), one_class, single]))
    expected = [0.25, np.mean(data.valid_y == 1), np.mean(data.valid_y == data.y[4])]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert dv.evaluate(dv.model_utility(data), np.zeros((1, 10), bool))[0] == 0


def test_a_host_utility_of_another_library_gives_the_same_values():
    data = split(train=12)

    def by_scikit_learn(masks):
        values = []
        for mask in masks:
            y = data.y[mask]
            if len(np.unique(y)) < 2:
                values.append(np.mean(data.valid_y == y[0]) if len(y) else 0.0)
            else:
                model = LogisticRegression(solver="newton-cholesky", tol=1e-8).fit(data.x[mask].astype(float), y)
                values.append(model.score(data.valid_x, data.valid_y))
        return values

    masks = np.random.default_rng(1).uniform(size=(50, 12)) < 0.6
    found = dv.evaluate(dv.HostUtility(by_scikit_learn), masks)
    np.testing.assert_allclose(found, dv.evaluate(dv.model_utility(data), masks), atol=1e-6)


def test_bundles_are_players():
    weights = np.arange(1.0, 7.0)
    utility = dv.TableUtility(jnp.asarray(games.additive(weights), jnp.float32))
    bundles = np.array([0, 1, 0, 2, 2, 2])
    values = dv.shapley(dv.utility_table(dv.bundle(utility, bundles), 3))
    np.testing.assert_allclose(values, [4, 2, 15], atol=1e-5)  # of an additive game, the sums of their points
    assert dv.bundle_gap(values, weights, bundles) == pytest.approx(0, abs=1e-6)
    assert dv.bundle_gap([1, 0, 0], weights, bundles, order=2) > 0.5


def with_row(part, row, value):
    array = np.array(getattr(split(), part))
    array = array.astype(float) if isinstance(value, float) else array
    array[row] = value
    return split()._replace(**{part: array})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dv.model_utility(with_row("x", 3, np.nan)), "training row 3 is not finite.*drop"),
        (lambda: dv.model_utility(with_row("valid_x", 5, np.inf)), "valid row 5 is not finite"),
        (lambda: dv.model_utility(with_row("y", 2, 7)), "training row 2 has the label 7"),
        (lambda: dv.model_utility(with_row("y", 2, 1.0)), "whole numbers.*encode_labels"),
        (lambda: dv.model_utility(split()._replace(y=split().y[:4])), "got shapes"),
        (lambda: dv.model_utility(split()._replace(valid_x=split().valid_x[:, :3])), "30 columns and valid rows 3"),
        (lambda: dv.model_utility(split(), part="train"), "valid or test"),
        (lambda: dv.evaluate(lambda masks: jnp.log(jnp.sum(masks, axis=1) - 1.0), np.eye(3, dtype=bool)), "mask 0 is"),
        (lambda: dv.evaluate(dv.model_utility(split()), MASKS[0]), r"bool\[masks, points\]"),
        (lambda: dv.utility_table(dv.model_utility(split()), 40), "1 to 24 points"),
        (lambda: dv.bundle(dv.model_utility(split()), [0, 2, 2]), "bundle 1 is empty"),
        (lambda: dv.bundle(dv.model_utility(split()), [0, -1]), "point 1 is in bundle -1"),
        (lambda: dv.bundle(dv.model_utility(split()), []), "whole numbers"),
    ],
)
def test_refuses_bad_data_with_the_row_and_the_remedy(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def _one_class(masks):
    if any(len(set((np.flatnonzero(mask) % 2).tolist())) < 2 for mask in masks):
        raise ValueError("needs samples of at least 2 classes\nand more")
    return masks.sum(1)


def test_a_host_utility_that_fails_names_the_subset_or_has_a_worth():
    masks = np.array([[True, True, False, False], [True, False, True, False], [False, False, False, False]])
    with pytest.raises(ValueError, match=r"subset of points \[0, 2\] \(ValueError: needs samples.*failed=0.0") as error:
        dv.utilities.evaluate(dv.HostUtility(_one_class), masks)
    assert "\n" not in str(error.value)
    np.testing.assert_array_equal(
        dv.utilities.evaluate(dv.HostUtility(_one_class, failed=0.25), masks), [2, 0.25, 0.25]
    )
