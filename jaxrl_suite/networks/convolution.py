"""A convolution of 3 by 3 as shifted slices and one matrix product, as a `flax.linen` module, and mean pooling.

`nn.Conv` under `vmap` over students becomes a grouped convolution, and its second derivative is another: shifted slices
batch and differentiate twice as plain products do.

Shapes: `...` batch axes, `H` by `W` pixels, `C` channels in, `O` channels out.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


class ShiftedConv(nn.Module):
    """A convolution of 3 by 3 with zero padding.

    Args:
      channels: O.
      kernel_init: of the kernel [9 C, O].
    """

    channels: int
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """float32[..., H, W, O], for images [..., H, W, C]."""
        kernel = self.param("kernel", self.kernel_init, (9 * x.shape[-1], self.channels))
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        return conv3x3(x, kernel) + bias.reshape((1,) * (x.ndim - 1) + bias.shape)


def conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Images [..., H, W, C] convolved with zero padding; the kernel is [9 C, O], rows ordered (dy, dx, channel)."""
    height, width = x.shape[-3:-1]
    pad = [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)]
    padded = jnp.pad(x, pad)
    shifts = [padded[..., i : i + height, j : j + width, :] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifts, axis=-1) @ kernel


def mean_pool2x2(x: jax.Array) -> jax.Array:
    """Means over 2 by 2 of images [..., H, W, C]; odd sides are padded with zeros."""
    height, width, depth = x.shape[-3:]
    batch = x.shape[:-3]
    x = jnp.pad(x, [(0, 0)] * len(batch) + [(0, height % 2), (0, width % 2), (0, 0)])
    x = x.reshape(*batch, (height + 1) // 2, 2, (width + 1) // 2, 2, depth)
    return jnp.mean(x, axis=(-4, -2))
