"""Batched masked fits against scikit-learn fitted on the rows themselves, one subset at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge as ReferenceKernelRidge
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from jaxrl_suite.tabular import blas, classifiers, linear_fits
from jaxrl_suite.tabular import datasets as tabular_data


@pytest.fixture(scope="module", autouse=True)
def one_blas_thread():
    with blas.one_thread():
        yield


@functools.cache
def split(name):
    return tabular_data.split_table(tabular_data.load_table(name), (60, 100 if name != "wine" else 80, 10), 0)


def draw_masks(data, count, smallest=2):
    rng = np.random.default_rng(1)
    sizes = rng.integers(smallest, len(data.y) + 1, count)
    return np.stack([rng.permutation(len(data.y)) < size for size in sizes])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _scores(model, classes, x, y, weights, queries):
    return model.scores(x, y, weights, queries, classes)


def scores(model, data, masks):
    weights = jnp.asarray(masks, jnp.float32)
    return np.asarray(_scores(model, data.num_classes, data.x, data.y, weights, data.valid_x))


def accuracies(model, data, masks):
    return np.mean(np.argmax(scores(model, data, masks), axis=-1) == data.valid_y, axis=1)


def reference(make, data, mask):
    y = data.y[mask]
    if len(np.unique(y)) == 1:
        return np.mean(data.valid_y == y[0])
    return np.mean(make(int(mask.sum())).fit(data.x[mask], y).predict(data.valid_x) == data.valid_y)


def test_binary_logistic_accuracies_equal_scikit_learns_on_200_subsets():
    data = split("breast_cancer")
    masks = draw_masks(data, 200)
    expected = [
        reference(lambda _: LogisticRegression(solver="newton-cholesky", tol=1e-8), data, mask) for mask in masks
    ]
    np.testing.assert_allclose(accuracies(classifiers.Logistic(), data, masks), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["digits", "wine"])
def test_multinomial_logistic_agrees_with_scikit_learn(name):
    data = split(name)
    masks = draw_masks(data, 40)  # some have just two of the classes, for which scikit-learn's penalty differs
    expected = [reference(lambda _: LogisticRegression(tol=1e-6, max_iter=5000), data, mask) for mask in masks]
    difference = np.abs(accuracies(classifiers.Logistic(), data, masks) - expected)
    assert difference.mean() < 0.002  # the requirement is .005
    two = [i for i, mask in enumerate(masks) if len(np.unique(data.y[mask])) == 2]
    assert two or name == "digits"
    assert difference[two].max(initial=0) < 1e-6


def test_multinomial_coefficients_are_the_minimisers():
    data = split("wine")
    masks = draw_masks(data, 5, smallest=20)
    weights = jnp.asarray(masks, jnp.float32)
    seen = classifiers.present(jnp.asarray(data.y), weights, 3)
    found = linear_fits.multinomial_logistic(data.x, jnp.asarray(data.y), weights, seen, 0.5, 9, 12)
    for row, mask in zip(np.asarray(found), masks, strict=True):
        expected = LogisticRegression(C=2.0, tol=1e-10, max_iter=5000).fit(data.x[mask], data.y[mask])
        np.testing.assert_allclose(row[:-1].T, expected.coef_, atol=2e-3)


@pytest.mark.parametrize("name", ["breast_cancer", "digits"])
def test_ridge_and_neighbours_equal_scikit_learns(name):
    data = split(name)
    masks = draw_masks(data, 60)
    for model, make in (
        (classifiers.Ridge(2.0), lambda _: RidgeClassifier(alpha=2.0)),
        (classifiers.Neighbours(3), lambda rows: KNeighborsClassifier(min(3, rows), algorithm="brute")),
    ):
        expected = [reference(make, data, mask) for mask in masks]
        difference = np.abs(accuracies(model, data, masks) - expected)
        assert np.mean(difference > 1e-6) <= 0.05, model  # a score at the boundary may fall on either side
        assert difference.max() < 0.03, model


def test_kernel_ridge_scores_equal_scikit_learns():
    data = split("breast_cancer")
    masks = draw_masks(data, 10, smallest=5)
    found = scores(classifiers.KernelRidgeClassifier(alpha=0.5, gamma=0.1), data, masks)
    for row, mask in zip(found, masks, strict=True):
        target = 2.0 * data.y[mask] - 1
        expected = ReferenceKernelRidge(alpha=0.5, kernel="rbf", gamma=0.1).fit(data.x[mask], target)
        if len(np.unique(target)) == 2:
            np.testing.assert_allclose(row[:, 1], expected.predict(data.valid_x), atol=2e-4)


MODELS = [
    classifiers.Logistic(),
    classifiers.Ridge(),
    classifiers.KernelRidgeClassifier(),
    classifiers.Neighbours(),
    classifiers.Perceptron((8,), 30),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("name", ["breast_cancer", "wine"])
def test_a_mask_is_a_physical_subset_and_rows_of_a_batch_do_not_mix(model, name):
    data, rng = split(name), np.random.default_rng(1)
    sizes = np.repeat(rng.integers(10, len(data.y) + 1, 2), 2)  # each size is one more program
    masks = np.stack([rng.permutation(len(data.y)) < size for size in sizes])
    together = scores(model, data, masks)
    for row, mask in zip(together, masks, strict=True):
        seen = np.unique(data.y[mask])
        alone = data._replace(x=data.x[mask], y=data.y[mask])
        physical = scores(model, alone, np.ones((1, int(mask.sum())), bool))[0]
        np.testing.assert_allclose(row[:, seen], physical[:, seen], atol=5e-3)
        assert np.all(row[:, np.setdiff1d(np.arange(data.num_classes), seen)] == -np.inf)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_degenerate_fits_are_defined(model):
    data = split("wine")
    one_class = data.y == 2
    single = np.arange(len(data.y)) == 7
    found = scores(model, data, np.stack([one_class, single, np.zeros_like(single)]))
    predicted = np.argmax(found, axis=-1)
    assert np.all(predicted[0] == 2)
    assert np.all(predicted[1] == data.y[7])
    assert np.all(found[2] == -np.inf)
    assert not np.isnan(found).any()


def test_weights_are_repeated_rows():
    data = split("breast_cancer")
    counts = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60))
    repeated = np.repeat(np.arange(60), counts)
    alone = data._replace(x=data.x[repeated], y=data.y[repeated])
    for model in (classifiers.Logistic(), classifiers.Ridge(), classifiers.KernelRidgeClassifier()):
        weighted = scores(model, data, counts[None])
        np.testing.assert_allclose(weighted, scores(model, alone, np.ones((1, 60), bool)), atol=2e-3)


def test_fewer_rows_than_columns_change_nothing():
    data = split("digits")
    rows, queries = linear_fits.reduce_columns(data.x[:15], data.valid_x)
    assert rows.shape == (15, 15)
    np.testing.assert_allclose(rows @ rows.T, data.x[:15] @ data.x[:15].T, atol=2e-3)
    np.testing.assert_allclose(queries @ rows.T, data.valid_x @ data.x[:15].T, atol=2e-3)


def test_a_penalty_for_each_fit():
    data = split("breast_cancer")
    weights, strengths = jnp.ones((2, 60)), jnp.array([0.1, 10.0])
    both = linear_fits.binary_logistic(data.x, jnp.asarray(data.y), weights, strengths, 8)
    for row, strength in zip(both, (0.1, 10.0), strict=True):
        expected = LogisticRegression(C=1 / strength, solver="newton-cholesky", tol=1e-8).fit(
            data.x.astype(float), data.y
        )
        np.testing.assert_allclose(row[:-1], expected.coef_[0], atol=1e-2)


@pytest.mark.parametrize(
    "bad",
    [
        (classifiers.Logistic, dict(l2=0.0)),
        (classifiers.Logistic, dict(steps=0)),
        (classifiers.Ridge, dict(alpha=-1.0)),
        (classifiers.Neighbours, dict(k=0)),
        (classifiers.Perceptron, dict(hidden=(0,))),
    ],
)
def test_refuses_hyper_parameters_out_of_range(bad):
    model, arguments = bad
    with pytest.raises(ValueError, match=next(iter(arguments))):
        model(**arguments)
