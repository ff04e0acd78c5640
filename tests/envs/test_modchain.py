"""Modular chains: against an interpreter of their text in plain Python, and the verifier on answers of every kind."""

import functools
import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxrl_suite.envs.tasks import ModChain, TokenTask, example, pad_rows
from jaxrl_suite.envs.tasks.modchain import EOS, LETTER, MODULUS, PAD, VOCAB_SIZE

TASK = ModChain(6)
tokens_lists = st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=30)


@functools.cache
def draw(task: ModChain, count: int, seed: int, easy: float = 0.0, steps: int | None = None):
    """Many problems, with their prompts and answers, on the host."""

    def one(key, steps):
        problem = task.problem(key, steps, easy)
        return problem, task.prompt(problem), task.answer(problem), example(task, problem)

    lengths = np.arange(count) % task.max_steps + 1 if steps is None else np.full(count, steps)
    return jax.device_get(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(seed), count), lengths))


def cut(text, row: int) -> np.ndarray:
    return text.tokens[row, : text.length[row]]


def interpret(prompt: str) -> list[tuple[int, int]]:
    """(product, value) of every line, from the text alone."""
    assert prompt.endswith("?")
    memory: dict[str, int] = {}
    found = []
    for line in prompt[:-1].split(";"):
        name, expression = line.split("=")
        product = expression.partition("+")[0]
        found.append((eval(product, {}, memory) % 23, eval(expression, {}, memory) % 23))
        memory[name] = found[-1][1]
    return found


def write(work: list[tuple[int, int]]) -> str:
    lines = [f"{name}={p},{v}" if i else f"{name}={v}" for i, (name, (p, v)) in enumerate(zip("abcdefghij", work))]  # noqa: B905
    return ";".join(lines) + "."


verify = jax.jit(lambda problem, tokens: TASK.verify(problem, tokens))
many = jax.jit(jax.vmap(lambda problem, tokens: TASK.verify(problem, tokens)))


def judge(problem, text: str) -> tuple[int, float, bool]:
    row = pad_rows([TASK.parse(text)], 40, PAD)[0]
    leading, fraction, solved = jax.device_get(verify(problem, row))
    return int(leading), float(fraction), bool(solved)


def row_of(tree, row: int):
    return jax.tree.map(lambda x: x[row], tree)


@pytest.mark.parametrize(
    ("task", "easy"), [(TASK, 0.0), (TASK, 0.5), (ModChain(10), 0.0), (ModChain(4, largest=22), 0.5)]
)
def test_answers_are_what_an_interpreter_of_the_text_finds(task, easy):
    problems, prompts, answers, _ = draw(task, 300, 1, easy)
    for row in range(300):
        prompt = task.render(cut(prompts, row))
        work = interpret(prompt)
        assert len(work) == problems.steps[row] == row % task.max_steps + 1
        assert task.render(cut(answers, row)) == write(work)
        assert (cut(prompts, row) == task.parse(prompt)).all()
        assert (prompts.tokens[row, prompts.length[row] :] == PAD).all()


def test_is_a_token_task_and_its_sizes_are_reached():
    assert isinstance(TASK, TokenTask)
    _, prompts, answers, _ = draw(TASK, 300, 1)
    assert prompts.length.max() == TASK.max_prompt == prompts.tokens.shape[1]
    assert answers.length.max() == TASK.max_answer == answers.tokens.shape[1]
    assert TASK.vocab_size <= 40


def test_an_example_is_the_prompt_and_then_the_answer_and_masks_the_answer():
    _, prompts, answers, examples = draw(TASK, 60, 1)
    for row in range(60):
        tokens, mask = examples.tokens[row], examples.mask[row]
        assert (tokens[mask] == cut(answers, row)).all()
        before = np.arange(len(mask)) < prompts.length[row]
        assert (tokens[before] == cut(prompts, row)).all()
        assert (tokens[~before & ~mask] == PAD).all()


@settings(deadline=None, max_examples=200)
@given(tokens_lists)
def test_text_and_tokens_are_one_to_one(tokens):
    assert TASK.parse(TASK.render(tokens)).tolist() == tokens


