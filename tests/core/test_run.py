"""The run folder: what is written, what resumes, and what is refused before anything is touched."""

import dataclasses
import json
import multiprocessing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jaxrl_suite.core.claims import Claim
from jaxrl_suite.core.folder import read_metrics
from jaxrl_suite.core.run import Run

QUIET = Console(quiet=True)


@dataclasses.dataclass(frozen=True)
class Config:
    seeds: tuple[int, ...] = (0,)
    steps: int = 4


class KilledError(Exception):
    """Stands for whatever ends a process in the middle."""


def start(folder, config=None, name="x", **options) -> Run:
    return Run.start(folder, name=name, config=config or Config(), console=QUIET, **options)


def walk(run, total=4, until=None, name="main"):
    """A loop that raises in the middle of step `until`, after its line was logged."""
    loop = run.chunks(total, (jax.random.key(0), jnp.zeros(3)), name=name, every=0)
    for step in loop:
        key, x = loop.carry
        key, now = jax.random.split(key)
        run.log(x=x)
        if step == until:
            raise KilledError
        loop.carry = key, x + jax.random.normal(now, (3,))
    return loop


def snapshot(folder):
    return (
        {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()} if folder.exists() else None
    )


def test_a_stopped_run_continues_bit_for_bit(tmp_path):
    def program(run, until=None):
        run.log(about="start")
        walk(run, name="first")
        run.log(about="between")
        loop = walk(run, until=until, name="second")
        run.log(about="end")
        run.table("place", [{"i": i, "x": x} for i, x in enumerate(loop.carry[1])])

    with start(tmp_path / "whole") as run:
        program(run)
    with pytest.raises(KilledError), start(tmp_path / "parts") as run:
        program(run, until=2)
    with open(tmp_path / "parts" / "metrics.jsonl", "a") as file:
        file.write('{"loop": "second", "st')  # the line that a killed process was writing
    for _ in range(2):  # also a run that was finished
        with start(tmp_path / "parts", resume=True) as run:
            program(run)
        for name in ("metrics.jsonl", "tables/place.csv"):
            assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_that_an_earlier_version_began_continues(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Old:
        seeds: tuple[int, ...] = (0,)
        length: int = 9

    Old.__annotations__ = {"seeds": tuple[int, ...], "length": int}
    with start(tmp_path, Old()) as run:
        walk(run)
    before = snapshot(tmp_path)
    for config, renamed, message in (
        (Config(steps=9), {}, "holds a run of another version.*unknown field 'length'.*choose another folder"),
        (Config(), {"length": "steps"}, "another config \\(steps is 9 there and 4 here\\)"),
    ):
        with pytest.raises(ValueError, match=message):
            start(tmp_path, config, resume=True, renamed=renamed)
    assert snapshot(tmp_path) == before
    with start(tmp_path, Config(steps=9), resume=True, renamed={"length": "steps"}) as run:
        assert walk(run).step == 4
    assert (tmp_path / "config.json").read_bytes() == (before or {})[Path("config.json")]


def test_the_loop_restores_before_it_runs(tmp_path):
    with start(tmp_path) as run:
        done = walk(run)
    with start(tmp_path, resume=True) as run:
        loop = run.chunks(4, (jax.random.key(0), jnp.zeros(3)))
        assert loop.step == 4
        np.testing.assert_array_equal(loop.carry[1], done.carry[1])
        assert list(loop) == []


def test_a_loop_can_stop_early_for_good(tmp_path):
    def program(run):
        loop = run.chunks(10, jnp.int32(0), every=1e9)
        for step in loop:
            loop.carry = loop.carry + 1
            if step == 2:
                loop.stop()
        return int(loop.carry), loop.step

    with start(tmp_path) as run:
        assert program(run) == (3, 3)
    with start(tmp_path, resume=True) as run:
        assert program(run) == (3, 3)


def test_the_carry_loses_weak_types(tmp_path):
    with start(tmp_path) as run:
        loop = run.chunks(1, jnp.asarray(1.0) * 1)
        for _ in loop:
            loop.carry = jnp.where(jnp.bool_(True), 1.0, 2.0)
        assert not loop.carry.weak_type


def test_loops_follow_each_other_and_have_names(tmp_path):
    with start(tmp_path) as run:
        for _ in run.chunks(1, 0, name="a"):
            with pytest.raises(ValueError, match="follow each other"):
                run.chunks(1, 0, name="b")
        with pytest.raises(ValueError, match="its own name"):
            run.chunks(1, 0, name="a")
        with pytest.raises(ValueError, match="cannot name a file"):
            run.chunks(1, 0, name="../a")
        with pytest.raises(ValueError, match="at least 0"):
            run.chunks(-1, 0, name="c")


def test_tables_have_fixed_bytes(tmp_path):
    rows = [
        {"a": 1, "b": np.float32(0.1), "c": jnp.float32(1e-9), "d": None, "e": True, "f": -0.0},
        {"a": 10**20, "b": 1 / 3, "c": float("nan"), "d": "x,y", "e": np.bool_(False), "f": jnp.int32(7)},
    ]
    with start(tmp_path) as run:
        path = run.table("t", rows)
        assert (
            path.read_bytes() == b'a,b,c,d,e,f\n1,0.1,1e-09,,true,0\n100000000000000000000,0.333333,nan,"x,y",false,7\n'
        )
        assert run.table("empty", [], columns=["a"]).read_text() == "a\n"
        with pytest.raises(ValueError, match="row 1 of the table differs in a, b"):
            run.table("t", [{"a": 1}, {"b": 1}])
        with pytest.raises(ValueError, match="cell may be"):
            run.table("t", [{"a": [1]}])


def test_metrics_are_strict_json(tmp_path):
    with start(tmp_path) as run:
        run.log(a=float("nan"), b=jnp.arange(2), c=np.float32(0.5), d=None)
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"a": "nan", "b": [0, 1], "c": 0.5, "d": None}]


