"""D4RL files: round trip bit for bit, a file as D4RL ships it, and damaged ones."""

import dataclasses

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxrl_suite.rl.datasets import d4rl_file, hdf5, offline
from jaxrl_suite.rl.datasets import episodes as ep


def make(count=12, *, discrete=False, seed=0):
    rng = np.random.default_rng(seed)
    timeouts = np.arange(count) % 4 == 3
    return dict(
        observations=rng.normal(size=(count, 3)).astype(np.float32),
        next_observations=rng.normal(size=(count, 3)).astype(np.float32),
        actions=rng.integers(0, 4, count) if discrete else rng.uniform(-1, 1, (count, 2)).astype(np.float32),
        rewards=rng.normal(size=count).astype(np.float32),
        terminals=np.arange(count) == 5,
        timeouts=timeouts,
    )


OWN = offline.Metadata("pendulum", "", "swing-up, 0 to 50 % random", -1228.6, -151.5)


def assert_same(a, b):
    assert a.metadata == b.metadata
    for name in offline.ARRAYS:
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None)
        if left is not None:
            assert left.dtype == right.dtype
            assert left.tobytes() == right.tobytes()
            assert left.shape == right.shape
    assert sorted(a.extra) == sorted(b.extra)
    for name, value in a.extra.items():
        np.testing.assert_array_equal(value, b.extra[name])
        assert np.asarray(value).dtype == np.asarray(b.extra[name]).dtype


@pytest.mark.parametrize(
    "change",
    [
        {},
        dict(next_observations=None),
        dict(rewards=make()["rewards"].astype(np.float64)),
        dict(
            observations=np.arange(12 * 8, dtype=np.uint8).reshape(12, 2, 2, 2),
            next_observations=None,
            actions=make(discrete=True)["actions"],
        ),
    ],
)
def test_a_round_trip_keeps_every_bit(tmp_path, change):
    extra = {
        "infos/qpos": np.random.default_rng(1).normal(size=(12, 4)),
        "metadata/algorithm": "SAC",
        "metadata/iteration": np.int32(3),
        "metadata/policy/fc0/weight": np.ones((2, 3), np.float32),
    }
    metadata = dataclasses.replace(OWN, num_actions=6) if change.get("actions") is not None else OWN
    data = offline.make_data(make() | change, metadata, extra=extra)
    d4rl_file.write_d4rl(tmp_path / "a.hdf5", data)
    assert_same(data, d4rl_file.read_d4rl(tmp_path / "a.hdf5"))
    d4rl_file.write_d4rl(tmp_path / "b.hdf5", d4rl_file.read_d4rl(tmp_path / "a.hdf5"))
    assert (tmp_path / "a.hdf5").read_bytes() == (tmp_path / "b.hdf5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.hdf5", "b.hdf5"]


def test_a_file_as_d4rl_ships_it_loads_as_it_is(tmp_path):
    arrays = make()
    arrays["timeouts"][-1] = False  # several of them end within an episode
    path = tmp_path / "hopper_medium-v2.hdf5"
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file.create_dataset(name, data=value, compression="gzip")
        for name, width in (("infos/qpos", 6), ("infos/qvel", 6), ("infos/action_log_probs", 0)):
            file.create_dataset(name, data=np.ones((12, width) if width else 12), compression="gzip")
        file["metadata/algorithm"] = np.bytes_("SAC")
        file["metadata/iteration"] = np.int64(9)
        file["metadata/policy/nonlinearity"] = np.bytes_("relu")
        file["metadata/policy/fc0/weight"] = np.ones((256, 11), np.float32)
    data = d4rl_file.read_d4rl(path)
    for name, value in arrays.items():
        np.testing.assert_array_equal(getattr(data, name), value)
    assert data.metadata == offline.Metadata("hopper-medium-v2", "", "", -20.272305, 3234.3)
    assert data.extra["metadata/algorithm"] == "SAC"
    assert data.extra["metadata/policy/fc0/weight"].shape == (256, 11)
    assert ep.episodes(data).finished.tolist() == [True] * 3 + [False]
    part = ep.take_episodes(data, np.array([1]))
    assert len(part.extra["infos/qvel"]) == len(part) == 2
    assert d4rl_file.read_d4rl(path, name="ant-medium-v2").metadata.ref_max_score == 3879.7
    with pytest.raises(ValueError, match="Did you mean hopper-medium-v2"):
        d4rl_file.read_d4rl(path, name="hoper-medium-v2")
    columns = {name: arrays[name][:, None] for name in ("rewards", "terminals", "timeouts")}
    hdf5.write_tree(tmp_path / "columns.hdf5", arrays | columns)  # as D4RL's own loader takes them
    assert_same(d4rl_file.read_d4rl(tmp_path / "columns.hdf5"), offline.make_data(arrays, unfinished="keep"))