@pytest.mark.parametrize("text", ["a=23", "k=1", "a=7-3", "A=7", "a"])
def test_unknown_text_is_refused(text):
    with pytest.raises(ValueError, match="no token for"):
        TASK.parse(text)


def test_unknown_tokens_are_refused():
    with pytest.raises(ValueError, match="token 38 is not in the vocabulary"):
        TASK.render([1, 38])


CHAIN = "a=7;b=a*5+3;c=b*2+11?"  # values 7, 15, 18; products 12, 7


@pytest.mark.parametrize(
    ("answer", "leading", "right", "solved"),
    [
        ("a=7;b=12,15;c=7,18.", 3, 3, True),
        ("a=7;b=12,15;c=7,18.a=1?", 3, 3, True),  # nothing counts after the end
        ("a=7;b=0,15;c=7,18.", 3, 3, True),  # products are work, not judged
        ("a=7;b=12,15;c=7,18", 3, 3, False),  # no end
        ("a=7;b=12,15;c=7,18;d=1,1.", 3, 3, False),  # too long
        ("a=7;b=12,15;c=7,18,18.", 3, 3, False),
        ("a=7;b=12,15.", 2, 2, False),
        ("a=7;b=12,15.;c=7,18.", 2, 2, False),
        ("a=7;b=12,16;c=7,18.", 1, 2, False),  # repaired by a second error
        ("a=8;b=12,15;c=7,18.", 0, 2, False),
        ("a=7;b=12,15;d=7,18.", 2, 2, False),
        ("a=7;b=15;c=7,18.", 1, 1, False),  # a step without its product is out of place
        ("a=7;b=*,15;c=7,18.", 1, 2, False),
        (".a=7;b=12,15;c=7,18.", 0, 0, False),
        ("", 0, 0, False),
        ("?" * 40, 0, 0, False),
    ],
)
def test_verdicts(answer, leading, right, solved):
    problem = TASK.problem(jax.random.key(0), 3)
    problem = problem._replace(
        start=jnp.int32(7), multipliers=jnp.array([1, 5, 2, 9, 9, 9]), addends=jnp.array([0, 3, 11, 9, 9, 9])
    )
    prompt = TASK.prompt(problem)
    assert TASK.render(np.asarray(prompt.tokens[: prompt.length])) == CHAIN
    assert judge(problem, answer) == (leading, pytest.approx(right / 3), solved)


def test_every_length_of_array_gives_the_same_verdict():
    problems, _, answers, _ = draw(TASK, 6, 1)
    problem, whole = row_of(problems, 3), cut(answers, 3)  # 4 steps, 12 tokens
    for length in range(len(whole) + 1):
        short, padded = whole[:length], pad_rows([whole[:length]], 40, PAD)[0]
        one, other = (jax.device_get(TASK.verify(problem, jnp.asarray(row, jnp.int32))) for row in (short, padded))
        assert one == other
        assert one.leading == (length + 1) // 3
        assert one.solved == (length == len(whole))


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 59), st.lists(st.tuples(st.integers(0, 17), st.integers(0, VOCAB_SIZE - 1)), max_size=3))
def test_verdicts_agree_with_a_reader_of_the_text(row, edits):
    problems, prompts, answers, _ = draw(TASK, 60, 1)
    tokens = answers.tokens[row].copy()
    for place, token in edits:
        tokens[place] = token
    text, end, _ = TASK.render(tokens).partition(".")
    lines = [
        f"{name}={r'[0-9]+,' if i else ''}{value}"
        for i, (name, (_, value)) in enumerate(zip("abcdef", interpret(TASK.render(cut(prompts, row))), strict=False))
    ]
    leading = max(n for n in range(len(lines) + 1) if not n or re.match(";".join(lines[:n]) + r"(?!\d)", text))
    solved = bool(end) and re.fullmatch(";".join(lines), text) is not None
    verdict = jax.device_get(verify(row_of(problems, row), tokens))
    assert (verdict.leading, verdict.solved) == (leading, solved)
    assert leading / len(lines) <= verdict.fraction <= 1
    assert (verdict.fraction == 1) == (leading == len(lines))


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_alone_as_in_a_batch(self):
        problems, prompts, answers, _ = draw(TASK, 12, 5)
        keys = jax.random.split(jax.random.key(5), 12)
        verdicts = jax.device_get(many(problems, answers.tokens))

        def whole(key, steps):
            problem = TASK.problem(key, steps)
            answer = TASK.answer(problem)
            return (problem, TASK.prompt(problem), answer), TASK.verify(problem, answer.tokens)

        one: Any = self.variant(whole)
        for row in range(0, 12, 5):
            alone, verdict = one(keys[row], row % 6 + 1)
            batched = jax.tree.map(lambda leaf, row=row: leaf[row], (problems, prompts, answers))
            chex.assert_trees_all_equal(jax.device_get(alone), batched)
            assert jax.device_get(verdict) == row_of(verdicts, row)
        assert verdicts.solved.all()


