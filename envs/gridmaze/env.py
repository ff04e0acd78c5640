"""Gridmaze: walk to the goal of a maze that is generated from its number, seen as an image.

A level is a number: the walls, the start and the goal follow from it alone. An environment plays the levels of one
range, so that training levels and unseen ones are kept apart, as Procgen does. The expert is exact.

Shapes: `P` = 1 player, `A` = 4 actions (up, right, down, left), `H` = `W` = 2 cells + 1.

Reference: the split into training and unseen levels is that of Cobbe et al., "Leveraging procedural generation to
benchmark reinforcement learning" (ICML 2020).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrl_suite.envs.gridmaze.levels import MOVES, Level, distances, make_level
from jaxrl_suite.errors import UserError

TRAIN_LEVELS = (0, 200)  # (first, count)
UNSEEN_LEVELS = (1_000_000, 1_000_000)
MAX_LEVEL = 2**31 - 1

# Mean returns on the training levels: of 524,288 random episodes, rl.rollout.evaluate(env, Uniform(env), None,
# jax.random.key(0), 524_288), with a standard error of 0.0003; the expert always reaches the goal.
RANDOM_SCORE = 0.0584
EXPERT_SCORE = 1.0


class GridMazeState(NamedTuple):
    """A level and where the agent is in it. There is no chance after the level was drawn, and nothing hidden."""

    level: jax.Array  # int32[]
    walls: jax.Array  # bool[H, W]
    agent: jax.Array  # int32[2], row and column
    goal: jax.Array  # int32[2]
    turn: jax.Array  # int32[], steps taken
    reward: jax.Array  # float32[P], 1 on the step that reaches the goal
    terminated: jax.Array  # bool[], at the goal
    truncated: jax.Array  # bool[], after `max_turns` steps elsewhere


@dataclasses.dataclass(frozen=True)
class GridMaze:
    """Levels of one size and one range of numbers. A step into a wall leaves the agent where it is.

    Args:
      cells: rooms along a side, 2 to 31; neighbours are joined by a passage where there is no wall.
      levels: (first, count): the numbers that `init` draws from.
      openings: probability with which a wall that a spanning tree has left is opened as well, 0 to 1; with 0 there is
        one way to the goal.
      max_turns: steps after which an episode is truncated; 0 stands for 2 cells^2, which suffices for every level.

    Raises:
      UserError: if an argument is out of range.
    """

    cells: int = 4
    levels: tuple[int, int] = TRAIN_LEVELS
    openings: float = 0.5
    max_turns: int = 0

    def __post_init__(self):
        if not isinstance(self.cells, int) or not 2 <= self.cells <= 31:
            raise UserError(f"cells must be a whole number, 2 to 31, got {self.cells!r}")
        if not isinstance(self.openings, (int, float)) or not 0 <= self.openings <= 1:
            raise UserError(f"openings must be 0 to 1, got {self.openings!r}")
        if not _is_range(self.levels):
            raise UserError(f"levels must be (first, count) with numbers 0 to {MAX_LEVEL}, got {self.levels!r}")
        object.__setattr__(self, "levels", tuple(self.levels))
        longest = 2 * (self.cells**2 - 1)
        if self.max_turns == 0:
            object.__setattr__(self, "max_turns", longest + 2)
        if not isinstance(self.max_turns, int) or self.max_turns < longest:
            raise UserError(
                f"max_turns must be whole and at least {longest}, which some levels need, got {self.max_turns!r}"
            )

    @property
    def num_players(self) -> int:
        return 1

    @property
    def num_actions(self) -> int:
        return len(MOVES)

    @property
    def reference_scores(self) -> tuple[float, float]:
        """Mean returns of uniformly random actions and of the expert, on the training levels; for unseen ones as well.

        Raises:
          AttributeError: for mazes of other options, whose scores `rl.references` measures.
        """
        if self != GridMaze(levels=self.levels):
            raise AttributeError("reference_scores are of default mazes: measure others with rl.references")
        return RANDOM_SCORE, EXPERT_SCORE

    def init(self, key: jax.Array) -> GridMazeState:
        """The start of a level drawn uniformly from `levels`."""
        first, count = self.levels
        return self.start(first + jax.random.randint(key, (), 0, count))

    def start(self, level: jax.Array | int) -> GridMazeState:
        """The start of a level, whether it is one of `levels` or not."""
        made: Level = make_level(self.cells, self.openings, level)
        return GridMazeState(
            level=jnp.asarray(level, jnp.int32),
            walls=made.walls,
            agent=made.start,
            goal=made.goal,
            turn=jnp.int32(0),
            reward=jnp.zeros(1, jnp.float32),
            terminated=jnp.bool_(False),
            truncated=jnp.bool_(False),
        )

    def step(self, state: GridMazeState, action: jax.Array, key: jax.Array) -> GridMazeState:
        """One step to a neighbouring square.

        Args:
          state: the current state.
          action: int32[P].
          key: not needed, as there is no chance.
        """
        del key
        there = state.agent + jnp.asarray(MOVES)[action[0]]
        agent = jnp.where(state.walls[there[0], there[1]], state.agent, there)
        reached = jnp.all(agent == state.goal)
        after = state._replace(
            agent=agent,
            turn=state.turn + 1,
            reward=reached.astype(jnp.float32)[None],
            terminated=reached,
            truncated=~reached & (state.turn + 1 >= self.max_turns),
        )
        over = state.terminated | state.truncated
        absorbed = state._replace(reward=jnp.zeros_like(state.reward))
        return jax.tree.map(lambda old, new: jnp.where(over, old, new), absorbed, after)

    def observe(self, state: GridMazeState, player: jax.Array | int = 0) -> jax.Array:
        """float32[H, W, 3], 0 or 1: walls, the agent, the goal."""
        del player
        agent, goal = (jnp.zeros(state.walls.shape).at[at[0], at[1]].set(1) for at in (state.agent, state.goal))
        return jnp.stack([state.walls.astype(jnp.float32), agent, goal], axis=-1)

    def optimal_actions(self, observation: jax.Array) -> jax.Array:
        """bool[A]: the actions that start a shortest way to the goal; none at the goal."""
        walls, agent, goal = (observation[..., channel] > 0.5 for channel in range(3))
        away = distances(walls, goal)
        row, column = jnp.unravel_index(jnp.argmax(agent), agent.shape)
        there = jnp.stack([row, column])[None] + jnp.asarray(MOVES)
        return away[there[:, 0], there[:, 1]] == away[row, column] - 1

    def expert(self, observation: jax.Array) -> jax.Array:
        """int32[]: the first of `optimal_actions`."""
        return jnp.argmax(self.optimal_actions(observation)).astype(jnp.int32)


def _is_range(levels: Any) -> bool:
    """True if (first, count) is a range of level numbers."""
    if not isinstance(levels, (tuple, list)) or len(levels) != 2 or not all(isinstance(n, int) for n in levels):
        return False
    first, count = levels
    return first >= 0 and 1 <= count <= MAX_LEVEL and first + count - 1 <= MAX_LEVEL
