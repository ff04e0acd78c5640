"""The distilled set on disk: round trip, refused pickles, damaged files."""

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxrl_suite.distill import distilled_file


def make(shape=(3,), count=4, actions=2):
    rng = np.random.default_rng(0)
    return distilled_file.DistilledSet(
        rng.normal(size=(count, *shape)).astype(np.float32),
        rng.uniform(-1, 1, (count, actions)).astype(np.float32),
        np.ones(count, np.float32),
        rng.normal(size=shape).astype(np.float32),
        rng.uniform(0.5, 2, shape).astype(np.float32),
        0.1,
        {"env": "pendulum", "steps": 600, "nested": {"rate": 0.5, "names": ["a", "b"]}},
    )


@pytest.mark.parametrize("shape", [(3,), (5, 5, 2)])
def test_a_round_trip_keeps_every_bit(tmp_path, shape):
    made, path = make(shape), tmp_path / "folder" / "set.npz"
    distilled_file.write_distilled(path, made)
    read = distilled_file.read_distilled(path)
    for name in made._fields[:5]:
        assert getattr(read, name).tobytes() == getattr(made, name).tobytes()
        assert getattr(read, name).shape == getattr(made, name).shape
    assert (read.inner_rate, read.config) == (made.inner_rate, made.config)
    np.testing.assert_allclose(read.raw_observations, made.observations * made.obs_std + made.obs_mean)
    assert [file.name for file in path.parent.iterdir()] == ["set.npz"]
    with np.load(path) as file:  # plain numpy is enough to use it
        assert file["observations"].shape == (4, *shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(observations=np.full((4, 3), np.nan, np.float32)), "observations must hold finite numbers"),
        (dict(actions=np.zeros((3, 2), np.float32)), "must agree"),
        (dict(actions=np.zeros(4, np.float32)), "must agree"),
        (dict(actions=np.zeros((4, 2), np.int32)), "actions must hold finite numbers, got int32"),
        (dict(weights=np.zeros(4, np.float32)), "not all 0"),
        (dict(obs_mean=np.zeros(2, np.float32)), "shape of an observation"),
        (dict(obs_std=np.zeros(3, np.float32)), "obs_std and inner_rate must be above 0"),
        (dict(inner_rate=0.0), "inner_rate must be above 0"),
        (dict(config={"a": object()}), "config must hold JSON values"),
    ],
)
def test_what_is_no_distilled_set_is_not_written(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as error:
        distilled_file.write_distilled(tmp_path / "set.npz", make()._replace(**change))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


class Trap:
    def __reduce__(self):
        return exec, ("raise AssertionError('unpickled')",)


def test_pickles_are_refused_and_not_run(tmp_path):
    path = tmp_path / "set.npz"
    distilled_file.write_distilled(path, make())
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | dict(actions=np.array([[Trap()]], object)))
    with pytest.raises(ValueError, match="is no distilled set"):
        distilled_file.read_distilled(path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="is no distilled set"):
        distilled_file.read_distilled(path)


def test_files_that_are_no_distilled_sets_are_refused(tmp_path):
    path = tmp_path / "set.npz"
    with pytest.raises(ValueError, match="there is no file"):
        distilled_file.read_distilled(path)
    np.savez(path, observations=np.ones((2, 2)))
    with pytest.raises(ValueError, match="has no actions"):
        distilled_file.read_distilled(path)
    distilled_file.write_distilled(path, make())
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | dict(json=np.frombuffer(b'{"layout": "x"}', np.uint8)))
    with pytest.raises(ValueError, match="another layout"):
        distilled_file.read_distilled(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=4))
def test_any_damage_is_a_value_error_or_loads(tmp_path, cut, flips):
    path = tmp_path / "set.npz"
    distilled_file.write_distilled(path, make())
    raw = bytearray(path.read_bytes())
    for place, bits in flips:
        raw[int(place * len(raw))] ^= bits
    path.write_bytes(raw if flips else raw[: int(cut * len(raw))])
    message = ""
    try:
        distilled_file.check_distilled(distilled_file.read_distilled(path))
    except ValueError as error:
        message = str(error)
    assert "\n" not in message
