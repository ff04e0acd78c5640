"""Students: fresh networks trained on a set of pairs, many at once, and their loss on pairs that were held out.

Shapes: `S` students, `N` pairs.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from jaxrl_suite.distill.pairs import Distilled, Imitation, Pairs
from jaxrl_suite.rl.learners.cloning import Recipe, fit_recipe
from jaxrl_suite.rl.policies import Params


@functools.partial(jax.jit, static_argnames=("imitation", "recipe"))
def train_students(
    imitation: Imitation, recipe: Recipe, pairs: Pairs, keys: jax.Array, learning_rate: jax.Array | None = None
) -> Params:
    """Parameters with a leading axis S, each of a student that was initialised and trained with its own key.

    Args:
      imitation: the student.
      recipe: its training.
      pairs: N pairs, distilled (`imitation.pairs(syn)`) or real.
      keys: [S].
      learning_rate: in place of the recipe's, for instance `syn.learning_rate`.
    """

    def train(key: jax.Array) -> Params:
        init_key, fit_key = jax.random.split(key)
        params = imitation.policy.init(init_key)
        return fit_recipe(
            imitation.policy, params, *pairs, recipe, fit_key, kind=imitation.kind, learning_rate=learning_rate
        )[0]

    return jax.vmap(train)(keys)


def held_out_loss(
    imitation: Imitation,
    recipes: tuple[Recipe, ...],
    syn: Distilled,
    held_out: Pairs,
    keys: jax.Array,
    *,
    learned_rate: bool = False,
) -> jax.Array:
    """float32[]: mean loss on held-out pairs of students trained on a distilled set, over recipes and students.

    Args:
      imitation: the student.
      recipes: how they are trained, at least one.
      syn: the set.
      held_out: real pairs that the set was not fitted to.
      keys: [S].
      learned_rate: whether SGD takes the set's own learning rate.
    """
    pairs, losses = imitation.pairs(syn), []
    for recipe in recipes:
        learning_rate = syn.learning_rate if learned_rate and recipe.optimiser == "sgd" else None
        params = train_students(imitation, recipe, pairs, keys, learning_rate)
        losses.append(jnp.mean(jax.vmap(imitation.mean_loss, (0, None))(params, held_out)))
    return jnp.mean(jnp.stack(losses))
