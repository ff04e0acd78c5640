"""What DDRL is tried on: an environment with offline data, a student, a teacher, and where students are judged.

Shapes: `M` pairs, `A` action dimensions or actions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite import envs
from jaxrl_suite.distill.pairs import Imitation, Pairs, make_pairs
from jaxrl_suite.distill.presets import PAPER_STUDENT
from jaxrl_suite.envs.gridmaze.env import UNSEEN_LEVELS
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.datasets.collection import noisy_expert_data
from jaxrl_suite.rl.datasets.episodes import episodes, split_episodes, take_episodes
from jaxrl_suite.rl.datasets.offline import OfflineData
from jaxrl_suite.rl.datasets.scores import Reference
from jaxrl_suite.rl.datasets.transitions import Scaling, scaling
from jaxrl_suite.rl.learners.cloning import RECIPES, Recipe
from jaxrl_suite.rl.policies import CNN, MLP

if TYPE_CHECKING:
    from jaxrl_suite.experiments.ddrl.config import Config
    from jaxrl_suite.experiments.ddrl.expert import Trained

Teach = Callable[[np.ndarray], np.ndarray]  # observations [M, ...] in the environment's units -> targets [M, A]


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """All that is fixed before the first pair is distilled; it depends on the config and on no seed of it."""

    name: str
    arenas: dict[str, Any]  # label to environment; the first is the data's own
    data: OfflineData  # to distil from
    held_out: OfflineData  # other episodes
    scaling: Scaling
    imitation: Imitation
    teach: Teach
    reference: Reference
    sizes: tuple[int, ...]
    recipes: dict[str, Recipe]  # students on few pairs
    clone: Recipe  # students on all pairs
    expert_return: float | None = None  # of an expert that was trained here

    @property
    def slug(self) -> str:
        """The name as part of a file's."""
        return self.name.replace("/", "-").replace(", ", "-")

    @property
    def discrete(self) -> bool:
        return self.imitation.policy.discrete

    def pairs(self, observations: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> Pairs:
        """Pairs as students read them, from observations in the environment's units."""
        return make_pairs(self.imitation.policy, self.scaling(observations), targets, weights)


def make_task(config: Config, environment: str, level: str = "", trained: Trained | None = None) -> Task:
    """The task of one environment.

    Args:
      config: of the experiment.
      environment: its name.
      level: of the data, for MuJoCo's environments.
      trained: their expert.
    """
    key = jax.random.fold_in(jax.random.key(config.data_seed), sum((environment + level).encode()))
    data_key, shuffle_key, split_key = jax.random.split(key, 3)
    env = envs.make(environment)
    if trained is None:
        count = config.episodes_of_data if environment == "pendulum" else config.levels_of_data
        data = noisy_expert_data(env, data_key, name=environment, episodes=count, noise=(0.0, config.noise))
        reference, teach = Reference(*env.reference_scores), own_teacher(env)
    else:
        from jaxrl_suite.experiments.ddrl import expert as _ddrl_expert

        data = _ddrl_expert.collect_level(config, trained, environment, level, data_key)
        reference, teach = trained.reference, _ddrl_expert.teacher_of(trained)
    # Noise rises over the episodes: shuffled, so that a tie of returns is not decided by it.
    order = np.asarray(jax.random.permutation(shuffle_key, len(episodes(data).starts)))
    train, held_out = split_episodes(take_episodes(data, order), split_key, 0.1)
    maze = environment == "gridmaze"
    return Task(
        name=f"{environment}, {level}" if trained else environment,
        arenas=arenas_of(environment, env),
        data=train,
        held_out=held_out,
        scaling=no_scaling(train.observations) if maze else scaling(train.observations),
        imitation=Imitation(
            student_of(config, environment, data), "softmax_mse" if maze and config.published else None
        ),
        teach=teach,
        reference=reference,
        sizes=(env.num_actions * config.images,) if maze else tuple(sorted(config.sizes)),
        recipes=recipes_of(config),
        clone=clone_of(config, maze),
        expert_return=trained.expert_return if trained else None,
    )


def recipes_of(config: Config) -> dict[str, Recipe]:
    """How students on few pairs are trained; the published one is Adam on batches."""
    return {"adam1000": PAPER_STUDENT} if config.published else dict(RECIPES)


def clone_of(config: Config, maze: bool) -> Recipe:
    """How students on all pairs are trained; the published ones as those on few."""
    if config.published:
        return PAPER_STUDENT
    steps = config.maze_cloning_steps if maze else config.cloning_steps
    return Recipe("adam", config.cloning_rate, steps, batch=config.cloning_batch)


def arenas_of(environment: str, env: Any) -> dict[str, Any]:
    if environment == "gridmaze":
        return {"seen levels": env, "unseen levels": envs.make("gridmaze", levels=UNSEEN_LEVELS)}
    return {"": env}


def student_of(config: Config, environment: str, data: OfflineData) -> MLP | CNN:
    shape = data.observations.shape[1:]
    if environment == "gridmaze" and config.published:
        return CNN(shape, data.num_actions, channels=(12, 48, 12, 3), widths=())
    if environment == "gridmaze":
        return MLP(shape, data.num_actions, True, config.maze_widths)
    return MLP(shape, data.actions.shape[1], widths=config.widths if environment == "pendulum" else config.large_widths)


def own_teacher(env: Any) -> Teach:
    """An environment's own expert: its actions, or equal probabilities of all that are optimal."""
    if hasattr(env, "optimal_actions"):

        def answer(x: jax.Array) -> jax.Array:
            good = jax.vmap(env.optimal_actions)(x).astype(jnp.float32)
            return good / jnp.maximum(jnp.sum(good, axis=-1, keepdims=True), 1.0)
    elif hasattr(env, "expert"):
        answer = jax.vmap(env.expert)
    else:
        raise UserError(f"{type(env).__name__} has no expert of its own: train one")
    return in_blocks(jax.jit(answer))


def in_blocks(answer: Callable[[jax.Array], jax.Array], block: int = 4096) -> Teach:
    """Answers rows in blocks of one size, so that there is one program."""

    def teach(observations: np.ndarray) -> np.ndarray:
        padded = np.concatenate([observations, np.repeat(observations[-1:], -len(observations) % block, axis=0)])
        parts = [np.asarray(answer(jnp.asarray(padded[i : i + block]))) for i in range(0, len(padded), block)]
        return np.concatenate(parts)[: len(observations)]

    return teach


def no_scaling(observations: np.ndarray) -> Scaling:
    """Images of 0 and 1 are read as they are."""
    shape = observations.shape[1:]
    return Scaling(np.zeros(shape, np.float32), np.ones(shape, np.float32))
