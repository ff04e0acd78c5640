"""Keeping the part of a tree that is still of use after a move.

Shapes: `B` batch, `N` nodes, `A` actions.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxrl_suite.errors import UserError
from jaxrl_suite.search.records import NO_PARENT, ROOT, UNVISITED, Tree


def reroot(tree: Tree, node: jax.Array, num_nodes: int, keep: int) -> Tree:
    """The subtree below `node`, with `node` as root, and room for more.

    Args:
      tree: a batch of trees.
      node: int32[B], the node that becomes the root of each.
      num_nodes: size of the new tree.
      keep: how many nodes of the subtree are kept at most, the earliest first; an edge to one that is not kept becomes
        unvisited.

    Returns:
      A tree of `num_nodes` nodes. Statistics are those that the nodes had; `root_invalid_actions` and `extra_data` are
      still the old root's.

    Raises:
      UserError: if `keep` is not between 1 and `num_nodes`.
    """
    if not 1 <= keep <= num_nodes:
        raise UserError(f"keep must be between 1 and num_nodes={num_nodes}, got {keep}")
    return jax.vmap(lambda tree, node: _reroot_one(tree, node, num_nodes, keep))(tree, node)


def _reroot_one(tree: Tree, node: jax.Array, num_nodes: int, keep: int) -> Tree:
    old_size = tree.node_visits.shape[0]
    nowhere = num_nodes  # out of bounds: writes there are dropped
    rank = jnp.cumsum(_descends_from(tree.parents, node)) - 1  # a parent comes before its children, so the root is 0
    surviving = _descends_from(tree.parents, node) & (rank < keep)
    new_index = jnp.where(surviving, rank, nowhere)

    def move(old, empty):
        return jnp.full((num_nodes, *old.shape[1:]), empty, old.dtype).at[new_index].set(old, mode="drop")

    child = tree.children_index
    child_kept = (child != UNVISITED) & surviving[jnp.clip(child, 0, old_size - 1)]
    renamed = jnp.where(child_kept, new_index[jnp.clip(child, 0, old_size - 1)], UNVISITED)
    parents = jnp.where(tree.parents == NO_PARENT, NO_PARENT, new_index[jnp.clip(tree.parents, 0, old_size - 1)])
    return tree.replace(
        node_visits=move(tree.node_visits, 0),
        raw_values=move(tree.raw_values, 0),
        node_values=move(tree.node_values, 0),
        parents=move(parents, NO_PARENT).at[ROOT].set(NO_PARENT),
        action_from_parent=move(tree.action_from_parent, NO_PARENT).at[ROOT].set(NO_PARENT),
        children_index=move(renamed, UNVISITED),
        children_prior_logits=move(tree.children_prior_logits, 0),
        children_values=move(jnp.where(child_kept, tree.children_values, 0), 0),
        children_visits=move(jnp.where(child_kept, tree.children_visits, 0), 0),
        children_rewards=move(jnp.where(child_kept, tree.children_rewards, 0), 0),
        children_discounts=move(jnp.where(child_kept, tree.children_discounts, 0), 0),
        embeddings=jax.tree.map(lambda leaf: move(leaf, 0), tree.embeddings),
    )


def _descends_from(parents: jax.Array, node: jax.Array) -> jax.Array:
    """bool[N]: which nodes lie at or below `node`, by jumping to ever higher ancestors."""
    size = parents.shape[0]
    inside = jnp.arange(size) == node
    above = jnp.where(parents == NO_PARENT, size, parents)  # `size` stands for nothing, and so do its ancestors

    def jump(_, carry):
        inside, above = carry
        padded = jnp.append(inside, False), jnp.append(above, size)
        return inside | padded[0][above], padded[1][above]

    inside, _ = jax.lax.fori_loop(0, max(size - 1, 1).bit_length(), jump, (inside, above))
    return inside
