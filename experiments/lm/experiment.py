"""Language models: a small one learns modular chains from scratch and is sampled; or a real one is shown (--weights).

A chain such as `a=7;b=a*5+3;c=b*2+8?` asks for every product and value mod 23, and counts as solved when all values are
right: a check of model, training, sampler and verifier together, with exact answers and no data set.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs.tasks import ModChain, example, pad_rows
from jaxrl_suite.experiments import _lm_report as report
from jaxrl_suite.llm import lm_config, model
from jaxrl_suite.llm.ledger import Ledger
from jaxrl_suite.llm.lm_config import LMConfig
from jaxrl_suite.llm.protocol import Decoding, Request, Sampler, Usage
from jaxrl_suite.llm.train import Batch, TrainConfig, Trainer, make_trainer
from jaxrl_suite.llm.transformer_sampler import SamplerConfig, TransformerSampler

SYSTEM = ""  # it serves the language-model layer, and no paper
CLAIMS = ()

Size = Literal["0.1M", "0.35M", "0.8M", "1.1M"]
CONTEXT = 128  # tokens; a chain of 10 steps and its answer have 78


@dataclasses.dataclass(frozen=True)
class Config:
    """All that decides the result."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # a model each
    size: Size = "0.1M"  # parameters
    max_steps: int = 6  # longest chain that is trained on; all lengths up to it are equally likely
    sampled_steps: int = 8  # longest chain that is sampled
    largest: int = 9  # greatest constant in a chain, up to 22
    train_steps: int = 1000
    batch: int = 128  # chains a training step
    learning_rate: float = 6e-3
    easy: float = 0.5  # share of easy steps at first; it falls to 0 over the first half of training
    chunk: int = 50  # training steps between two measurements
    temperatures: tuple[float, ...] = (0.0, 0.7, 1.0)
    problems: int = 128  # sampled for each seed, length and temperature
    weights: str = ""  # show this model instead: smollm2, a .gguf file, a folder of safetensors

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            max_steps=(1, 10),
            sampled_steps=(1, 10),
            largest=(1, 22),
            train_steps=(2, 10**8),
            batch=(1, 10**6),
            easy=(0.0, 1.0),
            chunk=(1, self.train_steps),
            temperatures=(0.0, 100.0),
            problems=(1, 10**6),
        )
        check_distinct(self, "seeds", "temperatures")
        if self.train_steps % self.chunk:
            raise ValueError(f"chunk must divide the {self.train_steps} training steps, got {self.chunk}")


PRESETS = {
    "quick": Config(),
    "full": Config(largest=22, max_steps=8, sampled_steps=10, train_steps=6000, batch=256, chunk=250, problems=512),
    "accel": Config(
        size="1.1M", largest=22, max_steps=10, sampled_steps=10, train_steps=10_000, batch=2048, learning_rate=2e-3,
        chunk=500, problems=2048,
    ),
}  # fmt: skip


class Sampled(NamedTuple):
    """What one model wrote. Axes: temperatures, lengths from 1, problems."""

    solved: np.ndarray  # bool
    leading: np.ndarray  # int32, right steps before the first wrong one
    prompts: list[str]  # of each length's problems, one after the other
    answers: np.ndarray  # text


def main(config: Config, run: Run) -> None:
    if config.weights:
        from jaxrl_suite.experiments import _lm_weights

        return _lm_weights.show(config.weights, run)
    shape, chunks = model_config(config), config.train_steps // config.chunk
    trainer = trainer_of(config, run.mesh(batch=config.batch))
    run.say(f"{shape.num_params:,} parameters, {shape.width} wide, {shape.num_layers} layers")
    update: Any = None
    models, curves, seconds, done = [], [], 0.0, 0
    for seed in config.seeds:
        carry = trainer.init(jax.random.key(seed)), np.zeros((chunks, 1 + config.max_steps), np.float32)
        if update is None:
            update = run.compile(trainer.update, carry[0], name=f"{config.chunk} training steps")
        loop = run.chunks(chunks, carry, f"training, seed {seed}", name=f"seed-{seed}")
        for chunk in loop:
            state, curve = loop.carry
            state, metrics = update(state)
            curve[chunk] = float(jnp.mean(metrics.loss)), *exact(config, shape, state.params)
            loop.carry = state, curve
            run.log(seed=seed, train_step=int(state.step), loss=float(curve[chunk, 0]), exact=curve[chunk, 1:].tolist())
            done += 1
        seconds += loop.seconds
        models.append(jax.device_put(loop.carry[0].params, jax.devices()[0]))
        curves.append(np.asarray(loop.carry[1]))
    run.throughput("training tokens, measurements included", done * config.chunk * tokens_a_step(config), seconds)

    ledger = Ledger()
    samples = [
        sample(config, sampler_of(shape, params, seed), ledger)
        for seed, params in zip(config.seeds, models, strict=True)
    ]
    if ledger.total.seconds:
        total = ledger.total
        run.throughput("sampled tokens, compilation included", total.output_tokens, total.seconds)
    report.write_accuracy(config, run, shape, samples, seconds / done if done else 0.0)
    report.write_training(config, run, np.stack(curves))
    report.write_transcripts(config, run, samples[0])
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in ledger.rows()]
    run.table("ledger", rows, caption="What was sampled, by temperature: counts of all seeds.")


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
    source = functools.partial(make_batch, config)
    return make_trainer(model_config(config), train, source, chunk=config.chunk, mesh=mesh)


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


def sample(config: Config, sampler: Sampler, ledger: Ledger) -> Sampled:
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
    return Sampled(np.stack(solved), np.stack(leading), [task.render(row) for row in prefixes], np.stack(answers))
