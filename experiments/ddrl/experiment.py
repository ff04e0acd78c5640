"""DDRL: sets of a few distilled pairs on which a fresh policy is trained in a second, beside real pairs and cloning.

Distilled sets of several methods, selections of as many real pairs, and clones of everything and of the episodes with
the best returns meet the same students and the same episodes. Procgen, which the paper uses, has no JAX port: its
seen and unseen levels are those of a maze here, and continuous control is the pendulum and MuJoCo.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_suite import envs
from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.ddrl import locomotion, tasks, verdicts
from jaxrl_suite.experiments.ddrl import report as writing
from jaxrl_suite.experiments.ddrl.config import PRESETS, Config
from jaxrl_suite.networks.describe import Described

__all__ = ["CLAIMS", "PRESETS", "SYSTEM", "Config", "main", "networks"]

SYSTEM = "DDRL"
CLAIMS = ("ddrl-1", "ddrl-2", "ddrl-3", "ddrl-4", "ddrl-5")


def networks(config: Config) -> dict[str, Described]:
    found = {}
    for environment in config.environments:
        policy = tasks.student_of(config, environment, envs.make(environment))
        observations = jax.ShapeDtypeStruct((1, *policy.observation_shape), jnp.float32)
        found[f"student of {environment}"] = Described(policy.module, (observations,))
    return found


def main(config: Config, run: Run) -> None:
    reports = [
        report for environment in config.environments for report in writing.run_environment(config, run, environment)
    ]
    writing.write_glossary(run, reports)
    verdicts.write_verdicts(config, run, reports)
    locomotion.write_locomotion(run, reports, config.methods)
    verdicts.write_differences(run, published=config.published)
