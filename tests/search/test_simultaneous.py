"""Search on GOPS: nothing illegal, chance as chance, and towards the exact solution."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs import Gops
from jaxrl_suite.search.agents import SearchPolicy
from jaxrl_suite.search.arena import play, play_both_seats
from jaxrl_suite.search.evaluators import Heuristic, Network, Rollout
from jaxrl_suite.search.rules import DecoupledPUCT, Node, RegretMatching, UniformOpponentPUCT, shrunk_values
from jaxrl_suite.search.simultaneous import SimultaneousSearch, packing_of

GAME = Gops(3, objective="points")
KEYS = jax.random.split(jax.random.key(0), 64)
STATES = jax.vmap(GAME.init)(KEYS)
RULES = [RegretMatching(), DecoupledPUCT(value_scale=12.0), UniformOpponentPUCT()]


@functools.cache
def searched(rule, simulations=200):
    search = SimultaneousSearch(GAME, Rollout(GAME), rule, num_simulations=simulations)
    return search, jax.jit(lambda: search((), KEYS, STATES))()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_visits_only_what_is_possible(rule):
    search, tree = searched(rule)
    packed = tree.embeddings.packed.reshape(-1, tree.embeddings.packed.shape[-1])
    states, _ = jax.vmap(search.packing.unpack)(packed)
    legal = jax.vmap(GAME.legal)(states)
    joint = (legal[:, 0, :, None] & legal[:, 1, None, :]).reshape(-1, 9)
    chance = jnp.pad(jax.vmap(GAME.chance_logits)(states) > -jnp.inf, ((0, 0), (0, 6)))
    possible = np.asarray(joint | chance).reshape(64, 201, 9)
    visits = np.asarray(tree.children_visits)
    assert visits[~possible].sum() == 0
    np.testing.assert_array_equal(tree.node_visits[:, 0], 201)
    pending = np.asarray(jax.vmap(GAME.chance_pending)(states)).reshape(64, 201)
    used = np.asarray(tree.node_visits) > 0
    np.testing.assert_array_equal(np.asarray(tree.embeddings.chance)[used], pending[used])


def test_chance_nodes_follow_the_odds():
    """After a round of GOPS-3 two prizes remain, each as likely as the other."""
    _, tree = searched(RULES[0])
    visits = np.asarray(tree.children_visits)[np.asarray(tree.embeddings.chance)][:, :3]
    visits = visits[visits.sum(1) > 0]
    assert ((visits > 0).sum(1) <= 2).all()
    lower = np.array([row[row > 0][0] if (row > 0).sum() == 2 else row.max() for row in visits if row.sum() > 5])
    share = lower.sum() / sum(row.sum() for row in visits if row.sum() > 5)
    assert abs(share - 0.5) < 0.05


def test_values_are_means_over_the_visits():
    _, tree = searched(RULES[0])
    visits, values = np.asarray(tree.children_visits), np.asarray(tree.children_values)
    count, mean = np.asarray(tree.node_visits), np.asarray(tree.node_values)
    raw = np.asarray(tree.raw_values)
    inner = (visits.sum(2) > 0) & (visits.sum(2) + 1 == count)
    expected = (raw + (visits * values).sum(2)) / np.maximum(count, 1)
    np.testing.assert_allclose(mean[inner], expected[inner], atol=1e-4)


def test_a_row_does_not_depend_on_its_batch():
    search, tree = searched(RULES[0])
    alone = jax.jit(lambda: search((), KEYS[5:6], jax.tree.map(lambda x: x[5:6], STATES)))()
    np.testing.assert_array_equal(alone.children_visits[0], tree.children_visits[5])


def test_seats_are_symmetric():
    """From symmetric hands, the value of the root is 0 and both players' strategies agree, up to noise."""
    search, tree = searched(RULES[0])
    strategies = jax.jit(SearchPolicy(search).strategies)(tree)
    assert abs(float(tree.node_values[:, 0].mean())) < 0.15
    assert float(jnp.abs(strategies[:, 0].mean(0) - strategies[:, 1].mean(0)).max()) < 0.15
    np.testing.assert_allclose(strategies.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("answer", ["solve", "average", "best"])
def test_answers_are_strategies_over_legal_actions(answer):
    search, tree = searched(RULES[2])
    strategies = np.asarray(jax.jit(SearchPolicy(search, answer).strategies)(tree))
    legal = np.asarray(jax.vmap(GAME.legal)(STATES))
    assert (strategies >= 0).all()
    assert strategies[~legal].sum() == 0
    np.testing.assert_allclose(strategies.sum(-1), 1, atol=1e-5)


def test_shrunk_values_interpolate():
    """Without visits an entry is its row's plus its column's effect; with many it is its own mean."""
    row, col = np.array([0.5, -0.5, 0.0]), np.array([0.3, 0.0, -0.3])
    values = row[:, None] + col[None]
    visits = np.full((3, 3), 1000.0)
    visits[0, 2] = 0
    value = (visits * values).sum() / visits.sum()
    fields = (visits, values * (visits > 0), value, np.ones((2, 3), bool), np.ones((2, 3)) / 3)
    estimate = shrunk_values(Node(*(jnp.asarray(x, jnp.float32) for x in fields)), shrinkage=1.0)
    np.testing.assert_allclose(estimate, values, atol=0.02)


def test_root_rule_acts_at_the_root_alone():
    uniform = RegretMatching(exploration=1.0)
    search = SimultaneousSearch(GAME, Rollout(GAME), UniformOpponentPUCT(), root_rule=uniform, num_simulations=300)
    tree = jax.jit(lambda: search((), KEYS, STATES))()
    at_root = np.asarray(tree.children_visits[:, 0]).sum(0) / (64 * 300)
    np.testing.assert_allclose(at_root, 1 / 9, atol=0.01)


def test_carried_over_trees_know_more():
    search, tree = searched(RULES[0])
    actions = jnp.stack(jnp.divmod(jnp.argmax(tree.children_visits[:, 0], axis=1), 3), axis=1)
    states = jax.vmap(GAME.step)(STATES, actions, KEYS)
    carried = jax.jit(search.advance, static_argnums=0)((), KEYS, tree, actions, states.prize - 1, states)
    before = np.asarray(carried.node_visits[:, 0])
    assert np.median(before) > 5
    unpacked, _ = jax.vmap(search.packing.unpack)(carried.embeddings.packed[:, 0])
    np.testing.assert_array_equal(unpacked.hands, states.hands)
    np.testing.assert_array_equal(unpacked.prize, states.prize)
    grown = jax.jit(search.grow, static_argnums=0)((), KEYS, carried)
    np.testing.assert_array_equal(grown.node_visits[:, 0], before + 200)


def test_heuristics_and_networks_evaluate_leaves():
    exact_end = Heuristic(lambda state: (state.score[0] - state.score[1]).astype(jnp.float32))
    net = Network(GAME, lambda params, seen: (jnp.zeros((2, 3)).at[:, 0].set(params), jnp.float32(0)))
    for evaluator, params in ((exact_end, ()), (net, 30.0)):
        search = SimultaneousSearch(GAME, evaluator, DecoupledPUCT(), num_simulations=20)
        tree = jax.jit(search.__call__)(params, KEYS, STATES)
        assert bool(jnp.isfinite(tree.node_values).all())
    visits = np.asarray(tree.children_visits[:, 0]).sum(0)
    assert visits[0] > 0.8 * visits.sum()  # the network's prior holds both players to their first action


def test_matches_share_their_prizes_and_seats_cancel():
    def uniform(keys, states):
        legal = jax.vmap(GAME.legal)(states)
        return legal / jnp.maximum(jnp.sum(legal, axis=-1, keepdims=True), 1)

    def highest(keys, states):
        legal = jax.vmap(GAME.legal)(states)
        return jax.nn.one_hot(2 - jnp.argmax(legal[..., ::-1], axis=-1), 3)

    same = play_both_seats(GAME, (highest, highest), KEYS)
    np.testing.assert_array_equal(same, 0)
    match = jax.jit(lambda: play(GAME, (uniform, highest), KEYS))()
    assert bool(match.final.terminated.all())
    np.testing.assert_array_equal(match.reward, match.final.score[:, 0] - match.final.score[:, 1])
    there, back = play_both_seats(GAME, (uniform, highest), KEYS), play_both_seats(GAME, (highest, uniform), KEYS)
    assert there.shape == back.shape == (64,)


def test_packing_round_trips_every_dtype():
    record = (
        jnp.array([1.5, -0.0, jnp.inf], jnp.float32),
        jnp.array([True, False]),
        jnp.uint32(2**32 - 1),
        jnp.array([[-3, 7]], jnp.int8),
        jnp.bfloat16(2.5),
    )
    packing = packing_of(record)
    back = packing.unpack(packing.pack(record))
    for a, b in zip(record, back, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="cannot be packed"):
        packing_of(jax.random.key(0))


def test_refuses_answers_that_do_not_exist():
    search, _ = searched(RULES[0])
    with pytest.raises(ValueError, match="one of solve, average, best, got 'averge'"):
        SearchPolicy(search, "averge")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="shrinkage must be above 0"):
        SearchPolicy(search, shrinkage=0.0)


@pytest.mark.parametrize("bad", [0, -3])
def test_refuses_a_search_without_simulations(bad):
    with pytest.raises(ValueError, match="num_simulations must be at least 1"):
        SimultaneousSearch(GAME, Rollout(GAME), num_simulations=bad)
