"""Tables of a network's layers, as `nn.tabulate` makes them."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax


class Described(NamedTuple):
    """A network that an experiment uses."""

    module: nn.Module
    inputs: tuple[Any, ...]  # arrays, or `jax.ShapeDtypeStruct`, that it is called with
    method: str = "__call__"  # one that calls every submodule


def describe(name: str, network: Described, width: int = 120) -> str:
    """Its layers, their inputs, outputs and parameters; nothing is computed.

    Args:
      name: of the network, for the title.
      network: the module with inputs.
      width: of the table, in characters.
    """
    table = network.module.tabulate(
        jax.random.key(0), *network.inputs, method=network.method, console_kwargs={"width": width, "no_color": True}
    )
    lines = [line.rstrip() for line in table.strip().splitlines()]
    return "\n".join([name, *(line for line in lines if line)])
