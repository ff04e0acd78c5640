"""Tasks of DDRL's experiment: an environment with offline data, a student, a teacher, and where students are judged."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from jaxrl_suite import distill, envs
from jaxrl_suite.distill.pairs import Imitation
from jaxrl_suite.distill.presets import PAPER_STUDENT
from jaxrl_suite.envs.gridmaze.env import UNSEEN_LEVELS
from jaxrl_suite.experiments.ddrl import expert
from jaxrl_suite.experiments.ddrl.config import CloningConfig, Config
from jaxrl_suite.rl import rollout
from jaxrl_suite.rl.datasets.collection import noisy_expert_data
from jaxrl_suite.rl.datasets.scores import Reference
from jaxrl_suite.rl.learners.cloning import RECIPES, Recipe
from jaxrl_suite.rl.policies import Policy, conv_policy, mlp_policy


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class DDRLTask(distill.Task):
    """A task with its name, the sizes of sets and the training of students; it depends on no seed of distillation."""

    name: str
    sizes: tuple[int, ...]
    recipes: dict[str, Recipe]  # students on few pairs
    clone: Recipe  # students on all pairs
    expert_return: float | None = None  # of an expert that was trained here

    @property
    def slug(self) -> str:
        """The name as part of a file's."""
        return self.name.replace("/", "-").replace(", ", "-")


def make_task(config: Config, environment: str, level: str = "", trained: expert.Trained | None = None) -> DDRLTask:
    """The task of one environment.

    Args:
      config: of the experiment.
      environment: its name.
      level: of the data, for MuJoCo's environments.
      trained: their expert.
    """
    key = jax.random.fold_in(jax.random.key(config.data_seed), sum((environment + level).encode()))
    keys = jax.random.split(key, 3)  # of the data, the order of their episodes, and which are held out
    env, maze = envs.make(environment), environment == "gridmaze"
    if trained is None:
        count = config.pendulum.episodes if environment == "pendulum" else config.maze.levels
        data = noisy_expert_data(env, keys[0], name=environment, episodes=count, noise=(0.0, config.noise))
        reference, teacher = Reference(*env.reference_scores), None
    else:
        data = expert.collect_level(trained, environment, level, config.noise, keys[0])
        reference, teacher = trained.reference, expert.teacher_of(trained)
    student = Imitation(student_of(config, environment, env), "softmax_mse" if maze and config.published else None)
    steps = config.maze.cloning_steps if maze else config.cloning.steps
    task = distill.make_task(
        data, env, teacher, keys=keys[1:], imitation=student, reference=reference, arenas=arenas_of(environment, env)
    )
    return DDRLTask(
        **vars(task),
        name=f"{environment}, {level}" if trained else environment,
        sizes=(env.num_actions * config.maze.images,) if maze else tuple(sorted(config.sizes)),
        recipes={"adam1000": PAPER_STUDENT} if config.published else dict(RECIPES),
        clone=PAPER_STUDENT if config.published else clone_of(config.cloning, steps),
        expert_return=trained.expert_return if trained else None,
    )


def clone_of(cloning: CloningConfig, steps: int) -> Recipe:
    """The training of students on all pairs; the published ones are trained as those on few."""
    return Recipe("adam", cloning.learning_rate, steps, batch=cloning.batch_size)


def arenas_of(environment: str, env: Any) -> dict[str, Any]:
    """Arenas where students are judged: mazes have levels that no data are of."""
    if environment == "gridmaze":
        return {"seen levels": env, "unseen levels": envs.make("gridmaze", levels=UNSEEN_LEVELS)}
    return {"": env}


def student_of(config: Config, environment: str, env: Any) -> Policy:
    """The student's network for an environment, called `environment`."""
    shape = rollout.observation_spec(env).shape
    if environment == "gridmaze" and config.published:
        return conv_policy(shape, env.num_actions, channels=(12, 48, 12, 3), widths=())
    if environment == "gridmaze":
        return mlp_policy(shape, env.num_actions, True, config.maze.widths)
    widths = config.pendulum.widths if environment == "pendulum" else config.mujoco.widths
    return mlp_policy(shape, env.action_size, widths=widths)
