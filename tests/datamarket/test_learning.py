"""Learning the prior: convergence, what cannot be learned, and what an error costs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.datamarket import instance, learning, patterns, scenarios


@pytest.fixture(scope="module")
def market():
    return scenarios.climbing_market()


@pytest.fixture(scope="module")
def likelihood(market):
    return learning.likelihoods(market, 0.3 * market.valuations.mean(0))


def test_the_likelihood_is_a_law_for_every_type(likelihood):
    assert likelihood.shape == (1, 15, 5)
    np.testing.assert_allclose(jnp.sum(likelihood, 1), 1.0, atol=1e-5)


@pytest.mark.parametrize("name", scenarios.PRIORS)
def test_divergence_is_below_the_published_bound(likelihood, name):
    truth = jnp.asarray(scenarios.prior_of(name, 5), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 5)
    for schedule in ("sqrt", "em"):
        _, kl = jax.vmap(
            lambda key, schedule=schedule: learning.learn(
                key, likelihood, truth, batch=100, rounds=1000, schedule=schedule
            )
        )(keys)
        assert kl[:, -1].max() < 0.025, schedule
        assert kl[:, -1].mean() < kl[:, 0].mean()


def test_em_raises_the_likelihood_and_its_fixed_point_is_the_truth_at_exact_counts(likelihood):
    truth = jnp.asarray(scenarios.prior_of("random", 5, seed=3), jnp.float32)
    law = jnp.einsum("xyh,h->xy", likelihood, truth)
    learner, fits = learning.init(5, 15), []
    step = jax.jit(functools.partial(learning.update, schedule="em", pseudo=0.0))
    for _ in range(40):
        learner = step(learner, likelihood, law)
        fits.append(float(jnp.sum(law * jnp.log(jnp.einsum("xyh,h->xy", likelihood, learner.prior) + 1e-20))))
    assert (np.diff(fits) > -1e-5).all()
    assert learning.divergence(truth, learner.prior) < 1e-3


def test_a_full_published_step_is_the_bayes_posterior_averaged_over_the_batch(likelihood):
    seen = jnp.zeros((1, 15)).at[0, 4].set(1.0)
    start = learning.init(5, 15)
    after = learning.update(start, likelihood, seen, "harmonic")  # step 1/2
    bayes = likelihood[0, 4] / jnp.sum(likelihood[0, 4])
    np.testing.assert_allclose(after.prior, (start.prior + bayes) / 2, atol=1e-6)


@pytest.mark.parametrize("schedule", ["half", "sqrt", "em"])
def test_identical_types_are_never_told_apart(market, schedule):
    twins = market.replace(valuations=market.valuations[[0, 1, 2, 2, 4]], prior=np.full(5, 0.2))
    likelihood = learning.likelihoods(twins, 0.3 * market.valuations.mean(0))
    found = learning.identifiability(likelihood, twins.prior)
    assert found.alike == ((2, 3),)
    assert found.information < 1e-6
    truth = jnp.asarray([0.1, 0.2, 0.05, 0.35, 0.3])
    learner, _ = learning.learn(jax.random.key(1), likelihood, truth, batch=100, rounds=1000, schedule=schedule)
    assert learner.prior[2] == pytest.approx(float(learner.prior[3]), abs=1e-5)
    assert learner.prior[2] + learner.prior[3] == pytest.approx(0.4, abs=0.1)


def test_information_predicts_the_error_of_maximum_likelihood(market, likelihood):
    """The mean squared error in the worst direction is 1 / (n information), within sampling error."""
    truth = scenarios.prior_of("uniform", 5)
    found = learning.identifiability(likelihood, truth)
    assert found.alike == ()
    rounds, batch = 40, 100
    learners, _ = jax.vmap(
        lambda key: learning.learn(
            key, likelihood, jnp.asarray(truth, jnp.float32), batch=batch, rounds=rounds, schedule="em"
        )
    )(jax.random.split(jax.random.key(2), 64))
    errors = np.asarray(learners.prior) - truth
    worst = np.linalg.eigvalsh(errors.T @ errors / 64)[-1]
    assert 0.4 < worst * rounds * batch * found.information < 2.5


def test_more_curves_and_items_tell_more(market):
    one = learning.likelihoods(market, np.full(10, 5.0))  # nobody buys: all stop at once
    assert learning.identifiability(one, market.prior).information < 1e-6
    both = learning.likelihoods(market, np.stack([np.full(10, 5.0), 0.3 * market.valuations.mean(0)]))
    assert both.shape == (2, 15, 5)
    assert learning.identifiability(both, market.prior).information > 0.05
    items = learning.likelihoods(market, 0.3 * market.valuations.mean(0), items=True)
    assert items.shape == (1, 165, 5)
    np.testing.assert_allclose(jnp.sum(items, 1), 1.0, atol=1e-5)
    periods = learning.likelihoods(market, 0.3 * market.valuations.mean(0))
    np.testing.assert_allclose(jnp.sum(items.reshape(1, 15, 11, 5), 2), periods, atol=1e-6)
    tell = [learning.identifiability(table, market.prior).information for table in (periods, items)]
    assert tell[1] > tell[0] * 1.01


def test_an_error_in_the_prior_costs_at_most_twice_the_price_times_the_error():
    rng = np.random.default_rng(0)
    for seed in range(10):
        problem = scenarios.random_instance(3, 3, 2, seed)
        estimate = rng.dirichlet(np.ones(3))
        optimum = patterns.brute_force(problem).revenue
        posted = patterns.brute_force(problem.replace(prior=estimate)).prices
        loss = optimum - instance.revenue(problem, posted)
        assert -1e-9 <= loss <= 2 * problem.scale * np.abs(problem.prior - estimate).sum()


@pytest.mark.parametrize("schedule", learning.SCHEDULES)
def test_a_batch_that_shows_nothing_teaches_nothing(likelihood, schedule):
    start = learning.init(5, 15)._replace(prior=jnp.asarray([0.1, 0.2, 0.3, 0.3, 0.1]))
    after = learning.update(start, likelihood, jnp.zeros((1, 15)), schedule, pseudo=0.0)
    np.testing.assert_allclose(after.prior, start.prior, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(batch=0), "batch and rounds"),
        (dict(rounds=0), "batch and rounds"),
        (dict(truth=jnp.ones(2)), "truth must"),
    ],
)
def test_learning_needs_buyers_of_the_types(likelihood, options, message):
    given = dict(truth=jnp.full(5, 0.2), batch=10, rounds=3, schedule="em") | options
    with pytest.raises(ValueError, match=message):
        learning.learn(jax.random.key(0), likelihood, **given)


def test_unknown_names_get_a_remedy(market):
    with pytest.raises(ValueError, match="Did you mean sqrt"):
        learning.update(learning.init(2, 2), jnp.ones((1, 2, 2)) / 2, jnp.ones((1, 2)), "sqr")
    with pytest.raises(ValueError, match="Did you mean uniform"):
        scenarios.prior_of("unifrom", 3)
    with pytest.raises(ValueError, match=r"prior\[1\] is 0"):
        learning.identifiability(jnp.ones((1, 2, 2)) / 2, np.array([1.0, 0.0]))
