"""Small models of token tasks, trained from scratch: those that come with the package, or others, to search with.

Problems are made on the device with worked answers, so there is no data set. `--preset full` makes the models of the
package; each is written to `models/NAME` of the run, a folder that `load_task_model` and other libraries read.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.core import plot
from jaxrl_suite.core.run import Run
from jaxrl_suite.core.trees import check_finite
from jaxrl_suite.experiments.pretrain.accuracy import KS, measure
from jaxrl_suite.experiments.pretrain.config import PRESETS, Config, FamilyName, Stage
from jaxrl_suite.llm.task_models.families import family
from jaxrl_suite.llm.task_models.shipped import TaskModel, save_task_model
from jaxrl_suite.llm.transformer import model
from jaxrl_suite.llm.transformer.model import Transformer
from jaxrl_suite.llm.transformer.next_token import next_token_loss
from jaxrl_suite.llm.transformer.train import Trainer, make_trainer
from jaxrl_suite.networks.describe import Described

__all__ = ["CLAIMS", "PRESETS", "SYSTEM", "Config", "main", "make_model_trainer", "networks"]

SYSTEM = ""  # it serves several systems, and no paper
CLAIMS = ()
FIRST = 5  # losses of the first steps on the card, by which a training can be told to be the same


def networks(config: Config) -> dict[str, Described]:
    tokens = jax.ShapeDtypeStruct((1, 8), jnp.int32)
    return {
        name: Described(Transformer(family(name).shape(config.size)), (tokens,), "everything")
        for name in config.families
    }


def make_model_trainer(config: Config, name: FamilyName, stage: Stage, chunk: int, mesh: Any = None) -> Trainer:
    """The training of one model; `init(key(seed))` is its start."""
    kind, train = family(name), config.training(name, stage)
    shape = kind.shape(config.size)
    source = functools.partial(kind.batch, size=train.batch, steps=train.steps)
    start = functools.partial(model.init, shape)
    return make_trainer(next_token_loss(shape), train, source, init_params=start, chunk=chunk, mesh=mesh)


def main(config: Config, run: Run) -> None:
    rows, transcripts, curves, series = [], [], [], {}
    wanted = itertools.product(config.families, config.stages, config.seeds)
    for name, stage, seed in wanted:
        losses, trained = _train(config, run, name, stage, seed)
        accuracy = measure(config, trained)
        card = _card(config, name, stage, seed, losses)
        figures = {"greedy": accuracy.greedy} | {f"pass@{k}": accuracy.pass_at[k] for k in KS}
        save_task_model(run.folder / "models" / trained.name, trained.config, trained.params, card | figures)
        size = trained.config.num_params
        rows.append({"model": trained.name, "parameters": size, "steps": config.steps_of(name, stage)} | figures)
        transcripts += accuracy.transcripts
        steps = config.chunk * np.arange(1, len(losses) // config.chunk + 1)
        means = losses.reshape(-1, config.chunk).mean(axis=1)
        series[trained.name] = (steps, means)
        curves += [{"model": trained.name, "step": int(a), "loss": float(b)} for a, b in zip(steps, means, strict=True)]
    caption = (
        f"Share of {config.problems} held-out problems that are solved: at temperature 0, and by k of independent "
        f"samples at temperature {config.temperature:g} (unbiased, of {config.samples})."
    )
    run.table("models", rows, caption=caption)
    figure = plot.lines(series, xlabel="training steps", ylabel="nats a token of the answer", title="Training loss")
    run.figure("loss", figure, "Mean over the steps since the last point.")
    run.table("transcripts", transcripts, caption="Greedy answers: two right ones and two wrong ones of each model.")
    run.table("training", curves, caption="Training loss.")


def _train(config: Config, run: Run, name: FamilyName, stage: Stage, seed: int) -> tuple[np.ndarray, TaskModel]:
    """The loss of every step float64[steps], and the model."""
    kind, train = family(name), config.training(name, stage)
    label = f"{name}-{stage}" + f"-{seed}" * (seed != config.seeds[0])
    trainer = make_model_trainer(config, name, stage, config.chunk, run.mesh(batch=config.batch))
    state = trainer.init(jax.random.key(seed))
    update: Any = run.compile(trainer.update, state, name=f"{config.chunk} training steps, {label}")
    carry = state, np.zeros(train.steps, np.float32)
    loop = run.chunks(train.steps // config.chunk, carry, label, name=label)
    for chunk in loop:
        state, losses = loop.carry
        state, metrics = update(state)
        check_finite({"loss": metrics.loss, "params": state.params}, f"training of {label}, chunk {chunk}")
        losses[chunk * config.chunk : (chunk + 1) * config.chunk] = metrics.loss
        loop.carry = state, losses
        run.log(model=label, train_step=int(state.step), loss=float(jnp.mean(metrics.loss)))
    state, losses = loop.carry
    params = jax.device_put(state.params, jax.devices()[0])
    tokens = config.batch * kind.context * train.steps
    run.throughput(f"training tokens, {label}", tokens, loop.seconds)
    trained = TaskModel(label, kind, kind.shape(config.size), params, {})
    return np.asarray(losses, np.float64), trained


def _card(config: Config, name: FamilyName, stage: Stage, seed: int, losses: np.ndarray) -> dict[str, Any]:
    """What is known of a model before it is measured."""
    kind = family(name)
    default = Config()
    command = f"jaxrl-suite run pretrain --families {name} --stages {stage}"
    if seed:
        command += f" --seeds {seed}"
    for field in ("size", "batch", "learning_rate"):
        if getattr(config, field) != getattr(default, field):
            command += f" --{field.replace('_', '-')} {getattr(config, field)}"
    return {
        "family": name,
        "stage": stage,
        "task": repr(kind.task),
        "difficulty": list(kind.steps),
        "prefixes": None if kind.prefixes is None else list(kind.prefixes.styles),
        "command": f"{command} --steps {config.steps_of(name, stage)}",
        "steps": config.steps_of(name, stage),
        "rows_per_step": config.batch,
        "first_losses": [round(float(x), 6) for x in losses[:FIRST]],
        "last_loss": round(float(losses[-config.chunk :].mean()), 6),
        "accuracy": f"{config.problems} held-out problems, {config.samples} samples each at {config.temperature:g}",
    }
