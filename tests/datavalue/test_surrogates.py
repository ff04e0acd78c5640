"""Surrogates: exact where the utility is in their family, better than a constant where it is not."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures import set_games as games

from jaxrl_suite import datavalue as dv
from jaxrl_suite.tabular import datasets as tabular_data


@functools.cache
def problem():
    """(split, masks of 160 subsets, their utilities): accuracies of logistic regression on two classes of wine."""
    split = tabular_data.split_table(tabular_data.load_table("wine"), (40, 80, 40), 0)
    rng = np.random.default_rng(0)
    masks = rng.uniform(size=(160, 40)) < rng.uniform(0.02, 0.98, (160, 1))
    return split, masks, dv.evaluate(dv.model_utility(split), masks)


def error(surrogate, masks, utilities):
    return np.mean((dv.evaluate(surrogate, masks) - utilities) ** 2)


def test_an_affine_utility_is_found_from_few_subsets():
    weights = np.random.default_rng(1).normal(size=7)
    subsets = games.members(7)[3::9]
    fit = dv.fit_affine(subsets, games.additive(weights, 0.25)[3::9], ridge=0)
    np.testing.assert_allclose(fit.coefficients, weights, atol=1e-5)
    assert float(fit.intercept) == pytest.approx(0.25, abs=1e-5)
    masks = games.members(7)
    np.testing.assert_allclose(dv.evaluate(fit, masks), games.additive(weights, 0.25), atol=1e-5)
    np.testing.assert_array_equal(dv.greedy_order(fit, 7).order, dv.rank_order(np.asarray(fit.coefficients)))


def test_the_network_learns_what_no_affine_function_is():
    masks = games.members(6)
    table = 0.2 + 0.6 * (masks[:, 0] ^ masks[:, 1])
    network = dv.fit_network(jax.random.key(1), masks, table, steps=1500, learning_rate=0.02, decay=0.0)
    assert error(network, masks, table) < 0.005
    assert error(dv.fit_affine(masks, table), masks, table) == pytest.approx(0.09, abs=1e-3)


@pytest.mark.parametrize("kind", ["affine", "network", "threshold", "threshold, affine", "soft"])
def test_surrogates_beat_the_mean_on_subsets_they_have_not_seen(kind):
    split, masks, utilities = problem()
    similar = dv.similarity(split)
    seen, held = slice(0, 110), slice(110, 160)
    fitted = {
        "affine": lambda: dv.fit_affine(masks[seen], utilities[seen], ridge=0.05),
        "network": lambda: dv.fit_network(jax.random.key(0), masks[seen], utilities[seen], steps=600),
        "threshold": lambda: dv.fit_threshold(similar, masks[seen], utilities[seen]),
        "threshold, affine": lambda: dv.fit_threshold(similar, masks[seen], utilities[seen], affine=True),
        "soft": lambda: dv.fit_soft(similar, masks[seen], utilities[seen]),
    }[kind]()
    constant = np.mean((utilities[held] - utilities[seen].mean()) ** 2)
    assert error(fitted, masks[held], utilities[held]) < 0.8 * constant


def test_the_threshold_is_the_best_quantile():
    split, masks, utilities = problem()
    similar = dv.similarity(split)
    found = dv.fit_threshold(similar, masks[:40], utilities[:40], candidates=40)
    errors = []
    for cut in np.quantile(similar.values[similar.same], np.linspace(0.5, 0.95, 40)):
        edges = similar.same & (similar.values >= cut)
        shares = np.array([edges[mask].any(axis=0).mean() for mask in masks[:40]])
        errors.append(np.mean((shares - utilities[:40]) ** 2))
    assert error(found, masks[:40], utilities[:40]) == pytest.approx(min(errors), abs=1e-6)
    assert set(np.unique(found.edges)) == {0.0, 1.0}


def test_similarity_is_that_of_the_published_code():
    split, _, _ = problem()
    from scipy.spatial.distance import cdist

    distance = cdist(split.x, split.valid_x)
    similar = dv.similarity(split)
    np.testing.assert_allclose(similar.values, np.exp(-((distance / distance.std()) ** 2) / 2), atol=1e-5)
    assert similar.same[3, 5] == (split.y[3] == split.valid_y[5])


def greedy_in_python(edges):
    covered, order = np.zeros(edges.shape[1], bool), []
    while True:
        gains = [-1 if i in order else (edges[i] & ~covered).sum() for i in range(len(edges))]
        if max(gains) <= 0:
            return order
        order.append(int(np.argmax(gains)))
        covered |= edges[order[-1]]


@pytest.mark.parametrize("seed", range(5))
def test_cover_orders_start_greedily_and_end_as_told(seed):
    rng = np.random.default_rng(seed)
    edges = rng.uniform(size=(12, 15)) < 0.2
    head = greedy_in_python(edges)
    similar = dv.similarity(problem()[0])._replace(values=rng.uniform(size=(12, 15)), same=np.ones((12, 15), bool))
    shuffled = dv.cover_order(edges, key=jax.random.key(seed))
    ranked = dv.cover_order(edges, rest="similarity", similar=similar)
    restarted = dv.cover_order(edges, rest="restart")
    for order in (shuffled, ranked, restarted):
        np.testing.assert_array_equal(np.sort(order), np.arange(12))
        np.testing.assert_array_equal(order[: len(head)], head)
    tail = [i for i in ranked if i not in head]
    assert tail == sorted(tail, key=lambda i: -similar.values[i].mean())
    left = np.array([i for i in range(12) if i not in head])
    second = left[greedy_in_python(edges[left])]
    np.testing.assert_array_equal(restarted[len(head) :][: len(second)], second)


def test_coverage_is_noisy_or():
    edges = np.array([[0.5, 0.0], [0.5, 1.0]])
    utility = dv.CoverageUtility(jnp.asarray(edges, jnp.float32), jnp.float32(0.1), jnp.float32(0.8))
    found = dv.evaluate(utility, [[False, False], [True, False], [False, True], [True, True]])
    np.testing.assert_allclose(found, [0.1, 0.1 + 0.8 * 0.25, 0.1 + 0.8 * 0.75, 0.1 + 0.8 * 0.875], atol=1e-6)


def test_greedy_coverage_is_near_the_exact_order():
    rng = np.random.default_rng(9)
    worst = 1.0
    for _ in range(50):
        edges = rng.uniform(size=(8, 12)) < 0.25
        table = (games.members(8).astype(int) @ edges.astype(int) > 0).mean(axis=1)
        order = dv.cover_order(edges, rest="restart")
        worst = min(worst, dv.table_curve(table, order).mean() / dv.solve_order(table).ausc)
    assert 1 - 1 / np.e < worst < 1  # greedy is good, and not optimal


def test_embeddings_cover_their_references():
    references = np.eye(3)
    embeddings = np.concatenate([np.eye(3) * 2, np.full((2, 3), 0.1)]) + 0.01
    order = dv.similarity_order(embeddings, references, top=1)
    assert set(order[:3]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dv.fit_affine(np.ones((3, 2)), np.ones(4)), "expected, got"),
        (lambda: dv.fit_affine(np.ones((3, 2)), [1.0, np.nan, 0.0]), "subset 1 is nan"),
        (lambda: dv.fit_affine(np.ones((3, 2)), np.ones(3), np.zeros(3)), "not all 0"),
        (lambda: dv.fit_network(jax.random.key(0), np.ones((3, 2)), [0.0, 1.0, 2.0]), "0 to 1"),
        (lambda: dv.cover_order(np.ones((2, 2))), "needs a key"),
        (lambda: dv.cover_order(np.ones((2, 2)), rest="similarity"), "needs the similarities"),
        (lambda: dv.cover_order(np.ones((2, 2)), rest="sorted"), "rest must be"),
        (lambda: dv.similarity_order(np.zeros((2, 2)), np.ones((1, 2)), top=1), "all zeros"),
    ],
)
def test_refuses_what_cannot_be_fitted(call, message):
    with pytest.raises(ValueError, match=message):
        call()
