"""Offline data: what is refused and what is said, where episodes lie, returns, splits, transitions."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_suite.rl.datasets import episodes as ep
from jaxrl_suite.rl.datasets import offline, transitions
from jaxrl_suite.rl.learners import offline_fit


def arrays(lengths=(3, 1, 4), *, seed=0, terminal=(True, False, False)):
    """Episodes of the given lengths; `terminal` says which end by a terminal, the others time out."""
    rng, count = np.random.default_rng(seed), sum(lengths)
    ends = np.cumsum(lengths) - 1
    terminals, timeouts = np.zeros(count, bool), np.zeros(count, bool)
    for end, stop in zip(ends, terminal, strict=True):
        (terminals if stop else timeouts)[end] = True
    return dict(
        observations=rng.normal(size=(count, 2)).astype(np.float32),
        actions=rng.uniform(-1, 1, (count, 1)).astype(np.float32),
        rewards=np.arange(1.0, count + 1, dtype=np.float32),
        terminals=terminals,
        timeouts=timeouts,
    )


GOOD = arrays()


def with_value(name, row, value):
    changed = GOOD[name].copy()
    changed[row] = value
    return {name: changed}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(rewards=None), "rewards missing.*needs observations, actions, rewards"),
        (dict(actions=None, rewards=None), "actions, rewards missing"),
        (dict(reward=GOOD["rewards"]), "unknown array 'reward'. Did you mean rewards"),
        (dict(actions=GOOD["actions"][:5]), "actions has 5 rows, observations 8: they must agree$"),
        (dict(observations=np.zeros((9, 2))), "actions has 8 rows, observations 9.*leave the last observation"),
        (dict(rewards=np.float32(1)), "rewards is a single value"),
        ({name: value[:0] for name, value in GOOD.items()}, "no transitions"),
        (with_value("observations", 2, np.nan), r"observations is nan in row 2 \(2 such in all\): drop"),
        (with_value("rewards", 4, np.inf), "rewards is inf in row 4"),
        (with_value("actions", 0, -np.inf), "actions is -inf in row 0"),
        (dict(observations=GOOD["observations"].astype(str)), "observations must hold numbers"),
        (dict(observations=[[1.0], [1.0, 2.0]] * 4), "rows of observations differ in length"),
        (dict(observations=GOOD["rewards"]), r"observations must be \[N, features\].*add an axis"),
        (dict(rewards=GOOD["rewards"][:, None]), r"rewards must be numbers \[N\], got float32\[8, 1\]"),
        (dict(actions=GOOD["actions"][:, 0]), r"actions must be float\[N, A\] or, if discrete, int\[N\]"),
        (dict(actions=np.ones((8, 1), int)), r"got int64\[8, 1\]"),
        (dict(actions=np.arange(8) - 1), "discrete actions must be 0 to 2147483647, got -1"),
        (dict(actions=np.arange(8) + 2**31), "discrete actions must be 0 to 2147483647, got 2147483655"),
        (dict(actions=np.zeros((8, 0))), r"actions must hold numbers, got shape \(8, 0\)"),
        (dict(observations=np.zeros((8, 0))), r"observations must hold numbers, got shape \(8, 0\)"),
        (dict(next_observations=np.zeros((8, 3), np.float32)), "next_observations must have the shape"),
        (dict(next_observations=np.zeros((8, 2))), "next_observations must have the shape and type"),
        (dict(terminals=np.arange(8)), "terminals must be true or false.*mark ends by 1"),
        (dict(timeouts=GOOD["timeouts"][:, None]), r"timeouts must be \[N\], got shape \(8, 1\)"),
        (dict(terminals=None, timeouts=None), "no episode ends in its 8 transitions.*episode_steps"),
        (with_value("timeouts", 7, False), 'last 4 transitions.*unfinished="keep" or "drop"'),
    ],
)
def test_refuses_data_that_cannot_be_used(change, message):
    with pytest.raises(ValueError, match=message) as error:
        offline.make_data(GOOD | change, source="file.hdf5")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("file.hdf5: ")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (dict(ref_min_score=1.0), "give both or neither"),
        (dict(ref_min_score=1.0, ref_max_score=1.0), "ref_min_score must lie below"),
        (dict(ref_min_score=0.0, ref_max_score=float("nan")), "ref_min_score must lie below"),
        (dict(num_actions=3), "num_actions is of discrete actions"),
    ],
)
def test_refuses_metadata_that_do_not_fit(metadata, message):
    with pytest.raises(ValueError, match=message):
        offline.make_data(GOOD, offline.Metadata(**metadata))


def test_both_conventions_of_an_end_count_and_numbers_stand_for_flags():
    data = offline.make_data(GOOD | dict(terminals=GOOD["terminals"].astype(np.float32)))
    assert data.terminals.dtype == bool
    bounds = ep.episodes(data)
    assert bounds.starts.tolist() == [0, 3, 4]
    assert bounds.ends.tolist() == [3, 4, 8]
    assert bounds.finished.all()
    both = offline.make_data(GOOD | dict(timeouts=np.logical_or(GOOD["timeouts"], GOOD["terminals"])))
    np.testing.assert_array_equal(ep.episodes(both).ends, bounds.ends)
    only = offline.make_data(GOOD | dict(terminals=np.logical_or(GOOD["terminals"], GOOD["timeouts"]), timeouts=None))
    np.testing.assert_array_equal(ep.episodes(only).ends, bounds.ends)


def test_an_unmarked_time_limit_cuts_episodes():
    data = offline.make_data(arrays((3, 1, 4)) | dict(timeouts=None), episode_steps=2, unfinished="keep")
    bounds = ep.episodes(data)  # a terminal after 3, then 5 steps
    assert bounds.ends.tolist() == [2, 3, 5, 7, 8]
    assert bounds.finished.tolist() == [True] * 4 + [False]


def test_an_unfinished_episode_is_kept_or_dropped_as_asked():
    cut = GOOD | with_value("timeouts", 7, False)
    extra = {"infos/q": np.arange(8), "episodes/seed": np.arange(3), "metadata/w": np.ones(8)}
    kept = offline.make_data(cut, unfinished="keep", extra=extra)
    assert ep.episodes(kept).finished.tolist() == [True, True, False]
    dropped = offline.make_data(cut, unfinished="drop", extra=extra)
    assert len(dropped) == 4
    assert dropped.extra["infos/q"].tolist() == [0, 1, 2, 3]
    assert dropped.extra["episodes/seed"].tolist() == [0, 1]
    assert len(dropped.extra["metadata/w"]) == 8
    with pytest.raises(ValueError, match="unfinished episode must come last"):
        ep.take_episodes(kept, np.array([2, 0]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.floats(0, 1), st.integers(0, 99))
def test_returns_match_their_definition(lengths, discount, seed):
    data = offline.make_data(arrays(lengths, seed=seed, terminal=[i % 2 == 0 for i in range(len(lengths))]))
    rewards, start, expected, times = data.rewards.astype(float), 0, [], []
    for length in lengths:
        for t in range(length):
            tail = rewards[start + t : start + length]
            expected.append(sum(discount**k * r for k, r in enumerate(tail)))
            times.append(t)
        start += length
    np.testing.assert_allclose(ep.returns_to_go(data, discount=discount), expected, rtol=1e-12)
    firsts = np.array(expected)[np.array(times) == 0]
    np.testing.assert_allclose(ep.episode_returns(data, discount=discount), firsts, rtol=1e-12)
    assert ep.timesteps(data).tolist() == times


def test_a_split_is_by_whole_episodes_and_loses_none():
    data = offline.make_data(arrays((3, 1, 4, 2), terminal=[False] * 4))
    train, held = ep.split_episodes(data, jax.random.key(0), 0.5)
    assert len(ep.episodes(train).starts) == len(ep.episodes(held).starts) == 2
    rows = np.concatenate([train.rewards, held.rewards])  # every reward is different
    assert sorted(rows.tolist()) == data.rewards.tolist()
    again = ep.split_episodes(data, jax.random.key(0), 0.5)[1]
    np.testing.assert_array_equal(held.rewards, again.rewards)
    others = {tuple(ep.split_episodes(data, jax.random.key(k), 0.5)[1].rewards) for k in range(8)}
    assert len(others) > 1
    for chosen in ([4], [-1], [True, True, False, True], [0.5], []):
        with pytest.raises(ValueError, match=r"episodes are numbered 0 to 3, got|no episode is chosen"):
            ep.take_episodes(data, np.array(chosen))
    with pytest.raises(ValueError, match="a split needs 2 episodes"):
        ep.split_episodes(ep.take_episodes(data, np.array([0])), jax.random.key(0))


def test_transitions_are_read_off_the_next_row_and_a_cut_off_end_is_left_out():
    data = offline.make_data(GOOD)  # ends: terminal at 2, timeouts at 3 and 7
    read = transitions.transitions(data)
    rows = [0, 1, 2, 4, 5, 6]
    np.testing.assert_array_equal(read.rewards, data.rewards[rows])
    np.testing.assert_array_equal(read.next_observations[[0, 1, 3]], data.observations[[1, 2, 5]])
    assert read.terminals.tolist() == [0, 0, 1, 0, 0, 0]
    full = dataclasses.replace(data, next_observations=data.observations + 1)
    read = transitions.transitions(full)
    assert len(read.rewards) == 8
    np.testing.assert_array_equal(read.next_observations, data.observations + 1)
    cut = offline.make_data(GOOD | with_value("timeouts", 7, False), unfinished="keep")
    assert len(transitions.transitions(cut).rewards) == 6
    single = offline.make_data(arrays((1, 1), terminal=(False, False)))
    with pytest.raises(ValueError, match="every episode is one step that was cut off"):
        transitions.transitions(single)
    ended = offline.make_data(arrays((1, 1), terminal=(True, False)))
    assert transitions.transitions(ended).rewards.tolist() == [1]


def test_actions_beyond_the_bounds_are_refused_until_they_are_rescaled():
    data = offline.make_data(GOOD | dict(actions=2 * GOOD["actions"]))
    with pytest.raises(ValueError, match=r"learners act in \[-1, 1\].*rescale_actions"):
        transitions.transitions(data)
    scaled = transitions.rescale_actions(data, -2.0, 2.0)
    np.testing.assert_allclose(scaled.actions, GOOD["actions"], rtol=1e-6)
    with pytest.raises(ValueError, match="environment's own bounds"):
        transitions.rescale_actions(data, -0.1, 0.1)
    with pytest.raises(ValueError, match="finite bounds"):
        transitions.rescale_actions(data, -np.inf, np.inf)
    with pytest.raises(ValueError, match=r"bounds must be numbers or \[1\], got \[2\] and \[2\]"):
        transitions.rescale_actions(data, [-2, -2], [2, 2])


def test_scaling_centres_and_keeps_a_constant_feature_finite():
    x = np.stack([np.arange(5.0), np.full(5, 7.0)], axis=1)
    scale = transitions.scaling(x)
    np.testing.assert_allclose(scale.mean, [2, 7])
    np.testing.assert_allclose(scale.std, [np.sqrt(2) + 1e-3, 1e-3])
    np.testing.assert_allclose(scale(x)[:, 1], 0, atol=1e-6)


def test_discrete_data_know_their_number_of_actions():
    discrete = GOOD | dict(actions=np.array([0, 1, 2, 0, 1, 2, 0, 0]))
    assert offline.make_data(discrete).num_actions == 3
    assert offline.make_data(discrete, offline.Metadata(num_actions=5)).num_actions == 5
    with pytest.raises(ValueError, match="action 2 with num_actions 2"):
        offline.make_data(discrete, offline.Metadata(num_actions=2))
    with pytest.raises(ValueError, match="these actions are continuous"):
        _ = offline.make_data(GOOD).num_actions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(episode_steps=2.5), "episode_steps must be a whole number of at least 1, got 2.5"),
        (dict(unfinished="drp"), 'unfinished must be "refuse", "keep" or "drop"'),
        (dict(metadata=offline.Metadata(ref_min_score="low", ref_max_score=1.0)), "must be numbers, got 'low'"),  # pyright: ignore
    ],
)
def test_refuses_options_that_it_does_not_know(options, message):
    with pytest.raises(ValueError, match=message):
        offline.make_data(GOOD, **options)


def test_codes_in_place_of_actions_are_refused():
    actions = dict(actions=np.array([3, 700_000] * 4))
    with pytest.raises(ValueError, match="action 700000 where 2 differ: number them from 0 on, or say num_actions"):
        offline.make_data(GOOD | actions)
    assert offline.make_data(GOOD | actions, offline.Metadata(num_actions=10**6)).num_actions == 10**6


def test_observations_far_from_zero_are_centred_before_they_are_rounded():
    far = dict(observations=GOOD["observations"].astype(np.float64) + 1e9, next_observations=None)
    near = offline.make_data(GOOD | dict(next_observations=None))
    data = offline.make_data(GOOD | far)
    scale = transitions.scaling(data.observations)
    got = offline_fit.scaled(transitions.transitions(data), scale)
    assert got.observations.dtype == np.float32
    shift = (scale.mean.astype(np.float64) - 1e9) / scale.std
    usable = transitions.transitions(near).observations
    np.testing.assert_allclose(got.observations, usable / scale.std - shift, atol=1e-5)
