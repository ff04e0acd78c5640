"""Random D4RL-like and Minari-like files against a plain reader; with one thing broken each is refused in one line."""

import json

import h5py
import numpy as np
import pytest

from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.datasets import d4rl_file, minari_file
from jaxrl_suite.rl.datasets import episodes as ep
from jaxrl_suite.rl.datasets.transitions import transitions

LIMIT = 6
MARKS = ("both", "other names", "terminals and dones", "timeouts and dones", "dones", "terminals", "next observations")


def play(rng):
    """Episodes as lists of steps (observation, action, reward, next observation, terminal), the plain truth."""
    played = []
    for number in range(rng.integers(3, 9)):
        length = (
            int(rng.integers(1, LIMIT + 1)) if number else 2
        )  # the first terminates, so that some terminal is there
        seen = rng.normal(size=(length + 1, 2)).astype(np.float32)
        acts, paid = rng.uniform(-1, 1, (length, 1)).astype(np.float32), rng.normal(size=length)
        played.append([(seen[t], acts[t], paid[t], seen[t + 1], t == length - 1 < LIMIT - 1) for t in range(length)])
    return played


def d4rl_arrays(played):
    steps = [step for episode in played for step in episode]
    ends = np.array([t == len(episode) - 1 for episode in played for t in range(len(episode))])
    terminals = np.array([step[4] for step in steps])
    columns = [np.array([step[i] for step in steps]) for i in range(4)]
    return dict(
        observations=columns[0], actions=columns[1], rewards=columns[2], next_observations=columns[3],
        terminals=terminals, timeouts=ends & ~terminals, dones=ends,
    )  # fmt: skip


def write_d4rl(path, played, mark, rng):
    """The file with its ends marked in one way; returns the options that a reader needs."""
    arrays, options = d4rl_arrays(played), {}
    keep = {"both": (), "other names": (), "terminals and dones": ("timeouts",), "timeouts and dones": ("terminals",)}
    keep |= {"dones": ("terminals", "timeouts"), "terminals": ("timeouts", "dones"), "next observations": ("timeouts",)}
    for name in keep[mark]:
        del arrays[name]
    if mark in ("both", "other names", "next observations"):
        del arrays["dones"]
    if mark in ("dones", "terminals"):
        options["episode_steps"] = LIMIT
    if mark != "next observations" and rng.random() < 0.5:
        del arrays["next_observations"]
    renames = {
        "terminals": ("terminations", "terminated"),
        "timeouts": ("truncations", "truncated"),
        "dones": ("done",),
    }
    kind = rng.choice(["bool", "uint8", "float32"])
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            if name in renames:
                value = value.astype(kind)
                value = value[:, None] if rng.random() < 0.3 else value
                name = rng.choice(renames[name]) if mark == "other names" else name
            file.create_dataset(name, data=value, compression="gzip" if rng.random() < 0.3 else None)
    return options, "next_observations" in arrays


def write_minari(folder, played):
    (folder / "data").mkdir(parents=True)
    spaces = {"observation_space": 2, "action_space": 1}
    boxes = {
        name: json.dumps(
            {"type": "Box", "dtype": "float32", "shape": [size], "low": [-9.0] * size, "high": [9.0] * size}
        )
        for name, size in spaces.items()
    }
    (folder / "data/metadata.json").write_text(json.dumps({"data_format": "hdf5", **boxes}))
    with h5py.File(folder / "data/main_data.hdf5", "w") as file:
        for number, episode in enumerate(played):
            group = file.create_group(f"episode_{number}")
            last = np.arange(len(episode)) == len(episode) - 1
            terminal = np.array([step[4] for step in episode])
            group["observations"] = np.array([*(step[0] for step in episode), episode[-1][3]])
            group["actions"] = np.array([step[1] for step in episode])
            group["rewards"] = np.array([step[2] for step in episode])
            group["terminations"], group["truncations"] = terminal, last & ~terminal


def agree(data, played, followed):
    bounds = ep.episodes(data)
    assert (bounds.ends - bounds.starts).tolist() == [len(episode) for episode in played]
    returns = [sum(step[2] for step in episode) for episode in played]
    np.testing.assert_allclose(ep.episode_returns(data), returns, rtol=1e-12, atol=1e-12)
    wanted = []
    for episode in played:
        for t, (seen, act, paid, after, terminal) in enumerate(episode):
            cut = t == len(episode) - 1 and not terminal
            if cut and not followed:
                continue
            wanted.append((seen, act, paid, after if followed or t < len(episode) - 1 else seen, terminal))
    found = transitions(data)
    assert len(found.rewards) == len(wanted)
    for got, column in zip(found, zip(*wanted, strict=True), strict=True):
        np.testing.assert_allclose(got, np.array(column), rtol=1e-6)


def check_files(tmp_path, seeds):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        played, mark = play(rng), MARKS[seed % len(MARKS)]
        path = tmp_path / f"{seed}.hdf5"
        options, followed = write_d4rl(path, played, mark, rng)
        agree(d4rl_file.read_d4rl(path, **options), played, followed)
        write_minari(tmp_path / f"{seed}-v0", played)
        agree(minari_file.read_minari(tmp_path / f"{seed}-v0"), played, True)


