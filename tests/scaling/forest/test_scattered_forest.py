"""SFS by hand: traces of UCT, PUCT and max-backup, switches, and the rivals on a scripted thinker."""

import math

import numpy as np
import pytest

from jaxrl_suite.scaling.forest import (
    Direction,
    DraftSolution,
    Feedback,
    NoisyTests,
    SfsConfig,
    fun_search,
    line_search,
    plain_tree,
    refine_instructions,
    resample,
    rex,
    sfs,
    verbalized_sampling,
)
from jaxrl_suite.scaling.forest.sfs import ForestSearch, back_up, puct, uct
from jaxrl_suite.scaling.forest.trial import GENERIC, Forest

SQRT2 = math.sqrt(2)


class Scripted:
    """Solutions are scores, given by a script; directions are numbered; nothing is asked of a model."""

    key, num_themes, no_insights = (0, 0), 2, ()

    def __init__(self, scores, batches=None):
        self.scores, self.batches = list(scores), batches
        self.calls = []

    def _next(self):
        return DraftSolution(self.scores.pop(0), -float(len(self.scores)))

    def seed(self, draw, theme):
        self.calls.append(("seed", draw, theme))
        return self._next()
        yield

    def several(self, count, draw):
        self.calls.append(("several", count))
        return tuple(self._next() for _ in range(min(count, 3)))
        yield

    def directions(self, subject, insights, tried, count, path, *, scatter):
        self.calls.append(("directions", count, scatter, insights))
        if self.batches is not None:
            return self.batches.pop(0) if self.batches else ()
        return tuple(Direction(f"d{len(tried) + i}") for i in range(count))
        yield

    def edit(self, subject, direction, path):
        self.calls.append(("edit", subject.solution, None if direction is None else direction.text))
        return self._next()
        yield

    def learn(self, insights, before, direction, after, path):
        return (*insights, after.feedback.score - before.feedback.score)
        yield

    def grade(self, solution):
        return Feedback(float(solution))
        yield

    def show(self, solution):
        return str(solution)


def end(algorithm):
    """The result of an algorithm that asks nothing."""
    with pytest.raises(StopIteration) as stop:
        next(algorithm)
    return stop.value.value


def parents(result):
    return [node.parent for node in result.nodes]


def test_uct_and_puct_by_hand():
    values, counts = np.asarray([0.5, 0.25]), np.asarray([2.0, 1.0])
    expected = [0.5 + SQRT2 * math.sqrt(math.log(3) / 2), 0.25 + SQRT2 * math.sqrt(math.log(3))]
    np.testing.assert_allclose(uct(values, counts, 3, SQRT2), expected, rtol=1e-15)
    logprobs = np.asarray([-1.0, -1.0 - math.log(3)])  # priors 3/4 and 1/4
    weight = math.log(14 / 10) + 2
    expected = [
        0.5 + weight * 0.75 * math.sqrt(math.log(3) / 3),
        0.25 + weight * 0.25 * math.sqrt(math.log(3) / 2),
    ]
    np.testing.assert_allclose(puct(values, counts, 3, logprobs, 10, 2), expected, rtol=1e-12)


