"""Rotary positions: the angles of pairs of coordinates, and their rotation.

Shapes: `B` batch, `S` tokens, `d` size of a head.

Reference: Su et al., "RoFormer" (2021).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.llm.transformer.config import LMConfig, RopeScaling


def inverse_wavelengths(head_dim: int, theta: float, scaling: RopeScaling | None) -> np.ndarray:
    """float32[d / 2], the angle of each pair of coordinates per position."""
    angles = theta ** -(np.arange(0, head_dim, 2) / head_dim)
    if scaling is not None:
        turns = scaling.context * angles / (2 * np.pi)  # within the context first trained on
        blend = np.clip((turns - scaling.low) / (scaling.high - scaling.low), 0.0, 1.0)
        angles = angles * (blend + (1 - blend) / scaling.factor)
    return angles.astype(np.float32)


def rotation(config: LMConfig, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine float32[B, S, 1, d / 2] of the rotary angles of positions int32[B, S]."""
    inverse = jnp.asarray(inverse_wavelengths(config.head_dim, config.rope_theta, config.rope_scaling))
    angles = positions[..., None, None].astype(jnp.float32) * inverse[None, None, None]
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, angles: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Turns pairs (i, i + d/2) of heads [B, S, heads, d]."""
    cos, sin = angles
    left, right = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1).astype(x.dtype)
