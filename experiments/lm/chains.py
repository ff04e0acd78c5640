"""Modular chains as the task of a small model: its batches, its accuracy, and what it writes."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxrl_suite.envs.tasks import ModChain, example, pad_rows
from jaxrl_suite.experiments.lm.config import CONTEXT, Config
from jaxrl_suite.llm.ledger import Ledger
from jaxrl_suite.llm.protocol import Decoding, Request, Sampler, Usage
from jaxrl_suite.llm.transformer import config as lm_config
from jaxrl_suite.llm.transformer import model
from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.next_token import Batch, next_token_loss
from jaxrl_suite.llm.transformer.sampler import SamplerConfig, TransformerSampler
from jaxrl_suite.llm.transformer.train import TrainConfig, Trainer, make_trainer


class SampledChains(NamedTuple):
    """Chains that one model wrote. Axes: temperatures, lengths from 1, problems."""

    solved: np.ndarray  # bool
    leading: np.ndarray  # int32, right steps before the first wrong one
    prompts: list[str]  # of each length's problems, one after the other
    answers: np.ndarray  # text


def model_config(config: Config) -> LMConfig:
    """The shape of the model. It learns faster with keys and values for each head, and with short wavelengths.

    All positions are below 128; with a base of 10,000 most rotary coordinates would hardly turn in so short a text.
    """
    shape = lm_config.preset(config.size, vocab_size=task_of(config, config.max_steps).vocab_size, context=CONTEXT)
    return dataclasses.replace(shape, num_kv_heads=shape.num_heads, rope_theta=100.0)


def trainer_of(config: Config, mesh: Mesh | None = None) -> Trainer:
    train = TrainConfig(
        steps=config.train_steps,
        batch=config.batch,
        learning_rate=config.learning_rate,
        warmup=min(50, config.train_steps // 2),
        weight_decay=0.1,
    )
    shape, source = model_config(config), functools.partial(make_batch, config)
    return make_trainer(
        next_token_loss(shape),
        train,
        source,
        init_params=functools.partial(model.init, shape),
        chunk=config.chunk,
        mesh=mesh,
    )


def task_of(config: Config, steps: int) -> ModChain:
    return ModChain(steps, config.largest)


def tokens_a_step(config: Config) -> int:
    """Tokens that a training step reads, padding included."""
    task = task_of(config, config.max_steps)
    return config.batch * (task.max_prompt + task.max_answer)


def make_batch(config: Config, key: jax.Array, step: jax.Array) -> Batch:
    """Chains of all lengths with their worked answers; training learns the answers alone."""
    task = task_of(config, config.max_steps)
    lengths, problems = jax.random.split(key)
    easy = config.easy * jnp.clip(1 - 2 * step / config.train_steps, 0.0, 1.0)
    steps = jax.random.randint(lengths, (config.batch,), 1, config.max_steps + 1)
    keys = jax.random.split(problems, config.batch)
    rows = jax.vmap(lambda key, steps: example(task, task.problem(key, steps, easy)))(keys, steps)
    return Batch(rows.tokens, rows.mask)


@functools.cache
def _exact(config: Config, shape: LMConfig) -> Any:
    task = task_of(config, config.max_steps)

    @jax.jit
    def measure(params: Any, key: jax.Array) -> jax.Array:
        def one(steps: jax.Array, key: jax.Array) -> Any:
            return example(task, task.problem(key, steps))

        lengths = jnp.repeat(jnp.arange(1, config.max_steps + 1), config.problems)
        rows = jax.vmap(one)(lengths, jax.random.split(key, len(lengths)))
        likeliest = jnp.argmax(model.forward(shape, params, rows.tokens[:, :-1]), axis=-1)
        right = jnp.all((likeliest == rows.tokens[:, 1:]) | ~rows.mask[:, 1:], axis=-1)
        return jnp.mean(right.reshape(config.max_steps, config.problems), axis=1)

    return measure


def exact(config: Config, shape: LMConfig, params: Any) -> list[float]:
    """For each length trained on, the share of other chains whose whole answer the model prefers token by token.

    That is what decoding at temperature 0 writes, found in one forward pass.
    """
    return np.asarray(_exact(config, shape)(params, held_out(0))).tolist()


def held_out(stream: int) -> jax.Array:
    """A key that no training run uses, whatever its seed: those start from `key(seed)`, split."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 2**31), stream)


def sampler_of(shape: LMConfig, params: Any, seed: int) -> Sampler:
    task = ModChain()
    return TransformerSampler(f"modchain-{seed}", shape, params, eos=(task.eos,), options=SamplerConfig(seed=seed))


def sample(config: Config, sampler: Sampler, ledger: Ledger) -> SampledChains:
    """Answers to the same problems at every temperature, one each, and the verdicts on them."""
    task = task_of(config, config.sampled_steps)
    lengths = np.repeat(np.arange(1, config.sampled_steps + 1), config.problems)
    keys = jax.random.split(held_out(1), len(lengths))
    problems = jax.jit(jax.vmap(task.problem))(keys, lengths)
    prompts = jax.device_get(jax.jit(jax.vmap(task.prompt))(problems))
    prefixes = [tuple(row[:size].tolist()) for row, size in zip(prompts.tokens, prompts.length, strict=True)]
    room = task.max_answer + 2  # an answer that is too long is seen as such
    judge = jax.jit(jax.vmap(task.verify))
    shape = config.sampled_steps, config.problems
    solved, leading, answers = [], [], []
    for place, temperature in enumerate(config.temperatures):
        decoding = Decoding(max_tokens=room, temperature=temperature)
        requests = [
            Request(prefix, decoding=decoding, path=(place, row), role=f"temperature {temperature:g}")
            for row, prefix in enumerate(prefixes)
        ]
        written = []
        for request, reply in zip(requests, sampler.sample(requests), strict=True):
            ledger.charge(reply.usage, request.role)
            written.append(reply.completions[0].tokens)
        ledger.charge(Usage(verifier_calls=len(written)), requests[0].role)
        verdicts = jax.device_get(judge(problems, jnp.asarray(pad_rows(written, room, task.pad))))
        solved.append(verdicts.solved.reshape(shape))
        leading.append(verdicts.leading.reshape(shape))
        answers.append(np.asarray([task.render(tokens) for tokens in written]).reshape(shape))
    return SampledChains(np.stack(solved), np.stack(leading), [task.render(row) for row in prefixes], np.stack(answers))
