"""Games and environments as pure functions on arrays. Names are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxrl_suite.envs.lazy import lazy_names

if TYPE_CHECKING:
    from jaxrl_suite.envs.avalon import Avalon as Avalon
    from jaxrl_suite.envs.avalon_turns import AvalonTurns as AvalonTurns
    from jaxrl_suite.envs.base import ContinuousEnv as ContinuousEnv
    from jaxrl_suite.envs.base import Env as Env
    from jaxrl_suite.envs.base import EnvState as EnvState
    from jaxrl_suite.envs.base import Game as Game
    from jaxrl_suite.envs.check import check_env as check_env
    from jaxrl_suite.envs.gops import Gops as Gops
    from jaxrl_suite.envs.gridmaze import GridMaze as GridMaze
    from jaxrl_suite.envs.mujoco import MuJoCo as MuJoCo
    from jaxrl_suite.envs.pendulum import Pendulum as Pendulum
    from jaxrl_suite.envs.registry import describe_envs as describe_envs
    from jaxrl_suite.envs.registry import list_envs as list_envs
    from jaxrl_suite.envs.registry import make as make
    from jaxrl_suite.envs.registry import register as register
    from jaxrl_suite.envs.reset import AutoReset as AutoReset

_HOME = {
    "AutoReset": "reset",
    "Avalon": "avalon",
    "AvalonTurns": "avalon_turns",
    "ContinuousEnv": "base",
    "Env": "base",
    "EnvState": "base",
    "Game": "base",
    "Gops": "gops",
    "GridMaze": "gridmaze",
    "MuJoCo": "mujoco",
    "Pendulum": "pendulum",
    "check_env": "check",
    "describe_envs": "registry",
    "list_envs": "registry",
    "make": "registry",
    "register": "registry",
}

__all__ = [
    "AutoReset",
    "Avalon",
    "AvalonTurns",
    "ContinuousEnv",
    "Env",
    "EnvState",
    "Game",
    "Gops",
    "GridMaze",
    "MuJoCo",
    "Pendulum",
    "check_env",
    "describe_envs",
    "list_envs",
    "make",
    "register",
]

__getattr__ = lazy_names(__name__, _HOME)
