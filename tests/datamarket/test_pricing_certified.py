"""The portfolio beside integer programs of a few nodes each."""

import pytest

from jaxrl_suite.datamarket import baselines, instance, portfolio, programs, scenarios


@pytest.mark.tier2
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("size", [(5, 5, 1), (6, 4, 9), (10, 10, 1), (10, 8, 16), (20, 20, 1)], ids=str)
def test_equals_the_integer_program_or_beats_its_incumbent(size, seed):
    problem = scenarios.random_instance(*size, seed)
    mine = portfolio.price_curve(problem, seed=seed)
    proof = programs.solve_program(problem, nodes=5)
    if proof.closed:
        assert mine.revenue == pytest.approx(proof.revenue, rel=1e-5)
    assert mine.revenue >= 0.99 * proof.revenue
    if size == (10, 8, 16):  # what it finds in them, also the optimum at times, is never more than this
        assert mine.revenue >= proof.revenue - 1e-9
    assert mine.revenue <= proof.bound + 1e-6
    lottery = programs.lottery_bound(problem)
    assert mine.revenue <= lottery + 1e-6
    if proof.closed:
        assert proof.bound <= lottery + 1e-5
    for rule in baselines.BASELINES.values():
        assert mine.revenue >= instance.revenue(problem, rule(problem)) - 1e-12
