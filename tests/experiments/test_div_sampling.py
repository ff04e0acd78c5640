"""The experiment `div_sampling` at its smallest: its tables, paired methods, and a killed run as if never stopped."""

import csv
import itertools

import numpy as np
import pytest
from fixtures.killed_run import whole_and_parts

from jaxrl_suite.errors import UserError
from jaxrl_suite.experiments.div_sampling import config as div_config
from jaxrl_suite.experiments.div_sampling import draws, experiment, report

SMALL = div_config.Config(
    seeds=(0, 1), methods=("plain", "style", "idea"), problems=4, samples=3, temperatures=(0.7,), tuning=2, prompts=3,
    draws=4, noise=(0, 2),
)  # fmt: skip


def rows(folder, name):
    with open(folder / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, and beside it the same one that was killed in the middle and continued."""
    place = tmp_path_factory.mktemp("div")
    whole_and_parts(place, "div_sampling", experiment.main, SMALL, draws, "search", 5)
    return place


@pytest.mark.tier2
def test_killed_and_resumed_is_as_if_never_stopped(folder):
    whole = sorted(path.relative_to(folder / "whole") for path in (folder / "whole" / "tables").iterdir())
    assert {"exact_any", "exact_votes", "success_countdown-early", "predictions_countdown-early"} <= {
        path.stem for path in whole
    }
    for path in whole:
        assert (folder / "whole" / path).read_bytes() == (folder / "parts" / path).read_bytes(), path


@pytest.mark.tier2
def test_every_method_is_charged_for_all_it_asks(folder):
    found = {row["method"]: row for row in rows(folder / "whole", "success_countdown-early")}
    assert list(found) == ["one prompt", "styles", "ideas, own"]
    ideas, plain = found["ideas, own"], found["one prompt"]
    assert float(ideas["samples"]) * 8 % 2 == 0  # 8 searches; an idea and an answer each
    assert float(plain["samples"]) <= 3 < float(ideas["samples"]) <= 6


@pytest.mark.tier2
def test_exact_tables_are_those_of_the_paper(folder):
    table = {int(row["answers"]): row for row in rows(folder / "whole", "exact_any")}
    assert float(table[10]["one prompt for all"]) == pytest.approx(0.789, abs=5e-4)
    assert float(table[10]["a prompt each"]) == pytest.approx(0.893, abs=5e-4)
    votes = rows(folder / "whole", "exact_votes")
    gains = {
        (row["prompts"], int(row["votes"])): float(row["a prompt each"]) - float(row["one prompt"]) for row in votes
    }
    assert gains["prompts that agree on an error", 31] < -0.1
    assert gains["prompts with errors of their own", 31] > 0.1
    assert gains["one prompt agrees, one spreads", 3] > 0.02  # of one mixture, the sign depends on the votes
    assert gains["one prompt agrees, one spreads", 21] < -0.02


def test_numbers_change_places_and_the_target_does_not():
    prompt = (3, 7, 2, 20, 58, 104)
    seen = {draws.permute_numbers(prompt, np.random.default_rng(i)) for i in range(200)}
    assert len(seen) == 24
    assert all(sorted(row[:4]) == [2, 3, 7, 20] and row[4:] == prompt[4:] for row in seen)


def test_a_prompt_each_is_predicted_over_sets_of_different_prompts():
    rates = np.array([[0.1, 0.5, 0.9, 0.2], [0.3, 0.3, 0.3, 0.3]])
    sets = [np.prod(1 - rates[:, list(some)], axis=1) for some in itertools.combinations(range(4), 3)]
    np.testing.assert_allclose(report.any_of_different(rates, 3), 1 - np.mean(sets, axis=0), rtol=1e-12)
    assert report.any_of_different(rates, 3)[1] == pytest.approx(1 - 0.7**3)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match="must have plain"):
        div_config.Config(methods=("style",))
    with pytest.raises(UserError, match="at least the 10 samples"):
        div_config.Config(draws=5)
