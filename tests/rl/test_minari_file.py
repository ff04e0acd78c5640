"""Minari files: what is written here loads in Minari, what Minari writes loads here, both unchanged."""

import dataclasses
import json

import gymnasium
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxrl_suite.rl.datasets import episodes as ep
from jaxrl_suite.rl.datasets import minari_file, offline

OWN = offline.Metadata("hopper", "spring", "PPO", 12.5, 2345.0)
SPACES = dict(
    observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32),
    action_space=gymnasium.spaces.Box(-1, 1, (2,), np.float32),
)


def make(lengths=(4, 1, 3), shape=(3,), *, discrete=False, dtype=np.float32, extra=None, metadata=OWN, seed=0):
    rng, parts = np.random.default_rng(seed), []
    for number, length in enumerate(lengths):
        seen = (255 * rng.uniform(size=(length + 1, *shape))).astype(dtype)
        last = np.arange(length) == length - 1
        parts.append(
            dict(
                observations=seen[:-1],
                next_observations=seen[1:],
                actions=rng.integers(0, 4, length) if discrete else rng.uniform(-1, 1, (length, 2)).astype(np.float32),
                rewards=rng.normal(size=length),
                terminals=last & (number % 2 == 0),
                timeouts=last & (number % 2 == 1),
            )
        )
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return offline.make_data(arrays, metadata, extra=extra)


def following(data):
    assert data.next_observations is not None
    return data.next_observations


def same(a, b):
    for name in offline.ARRAYS:
        assert getattr(a, name).dtype == getattr(b, name).dtype, name
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.metadata == b.metadata
    assert sorted(a.extra) == sorted(b.extra)
    for name, value in a.extra.items():
        np.testing.assert_array_equal(value, b.extra[name])


CASES = {
    "continuous": make(),
    "infos": make(
        extra={
            "infos/q": np.arange(16.0).reshape(8, 2),
            "episodes/final_infos/q": np.arange(6.0).reshape(3, 2),
            "infos/deep/p": np.arange(8),
            "episodes/final_infos/deep/p": np.arange(3),
            "episodes/seed": np.array([3, 1, 2]),
            "metadata/algorithm": "PPO",
        }
    ),
    "discrete images": make(
        shape=(33, 40, 3), dtype=np.uint8, discrete=True, metadata=dataclasses.replace(OWN, num_actions=7)
    ),
    "bool images": make(
        shape=(5, 5, 2), dtype=bool, discrete=True, metadata=dataclasses.replace(OWN, num_actions=4, env="")
    ),
}


@pytest.fixture
def minari(monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return pytest.importorskip("minari")


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_here_loads_in_minari_and_back(minari, tmp_path, case):
    data = CASES[case]
    folder = minari_file.write_minari(tmp_path, "own/set/toy-v0", data)
    loaded = minari.load_dataset("own/set/toy-v0")
    assert (loaded.total_episodes, loaded.total_steps) == (3, 8)
    assert "own/set/toy-v0" in minari.list_local_datasets()
    metadata = loaded.storage.metadata
    assert (metadata["ref_min_score"], metadata["ref_max_score"]) == (12.5, 2345.0)
    assert metadata["algorithm_name"] == "PPO"
    bounds = ep.episodes(data)
    for e, episode in enumerate(loaded.iterate_episodes()):
        rows = slice(bounds.starts[e], bounds.ends[e])
        np.testing.assert_array_equal(episode.observations[:-1], data.observations[rows])
        np.testing.assert_array_equal(episode.observations[1:], following(data)[rows])
        np.testing.assert_array_equal(episode.actions, data.actions[rows])
        np.testing.assert_array_equal(episode.rewards, data.rewards[rows])
        np.testing.assert_array_equal(episode.terminations, data.terminals[rows])
        np.testing.assert_array_equal(episode.truncations, data.timeouts[rows])
        assert loaded.observation_space.contains(episode.observations[0])
        assert loaded.action_space.contains(episode.actions[0])
        if "infos/q" in data.extra:
            np.testing.assert_array_equal(episode.infos["q"][:-1], data.extra["infos/q"][rows])
            np.testing.assert_array_equal(episode.infos["deep"]["p"][-1], data.extra["episodes/final_infos/deep/p"][e])
    score = minari.get_normalized_score(loaded, ep.episode_returns(data))
    np.testing.assert_allclose(score, (ep.episode_returns(data) - 12.5) / (2345.0 - 12.5))
    same(data, minari_file.read_minari(folder))


@pytest.mark.filterwarnings("ignore::UserWarning:minari")
def test_what_minari_writes_loads_here_and_back(minari, tmp_path):
    data = CASES["infos"]
    bounds, buffers = ep.episodes(data), []
    for e in range(3):
        rows = slice(bounds.starts[e], bounds.ends[e])
        last = following(data)[bounds.ends[e] - 1 : bounds.ends[e]]
        info = np.concatenate([data.extra["infos/q"][rows], data.extra["episodes/final_infos/q"][e : e + 1]])
        buffers.append(
            minari.data_collector.EpisodeBuffer(
                id=e,
                seed=10 + e,
                observations=np.concatenate([data.observations[rows], last]),
                actions=data.actions[rows],
                rewards=data.rewards[rows],
                terminations=data.terminals[rows],
                truncations=data.timeouts[rows],
                infos={"q": info},
            )
        )
    theirs = minari.create_dataset_from_buffers("theirs/toy-v3", buffers, algorithm_name="PPO", **SPACES)
    theirs.storage.update_metadata({"ref_min_score": 12.5, "ref_max_score": 2345.0})  # kept only with a gym env above
    read = minari_file.read_minari(tmp_path / "theirs/toy-v3")
    extra = {"infos/q": data.extra["infos/q"], "episodes/final_infos/q": data.extra["episodes/final_infos/q"]}
    extra["episodes/seed"] = np.array([10, 11, 12])
    same(dataclasses.replace(data, extra=extra, metadata=offline.Metadata("", "", "PPO", 12.5, 2345.0)), read)
    minari_file.write_minari(tmp_path, "theirs/copy-v0", read)
    originals = minari.load_dataset("theirs/toy-v3").iterate_episodes()
    for a, b in zip(originals, minari.load_dataset("theirs/copy-v0").iterate_episodes(), strict=True):
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            left, right = getattr(a, name), getattr(b, name)
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)
        np.testing.assert_array_equal(a.infos["q"], b.infos["q"])


