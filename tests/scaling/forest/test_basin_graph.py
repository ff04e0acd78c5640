"""Laws of BasinGraph against enumeration of all that can happen, and SFS on it by enumeration and by simulation."""

import itertools
import math

import numpy as np
import pytest

from jaxrl_suite.llm.jobs import Job
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.protocol import Completion, Reply, Usage
from jaxrl_suite.llm.questions import Sample, Verdicts, Verify
from jaxrl_suite.scaling.forest import BasinGraph, BasinThinker, SfsConfig, sfs
from jaxrl_suite.scaling.forest.basin_graph import rank_law
from jaxrl_suite.scaling.forest.choices import draw_choices

TINY = BasinGraph((0.7, 0.3), (0.6, 0.3, 0.1), right_basin=1, right_direction=1, steps=2)


class Tape:
    """Answers every choice among probabilities in all possible ways, one run after the other."""

    def __init__(self):
        self.plan, self.place, self.chance = [], 0, 1.0

    def choose(self, chances):
        options = [i for i, p in enumerate(chances) if p > 0]
        if self.place == len(self.plan):
            self.plan.append([0, len(options)])
        option = options[self.plan[self.place][0]]
        self.place += 1
        self.chance *= chances[option]
        return option

    def runs(self):
        """Yields once for each way, then goes on to the next."""
        while True:
            self.place, self.chance = 0, 1.0
            yield
            while self.plan and self.plan[-1][0] + 1 == self.plan[-1][1]:
                self.plan.pop()
            if not self.plan:
                return
            self.plan[-1][0] += 1


class TapeThinker(BasinThinker):
    tape: Tape

    def chooser(self, path):
        known = self.memory.setdefault(path, [])
        place = itertools.count()

        def choose(chances):
            i = next(place)
            if i == len(known):
                known.append(self.tape.choose(chances))
            return known[i]

        return choose


def every_outcome(graph, config):
    """(probability, result) of each way that a search can go."""
    tape = Tape()
    for _ in tape.runs():
        plain = graph.thinker(0)
        thinker = TapeThinker(**{name: getattr(plain, name) for name in plain.__dataclass_fields__})
        object.__setattr__(thinker, "tape", tape)
        object.__setattr__(thinker, "memory", {})
        search, answer = sfs(thinker, config), None
        while True:
            try:
                asked = search.send(answer)
            except StopIteration as stop:
                yield tape.chance, stop.value
                break
            if isinstance(asked, Verify):
                answer = Verdicts(tuple(graph.verifier(asked.items)))
                continue
            assert isinstance(asked, Sample)
            if asked.request.role == "solve" and asked.sampler == "main":
                tokens, logprobs = [1 + tape.choose(graph.basins)], [0.0]
            elif asked.request.role == "edit":
                tokens, logprobs = [graph.end], [0.0]
            else:  # as a `ChoiceSampler` answers, with all digits
                first, law = {
                    "basins": (1, graph.basins),
                    "directions": (graph.first_direction, graph.directions),
                }[asked.sampler]
                tokens, logprobs = [first + i for i in range(len(law))], np.log(law)
            completion = Completion(None, np.asarray(tokens), np.asarray(logprobs), "length", 1)
            answer = Reply((completion,), Usage(), Usage())


def solved(graph, config):
    outcomes = list(every_outcome(graph, config))
    assert math.fsum(chance for chance, _ in outcomes) == pytest.approx(1, abs=1e-12)
    return math.fsum(chance for chance, result in outcomes if result.solved_after)


@pytest.mark.parametrize("repeat", [False, True])
def test_rank_law_is_what_enumeration_finds(repeat):
    weights = (0.5, 0.3, 0.2)
    expected = np.zeros(3)
    for order in itertools.product(range(3), repeat=3) if repeat else itertools.permutations(range(3)):
        left, chance = 1.0, 1.0
        for k in order:
            chance *= weights[k] / left
            left -= 0 if repeat else weights[k]
        if 1 in order:
            expected[order.index(1)] += chance
    np.testing.assert_allclose(rank_law(weights, 1, repeat=repeat, most=3), expected, atol=1e-12)


