"""Our search against stock mctx: same trees, bit for bit; and what stock mctx does not do."""

import functools
import re

import chex
import jax
import jax.numpy as jnp
import mctx
import numpy as np
import pytest
from mctx._src import search as stock

from jaxrl_suite.search import tree_search
from jaxrl_suite.search.reroot import reroot

B, A = 6, 5


def model(params, rng_key, action, embedding):
    """A deterministic world whose rewards, values, priors and discounts are hashes of the path."""
    del params, rng_key
    path = (embedding * 1103515245 + action * 12345 + 12345) & 0x7FFFFFFF
    value = ((path >> 8) % 1000).astype(jnp.float32) / 500 - 1
    step = mctx.RecurrentFnOutput(
        reward=value / 7,
        discount=jnp.where((path >> 5) % 7 == 0, 0.0, -0.9),
        prior_logits=jnp.sin(path[:, None].astype(jnp.float32) * jnp.arange(1.0, A + 1)[None]),
        value=value,
    )
    return step, path


def root(batch=B):
    embedding = jnp.arange(batch, dtype=jnp.int32) * 7919 + 17
    logits = jnp.cos(embedding[:, None] * jnp.arange(1.0, A + 1)[None])
    return mctx.RootFnOutput(prior_logits=logits, value=jnp.zeros(batch), embedding=embedding)


def greedy(key, tree, node, depth=0):
    """mctx's own rule, whose ties are broken by noise: any difference in the stream of keys would show."""
    return mctx.muzero_action_selection(key, tree, node, depth)


def run(search, key, simulations=40, batch=B, **options):
    call = functools.partial(
        search,
        (),
        root=root(batch),
        recurrent_fn=model,
        root_action_selection_fn=greedy,
        interior_action_selection_fn=greedy,
        num_simulations=simulations,
        **options,
    )
    return jax.jit(call)(key)


def assert_equal_trees(left, right):
    chex.assert_trees_all_equal(left, right)


@pytest.mark.parametrize("options", [{}, {"max_depth": 3}, {"max_depth": 0}], ids=str)
def test_whole_search_equals_stock_mctx(options):
    key = jax.random.key(3)
    assert_equal_trees(run(mctx.search, key, **options), run(tree_search.search, key, **options))


def test_gumbel_rules_and_invalid_actions_equal_stock_mctx():
    invalid = jnp.zeros((B, A)).at[:, 1].set(1)
    extra = mctx.GumbelMuZeroExtraData(root_gumbel=jax.random.gumbel(jax.random.key(1), (B, A)))
    qtransform = mctx.qtransform_completed_by_mix_value

    def search(with_search):
        return with_search(
            (),
            jax.random.key(0),
            root=root(),
            recurrent_fn=model,
            root_action_selection_fn=functools.partial(
                mctx.gumbel_muzero_root_action_selection,
                num_simulations=24,
                max_num_considered_actions=4,
                qtransform=qtransform,
            ),
            interior_action_selection_fn=functools.partial(
                mctx.gumbel_muzero_interior_action_selection, qtransform=qtransform
            ),
            num_simulations=24,
            invalid_actions=invalid,
            extra_data=extra,
        )

    ours = jax.jit(functools.partial(search, tree_search.search))()
    assert_equal_trees(jax.jit(functools.partial(search, mctx.search))(), ours)
    assert int(ours.children_visits[:, 0, 1].sum()) == 0


@pytest.mark.parametrize("seed", range(3))
def test_backward_equals_stock_mctx_on_random_trees(seed):
    tree = run(tree_search.search, jax.random.key(seed))
    keys = jax.random.split(jax.random.key(100 + seed), 3)
    noise = jax.random.normal(keys[0], tree.node_values.shape)
    tree = tree.replace(
        node_values=tree.node_values + noise,
        children_rewards=jax.random.normal(keys[1], tree.children_rewards.shape),
    )
    leaf = jax.random.randint(keys[2], (B,), 0, tree.node_visits.shape[1])
    assert_equal_trees(jax.jit(stock.backward)(tree, leaf), jax.jit(tree_search.backward)(tree, leaf))


def test_with_a_key_a_row_the_batch_around_it_does_not_matter():
    keys = jax.random.split(jax.random.key(5), B)
    together, alone = run(tree_search.search, keys), run(tree_search.search, keys[:2], batch=2)
    assert_equal_trees(jax.tree.map(lambda leaf: leaf[:2], together), alone)


def test_stops_at_terminal_children_instead_of_copying_them():
    tree = run(tree_search.search, jax.random.key(0), simulations=120, stop_at_terminal=True)
    visits, discounts = np.asarray(tree.children_visits), np.asarray(tree.children_discounts)
    index, node_visits = np.asarray(tree.children_index), np.asarray(tree.node_visits)
    ends = np.argwhere((index >= 0) & (discounts == 0))
    assert len(ends) > 5
    for row, node, action in ends:
        child = index[row, node, action]
        assert visits[row, child].sum() == 0
        assert node_visits[row, child] == visits[row, node, action]
    np.testing.assert_array_equal(node_visits[:, 0], 121)


