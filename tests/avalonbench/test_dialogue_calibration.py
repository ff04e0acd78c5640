"""The worth of ratings as evidence: recovered where it is known, nought where there is none, useful out of sample."""

import functools

import jax
import numpy as np
import pytest

from jaxrl_suite.avalonbench import beliefs
from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.avalonbench.dialogue.calibration import Heard, Scales, calibrate, quality
from jaxrl_suite.avalonbench.dialogue.dialogue import Ratings, listen
from jaxrl_suite.avalonbench.information_sets import information_sets
from jaxrl_suite.avalonbench.observation_models import FailCounts
from jaxrl_suite.envs import Avalon

GAME = Avalon(5)
TABLE = tables(GAME)


def listeners(count, scales, seed=0):
    """Servants in seat 0 who hold ratings, with truths drawn from the posterior that `scales` imply."""
    rng = np.random.default_rng(seed)
    inside = TABLE.roles[:, 0] == 5
    heard = []
    for _ in range(count):
        weights = rng.dirichlet(np.ones(60)) * inside
        weights /= weights.sum()
        evil, merlin = (tuple(int(x) for x in rng.integers(-2, 3, 5)) for _ in range(2))
        good = 1 - ((TABLE.evil[:, None] >> np.arange(5)) & 1)
        holder = np.argmax(TABLE.roles == 0, axis=1)
        logits = -scales[0] * good @ np.array(evil) + scales[1] * np.array(merlin)[holder]
        chances = weights * np.exp(logits)
        heard.append(Heard(weights, Ratings(evil, merlin), int(rng.choice(60, p=chances / chances.sum()))))
    return heard


@functools.cache
def informed():
    return listeners(3000, (0.6, 0.9))


def test_recovers_the_scales_that_made_the_truth():
    found = calibrate(GAME, informed())
    assert found.good == pytest.approx(0.6, abs=0.08)
    assert found.merlin == pytest.approx(0.9, abs=0.12)


def test_ratings_that_tell_nothing_get_scales_near_nought_and_misleading_ones_negative_scales():
    noise = calibrate(GAME, listeners(3000, (0.0, 0.0), seed=1))
    assert max(map(abs, noise)) < 0.06
    assert calibrate(GAME, listeners(1000, (-0.5, 0.0), seed=2)).good < -0.35


def test_a_fitted_tilt_improves_beliefs_on_games_that_it_was_not_fitted_to():
    scales, unseen = calibrate(GAME, informed()), listeners(1000, (0.6, 0.9), seed=3)
    before, after = quality(GAME, unseen, Scales(0.0, 0.0)), quality(GAME, unseen, scales)
    assert after.log_loss < before.log_loss - 0.3
    assert after.brier < before.brier - 0.03


def test_scores_the_posterior_that_listen_gives():
    number = int(np.flatnonzero(TABLE.roles[:, 0] == 5)[7])
    roles = TABLE.roles[number]
    belief = beliefs.prior(GAME, roles, 0, FailCounts())
    ratings = Ratings((0, 2, -1, 1, 0), (0, 0, 1, -2, 2))
    after = np.asarray(beliefs.posterior(jax.jit(lambda b: listen(GAME, b, ratings, 0.4, 0.7))(belief)))
    inside = information_sets(GAME).index[0] == information_sets(GAME).index[0, number]
    found = quality(GAME, [Heard(inside / inside.sum(), ratings, number)], Scales(0.4, 0.7))
    assert found.log_loss == pytest.approx(-np.log(after[number]), abs=1e-5)
    good = np.asarray(beliefs.p_good(GAME, after))
    assert found.brier == pytest.approx(np.mean((good - (~np.isin(roles, (6, 7)))) ** 2), abs=1e-5)


def test_refuses_nothing_and_truths_that_were_ruled_out():
    with pytest.raises(ValueError, match="nothing"):
        calibrate(GAME, [])
    one = informed()[0]
    with pytest.raises(ValueError, match="impossible"):
        calibrate(GAME, [one._replace(truth=int(np.flatnonzero(one.weights == 0)[0]))])
