"""Offline data: transitions of many episodes in flat arrays, checked once.

An episode ends where `terminals` (the task ended: the value of what follows is 0) or `timeouts` (it was cut off: what
follows has a value, but is not in the data) is true. This is the layout of D4RL; Minari calls the two terminations and
truncations.

Shapes: `N` transitions, `E` episodes, `A` dimensions of an action; an observation has any shape.

Reference: Fu et al., "D4RL: Datasets for deep data-driven reinforcement learning" (arXiv 2004.07219).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.rl.datasets.ends import flags

ARRAYS = ("observations", "actions", "rewards", "terminals", "timeouts", "next_observations")
_REQUIRED = ("observations", "actions", "rewards")
_MAX_ACTION = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The origin of data, and the returns that its scores are measured against.

    Args:
      env: the environment's name.
      backend: its physics, for environments that have several; scores of one do not compare with another's.
      teacher: who acted.
      ref_min_score: mean return of random actions, 0 on the normalised scale.
      ref_max_score: mean return of the expert, 100 on the normalised scale.
      num_actions: of a discrete environment.
    """

    env: str = ""
    backend: str = ""
    teacher: str = ""
    ref_min_score: float | None = None
    ref_max_score: float | None = None
    num_actions: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class OfflineData:
    """Transitions in the order in which they happened; made by `make_data`, which checks them."""

    observations: np.ndarray  # number[N, ...]
    actions: np.ndarray  # float[N, A], or int[N] if discrete
    rewards: np.ndarray  # float[N]
    terminals: np.ndarray  # bool[N]
    timeouts: np.ndarray  # bool[N]
    next_observations: np.ndarray | None = None  # as `observations`
    metadata: Metadata = Metadata()
    # Whatever else a file holds, by its path there. What lies under infos/ and has N rows belongs to the transitions,
    # what lies under episodes/ and has E rows to the episodes, the rest to the whole.
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def discrete(self) -> bool:
        return self.actions.ndim == 1

    @property
    def num_actions(self) -> int:
        """Of discrete data: as the metadata says, or else the highest action that occurs, plus 1."""
        if not self.discrete:
            raise UserError("num_actions is of discrete data: these actions are continuous")
        return self.metadata.num_actions or int(self.actions.max()) + 1


def make_data(
    arrays: Mapping[str, Any],
    metadata: Metadata | None = None,
    *,
    extra: Mapping[str, Any] | None = None,
    episode_steps: int | None = None,
    unfinished: Literal["refuse", "keep", "drop"] = "refuse",
    source: str = "offline data",
) -> OfflineData:
    """Offline data, if it can be used as it is: numbers keep their type, nothing is filled in or left out.

    Args:
      arrays: the names of `ARRAYS`; `next_observations` may be absent, and one of `terminals` and `timeouts` (all
        false then). Both may be bool, or numbers that are all 0 or 1.
      metadata: see there.
      extra: see `OfflineData`.
      episode_steps: also cut an episode after so many steps, for data whose time limit is not marked.
      unfinished: what to do if the data ends within an episode: refuse it, keep what there is, or drop it.
      source: for messages, for instance the file.

    Raises:
      UserError: with what is wrong and what to do.
    """
    given: dict[str, np.ndarray] = {}
    for name, value in arrays.items():
        if name not in ARRAYS:
            raise UserError(f"{source}: unknown array {name!r}{suggest(name, ARRAYS)}")
        if value is not None:
            try:
                given[name] = np.asarray(value)
            except ValueError:
                raise UserError(
                    f"{source}: the rows of {name} differ in length: pad them or drop the odd ones"
                ) from None
    missing = [name for name in _REQUIRED if name not in given]
    if missing:
        raise UserError(f"{source}: {', '.join(missing)} missing: offline data needs {', '.join(_REQUIRED)}")
    count = _check_lengths(given, source)
    _check_numbers(given, source)
    for name in ("terminals", "timeouts"):
        given[name] = flags(given.get(name, np.zeros(count, bool)), name, source)
    if episode_steps is not None:
        given["timeouts"] = _cut(given["terminals"], given["timeouts"], episode_steps)
    ends = np.flatnonzero(given["terminals"] | given["timeouts"])
    if not len(ends):
        raise UserError(
            f"{source}: no episode ends in its {count} transitions: mark terminals and timeouts, or give episode_steps"
        )
    over = count - 1 - int(ends[-1])
    if over and unfinished == "refuse":
        raise UserError(
            f"{source}: the last {over} transitions are of an episode that does not end: "
            'mark timeouts there, or read with unfinished="keep" or "drop"'
        )
    if unfinished not in ("refuse", "keep", "drop"):
        raise UserError(f'unfinished must be "refuse", "keep" or "drop", got {unfinished!r}')
    metadata = metadata or Metadata()
    _check_metadata(metadata, given["actions"], source)
    extra = dict(extra or {})
    if over and unfinished == "drop":
        extra = select_extra(extra, np.arange(count - over), np.arange(len(ends)), (count, len(ends) + 1))
        given = {name: value[: count - over] for name, value in given.items()}
    return OfflineData(**given, metadata=metadata, extra=extra)


