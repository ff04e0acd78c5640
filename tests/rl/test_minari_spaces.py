"""Every space of Minari that a learner can use is read; names are those that Minari accepts."""

import re

import gymnasium
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxrl_suite.rl.datasets import minari_file
from jaxrl_suite.rl.datasets.minari_spaces import read_actions, sizes_of
from tests.rl.test_minari_file import make

minari = pytest.importorskip("minari")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")
S = gymnasium.spaces
BOX = S.Box(-np.inf, np.inf, (2,))
POSE = np.arange(8, dtype=np.float32).reshape(4, 2)
FLAGS = dict(rewards=np.ones(3), terminations=np.array([False, False, True]), truncations=np.zeros(3, bool), infos={})


@pytest.fixture
def store(monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def create(observations, actions, observation_space, action_space):
        minari.create_dataset_from_buffers(
            "toy-v0",
            [minari.data_collector.EpisodeBuffer(observations=observations, actions=actions, **FLAGS)],
            observation_space=observation_space,
            action_space=action_space,
        )
        return tmp_path / "toy-v0"

    return create


ONE = np.eye(20, dtype=np.float32)


@pytest.mark.parametrize(
    ("values", "space", "one_hot", "number"),
    [
        (np.array([0, 3, 1, 4]), S.Discrete(5), ONE[[0, 3, 1, 4], :5], [[0], [3], [1], [4]]),
        (np.array([-1, 2, 0, 3]), S.Discrete(5, start=-1), ONE[[0, 3, 1, 4], :5], [[0], [3], [1], [4]]),
        (
            np.array([[0, 3], [1, 0], [2, 1], [0, 2]]),
            S.MultiDiscrete([3, 4]),
            np.concatenate([ONE[[0, 1, 2, 0], :3], ONE[[3, 0, 1, 2], :4]], axis=1),
            [[0, 3], [1, 0], [2, 1], [0, 2]],
        ),
        (np.eye(4, 3, dtype=np.int8), S.MultiBinary(3), ONE[:4, :3] * [1, 1, 1], np.eye(4, 3)),
        (np.arange(4, dtype=np.float32), S.Box(0, 9, ()), [[0], [1], [2], [3]], [[0], [1], [2], [3]]),
        (POSE, BOX, POSE, POSE),
    ],
    ids=["discrete", "start", "multi", "binary", "scalar", "box"],
)
def test_observations_of_every_space(store, values, space, one_hot, number):
    folder = store(values, np.array([0, 1, 2]), space, S.Discrete(4))
    for coding, expected in (("one_hot", one_hot), ("number", number)):
        data = minari_file.read_minari(folder, coding=coding)
        np.testing.assert_array_equal(data.observations, expected[:3])
        np.testing.assert_array_equal(data.next_observations, expected[1:])
        assert data.num_actions == 4


@pytest.mark.parametrize(
    ("values", "space", "expected", "count"),
    [
        (np.array([1, 2, 3]), S.Discrete(3, start=1), [0, 1, 2], 3),
        (np.array([-2, 0, -1]), S.Discrete(3, start=-2), [0, 2, 1], 3),
        (np.array([[0, 3], [2, 0], [1, 1]]), S.MultiDiscrete([3, 4]), [3, 8, 5], 12),
        (np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1]], np.int8), S.MultiBinary(3), [5, 1, 7], 8),
        (np.array([0.5, -0.5, 0], np.float32), S.Box(-1, 1, ()), [[0.5], [-0.5], [0]], None),
        (np.arange(12, dtype=np.float32).reshape(3, 2, 2), S.Box(-1, 1, (2, 2)), np.arange(12).reshape(3, 4), None),
        (np.array([[1, 2], [3, 4], [5, 6]]), S.Box(0, 9, (2,), np.int64), [[1, 2], [3, 4], [5, 6]], None),
    ],
    ids=["start", "negative start", "multi", "binary", "scalar", "matrix", "whole numbers"],
)
def test_actions_of_every_space(store, values, space, expected, count):
    data = minari_file.read_minari(store(POSE, values, BOX, space))
    np.testing.assert_array_equal(data.actions, expected)
    assert data.discrete == (count is not None)
    if count is not None:
        assert data.num_actions == count
        assert data.extra["metadata/action_space"].startswith("{")


