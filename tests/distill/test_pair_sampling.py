"""Batches: buckets by action, absent actions, and balanced starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.distill.pairs import Imitation, make_pairs, start_from
from jaxrl_suite.distill.sampling import Buckets, UniformBatches, balanced_rows
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.policies import mlp_policy

POLICY = mlp_policy((1,), 4, discrete=True)
LABELS = np.array([0, 3, 0, 1, 1, 0, 3, 1, 1], np.int32)  # action 2 is absent
PAIRS = make_pairs(POLICY, np.arange(9.0)[:, None], LABELS)


@pytest.mark.parametrize("replace", [True, False])
def test_buckets_hold_their_action(replace):
    sampler = Buckets(3, replace)
    table = sampler.prepare(PAIRS)
    seen, draw = np.zeros(9, int), jax.jit(sampler.draw)
    for seed in range(40):
        batch = draw(table, jax.random.key(seed))
        assert batch.weights.shape == (4, 3)
        rows = np.asarray(batch.observations)[..., 0].astype(int)
        valid = np.asarray(batch.weights) > 0
        assert not valid[2].any()
        for action in (0, 1, 3):
            mine = rows[action][valid[action]]
            np.testing.assert_array_equal(LABELS[mine], action)
            if not replace:
                assert len(mine) == min(3, np.sum(action == LABELS))
                assert len(set(mine)) == len(mine)
            seen[mine] += 1
    assert np.all(seen > 0)


def test_uniform_draws_every_row_alike():
    sampler = UniformBatches(9000)
    batch = sampler.draw(sampler.prepare(PAIRS), jax.random.key(0))
    counts = np.bincount(np.asarray(batch.observations)[:, 0].astype(int), minlength=9)
    assert np.all(np.abs(counts - 1000) < 150)
    rows = np.asarray(batch.observations)[:, 0].astype(int)
    np.testing.assert_array_equal(np.argmax(batch.targets, axis=-1), LABELS[rows])


def test_balanced_rows_split_evenly_over_what_occurs():
    rows = balanced_rows(jax.random.key(0), PAIRS, 5)
    np.testing.assert_array_equal(LABELS[rows], [0, 0, 1, 1, 3])
    assert len(set(rows.tolist())) == 5
    with pytest.raises(UserError, match="at least that many"):
        balanced_rows(jax.random.key(0), PAIRS, 2)
    many = LABELS[balanced_rows(jax.random.key(1), PAIRS, 30)]
    np.testing.assert_array_equal(np.bincount(many, minlength=4), [10, 10, 0, 10])


def test_labels_of_a_start():
    syn = start_from(PAIRS, np.array([0, 3]), POLICY, learning_rate=0.3)
    soft = Imitation(POLICY).pairs(syn)
    np.testing.assert_allclose(soft.targets[0], [0.925, 0.025, 0.025, 0.025], rtol=1e-5)
    hard = Imitation(POLICY, labels="hard").pairs(syn)
    np.testing.assert_array_equal(hard.targets, np.eye(4)[[0, 1]])
    np.testing.assert_allclose(hard.weights, 1.0)
    np.testing.assert_allclose(syn.learning_rate, 0.3, rtol=1e-5)
    weighted = Imitation(POLICY).pairs(syn._replace(log_weights=jnp.log(jnp.array([1.0, 3.0]))))
    np.testing.assert_allclose(weighted.weights, [0.5, 1.5], rtol=1e-5)


def test_a_start_is_of_rows_that_there_are():
    for rows in ([9], [-1], [], [[0]], [0.5]):
        with pytest.raises(UserError, match="integer of 0 to 8"):
            start_from(PAIRS, np.array(rows), POLICY)
    for rate in (0.0, np.nan, np.inf):
        with pytest.raises(UserError, match="learning_rate must be above 0"):
            start_from(PAIRS, np.array([0]), POLICY, rate)
    for rate in (1e-4, 500.0):
        np.testing.assert_allclose(start_from(PAIRS, np.array([0]), POLICY, rate).learning_rate, rate, rtol=1e-4)


def test_one_action_and_images_of_bytes():
    policy = mlp_policy((2, 2), 1, discrete=True, widths=(3,))
    images = np.arange(20, dtype=np.uint8).reshape(5, 2, 2)
    pairs = make_pairs(policy, images, np.zeros(5, int))
    assert pairs.observations.dtype == np.uint8  # a fourth of the memory
    syn = start_from(pairs, balanced_rows(jax.random.key(0), pairs, 7), policy)  # more than there are
    assert syn.observations.dtype == jnp.float32
    batch = Buckets(2).draw(Buckets(2).prepare(pairs), jax.random.key(1))
    params, imitation = policy.init(jax.random.key(2)), Imitation(policy)
    for found in (imitation.pairs(syn), batch):
        assert np.all(np.isfinite(imitation.mean_loss(params, found)))


def test_what_cannot_be_imitated():
    for message, policy, options in (
        ("unknown labels 'firm'", POLICY, dict(labels="firm")),
        ("unknown loss 'mee'. Did you mean mse", POLICY, dict(loss="mee")),
        ("use mse or mae", mlp_policy((1,), 2), dict(loss="cross_entropy")),
    ):
        with pytest.raises(UserError, match=message):
            Imitation(policy, **options)


def test_pairs_are_checked():
    x = np.zeros((3, 1))
    for message, args in {
        "labels must be 0 to 3": (x, np.array([0, 1, 4])),
        "observations must be": (np.zeros((3, 2)), np.zeros(3, int)),
        "targets must be": (x, np.zeros((3, 2))),
        "must be finite": (x + np.nan, np.zeros(3, int)),
        "must be numbers": (x.astype(str), np.zeros(3, int)),
        "with M at least 1": (np.float32(0), np.zeros(3, int)),
        "weights must be": (x, np.zeros(3, int), np.zeros(3)),
    }.items():
        with pytest.raises(UserError, match=message):
            make_pairs(POLICY, *args)
    with pytest.raises(UserError, match="discrete policy"):
        make_pairs(mlp_policy((1,), 2), x, np.zeros(3, int))
    np.testing.assert_allclose(
        make_pairs(POLICY, x, np.zeros(3, int), np.array([1.0, 0.0, 5.0])).weights, [0.5, 0, 2.5]
    )
    kept = make_pairs(POLICY, x, np.zeros(3, int), np.array([1.0, 0.0, 5.0]), rescale=False)
    np.testing.assert_allclose(kept.weights, [1, 0, 5])
