"""Ends of episodes as files mark them, under any of their usual names.

A file says where episodes terminate, where they are cut off, or just that they are done. What it does not say is not
guessed: an unmarked end would become a transition from the end of one episode to the start of the next.

Shapes: `N` transitions.

Reference: Fu et al., "D4RL" (arXiv 2004.07219) for terminals and timeouts; Gymnasium's `Env.step` for terminated and
truncated.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import numpy as np

from jaxrl_suite.errors import UserError

TERMINALS = ("terminals", "terminations", "terminated", "terminal")
TIMEOUTS = ("timeouts", "truncations", "truncated", "timeout")
DONES = ("dones", "done")
_REMEDY = "give episode_steps, the time limit (one above every length if no episode was cut off)"


def take_ends(tree: MutableMapping[str, Any], source: str, episode_steps: int | None) -> dict[str, np.ndarray]:
    """The arrays `terminals` and `timeouts` of a file, taken out of `tree`.

    Of a file that marks ends without saying of which kind, those after `episode_steps` steps are timeouts. A file that
    marks terminals alone is read if its `next_observations` show where it was cut off: they are not the observation of
    the next row there.

    Args:
      tree: every array of the file by its name.
      source: for messages.
      episode_steps: the time limit, if it is known.

    Returns:
      What the file says; `timeouts` may be absent, where `episode_steps` is to mark them.

    Raises:
      UserError: if two arrays contradict each other, or the file does not say where episodes end; the message names
        what was found.
    """
    names = [name for name in (*TERMINALS, *TIMEOUTS, *DONES) if name in tree]
    terminals, timeouts, dones = (_one(tree, group, source) for group in (TERMINALS, TIMEOUTS, DONES))
    found = f"found {', '.join(names) or 'no array that marks an end'} among {', '.join(_shown(tree, names))}"
    if dones is not None and terminals is None and timeouts is None:
        if episode_steps is None:
            raise UserError(
                f"{source}: done does not say whether an episode terminated or was cut off ({found}): {_REMEDY}"
            )
        return _by_length(dones, episode_steps)
    if dones is not None:
        for name, part in (("terminals", terminals), ("timeouts", timeouts)):
            if part is not None and len(part) == len(dones) and (part & ~dones).any():
                row = int(np.argmax(part & ~dones))
                raise UserError(f"{source}: row {row} is marked by {name} but not as done ({found}): correct the file")
        if terminals is None and timeouts is not None and len(timeouts) == len(dones):
            terminals = dones & ~timeouts
        elif terminals is not None and timeouts is None and len(terminals) == len(dones):
            timeouts = dones & ~terminals
    if episode_steps is None and not any(part is not None and part.any() for part in (terminals, timeouts)):
        raise UserError(f"{source}: no episode ends in its transitions ({found}): {_REMEDY}")
    if timeouts is None and terminals is not None and terminals.any() and episode_steps is None:
        timeouts = _jumps(tree, terminals)
        if timeouts is None:
            raise UserError(
                f"{source}: terminals end {int(terminals.sum())} episodes, and nothing says where others were cut off "
                f"({found}): {_REMEDY}"
            )
    return {name: part for name, part in (("terminals", terminals), ("timeouts", timeouts)) if part is not None}


def flags(value: Any, name: str, source: str) -> np.ndarray:
    """bool[N] from bools or numbers that are all 0 or 1.

    Raises:
      UserError: if they are not, or have other axes.
    """
    value = np.asarray(value)
    if value.dtype.kind not in "fiub" or not np.isin(value, (0, 1)).all():
        raise UserError(f"{source}: {name} must be true or false, got {value.dtype} with other values: mark ends by 1")
    if value.ndim != 1:
        raise UserError(f"{source}: {name} must be [N], got shape {value.shape}: flatten it")
    return value.astype(bool)


def _one(tree: MutableMapping[str, Any], group: tuple[str, ...], source: str) -> np.ndarray | None:
    """The one array that goes by the names of `group`; columns are flattened, as D4RL's own loader does."""
    found: dict[str, np.ndarray] = {}
    for name in group:
        if name in tree:
            value = np.asarray(tree.pop(name))
            found[name] = flags(value[:, 0] if value.shape[1:] == (1,) else value, name, source)
    first = next(iter(found), None)
    if first is None:
        return None
    for name, value in found.items():
        if not np.array_equal(value, found[first]):
            raise UserError(f"{source}: {first} and {name} differ: leave one of them out of the file")
    return found[first]


def _by_length(dones: np.ndarray, episode_steps: int) -> dict[str, np.ndarray]:
    ends = np.flatnonzero(dones)
    lengths = np.diff(ends, prepend=-1)
    terminals = np.zeros_like(dones)
    terminals[ends[lengths % episode_steps != 0]] = True
    return {"terminals": terminals, "timeouts": dones & ~terminals}


def _jumps(tree: Mapping[str, Any], terminals: np.ndarray) -> np.ndarray | None:
    """bool[N]: where the next row does not go on from a row that is no terminal; None if the data cannot tell.

    They cannot if there is no `next_observations`, or if it is the next row at terminals too: then it was made by
    shifting, and says nothing; nor if nearly all rows jump, as in shuffled data.
    """
    here, following = (np.asarray(tree.get(name)) for name in ("observations", "next_observations"))
    if here.ndim < 2 or here.shape != following.shape or len(here) != len(terminals):
        return None
    differ = (following[:-1] != here[1:]).reshape(len(here) - 1, -1).any(axis=1)
    if not differ[terminals[:-1]].all() or not terminals[:-1].any() or differ.mean() > 0.9:
        return None
    return np.append(differ, False) & ~terminals


def _shown(tree: Mapping[str, Any], names: list[str]) -> list[str]:
    """Names at the top of the file, those of ends among them; at most a dozen."""
    tops = dict.fromkeys([*names, *(name.split("/")[0].split("@")[0] for name in tree if name[:1] != "@")])
    return [*list(tops)[:12], *(["..."] if len(tops) > 12 else [])]