def test_a_search_by_hand():
    """Seeds .2 and .6. ln of the root's visits is ln 2, ln 3, ...; each line below is one step down.

    1. root 2 visits: .2 + c sqrt(ln 2) < .6 + c sqrt(ln 2): node 1, new directions d0 and d1; child 2 scores .4.
    2. root 3: node 0 .2 + c sqrt(ln 3) = 1.682, node 1 .6 + c sqrt(ln 3 / 2) = 1.648: node 0; child 3 scores .5, and
       the value of node 0 becomes .5.
    3. root 4: node 0 .5 + c sqrt(ln 4 / 2) = 1.677, node 1 .6 + .. = 1.777: node 1, whose d1 is untried: child 4 of .8,
       and the value of node 1 becomes .8.
    4. root 5: node 0 .5 + c sqrt(ln 5 / 2) = 1.769, node 1 .8 + c sqrt(ln 5 / 3) = 1.836: node 1, used up, and
       child 4 beats it: among its children 2 at .4 and 4 at .8, one visit each: node 4. Child 5 scores 1.
    """
    thinker = Scripted([0.2, 0.6, 0.4, 0.5, 0.8, 1.0, 0.0])
    forest = Forest(thinker, 7)
    search = ForestSearch(SfsConfig(num_solutions=7, seeds=2))
    steps = [end(search.plant(forest))]
    for values, visits in (
        ([0.2, 0.6, 0.4], [1, 2, 1]),
        ([0.5, 0.6, 0.4, 0.5], [2, 2, 1, 1]),
        ([0.5, 0.8, 0.4, 0.5, 0.8], [2, 3, 1, 1, 1]),
        ([0.5, 1.0, 0.4, 0.5, 1.0, 1.0], [2, 4, 1, 1, 2, 1]),
    ):
        steps.append(end(search.step(forest)))
        assert forest.values == values
        assert forest.visits == visits
    assert steps == [None, 2, 3, 4, 5]
    assert search.root_visits == 5
    assert forest.is_over
    result = forest.result()
    assert parents(result) == [None, None, 1, 0, 1, 4]
    assert [node.direction for node in result.nodes] == ["", "", "d0", "d0", "d1", "d0"]
    assert (result.submitted, result.solved_after, result.way(5)) == (5, 6, (1, 4, 5))
    assert [call for call in thinker.calls if call[0] == "seed"] == [("seed", 0, 0), ("seed", 1, 1)]
    assert end(sfs(Scripted([0.2, 0.6, 0.4, 0.5, 0.8, 1.0, 0.0]), SfsConfig(7, seeds=2))).nodes == result.nodes


def test_backup_is_a_maximum_or_a_share_of_it():
    for share, expected in ((1.0, [0.9, 0.9, 0.9]), (0.5, [0.4, 0.6, 0.9])):
        forest = Forest(Scripted([0.2, 0.3, 0.9]), 9)
        end(forest.plant(0))
        end(forest.attempt(0, forest.suggest(0, GENERIC)))
        back_up(forest, 1, 0.0)
        child = end(forest.attempt(1, forest.suggest(1, GENERIC)))
        back_up(forest, child, share)
        np.testing.assert_allclose(forest.values, expected)


def test_puct_follows_what_the_model_found_likely():
    """Two seeds of one score: UCT takes the first, PUCT the likelier (the script's later solutions are likelier)."""
    for descent, parent in (("UCT", 0), ("PUCT", 1)):
        assert parents(end(sfs(Scripted([0.5, 0.5, 0.1]), SfsConfig(3, seeds=2, descent=descent))))[2] == parent


def test_a_solution_that_no_child_beats_gets_fresh_directions():
    result = end(sfs(Scripted([0.5] + [0.1] * 7), SfsConfig(8, seeds=1)))
    assert parents(result) == [None] + [0] * 7
    assert [node.direction for node in result.nodes[1:]] == [f"d{i}" for i in range(7)]


def test_where_no_direction_comes_a_generic_one_is_taken():
    thinker = Scripted([0.5, 0.1], batches=[])
    result = end(sfs(thinker, SfsConfig(2, seeds=1, idea_tries=3)))
    assert result.nodes[1].direction == GENERIC.text
    assert sum(call[0] == "directions" for call in thinker.calls) == 3


def test_each_part_can_be_left_out():
    scores = [0.1, 0.2, 0.3, 0.1, 0.2, 0.3]
    for field, check in (
        ("scattering", lambda calls: all(not c[2] for c in calls if c[0] == "directions") and calls[0][2] is None),
        ("foresting", lambda calls: sum(c[0] == "seed" for c in calls) == 1),
        ("scouting", lambda calls: all(c[3] == () for c in calls if c[0] == "directions")),
    ):
        whole, without = Scripted(scores), Scripted(scores)
        end(sfs(whole, SfsConfig(6, seeds=2, ideas=1)))
        end(sfs(without, SfsConfig(6, seeds=2, ideas=1, **{field: False})))
        assert check(without.calls)
        assert not check(whole.calls)


