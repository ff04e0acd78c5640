"""Avalon's legal actions, one by one.

Shapes: `P` players, `...` whatever seats and actions broadcast to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.avalon import roles as tables
from jaxrl_suite.envs.avalon.state import ASSASSINATION, QUEST, TEAM, AvalonState
from jaxrl_suite.envs.rules import has_bit

if TYPE_CHECKING:
    from jaxrl_suite.envs.avalon.setup import AvalonSetup


def may_choose(game: AvalonSetup, state: AvalonState, seats: jax.Array, actions: jax.Array) -> jax.Array:
    """bool[...]: whether each of the `seats` int32[...] could choose its action of `actions` int32[...] in this phase.

    Whether it acts at all is not asked.
    """
    number = jnp.full((), 2, jnp.int32)
    for quest, count in enumerate(np.count_nonzero(game.teams(), axis=1)):
        number = jnp.where((state.phase == TEAM) & (state.quest == quest), int(count), number)
    allowed = (actions >= 0) & (actions < number)
    if game.rules == "official":
        pass_only = (state.phase == QUEST) & ~has_bit(state.evil, seats)
        allowed = allowed & ~(pass_only & (actions == 0))
        forbidden = state.evil & ~state.seats_of(tables.OBERON)  # the Assassin, and whom it sees as evil
    else:
        forbidden = jnp.int32(0)
    targets = ~forbidden & ((1 << game.num_players) - 1)
    aimed = (actions >= 0) & has_bit(targets, jnp.clip(actions, 0, 31))
    return jnp.where(state.phase == ASSASSINATION, aimed, allowed)
