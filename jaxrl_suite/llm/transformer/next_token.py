"""The loss of a language model: the negative log-probability of each masked token, given those before it.

It is the mean over the masked tokens of the whole batch, as `train.make_trainer` divides by `Sums.weight` once all
micro-batches and devices are added up: a mean of means would weigh the tokens of short answers more.

Shapes: `B` rows of a batch, `T` tokens of a row, `V` vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.transformer import model
from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.model import Params
from jaxrl_suite.llm.transformer.train import LossFn, Sums


class Batch(NamedTuple):
    """Rows to learn from. In a chunk of given batches both arrays have a leading axis N."""

    tokens: jax.Array  # int32[B, T]
    mask: jax.Array  # bool[B, T], tokens to be predicted from those before them; the first of a row never is


def next_token_loss(config: LMConfig) -> LossFn:
    """The loss to train a language model with; its metric is `accuracy`, the share of masked tokens likeliest.

    Args:
      config: of the model; its `dtype` must be float32, see `TrainConfig.dtype`.

    Raises:
      UserError: if the model has another dtype, and at trace time if tokens and mask do not fit together.
    """
    if config.dtype != "float32":
        raise UserError("the weights that are trained must be float32: set TrainConfig.dtype, not the model's dtype")

    def loss(params: Params, batch: Batch, key: jax.Array) -> Sums:
        del key  # nothing is drawn
        return token_loss(config, params, batch)

    return loss


def token_loss(config: LMConfig, params: Params, batch: Batch) -> Sums:
    """Negative log-probabilities, summed over the masked tokens.

    Args:
      config: of the model.
      params: its weights.
      batch: B rows.

    Raises:
      UserError: if tokens and mask have other shapes, which would be broadcast silently.
    """
    shape = batch.tokens.shape
    if len(shape) != 2 or batch.mask.shape != shape or shape[1] < 2:
        raise UserError(
            f"a batch must have tokens and mask of one shape [B, T], T at least 2, got {shape} and {batch.mask.shape}"
        )
    logits = model.forward(config, params, batch.tokens[:, :-1]).astype(jnp.float32)
    targets = batch.tokens[:, 1:]
    weights = batch.mask[:, 1:].astype(jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    hits = (jnp.argmax(logits, axis=-1) == targets).astype(jnp.float32)
    return Sums(jnp.sum(losses * weights), jnp.sum(weights), {"accuracy": jnp.sum(hits * weights)})


def mean_loss(config: LMConfig, params: Params, batch: Batch) -> jax.Array:
    """float32[], nats a masked token; 0 where nothing is masked."""
    sums = token_loss(config, params, batch)
    return sums.loss / jnp.maximum(sums.weight, 1.0)
