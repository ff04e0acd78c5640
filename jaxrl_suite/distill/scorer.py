"""Scoring of sets: students are trained on them and play; every set meets the same students and the same episodes.

Scores of two sets are thus paired, student by student. A scorer keeps one compiled program a shape.

Shapes: `S` students, `R` sets of a kind (distillation seeds), `N` pairs, `E` episodes, `W` arenas.

Reference: the protocol of Lei, Zhang and Tao, "Offline behavior distillation", NeurIPS 2024, section 5.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxrl_suite.core.devices import map_batch
from jaxrl_suite.distill.pairs import Imitation, Pairs
from jaxrl_suite.distill.students import train_students
from jaxrl_suite.distill.task import Task
from jaxrl_suite.envs.base import AnyEnv
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl import rollout
from jaxrl_suite.rl.actors import Scaled, ScaledActor, student_actor
from jaxrl_suite.rl.datasets.transitions import Scaling
from jaxrl_suite.rl.learners.cloning import Recipe
from jaxrl_suite.rl.policies import Params


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The protocol by which a set is judged.

    Args:
      students: S, trained on each set.
      episodes: E, played by each.
      sample: whether discrete actions are sampled.
      ensembles: 0, or the number of members of ensembles made of the S students, which it must divide.
    """

    students: int = 8
    episodes: int = 16
    sample: bool = False
    ensembles: int = 0

    def __post_init__(self):
        if self.students < 1 or self.episodes < 1:
            raise UserError(f"students and episodes must be at least 1, got {self.students} and {self.episodes}")
        if self.ensembles < 0 or (self.ensembles and self.students % self.ensembles):
            raise UserError(f"ensembles of {self.ensembles} cannot be made of {self.students} students: use a divisor")


class Scores(NamedTuple):
    """Results of the students of one set and recipe."""

    returns: np.ndarray  # float64[W, S, R], means over episodes
    losses: np.ndarray  # float64[S, R], on held-out pairs with the teacher's answers


