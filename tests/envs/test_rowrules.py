"""Row rules: against plain Python that works on the text, and what an exact solver can know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures.drawn_problems import draw_problems
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_suite.envs.tasks import RowRules, TokenTask, pad_rows
from jaxrl_suite.envs.tasks.rowrules import NAMES, PAD, VOCAB_SIZE

TASK = RowRules()
judge = jax.jit(TASK.verify)


def neighbours(row, i):
    return (row[i - 1] if i else 0), (row[i + 1] if i + 1 < len(row) else 0)


def fill(row):
    def nearest(cells):
        return next((cell for cell in cells if cell), 0)

    pairs = [(nearest(row[i::-1]), nearest(row[i:])) for i in range(len(row))]
    return [a if not cell and a == b else cell for cell, (a, b) in zip(row, pairs, strict=True)]


PLAIN = {
    "turn left": lambda row: row[1:] + row[:1],
    "turn right": lambda row: row[-1:] + row[:-1],
    "turn right twice": lambda row: row[-2:] + row[:-2],
    "mirror": lambda row: row[::-1],
    "pack left": lambda row: sorted(row, key=lambda cell: cell == 0),
    "pack right": lambda row: sorted(row, key=lambda cell: cell > 0),
    "hollow": lambda row: [0 if neighbours(row, i) == (cell, cell) else cell for i, cell in enumerate(row)],
    "fill": fill,
    "denoise": lambda row: [cell if cell in neighbours(row, i) else 0 for i, cell in enumerate(row)],
    "grow": lambda row: [cell or neighbours(row, i)[0] or neighbours(row, i)[1] for i, cell in enumerate(row)],
}


def complete(names, row):
    for name in names:
        row = PLAIN[name](row)
    return row


@pytest.fixture(scope="module")
def drawn():
    return draw_problems(TASK, 200, seed=2, most_steps=2)[:3]


def test_all_pairs_of_rules_are_what_plain_python_computes():
    rows = np.random.default_rng(0).integers(0, 5, (12, 8)) * np.random.default_rng(1).integers(0, 2, (12, 8))
    programs, steps = TASK.rules()
    assert len(programs) == 10 + 100
    found = jax.jit(jax.vmap(TASK.complete, in_axes=(0, 0, None)))(programs, steps, jnp.asarray(rows, jnp.int32))
    for program, size, got in zip(programs, steps, np.asarray(found), strict=True):
        names = [NAMES[rule] for rule in program[:size]]
        assert got.tolist() == [complete(names, row) for row in rows.tolist()], names


def test_prompts_and_answers_are_texts_that_plain_python_agrees_with(drawn):
    problems, prompts, answers = drawn
    assert isinstance(TASK, TokenTask)
    assert bool(jax.jit(jax.vmap(TASK.verify))(problems, answers.tokens).solved.all())
    for row in range(200):
        names = [NAMES[rule] for rule in problems.rules[row, : problems.steps[row]]]
        text = TASK.render(prompts.tokens[row, : prompts.length[row]])
        *pairs, asked = text.rstrip("?").split(";")
        for pair in pairs:
            left, right = ([int(cell) for cell in side] for side in pair.split(">"))
            assert complete(names, left) == right
        answer = "".join(map(str, complete(names, [int(cell) for cell in asked]))) + "."
        assert len(pairs) == 3
        assert TASK.render(answers.tokens[row, : answers.length[row]]) == answer


def test_a_wrong_answer_gets_the_share_of_its_cells(drawn):
    problems, _, answers = drawn
    rng = np.random.default_rng(3)
    for row in range(60):
        truth = TASK.render(answers.tokens[row, :8])
        guess = "".join(cell if rng.random() < 0.7 else str(rng.integers(0, 5)) for cell in truth)
        text = guess[: rng.integers(1, 9)] + "." if row % 3 == 0 else guess + ("." if row % 3 == 1 else "0")
        problem = jax.tree.map(lambda leaf, row=row: leaf[row], problems)
        verdict = jax.device_get(judge(problem, pad_rows([TASK.parse(text)], 12, PAD)[0]))
        same = [a == b for a, b in zip(text.partition(".")[0], truth, strict=False)]
        assert bool(verdict.solved) == (text == truth + ".")
        assert verdict.fraction == np.float32(sum(same) / 8)
        assert verdict.leading == next((i for i, right in enumerate(same) if not right), min(len(same), 8))


def test_rows_that_fit_the_pairs_hold_the_truth_and_rarely_more(drawn):
    """The ceiling: with three pairs the rules that fit agree on the row asked for in most problems, not in all."""
    problems, _, answers = drawn
    programs, steps = TASK.rules()
    outputs = jax.jit(jax.vmap(jax.vmap(TASK.complete, in_axes=(0, 0, None)), in_axes=(None, None, 0)))
    completed = np.asarray(outputs(programs, steps, problems.rows[:40]))  # [problem, program, row, cell]
    alone = 0
    for row in range(40):
        shown = np.asarray(TASK.complete(problems.rules[row], problems.steps[row], problems.rows[row, :-1]))
        fits = (completed[row, :, :-1] == shown).all((1, 2))
        guesses = {tuple(guess) for guess in completed[row, fits, -1].tolist()}
        assert tuple(answers.tokens[row, :8].tolist()) in guesses
        alone += len(guesses) == 1
    assert 20 <= alone < 40


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=30))
def test_text_and_tokens_are_inverse(tokens):
    assert TASK.parse(TASK.render(tokens)).tolist() == tokens


def test_what_does_not_fit_is_refused():
    for options in ({"max_rules": 4}, {"pairs": 0}, {"length": 3}):
        with pytest.raises(ValueError, match="must be"):
            RowRules(**options)
    with pytest.raises(ValueError, match="no token for '5'"):
        TASK.parse("0105")
    with pytest.raises(ValueError, match="not in the vocabulary"):
        TASK.render([VOCAB_SIZE])
