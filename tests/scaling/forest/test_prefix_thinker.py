"""SFS on countdown: what an edit holds fixed, how styles are drawn, and its first draws are those of best-of-N."""

import functools

import jax
import pytest

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Job
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.task_models.families import family
from jaxrl_suite.llm.task_models.shipped import load_task_model
from jaxrl_suite.scaling import best_of_n
from jaxrl_suite.scaling.forest import SfsConfig, sfs
from jaxrl_suite.scaling.forest.prefix_thinker import line_feedback, prefix_thinker
from jaxrl_suite.scaling.forest.thinker import Direction, Feedback, Subject
from jaxrl_suite.scaling.records import GradedAnswer
from jaxrl_suite.scaling.token_problems import TokenProblems

KIND = family("countdown")


@functools.cache
def problems():
    return TokenProblems(KIND.task, KIND.held_out(6))


def asked(generator):
    return next(generator).request


def test_an_edit_holds_the_right_lines_but_the_last():
    thinker = prefix_thinker(KIND, problems(), 0, 0, 0.7)
    answer = tuple(range(1, 14))
    for passed, held in (
        ((True, True, True), 4),
        ((True, True, False), 4),
        ((True, False, False), 0),
        ((False,) * 3, 0),
    ):
        subject = Subject(answer, Feedback(0.5, passed))
        style = Direction("add", 0.0, KIND.prefixes.first)
        request = asked(thinker.edit(subject, style, (2, 0, 1)))
        assert request.prefix == (KIND.prefixes.first, *thinker.prompt, *answer[:held])
        assert request.decoding.max_tokens == thinker.decoding.max_tokens - held
        assert request.role == "edit"
        assert asked(thinker.edit(subject, None, (2, 0, 1))).prefix == (*thinker.prompt, *answer[:held])


def test_styles_are_drawn_without_repetition_and_by_what_was_learnt():
    thinker = prefix_thinker(KIND, problems(), 0, 0, 0.7)

    def drawn(insights, tried, count, scatter):
        with pytest.raises(StopIteration) as done:
            next(thinker.directions(None, insights, tried, count, (1, 0, count), scatter=scatter))
        return done.value.value

    every = drawn(thinker.no_insights, (), 6, True)
    assert len({one.token for one in every}) == 6
    assert drawn(thinker.no_insights, every, 2, True) == ()
    learnt = (50.0, *thinker.no_insights[1:])
    assert {one.text for one in drawn(learnt, (), 5, False)} == {KIND.prefixes.styles[0]}


def test_lines_are_graded_as_the_task_grades_them():
    group = problems()
    worked = jax.device_get(jax.jit(jax.vmap(KIND.task.answer))(group.problems))
    answers = [GradedAnswer(i, tuple(row.tolist())) for i, row in enumerate(worked.tokens)]
    assert line_feedback(group, answers) == [Feedback(1.0, (True,) * 3)] * 6
    broken = [a._replace(tokens=(*a.tokens[:7], (a.tokens[7] + 1) % 101, *a.tokens[8:])) for a in answers]
    assert {feedback.passed for feedback in line_feedback(group, broken)} == {(True, False, False)}


@pytest.mark.tier2
@pytest.mark.optimised
def test_a_search_begins_with_the_draw_of_best_of_n_and_is_paid_by_role():
    model = load_task_model("countdown-early")
    group = problems()
    judges = {"tests": functools.partial(line_feedback, group), "reward": group.rewards}

    def run(start):
        jobs = [Job(f"{i}", functools.partial(start, i)) for i in range(len(group))]
        outcomes = run_lockstep(jobs, model.sampler(), judges)
        assert not any(outcome.error for outcome in outcomes)
        return outcomes

    config = SfsConfig(6, seeds=2)
    forest = run(lambda i, _: sfs(prefix_thinker(KIND, group, i, 0, 0.7), config))
    plain = run(lambda i, _: best_of_n(group.problem(i, 0.7), 1))
    for ours, theirs in zip(forest, plain, strict=True):
        assert ours.value.nodes[0].solution == theirs.value.solutions[0].tokens
        assert ours.ledger.total.samples == len(ours.value.nodes) <= 6
    assert any("edit" in outcome.ledger.by_role for outcome in forest)


def test_a_family_without_styles_is_refused():
    with pytest.raises(UserError, match="no styles"):
        prefix_thinker(family("modchain"), problems(), 0, 0, 0.7)
