"""Selections at equal size: what each rule chooses on data where the right choice is known."""

import jax
import numpy as np
import pytest

from jaxrl_suite.distill import baselines
from jaxrl_suite.rl.datasets import episodes as ep
from jaxrl_suite.rl.datasets import offline

KEY = jax.random.key(0)


def make(observations, actions=None, rewards=None, *, length=50):
    count = len(observations)
    return offline.make_data(
        dict(
            observations=np.asarray(observations, float).reshape(count, -1),
            actions=np.zeros((count, 1)) if actions is None else actions,
            rewards=np.zeros(count) if rewards is None else rewards,
            timeouts=np.arange(count) % length == length - 1,
        )
    )


def continuous(seed=0, count=400):
    rng = np.random.default_rng(seed)
    return make(rng.normal(size=(count, 3)), rng.uniform(-1, 1, (count, 2)), rng.normal(size=count))


def discrete(counts, seed=0):
    rng, labels = np.random.default_rng(seed), np.repeat(np.arange(len(counts)), counts)
    labels = rng.permutation(labels)
    return make(rng.normal(size=(len(labels), 2)) + 10 * labels[:, None], labels, length=len(labels))


RULES = [
    baselines.choose_random,
    baselines.choose_kmeans,
    baselines.choose_top,
    baselines.choose_dual_ranking,
    baselines.choose_percentile,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_rule_gives_distinct_pairs_of_the_data_and_repeats_itself(rule):
    data = continuous()
    for count in (1, 16):
        chosen = rule(data, count, KEY)
        assert len(np.unique(chosen.rows)) == count
        np.testing.assert_array_equal(chosen.targets, data.actions[chosen.rows])
        assert chosen.weights.mean() == pytest.approx(1)
        np.testing.assert_array_equal(chosen.rows, rule(data, count, KEY).rows)
    for count in (0, 401):
        with pytest.raises(ValueError, match="count must be 1 to the 400 transitions"):
            rule(data, count, KEY)


def test_random_choice_is_uniform():
    data = make(np.arange(10.0), length=10)
    keys = jax.random.split(KEY, 400)
    hits = np.bincount(np.concatenate([baselines.choose_random(data, 3, key).rows for key in keys]), minlength=10)
    assert hits.sum() == 1200
    assert np.abs(hits - 120).max() < 5 * np.sqrt(120)


def test_quotas_are_even_where_the_rows_allow():
    data = discrete([50, 2, 0, 30])
    assert np.bincount(baselines.choose_random(data, 12, KEY, balanced=True).targets).tolist() == [5, 2, 0, 5]
    labels = np.repeat([0, 1, 2], [10, 10, 10])
    assert baselines.class_quotas(labels, 3, 8).tolist() == [3, 3, 2]  # DDRL: what is over goes to the first
    assert baselines.class_quotas(labels, 5, 30).tolist() == [10, 10, 10, 0, 0]
    assert baselines.class_quotas(labels, 3, 1).tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="leave balanced out"):
        baselines.choose_random(continuous(), 4, KEY, balanced=True)


def test_kmeans_finds_one_real_pair_in_each_of_the_clusters():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [9, 0], [0, 9], [9, 9], [4, 30]])
    sizes = [40, 20, 10, 20, 10]
    member = np.repeat(np.arange(5), sizes)
    data = make(centres[member] + 0.3 * rng.normal(size=(100, 2)))
    for seed in range(5):
        chosen = baselines.choose_kmeans(data, 5, jax.random.key(seed), weighted=True)
        if sorted(member[chosen.rows]) == [0, 1, 2, 3, 4]:
            break
    assert sorted(member[chosen.rows]) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(chosen.weights[np.argsort(member[chosen.rows])], np.array(sizes) / 20)
    for row in chosen.rows:  # each is the row of its cluster that is nearest to the cluster's mean
        mine = np.flatnonzero(member == member[row])
        scale = data.observations.std(axis=0)
        gaps = ((data.observations[mine] - data.observations[mine].mean(axis=0)) / scale) ** 2
        assert row == mine[np.argmin(gaps.sum(axis=1))]


def test_kmeans_balances_actions_and_survives_equal_rows():
    chosen = baselines.choose_kmeans(discrete([40, 3, 0, 40]), 11, KEY)
    assert np.bincount(chosen.targets).tolist() == [4, 3, 0, 4]
    same = make(np.ones(20), length=20)
    assert len(np.unique(baselines.choose_kmeans(same, 5, KEY, weighted=True).rows)) == 5
    actions = np.repeat([[-1.0], [1.0]], 10, axis=0)
    split = make(np.zeros(20), actions, length=20)
    assert sorted(baselines.choose_kmeans(split, 2, KEY, with_actions=True).targets.ravel()) == [-1, 1]


