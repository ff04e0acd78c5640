"""The outer loop of distillation: one driver for every objective.

An outer step draws a real batch for each of K students, takes the mean of their gradients, each clipped by itself, and
moves the set by a step of a meta-optimiser. Steps are scanned in chunks; after a chunk, students trained on
the moving average of the set are judged on held-out pairs, and the best average so far is kept. Returns of an
environment are never looked at.

Shapes: `K` students of an outer step, `C` outer steps of a chunk, `R` runs side by side.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrl_suite.core.config import check_choices, check_ranges
from jaxrl_suite.distill.objective import Objective, ObjectiveState
from jaxrl_suite.distill.pairs import LEARNABLE, Distilled, Pairs
from jaxrl_suite.distill.sampling import BatchSampler, UniformBatches
from jaxrl_suite.distill.students import held_out_loss
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.learners.cloning import RECIPES, Recipe
from jaxrl_suite.rl.policies import Params


class DriverState(NamedTuple):
    """The state that an interrupted run needs to go on as if it had not been."""

    syn: Distilled
    average: Distilled  # exponential moving average of the sets so far
    best: Distilled  # the average with the smallest held-out loss at the end of a chunk
    best_loss: jax.Array  # float32[], inf before the first chunk
    opt_state: optax.OptState
    objective: ObjectiveState  # leading axis K
    low: jax.Array  # float32[*observation_shape]: observations are kept between these
    high: jax.Array
    step: jax.Array  # int32[]
    key: jax.Array  # of the outer steps to come
    judge_key: jax.Array  # of the students that choose the best, the same ones at each chunk


class DriverMetrics(NamedTuple):
    """Measurements of a chunk."""

    loss: jax.Array  # float32[C], of the objective
    gradient_norm: jax.Array  # float32[C], mean over students of what is finite, before it is clipped
    aux: dict[str, jax.Array]  # float32[C] each, mean over students
    held_out: jax.Array  # float32[], loss of students trained on the average


@dataclasses.dataclass(frozen=True)
class Driver:
    """Configuration of the outer loop.

    Args:
      objective: what is minimised.
      sampler: of real batches, one for each student.
      students: K.
      learn: fields of `Distilled` that are learned; the others stay as they start.
      optimiser: of the outer loop.
      learning_rate: of it.
      momentum: of `sgd`.
      clip: bound on the norm of each student's gradient over all that is learned; inf for none. Unrolled gradients of
        few students explode, and a mean that is clipped as a whole would follow those alone: bounded one by one, each
        has one vote. A student whose gradient is not finite has none, and is counted in the metrics.
      decay: of the moving average; 0 keeps the last set alone.
      judges: students trained at the end of a chunk.
      recipes: how they are trained.
      anneal: outer steps over which the learning rate falls to a tenth of `learning_rate` along a cosine; 0 keeps it.
    """

    objective: Any
    sampler: Any = dataclasses.field(default_factory=UniformBatches)
    students: int = 4
    learn: tuple[str, ...] = ("observations", "labels")
    optimiser: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-2
    momentum: float = 0.0
    clip: float = 0.1
    decay: float = 0.99
    judges: int = 4
    recipes: tuple[Recipe, ...] = (RECIPES["sgd100"],)
    anneal: int = 0

    def __post_init__(self):
        unknown = set(self.learn) - set(LEARNABLE)
        if unknown or not self.learn:
            raise UserError(f"learn must name some of {', '.join(LEARNABLE)}, got {self.learn}")
        if self.objective.imitation.labels == "hard" and "labels" in self.learn:
            raise UserError("hard labels are not learned: leave labels out of learn, or use labels='soft'")
        check_choices(self, optimiser=("adam", "sgd"))
        check_ranges(
            self, students=(1, 10**5), learning_rate=(0, 1e6), momentum=(0, 1), decay=(0, 1), judges=(1, 10**5)
        )
        check_ranges(self, anneal=(0, 10**9))
        parts = getattr(self.objective, "parts", (self.objective,))
        if "raw_rate" in self.learn and not any(getattr(part, "learn_rate", False) for part in parts):
            raise UserError(
                "only Unrolled with learn_rate=True uses the set's learning rate: leave raw_rate out of learn"
            )
        if self.decay == 1:
            raise UserError("a decay of 1 never moves the average, which is what is kept: choose one below 1")
        if not self.clip > 0 or not self.recipes:
            raise UserError(f"clip must be above 0 and recipes at least one, got {self.clip} and {self.recipes}")

    def init(
        self,
        key: jax.Array,
        syn: Distilled,
        *,
        teacher: Params | None = None,
        bounds: tuple[jax.Array, jax.Array] | None = None,
    ) -> DriverState:
        """The state before the first outer step.

        Args:
          key: decides all that is random from here on.
          syn: the set to start from.
          teacher: parameters, for objectives that match its gradients.
          bounds: arrays of shape `observation_shape` between which learned observations are kept; none by default.
        """
        objective: Objective = self.objective
        step_key, judge_key, init_key = jax.random.split(key, 3)
        shape, dtype = syn.observations.shape[1:], syn.observations.dtype
        low, high = bounds or (-jnp.inf, jnp.inf)
        states = jax.vmap(lambda k: objective.init(k, teacher))(jax.random.split(init_key, self.students))

        def copy(tree: Distilled) -> Distilled:  # a donated state must not hold one buffer twice
            return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)

        return DriverState(
            syn=copy(syn),
            average=copy(syn),
            best=copy(syn),
            best_loss=jnp.full((), jnp.inf, dtype),
            opt_state=self._optimiser().init(syn),
            objective=states,
            low=jnp.array(jnp.broadcast_to(jnp.asarray(low, dtype), shape), copy=True),
            high=jnp.array(jnp.broadcast_to(jnp.asarray(high, dtype), shape), copy=True),
            step=jnp.int32(0),
            key=step_key,
            judge_key=judge_key,
        )

    def gradient(
        self, syn: Distilled, table: Any, states: ObjectiveState, key: jax.Array
    ) -> tuple[Distilled, tuple[jax.Array, jax.Array, dict[str, jax.Array]]]:
        """The mean of K students' gradients, each with its own batch; loss, norm and scalars to log are means too."""
        objective: Objective = self.objective
        sampler: BatchSampler = self.sampler

        def one(state: ObjectiveState, key: jax.Array) -> Any:
            draw_key, loss_key = jax.random.split(key)
            batch = sampler.draw(table, draw_key)
            (loss, aux), gradients = jax.value_and_grad(objective.loss, has_aux=True)(syn, batch, state, loss_key)
            gradients = Distilled(
                *(
                    leaf if name in self.learn else jnp.zeros_like(leaf)
                    for name, leaf in zip(Distilled._fields, gradients, strict=True)
                )
            )
            norm = optax.global_norm(gradients)
            finite = jnp.isfinite(norm)
            if self.clip < float("inf"):
                scale = jnp.minimum(1.0, self.clip / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny))
                gradients = jax.tree.map(lambda leaf: jnp.where(finite, scale * leaf, 0.0), gradients)
            return gradients, finite, loss, norm, aux

        gradients, finite, loss, norm, aux = jax.vmap(one)(states, jax.random.split(key, self.students))

        def mean(values: jax.Array) -> jax.Array:  # NaN if no student is finite, which `check_finite` reports
            return jnp.sum(jnp.where(finite, values, 0.0)) / jnp.sum(finite)

        aux = jax.tree.map(mean, aux) | {"exploded": jnp.mean(~finite, dtype=norm.dtype)}
        return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), gradients), (mean(loss), mean(norm), aux)

    def update(
        self, state: DriverState, table: Any
    ) -> tuple[DriverState, tuple[jax.Array, jax.Array, dict[str, jax.Array]]]:
        """One outer step.

        Args:
          state: from `init` or from here.
          table: `sampler.prepare(pairs)` of the real pairs.

        Returns:
          The next state; the loss, the norm of the students' gradients, and scalars to log.
        """
        objective: Objective = self.objective
        key, loss_key, update_key = jax.random.split(state.key, 3)
        gradient, measured = self.gradient(state.syn, table, state.objective, loss_key)
        updates, opt_state = self._optimiser().update(gradient, state.opt_state, state.syn)
        syn: Distilled = optax.apply_updates(state.syn, updates)  # pyright: ignore[reportAssignmentType]
        syn = syn._replace(observations=jnp.clip(syn.observations, state.low[None], state.high[None]))
        update_keys = jax.random.split(update_key, self.students)
        after = state._replace(
            syn=syn,
            average=jax.tree.map(lambda a, b: self.decay * a + (1 - self.decay) * b, state.average, syn),
            opt_state=opt_state,
            objective=jax.vmap(objective.update, (None, 0, 0))(syn, state.objective, update_keys),
            step=state.step + 1,
            key=key,
        )
        return after, measured

    def chunk(self, state: DriverState, table: Any, held_out: Pairs, steps: int) -> tuple[DriverState, DriverMetrics]:
        """`steps` outer steps, then the choice of the best set."""
        state, (loss, norm, aux) = jax.lax.scan(lambda s, _: self.update(s, table), state, None, length=steps)
        judged = held_out_loss(
            self.objective.imitation,
            self.recipes,
            state.average,
            held_out,
            jax.random.split(state.judge_key, self.judges),
            learned_rate="raw_rate" in self.learn,
        )
        better = judged < state.best_loss
        best = jax.tree.map(lambda a, b: jnp.where(better, a, b), state.average, state.best)
        state = state._replace(best=best, best_loss=jnp.where(better, judged, state.best_loss))
        return state, DriverMetrics(loss, norm, aux, judged)

    def _optimiser(self) -> optax.GradientTransformation:
        learning_rate = (
            optax.cosine_decay_schedule(self.learning_rate, self.anneal, 0.1) if self.anneal else self.learning_rate
        )
        if self.optimiser == "sgd":
            return optax.sgd(learning_rate, momentum=self.momentum or None)
        return optax.adam(learning_rate)