def test_no_simulation_copies_or_selects_over_the_tree():
    """The cost of a simulation must not grow with the tree: inside the loops whole arrays are only updated in place."""
    simulations = 57
    call = functools.partial(
        tree_search.search,
        (),
        root=root(),
        recurrent_fn=model,
        root_action_selection_fn=greedy,
        interior_action_selection_fn=greedy,
        num_simulations=simulations,
    )
    program = jax.jit(call).lower(jax.random.key(0)).compile().as_text()
    inside, _, entry = program.partition("\nENTRY")
    assert "while(" in entry
    whole = re.compile(rf"= \w+\[{B},{simulations + 1}[,\]]\S* (copy|select|concatenate|transpose|pad)\(.*")
    assert [match.group(0) for match in map(whole.search, inside.splitlines()) if match] == []


def test_reroot_keeps_the_subtree_and_drops_the_rest():
    tree = run(tree_search.search, jax.random.key(7), simulations=60)
    action = jnp.argmax(tree.children_visits[:, 0], axis=1)
    node = tree.children_index[jnp.arange(B), 0, action]
    kept = reroot(tree, node, num_nodes=61, keep=61)

    def unfold(tree, row, node):
        """The tree below a node as nested tuples, without indices."""
        below = [
            (a, int(v), float(q), unfold(tree, row, int(c)))
            for a, (v, q, c) in enumerate(
                zip(
                    tree.children_visits[row, node],
                    tree.children_values[row, node],
                    tree.children_index[row, node],
                    strict=True,
                )
            )
            if c >= 0
        ]
        own = tree.node_visits[row, node], tree.node_values[row, node], tree.embeddings[row, node]
        return tuple(float(x) for x in own), below

    old, new = jax.tree.map(np.asarray, (tree, kept))
    for row in range(B):
        assert unfold(new, row, 0) == unfold(old, row, int(node[row]))
        size = (old.node_visits[row] > 0).sum()
        assert 1 < (new.node_visits[row] > 0).sum() < size
    np.testing.assert_array_equal(kept.parents[:, 0], -1)
    small = reroot(tree, node, num_nodes=12, keep=4)
    assert ((small.node_visits > 0).sum(1) <= 4).all()
    assert int(small.children_index.max()) <= 3
    np.testing.assert_array_equal(small.children_visits > 0, small.children_index >= 0)


def test_a_tree_that_was_carried_over_may_grow_deeper_than_its_simulations():
    """A limit of depth that the tree has passed already would evaluate inner nodes again, over their statistics."""

    def grow(tree, simulations):
        return tree_search.grow(
            tree,
            (),
            jax.random.key(0),
            recurrent_fn=model,
            select=lambda keys, tree, node, depth, walking: jnp.zeros_like(node),
            num_simulations=simulations,
        )

    planted = tree_search.plant(root(), 12, jnp.zeros((B, A)), None)
    chain = jax.jit(grow, static_argnums=1)(planted, 8)
    tree = jax.jit(grow, static_argnums=1)(reroot(chain, jnp.zeros(B, jnp.int32), 12, 12), 1)
    np.testing.assert_array_equal(tree.parents[:, 1:10], np.tile(np.arange(9), (B, 1)))
    np.testing.assert_array_equal(tree.raw_values[:, :9], chain.raw_values[:, :9])


def test_keys_of_the_old_style_are_refused():
    with pytest.raises(ValueError, match=r"jax\.random\.key"):
        run(tree_search.search, jax.random.PRNGKey(0))


def test_reroot_refuses_to_keep_more_than_fits():
    tree = run(tree_search.search, jax.random.key(7), simulations=4)
    with pytest.raises(ValueError, match="keep must be"):
        reroot(tree, jnp.zeros(B, jnp.int32), num_nodes=3, keep=4)


def test_leaves_evaluated_again_can_keep_their_mean():
    """At depth 1 every visit samples the edge anew, and its value is the mean of the samples, as for a bandit."""

    def noisy(params, rng_key, action, embedding):
        value = jax.vmap(jax.random.normal)(rng_key) + action
        zero, one = jnp.zeros(B), jnp.ones(B)
        step = mctx.RecurrentFnOutput(reward=zero, discount=one, prior_logits=jnp.zeros((B, A)), value=value)
        return step, embedding

    def in_turn(keys, tree, node, depth, walking):
        return jnp.argmin(tree.children_visits[:, 0], axis=1)

    tree = tree_search.plant(root(), 501, jnp.zeros((B, A)), None)
    keys = jax.random.split(jax.random.key(0), B)
    grow = functools.partial(
        tree_search.grow, recurrent_fn=noisy, select=in_turn, num_simulations=500, max_depth=1, average_leaves=True
    )
    tree = jax.jit(grow)(tree, (), keys)
    np.testing.assert_array_equal(tree.children_visits[:, 0], 100)
    np.testing.assert_allclose(tree.children_values[:, 0], np.arange(A) + np.zeros((B, 1)), atol=0.45)
    total = (tree.children_visits[:, 0] * tree.children_values[:, 0]).sum(1) / 501
    np.testing.assert_allclose(tree.node_values[:, 0], total, atol=1e-4)
