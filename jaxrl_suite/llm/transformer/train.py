"""Training a language model: the masked next-token loss, AdamW, and chunks of scanned steps as an (init, update) pair.

The loss is the mean over the masked tokens of the whole batch. It is summed over micro-batches and devices before it is
divided, so that neither accumulation nor sharding changes what is optimised, whatever the masks.

Shapes: `B` rows of a batch, `T` tokens of a row, `V` vocabulary, `N` steps of a chunk, `M` micro-batches of a step.
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
from jaxrl_suite.llm.transformer import model
from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.model import Params


class Batch(NamedTuple):
    """Rows to learn from. In a chunk of given batches both arrays have a leading axis N."""

    tokens: jax.Array  # int32[B, T]
    mask: jax.Array  # bool[B, T], tokens to be predicted from those before them; the first of a row never is


Source: TypeAlias = Callable[[jax.Array, jax.Array], Batch]
"""`(key, step int32[]) -> Batch`: makes the batch of a step, on the device."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

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
    """All that the next step needs; its buffers are donated to `Trainer.update`."""

    params: Params  # what is trained, float32
    opt_state: optax.OptState
    key: jax.Array  # step t draws its batch with `fold_in(key, t)`
    step: jax.Array  # int32[], steps done


class Metrics(NamedTuple):
    """What each step of a chunk measured."""

    loss: jax.Array  # float32[N], nats a masked token
    accuracy: jax.Array  # float32[N], share of masked tokens that are the likeliest one
    grad_norm: jax.Array  # float32[N], before clipping
    tokens: jax.Array  # float32[N], masked tokens


class Sums(NamedTuple):
    """Sums over masked tokens, which may be added up over micro-batches."""

    loss: jax.Array  # float32[]
    correct: jax.Array  # float32[]
    tokens: jax.Array  # float32[]


def token_loss(config: LMConfig, params: Params, batch: Batch) -> Sums:
    """Negative log-probabilities, summed over the masked tokens.

    Args:
      config: of the model.
      params: its weights.
      batch: B rows.
    """
    logits = model.forward(config, params, batch.tokens[:, :-1]).astype(jnp.float32)
    targets = batch.tokens[:, 1:]
    weights = batch.mask[:, 1:].astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    hits = (jnp.argmax(logits, axis=-1) == targets).astype(jnp.float32)
    return Sums(jnp.sum(losses * weights), jnp.sum(hits * weights), jnp.sum(weights))


def mean_loss(config: LMConfig, params: Params, batch: Batch) -> jax.Array:
    """float32[], nats a masked token; 0 where nothing is masked."""
    sums = token_loss(config, params, batch)
    return sums.loss / jnp.maximum(sums.tokens, 1.0)


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
    """`(key, params=None) -> state` before the first step; `params`, what is trained, is copied, or else made anew."""
    update: Any
    """`(state, batches=None, frozen=None) -> (state, Metrics)`: the next N steps, jitted; `state` is used up.

    `batches` [N, B, T] are trained on instead of those of the source; `frozen` is the second argument of `assemble`."""


