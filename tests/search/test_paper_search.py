"""The published search against plain numpy: what a node knows of its children, and which move is played."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs import Gops
from jaxrl_suite.search.evaluators import Evaluation
from jaxrl_suite.search.paper_search import PaperSearch
from jaxrl_suite.search.records import ROOT, UNVISITED

GAME = Gops(3, objective="points")
SIMULATIONS = 12


def lead(params, key, state):
    """A heuristic that is plain enough to be worked out by hand."""
    cards = jnp.arange(3)
    held = jnp.sum(((state.hands[:, None] >> cards[None]) & 1) * (cards + 1)[None], axis=1)
    value = (state.score[0] - state.score[1] + 0.25 * (held[0] - held[1])).astype(jnp.float32)
    return Evaluation(jnp.where(state.terminated, 0.0, value), None)


def by_hand(prize, bids):
    """What the heuristic says after the first round: the prize, and what is left in the hands."""
    first, second = bids[0] + 1, bids[1] + 1
    return prize * np.sign(first - second) + 0.25 * (second - first)


def test_children_are_known_at_once_and_the_move_is_the_one_with_the_best_score():
    keys = jax.random.split(jax.random.key(0), 8)
    states = jax.vmap(GAME.init)(keys)
    search = PaperSearch(GAME, lead, num_simulations=SIMULATIONS)
    tree = jax.jit(search.__call__)((), keys, states)
    played = np.asarray(search.strategies(tree)).argmax(-1)
    for row in range(8):
        prize = int(states.prize[row])
        expected = np.array([[by_hand(prize, (a, b)) for b in range(3)] for a in range(3)])
        visits = np.asarray(tree.children_visits[row, ROOT, :9]).reshape(3, 3)
        index = np.asarray(tree.children_index[row, ROOT, :9]).reshape(3, 3)
        assert visits.sum() == SIMULATIONS
        nodes = np.asarray(tree.node_values[row])
        known = np.where(index == UNVISITED, expected, nodes[index])  # else the mean of means of the child
        np.testing.assert_allclose(search.node(jax.tree.map(lambda leaf, r=row: leaf[r], tree), ROOT).values, known)
        np.testing.assert_allclose(np.asarray(tree.raw_values[row])[index[index >= 0]], expected[index >= 0], atol=1e-6)
        for player, (quality, count) in enumerate([(known.mean(1), visits.sum(1)), (-known.mean(0), visits.sum(0))]):
            bonus = np.sqrt(SIMULATIONS) / 3 / (1 + count) * (1 + np.log((SIMULATIONS + 19653) / 19652))
            scores = quality + bonus
            assert scores[played[row, player]] > scores.max() - 1e-5
