"""Normalised scores: 0 for random actions, 100 for the expert, and D4RL's published reference returns.

The published returns belong to gym-MuJoCo and the other simulators of D4RL. An environment of another physics engine
has its own, measured ones, in the metadata of its data under the same names.

Reference: Fu et al., "D4RL" (arXiv 2004.07219), section 5 and the table of reference scores in the released code.
"""

from __future__ import annotations

import difflib
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.rl.datasets.offline import Metadata


class Reference(NamedTuple):
    """Mean returns of random actions and of the expert."""

    ref_min_score: float
    ref_max_score: float


_LOCOMOTION = {
    "halfcheetah": Reference(-280.178953, 12135.0),
    "hopper": Reference(-20.272305, 3234.3),
    "walker2d": Reference(1.629008, 4592.3),
    "ant": Reference(-325.6, 3879.7),
}
_ADROIT = {
    "pen": Reference(96.262799, 3076.8331017826877),
    "hammer": Reference(-274.856578, 12794.134825156867),
    "relocate": Reference(-6.425911, 4233.877797728884),
    "door": Reference(-56.512833, 2880.5693087298737),
}
_LEVELS = ("random", "medium", "expert", "medium-replay", "medium-expert")
_MAZES = ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse")


def _published() -> dict[str, Reference]:
    table = {
        "maze2d-open-v0": Reference(0.01, 20.66),
        "maze2d-umaze-v1": Reference(23.85, 161.86),
        "maze2d-medium-v1": Reference(13.13, 277.39),
        "maze2d-large-v1": Reference(6.7, 273.99),
    }
    for env, reference in _LOCOMOTION.items():
        # Versions 1 and 2 reuse the returns that were measured for version 0.
        table |= {f"{env}-{level}-v0": reference for level in _LEVELS}
        table |= {f"{env}-{level}-v{version}": reference for level in (*_LEVELS, "full-replay") for version in (1, 2)}
    for env, reference in _ADROIT.items():
        table |= {f"{env}-{who}-v{version}": reference for who in ("human", "cloned", "expert") for version in (0, 1)}
    table |= {f"antmaze-{maze}-v{version}": Reference(0.0, 1.0) for maze in _MAZES for version in (0, 2)}
    table |= {f"kitchen-{part}-v0": Reference(0.0, 4.0) for part in ("complete", "partial", "mixed")}
    return table


D4RL = _published()


def reference_scores(name: str) -> Reference:
    """D4RL's reference returns of a data set, for instance `halfcheetah-medium-replay-v2`.

    Raises:
      UserError: if D4RL has none for it, with the nearest name of the same simulator.
    """
    if name in D4RL:
        return D4RL[name]
    stem = name.rpartition("-v")[0]
    if versions := sorted(known.rpartition("-v")[2] for known in D4RL if stem and known.rpartition("-v")[0] == stem):
        raise UserError(
            f"D4RL's reference scores are of {stem} in version {' and '.join(versions)}, not {name!r}: those of "
            "another simulator do not compare, measure them (references)"
        )
    # A first word of its own is another simulator or task, whose scores do not compare: bullet-hopper is not hopper.
    families = {known.split("-")[0] for known in D4RL}
    family = difflib.get_close_matches(name.split("-")[0], families, n=1, cutoff=0.7)
    if not family:
        raise UserError(f"D4RL's reference scores here have none for {name!r}: measure them (references)")
    near = [known for known in D4RL if known.split("-")[0] == family[0]]
    raise UserError(f"D4RL has no reference scores for {name!r}{suggest(name, near)}")


def normalised_score(returns: ArrayLike, reference: Reference | Metadata) -> np.ndarray:
    """float64[...]: 100 (R - R_min) / (R_max - R_min); neither end is clipped.

    Args:
      returns: float[...], undiscounted returns of episodes, or means of them.
      reference: from `reference_scores`, or the metadata of a data set.

    Raises:
      UserError: if the metadata holds no reference scores, or they are no scale.
    """
    low, high = reference.ref_min_score, reference.ref_max_score
    if low is None or high is None:
        raise UserError("these data have no ref_min_score and ref_max_score: measure them, or use reference_scores")
    if not low < high:
        raise UserError(f"ref_min_score must lie below ref_max_score, got {low} and {high}: measure them again")
    return 100.0 * ((np.asarray(returns, np.float64) - low) / (high - low))