@pytest.mark.parametrize("largest", [9, 22])
def test_constants_and_values_are_uniform(largest):
    task = ModChain(6, largest)
    problems, *_ = draw(task, 20_000, 7, 0.0, 6)
    products, values = jax.device_get(jax.jit(jax.vmap(task.work))(problems))
    for step in (1, 5):
        for sample, low, high in (
            (problems.multipliers[:, step], 1, largest),  # never 0, which would forget the value before
            (problems.addends[:, step], 0, largest),
            (values[:, step], 0, 22),
            (products[:, step], 0, 22),
        ):
            assert sample.min() == low
            assert sample.max() == high
            assert stats.chisquare(np.bincount(sample - low)).pvalue > 1e-4


def test_with_all_constants_a_value_says_nothing_about_the_next():
    task = ModChain(6, 22)
    problems, *_ = draw(task, 20_000, 7, 0.0, 6)
    _, values = jax.device_get(jax.jit(jax.vmap(task.work))(problems))
    assert stats.chisquare(np.bincount(values[:, 4] * 23 + values[:, 5], minlength=529)).pvalue > 1e-4


def test_easy_steps_have_small_values_and_obey_the_range():
    for largest in (9, 22):
        task = ModChain(6, largest)
        problems, *_ = draw(task, 4000, 8, 0.5, 6)
        assert problems.multipliers.max() == problems.addends.max() == largest
        _, values = jax.device_get(jax.jit(jax.vmap(task.work))(problems))
        small = np.mean(values[:, 1:] <= 1)
        if largest == 22:  # every wish can be met
            assert small == pytest.approx(0.5 + 0.5 * 2 / 23, abs=0.02)
        else:
            assert 0.2 < small < 0.5  # it is 2 / 23 where nothing is easy


def test_longer_chains_of_other_keys_are_other_chains():
    seen = {TASK.render(cut(draw(TASK, 20_000, 1, 0.0, 4)[1], row)) for row in range(20_000)}
    held_out = {TASK.render(cut(draw(TASK, 2_000, 2, 0.0, 4)[1], row)) for row in range(2_000)}
    assert len(seen) > 19_970  # of 16.8 million; 12 pairs are expected
    assert len(held_out) > 1_995
    assert len(seen & held_out) < 15  # 2.4 are expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), "max_steps must be 1 to 10"), ((11,), "max_steps must be 1 to 10"), ((4, 23), "largest must be 1 to 22")],
)
def test_refuses_what_is_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        ModChain(*arguments)


def test_padding_refuses_what_does_not_fit():
    assert pad_rows([np.array([1, 2]), np.array([], np.int32)], 3, 9).tolist() == [[1, 2, 9], [9, 9, 9]]
    with pytest.raises(ValueError, match="4 tokens and there is room for 3"):
        pad_rows([np.arange(4)], 3, 9)


def test_letters_and_end_are_where_they_are_said_to_be():
    assert TASK.render([LETTER, MODULUS - 1, EOS]) == "a=22."
