"""Gradient matching: the loss gradient of a network on distilled pairs is to equal the one on real pairs.

Whose gradients, is a choice. DDRL's published code matches those of the frozen teacher (`teacher`), or of one student
that is initialised once and trained along (`student`); dataset condensation draws fresh students (`fresh`), which here
train for a random number of steps before they are matched.

Shapes: `A` actions (buckets), `B` rows of a bucket's real batch, `N` distilled pairs, `P` rows of the longest bucket.

Reference: Light, Liu and Hu, "Dataset distillation for offline reinforcement learning" (2024), section 3; Zhao, Mopuri
and Bilen, "Dataset condensation with gradient matching", ICLR 2021, algorithm 1.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrl_suite.core.config import check_choices, check_ranges
from jaxrl_suite.distill.distances import Distance, gradient_distance
from jaxrl_suite.distill.objective import Aux, ObjectiveState
from jaxrl_suite.distill.pairs import Distilled, Imitation, Pairs
from jaxrl_suite.distill.sampling import group_rows
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.learners.cloning import Recipe
from jaxrl_suite.rl.policies import Params

Network: TypeAlias = Literal["teacher", "student", "fresh"]


@dataclasses.dataclass(frozen=True)
class GradientMatching:
    """Distance between gradients on the distilled set and on a real batch.

    Args:
      imitation: the network and the loss whose gradients are matched.
      distance: see `gradient_distance`.
      network: `teacher`, `student` or `fresh`, as the module says.
      inner: the training of students: `student` takes `inner.steps` full-batch steps after each outer step, `fresh`
        up to `advance` of them before it is matched.
      advance: `fresh` students train for a number of steps that is uniform on 0 to `advance`.
      classes: for batches of `sampling.Buckets`, the action of each distilled pair, which must not be learned; the
        distances of the actions are summed. An action without distilled or real pairs counts 0. None matches the
        gradient on all pairs at once.
    """

    imitation: Imitation
    distance: Distance = "l2"
    network: Network = "fresh"
    inner: Recipe = dataclasses.field(default_factory=Recipe)
    advance: int = 50
    classes: tuple[int, ...] | None = None

    def __post_init__(self):
        check_choices(self, distance=get_args(Distance), network=get_args(Network))
        check_ranges(self, advance=(0, 10**6))
        if self.inner.batch is not None:
            raise UserError("students of gradient matching train on the whole distilled set: leave the batch out")
        if self.classes is not None:
            policy = self.imitation.policy
            if not policy.discrete or self.imitation.labels != "hard":
                raise UserError("buckets by action need a discrete policy and labels='hard'")
            if not self.classes or min(self.classes) < 0 or max(self.classes) >= policy.actions:
                raise UserError(f"classes must name actions 0 to {policy.actions - 1}, got {self.classes}")

    def init(self, key: jax.Array, teacher: Params | None) -> ObjectiveState:
        if self.network == "teacher":
            if teacher is None:
                raise UserError("network='teacher' needs the teacher's parameters: pass them to the driver's init")
            wanted, given = (
                jax.tree.map(jnp.shape, tree)
                for tree in (jax.eval_shape(self.imitation.policy.init, jax.random.key(0)), teacher)
            )
            if wanted != given:
                raise UserError("the teacher's parameters are of another network: its policy must be the imitation's")
            return teacher
        if self.network == "fresh":
            return ()
        params = self.imitation.policy.init(key)
        return params, self.inner.make().init(params)

    def loss(self, syn: Distilled, batch: Pairs, state: ObjectiveState, key: jax.Array) -> tuple[jax.Array, Aux]:
        params = self._network(syn, state, key)
        pairs, gradient = self.imitation.pairs(syn), jax.grad(self.imitation.mean_loss)
        if self.classes is None:
            if batch.weights.ndim != 1:
                raise UserError(
                    "a batch with a bucket for each action needs classes: name them, or use another sampler"
                )
            real = gradient(params, batch)
            distance = gradient_distance(self.distance, gradient(params, pairs), real)
            return distance, {"gradient_norm": optax.global_norm(real)}
        rows, counts = group_rows(np.array(self.classes), self.imitation.policy.actions)
        if batch.weights.ndim != 2 or batch.weights.shape[0] != rows.shape[0]:
            raise UserError("classes need a batch with a bucket for each action: use sampling.Buckets")
        if pairs.weights.shape[0] != len(self.classes):
            raise UserError(f"classes name {len(self.classes)} pairs, but the set has {pairs.weights.shape[0]}")
        mask = jnp.asarray(np.arange(rows.shape[1]) < counts[:, None], pairs.weights.dtype)
        groups = Pairs(*(jnp.take(leaf, jnp.asarray(rows), axis=0) for leaf in pairs))
        groups = groups._replace(weights=groups.weights * mask)
        real = jax.vmap(gradient, (None, 0))(params, batch)
        ours = jax.vmap(gradient, (None, 0))(params, groups)
        distances = jax.vmap(lambda a, b: gradient_distance(self.distance, a, b))(ours, real)
        both = jnp.any(batch.weights > 0, axis=1) & jnp.any(mask > 0, axis=1)
        return jnp.sum(jnp.where(both, distances, 0.0)), {"gradient_norm": optax.global_norm(real)}

    def update(self, syn: Distilled, state: ObjectiveState, key: jax.Array) -> ObjectiveState:
        del key
        return self._train(syn, state, self.inner.steps) if self.network == "student" else state

    def _network(self, syn: Distilled, state: ObjectiveState, key: jax.Array) -> Params:
        if self.network != "fresh":
            return state if self.network == "teacher" else state[0]
        init_key, step_key = jax.random.split(key)
        params = self.imitation.policy.init(init_key)
        if not self.advance:
            return params
        steps = jax.random.randint(step_key, (), 0, self.advance + 1)
        return self._train(jax.lax.stop_gradient(syn), (params, self.inner.make().init(params)), steps)[0]

    def _train(self, syn: Distilled, state: ObjectiveState, steps: int | jax.Array) -> ObjectiveState:
        pairs, optimiser = self.imitation.pairs(syn), self.inner.make()

        def step(_: jax.Array, state: ObjectiveState) -> ObjectiveState:
            params, momentum = state
            gradient = jax.grad(self.imitation.mean_loss)(params, pairs)
            updates, momentum = optimiser.update(gradient, momentum, params)
            return optax.apply_updates(params, updates), momentum

        return jax.lax.fori_loop(0, steps, step, state)