@pytest.mark.filterwarnings("ignore::UserWarning:minari")
def test_minaris_dictionaries_and_jpeg_images_are_read(minari, tmp_path):
    rng = np.random.default_rng(0)
    goal, pose = rng.normal(size=(4, 2)), rng.normal(size=(4, 3))
    flags = dict(rewards=np.ones(3), terminations=np.zeros(3, bool), truncations=np.array([False, False, False]))
    box = gymnasium.spaces.Box(-np.inf, np.inf, (2,)), gymnasium.spaces.Box(-np.inf, np.inf, (3,))
    buffers = [
        minari.data_collector.EpisodeBuffer(
            observations={"goal": goal + e, "pose": pose + e}, actions=np.arange(3), infos={}, **flags
        )
        for e in range(2)
    ]
    minari.create_dataset_from_buffers(
        "dict-v0",
        buffers,
        action_space=gymnasium.spaces.Discrete(5),
        observation_space=gymnasium.spaces.Dict(goal=box[0], pose=box[1]),
    )
    with pytest.raises(ValueError, match="an observation has the fields goal, pose: say which"):
        minari_file.read_minari(tmp_path / "dict-v0")
    with pytest.raises(ValueError, match=r"no field 'pos'\. Did you mean pose"):
        minari_file.read_minari(tmp_path / "dict-v0", fields=("pos",))
    data = minari_file.read_minari(tmp_path / "dict-v0", fields=("pose", "goal"))
    np.testing.assert_array_equal(data.observations[:3], np.concatenate([pose, goal], axis=1)[:3])
    assert data.num_actions == 5
    assert data.timeouts.tolist() == [False, False, True, False, False, False]  # where one episode stops
    assert ep.episodes(data).finished.tolist() == [True, False]

    image = np.broadcast_to(np.arange(0, 160, 4, dtype=np.uint8)[:, None, None], (40, 32, 3))
    frames = np.stack([image, image, image + 9, image + 50])
    minari.create_dataset_from_buffers(
        "images-v0",
        [minari.data_collector.EpisodeBuffer(observations=frames, actions=np.arange(3), infos={}, **flags)] * 2,
        action_space=gymnasium.spaces.Discrete(5),
        observation_space=gymnasium.spaces.Box(0, 255, (40, 32, 3), np.uint8),
    )
    data = minari_file.read_minari(tmp_path / "images-v0")
    theirs = next(iter(minari.load_dataset("images-v0").iterate_episodes()))
    np.testing.assert_array_equal(data.observations[:3], theirs.observations[:-1])
    np.testing.assert_allclose(following(data)[2].astype(int), frames[3], atol=4)  # JPEG loses a little


def test_what_the_layout_cannot_hold_is_refused(tmp_path):
    data = make()
    with pytest.raises(ValueError, match="collect next_observations"):
        minari_file.write_minari(tmp_path, "a-v0", dataclasses.replace(data, next_observations=None))
    with pytest.raises(ValueError, match="write a D4RL file"):
        minari_file.write_minari(tmp_path, "a-v0", dataclasses.replace(data, next_observations=following(data) + 1))
    with pytest.raises(ValueError, match="no place for metadata/w"):
        minari_file.write_minari(tmp_path, "a-v0", dataclasses.replace(data, extra={"metadata/w": np.ones(3)}))
    for name in ("a", "../a-v0", "a b-v0", "/a-v0"):
        with pytest.raises(ValueError, match="is no name of a Minari data set"):
            minari_file.write_minari(tmp_path, name, data)
    minari_file.write_minari(tmp_path, "a-v0", data)
    with pytest.raises(ValueError, match="exists already"):
        minari_file.write_minari(tmp_path, "a-v0", data)


