"""DDRL's experiment at its smallest: killed and resumed, what its tables and pictures hold, verdicts, bad configs."""

import csv
import dataclasses
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from fixtures.mortal_command import run_command

from jaxrl_suite.core.stats import Interval
from jaxrl_suite.distill.distilled_file import read_distilled
from jaxrl_suite.distill.scorer import Scores
from jaxrl_suite.experiments.ddrl import config as ddrl
from jaxrl_suite.experiments.ddrl import figures as _ddrl_figures
from jaxrl_suite.experiments.ddrl import locomotion
from jaxrl_suite.experiments.ddrl import report as _ddrl_report
from jaxrl_suite.experiments.ddrl import sets as _ddrl_sets
from jaxrl_suite.experiments.ddrl import tasks as _ddrl_tasks
from jaxrl_suite.experiments.ddrl import verdicts as _ddrl_verdicts
from jaxrl_suite.experiments.ddrl.sets import POLISHED
from jaxrl_suite.rl.datasets.percentile import percentile_rows

SMALLEST = (
    "run ddrl --resume --seeds 0,1 --methods pbc --sizes 8 --evaluation.students 2 --evaluation.episodes 2 "
    "--pendulum.episodes 20 --pendulum.widths 8 --maze.levels 20 --maze.images 2 --maze.widths 8 "
    "--maze.cloning-steps 20 --maze.outer-steps 4 --maze.meta-students 1 --maze.inner-steps 3 "
    "--cloning.steps 20 --cloning.batch-size 32 --distillation.outer-steps 4 --distillation.published-steps 4 "
    "--distillation.chunk 2 --distillation.meta-students 1 --distillation.inner-steps 3 --distillation.judges 1"
)