def make_trainer(
    config: LMConfig,
    train: TrainConfig,
    source: Source | None = None,
    *,
    chunk: int = 100,
    mesh: Mesh | None = None,
    assemble: Callable[[Any, Any], Params] | None = None,
) -> Trainer:
    """A trainer, for instance

        trainer = make_trainer(config, TrainConfig(steps=1000), source, chunk=100)
        state = trainer.init(key)
        for _ in range(10):
            state, metrics = trainer.update(state)

    Args:
      config: of the model; its `dtype` must be float32, see `TrainConfig.dtype`.
      train: how it is trained.
      source: makes the batches, unless they are given to `update`.
      chunk: N, steps of an update.
      mesh: devices that a micro-batch is split over, the weights being on each; None is the default device.
      assemble: `(trained, frozen) -> params`, what the model runs on; `trained` by default. See `lora`.

    Raises:
      UserError: if the sizes do not fit.
    """
    if chunk < 1:
        raise UserError(f"chunk must be at least 1, got {chunk}")
    if config.dtype != "float32":
        raise UserError("the weights that are trained must be float32: set TrainConfig.dtype, not the model's dtype")
    if mesh is not None and train.batch // train.accumulate % mesh.size:
        raise UserError(
            f"a micro-batch of {train.batch // train.accumulate} rows cannot be split over {mesh.size} devices: "
            "change batch or accumulate"
        )
    adamw = optimiser(train)
    split = (lambda tree: tree) if mesh is None else _splitter(mesh)

    def init(key: jax.Array, params: Any = None) -> TrainState:
        weights, batches = jax.random.split(key)
        params = model.init(config, weights) if params is None else jax.tree.map(jnp.copy, params)
        state = TrainState(params, adamw.init(params), batches, jnp.int32(0))
        return state if mesh is None else replicate(state, mesh)

    def sums(trained: Any, frozen: Any, batch: Batch) -> tuple[jax.Array, Sums]:
        params = trained if assemble is None else assemble(trained, frozen)
        params = jax.tree.map(lambda x: x.astype(train.dtype), params)
        result = token_loss(config, params, batch)
        return result.loss, result

    if train.remat:
        sums = jax.checkpoint(sums, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable)

    def step(state: TrainState, batch: Batch | None, frozen: Any) -> tuple[TrainState, Metrics]:
        if batch is None:
            if source is None:
                raise UserError("the trainer has no source: give it one, or batches to update()")
            batch = source(jax.random.fold_in(state.key, state.step), state.step)
        _check(batch, train)
        if train.accumulate == 1:
            grads, total = jax.grad(sums, has_aux=True)(state.params, frozen, split(batch))
        else:
            micro = jax.tree.map(lambda x: x.reshape(train.accumulate, -1, *x.shape[1:]), batch)

            def add(carry: Any, part: Batch) -> tuple[Any, None]:
                return jax.tree.map(
                    jnp.add, carry, jax.grad(sums, has_aux=True)(state.params, frozen, split(part))
                ), None

            zeros = jax.tree.map(jnp.zeros_like, state.params), Sums(*[jnp.float32(0)] * 3)
            (grads, total), _ = jax.lax.scan(add, zeros, micro)
        count = jnp.maximum(total.tokens, 1.0)
        grads = jax.tree.map(lambda g: g / count, grads)
        updates, opt_state = adamw.update(grads, state.opt_state, state.params)
        metrics = Metrics(total.loss / count, total.correct / count, optax.global_norm(grads), total.tokens)
        return TrainState(optax.apply_updates(state.params, updates), opt_state, state.key, state.step + 1), metrics

    def update(state: TrainState, batches: Batch | None = None, frozen: Any = None) -> tuple[TrainState, Metrics]:
        return jax.lax.scan(lambda state, batch: step(state, batch, frozen), state, batches, length=chunk)

    # The state leaves as it came in, so that the next call finds its program.
    whole = None if mesh is None else NamedSharding(mesh, P())
    return Trainer(init, jax.jit(update, donate_argnums=0, out_shardings=whole))


def _splitter(mesh: Mesh) -> Callable[[Batch], Batch]:
    sharding = NamedSharding(mesh, P(AXIS))
    return lambda batch: jax.lax.with_sharding_constraint(batch, sharding)


def _check(batch: Batch, train: TrainConfig) -> None:
    """At trace time: a batch that would be broadcast or cut silently."""
    shape = batch.tokens.shape
    if len(shape) != 2 or shape[0] != train.batch or batch.mask.shape != shape or shape[1] < 2:
        raise UserError(
            f"a batch must have tokens and mask of one shape [{train.batch}, T], T at least 2, "
            f"got {shape} and {batch.mask.shape}"
        )
