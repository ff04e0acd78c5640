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
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import jax
import jax.numpy as jnp
import optax

from jaxrl_suite.core.config import check_choices
from jaxrl_suite.distill.objective import Aux, ObjectiveState
from jaxrl_suite.distill.pairs import Distilled, Imitation, Pairs
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.learners.cloning import Recipe
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
      learn_rate: whether students, trained by SGD, use the set's own learning rate in place of the recipe's.
      shortest: if given, each student stops after a random number of steps, uniform on `shortest` to T, which keeps
        the set from being fitted to one length of training.
    """

    imitation: Imitation
    inner: Recipe = dataclasses.field(default_factory=lambda: Recipe("sgd", 0.1, 60))
    memory: Memory = "steps"
    learn_rate: bool = False
    shortest: int | None = None

    def __post_init__(self):
        check_choices(self, memory=get_args(Memory))
        if self.shortest is not None and not 0 <= self.shortest <= self.inner.steps:
            raise UserError(f"shortest must be 0 to the recipe's {self.inner.steps} steps, got {self.shortest}")
        if self.learn_rate and self.inner.optimiser != "sgd":
            raise UserError(f"the set's learning rate is of sgd: learn_rate does not go with {self.inner.optimiser}")
        if self.inner.batch is not None:
            raise UserError("an unrolled student trains on the whole distilled set: leave the recipe's batch out")

    def init(self, key: jax.Array, teacher: Params | None) -> ObjectiveState:
        del key, teacher
        return ()

    def loss(self, syn: Distilled, batch: Pairs, state: ObjectiveState, key: jax.Array) -> tuple[jax.Array, Aux]:
        del state
        stop = None
        if self.shortest is not None:
            key, stop_key = jax.random.split(key)
            stop = jax.random.randint(stop_key, (), self.shortest, self.inner.steps + 1)
        params = self.train(syn, self.imitation.policy.init(key), stop)
        return self.imitation.scaled_loss(params, batch), {}

    def update(self, syn: Distilled, state: ObjectiveState, key: jax.Array) -> ObjectiveState:
        del syn, key
        return state

    def train(self, syn: Distilled, params: Params, stop: jax.Array | None = None) -> Params:
        """The student's parameters after T steps, or after `stop` if that is less; differentiable in `syn`."""
        pairs = self.imitation.pairs(syn)
        optimiser = _make(self.inner, syn.learning_rate if self.learn_rate else self.inner.learning_rate)

        def step(carry: tuple[Params, Any, Any]) -> tuple[Params, Any, Any]:
            params, state, done = carry
            gradient = jax.grad(self.imitation.mean_loss)(params, pairs)
            updates, state = optimiser.update(gradient, state, params)
            after = optax.apply_updates(params, updates)
            if stop is None:
                return after, state, done
            return jax.tree.map(lambda a, b: jnp.where(done < stop, a, b), after, params), state, done + 1

        done = None if stop is None else jnp.int32(0)
        return repeat(step, (params, optimiser.init(params), done), self.inner.steps, self.memory)[0]


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


def _make(recipe: Recipe, learning_rate: float | jax.Array) -> optax.GradientTransformation:
    if recipe.optimiser == "sgd":
        return recipe.make(learning_rate)
    return {"adam": optax.adam, "adamw": optax.adamw}[recipe.optimiser](learning_rate, eps_root=_ADAM_ROOT)