def run(folder, *lines, dies=""):
    return run_command(folder, *(f"{SMALLEST} {line}" for line in lines), dies=dies)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddrl")
    done = run(folder, "--out whole")
    assert done.returncode == 0, done.stderr
    return folder


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with open(folder / "tables" / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.tier2
def test_killed_and_resumed_is_as_if_never_stopped(folder):
    done = run(folder, "--out parts", dies="gridmaze-pbc-8-1")
    assert done.returncode == -signal.SIGKILL, done.stderr
    done = run(folder, "--out parts")
    assert done.returncode == 0, done.stderr
    assert "gridmaze: distilled, PBC, 8 pairs: continues at 1/2" in done.stderr
    whole, parts = folder / "whole", folder / "parts"
    names = [p.relative_to(whole) for kind in ("tables", "figures") for p in sorted((whole / kind).iterdir())]
    tables = {
        "pendulum_8",
        "pendulum_cloning",
        "gridmaze_8",
        "gridmaze_cloning",
        "expectations",
        "differences",
        "glossary",
    }
    figures = {f"{task}_{what}" for task in ("pendulum", "gridmaze") for what in ("8", "set", "distillation")}
    assert {name.stem for name in names} == tables | figures | {"pendulum_returns"}
    for name in [*names, Path("metrics.jsonl")]:
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name


@pytest.mark.tier2
def test_every_set_meets_both_kinds_of_students(folder):
    rows = read(folder / "whole", "pendulum_8")
    assert [row["pairs"] for row in rows][:3] == ["distilled, PBC", "random pairs", "random pairs, relabelled"]
    assert len({row["pairs"] for row in rows}) == len(rows) == 7
    mazes = read(folder / "whole", "gridmaze_8")
    assert [row["levels"] for row in mazes] == ["seen levels", "unseen levels"] * 4
    said = {row["pairs"]: row["what"] for row in read(folder / "whole", "glossary")}
    assert set(said) == {row["pairs"] for row in rows}
    assert all(said.values())
    for row in [*rows, *mazes]:
        for recipe in ("sgd100", "adam300"):
            assert float(row[f"{recipe} low"]) <= float(row[recipe]) <= float(row[f"{recipe} high"]) <= 110


@pytest.mark.tier2
def test_distilled_sets_can_be_read_again(folder):
    found = sorted((folder / "whole" / "sets").iterdir())
    assert [path.name for path in found] == [
        f"{task}-distilled-pbc-8-{seed}.npz" for task in ("gridmaze", "pendulum") for seed in (0, 1)
    ]
    maze, pendulum = read_distilled(found[0]), read_distilled(found[2])
    assert maze.raw_observations.shape == (8, 9, 9, 3)
    assert 0 <= maze.raw_observations.min() <= maze.raw_observations.max() <= 1
    assert pendulum.actions.shape == (8, 1)


@pytest.mark.tier2
def test_the_docs_train_students_on_a_set(folder, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "systems" / "ddrl.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```py\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(folder / "whole")
    names: dict[str, Any] = {}
    exec(example.replace("-16-0", "-8-0"), names)
    first = jax.tree.map(lambda leaf: leaf[0], names["students"])
    action = names["act"](first, np.array([1.0, 0.0, 0.0], np.float32))
    assert action.shape == (1,)
    assert abs(float(action[0])) <= 1


@pytest.mark.tier2
def test_cloning_covers_all_shares_and_rankings(folder):
    for task, count in (("pendulum", 2 + 3 * 3), ("gridmaze", 2 + 3)):
        rows = read(folder / "whole", f"{task}_cloning")
        assert len(rows) == count
        pairs = {row["trained on"]: int(row["pairs"]) for row in rows}
        assert pairs["BC on 10% by return"] < pairs["BC on 25% by return"] < pairs["BC on 40% by return"]
        assert pairs["BC on 40% by return"] < pairs["BC on everything"]


@pytest.mark.tier2
def test_small_scales_get_no_verdict_and_the_cause_is_told(folder):
    results = json.loads((folder / "whole" / "results.json").read_text())
    assert {claim["id"]: claim["verdict"] for claim in results["claims"]} == dict.fromkeys(
        ("ddrl-1", "ddrl-2", "ddrl-4", "ddrl-5"), "not comparable"
    )
    (cause,) = [text["body"] for text in results["texts"] if text["title"].startswith("Why the best returns")]
    assert "of the 2 episodes that are kept began within" in cause
    assert "nan" not in cause
    assert "depends on which episodes were drawn" in cause
    assert "this run's draw of 18 episodes" in cause
    (head,) = [text["body"] for text in results["texts"] if not text["title"]]
    assert "With adam300 students" in head
    assert "with the teacher's answers" in results["claims"][0]["note"]
    assert any(text["title"] == "How this differs from the paper" for text in results["texts"])
    assert {row["what"].partition(",")[0] for row in read(folder / "whole", "expectations")} == {"pendulum", "gridmaze"}


@pytest.mark.tier2
def test_what_full_adds_is_in_the_report(tmp_path):
    extras = "--environments pendulum --sizes 4,8 --methods av-pbc,gm-cosine,paper-p1 --extras.offline-updates 20 "
    extras += "--extras.generations 2 --extras.across --extras.curve-steps 2,5"
    words = SMALLEST.replace("--methods pbc --sizes 8 ", "")
    done = run_command(tmp_path, f"{words} {extras} --out full")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "full"
    assert {path.stem for path in (folder / "figures").iterdir()} >= {"pendulum_sizes", "pendulum_steps"}
    assert [row["trained on"] for row in read(folder, "pendulum_cloning")][-2:] == [
        "TD3+BC on everything",
        "IQL on everything",
    ]
    labels = [row["pairs"] for row in read(folder, "pendulum_4")]
    assert labels[:4] == [*(_ddrl_sets.LABELS[name] for name in ("av-pbc", "gm-cosine", "paper-p1")), POLISHED]
    draws = read(folder, "pendulum_draws")
    assert [row["data seed"] for row in draws] == ["0", "1", "2", "3", "4", "5"]
    cloned = {row["trained on"]: row["score"] for row in read(folder, "pendulum_cloning")}
    assert draws[0]["by return"] == cloned["BC on 10% by return"]  # the report's own draw, by the same students
    assert len({row["by return"] for row in draws}) > 1
    students = {row["student"] for row in read(folder, "pendulum_students")}
    assert {"as in distillation", "double width", "ensemble of 2"} <= students


@pytest.mark.parametrize(
    ("low", "high", "like", "ahead"),
    [
        (2, 5, "held", "held"),
        (-5, 5, "held", "partly"),
        (-12, 5, "partly", "partly"),
        (-30, -12, "not held", "not held"),
        (-9, -2, "held", "not held"),
    ],
)
def test_verdicts_follow_from_intervals(low, high, like, ahead):
    gap, config = Interval((low + high) / 2, low, high), ddrl.Config()
    assert _ddrl_verdicts.alike(config, gap) == like
    assert _ddrl_verdicts.positive(config, gap) == ahead
    few = dataclasses.replace(config, seeds=(0, 1))
    assert _ddrl_verdicts.alike(few, gap) == _ddrl_verdicts.positive(few, gap) == "not comparable"


def test_a_part_of_the_data_counts_its_rows_alike():
    config = ddrl.Config(pendulum=ddrl.PendulumConfig(episodes=20))
    task = _ddrl_tasks.make_task(config, "pendulum")
    sets = {found.label: found for found in _ddrl_sets.cloned_sets(task)}
    assert len({found.pairs.weights.shape for found in sets.values()}) == 1  # one program for all
    part = sets["BC on 40% by return"]
    kept = task.scaling(task.data.observations[percentile_rows(task.data, 0.4)])
    states, counts = np.unique(kept, axis=0, return_counts=True)  # states at rest recur
    found, owner = np.unique(np.asarray(part.pairs.observations[0]), axis=0, return_inverse=True)
    np.testing.assert_array_equal(found, states)
    weight = np.bincount(owner.ravel(), np.asarray(part.pairs.weights[0])) / counts
    assert part.size == counts.sum() == 200 * 7  # of 18 episodes
    np.testing.assert_allclose(weight, weight[0], rtol=1e-4)


def test_what_has_no_correlation_is_said_in_words():
    assert _ddrl_report._signed(-0.126) == "-0.13"
    assert "nan" not in _ddrl_report._signed(float("nan"))


def test_sizes_are_tried_from_the_smallest():
    assert _ddrl_tasks.make_task(
        ddrl.Config(pendulum=ddrl.PendulumConfig(episodes=20), sizes=(16, 8)), "pendulum"
    ).sizes == (
        8,
        16,
    )


def test_every_kind_of_pairs_is_explained():
    labels = set(_ddrl_sets.LABELS.values()) | {POLISHED}
    assert labels <= set(_ddrl_sets.ABOUT)


def test_images_become_a_picture():
    images = np.zeros((5, 3, 3, 3))
    images[:, 0, 0, 0] = 1  # a wall
    picture = _ddrl_figures.mosaic(_ddrl_figures.colours(images), 2)
    assert picture.shape == (2 * 4 - 1, 3 * 4 - 1, 4)
    assert picture[0, 4, :3] == pytest.approx(picture[4, 0, :3])  # walls of the second and of the fourth image
    assert picture[1, 1, :3] == pytest.approx(1.0)
    assert picture[0, 3, 3] == 0  # nothing between images


def test_the_bad_word_is_named_in_one_line(tmp_path):
    command = [sys.executable, "-m", "jaxrl_suite.cli", "run", "ddrl"]
    for words, message in (("--environments pendulums", "Did you mean pendulum?"), ("--sizes 2", "each of sizes must")):
        done = subprocess.run([*command, *words.split()], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2
        assert message in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (ddrl.Config, dict(seeds=()), "at least one"),
        (ddrl.Config, dict(methods=("pbc", "pbc")), "none twice"),
        (ddrl.DistillationConfig, dict(chunk=70), "chunk must divide the 800 outer_steps"),
        (ddrl.Config, dict(maze=ddrl.MazeConfig(outer_steps=50)), "chunk must divide the 50 maze.outer_steps"),
        (ddrl.EvaluationConfig, dict(students=1), "students must be 2 to"),
        (ddrl.Config, dict(noise=1.5), "noise must be 0 to 1"),
        (ddrl.MazeConfig, dict(images=0), "images must be"),
        (ddrl.DistillationConfig, dict(inner_steps=0), "inner_steps must be"),
    ],
)
def test_refuses_what_cannot_be_run(config, changes, message):
    with pytest.raises(ValueError, match=message):
        config(**changes)


def test_no_level_of_the_config_has_more_than_fifteen_fields():
    levels = [ddrl.Config(), *(value for value in vars(ddrl.Config()).values() if dataclasses.is_dataclass(value))]
    assert len(levels) == 8
    assert max(len(vars(level)) for level in levels) <= 15


def _walker(name, offset):
    """A report of one data set of MuJoCo, with scores near `offset`."""
    methods, scores = ddrl.PRESETS["accel"].methods, np.arange(6.0).reshape(2, 3)
    labels = [*(_ddrl_sets.LABELS[method] for method in methods), _ddrl_sets.RANDOM, _ddrl_sets.EVERYTHING]
    task: Any = SimpleNamespace(name=name, sizes=(256,), recipes={"sgd100": None}, score=lambda returns: returns)
    kinds = [(label, "cloned" if label == _ddrl_sets.EVERYTHING else "distilled") for label in labels]
    sets: Any = [SimpleNamespace(label=label, kind=kind, size=256) for label, kind in kinds]
    found: Any = {
        (one.label, 256, "clone" if one.kind == "cloned" else "sgd100"): Scores(scores[None] + offset + at, scores)
        for at, one in enumerate(sets)
    }
    return _ddrl_report.TaskReport(task, sets, found)


def test_accel_prints_its_published_comparison():
    tables = {}
    run: Any = SimpleNamespace(table=lambda name, rows, caption: tables.update({name: (rows, caption)}))
    config = ddrl.PRESETS["accel"]
    names = [f"{env}, {level}" for env in config.environments for level in config.mujoco.datasets]
    locomotion.write_locomotion(run, [_walker(name, 10 * at) for at, name in enumerate(names)], config.methods)
    rows, caption = tables["locomotion"]
    assert [row["data"] for row in rows[:2]] == ["halfcheetah, medium-replay", "halfcheetah, medium"]
    assert len(rows) == 4 * 3 + 1
    published = {row["data"]: row["published Av-PBC"] for row in rows}
    assert published["hopper, medium-expert"] == 38.7
    assert published["ant, medium"] is None
    assert published["mean"] == pytest.approx(np.mean([35.9, 36.9, 22.0, 40.9, 32.5, 38.7, 55.0, 39.5, 42.1]), abs=0.05)
    assert rows[0]["distilled, PBC"] == 2.5
    assert rows[1]["distilled, Av-PBC"] == 13.5
    assert rows[0]["BC on everything"] == 7.5
    assert "D4RL's data" in caption
    tables.clear()
    locomotion.write_locomotion(run, [_walker("pendulum", 0)], config.methods)
    assert not tables


def test_presets_hold_enough_for_verdicts():
    for config in ddrl.PRESETS.values():
        assert _ddrl_verdicts.enough(config)
    assert ddrl.PRESETS["paper"].published
    assert {"paper-p1", "paper-p2"} <= set(ddrl.PRESETS["paper"].methods)
    assert len(ddrl.PRESETS["accel"].mujoco.datasets) * 3 == 9  # three of its environments make D4RL's table of nine
