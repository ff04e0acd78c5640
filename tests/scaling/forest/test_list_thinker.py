"""The editing model's rows against a plain reading of them, and the thinker of list functions with a blank model."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs.tasks.listfun import EOS, FIRST, NAMES, PAD
from jaxrl_suite.llm.jobs import Job
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.protocol import Decoding, Request
from jaxrl_suite.llm.task_models.list_edits import (
    ANY,
    CLASSES,
    DIRECTIONS,
    DROP,
    EDIT,
    EDIT_VOCAB,
    FAIL,
    PASS,
    PLAIN,
    REORDER,
    THEME,
    ListEdits,
    ListProgram,
    corrupt,
    edit_class,
    edit_row,
)
from jaxrl_suite.llm.transformer import config as lm_config
from jaxrl_suite.llm.transformer import model
from jaxrl_suite.scaling import best_of_n
from jaxrl_suite.scaling.forest import Direction, SfsConfig, resample, sfs, verbalized_sampling
from jaxrl_suite.scaling.forest.list_thinker import ListTests, list_prompts, list_samplers, list_thinker
from jaxrl_suite.scaling.forest.thinker import Feedback, Subject
from jaxrl_suite.scaling.forest.tokens import TokenHabits
from jaxrl_suite.scaling.records import GradedAnswer

TASK = ListEdits()


def packed(names):
    ops = [NAMES.index(name) for name in names]
    return ListProgram(jnp.asarray(ops + [-1] * (3 - len(ops)), jnp.int32), jnp.int32(len(ops)))


@pytest.fixture(scope="module")
def rows():
    made = jax.jit(jax.vmap(functools.partial(edit_row, TASK)))(jax.random.split(jax.random.key(0), 400))
    return [
        (tokens[tokens != PAD].tolist(), mask[tokens != PAD].tolist())
        for tokens, mask in zip(np.asarray(made.tokens), np.asarray(made.mask), strict=True)
    ]


def test_rows_are_what_they_say(rows):
    """Every row is read again from its tokens: which part is learned, and that the better program is right."""
    kinds = {"edit": 0, "plain": 0, "theme": 0}
    for tokens, mask in rows:
        ask = next(i for i, token in enumerate(tokens) if token in (EDIT, PLAIN) or token >= THEME)
        assert tokens[-1] == EOS
        assert not any(mask[: ask + 1])
        if tokens[ask] != EDIT:
            program = tokens[ask + 1 : -1]
            assert all(mask[ask + 1 :])
            if tokens[ask] == PLAIN:
                kinds["plain"] += 1
            else:
                kinds["theme"] += 1
                assert NAMES[program[0] - FIRST] in CLASSES[tokens[ask] - THEME]
            continue
        kinds["edit"] += 1
        bits = [i for i, token in enumerate(tokens) if token in (PASS, FAIL)]
        wrong, direction, right = tokens[ask + 1 : bits[0]], tokens[bits[-1] + 1], tokens[bits[-1] + 2 : -1]
        assert len(bits) == 4
        if all(tokens[i] == PASS for i in bits):
            assert not any(mask)
            continue
        assert all(mask[bits[-1] + 2 :])
        assert mask[bits[-1] + 1] == (direction != ANY)
        if direction >= FIRST + len(NAMES):
            assert direction in (ANY, DROP, REORDER)
            if direction == DROP:
                assert len(wrong) > len(right)
            if direction == REORDER:
                assert sorted(wrong) == sorted(right)
        else:
            assert right.count(direction) > wrong.count(direction)
    assert min(kinds.values()) > 40


def test_the_class_of_an_edit_by_hand():
    def named(wrong, right):
        keys = jax.random.split(jax.random.key(1), 30)
        classes = jax.vmap(lambda key: edit_class(packed(wrong), packed(right), key))(keys)
        return {DIRECTIONS[int(token)] for token in classes}

    assert named(["inc"], ["inc", "sort"]) == {"use sort"}
    assert named(["dec"], ["inc", "sort"]) == {"use sort", "use inc"}
    assert named(["inc"], ["inc", "inc"]) == {"use inc"}
    assert named(["inc", "abs", "dec"], ["inc", "dec"]) == {"leave an operation out"}
    assert named(["sort", "reverse"], ["reverse", "sort"]) == {"put the operations in another order"}


def test_corrupted_programs_are_programs_and_mostly_near():
    right = packed(["inc", "sort"])
    found = jax.jit(jax.vmap(lambda key: corrupt(right, key)))(jax.random.split(jax.random.key(2), 500))
    lengths, operations = np.asarray(found.length), np.asarray(found.operations)
    assert set(lengths.tolist()) == {1, 2, 3}
    inside = np.arange(3)[None] < lengths[:, None]
    assert ((operations >= 0) & (operations < len(NAMES)) == inside).all()
    shared = (np.isin(operations, right.operations[:2]) & inside).any(axis=1)
    assert shared.mean() > 0.6


@pytest.fixture(scope="module")
def setup():
    """Six problems, and a model that has learned nothing."""
    problems = jax.vmap(TASK.problem)(jax.random.split(jax.random.key(3), 6), np.asarray([1, 2, 3] * 2))
    shape = lm_config.preset("0.1M", vocab_size=EDIT_VOCAB, context=96)
    params = model.init(shape, jax.random.key(4))
    return ListTests(TASK, problems), list_prompts(TASK, problems), list_samplers("blank", shape, params)


def thinker_of(setup, number, seed=0, **fields):
    return list_thinker(TASK, setup[1][number], number, seed, 1.0, **fields)


def run(setup, methods):
    jobs = [Job(f"{i}", lambda _, method=method: method) for i, method in enumerate(methods)]
    outcomes = run_lockstep(jobs, setup[2], {"tests": setup[0].visible, "reward": rewards(setup[0])})
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return outcomes


def rewards(tests):
    return lambda items: [feedback.score for feedback in tests.visible(items)]


def test_tests_judge_as_the_task_does(setup):
    tests = setup[0]
    answer = jax.device_get(TASK.answer(jax.tree.map(lambda leaf: leaf[1], tests.problems)))
    tokens = tuple(answer.tokens[: int(answer.length)].tolist())
    items = [GradedAnswer(1, tokens), GradedAnswer(1, (FIRST, EOS)), GradedAnswer(1, (FIRST, FIRST))]
    assert tests.visible(items)[0] == Feedback(1.0, (True,) * 4)
    assert tests.solved(items)[0]
    for item, feedback, solved in zip(items, tests.visible(items), tests.solved(items), strict=True):
        verdict = jax.jit(TASK.verify)(
            jax.tree.map(lambda leaf: leaf[1], tests.problems), np.asarray(item.tokens, np.int32)
        )
        assert (feedback.score, solved) == (float(verdict.fraction), bool(verdict.solved))


def test_prompts_end_with_the_question_and_a_program_is_asked_for_by_plain(setup):
    text = TASK.render((*setup[1][0], PLAIN))
    assert text.endswith("? plain ")
    assert TASK.render((EDIT, FIRST, PASS, FAIL, FIRST + 1, THEME, EOS)) == " edit reverse +  - sort theme 0 ."


def test_best_of_n_is_the_same_whichever_interface(setup):
    thinker = thinker_of(setup, 0)
    ours, plain = run(
        setup, [resample(thinker, 5), best_of_n(dataclasses.replace(thinker.visible, verifier="reward"), 5)]
    )
    assert [node.solution for node in ours.value.nodes] == [solution.tokens for solution in plain.value.solutions]


def test_directions_are_the_models_own_distribution(setup):
    """Their order is that of scores of the model; scattering never repeats, and log-odds move them."""
    subject = Subject((FIRST + 2, EOS), Feedback(0.5, (True, False, True, False)))
    for number, habits in ((0, TokenHabits("top")), (1, TokenHabits("draw"))):
        thinker = thinker_of(setup, number, habits=habits)
        prefix = thinker.idea_prefix(subject)
        (scores,) = np.stack([setup[2]["main"].score([(prefix, (t,))])[0] for t in DIRECTIONS]).T
        reply = setup[2]["directions"].sample([Request(prefix, decoding=Decoding(max_tokens=1))])[0]
        order = np.argsort(-scores, kind="stable")
        np.testing.assert_allclose(reply.completions[0].logprobs, scores[order], atol=2e-5)
        asked = thinker.directions(subject, thinker.no_insights, (), 18, (1, 2), scatter=True)
        next(asked)
        with pytest.raises(StopIteration) as stop:
            asked.send(reply)
        drawn = [direction.token for direction in stop.value.value]
        assert sorted(drawn) == sorted(DIRECTIONS)
        if habits.scatter == "top":
            assert drawn == reply.completions[0].tokens.tolist()
        push = tuple(100.0 * (token == drawn[-1]) for token in DIRECTIONS)
        asked = thinker.directions(subject, push, (), 1, (1, 2), scatter=True)
        next(asked)
        with pytest.raises(StopIteration) as stop:
            asked.send(reply)
        assert stop.value.value[0].token == drawn[-1]


def test_log_odds_move_with_the_score(setup):
    thinker = thinker_of(setup, 0, habits=TokenHabits(gain=2.0, idle=0.5))
    subjects = [Subject((), Feedback(score)) for score in (0.25, 0.5, 0.25, 0.0)]
    insights = thinker.no_insights
    for before, after, expected in ((0, 1, 0.5), (1, 1, 0.0), (2, 3, -1.0)):
        asked = thinker.learn(insights, subjects[before], thinker_direction(3), subjects[after], ())
        with pytest.raises(StopIteration) as stop:
            next(asked)
        insights = stop.value.value
        assert insights[3] == pytest.approx(expected)
    assert sum(map(bool, insights)) == 1


def thinker_direction(place):
    token = list(DIRECTIONS)[place]
    return Direction(DIRECTIONS[token], 0.0, token)


def test_a_search_with_a_model_that_knows_nothing(setup):
    methods = [sfs(thinker_of(setup, i), SfsConfig(8, seeds=2)) for i in range(6)]
    outcomes = run(setup, methods)
    for outcome in outcomes:
        total, result = outcome.ledger.total, outcome.value
        assert len(result.nodes) == 8 or result.solved_after
        assert total.verifier_calls == len(result.nodes)
        assert outcome.ledger.by_role["solve"].samples == min(2, len(result.nodes))
    again = run(setup, [sfs(thinker_of(setup, 4), SfsConfig(8, seeds=2))])
    assert again[0].value == outcomes[4].value
    with pytest.raises(ValueError, match="model of text"):
        run(setup, [verbalized_sampling(thinker_of(setup, 0), 2)])
