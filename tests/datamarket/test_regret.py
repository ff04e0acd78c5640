"""What errors in the prior and in the chain cost."""

import numpy as np
import pytest

from jaxrl_suite.datamarket import instance, market, regret, scenarios

OPTIONS = dict(starts=16, steps=0, perturbation_restarts=4)


@pytest.mark.parametrize("seed", range(6))
def test_an_error_in_the_prior_costs_no_more_than_its_bound(seed):
    problem = scenarios.random_instance(4, 4, 3, seed)
    estimate = np.random.default_rng(seed).dirichlet(np.ones(4))
    loss = regret.commitment_error(problem, problem.replace(prior=estimate), **OPTIONS)
    assert -1e-6 <= loss <= regret.prior_bound(problem, estimate)
    assert regret.commitment_error(problem, problem, **OPTIONS) == pytest.approx(0, abs=1e-9)


def test_an_error_in_the_chain_costs_less_with_more_trajectories():
    draw = np.random.default_rng(0)
    truth = market.Market(
        np.arange(5), draw.dirichlet(np.ones(5)), draw.dirichlet(np.ones(5), (3, 5)),
        np.sort(draw.uniform(size=(6, 5)), 1), np.full(6, 1 / 6),
    )  # fmt: skip
    problem = instance.instance_of_sets(truth.valuations, *_sets(truth))
    losses = []
    for count in (3, 300):
        for seed in range(8):
            rng = np.random.default_rng(seed)
            found = np.zeros((count, truth.horizon), int)
            found[:, 0] = rng.choice(5, count, p=truth.initial)
            for t, law in enumerate(truth.transitions):
                found[:, t + 1] = (rng.random((count, 1)) > law[found[:, t]].cumsum(1)[:, :-1]).sum(1)
            initial, transitions = market.smoothed_chain(found, 5)
            guess = truth.replace(initial=initial, transitions=transitions)
            estimate = instance.instance_of_sets(truth.valuations, *_sets(guess))
            losses.append(regret.commitment_error(problem, estimate, **OPTIONS))
    few, many = np.mean(losses[:8]), np.mean(losses[8:])
    assert many < 0.01
    assert many < 0.3 * few


def test_estimates_must_be_of_the_same_market():
    with pytest.raises(ValueError, match="estimate the same market"):
        regret.commitment_error(scenarios.random_instance(2, 2, 1), scenarios.random_instance(2, 3, 1))


def _sets(of):
    sets, weights = instance.exact_sets(of)
    return sets, of.prior, weights