def test_files_agree_with_a_plain_reader(tmp_path):
    check_files(tmp_path, range(28))


@pytest.mark.tier2
def test_many_files_agree_with_a_plain_reader(tmp_path):
    check_files(tmp_path, range(28, 1000))


def _remade(file, name, value):
    del file[name]
    file[name] = value


D4RL_DAMAGE = {
    "no rewards": lambda f, rng: f.__delitem__("rewards"),
    "no actions": lambda f, rng: f.__delitem__("actions"),
    "no observations": lambda f, rng: f.__delitem__("observations"),
    "no ends": lambda f, rng: (f.__delitem__("terminals"), f.__delitem__("timeouts")),
    "no timeouts": lambda f, rng: f.__delitem__("timeouts"),
    "short": lambda f, rng: _remade(f, "rewards", f["rewards"][: rng.integers(0, len(f["rewards"]))]),
    "NaN": lambda f, rng: f["rewards"].__setitem__(int(rng.integers(len(f["rewards"]))), np.nan),
    "infinite": lambda f, rng: f["actions"].__setitem__(int(rng.integers(len(f["actions"]))), np.inf),
    "text": lambda f, rng: _remade(f, "observations", [b"x"] * len(f["rewards"])),
    "flags": lambda f, rng: _remade(f, "terminals", np.full(len(f["rewards"]), int(rng.integers(2, 99)))),
    "contradiction": lambda f, rng: f.__setitem__("dones", np.zeros(len(f["rewards"]), bool)),
    "another name": lambda f, rng: f.__setitem__("terminations", ~f["terminals"][()]),
    "whole numbers": lambda f, rng: _remade(f, "actions", np.zeros((len(f["rewards"]), 1), np.int64)),
    "one value": lambda f, rng: _remade(f, "rewards", 1.0),
    "link": lambda f, rng: f.__setitem__("infos/x", h5py.ExternalLink("elsewhere.hdf5", "/x")),
    "score": lambda f, rng: f.__setitem__("metadata/ref_min_score", float(rng.normal())),
    "cut": None,
}
MINARI_DAMAGE = {
    "no rewards": lambda f, rng, e: f.__delitem__(f"{e}/rewards"),
    "no observations": lambda f, rng, e: f.__delitem__(f"{e}/observations"),
    "no episode": lambda f, rng, e: f.__delitem__(e) if e != list(f)[-1] else f.move(e, "episode_99"),
    "one fewer": lambda f, rng, e: _remade(f, f"{e}/observations", f[f"{e}/observations"][1:]),
    "another width": lambda f, rng, e: _remade(f, f"{e}/actions", np.ones((len(f[f"{e}/rewards"]), 3), np.float32)),
    "NaN": lambda f, rng, e: f[f"{e}/rewards"].__setitem__(0, np.nan),
    "flags": lambda f, rng, e: _remade(f, f"{e}/truncations", np.full(len(f[f"{e}/rewards"]), 7)),
}


def check_damage(tmp_path, seeds):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        played, folder = play(rng), tmp_path / str(seed)
        folder.mkdir()
        names = [*D4RL_DAMAGE, *(f"Minari: {name}" for name in MINARI_DAMAGE)]
        name = names[seed % len(names)]
        if name in D4RL_DAMAGE:
            path = folder / "a.hdf5"
            write_d4rl(path, played, "both", np.random.default_rng(5))
            if D4RL_DAMAGE[name] is None:
                raw = path.read_bytes()
                path.write_bytes(raw[: int(rng.integers(1, len(raw) // 2))])
            else:
                with h5py.File(path, "a") as file:
                    file.pop("next_observations", None)
                    for flag in ("terminals", "timeouts"):
                        _remade(file, flag, file[flag][()].reshape(-1).astype(bool))
                    D4RL_DAMAGE[name](file, rng)
            read = d4rl_file.read_d4rl
        else:
            path, read = folder / "a-v0", minari_file.read_minari
            write_minari(path, played)
            with h5py.File(path / "data/main_data.hdf5", "a") as file:
                number = int(rng.integers(len(played)))
                MINARI_DAMAGE[name.removeprefix("Minari: ")](file, rng, f"episode_{number}")
        before = {part: part.read_bytes() for part in folder.rglob("*") if part.is_file()}
        with pytest.raises(UserError) as error:
            read(path)
        assert "\n" not in str(error.value), name
        assert ":" in str(error.value), name
        assert {part: part.read_bytes() for part in folder.rglob("*") if part.is_file()} == before


def test_a_file_with_one_thing_broken_is_refused_in_one_line(tmp_path):
    check_damage(tmp_path, range(48))


@pytest.mark.tier2
def test_a_thousand_files_with_one_thing_broken_are_refused_in_one_line(tmp_path):
    check_damage(tmp_path, range(48, 1048))