@functools.partial(jax.jit, static_argnames=("driver", "steps", "runs"), donate_argnames="state")
def run_chunk(
    driver: Driver, state: DriverState, table: Any, held_out: Pairs, steps: int, *, runs: bool = False
) -> tuple[DriverState, DriverMetrics]:
    """`driver.chunk`, compiled; the state is donated. With `runs`, state and metrics have a leading axis R."""
    if runs:
        return jax.vmap(driver.chunk, (0, None, None, None))(state, table, held_out, steps)
    return driver.chunk(state, table, held_out, steps)


def distill(
    driver: Driver,
    key: jax.Array,
    syn: Distilled,
    pairs: Pairs,
    held_out: Pairs,
    steps: int,
    *,
    chunk: int = 100,
    teacher: Params | None = None,
    bounds: tuple[jax.Array, jax.Array] | None = None,
    report: Callable[[int, DriverMetrics], None] | None = None,
) -> DriverState:
    """Runs the outer loop in memory; a run that is to be resumed keeps the state in its own loop of `run_chunk`.

    Args:
      driver: configuration.
      key: decides all that is random.
      syn: the set to start from.
      pairs: real pairs.
      held_out: others, by which the best set is chosen.
      steps: outer steps, rounded up to whole chunks.
      chunk: C; `steps` if that is less.
      teacher: parameters, for objectives that match its gradients.
      bounds: between which learned observations are kept, as in `Driver.init`.
      report: called after each chunk with the steps done and its metrics.

    Raises:
      UserError: if steps or chunk are not positive, or the loss is no longer finite.
    """
    if steps < 1 or chunk < 1:
        raise UserError(f"steps and chunk must be at least 1, got {steps} and {chunk}")
    chunk = min(chunk, steps)
    table = driver.sampler.prepare(pairs)
    state = driver.init(key, syn, teacher=teacher, bounds=bounds)
    for done in range(0, steps, chunk):
        state, metrics = run_chunk(driver, state, table, held_out, chunk)
        check_finite(metrics)
        if report:
            report(done + chunk, metrics)
    return state


def check_finite(metrics: DriverMetrics) -> None:
    """Raises a UserError that names the remedy if a loss of the chunk is not finite."""
    if not bool(jnp.all(jnp.isfinite(metrics.loss))):
        raise UserError("the distillation loss is not finite: lower the inner or the outer learning rate, or the clip")
