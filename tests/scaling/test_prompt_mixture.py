"""Diversity of prompts against plain enumeration of prompts and answers."""

import itertools
import math

import numpy as np
import pytest

from jaxrl_suite.scaling import PromptMixture, beta_any_right
from jaxrl_suite.scaling.diverse.prompt_mixture import vote

MIXTURE = PromptMixture(((0.5, 0.3, 0.2), (0.2, 0.7, 0.1), (0.4, 0.1, 0.5)), (0.5, 0.25, 0.25))


def enumerated(mixture, count, diverse, judge):
    """Probability of `judge` over all prompts and answers, one by one."""
    total, prompts = 0.0, range(len(mixture.weights))
    for drawn in itertools.product(prompts, repeat=count) if diverse else ((p,) * count for p in prompts):
        weight = math.prod(mixture.weights[p] for p in drawn) if diverse else mixture.weights[drawn[0]]
        for answers in itertools.product(range(3), repeat=count):
            chance = math.prod(mixture.answers[p][a] for p, a in zip(drawn, answers, strict=True))
            total += weight * chance * judge(answers)
    return total


def wins(answers):
    counts = [answers.count(i) for i in range(3)]
    return (counts[0] == max(counts)) / counts.count(max(counts))


@pytest.mark.parametrize("diverse", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_closed_forms_are_what_enumeration_finds(diverse, count):
    any_right = enumerated(MIXTURE, count, diverse, lambda answers: 0 in answers)
    assert MIXTURE.any_right(count, diverse=diverse) == pytest.approx(any_right, abs=1e-12)
    majority = enumerated(MIXTURE, count, diverse, wins)
    assert MIXTURE.majority_right(count, diverse=diverse) == pytest.approx(majority, abs=1e-12)


def test_failure_rates_of_a_beta_law():
    """The figures of Beta(8, 2) at K = 10, and the ratio of failures, by the closed form and by many prompts."""
    assert beta_any_right(8, 2, 10, diverse=False) == pytest.approx(0.789, abs=5e-4)
    assert beta_any_right(8, 2, 10, diverse=True) == pytest.approx(0.893, abs=5e-4)
    rates = np.random.default_rng(0).beta(8, 2, 200_000)
    for count in (1, 5, 10):
        assert beta_any_right(8, 2, count, diverse=False) == pytest.approx(1 - np.mean(rates**count), abs=3e-3)
    ratio = (1 - beta_any_right(8, 2, 5, diverse=False)) / (1 - beta_any_right(8, 2, 5, diverse=True))
    assert ratio == pytest.approx(1.21, abs=5e-3)


def test_diversity_never_hurts_beside_one_random_prompt_and_may_beside_the_original():
    rng = np.random.default_rng(1)
    for _ in range(100):
        answers = rng.dirichlet((1, 1), 4)
        mixture = PromptMixture(tuple(map(tuple, answers)), tuple(rng.dirichlet((1,) * 4)))
        for count in (1, 3, 10):
            gain = mixture.any_right(count, diverse=True) - mixture.any_right(count, diverse=False)
            assert gain >= -1e-12
            assert count > 1 or abs(gain) < 1e-12
        original = 0.9 * float(np.dot(mixture.weights, mixture.failure))  # fails less often than they do on average
        assert all(1 - original**count > mixture.any_right(count, diverse=True) for count in (1, 3, 10))


def test_a_majority_vote_may_gain_or_lose_by_diversity_and_its_sign_depends_on_the_votes():
    """Prompts agree on the truth alone, and err each in its own way; or one errs, and outvotes the others."""
    helped = PromptMixture(((0.4, 0.6, 0.0), (0.4, 0.0, 0.6)), (0.5, 0.5))
    assert [helped.majority_limit(diverse=diverse) for diverse in (False, True)] == [0.0, 1.0]
    hurt = PromptMixture(((0.51, 0.49, 0.0), (0.0, 1.0, 0.0)), (0.7, 0.3))
    assert [hurt.majority_limit(diverse=diverse) for diverse in (False, True)] == [0.7, 0.0]
    for mixture, sign in ((helped, 1), (hurt, -1)):
        gains = [mixture.majority_right(n, diverse=True) - mixture.majority_right(n, diverse=False) for n in (1, 21)]
        assert gains[0] == pytest.approx(0, abs=1e-12)
        assert sign * gains[1] > 0.1
    gains = [MIXTURE.majority_right(n, diverse=True) - MIXTURE.majority_right(n, diverse=False) for n in (3, 9, 41)]
    limit = MIXTURE.majority_limit(diverse=True) - MIXTURE.majority_limit(diverse=False)
    assert limit == 0.5
    assert gains == sorted(gains)


def test_votes_add_up_over_the_answers():
    answers = np.asarray([0.2, 0.5, 0.3])
    total = sum(vote(np.roll(answers, shift), 7) for shift in range(3))
    assert total == pytest.approx(1, abs=1e-12)


def test_what_is_no_probability_is_refused():
    for answers, weights in (
        (((0.5, 0.6),), (1.0,)),
        (((0.5, 0.5),), (0.5,)),
        (((-0.5, 1.5),), (1.0,)),
        (((math.nan, 1.0),), (1.0,)),
        (((0.5, 0.5), (1.0,)), (0.5, 0.5)),
        (((0.5, 0.5),), (0.5, 0.5)),
    ):
        with pytest.raises(ValueError, match=r"probabilities|weight for each"):
            PromptMixture(answers, weights)
    with pytest.raises(ValueError, match="outcomes"):
        vote(np.full(6, 1 / 6), 100)
    with pytest.raises(ValueError, match="above 0"):
        beta_any_right(0, 2, 3, diverse=True)
