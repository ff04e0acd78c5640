"""Back-propagation through the training of a student: the outer loss of a network fitted to the distilled set.

What makes it DBC, PBC, Av-PBC or SDW is the real pairs: their targets (actions of the data, or of a teacher) and
their weights (`distill.weighting`).

Shapes: `T` inner steps.

Reference: Lei, Zhang and Tao, "Offline behavior distillation", NeurIPS 2024, section 4; nested checkpoints: Chen et
al., "Training deep nets with sublinear memory cost" (2016).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

import jax
import optax

from jaxrl_suite.core.config import UserError
from jaxrl_suite.distill.objective import Aux, State
from jaxrl_suite.distill.pairs import Distilled, Imitation, Pairs
from jaxrl_suite.rl.cloning import Recipe
from jaxrl_suite.rl.policies import Params

Memory: TypeAlias = Literal["store", "steps", "sqrt"]
Carry = TypeVar("Carry")
_ADAM_ROOT = 1e-12  # inside Adam's root, whose derivative at 0 is infinite


@dataclasses.dataclass(frozen=True)
class Unrolled:
    """The loss on real pairs of a fresh student after T full-batch steps on the distilled set.

    Args:
      imitation: the student.
      inner: how it is trained; full batch.
      memory: what the gradient keeps: `store` all that each step computed, `steps` the parameters before each step,
        `sqrt` those before each of sqrt(T) segments, within which they are computed again.
      learn_rate: whether students use the set's own step size in place of the recipe's.
    """

    imitation: Imitation
    inner: Recipe = dataclasses.field(default_factory=lambda: Recipe("sgd", 0.1, 60))
    memory: Memory = "steps"
    learn_rate: bool = False

    def __post_init__(self):
        if self.inner.batch is not None:
            raise UserError("an unrolled student trains on the whole distilled set: leave the recipe's batch out")

    def init(self, key: jax.Array, teacher: Params | None) -> State:
        del key, teacher
        return ()

    def loss(self, syn: Distilled, batch: Pairs, state: State, key: jax.Array) -> tuple[jax.Array, Aux]:
        del state
        params = self.train(syn, self.imitation.policy.init(key))
        return self.imitation.scaled_loss(params, batch), {}

    def update(self, syn: Distilled, state: State, key: jax.Array) -> State:
        del syn, key
        return state

    def train(self, syn: Distilled, params: Params) -> Params:
        """The student's parameters after T steps, differentiable in `syn`."""
        pairs = self.imitation.pairs(syn)
        optimiser = _make(self.inner, syn.rate if self.learn_rate else self.inner.rate)

        def step(carry: tuple[Params, Any]) -> tuple[Params, Any]:
            params, state = carry
            gradient = jax.grad(self.imitation.mean_loss)(params, pairs)
            updates, state = optimiser.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        return repeat(step, (params, optimiser.init(params)), self.inner.steps, self.memory)[0]


def repeat(step: Callable[[Carry], Carry], carry: Carry, steps: int, memory: Memory) -> Carry:
    """`step` applied `steps` times, with a choice of what reverse-mode differentiation keeps (see `Unrolled`).

    With `sqrt` the carries held at a time number about 2 sqrt(steps), and each step is computed twice more.
    """

    def body(carry: Carry, _: None) -> tuple[Carry, None]:
        return step(carry), None

    if memory == "store":
        return jax.lax.scan(body, carry, None, length=steps)[0]
    inner = jax.checkpoint(body, prevent_cse=False)  # a scan keeps the compiler from merging the two computations
    if memory == "steps":
        return jax.lax.scan(inner, carry, None, length=steps)[0]
    size = max(1, math.isqrt(steps))

    def segment(carry: Carry, _: None) -> tuple[Carry, None]:
        return jax.lax.scan(inner, carry, None, length=size)[0], None

    carry = jax.lax.scan(jax.checkpoint(segment, prevent_cse=False), carry, None, length=steps // size)[0]
    return jax.lax.scan(inner, carry, None, length=steps % size)[0]


def _make(recipe: Recipe, rate: float | jax.Array) -> optax.GradientTransformation:
    if recipe.optimiser == "sgd":
        return recipe.make(rate)
    return {"adam": optax.adam, "adamw": optax.adamw}[recipe.optimiser](rate, eps_root=_ADAM_ROOT)
