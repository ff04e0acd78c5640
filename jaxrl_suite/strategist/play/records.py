"""Records of a compiled batch of games, and the states that it met, as the host sorts them out.

Shapes: `R` games, `T` states met in each, seen by `V` players, `P` players, `M` states seen in all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Played(NamedTuple):
    """Results of a game's program, arrays [R, ...]."""

    reward: Any  # float[R], of seat 0, or whether good won
    outcome: Any  # float[R, P], how the game ended
    states: Any  # [R, T, ...]
    heuristic: Any  # float[R, T, V, P]
    search: Any  # float[R, T, V, P]
    by_second: Any  # bool[R, T, V], whether the second strategy looks, else the first
    counts: Any  # bool[R, T, V], whether the entry counts


class Seen(NamedTuple):
    """States met in games, each with who searched it and what came of it."""

    strategy: np.ndarray  # int[M], index of the strategy that searched
    state: Any  # pytree of arrays [M, ...]
    heuristic: np.ndarray  # float[M, P], its heuristic's values
    search: np.ndarray  # float[M, P], its search's estimates
    outcome: np.ndarray  # float[M, P], how the game ended
    counts: np.ndarray  # bool[M], False for initial states and for what was not searched
