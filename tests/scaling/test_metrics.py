"""Metrics of inference scaling against plain counting."""

import itertools
import math

import numpy as np
import pytest

from jaxrl_suite.scaling import PivotChain, pass_at_k, success_by_budget
from jaxrl_suite.scaling.metrics import tokens_to_solve
from jaxrl_suite.scaling.records import ScalingResult, SearchVisit, Solution


def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample():
    for n, c in itertools.product(range(1, 8), range(8)):
        if c <= n:
            for k in range(1, n + 1):
                subsets = list(itertools.combinations([i < c for i in range(n)], k))
                share = sum(map(any, subsets)) / len(subsets)
                np.testing.assert_allclose(pass_at_k([n], [c], k), share, atol=1e-12)


def test_pass_at_k_is_unbiased():
    """Its mean over the number of right samples of 10 is 1 - (1 - p)^k, by the binomial law."""
    p, n = 0.3, 10
    chances = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    for k in (1, 4, 10):
        estimates = pass_at_k([n] * (n + 1), range(n + 1), k)
        assert float(np.dot(chances, estimates)) == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def test_pass_at_k_refuses_what_it_cannot_know():
    with pytest.raises(ValueError, match="problem 1 has 3 samples"):
        pass_at_k([5, 3], [5, 0], 4)  # three wrong samples do not say that a fourth is right
    for samples, solved, k in (([5], [6], 1), ([5], [-1], 1), ([5], [1], 0), ([5, 5], [1], 1)):
        with pytest.raises(ValueError, match="give k"):
            pass_at_k(samples, solved, k)


def test_costs_are_those_up_to_the_first_whole_reward():
    wrong, right = Solution((0, 2, 3), 0.5), Solution((0, 1, 3), 1.0)
    result = ScalingResult(right, (SearchVisit((), (wrong,), 1.0, True), SearchVisit((0,), (right, wrong), 1.0, True)))
    assert (result.solved_after, tokens_to_solve(result)) == (2, 5.0)
    never = ScalingResult(wrong, (SearchVisit((), (wrong,), 1.0, True),))
    assert (never.solved_after, tokens_to_solve(never)) == (None, math.inf)
    assert success_by_budget([5.0, math.inf], [4, 5, 100]).tolist() == [[False, True, True], [False, False, False]]


def test_pivots_lie_apart_and_rewards_are_by_hand():
    assert PivotChain().places == (4, 12, 20, 28, 36)
    answer = [0] * 40
    for place, token in zip((4, 12, 20, 28, 36), (1, 1, 2, 1, 1), strict=True):
        answer[place] = token
    found = {reward: PivotChain(reward=reward).grade(answer) for reward in ("run", "fraction", "tests", "binary")}
    assert found == {"run": 0.4, "fraction": 0.8, "tests": 0.6, "binary": 0.0}
