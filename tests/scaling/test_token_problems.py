"""Visible rewards of token problems: whole for right answers alone, and what is hidden does not reach them."""

import jax
import numpy as np
import pytest

from jaxrl_suite.envs.tasks import Countdown, ListFunctions, ModChain, RowRules
from jaxrl_suite.errors import UserError
from jaxrl_suite.scaling.records import GradedAnswer
from jaxrl_suite.scaling.token_problems import TokenProblems

TASKS = {
    "countdown": (Countdown(), 3),
    "listfun": (ListFunctions(), 2),
    "modchain": (ModChain(4), 4),
    "rowrules": (RowRules(), 2),
}


def problems(name, grading="fraction", count=6):
    task, steps = TASKS[name]
    drawn = jax.jit(jax.vmap(task.problem, (0, None)))(jax.random.split(jax.random.key(1), count), steps)
    worked = jax.device_get(jax.jit(jax.vmap(task.answer))(drawn))
    answers = [tuple(row[:n].tolist()) for row, n in zip(worked.tokens, worked.length, strict=True)]
    return TokenProblems(task, drawn, grading), answers


@pytest.mark.parametrize("grading", ["fraction", "leading", "solved"])
@pytest.mark.parametrize("name", [name for name in TASKS if name != "rowrules"])
def test_worked_answers_are_whole_and_cut_ones_are_not(name, grading):
    group, answers = problems(name, grading)
    whole = [GradedAnswer(i, answer) for i, answer in enumerate(answers)]
    assert group.rewards(whole) == [1.0] * len(answers)
    assert group.solved(whole).all()
    cut = [GradedAnswer(i, answer[:-1]) for i, answer in enumerate(answers)]
    assert max(group.rewards(cut)) < 1.0
    assert not group.solved(cut).any()
    if grading == "solved":
        assert group.rewards(cut) == [0.0] * len(answers)


def test_rows_are_judged_and_not_rewarded():
    group, answers = problems("rowrules")
    whole = [GradedAnswer(i, answer) for i, answer in enumerate(answers)]
    assert group.solved(whole).all()
    with pytest.raises(UserError, match="no visible reward"):
        group.rewards(whole)


def test_a_verdict_does_not_depend_on_the_batch():
    group, answers = problems("countdown")
    items = [GradedAnswer(i % 6, answers[j % 6]) for i in range(6) for j in range(5)]
    together = group.rewards(items)
    assert together == [group.rewards([item])[0] for item in items]
    assert len(set(together)) > 2


def test_inputs_that_are_hidden_decide_alone_what_is_right():
    task = ListFunctions(examples=1, hidden=16, longest=2)
    drawn = jax.vmap(task.problem, (0, None))(jax.random.split(jax.random.key(0), 40), 1)
    group = TokenProblems(task, drawn, "solved")
    programs = [GradedAnswer(i, tuple(task.parse(f"{name}.").tolist())) for i in range(40) for name in ("abs", "sort")]
    visible, right = np.asarray(group.rewards(programs)), group.solved(programs)
    assert (visible[right] == 1).all()
    assert (visible[~right] == 1).any()  # fits the example and is wrong