def test_top_takes_the_highest_values_or_returns_to_go():
    data = continuous()
    values = np.random.default_rng(1).normal(size=400)
    chosen = baselines.choose_top(data, 7, KEY, values=values)
    assert set(chosen.rows) == set(np.argsort(values)[-7:])
    go = ep.returns_to_go(data, discount=0.9)
    assert set(baselines.choose_top(data, 7, KEY, discount=0.9).rows) == set(np.argsort(go)[-7:])
    ties = {tuple(baselines.choose_top(make(np.arange(9.0), length=9), 3, jax.random.key(k)).rows) for k in range(9)}
    assert len(ties) > 1
    with pytest.raises(ValueError, match="values must be 400 finite numbers"):
        baselines.choose_top(data, 7, KEY, values=values[:5])


def test_dual_ranking_keeps_what_a_plain_loop_keeps():
    data = continuous()
    rng = np.random.default_rng(3)
    values, densities = rng.normal(size=400), rng.normal(size=400)
    options = dict(values=values, densities=densities, value_cut=0.3, density_cut=0.6, horizon=20.0)
    expected = []
    for t in range(50):
        group = np.arange(t, 400, 50)  # the rows at step t of the 8 episodes
        low = np.quantile(values[group], 0.3 * np.tanh(t / 20))
        high = np.quantile(densities[group], 1 - 0.6 * np.tanh(t / 20))
        expected += [row for row in group if values[row] >= low and densities[row] <= high]
    chosen = baselines.choose_dual_ranking(data, len(expected), KEY, **options)
    assert sorted(chosen.rows) == sorted(expected)
    with pytest.raises(ValueError, match=f"only {len(expected)} transitions pass"):
        baselines.choose_dual_ranking(data, len(expected) + 1, KEY, **options)


def test_dual_ranking_prefers_early_steps_high_values_and_rare_states():
    rng = np.random.default_rng(0)
    count, length = 4000, 200
    rare = rng.uniform(size=count) < 0.3
    data = make(np.where(rare, rng.uniform(3, 40, count), rng.normal(size=count) * 0.1), length=length)
    values = rng.normal(size=count)
    chosen = baselines.choose_dual_ranking(
        data, 800, KEY, values=values, value_cut=0.6, density_cut=0.6, horizon=50.0
    ).rows
    steps = ep.timesteps(data)
    assert steps[chosen].mean() < steps.mean() - 10
    assert values[chosen].mean() > values.mean() + 0.3
    assert rare[chosen].mean() > rare.mean() + 0.2
    early = steps[chosen] < 3
    assert abs(values[chosen][early].mean()) < 0.5  # nothing is cut at the start
    # Without cuts it is a random choice.
    plain = baselines.choose_dual_ranking(data, 800, KEY, values=values, value_cut=0, density_cut=0).rows
    assert abs(steps[plain].mean() - steps.mean()) < 8


def test_large_data_are_thinned_out(monkeypatch):
    data = continuous()
    full = baselines._densities(data)
    features = (data.observations - data.observations.mean(axis=0)) / (data.observations.std(axis=0) + 1e-3)
    gaps = np.sqrt(((features[:, None] - features[None]) ** 2).sum(axis=2))
    np.testing.assert_allclose(full, -np.sort(gaps, axis=1)[:, 10], rtol=1e-4)
    monkeypatch.setattr(baselines, "_READ", 100)
    thin = baselines._densities(data)
    np.testing.assert_allclose(thin[1], -np.sort(gaps[1, ::4])[9], rtol=1e-4)
    np.testing.assert_allclose(thin[4], -np.sort(gaps[4, ::4])[10], rtol=1e-4)
    assert np.corrcoef(full, thin)[0, 1] > 0.9
    assert len(np.unique(baselines.choose_kmeans(data, 8, KEY).rows)) == 8
    assert len(np.unique(baselines.choose_kmeans(data, 60, KEY).rows)) == 60


def test_percentile_choice_stays_within_the_best_episodes():
    data = continuous()
    best = np.argsort(ep.episode_returns(data))[-2:]
    chosen = baselines.choose_percentile(data, 60, KEY, fraction=0.25)
    assert set(chosen.rows // 50) == set(best)
    with pytest.raises(ValueError, match="the best episodes have 50 transitions"):
        baselines.choose_percentile(data, 60, KEY, fraction=0.1)


def test_a_teacher_replaces_the_actions():
    data = continuous()
    chosen = baselines.choose_random(data, 6, KEY)
    taught = baselines.relabel(chosen, data, lambda x: x[:, :2] * 0.5)
    np.testing.assert_array_equal(taught.rows, chosen.rows)
    np.testing.assert_allclose(taught.targets, data.observations[chosen.rows, :2] * 0.5)
    with pytest.raises(ValueError, match=r"must give actions \(6, 2\)"):
        baselines.relabel(chosen, data, lambda x: x)
    with pytest.raises(ValueError, match="6 finite answers"):
        baselines.relabel(chosen, data, lambda x: x[:1])
    labels = baselines.relabel(
        baselines.choose_random(discrete([5, 5]), 4, KEY), discrete([5, 5]), lambda x: np.full((len(x), 2), 0.5)
    )
    assert labels.targets.shape == (4, 2)
