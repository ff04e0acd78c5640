"""Models that come with the package: their cards are true, a training gives them again, prefixes are learned."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs.tasks.tokens import Example
from jaxrl_suite.errors import UserError
from jaxrl_suite.experiments.pretrain import config as pretrain_config
from jaxrl_suite.experiments.pretrain.experiment import FIRST, make_model_trainer
from jaxrl_suite.llm.protocol import Request
from jaxrl_suite.llm.task_models.families import FAMILIES, family
from jaxrl_suite.llm.task_models.prefixes import MOST_NOISE, NOISE, Prefixes, prepend
from jaxrl_suite.llm.task_models.shipped import load_task_model, task_models
from jaxrl_suite.llm.transformer.next_token import mean_loss
from jaxrl_suite.scaling.records import GradedAnswer
from jaxrl_suite.scaling.token_problems import TokenProblems

PREFIXES = Prefixes(50, ("a", "b"), 3)
BOTH = [name for name in sorted(FAMILIES) if {f"{name}-early", f"{name}-late"} <= set(task_models())]
EARLY = [name for name in sorted(FAMILIES) if f"{name}-early" in task_models()]


def test_each_model_is_small_and_has_its_command():
    for name in task_models():
        model = load_task_model(name)
        assert model.config.num_params < 150_000
        assert model.card["command"].startswith("jaxrl-suite run pretrain --families ")


@pytest.mark.parametrize("name", BOTH)
def test_a_late_model_is_better_than_an_early_one(name):
    kind = family(name)
    batch = kind.batch(jax.random.key(2**31 - 1), jnp.int32(10**6), size=64, steps=10**6)
    loss = jax.jit(mean_loss, static_argnums=0)
    early, late = (load_task_model(f"{name}-{stage}") for stage in ("early", "late"))
    assert loss(late.config, late.params, batch) < loss(early.config, early.params, batch)


@pytest.mark.tier2
@pytest.mark.optimised
@pytest.mark.parametrize("name", EARLY)
def test_a_few_steps_give_the_losses_on_the_card(name):
    trainer = make_model_trainer(pretrain_config.Config(), name, "early", FIRST)
    _, metrics = trainer.update(trainer.init(jax.random.key(0)))
    np.testing.assert_allclose(metrics.loss, load_task_model(f"{name}-early").card["first_losses"], rtol=1e-3)


@pytest.mark.tier2
@pytest.mark.optimised
def test_the_accuracy_on_a_card_is_seen_again():
    model = load_task_model("countdown-late")
    problems = TokenProblems(model.family.task, model.family.held_out(128))
    requests = [Request(prompt, 1, problems.decoding(0.0)) for prompt in problems.prompts]
    replies = model.sampler().sample(requests)
    answers = [GradedAnswer(i, tuple(r.completions[0].tokens.tolist())) for i, r in enumerate(replies)]
    solved = problems.solved(answers).mean()
    assert abs(solved - model.card["greedy"]) < 3 * np.sqrt(0.25 / 128)


def prefixed(key):
    row = Example(jnp.array([7, 8, 9, 10, 3, 3], jnp.int32), jnp.array([False, False, True, True, False, False]))
    return prepend(PREFIXES, key, row, jnp.int32(1), jnp.array([9, 10, 11]), 3)


def test_prefixes_stand_in_front_and_are_not_learned():
    rows = jax.jit(jax.vmap(prefixed))(jax.random.split(jax.random.key(0), 2000))
    counts = {"none": 0, "style": 0, "hint": 0, "noise": 0}
    for tokens, mask in zip(rows.tokens.tolist(), rows.mask.tolist(), strict=True):
        start = tokens.index(7)
        assert tokens[start : start + 4] == [7, 8, 9, 10]
        assert [i for i, on in enumerate(mask) if on] == [start + 2, start + 3]
        assert set(tokens[start + 4 :]) <= {3}
        prefix = tokens[:start]
        assert PREFIXES.first not in prefix  # the style of another answer
        noise = [t for t in prefix if PREFIXES.noise <= t < PREFIXES.noise + NOISE]
        assert len(noise) <= MOST_NOISE
        if PREFIXES.mark in prefix:
            at = prefix.index(PREFIXES.mark)
            assert prefix[at + 1 : at + 4] == [9, 10, 11]
            counts["hint"] += 1
        counts["none"] += not prefix
        counts["style"] += PREFIXES.first + 1 in prefix
        counts["noise"] += bool(noise)
    shares = {name: count / 2000 for name, count in counts.items()}
    for name, share in {"none": 0.5 + 0.5 * 0.5 * 0.5 * 0.75, "style": 0.25, "noise": 0.25, "hint": 0.125}.items():
        assert abs(shares[name] - share) < 4 * np.sqrt(share * (1 - share) / 2000), name


def test_a_style_of_countdown_says_how_the_answer_begins():
    kind = family("countdown")
    batch = jax.device_get(jax.jit(functools.partial(kind.batch, size=512, steps=10))(jax.random.key(0), jnp.int32(0)))
    task, prefixes, seen = kind.task, kind.prefixes, 0
    for tokens, mask in zip(batch.tokens.tolist(), batch.mask.tolist(), strict=True):
        styles = [t - prefixes.first for t in tokens if prefixes.first <= t < prefixes.noise]
        if not styles:
            continue
        first = task.render(tokens[mask.index(True) :][:3])
        name, op = prefixes.styles[styles[0]], next(c for c in first if c in "+-*")
        assert name.split()[0] == {"+": "add", "-": "subtract", "*": "multiply"}[op]
        seen += 1
    assert seen > 80


def test_no_such_model_is_one_line():
    with pytest.raises(UserError, match="no task model called 'countdwn-early'"):
        load_task_model("countdwn-early")
    with pytest.raises(UserError, match="unknown task family 'chains'"):
        family("chains")
