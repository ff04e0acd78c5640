"""Searches whose rows have evaluators of their own, and values that are means of means."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs import Gops
from jaxrl_suite.search import tree_search
from jaxrl_suite.search.evaluators import Evaluation
from jaxrl_suite.search.records import UNVISITED
from jaxrl_suite.search.rules import Node, UniformOpponentPUCT
from jaxrl_suite.search.simultaneous import SimultaneousSearch

GAME = Gops(3, objective="points")
KEYS = jax.random.split(jax.random.key(0), 6)
STATES = jax.vmap(GAME.init)(KEYS)


def linear(params, key, state):
    lead = (state.score[0] - state.score[1]).astype(jnp.float32)
    return Evaluation(jnp.where(state.terminated, 0.0, params["lead"] * lead + params["constant"]), None)


def test_every_row_has_its_own_evaluator():
    params = {"lead": jnp.linspace(-1.0, 2.0, 6), "constant": jnp.arange(6.0)}
    together = SimultaneousSearch(GAME, linear, num_simulations=30, params_per_row=True)
    tree = jax.jit(together.__call__)(params, KEYS, STATES)
    alone = jax.jit(SimultaneousSearch(GAME, linear, num_simulations=30).__call__)
    for row in range(6):
        mine, keys, states = jax.tree.map(lambda leaf, row=row: leaf[row], params), KEYS[row : row + 1], row
        single = alone(mine, keys, jax.tree.map(lambda leaf, states=states: leaf[states : states + 1], STATES))
        np.testing.assert_array_equal(tree.children_visits[row], single.children_visits[0])
        np.testing.assert_allclose(tree.node_values[row], single.node_values[0], atol=1e-6)


def test_a_mean_of_means_is_what_replaying_the_visits_gives():
    """A node takes in, at every visit, its child's mean at that time; replayed in plain Python, leaf by leaf."""
    search = SimultaneousSearch(GAME, linear, num_simulations=1, params_per_row=False)
    params = {"lead": jnp.float32(1.0), "constant": jnp.float32(0.3)}
    tree = search.plant(params, KEYS[:1], jax.tree.map(lambda leaf: leaf[:1], STATES), 40)

    @jax.jit
    def step(tree, key):
        return tree_search.grow(
            tree,
            params,
            key[None],
            recurrent_fn=search._recurrent,
            select=search._select,
            num_simulations=1,
            stop_at_terminal=True,
            average_children=True,
        )

    values, visits = {0: float(tree.node_values[0, 0])}, {0: 1}
    for key in jax.random.split(jax.random.key(1), 30):
        before = np.asarray(tree.node_visits[0])
        tree = step(tree, key)
        touched = np.flatnonzero(np.asarray(tree.node_visits[0]) != before)
        path = sorted(touched)
        leaf = path[-1]
        visits[leaf] = visits.get(leaf, 0) + 1
        values.setdefault(leaf, float(tree.raw_values[0, leaf]))
        child = leaf
        for node in reversed(path[:-1]):
            action = int(tree.action_from_parent[0, child])
            reward, discount = (float(x[0, node, action]) for x in (tree.children_rewards, tree.children_discounts))
            gained = reward + discount * values[child]
            values[node] = (values[node] * visits[node] + gained) / (visits[node] + 1)
            visits[node] += 1
            child = node
    assert max(visits.values()) == 31
    assert (np.asarray(tree.children_index[0, 0]) != UNVISITED).sum() > 3
    for node, value in values.items():
        np.testing.assert_allclose(tree.node_values[0, node], value, atol=1e-4)


def test_the_published_rule_may_use_values_of_actions_it_has_not_tried():
    values = jnp.array([[0.0, 1.0], [5.0, 7.0]])
    node = Node(jnp.zeros((2, 2)), values, jnp.float32(0), jnp.ones((2, 2), bool), jnp.full((2, 2), 0.5))
    np.testing.assert_allclose(UniformOpponentPUCT(expanded=True).scores(node), [[0.5, 6.0], [-2.5, -4.0]])
    np.testing.assert_allclose(UniformOpponentPUCT().scores(node), 0.0)
