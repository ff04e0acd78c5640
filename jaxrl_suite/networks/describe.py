"""Tables of a network's layers, as `nn.tabulate` makes them."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp


class Described(NamedTuple):
    """A network that an experiment uses."""

    module: nn.Module
    inputs: tuple[Any, ...]  # arrays, or `jax.ShapeDtypeStruct`, that it is called with
    method: str = "__call__"  # one that calls every submodule


def describe(name: str, network: Described, width: int = 120) -> str:
    """Its layers, their inputs, outputs and parameters; of the network nothing is computed.

    Args:
      name: of the network, for the title.
      network: the module with inputs.
      width: of the table, in characters.
    """
    inputs = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), network.inputs)  # Flax traces no shapes of them
    table = network.module.tabulate(
        jax.random.key(0),
        *inputs,
        method=network.method,
        console_kwargs={"width": width, "force_terminal": False},
        column_kwargs={"overflow": "fold"},  # paths whole: they name the parameters
    )
    lines = [line.rstrip() for line in table.strip().splitlines()]
    return "\n".join([name, *(line for line in lines if line)])
