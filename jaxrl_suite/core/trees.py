"""Pytrees by the paths of their leaves, and the search for values that are not finite."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.errors import UserError


def leaf_paths(tree: Any) -> list[str]:
    """The path of each leaf, in the order of `jax.tree.leaves`, for instance ".params.Dense_0.kernel" or "[1].mu".

    An attribute and a key that is a Python name look alike; `jax.tree_util.keystr` tells them apart.
    """
    return [_readable(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def first_not_finite(tree: Any) -> tuple[str, str] | None:
    """The first leaf that holds NaN or an infinity.

    Args:
      tree: arrays (sharded ones too) and Python numbers; keys, text, integers and bools are passed over.

    Returns:
      Its path and "NaN" or "an infinite value", or None if all values are finite.
    """
    found = [
        (_readable(path) or "the value", leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if isinstance(leaf, (float, complex)) or _is_inexact(leaf)
    ]
    on_device = iter(jax.device_get(_kinds([leaf for _, leaf in found if isinstance(leaf, jax.Array)])))
    for name, leaf in found:
        has_nan, has_infinite = next(on_device) if isinstance(leaf, jax.Array) else _kinds_on_host(leaf)
        if has_nan or has_infinite:
            return name, "NaN" if has_nan else "an infinite value"
    return None


def check_finite(tree: Any, where: str, remedy: str = "choose a lower learning rate, or check the data") -> None:
    """Stops what would go on with NaN; costs one pass over the arrays.

    Args:
      tree: what must be finite, for instance `{"loss": loss, "params": params}`.
      where: what was done, with its step, for instance "training, step 12".
      remedy: what to try.

    Raises:
      UserError: if a leaf holds NaN or an infinity; it is named by its path.
    """
    found = first_not_finite(tree)
    if found is not None:
        raise UserError(f"{where}: {found[0]} holds {found[1]}: {remedy}")


def _readable(path: tuple[Any, ...]) -> str:
    parts = []
    for key in path:
        if isinstance(key, jax.tree_util.DictKey) and isinstance(key.key, str) and key.key.isidentifier():
            parts.append(f".{key.key}")
        else:
            parts.append(str(key))
    return "".join(parts)


def _is_inexact(leaf: Any) -> bool:
    if not isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
        return False
    return jax.dtypes.issubdtype(leaf.dtype, np.inexact)


@jax.jit
def _kinds(arrays: list[jax.Array]) -> list[tuple[jax.Array, jax.Array]]:
    """For each array, whether it holds NaN, and whether it holds an infinity."""
    return [(jnp.isnan(x).any(), jnp.isinf(x).any()) for x in arrays]


def _kinds_on_host(leaf: Any) -> tuple[bool, bool]:
    values = np.asarray(leaf)
    values = values if values.dtype.kind in "fc" else values.astype(np.float32)  # bfloat16 and its kin
    return bool(np.isnan(values).any()), bool(np.isinf(values).any())
