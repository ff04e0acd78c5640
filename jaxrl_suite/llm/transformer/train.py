"""Training by gradient descent on any loss: AdamW, and chunks of scanned steps as an (init, update) pair.

A loss is summed over micro-batches and devices, and so is its weight, before the one is divided by the other: neither
accumulation nor sharding changes what is optimised, whatever the rows of a batch weigh.

Shapes: `B` rows of a batch, `N` steps of a chunk, `M` micro-batches of a step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.core.devices import AXIS, replicate
from jaxrl_suite.errors import UserError

Params: TypeAlias = Any  # a `chex.ArrayTree`, what is trained, of float32
Batch: TypeAlias = Any  # a pytree whose leaves have B rows on their leading axis


class Sums(NamedTuple):
    """Sums of a loss over a batch, where its rows do not all weigh the same."""

    loss: jax.Array  # float32[], the sum whose gradient is followed, divided by the whole weight
    weight: jax.Array  # float32[], what it is the sum of: masked tokens, rows that count, ...
    metrics: Any  # a pytree of float32[], sums as the loss is


LossFn: TypeAlias = Callable[[Any, Any, jax.Array], "Sums | tuple[jax.Array, Any]"]
"""`(params, batch, key) -> (loss, metrics)`, means over the rows of the batch, or `Sums`. The key is that of a step's
micro-batch; a loss that draws for each row and must not depend on accumulation takes keys from its batch."""

Source: TypeAlias = Callable[[jax.Array, jax.Array], Any]
"""`(key, step int32[]) -> batch`: makes the batch of a step, on the device."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Constants of a training.

    Args:
      steps: of the whole schedule.
      batch: B, rows of a step.
      learning_rate: its peak, after the warm-up.
      warmup: steps over which it rises from 0; then it falls along a cosine.
      final: learning rate at the end, as a share of the peak.
      weight_decay: AdamW's, on matrices only.
      beta1: decay of the mean of gradients.
      beta2: decay of the mean of their squares.
      clip: greatest norm of a gradient; longer ones are scaled down.
      accumulate: M, micro-batches that a step is computed in, one after the other; divides `batch`.
      dtype: of the forward and backward pass; weights, gradients' sums and the optimiser stay in float32.
      remat: keep only the results of matrix products for the backward pass and compute the rest again.

    Raises:
      UserError: if a value is out of range.
    """

    steps: int
    batch: int = 128
    learning_rate: float = 3e-3
    warmup: int = 50
    final: float = 0.05
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.98
    clip: float = 1.0
    accumulate: int = 1
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: bool = False

    def __post_init__(self):
        check_ranges(
            self,
            steps=(1, 10**9),
            batch=(1, 10**7),
            learning_rate=(1e-9, 10.0),
            warmup=(0, 10**9),
            final=(0.0, 1.0),
            weight_decay=(0.0, 10.0),
            beta1=(0.0, 1.0),
            beta2=(0.0, 1.0),
            clip=(1e-6, 1e9),
            accumulate=(1, self.batch),
        )
        if self.batch % self.accumulate:
            raise UserError(f"accumulate must divide the batch of {self.batch}, got {self.accumulate}")
        if self.warmup >= self.steps:
            raise UserError(f"warmup must be below the {self.steps} steps of the schedule, got {self.warmup}")


class TrainState(NamedTuple):
    """The state that the next step needs; its buffers are donated to `Trainer.update`."""

    params: Params  # what is trained, float32
    opt_state: optax.OptState
    key: jax.Array  # step t draws its batch with `fold_in(key, t)`, its loss from `fold_in(key, _LOSS)`
    step: jax.Array  # int32[], steps done


class TrainMetrics(NamedTuple):
    """Measurements of each step of a chunk."""

    loss: jax.Array  # float32[N], the mean over what weighs
    grad_norm: jax.Array  # float32[N], before clipping
    weight: jax.Array  # float32[N], of the whole batch: its rows, unless the loss returns `Sums`
    means: Any  # the metrics of the loss, float32[N] each


_LOSS = 2**31  # beyond every step, so that losses draw from a stream of their own


def learning_rate(config: TrainConfig) -> optax.Schedule:
    """Linear warm-up, then a cosine."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0 if config.warmup else config.learning_rate,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup,
        decay_steps=config.steps,
        end_value=config.final * config.learning_rate,
    )


