"""Selection rules against their formulas written as loops, and against what they must never do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.search.rules import DecoupledPUCT, Node, RegretMatching, UniformOpponentPUCT

A = 4


def random_node(seed, full=False):
    rng = np.random.default_rng(seed)
    legal = np.ones((2, A), bool) if full else rng.random((2, A)) < 0.7
    legal[np.arange(2), rng.integers(0, A, 2)] = True
    visits = rng.integers(0, 4, (A, A)) * legal[0][:, None] * legal[1][None]
    values = rng.uniform(-1, 1, (A, A)) * (visits > 0)
    total = max(visits.sum(), 1)
    fields = (visits, values, (visits * values).sum() / total, legal, legal / legal.sum(1, keepdims=True))
    return Node(*(jnp.asarray(x, jnp.float32 if x is not legal else bool) for x in fields))


def frequencies(rule, node, draws=20_000):
    keys = jax.random.split(jax.random.key(0), draws)
    actions = np.asarray(jax.jit(jax.vmap(rule, (0, None)))(keys, node))
    return np.stack([np.bincount(actions[:, p], minlength=A) / draws for p in range(2)])


@pytest.mark.parametrize("seed", range(4))
def test_regret_matching_plays_positive_regrets(seed):
    node = random_node(seed)
    visits, values, mean, legal = (np.asarray(x) for x in node[:4])
    payoff = np.where(visits > 0, values, mean)
    regret = np.zeros((2, A))
    for a in range(A):  # the regret of each action: what it would have gained against all that the other played
        for b in range(A):
            for n in range(A):
                regret[0, n] += visits[a, b] * (payoff[n, b] - payoff[a, b])
                regret[1, n] += visits[a, b] * (payoff[a, b] - payoff[a, n])
    positive = np.maximum(regret, 0) * legal
    uniform = legal / legal.sum(1, keepdims=True)
    total = positive.sum(1, keepdims=True)
    expected = 0.8 * np.where(total > 0, positive / np.maximum(total, 1e-9), uniform) + 0.2 * uniform
    seen = frequencies(RegretMatching(exploration=0.2), node)
    assert np.abs(seen - expected).max() < 0.02
    assert seen[~legal].sum() == 0


@pytest.mark.parametrize("seed", range(3))
def test_puct_rules_pick_the_best_score(seed):
    node = random_node(seed)
    visits, values, mean, legal, prior = (np.asarray(x, np.float64) for x in node)
    total = visits.sum()
    for rule in (DecoupledPUCT(c_init=0.7, value_scale=1.0), UniformOpponentPUCT()):
        score = np.full((2, A), -np.inf)
        for player, sign in ((0, 1), (1, -1)):
            for a in np.flatnonzero(legal[player]):
                n, q = (visits[a], values[a]) if player == 0 else (visits[:, a], values[:, a])
                if isinstance(rule, UniformOpponentPUCT):
                    quality = sign * np.mean(np.where(n > 0, q, mean)[legal[1 - player] > 0])
                else:
                    quality = sign * ((n * q).sum() / n.sum() if n.sum() else mean)
                bonus = prior[player, a] * total**0.5 / (1 + n.sum())
                bonus *= rule.c_init + np.log((total + rule.c_base + 1) / rule.c_base)
                score[player, a] = quality + bonus
        assert (frequencies(rule, node, 50).argmax(1) == score.argmax(1)).all()


def test_ties_are_broken_at_random_among_legal_actions():
    node = random_node(0, full=True)
    empty = node._replace(visits=jnp.zeros((A, A)), values=jnp.zeros((A, A)))
    seen = frequencies(DecoupledPUCT(), empty)
    assert np.abs(seen - 1 / A).max() < 0.02


def test_exploration_is_a_probability():
    with pytest.raises(ValueError, match=r"exploration must lie in \[0, 1\]"):
        RegretMatching(exploration=1.5)
    with pytest.raises(ValueError, match="value_scale must be above 0"):
        DecoupledPUCT(value_scale=0.0)
