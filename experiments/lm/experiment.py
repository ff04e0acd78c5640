"""Language models: a small one learns modular chains from scratch and is sampled; or a real one is shown (--weights).

A chain such as `a=7;b=a*5+3;c=b*2+8?` asks for every product and value mod 23, and counts as solved when all values are
right: a check of model, training, sampler and verifier together, with exact answers and no data set.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.core.trees import check_finite
from jaxrl_suite.experiments.lm import report
from jaxrl_suite.experiments.lm.chains import exact, model_config, sample, sampler_of, tokens_a_step, trainer_of
from jaxrl_suite.experiments.lm.config import PRESETS, Config
from jaxrl_suite.llm.ledger import Ledger
from jaxrl_suite.llm.transformer.model import Transformer
from jaxrl_suite.networks.describe import Described

__all__ = ["CLAIMS", "PRESETS", "SYSTEM", "Config", "check", "main", "networks"]

SYSTEM = ""  # it serves the language-model layer, and no paper
CLAIMS = ()


def networks(config: Config) -> dict[str, Described]:
    tokens = jax.ShapeDtypeStruct((1, 8), jnp.int32)
    return {"language model": Described(Transformer(model_config(config)), (tokens,), "everything")}


def check(config: Config) -> None:
    """Refuses weights that are not there, before a run begins."""
    if config.weights:
        from jaxrl_suite.llm.transformer.weights import find

        find(config.weights)


def main(config: Config, run: Run) -> None:
    if config.weights:
        from jaxrl_suite.experiments.lm import weights as _lm_weights

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
            check_finite({"loss": metrics.loss, "params": state.params}, f"training, seed {seed}, chunk {chunk}")
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
