"""Ends of episodes: under any of their names, never guessed; valid files that are larger than they look are read."""

import h5py
import numpy as np
import pytest

from jaxrl_suite.rl.datasets import d4rl_file, hdf5
from jaxrl_suite.rl.datasets import episodes as ep
from jaxrl_suite.rl.datasets.transitions import transitions

LENGTHS, LIMIT = (4, 2, 4, 3, 4), 4


def arrays():
    count = sum(LENGTHS)
    ends = np.zeros(count, bool)
    ends[np.cumsum(LENGTHS) - 1] = True
    steps = np.concatenate([np.arange(length) for length in LENGTHS])
    timeouts = ends & (steps == LIMIT - 1)
    seen = (100 * np.cumsum(np.append(0, ends[:-1])) + steps).astype(np.float32)[:, None]
    return dict(
        observations=seen, next_observations=seen + 1, actions=np.zeros((count, 1), np.float32),
        rewards=np.ones(count, np.float32), terminals=ends & ~timeouts, timeouts=timeouts, dones=ends,
    )  # fmt: skip


def written(path, *, leave=(), rename=None, **change):
    tree = {name: value for name, value in (arrays() | change).items() if name not in leave}
    for old, new in (rename or {}).items():
        tree[new] = tree.pop(old)
    hdf5.write_tree(path, tree)
    return path


def right(data):
    full = arrays()
    np.testing.assert_array_equal(data.terminals, full["terminals"])
    np.testing.assert_array_equal(data.timeouts, full["timeouts"])
    assert ep.episode_returns(data).tolist() == list(LENGTHS)
    found = transitions(data)
    assert (found.next_observations == found.observations + 1)[found.terminals == 0].all()


@pytest.mark.parametrize(
    ("leave", "rename", "options"),
    [
        (("dones",), {}, {}),
        (("dones", "next_observations"), {}, {}),
        (("dones", "next_observations"), {"timeouts": "truncations"}, {}),
        (("dones", "next_observations"), {"terminals": "terminations", "timeouts": "truncations"}, {}),
        (("dones", "next_observations"), {"terminals": "terminated", "timeouts": "truncated"}, {}),
        (("timeouts", "next_observations"), {}, {}),
        (("timeouts", "next_observations"), {"dones": "done"}, {}),
        (("terminals", "next_observations"), {}, {}),
        (("next_observations",), {}, {}),
        (("dones", "timeouts", "next_observations"), {}, dict(episode_steps=LIMIT)),
        (("terminals", "timeouts", "next_observations"), {}, dict(episode_steps=LIMIT)),
        (("terminals", "timeouts", "next_observations"), {"dones": "done"}, dict(episode_steps=LIMIT)),
    ],
)
def test_ends_are_found_under_their_names(tmp_path, leave, rename, options):
    right(d4rl_file.read_d4rl(written(tmp_path / "a.hdf5", leave=leave, rename=rename), **options))


def test_next_observations_show_where_a_file_was_cut_off(tmp_path):
    data = d4rl_file.read_d4rl(written(tmp_path / "a.hdf5", leave=("dones", "timeouts")))
    np.testing.assert_array_equal(data.timeouts[:-1], arrays()["timeouts"][:-1])
    assert ep.episodes(data).finished.tolist() == [True] * 4 + [False]  # nothing shows how the last one went on
    assert len(transitions(data).rewards) == len(data)
    assert ep.episode_returns(data).tolist() == list(LENGTHS)


@pytest.mark.parametrize(
    ("leave", "change", "message"),
    [
        (("timeouts", "dones", "next_observations"), {}, r"terminals end 2 episodes, and nothing says where others"),
        (("timeouts", "dones", "next_observations"), {}, r"found terminals among terminals, actions, .*episode_steps"),
        (
            ("timeouts", "dones"),
            dict(next_observations=np.roll(arrays()["observations"], -1, axis=0)),  # made by shifting: says nothing
            "terminals end 2 episodes",
        ),
        (
            ("timeouts", "dones"),
            dict(next_observations=arrays()["observations"] + 7),  # no row goes on in the next
            "terminals end 2 episodes",
        ),
        (("timeouts", "terminals", "next_observations"), {}, "done does not say whether an episode terminated"),
        (("timeouts", "terminals", "dones"), {}, "no episode ends.*found no array that marks an end among actions"),
        (("dones",), dict(terminations=np.ones(17, bool)), "terminals and terminations differ"),
        ((), dict(dones=np.zeros(17, bool)), r"row 5 is marked by terminals but not as done \(found terminals, timeou"),
        (("dones",), dict(truncations=np.full(17, 2)), "truncations must be true or false"),
    ],
)
def test_what_a_file_does_not_say_is_asked_for(tmp_path, leave, change, message):
    path = written(tmp_path / "a.hdf5", leave=leave, **change)
    with pytest.raises(ValueError, match=message) as error:
        d4rl_file.read_d4rl(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_limit_above_every_length_says_that_nothing_was_cut_off(tmp_path):
    path = written(tmp_path / "a.hdf5", leave=("timeouts", "dones", "next_observations"), terminals=arrays()["dones"])
    data = d4rl_file.read_d4rl(path, episode_steps=1000)
    assert ep.episode_returns(data).tolist() == list(LENGTHS)
    assert not data.timeouts.any()
    with pytest.raises(ValueError, match="episode_steps must be a whole number of at least 1, got 0"):
        d4rl_file.read_d4rl(path, episode_steps=0)


def test_arrays_that_were_never_written_are_no_damage(tmp_path):
    count, path = 1_200_000, tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        for name, value in (("observations", np.ones((count, 1), np.float32)), ("rewards", np.ones(count, np.float32))):
            file.create_dataset(name, data=value, compression="gzip")
        file.create_dataset("actions", data=np.zeros(count, np.int32), chunks=(count // 4,), scaleoffset=0)
        file.create_dataset("terminals", shape=(count,), dtype=bool, chunks=(10_000,))
        file.create_dataset("timeouts", shape=(count,), dtype=bool, chunks=(10_000,))[count - 1] = True
        file.create_dataset("infos/later", shape=(count,), dtype="f4")  # contiguous, without a place in the file yet
    assert path.stat().st_size < 300_000
    data = d4rl_file.read_d4rl(path)
    assert len(data) == count
    assert ep.episodes(data).ends.tolist() == [count]
    assert not data.actions.any()
    assert not data.extra["infos/later"].any()


def test_data_of_another_file_and_claims_beyond_the_file_are_refused(tmp_path):
    path = tmp_path / "a.hdf5"
    for make, message in (
        (lambda file: file.create_dataset("x", (10,), "f4", external=[("raw.bin", 0, 40)]), "x lies in another file"),
        (lambda file: file.create_dataset("x", (1 << 45,), "f4", chunks=(1024,)), "x claims 140,737,488,355,328 bytes"),
        (lambda file: file.create_dataset("x", (1 << 45,), "i4", chunks=(1024,), scaleoffset=0), "never written"),
    ):
        with h5py.File(path, "w") as file:
            make(file)
        with pytest.raises(ValueError, match=message):
            hdf5.read_tree(path)
