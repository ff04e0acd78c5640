"""Setup of a game of Avalon: number of players, roles in play, rule set. On the host, and hashable.

Shapes: `P` players, `A` actions, Q = 5 quests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, Self

import numpy as np

from jaxrl_suite.envs.avalon import roles as tables
from jaxrl_suite.errors import UserError

Rules = Literal["avalonbench", "official"]


@dataclasses.dataclass(frozen=True)
class AvalonSetup:
    """The setup of a game, fixed before it; `avalon.Avalon`, which plays by it, describes the arguments."""

    num_players: int = 5
    merlin: bool = True
    percival: bool = False
    morgana: bool = False
    mordred: bool = False
    oberon: bool = False
    rules: Rules = "avalonbench"

    def __post_init__(self):
        if self.rules not in ("avalonbench", "official"):
            raise UserError(f"rules must be one of avalonbench, official, got {self.rules!r}")
        tables.role_set(self.num_players, self._special)

    @classmethod
    def of_roles(cls, roles: Sequence[int | str], rules: Rules = "avalonbench") -> Self:
        """The game in which the given roles, ids or names, one for each seat, can be dealt.

        Raises:
          UserError: if there is none; the message says what would be valid.
        """
        special = tables.special_roles(roles)
        flags = {name: name in special for name in tables.OPTIONAL_ROLES}
        return cls(len(roles), **flags, rules=rules)

    @classmethod
    def preset(cls, num_players: int, name: str, rules: Rules = "avalonbench") -> Self:
        """The game with a usual choice of roles, `roles.PRESETS[name]`.

        Raises:
          UserError: if the preset is unknown, or does not fit the number of players.
        """
        if name not in tables.PRESETS:
            raise UserError(f"no preset is called {name!r}; the presets are {', '.join(tables.PRESETS)}")
        return cls(num_players, **{role: role in tables.PRESETS[name] for role in tables.OPTIONAL_ROLES}, rules=rules)

    @property
    def _special(self) -> tuple[str, ...]:
        return (*(name for name in tables.OPTIONAL_ROLES if getattr(self, name)), "assassin")

    @property
    def roles(self) -> tuple[int, ...]:
        """The P role ids in play, ascending."""
        return tables.role_set(self.num_players, self._special)

    @property
    def num_evil(self) -> int:
        return tables.NUM_EVIL[self.num_players]

    @property
    def team_sizes(self) -> tuple[int, ...]:
        return tables.TEAM_SIZES[self.num_players]

    @property
    def fails_needed(self) -> tuple[int, ...]:
        return tables.FAILS_NEEDED[self.num_players]

    @property
    def num_actions(self) -> int:
        return self.teams().shape[1]

    def teams(self) -> np.ndarray:
        """int32[Q, A]: the bit mask of the team that each action proposes on each quest, 0 where there is none."""
        return tables.team_table(self.num_players)