def rewritten(name, value):
    def change(file, _):
        del file[name]
        if value is not None:
            file[name] = value

    return change


def described(**change):
    def write(_, path):
        path.write_text(json.dumps(json.loads(path.read_text()) | change))

    return write


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rewritten("episode_1", None), "episodes must be numbered from 0 on, found 2"),
        (rewritten("episode_0/rewards", None), "episode 0 has no array rewards"),
        (rewritten("episode_2/observations", None), "episode 2 has no observations"),
        (rewritten("episode_2/observations", np.ones((3, 3), np.float32)), "3 steps and 3 observations.*one more"),
        (rewritten("episode_0/actions", np.ones((3, 2), np.float32)), "4 rewards and 3 actions"),
        (rewritten("episode_0/actions", np.ones((4, 3), np.float32)), "actions differs in shape or type"),
        (rewritten("episode_0/rewards", np.array([1, np.nan, 1, 1])), "rewards is nan in row 1"),
        (rewritten("episode_0/rewards", 3.0), "no array rewards"),
        (rewritten("episode_0/infos/q", np.ones((9, 2))), r"infos/q has not one row a step.*infos=False"),
        (rewritten("episode_0/infos/q", None), r"infos/q differs in shape or type.*infos=False"),
        (described(data_format="arrow"), "holds arrow: convert it to hdf5"),
        (described(ref_min_score="low"), "ref_min_score and ref_max_score must be numbers"),
        (described(ref_min_score=None), "give both or neither"),
        (described(action_space='{"type": "Discrete", "start": 2}'), None),
        (lambda _, path: path.write_text("{"), "is not JSON"),
        (lambda _, path: path.write_text("[]"), "must be a JSON object"),
        (lambda _, path: path.unlink(), "there is no readable .*metadata.json"),
    ],
)
def test_a_damaged_data_set_is_refused_in_one_line(tmp_path, damage, message):
    extra = {"infos/q": np.ones((8, 2)), "episodes/final_infos/q": np.ones((3, 2))}
    folder = minari_file.write_minari(tmp_path, "a-v0", make(extra=extra))
    with h5py.File(folder / "data/main_data.hdf5", "a") as file:
        damage(file, folder / "data/metadata.json")
    if message is None:
        assert len(minari_file.read_minari(folder)) == 8
        return
    with pytest.raises(ValueError, match=message) as error:
        minari_file.read_minari(folder)
    assert "\n" not in str(error.value)
    if "infos=False" in message:
        assert "infos/q" not in minari_file.read_minari(folder, infos=False).extra


KEYS = ("data_format", "action_space", "observation_space", "env", "env_spec", "algorithm_name", "extra", "num_actions")
KEYS += ("ref_min_score", "total_episodes")
ODD = (None, True, 3, 2.5, -1, "x", "", "{}", '{"type": "Discrete", "n": "five"}', [], [1], {}, {"type": "Discrete"})


@pytest.mark.parametrize("discrete", [False, True])
def test_any_metadata_load_or_are_refused_in_one_line(tmp_path, discrete):
    metadata = dataclasses.replace(OWN, num_actions=4 if discrete else None)
    folder = minari_file.write_minari(tmp_path, "a-v0", make(discrete=discrete, metadata=metadata))
    path = folder / "data/metadata.json"
    written, outcomes = path.read_text(), []
    for key in KEYS:
        for value in ODD:
            path.write_text(json.dumps(json.loads(written) | {key: value}))
            try:
                read = minari_file.read_minari(folder).metadata
                outcomes.append("")
                assert all(isinstance(text, str) for text in (read.env, read.backend, read.teacher))
                assert read.num_actions is None or type(read.num_actions) is int
            except ValueError as error:
                outcomes.append(str(error))
    assert not any("\n" in message for message in outcomes)
    assert 0 < sum(map(bool, outcomes)) < len(outcomes)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=6))
def test_any_damage_is_a_value_error_or_loads(tmp_path, flips):
    path = tmp_path / "a-v0/data/main_data.hdf5"
    if not path.exists():
        minari_file.write_minari(tmp_path, "a-v0", make())
        path.with_suffix(".good").write_bytes(path.read_bytes())
    raw = bytearray(path.with_suffix(".good").read_bytes())
    for place, bits in flips:
        raw[int(place * len(raw))] ^= bits
    path.write_bytes(raw)
    message = ""
    try:
        minari_file.read_minari(tmp_path / "a-v0")
    except ValueError as error:
        message = str(error)
    assert "\n" not in message


def test_a_folder_without_a_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="give the folder of one data set"):
        minari_file.read_minari(tmp_path)
    folder = minari_file.write_minari(tmp_path, "a-v0", make())
    (folder / "data/main_data.hdf5").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        minari_file.read_minari(folder)
