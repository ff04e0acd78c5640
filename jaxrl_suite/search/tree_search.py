"""Batched tree search behind mctx's call, at a cost per simulation that does not grow with the tree.

`search` takes the arguments of `mctx.search` and returns the same `mctx.Tree`. What differs is how it gets there.
mctx vmaps a backward while-loop that carries the tree, so every level of every simulation selects over whole `[B, N,
A]` arrays; here the batch climbs in lockstep and writes by masked scatters, one entry a row. And since the batch also
descends in lockstep, the depth is one number, so that the root's and the interior's selection rule are not both
computed at every level.

Shapes: `B` batch, `N` nodes (simulations + 1, more in a tree that was carried over), `A` actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import mctx

from jaxrl_suite.errors import UserError
from jaxrl_suite.search.records import NO_PARENT, ROOT, UNVISITED, RecurrentFn, Tree, new_tree

# `(keys key[B], tree, node int32[B], depth int32[], walking bool[B]) -> action int32[B]`, batched. The depth is the
# whole batch's; what is returned for a row that is not walking is ignored.
Select = Callable[[jax.Array, Tree, jax.Array, jax.Array, jax.Array], jax.Array]


def search(
    params: chex.ArrayTree,
    rng_key: jax.Array,
    *,
    root: Any,
    recurrent_fn: RecurrentFn,
    root_action_selection_fn: mctx.RootActionSelectionFn,
    interior_action_selection_fn: mctx.InteriorActionSelectionFn,
    num_simulations: int,
    max_depth: int | None = None,
    invalid_actions: jax.Array | None = None,
    extra_data: Any = None,
    stop_at_terminal: bool = False,
) -> Tree:
    """Runs `num_simulations` simulations from `root`; the arguments are those of `mctx.search`, with two additions.

    Args:
      params: handed to `recurrent_fn`.
      rng_key: typed key, consumed. With shape `[]` the random stream is that of `mctx.search`. With shape `[B]` every
        row has its own stream, so that its result does not depend on what else is in the batch, nor on how many devices
        share it; `recurrent_fn` then receives keys `[B]`.
      root: prior logits `[B, A]`, value `[B]`, embedding `[B, ...]`.
      recurrent_fn: `(params, rng_key, action, embedding) -> (RecurrentFnOutput, embedding)`, batched.
      root_action_selection_fn: `(rng_key, tree, node_index) -> action`, unbatched.
      interior_action_selection_fn: `(rng_key, tree, node_index, depth) -> action`, unbatched.
      num_simulations: how many leaves are evaluated.
      max_depth: longest path from the root, in edges, at least 1 (0 is as 1); no limit by default.
      invalid_actions: `[B, A]`, nonzero where an action is not allowed at the root.
      extra_data: kept in the tree, `[B, ...]`.
      stop_at_terminal: whether a simulation ends at a child whose discount is 0 and evaluates that child again, instead
        of growing a chain of copies below the end of the game, as mctx does.

    Returns:
      The tree after all simulations.
    """
    if invalid_actions is None:
        invalid_actions = jnp.zeros_like(root.prior_logits)

    def select(keys, tree, node, depth, walking):
        del walking
        at_root = jax.vmap(root_action_selection_fn)
        inside = jax.vmap(interior_action_selection_fn, in_axes=(0, 0, 0, None))
        return jax.lax.cond(depth == 0, lambda *x: at_root(*x[:3]), inside, keys, tree, node, depth)

    return grow(
        plant(root, num_simulations + 1, invalid_actions, extra_data),
        params,
        rng_key,
        recurrent_fn=recurrent_fn,
        select=select,
        num_simulations=num_simulations,
        max_depth=max_depth,
        stop_at_terminal=stop_at_terminal,
    )


def grow(
    tree: Tree,
    params: chex.ArrayTree,
    rng_key: jax.Array,
    *,
    recurrent_fn: RecurrentFn,
    select: Select,
    num_simulations: int,
    max_depth: int | None = None,
    stop_at_terminal: bool = False,
    average_leaves: bool = False,
    average_children: bool = False,
) -> Tree:
    """Runs simulations in a tree that exists: one just planted, or one re-rooted after a move.

    Every row needs room for `num_simulations` further nodes behind its last one. The arguments are `search`'s, but for
    `select`, which picks the actions of the whole batch, `average_leaves`: whether a leaf that is evaluated again,
    at `max_depth` or at the end of a game, keeps the mean of its evaluations, as is right for sampled ones, or the
    last one, as in mctx, and `average_children`, see `backward`.

    Raises:
      UserError: if `rng_key` is no typed key.
    """
    batch_size = tree.node_values.shape[0]
    rows = jnp.arange(batch_size)
    if not jnp.issubdtype(jnp.result_type(rng_key), jax.dtypes.prng_key):
        raise UserError("rng_key must be a typed key: make it with jax.random.key, not jax.random.PRNGKey")
    per_row = jnp.ndim(rng_key) == 1
    limit = tree.node_visits.shape[1] if max_depth is None else max_depth  # no path is longer than the tree has nodes
    used = jnp.where(tree.node_visits > 0, jnp.arange(tree.node_visits.shape[1])[None], 0)
    first_free = jnp.max(used, axis=1) + 1

    def simulation(index, carry):
        rng_key, tree = carry
        if per_row:
            rng_key, simulate_keys, expand_key = split_rows(rng_key, 3)
        else:
            rng_key, simulate_key, expand_key = jax.random.split(rng_key, 3)
            simulate_keys = jax.random.split(simulate_key, batch_size)
        parent, action = simulate(simulate_keys, tree, select, limit, stop_at_terminal)
        child = tree.children_index[rows, parent, action]
        leaf = jnp.where(child == UNVISITED, first_free + index, child)
        before = tree.node_values[rows, leaf], tree.node_visits[rows, leaf]
        tree = expand(params, expand_key, tree, recurrent_fn, parent, action, leaf)
        value = tree.node_values[rows, leaf]
        if average_leaves:
            mean = (before[0] * before[1] + value) / (before[1] + 1.0)
            tree = tree.replace(node_values=tree.node_values.at[rows, leaf].set(mean))
        return rng_key, backward(tree, leaf, value, average_children)

    _, tree = jax.lax.fori_loop(0, num_simulations, simulation, (rng_key, tree))
    return tree


class _Walk(NamedTuple):
    keys: jax.Array  # key[B]
    parent: jax.Array  # int32[B], the last node left
    action: jax.Array  # int32[B], the action taken there
    node: jax.Array  # int32[B], the node reached
    depth: jax.Array  # int32[], edges from the root; the whole batch descends in lockstep
    walking: jax.Array  # bool[B]


def simulate(
    keys: jax.Array, tree: Tree, select: Select, max_depth: int, stop_at_terminal: bool
) -> tuple[jax.Array, jax.Array]:
    """Walks every row down to an action that is unvisited, too deep or terminal.

    Args:
      keys: key[B], consumed.
      tree: batched.
      select: picks the next actions.
      max_depth: edges at most.
      stop_at_terminal: see `search`.

    Returns:
      `(parent int32[B], action int32[B])`: the edge at which each walk ended.
    """
    rows = jnp.arange(tree.node_values.shape[0])

    def descend(walk: _Walk) -> _Walk:
        keys, selection_keys = split_rows(walk.keys, 2)
        action = select(selection_keys, tree, walk.node, walk.depth, walk.walking)
        child = tree.children_index[rows, walk.node, action]
        onward = (child != UNVISITED) & (walk.depth + 1 < max_depth)
        if stop_at_terminal:
            onward &= tree.children_discounts[rows, walk.node, action] != 0
        return _Walk(
            keys=keys,
            parent=jnp.where(walk.walking, walk.node, walk.parent),
            action=jnp.where(walk.walking, action, walk.action),
            node=jnp.where(walk.walking & onward, child, walk.node),
            depth=walk.depth + 1,
            walking=walk.walking & onward,
        )

    start = jnp.full_like(rows, ROOT, dtype=jnp.int32)
    walk = _Walk(keys, start, start, start, jnp.int32(0), jnp.ones_like(rows, dtype=bool))
    walk = jax.lax.while_loop(lambda walk: jnp.any(walk.walking), descend, walk)
    return walk.parent, walk.action


def expand(
    params: chex.ArrayTree,
    rng_key: jax.Array,
    tree: Tree,
    recurrent_fn: RecurrentFn,
    parent: jax.Array,
    action: jax.Array,
    leaf: jax.Array,
) -> Tree:
    """Evaluates the edges `(parent, action)` and writes their ends into the nodes `leaf`, all int32[B]."""
    rows = jnp.arange(parent.shape[0])
    embedding = jax.tree.map(lambda x: x[rows, parent], tree.embeddings)
    step, embedding = recurrent_fn(params, rng_key, action, embedding)
    tree = _write_node(tree, leaf, step.prior_logits, step.value, embedding)
    return tree.replace(
        children_index=tree.children_index.at[rows, parent, action].set(leaf),
        children_rewards=tree.children_rewards.at[rows, parent, action].set(step.reward),
        children_discounts=tree.children_discounts.at[rows, parent, action].set(step.discount),
        parents=tree.parents.at[rows, leaf].set(parent),
        action_from_parent=tree.action_from_parent.at[rows, leaf].set(action),
    )


def backward(tree: Tree, leaf: jax.Array, value: jax.Array | None = None, average_children: bool = False) -> Tree:
    """Adds a value of the nodes `leaf` int32[B] to all their ancestors; equals mctx's backward pass bit for bit.

    What is added is `value` float32[B], or what the nodes hold by default; with `average_children` what is added to a
    node further up is its child's mean as it now stands, so that a node is the mean of means.

    One iteration climbs one level in every row; rows that have arrived at the root write out of bounds, where writes
    are dropped.
    """
    batch_size, num_nodes = tree.node_values.shape
    rows = jnp.arange(batch_size)

    def climb(carry):
        node_values, node_visits, children_values, children_visits, value, mean, node = carry
        climbing = node != ROOT
        parent, action = tree.parents[rows, node], tree.action_from_parent[rows, node]
        target = jnp.where(climbing, parent, num_nodes)
        children_values = children_values.at[rows, target, action].set(mean, mode="drop")
        children_visits = children_visits.at[rows, target, action].add(1, mode="drop")
        value = tree.children_rewards[rows, parent, action] + tree.children_discounts[rows, parent, action] * value
        count = node_visits[rows, parent]
        mean = (node_values[rows, parent] * count + value) / (count + 1.0)
        node_values = node_values.at[rows, target].set(mean, mode="drop")
        node_visits = node_visits.at[rows, target].set(count + 1, mode="drop")
        return (
            node_values,
            node_visits,
            children_values,
            children_visits,
            mean if average_children else value,
            mean,  # the value of the node climbed to: reading it back would make XLA copy `node_values`
            jnp.where(climbing, parent, ROOT),
        )

    held = tree.node_values[rows, leaf]
    value = held if value is None else value
    carry = (tree.node_values, tree.node_visits, tree.children_values, tree.children_visits, value, held, leaf)
    carry = jax.lax.while_loop(lambda carry: jnp.any(carry[-1] != ROOT), climb, carry)
    node_values, node_visits, children_values, children_visits, *_ = carry
    return tree.replace(
        node_values=node_values,
        node_visits=node_visits,
        children_values=children_values,
        children_visits=children_visits,
    )


def plant(root: Any, num_nodes: int, invalid_actions: jax.Array, extra_data: Any) -> Tree:
    """A tree with room for `num_nodes` nodes that holds the root alone."""
    batch_size, num_actions = root.prior_logits.shape
    node, edge = (batch_size, num_nodes), (batch_size, num_nodes, num_actions)
    dtype = root.value.dtype
    tree = new_tree(
        node_visits=jnp.zeros(node, jnp.int32),
        raw_values=jnp.zeros(node, dtype),
        node_values=jnp.zeros(node, dtype),
        parents=jnp.full(node, NO_PARENT, jnp.int32),
        action_from_parent=jnp.full(node, NO_PARENT, jnp.int32),
        children_index=jnp.full(edge, UNVISITED, jnp.int32),
        children_prior_logits=jnp.zeros(edge, root.prior_logits.dtype),
        children_values=jnp.zeros(edge, dtype),
        children_visits=jnp.zeros(edge, jnp.int32),
        children_rewards=jnp.zeros(edge, dtype),
        children_discounts=jnp.zeros(edge, dtype),
        embeddings=jax.tree.map(lambda x: jnp.zeros(node + x.shape[1:], x.dtype), root.embedding),
        root_invalid_actions=invalid_actions,
        extra_data=extra_data,
    )
    return _write_node(tree, jnp.full((batch_size,), ROOT), root.prior_logits, root.value, root.embedding)


def _write_node(tree: Tree, node: jax.Array, prior_logits: jax.Array, value: jax.Array, embedding: Any) -> Tree:
    rows = jnp.arange(node.shape[0])
    return tree.replace(
        children_prior_logits=tree.children_prior_logits.at[rows, node].set(prior_logits),
        raw_values=tree.raw_values.at[rows, node].set(value),
        node_values=tree.node_values.at[rows, node].set(value),
        node_visits=tree.node_visits.at[rows, node].add(1),  # a node at max_depth is evaluated more than once
        embeddings=jax.tree.map(lambda old, new: old.at[rows, node].set(new), tree.embeddings, embedding),
    )


def split_rows(keys: jax.Array, num: int) -> tuple[jax.Array, ...]:
    """Splits every key of `keys` key[B] into `num`, as a tuple of key[B]."""
    split = jax.vmap(lambda key: jax.random.split(key, num))(keys)
    return tuple(split[:, index] for index in range(num))