def optimiser(config: TrainConfig) -> optax.GradientTransformation:
    """Clipping, then AdamW on the schedule."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(
            learning_rate(config),
            b1=config.beta1,
            b2=config.beta2,
            weight_decay=config.weight_decay,
            mask=lambda params: jax.tree.map(lambda x: x.ndim >= 2, params),
        ),
    )


class Trainer(NamedTuple):
    """The training loop as an (init, update) pair; made by `make_trainer`."""

    init: Callable[..., TrainState]
    """`(key, params=None) -> state` before the first step; `params` are copied, or `init_params` makes them."""
    update: Any
    """`(state, batches=None, frozen=None) -> (state, TrainMetrics)`: the next N steps, jitted; `state` is used up.

    `batches` [N, B, ...] are trained on instead of those of the source; `frozen` is for `assemble`, beside `params`."""


def make_trainer(
    loss_fn: LossFn,
    train: TrainConfig,
    source: Source | None = None,
    *,
    init_params: Callable[[jax.Array], Params] | None = None,
    chunk: int = 100,
    mesh: Mesh | None = None,
    assemble: Callable[[Any, Any], Params] | None = None,
) -> Trainer:
    """A trainer, for instance of a language model

        trainer = make_trainer(next_token_loss(config), TrainConfig(steps=1000), source,
                               init_params=functools.partial(model.init, config), chunk=100)
        state = trainer.init(key)
        for _ in range(10):
            state, metrics = trainer.update(state)

    Args:
      loss_fn: what is made small, of parameters and a batch.
      train: how.
      source: makes the batches, unless they are given to `update`.
      init_params: `key -> params` for `init` without parameters.
      chunk: N, steps of an update.
      mesh: devices that a micro-batch is split over, the parameters being on each; None is the default device.
      assemble: `(trained, frozen) -> params`, what the loss is of; `trained` by default. See `lora`.

    Raises:
      UserError: if the sizes do not fit.
    """
    if chunk < 1:
        raise UserError(f"chunk must be at least 1, got {chunk}")
    if mesh is not None and train.batch // train.accumulate % mesh.size:
        raise UserError(
            f"a micro-batch of {train.batch // train.accumulate} rows cannot be split over {mesh.size} devices: "
            "change batch or accumulate"
        )
    adamw = optimiser(train)
    split = (lambda tree: tree) if mesh is None else _splitter(mesh)

    def init(key: jax.Array, params: Any = None) -> TrainState:
        weights, batches = jax.random.split(key)
        if params is None:
            if init_params is None:
                raise UserError("the trainer makes no parameters: give it init_params, or params to init()")
            params = init_params(weights)
        else:
            params = jax.tree.map(jnp.copy, params)
        _check_params(params)
        state = TrainState(params, adamw.init(params), batches, jnp.int32(0))
        return state if mesh is None else replicate(state, mesh)

    def sums(trained: Any, frozen: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Sums]:
        params = trained if assemble is None else assemble(trained, frozen)
        params = jax.tree.map(lambda x: x.astype(train.dtype), params)
        result = _as_sums(loss_fn(params, batch, key), train.batch // train.accumulate)
        return result.loss, result

    if train.remat:
        sums = jax.checkpoint(sums, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable)
    slope = jax.grad(sums, has_aux=True)

    def step(state: TrainState, batch: Batch | None, frozen: Any) -> tuple[TrainState, TrainMetrics]:
        if batch is None:
            if source is None:
                raise UserError("the trainer has no source: give it one, or batches to update()")
            batch = source(jax.random.fold_in(state.key, state.step), state.step)
        _check_rows(batch, train.batch)
        key = jax.random.fold_in(jax.random.fold_in(state.key, _LOSS), state.step)
        if train.accumulate == 1:
            grads, total = slope(state.params, frozen, split(batch), key)
        else:
            micro = jax.tree.map(lambda x: x.reshape(train.accumulate, -1, *x.shape[1:]), batch)
            parts = micro, jax.random.split(key, train.accumulate)

            def add(carry: Any, part: Any) -> tuple[Any, None]:
                return jax.tree.map(jnp.add, carry, slope(state.params, frozen, split(part[0]), part[1])), None

            first = jax.tree.map(lambda x: x[0], parts)
            shapes = jax.eval_shape(slope, state.params, frozen, *first)
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
            (grads, total), _ = jax.lax.scan(add, zeros, parts)
        weight = jnp.where(total.weight > 0, total.weight, 1.0)
        grads, loss, means = jax.tree.map(lambda x: x / weight, (grads, total.loss, total.metrics))
        updates, opt_state = adamw.update(grads, state.opt_state, state.params)
        metrics = TrainMetrics(loss, optax.global_norm(grads), total.weight, means)
        return TrainState(optax.apply_updates(state.params, updates), opt_state, state.key, state.step + 1), metrics

    def update(state: TrainState, batches: Batch | None = None, frozen: Any = None) -> tuple[TrainState, TrainMetrics]:
        return jax.lax.scan(lambda state, batch: step(state, batch, frozen), state, batches, length=chunk)

    # The state leaves as it came in, so that the next call finds its program.
    whole = None if mesh is None else NamedSharding(mesh, P())
    return Trainer(init, jax.jit(update, donate_argnums=0, out_shardings=whole))


def _as_sums(result: Any, rows: int) -> Sums:
    """What a loss returned, as sums over the rows of its micro-batch."""
    if isinstance(result, Sums):
        return result
    loss, metrics = result
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32) * rows, Sums(loss, jnp.float32(1), metrics))


def _splitter(mesh: Mesh) -> Callable[[Batch], Batch]:
    sharding = NamedSharding(mesh, P(AXIS))
    return lambda batch: jax.lax.with_sharding_constraint(batch, sharding)


def _check_params(params: Params) -> None:
    odd = next((x.dtype for x in jax.tree.leaves(params) if x.dtype != jnp.float32), None)
    if odd is not None:
        raise UserError(f"parameters that are trained must be float32, got {odd}: set TrainConfig.dtype instead")


def _check_rows(batch: Batch, rows: int) -> None:
    """At trace time: a batch that would be broadcast or cut silently."""
    odd = next((x.shape for x in jax.tree.leaves(batch) if x.shape[:1] != (rows,)), None)
    if odd is not None or not jax.tree.leaves(batch):
        raise UserError(f"every array of a batch must have {rows} rows on its leading axis, got {odd}")