def test_a_file_without_timeouts_needs_its_time_limit(tmp_path):
    path = tmp_path / "old.hdf5"
    arrays = make() | dict(terminals=np.zeros(12, np.float32))
    hdf5.write_tree(path, {name: value for name, value in arrays.items() if name != "timeouts"})
    with pytest.raises(ValueError, match=r"no episode ends.*episode_steps"):
        d4rl_file.read_d4rl(path)
    assert ep.episodes(d4rl_file.read_d4rl(path, episode_steps=4)).ends.tolist() == [4, 8, 12]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.__delitem__("rewards"), "rewards missing"),
        (lambda f: f.__delitem__("observations"), "observations missing"),
        (lambda f: (f.__delitem__("rewards"), f.create_dataset("rewards", data=np.ones(5))), "rewards has 5 rows"),
        (lambda f: f["rewards"].__setitem__(3, np.nan), "rewards is nan in row 3"),
        (lambda f: f["terminals"].__setitem__(slice(None), False), None),
        (lambda f: (f["terminals"].__setitem__(slice(None), False), f.__delitem__("timeouts")), "no episode ends"),
        (lambda f: (f.__delitem__("actions"), f.create_group("actions")), "actions missing"),
        (lambda f: (f.__delitem__("actions"), f.create_dataset("actions", data="left")), "single value"),
        (lambda f: (f.__delitem__("actions"), f.create_dataset("actions", data=["a"] * 12)), "must hold numbers"),
        (lambda f: (f.__delitem__("actions"), f.create_dataset("actions", data=h5py.Empty("f"))), "single value"),
        (lambda f: f.__setitem__("metadata/ref_min_score", "low"), "ref_min_score must be a number, got 'low'"),
        (lambda f: f.__setitem__("metadata/ref_min_score", 3.0), "give both or neither"),
        (lambda f: f.__setitem__("infos/link", h5py.ExternalLink("/etc/passwd", "/a")), "infos/link is a link"),
        (lambda f: f.__setitem__("infos/link", h5py.SoftLink("/nowhere")), "infos/link is a link"),
        (
            lambda f: (f.__delitem__("rewards"), f.create_dataset("rewards", (1 << 50,), dtype="f4", chunks=(1024,))),
            r"rewards claims 4,503,599,627,370,496 bytes, of which the file of .* can hold",
        ),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, damage, message):
    path = tmp_path / "data.hdf5"
    hdf5.write_tree(path, make())
    with h5py.File(path, "a") as file:
        damage(file)
    if message is None:
        assert len(d4rl_file.read_d4rl(path)) == 12
        return
    with pytest.raises(ValueError, match=message) as error:
        d4rl_file.read_d4rl(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_files_that_are_not_hdf5_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        d4rl_file.read_d4rl(tmp_path / "none.hdf5")
    with pytest.raises(ValueError, match="there is no file"):
        d4rl_file.read_d4rl(tmp_path)
    (tmp_path / "text.hdf5").write_text("observations")
    with pytest.raises(ValueError, match=r"cannot be read as HDF5 .*again"):
        d4rl_file.read_d4rl(tmp_path / "text.hdf5")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=6))
def test_any_damage_is_a_value_error_or_loads(tmp_path, cut, flips):
    path = tmp_path / "data.hdf5"
    hdf5.write_tree(path, make())
    raw = bytearray(path.read_bytes())
    for place, bits in flips:
        raw[int(place * len(raw))] ^= bits
    path.write_bytes(raw[: int(cut * len(raw))] if not flips else raw)
    message, data = "", None
    try:
        data = d4rl_file.read_d4rl(path)
    except ValueError as error:
        message = str(error)
    assert "\n" not in message
    assert data is None or np.isfinite(data.observations).all()


def test_what_cannot_be_written_is_said(tmp_path):
    data = offline.make_data(make(), extra={"infos/odd": object()})
    with pytest.raises(ValueError, match="cannot write infos/odd"):
        d4rl_file.write_d4rl(tmp_path / "a.hdf5", data)
    with pytest.raises(ValueError, match="rename it"):
        d4rl_file.write_d4rl(tmp_path / "a.hdf5", dataclasses.replace(data, extra={"metadata/env": "x"}, metadata=OWN))
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write"):
        d4rl_file.write_d4rl(tmp_path / "file" / "a.hdf5", offline.make_data(make()))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