def test_images_and_numbers_inside_dictionaries_are_decoded(store):
    image = np.broadcast_to(np.arange(0, 160, 4, dtype=np.uint8)[:, None, None], (40, 32, 3))
    frames = np.stack([image, image, image + 9, image + 50])
    inner = S.Dict(camera=S.Box(0, 255, (40, 32, 3), np.uint8), place=S.Discrete(3))
    seen = {"pose": POSE, "inner": {"camera": frames, "place": np.array([0, 2, 1, 0])}}
    folder = store(seen, np.array([0, 1, 0]), S.Dict(pose=BOX, inner=inner), S.Discrete(2))
    with pytest.raises(ValueError, match="has the fields inner/camera, inner/place, pose: say which in fields"):
        minari_file.read_minari(folder)
    data = minari_file.read_minari(folder, fields=("inner/camera",))
    theirs = next(iter(minari.load_dataset("toy-v0").iterate_episodes())).observations["inner"]["camera"]
    np.testing.assert_array_equal(data.observations, theirs[:3])
    assert data.observations.shape == (3, 40, 32, 3)
    both = minari_file.read_minari(folder, fields=("inner/place", "pose")).observations
    np.testing.assert_array_equal(both, np.concatenate([ONE[[0, 2, 1], :3], POSE[:3]], axis=1))
    wide = minari_file.read_minari(folder, fields=("pose", "inner/camera")).observations
    assert wide.shape == (3, 2 + 40 * 32 * 3)


def test_a_vector_that_starts_as_a_jpeg_does_is_no_image(store):
    values = np.tile(np.array([255, 216, 3], np.uint8), (4, 1))
    data = minari_file.read_minari(store(values, np.array([0, 1, 0]), S.Box(0, 255, (3,), np.uint8), S.Discrete(2)))
    np.testing.assert_array_equal(data.observations, values[:3])


def test_what_does_not_fit_its_space_is_refused(store):
    folder = store(np.array([0, 3, 1, 4]), np.array([0, 1, 2]), S.Discrete(5), S.Discrete(4))
    with h5py.File(folder / "data/main_data.hdf5", "a") as file:
        file["episode_0/observations"][2] = 7
    with pytest.raises(ValueError, match="observations of step 2 are 7, outside 0 to 4"):
        minari_file.read_minari(folder)
    with h5py.File(folder / "data/main_data.hdf5", "a") as file:
        file["episode_0/observations"][2] = 1
        file["episode_0/actions"][1] = -1
    with pytest.raises(ValueError, match="actions of step 1 are -1, outside 0 to 3"):
        minari_file.read_minari(folder)
    with pytest.raises(ValueError, match="coding must be one of one_hot, number, got 'text'"):
        minari_file.read_minari(folder, coding="text")
    with pytest.raises(ValueError, match="joint actions are more"):
        read_actions(np.zeros((1, 40), np.int8), {"type": "MultiBinary", "n": 40}, "x")
    for space in ({"type": "Discrete"}, {"type": "MultiDiscrete", "nvec": [2, "3"]}, {"type": "MultiBinary", "n": 0}):
        with pytest.raises(ValueError, match="must be whole numbers of at least 1"):
            sizes_of(space, "x")


def test_too_many_values_for_one_hot_vectors_are_read_as_numbers(store):
    folder = store(np.array([0, 99_999, 5, 6]), np.array([0, 1, 2]), S.Discrete(100_000), S.Discrete(4))
    with pytest.raises(ValueError, match='100,000 values, too many for one-hot vectors: read with coding="number"'):
        minari_file.read_minari(folder)
    np.testing.assert_array_equal(minari_file.read_minari(folder, coding="number").observations[:, 0], [0, 99_999, 5])


PART = st.text("ab_-Z9", max_size=2)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PART, max_size=2), name=PART, end=st.sampled_from(["-v0", "-v12", "-v", "", "-v1-v2", "v0"]))
def test_names_are_those_that_minari_lists(monkeypatch, tmp_path_factory, parts, name, end):
    root = tmp_path_factory.mktemp("root")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    wanted = "/".join([*parts, name + end])
    refused = ""
    try:
        minari_file.write_minari(root, wanted, SHORT)
    except ValueError as error:
        refused = str(error)
    if not refused:
        assert list(minari.list_local_datasets()) == [wanted]
        assert minari.load_dataset(wanted).total_steps == len(SHORT)
        assert len(minari_file.read_minari(root / wanted)) == len(SHORT)
        return
    assert "is no name of a Minari data set" in refused
    assert not list(root.iterdir())
    try:
        version = minari.dataset.minari_dataset.parse_dataset_id(wanted)[2]
    except (ValueError, TypeError):
        return
    # Minari parses an empty part of a namespace and a name without a version, and then finds no folder of them.
    assert version is None or re.search(r"//|^/", wanted)


SHORT = make((2,))
