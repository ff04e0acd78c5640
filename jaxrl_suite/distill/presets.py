"""Drivers by name: the published mechanics of DDRL, and the methods that are compared with them.

DDRL's code has two ways to distil: P1 matches the gradients of the frozen teacher, P2 those of one student that trains
along. Both learn states alone, by SGD with momentum, from hard labels, with squared or absolute error of
probabilities, and sum the distances of the actions.

Reference: Light, Liu and Hu, "Dataset distillation for offline reinforcement learning" (2024), and its code.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxrl_suite.distill.driver import Driver
from jaxrl_suite.distill.gradient_matching import GradientMatching
from jaxrl_suite.distill.kernel_ridge import KernelRidge
from jaxrl_suite.distill.objective import Mean
from jaxrl_suite.distill.pairs import Distilled, Imitation
from jaxrl_suite.distill.random_regressors import RandomRegressors
from jaxrl_suite.distill.sampling import Buckets, UniformBatches
from jaxrl_suite.distill.unrolled import Unrolled
from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.rl.learners.cloning import Recipe
from jaxrl_suite.rl.policies import MLPPolicy, Policy

PAPER_OUTER: dict[str, Any] = dict(
    learn=("observations",), optimiser="sgd", learning_rate=0.1, momentum=0.5, clip=float("inf"), decay=0.0, students=1
)
PAPER_STUDENT = Recipe("adam", 5e-3, 1000, batch=256)  # P3: what judges the set; its actions are sampled

METHODS = ("bptt", "bptt-both", "gm-l2", "gm-layer", "gm-cosine", "kernel-ridge", "random-regressors")


def paper_teacher(policy: Policy, start: Distilled, *, batch: int = 75) -> Driver:
    """P1: one batch for each action, the teacher's gradients, squared error of probabilities.

    Args:
      policy: the teacher's network, whose parameters `Driver.init` takes. A continuous one matches squared error on all
        pairs at once, which the paper does not have.
      start: the set to start from, see `sampling.balanced_rows`.
      batch: real rows for each action, without replacement.
    """
    return _paper(policy, start, batch, "softmax_mse", network="teacher")


def paper_student(policy: Policy, start: Distilled, *, batch: int = 256, steps: int = 50) -> Driver:
    """P2: one student, initialised once, that takes `steps` Adam steps after each outer step; absolute error."""
    return _paper(policy, start, batch, "softmax_mae", network="student", inner=Recipe("adam", 5e-3, steps))


def make_driver(method: str, policy: Policy, **changes: Any) -> Driver:
    """A driver with defaults that work on normalised observations.

    Args:
      method: one of `METHODS`: `bptt` unrolls 60 steps of SGD, `bptt-both` that and 60 of Adam, `gm-*` are distances of
        gradient matching on fresh students.
      policy: the student's network.
      changes: fields of `Driver`.
    """
    imitation = Imitation(policy)
    plain = Unrolled(imitation)
    regressor = policy
    if isinstance(policy.module, MLPPolicy):
        regressor = dataclasses.replace(policy, module=policy.module.clone(squash=False))
    objectives: dict[str, Any] = {
        "bptt": plain,
        "bptt-both": Mean((plain, Unrolled(imitation, Recipe("adam", 5e-3, 60)))),
        "gm-l2": GradientMatching(imitation, "l2"),
        "gm-layer": GradientMatching(imitation, "layer"),
        "gm-cosine": GradientMatching(imitation, "cosine"),
        "kernel-ridge": KernelRidge(imitation),
        "random-regressors": RandomRegressors(dataclasses.replace(imitation, policy=regressor)),
    }
    if method not in objectives:
        raise UserError(f"unknown method {method!r}{suggest(method, objectives)}")
    return Driver(objectives[method], **changes)


def _paper(policy: Policy, start: Distilled, batch: int, loss: Any, **options: Any) -> Driver:
    if not policy.discrete:
        objective = GradientMatching(Imitation(policy), **options)
        return Driver(objective, UniformBatches(batch), **PAPER_OUTER)
    imitation = Imitation(policy, loss, "hard")
    classes = tuple(int(label) for label in np.argmax(np.asarray(start.labels), axis=-1))
    objective = GradientMatching(imitation, classes=classes, **options)
    return Driver(objective, Buckets(batch, replace=False), **PAPER_OUTER)