def test_inclusion_of_even_weights_is_their_share_and_the_mean_rank_a_closed_form():
    for size in (1, 2, 5, 8):
        even = (1 / size,) * size
        law = rank_law(even, size - 1, repeat=False, most=size)
        np.testing.assert_allclose(np.cumsum(law), np.arange(1, size + 1) / size, atol=1e-12)
        graph = BasinGraph((1.0,), even, 0, 0, steps=4)
        assert graph.expected_trials(repeat=False, scouting=False) == pytest.approx(4 * (size + 1) / 2, abs=1e-12)
        assert graph.expected_trials(repeat=False, scouting=True) == pytest.approx((size + 1) / 2 + 3, abs=1e-12)
        assert graph.basin_law(3, repeat=True) == 1
    graph = BasinGraph()
    law = rank_law(graph.directions, graph.right_direction, repeat=False, most=5)
    assert law.sum() == pytest.approx(1, abs=1e-12)
    mean = graph.expected_trials(repeat=False, scouting=False)
    assert float(law @ np.arange(1, 6)) == pytest.approx(mean, abs=1e-12)
    assert graph.basin_law(2, repeat=True) == pytest.approx(1 - 0.9**2, abs=1e-12)
    assert graph.trial_law(3, repeat=True) == pytest.approx(1 - 0.9**3, abs=1e-12)
    assert graph.basin_law(2, repeat=False) == pytest.approx(
        0.1 + sum(p * 0.1 / (1 - p) for p in (0.4, 0.3, 0.2)), abs=1e-12
    )


def test_trial_law_is_the_law_of_a_sum_of_ranks():
    one = rank_law(TINY.directions, 1, repeat=False, most=3)
    for trials in range(8):
        ways = itertools.product(range(1, 4), repeat=2)
        total = sum(one[a - 1] * one[b - 1] for a, b in ways if a + b <= trials)
        assert TINY.trial_law(trials, repeat=False) == pytest.approx(total, abs=1e-12)
        first = sum(one[a - 1] for a in range(1, 4) if a + 1 <= trials)
        assert TINY.trial_law(trials, repeat=False, scouting=True) == pytest.approx(first, abs=1e-12)


@pytest.mark.parametrize("scattering", [False, True])
@pytest.mark.parametrize("scouting", [False, True])
@pytest.mark.parametrize("foresting", [False, True])
def test_sfs_that_never_explores_solves_with_its_law(scattering, scouting, foresting):
    config = SfsConfig(
        5, seeds=2, ideas=1, exploration=0.0, scattering=scattering, scouting=scouting, foresting=foresting
    )
    seeds = 2 if foresting else 1
    law = TINY.solve_law(seeds, 5 - seeds, scattering=scattering, scouting=scouting)
    assert solved(TINY, config) == pytest.approx(law, abs=1e-12)


def test_choices_without_repetition_are_successive_sampling_to_the_last_digit():
    weights = (0.5, 0.3, 0.15, 0.05)
    tape, chance = Tape(), {}
    for _ in tape.runs():
        drawn = draw_choices(np.log(weights), 3, tape.choose, repeat=False)
        rank = drawn.index(3) if 3 in drawn else 3
        chance[rank] = chance.get(rank, 0.0) + tape.chance
    law = rank_law(weights, 3, repeat=False, most=4)
    np.testing.assert_allclose([chance[i] for i in range(4)], law, atol=1e-12)


@pytest.mark.parametrize(("scattering", "scouting"), [(True, True), (False, True), (True, False), (False, False)])
def test_sfs_by_simulation_agrees_with_its_law(scattering, scouting):
    graph, count = BasinGraph(steps=2), 400
    config = SfsConfig(12, seeds=3, ideas=1, exploration=0.0, scattering=scattering, scouting=scouting)
    jobs = [Job(f"{i}", lambda _, i=i: sfs(graph.thinker(i), config)) for i in range(count)]
    outcomes = run_lockstep(jobs, graph.samplers(seed=1), {"tests": graph.verifier})
    share = np.mean([outcome.value.solved_after is not None for outcome in outcomes])
    law = graph.solve_law(3, 9, scattering=scattering, scouting=scouting)
    assert 0.05 < law < 0.95
    assert abs(share - law) <= 3 * math.sqrt(law * (1 - law) / count)


def test_graphs_that_cannot_be_are_refused():
    for options in (
        {"basins": (0.5, 0.4)},
        {"directions": ()},
        {"right_basin": 4},
        {"steps": 0},
        {"basins": (0.0, 1.0)},
    ):
        with pytest.raises(ValueError, match=r"add up|places|steps"):
            BasinGraph(**options)
