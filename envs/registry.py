"""Environments by name. Importing this module imports no environment and no JAX: `make` does."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import re
from collections.abc import Callable, Iterable
from typing import Any

from jaxrl_suite.errors import UserError

# Here, and not beside the environment: listing names must not import it.
MUJOCO_NAMES = (
    "ant",
    "halfcheetah",
    "hopper",
    "humanoid",
    "humanoidstandup",
    "inverted_double_pendulum",
    "inverted_pendulum",
    "pusher",
    "reacher",
    "walker2d",
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of the registry.

    Args:
      name: the id, or a pattern such as `gops-N` or `mujoco/NAME` that stands for one id per size or name.
      target: what makes the environment: a callable, or `module:attribute`, imported when it is needed.
      summary: one line.
      sizes: what the capitals stand for, for a pattern: numbers or names.
      argument: the keyword that it is passed as, for a pattern.
    """

    name: str
    target: str | Callable[..., Any]
    summary: str
    sizes: tuple[int | str, ...] = ()
    argument: str = ""

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"{self._stem}{size}" for size in self.sizes) or (self.name,)

    @property
    def _stem(self) -> str:
        """A pattern without its capitals, up to the `-` or `/`; "" if the name is none."""
        found = re.fullmatch("(.*[-/])[A-Z]+", self.name)
        return found[1] if found else ""


_ENTRIES: dict[str, Entry] = {}


def register(
    name: str, target: str | Callable[..., Any], summary: str, *, sizes: Iterable[int | str] = (), argument: str = ""
) -> None:
    """Adds an environment; the arguments are `Entry`'s.

    Raises:
      UserError: if the name is taken, or is a pattern without sizes.
    """
    entry = Entry(name, target, summary, tuple(sizes), argument)
    if name in _ENTRIES or set(entry.ids) & set(list_envs()):
        raise UserError(f"an environment named {name!r} is registered already; choose another name")
    pattern = bool(entry._stem)
    if pattern != bool(entry.sizes) or pattern != bool(argument):
        raise UserError(f"{name!r}: a name that ends in -N or /NAME needs sizes and argument, any other takes neither")
    _ENTRIES[name] = entry


def list_envs() -> tuple[str, ...]:
    """All ids that `make` knows."""
    return tuple(env_id for entry in _ENTRIES.values() for env_id in entry.ids)


def describe_envs() -> tuple[tuple[str, str], ...]:
    """(name or pattern, summary) of every entry."""
    return tuple((entry.name, entry.summary) for entry in _ENTRIES.values())


def make(env_id: str, **options: Any) -> Any:
    """The environment called `env_id`, with `options` for its constructor: `make("gops-6", tie="discard")`.

    Raises:
      UserError: if the id or an option is unknown, or an option's value is out of range.
    """
    for entry in _ENTRIES.values():
        if env_id in entry.ids:
            if entry.sizes:
                if entry.argument in options:
                    raise UserError(f"{entry.argument} is part of the name {env_id!r}; leave it out of the options")
                options[entry.argument] = entry.sizes[entry.ids.index(env_id)]
            break
    else:
        close = difflib.get_close_matches(env_id, list_envs(), n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"the known ones are {', '.join(list_envs())}"
        raise UserError(f"no environment is called {env_id!r}; {hint}")
    target: Any = entry.target
    if isinstance(target, str):
        module, attribute = target.split(":")
        target = getattr(importlib.import_module(module), attribute)
    if dataclasses.is_dataclass(target):
        known = [field.name for field in dataclasses.fields(target) if field.name != entry.argument]
        for option in options.keys() - {entry.argument}:
            if option not in known:
                raise UserError(f"{env_id!r} has no option {option!r}; its options are {', '.join(known)}")
    factory: Any = target
    return factory(**options)


register(
    "gops-N",
    "jaxrl_suite.envs.gops.game:Gops",
    "Game of Pure Strategy: two players bid N cards for N prizes at once; ties carry or are discarded",
    sizes=range(2, 14),
    argument="num_cards",
)
register(
    "avalon-P",
    "jaxrl_suite.envs.avalon.game:Avalon",
    "The Resistance: Avalon: P players with hidden roles propose teams, vote, go on quests and hunt Merlin",
    sizes=range(5, 11),
    argument="num_players",
)
register(
    "market",
    "jaxrl_suite.envs.market:PostedPriceMarket",
    "A data market: a platform posts prices, a buyer of a hidden type pays for discovery, then buys or leaves",
)
register(
    "data-selection",
    "jaxrl_suite.envs.data_selection:DataSelection",
    "Sequential data selection: one point a step joins a training set, the reward is how good the set is then",
)
register(
    "pendulum",
    "jaxrl_suite.envs.pendulum:Pendulum",
    "Pendulum swing-up: continuous torque on a rod, 200 steps, with an analytic expert",
)
register(
    "gridmaze",
    "jaxrl_suite.envs.gridmaze.env:GridMaze",
    "Walk to the goal of a generated maze, seen as an image; training and unseen levels, and an exact expert",
)
register(
    "mujoco/NAME",
    "jaxrl_suite.envs.mujoco:MuJoCo",
    "MuJoCo's control problems through Brax, on any of its physics engines",
    sizes=MUJOCO_NAMES,
    argument="name",
)
