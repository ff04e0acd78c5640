"""Evolution strategies on a distilled set: a polish by the students' return, which needs the environment.

The flattened set is moved along an estimate of the gradient of a smoothed fitness, from pairs of opposite
perturbations. Distillation stays offline without it; what it adds is reported on its own.

Shapes: `P` perturbations (half of them the opposite of the other half), `L` learned numbers.

Reference: Salimans et al., "Evolution strategies as a scalable alternative to reinforcement learning" (2017); Lupu et
al., "Behaviour distillation", ICLR 2024 (HaDES), algorithm 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.distill.pairs import LEARNABLE, Distilled, Imitation
from jaxrl_suite.distill.students import train_students
from jaxrl_suite.envs.base import AnyEnv
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl import rollout
from jaxrl_suite.rl.actors import Actor
from jaxrl_suite.rl.learners.cloning import Recipe

Fitness: TypeAlias = Callable[[Distilled, jax.Array], jax.Array]  # (set, key) -> float32[]; more is better


class EvolutionState(NamedTuple):
    """The set and the optimiser that moves it."""

    syn: Distilled
    opt_state: optax.OptState
    key: jax.Array


@dataclasses.dataclass(frozen=True)
class Evolution:
    """OpenES with opposite perturbations.

    Args:
      population: P, even.
      sigma: deviation of the perturbations.
      learning_rate: of Adam.
      learn: fields of `Distilled` that are perturbed.
      rank: whether fitness is replaced by centred ranks, -1/2 to 1/2; equal ones share their mean rank, and what is
        not a number ranks lowest.
      common: whether all perturbations of a generation get the same key (common random numbers).
    """

    population: int = 64
    sigma: float = 0.03
    learning_rate: float = 0.05
    learn: tuple[str, ...] = ("observations", "labels")
    rank: bool = True
    common: bool = True

    def __post_init__(self):
        check_ranges(self, sigma=(1e-9, 1e6), learning_rate=(0, 1e6))
        if self.population < 2 or self.population % 2:
            raise UserError(f"population must be even and at least 2, got {self.population}")
        if set(self.learn) - set(LEARNABLE) or not self.learn:
            raise UserError(f"learn must name some of {', '.join(LEARNABLE)}, got {self.learn}")

    def init(self, key: jax.Array, syn: Distilled) -> EvolutionState:
        return EvolutionState(syn, optax.adam(self.learning_rate).init(self._flat(syn)[0]), key)

    def update(self, state: EvolutionState, fitness: Fitness) -> tuple[EvolutionState, jax.Array]:
        """One generation.

        Returns:
          The next state, and the fitness float32[P] of this one's perturbations.
        """
        key, noise_key, fitness_key = jax.random.split(state.key, 3)
        centre, rebuild = self._flat(state.syn)
        noise = jax.random.normal(noise_key, (self.population // 2, centre.size), centre.dtype)
        noise = jnp.concatenate([noise, -noise])
        keys = jax.random.split(fitness_key, self.population)
        keys = jnp.broadcast_to(keys[:1], keys.shape) if self.common else keys
        scores = jax.vmap(lambda shift, k: fitness(rebuild(centre + self.sigma * shift), k))(noise, keys)
        gradient = self.estimate(noise, scores)
        updates, opt_state = optax.adam(self.learning_rate).update(-gradient, state.opt_state)
        after = rebuild(optax.apply_updates(centre, updates))  # pyright: ignore[reportArgumentType]
        return EvolutionState(after, opt_state, key), scores

    def estimate(self, noise: jax.Array, fitness: jax.Array) -> jax.Array:
        """float32[L]: gradient of the smoothed fitness, estimated from noise float32[P, L] and fitness float32[P]."""
        if self.rank:
            fitness = jnp.where(jnp.isnan(fitness), -jnp.inf, fitness)
            ordered = jnp.sort(fitness)
            below, up_to = (jnp.searchsorted(ordered, fitness, side=side) for side in ("left", "right"))
            order = (below + up_to - 1).astype(noise.dtype) / 2
            fitness = order / (self.population - 1) - 0.5
        return fitness @ noise / (self.population * self.sigma)

    def _flat(self, syn: Distilled) -> tuple[jax.Array, Callable[[Any], Distilled]]:
        flat, unravel = ravel_pytree({name: getattr(syn, name) for name in self.learn})
        return flat, lambda vector: syn._replace(**unravel(vector))


def mean_return(
    env: AnyEnv, actor: Actor, imitation: Imitation, recipe: Recipe, *, students: int = 2, episodes: int = 4
) -> Fitness:
    """The fitness of HaDES: mean return of fresh students trained on the set.

    Args:
      env: where they act.
      actor: how; its parameters are those of `imitation.policy`.
      imitation: the student.
      recipe: its training, with its own learning rate, not the set's.
      students: trained on each set, at least 1.
      episodes: played by each, at least 1.
    """
    if students < 1 or episodes < 1:
        raise UserError(f"students and episodes must be at least 1, got {students} and {episodes}")

    def fitness(syn: Distilled, key: jax.Array) -> jax.Array:
        train_key, play_key = jax.random.split(key)
        keys = jax.random.split(train_key, students)
        params = train_students(imitation, recipe, imitation.pairs(syn), keys)
        return jnp.mean(rollout.evaluate(env, actor, params, play_key, episodes))

    return fitness