def test_results_follow_the_claims(tmp_path):
    claims = {"c-1": Claim("c-1", "S", "it works", "win rate", "0.5", "0.4", "small", "table", "yes")}
    with start(tmp_path, claims=claims) as run:
        run.result("c-1", jnp.float32(0.5), low=0.25, high=0.75, verdict="held", scale="5 seeds")
        with pytest.raises(ValueError, match="Did you mean c-1"):
            run.result("c1", 0.5, verdict="held", scale="5 seeds")
        with pytest.raises(ValueError, match="not held"):
            run.result("c-1", 0.5, verdict="nothold", scale="5 seeds")  # pyright: ignore
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["status"] == "finished"
    assert [(c["claim"], c["measured"], c["verdict"]) for c in results["claims"]] == [("it works", 0.5, "held")]


def test_what_is_refused_leaves_the_disk_alone(tmp_path):
    with start(tmp_path / "run") as run:
        walk(run)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = snapshot(tmp_path)
    for folder, options, message in [
        ("run", {}, "--resume"),
        ("run", {"resume": True, "name": "y"}, "holds a run of 'x'"),
        ("run", {"resume": True, "config": Config(steps=5)}, "steps is 4 there and 5 here"),
        ("full", {}, "not empty"),
        ("full", {"resume": True}, "holds no run"),
        ("file", {}, "is a file"),
        ("file/below", {}, "cannot"),
    ]:
        with pytest.raises(ValueError, match=message) as caught:
            start(tmp_path / folder, **options)
        assert "\n" not in str(caught.value)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"experiment": "x", "conf',
        "[]",
        "{}",
        '{"experiment": ["x"], "preset": "", "config": {}, "hash": "", "versions": {}, "devices": ""}',
    ],
)
def test_a_damaged_header_is_an_error_with_the_remedy(tmp_path, text):
    with start(tmp_path):
        pass
    (tmp_path / "config.json").write_text(text)
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match="is damaged: delete the folder"):
        start(tmp_path, resume=True)
    assert snapshot(tmp_path) == before


def test_a_damaged_checkpoint_does_not_start_over(tmp_path):
    with start(tmp_path) as run:
        walk(run)
    (tmp_path / "checkpoint" / "main" / "4" / "state" / "manifest.ocdbt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"main/4 is damaged: delete that folder"), start(tmp_path, resume=True) as run:
        walk(run)
    import shutil

    shutil.rmtree(tmp_path / "checkpoint" / "main" / "4")  # the remedy
    with start(tmp_path, resume=True) as run:
        assert walk(run).step == 4
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1, 2, 3]


def test_resume_starts_what_never_started(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.json.tmp").write_text("{")  # killed while it wrote its header
    for folder in ("run", "other"):
        with start(tmp_path / folder, resume=True) as run:
            assert walk(run).step == 4


def test_a_folder_has_one_process(tmp_path):
    with start(tmp_path):
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            assert "in use" in pool.apply(_try_to_resume, (str(tmp_path),))
    assert _try_to_resume(str(tmp_path)) == "free"


def _try_to_resume(folder):
    try:
        with start(folder, resume=True):
            return "free"
    except ValueError as error:
        return str(error)


def test_compile_and_throughput_are_reported(tmp_path):
    with start(tmp_path) as run:
        double = run.compile(lambda x: x * 2, jnp.ones(3), name="double")
        np.testing.assert_array_equal(double(jnp.ones(3)), [2, 2, 2])
        run.throughput("games", 100, 0.5)
        run.throughput("games", 100, 0.0)  # a resumed run that had nothing left to do
    results = json.loads((tmp_path / "results.json").read_text())
    assert [x["name"] for x in results["compiled"]] == ["double"]
    assert results["throughput"] == [{"what": "games", "amount": 100.0, "seconds": 0.5}]