class Scorer:
    """Trains and plays; make it with `make_scorer` from a task.

    Args:
      imitation: the student.
      arenas: W environments in which students play.
      key: of the students and of the episodes.
      protocol: numbers of students and episodes.
      scaling: of the environments' observations into those of the sets; None if they are the same.
      held_out: pairs on which students' losses are measured; None measures none.
      mesh: devices over which students are spread.
      compile: `core.devices.compile` or the like, a function of (program, *arguments, name=) that returns the compiled
        program; by default programs compile at their first call.
    """

    def __init__(
        self,
        imitation: Imitation,
        arenas: Sequence[AnyEnv],
        key: jax.Array,
        protocol: Protocol,
        *,
        scaling: Scaling | None = None,
        held_out: Pairs | None = None,
        mesh: Mesh | None = None,
        compile: Callable[..., Callable[..., Any]] | None = None,  # noqa: A002
    ):
        self.protocol = protocol
        self.speeds: dict[str, tuple[int, float]] = {}  # of training: students and seconds, compilation left out
        self._imitation, self._arenas, self._scaling, self._held_out = imitation, tuple(arenas), scaling, held_out
        self._mesh, self._compile = mesh, compile
        self._programs: dict[Any, Any] = {}
        train_key, self._play_key = jax.random.split(key)
        self._keys = jax.random.split(train_key, protocol.students)

    def students(
        self,
        recipe: Recipe,
        pairs: Pairs,
        *,
        learning_rates: jax.Array | None = None,
        imitation: Imitation | None = None,
    ) -> Params:
        """Parameters with leading axes [S, R], of students trained on R sets.

        Args:
          recipe: their training.
          pairs: the sets, with a leading axis R.
          learning_rates: float32[R], in place of the recipe's.
          imitation: another student than the scorer's.
        """
        student = imitation or self._imitation
        count, size = pairs.weights.shape
        learning_rates = jnp.full(count, recipe.learning_rate) if learning_rates is None else learning_rates

        def train(keys: jax.Array, sets: tuple[Pairs, jax.Array]) -> Params:
            params = jax.vmap(lambda pairs, rate: train_students(student, recipe, pairs, keys, rate))(*sets)
            return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), params)

        batch = f", batches of {recipe.batch}" if recipe.batch else ""
        steps = f"{recipe.steps} steps of {recipe.optimiser}{batch}"
        what = f"training of {self.protocol.students} x {count} students on {size} pairs, {steps}"
        start, known = time.perf_counter(), len(self._programs)
        params = self._call(
            ("train", student, recipe, count, size), train, self._keys, (pairs, learning_rates), name=what
        )
        jax.block_until_ready(params)
        if known == len(self._programs):  # or else compilation is in it
            done, seconds = self.speeds.get(what, (0, 0.0))
            self.speeds[what] = (done + count * self.protocol.students, seconds + time.perf_counter() - start)
        return params

    def score(self, params: Params, *, imitation: Imitation | None = None, ensembles: int | None = None) -> Scores:
        """Plays with the parameters [S, R, ...] of students, or with ensembles of them, which have no losses.

        Args:
          params: from `students`, or a learner's with the same axes.
          imitation: what they are of, if not the scorer's student.
          ensembles: members of an ensemble, in place of the protocol's number.
        """
        student = imitation or self._imitation
        members = self.protocol.ensembles if ensembles is None else ensembles
        returns = self.play(params, imitation=student, ensembles=members)
        if members or self._held_out is None:
            return Scores(returns, np.full(returns.shape[1:3], np.nan))
        many, sets = _axes(params)

        def loss(params: Params, held_out: Pairs) -> jax.Array:
            return jax.vmap(jax.vmap(student.mean_loss, (0, None)), (0, None))(params, held_out)

        losses = self._call(("loss", student, many, sets, False), loss, params, self._held_out)
        return Scores(returns, np.asarray(losses, np.float64))

    def play(
        self, params: Params, *, imitation: Imitation | None = None, ensembles: int = 0, by_episode: bool = False
    ) -> np.ndarray:
        """float64[W, S, R], returns as means over the episodes, or [W, S, R, E] by episode; see `score`."""
        student, protocol = imitation or self._imitation, self.protocol
        actor: Any = student_actor(student.policy, ensemble=ensembles > 0, sample=protocol.sample)
        actor = actor if self._scaling is None else ScaledActor(actor)
        if ensembles:
            params = jax.tree.map(lambda leaf: _group(leaf, ensembles), jax.device_get(params))
        many, sets = _axes(params)

        def play(params: Params, key: jax.Array) -> jax.Array:
            flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), params)
            if self._scaling is not None:
                rows = jax.tree.leaves(flat)[0].shape[0]
                flat = Scaled(flat, *(jnp.broadcast_to(jnp.asarray(x), (rows, *x.shape)) for x in self._scaling))
            returns = [rollout.evaluate(env, actor, flat, key, protocol.episodes) for env in self._arenas]
            returns = returns if by_episode else [found.mean(axis=1) for found in returns]
            return jnp.stack(returns, axis=1).reshape(-1, sets, len(returns), *returns[0].shape[1:])

        what = f"{many} x {sets} {'ensembles' if ensembles else 'students'}, {protocol.episodes} episodes each"
        kind = ("play", student, many, sets, ensembles, by_episode)
        returns = self._call(kind, play, params, self._play_key, name=what, split=not ensembles)
        return np.moveaxis(np.asarray(returns, np.float64), 2, 0)

    def _call(self, kind: Any, fn: Any, *args: Any, name: str = "", split: bool = True) -> Any:
        """The result of `fn`, whose first argument has rows that devices share, unless not `split`."""
        if kind not in self._programs:
            spread = split and self._mesh is not None
            program: Any = map_batch(fn, self._mesh, replicated=(1,)) if spread else jax.jit(fn)  # pyright: ignore[reportArgumentType]
            self._programs[kind] = self._compile(program, *args, name=name) if name and self._compile else program
        return self._programs[kind](*args)


def make_scorer(
    task: Task,
    key: jax.Array,
    protocol: Protocol | None = None,
    *,
    mesh: Mesh | None = None,
    compile: Callable[..., Callable[..., Any]] | None = None,  # noqa: A002
) -> Scorer:
    """The scorer of a task; `key`, `protocol`, `mesh` and `compile` as in `Scorer`."""
    return Scorer(
        task.imitation, tuple(task.arenas.values()), key, protocol or Protocol(), scaling=task.scaling,
        held_out=task.answered(held_out=True), mesh=mesh, compile=compile,
    )  # fmt: skip


def _axes(params: Params) -> tuple[int, int]:
    """The two leading axes."""
    many, sets = jax.tree.leaves(params)[0].shape[:2]
    return many, sets


def _group(leaf: np.ndarray, members: int) -> np.ndarray:
    """[S, R, ...] as [S / members, R, members, ...]."""
    return np.swapaxes(leaf.reshape(-1, members, *leaf.shape[1:]), 1, 2)
