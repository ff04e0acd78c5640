"""Normalised scores against D4RL's published constants."""

import numpy as np
import pytest

from jaxrl_suite.rl.datasets import scores
from jaxrl_suite.rl.datasets.offline import Metadata

PUBLISHED = [
    ("halfcheetah-medium-replay-v2", -280.178953, 12135.0),
    ("halfcheetah-random-v0", -280.178953, 12135.0),
    ("hopper-medium-v2", -20.272305, 3234.3),
    ("hopper-full-replay-v1", -20.272305, 3234.3),
    ("walker2d-medium-expert-v2", 1.629008, 4592.3),
    ("ant-expert-v0", -325.6, 3879.7),
    ("pen-human-v1", 96.262799, 3076.8331017826877),
    ("hammer-cloned-v0", -274.856578, 12794.134825156867),
    ("relocate-expert-v1", -6.425911, 4233.877797728884),
    ("door-human-v0", -56.512833, 2880.5693087298737),
    ("antmaze-large-diverse-v2", 0.0, 1.0),
    ("kitchen-mixed-v0", 0.0, 4.0),
    ("maze2d-umaze-v1", 23.85, 161.86),
    ("maze2d-medium-v1", 13.13, 277.39),
    ("maze2d-large-v1", 6.7, 273.99),
]


@pytest.mark.parametrize(("name", "low", "high"), PUBLISHED)
def test_reference_scores_are_the_published_constants(name, low, high):
    assert scores.reference_scores(name) == (low, high)
    assert scores.normalised_score([low, high], scores.reference_scores(name)).tolist() == [0.0, 100.0]


def test_a_score_follows_the_formula_and_is_not_clipped():
    reference = scores.reference_scores("halfcheetah-medium-v2")
    assert scores.normalised_score(5008.6, reference) == pytest.approx(100 * (5008.6 + 280.178953) / 12415.178953)
    assert scores.normalised_score(20_000.0, reference) > 100
    assert scores.normalised_score(-1000.0, reference) < 0
    own = Metadata(ref_min_score=-1228.6, ref_max_score=-151.5)
    np.testing.assert_allclose(scores.normalised_score([[-1228.6], [-690.05]], own), [[0], [50]])


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(ValueError, match="Did you mean halfcheetah-medium-replay-v2"):
        scores.reference_scores("halfcheetah-medium-reply-v2")
    with pytest.raises(ValueError, match="have no ref_min_score"):
        scores.normalised_score(1.0, Metadata())
    for low, high in ((1.0, 1.0), (2.0, 1.0), (np.nan, 1.0)):
        with pytest.raises(ValueError, match="ref_min_score must lie below ref_max_score"):
            scores.normalised_score(1.0, scores.Reference(low, high))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bullet-halfcheetah-medium-v0", "here have none for 'bullet-halfcheetah-medium-v0': measure them"),
        ("minigrid-fourrooms-v0", "here have none"),
        ("hopper-medium-v5", r"of hopper-medium in version 0 and 1 and 2, not 'hopper-medium-v5': those of another"),
        ("hoper-medium-v2", "Did you mean hopper-medium-v2"),
    ],
)
def test_scores_of_another_simulator_are_never_suggested(name, message):
    with pytest.raises(ValueError, match=message) as error:
        scores.reference_scores(name)
    assert ("Did you mean" in str(error.value)) == name.startswith("hoper")