def select_extra(extra: Mapping[str, Any], rows: Any, chosen: Any, sizes: tuple[int, int]) -> dict[str, Any]:
    """The extra arrays for the transitions `rows` and the episodes `chosen` of (N, E)."""
    result = {}
    for name, value in extra.items():
        length = len(value) if isinstance(value, np.ndarray) and value.ndim else None
        if name.startswith("infos/") and length == sizes[0]:
            value = value[rows]
        elif name.startswith("episodes/") and length == sizes[1]:
            value = value[chosen]
        result[name] = value
    return result


def _check_lengths(given: Mapping[str, np.ndarray], source: str) -> int:
    for name, value in given.items():
        if not value.ndim:
            raise UserError(f"{source}: {name} is a single value: give one row a transition")
    lengths = {name: len(value) for name, value in given.items()}
    count = lengths["observations"]
    if not count:
        raise UserError(f"{source}: no transitions: give at least one episode")
    for name, length in lengths.items():
        if length != count:
            hint = ": leave the last observation of each episode out" if length == count - 1 else ""
            raise UserError(f"{source}: {name} has {length} rows, observations {count}: they must agree{hint}")
    return count


def _check_numbers(given: Mapping[str, np.ndarray], source: str) -> None:
    observations, actions, rewards = (given[name] for name in _REQUIRED)
    for name in ("observations", "actions", "rewards", "next_observations"):
        if name not in given:
            continue
        value = given[name]
        if value.dtype.kind not in "fiub" or not value.size:
            found = value.dtype if value.size else f"shape {value.shape}"
            raise UserError(f"{source}: {name} must hold numbers, got {found}: convert it first")
        if value.dtype.kind == "f" and len(bad := np.argwhere(~np.isfinite(value))):
            raise UserError(
                f"{source}: {name} is {value[tuple(bad[0])]} in row {bad[0][0]} ({len(bad)} such in all): "
                "drop the episodes that hold them"
            )
    if observations.ndim < 2:
        raise UserError(f"{source}: observations must be [N, features], got shape {observations.shape}: add an axis")
    if rewards.ndim != 1 or rewards.dtype.kind == "b":
        raise UserError(
            f"{source}: rewards must be numbers [N], got {rewards.dtype}{list(rewards.shape)}: flatten them"
        )
    following = given.get("next_observations", observations)
    if following.shape != observations.shape or following.dtype != observations.dtype:
        raise UserError(f"{source}: next_observations must have the shape and type of observations")
    if actions.ndim == 1 and actions.dtype.kind in "iu":
        if actions.min() < 0 or actions.max() > _MAX_ACTION:
            odd = actions.min() if actions.min() < 0 else actions.max()
            raise UserError(f"{source}: discrete actions must be 0 to {_MAX_ACTION}, got {odd}: number them from 0 on")
    elif actions.ndim != 2 or actions.dtype.kind != "f":
        raise UserError(
            f"{source}: actions must be float[N, A] or, if discrete, int[N], got {actions.dtype}{list(actions.shape)}: "
            "reshape or convert them"
        )


def _cut(terminals: np.ndarray, timeouts: np.ndarray, episode_steps: int) -> np.ndarray:
    if not isinstance(episode_steps, int) or episode_steps < 1:
        raise UserError(f"episode_steps must be a whole number of at least 1, got {episode_steps!r}")
    timeouts = timeouts.copy()
    start = 0
    for end in [*np.flatnonzero(terminals | timeouts).tolist(), len(timeouts)]:
        timeouts[start + episode_steps - 1 : end : episode_steps] = True
        start = end + 1
    return timeouts


def _check_metadata(metadata: Metadata, actions: np.ndarray, source: str) -> None:
    low, high = metadata.ref_min_score, metadata.ref_max_score
    if (low is None) != (high is None):
        raise UserError(f"{source}: ref_min_score and ref_max_score go together: give both or neither")
    if not all(score is None or isinstance(score, (int, float, np.number)) for score in (low, high)):
        raise UserError(f"{source}: ref_min_score and ref_max_score must be numbers, got {low!r} and {high!r}")
    if low is not None and high is not None and not (np.isfinite([low, high]).all() and low < high):
        raise UserError(f"{source}: ref_min_score must lie below ref_max_score, got {low} and {high}")
    if metadata.num_actions is not None:
        if actions.ndim == 2:
            raise UserError(f"{source}: num_actions is of discrete actions: leave it out, these are continuous")
        if actions.max() >= metadata.num_actions:
            raise UserError(f"{source}: action {actions.max()} with num_actions {metadata.num_actions}: raise it")
    elif actions.ndim == 1 and actions.max() >= 100 + 10 * (present := len(np.unique(actions))):
        raise UserError(
            f"{source}: action {actions.max()} where {present} differ: number them from 0 on, or say num_actions"
        )
