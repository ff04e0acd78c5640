"""List functions: against an interpreter of their text in plain Python, and all programs of two operations."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures.drawn_problems import draw_problems
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_suite.envs.tasks import ListFunctions, TokenTask, pad_rows
from jaxrl_suite.envs.tasks.listfun import EMPTY, NAMES, PAD, VOCAB_SIZE, Lists

TASK = ListFunctions(max_operations=3, hidden=6)
judge = jax.jit(TASK.verify)


def clip(values):
    return [max(-20, min(20, value)) for value in values]


PLAIN = {
    "reverse": lambda x: x[::-1],
    "sort": sorted,
    "tail": lambda x: x[1:],
    "init": lambda x: x[:-1],
    "rotate": lambda x: x[1:] + x[:1],
    "unique": lambda x: list(dict.fromkeys(x)),
    "evens": lambda x: [value for value in x if value % 2 == 0],
    "odds": lambda x: [value for value in x if value % 2],
    "positives": lambda x: [value for value in x if value > 0],
    "negate": lambda x: [-value for value in x],
    "double": lambda x: clip(2 * value for value in x),
    "inc": lambda x: clip(value + 1 for value in x),
    "dec": lambda x: clip(value - 1 for value in x),
    "abs": lambda x: [abs(value) for value in x],
    "cumsum": lambda x: clip(itertools.accumulate(x)),
    "differences": lambda x: clip(b - a for a, b in itertools.pairwise(x)),
}


def interpret(names, values):
    for name in names:
        values = PLAIN[name](values)
    return values


def lists_of(rows, longest):
    values = [[*row, *[EMPTY] * (longest - len(row))] for row in rows]
    return Lists(jnp.asarray(values, jnp.int32), jnp.asarray([len(row) for row in rows], jnp.int32))


def rows_of(lists):
    values, lengths = jax.device_get(lists)
    return [row[:size].tolist() for row, size in zip(values, lengths, strict=True)]


def test_every_program_of_two_operations_is_what_plain_python_computes():
    rng = np.random.default_rng(0)
    rows = [rng.integers(-20, 21, size).tolist() for size in (0, 1, 2, 3, 4, 4, 4)] + [[20, 20, -20, 20], [3, 3, 3, -3]]
    task = ListFunctions(max_operations=2)
    programs, steps = task.programs()
    assert len(programs) == 16 + 256
    found = jax.jit(jax.vmap(task.run, in_axes=(0, 0, None)))(programs, steps, lists_of(rows, 4))
    for program, size, values, lengths in zip(programs, steps, *jax.device_get(found), strict=True):
        names = [NAMES[operation] for operation in program[:size]]
        got = [row[:count].tolist() for row, count in zip(values, lengths, strict=True)]
        assert got == [interpret(names, row) for row in rows], names
        assert all((row[count:] == EMPTY).all() for row, count in zip(values, lengths, strict=True))


@pytest.fixture(scope="module")
def drawn():
    return draw_problems(TASK, 120, seed=1, most_steps=3)[:3]


def test_prompts_show_what_the_program_does_and_its_answer_is_right(drawn):
    problems, prompts, answers = drawn
    assert isinstance(TASK, TokenTask)
    assert bool(jax.jit(jax.vmap(TASK.verify))(problems, answers.tokens).solved.all())
    for row in range(120):
        size = problems.steps[row]
        names = [NAMES[operation] for operation in problems.program[row, :size]]
        assert TASK.render(answers.tokens[row, : answers.length[row]]) == " ".join(names) + "."
        text = TASK.render(prompts.tokens[row, : prompts.length[row]])
        assert text.endswith("?")
        assert (prompts.tokens[row, prompts.length[row] :] == PAD).all()
        shown = re.findall(r"\[([^]]*)\]>\[([^]]*)\][;?]", text)
        inputs = rows_of(jax.tree.map(lambda leaf, row=row: leaf[row], problems.inputs))
        assert len(shown) == TASK.examples
        for (left, right), values in zip(shown, inputs, strict=False):
            assert [int(value) for value in left.split()] == values
            assert [int(value) for value in right.split()] == interpret(names, values)


def test_any_program_that_does_the_same_is_right_and_others_get_their_share(drawn):
    problems, _, _ = drawn
    rng = np.random.default_rng(2)
    seen = {True: 0, False: 0}
    for row in range(60):
        problem = jax.tree.map(lambda leaf, row=row: leaf[row], problems)
        truth = [NAMES[operation] for operation in problem.program[: problem.steps]]
        guess = [NAMES[i] for i in rng.integers(0, len(NAMES), rng.integers(1, 4))]
        if row % 3 == 0:
            guess = ["reverse", "reverse", *truth] if len(truth) == 1 else truth
        verdict = jax.device_get(judge(problem, pad_rows([TASK.parse(" ".join(guess) + ".")], 6, PAD)[0]))
        same = [interpret(guess, values) == interpret(truth, values) for values in rows_of(problem.inputs)]
        shown = same[: TASK.examples]
        assert verdict.solved == all(same)
        assert verdict.fraction == np.float32(np.mean(shown))
        assert verdict.leading == next((i for i, good in enumerate(shown) if not good), TASK.examples)
        seen[bool(verdict.solved)] += 1
    assert min(seen.values()) >= 10


@pytest.mark.parametrize("text", [".", "reverse", "reverse sort tail init.", "reverse 3.", "[3].", "_reverse.", ""])
def test_what_is_no_program_gets_nothing(drawn, text):
    problem = jax.tree.map(lambda leaf: leaf[0], drawn[0])
    verdict = jax.device_get(judge(problem, pad_rows([TASK.parse(text)], 6, PAD)[0]))
    assert (verdict.leading, verdict.fraction, bool(verdict.solved)) == (0, 0.0, False)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=30))
def test_text_and_tokens_are_inverse(tokens):
    assert TASK.parse(TASK.render(tokens)).tolist() == tokens


def test_what_does_not_fit_is_refused():
    for options in ({"max_operations": 6}, {"examples": 0}, {"hidden": 65}, {"longest": 1}):
        with pytest.raises(ValueError, match="must be"):
            ListFunctions(**options)
    for text in ("[21]", "shuffle.", "{"):
        with pytest.raises(ValueError, match="no token for"):
            TASK.parse(text)