def test_themes_cycle_or_are_drawn():
    drawn = Scripted([0.1] * 12)
    end(sfs(drawn, SfsConfig(12, seeds=12, themes="random")))
    themes = [call[2] for call in drawn.calls]
    assert set(themes) == {0, 1}
    assert themes != [0, 1] * 6


def test_line_search_edits_the_last_and_submits_it():
    scores = [0.2, 0.7, 0.4, 0.1]
    result = end(line_search(Scripted(scores), 4))
    assert parents(result) == [None, 0, 1, 2]
    assert (result.submitted, end(line_search(Scripted(scores), 4, submit="best")).submitted) == (3, 1)


def test_a_plain_tree_has_two_children_each():
    result = end(plain_tree(Scripted([0.5] * 16), 16))
    counts = [parents(result).count(i) for i in range(16)]
    assert max(counts) == 2
    assert counts[:3] == [2, 2, 2]


def test_rex_repairs_the_promising_and_no_one_else():
    thinker = Scripted([0.0, 0.9, *[0.0] * 30])
    result = end(rex(thinker, 32, prior=50.0))
    assert parents(result)[:2] == [None, 0]
    assert parents(result).count(1) > 20
    assert all(call[2] is None for call in thinker.calls if call[0] == "edit")


def test_islands_are_emptied_by_halves():
    """Two islands of three: the better is that of solution 0, as 4 scores .9; both then begin from it."""
    result = end(fun_search(Scripted([0.1, 0.2, 0.3, 0.4, 0.9, 0.5, 0.0, 0.0]), 8, temperature=0.0))
    assert parents(result)[:6] == [None, None, 0, 1, 2, 3]
    assert parents(result)[6:] == [4, 4]


def test_irri_never_edits_an_edited_solution():
    thinker = Scripted([0.1, 0.2] + [0.9] * 6)
    result = end(refine_instructions(thinker, 8, seeds=2))
    assert parents(result) == [None, None, 0, 1, 0, 1, 0, 1]
    insights = [call[3] for call in thinker.calls if call[0] == "directions"]
    assert [len(one) for one in insights] == [0, 0, 1, 1, 2, 2]  # each first solution has its own


def test_verbalized_sampling_asks_for_several():
    thinker = Scripted([0.1] * 7)
    result = end(verbalized_sampling(thinker, 7, batch=5))
    assert [call for call in thinker.calls if call[0] == "several"] == [("several", 5), ("several", 4), ("several", 1)]
    assert len(result.nodes) == 7


@pytest.mark.parametrize(
    "options",
    [
        {"num_solutions": 0}, {"seeds": 0}, {"ideas": 0}, {"exploration": -1.0}, {"exploration": math.nan},
        {"backup": 1.1}, {"branching": -1}, {"descent": "uct"}, {"themes": "all"}, {"puct_base": 0.0},
        {"idea_tries": 0},
    ],
)  # fmt: skip
def test_constants_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match="must"):
        SfsConfig(**options)


def test_rivals_refuse_what_cannot_be():
    thinker = Scripted([0.1])
    for make in (
        lambda: rex(thinker, prior=0.0),
        lambda: fun_search(thinker, islands=1),
        lambda: line_search(thinker, submit="first"),
        lambda: refine_instructions(thinker, seeds=0),
        lambda: verbalized_sampling(thinker, batch=0),
        lambda: resample(thinker, 0),
        lambda: NoisyTests(lambda _: [], lambda _: [], 1.5),
    ):
        with pytest.raises(ValueError, match=r"must|least"):
            make()
