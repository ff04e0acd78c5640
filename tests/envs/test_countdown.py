"""Countdown: against an interpreter of its text in plain Python, and against all answers that there are."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures.drawn_problems import draw_problems
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_suite.envs.tasks import Countdown, TokenTask, pad_rows
from jaxrl_suite.envs.tasks.countdown import EOS, PAD, VOCAB_SIZE, solutions

TASK = Countdown()
judge_many = jax.jit(jax.vmap(TASK.verify))


def interpret(numbers: list[int], target: int, text: str) -> tuple[int, float, bool]:
    """(right lines, graded reward, solved) of an answer, from the text alone."""
    steps, pool, right, value, at = len(numbers) - 1, list(numbers), 0, 0, 0
    for line in re.finditer(r"(\d+)([-+*])(\d+)=(\d+) ?", text):
        if line.start() != at or right == steps:
            break
        a, op, b, result = int(line[1]), line[2], int(line[3]), int(line[4])
        rest = list(pool)
        if a not in rest:
            break
        rest.remove(a)
        if b not in rest or result > 100 or {"+": a + b, "-": a - b, "*": a * b}[op] != result:
            break
        rest.remove(b)
        pool, value, right, at = [*rest, result], result, right + 1, line.end()
    whole = right == steps
    grade = 0.5 * right / steps + (0.5 * np.exp(-abs(value - target) / 5) if whole else 0.0)
    return right, grade, whole and text[at : at + 1] == "." and value == target


@pytest.fixture(scope="module")
def drawn():
    return draw_problems(TASK, 300, seed=0, most_steps=3)


def of(problem, row):
    return problem.numbers[row][: problem.steps[row] + 1].tolist(), int(problem.target[row])


def test_it_is_a_token_task_whose_own_answers_are_right(drawn):
    problems, prompts, answers, examples = drawn
    assert isinstance(TASK, TokenTask)
    verdicts = judge_many(problems, answers.tokens)
    assert bool(verdicts.solved.all())
    assert (verdicts.fraction == 1).all()
    for row in range(300):
        numbers, target = of(problems, row)
        assert TASK.render(prompts.tokens[row, : prompts.length[row]]) == " ".join(map(str, [*numbers, target])) + "?"
        text = TASK.render(answers.tokens[row, : answers.length[row]])
        assert interpret(numbers, target, text) == (len(numbers) - 1, 1.0, True)
        learned = examples.tokens[row][examples.mask[row]]
        assert TASK.render(learned) == text
        assert 0 <= target <= 100
        assert all(1 <= number <= 20 for number in numbers)


def test_the_verifier_is_an_interpreter_of_the_text_on_answers_with_a_change(drawn):
    problems, _, answers, _ = drawn
    rng = np.random.default_rng(0)
    tokens = np.array(answers.tokens)
    for row in range(300):  # one token is another; or the end comes early; or the answer of another problem
        place = rng.integers(0, answers.length[row])
        tokens[row, place] = rng.integers(0, VOCAB_SIZE)
        if row % 7 == 0:
            tokens[row] = answers.tokens[(row + 3) % 300]
    verdicts = jax.device_get(judge_many(problems, tokens))
    seen = {True: 0, False: 0}
    for row in range(300):
        numbers, target = of(problems, row)
        right, grade, solved = interpret(numbers, target, TASK.render(tokens[row]).replace("_", ""))
        assert (verdicts.leading[row], bool(verdicts.solved[row])) == (right, solved), TASK.render(tokens[row])
        np.testing.assert_allclose(verdicts.fraction[row], grade, atol=1e-6)
        seen[solved] += 1
    assert min(seen.values()) >= 3


def test_solutions_are_just_the_answers_that_solve(drawn):
    """Every one is accepted, the generator's is among them, and a plain search over ordered pairs finds no other."""
    problems, _, answers, _ = drawn

    def results(pool):
        if len(pool) == 1:
            return set(pool)
        found = set()
        for i, a in enumerate(pool):
            for j, b in enumerate(pool):
                if i != j:
                    rest = [x for k, x in enumerate(pool) if k not in (i, j)]
                    found |= {y for c in (a + b, a - b, a * b) if 0 <= c <= 100 for y in results([*rest, c])}
        return found

    def canonical(text):
        parts = (line.partition("=") for line in text.rstrip(".").split())
        return [(tuple(sorted(left.split(op))), op, c) for left, _, c in parts for op in "+-*" if op in left]

    for row in range(2, 30, 3):
        numbers, target = of(problems, row)
        found = list(solutions(numbers, target))
        assert len(set(found)) == len(found)
        assert all(interpret(numbers, target, text)[2] for text in found)
        own = canonical(TASK.render(answers.tokens[row, : answers.length[row]]))
        assert any(canonical(text) == own for text in found)
        assert all(any(True for _ in solutions(numbers, n)) == (n in results(numbers)) for n in range(0, 101, 7))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=20))
def test_text_and_tokens_are_inverse(tokens):
    assert TASK.parse(TASK.render(tokens)).tolist() == tokens


def test_what_does_not_fit_is_refused():
    for make in (lambda: Countdown(1), lambda: Countdown(7), lambda: Countdown(largest=101)):
        with pytest.raises(ValueError, match="must be"):
            make()
    with pytest.raises(ValueError, match="no token for '101"):
        TASK.parse("3+101")
    with pytest.raises(ValueError, match="not in the vocabulary"):
        TASK.render([VOCAB_SIZE])
    with pytest.raises(ValueError, match="2 to 6 numbers"):
        solutions([1], 1)
    row = jnp.asarray(pad_rows([np.asarray([EOS])], 3, PAD)[0])
    problem = TASK.problem(jax.random.key(0), 2)
    assert not bool(TASK.verify(problem, row).solved)
    assert float(TASK.verify(problem, row).fraction) == 0
