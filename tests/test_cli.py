"""The command: what it prints, what it refuses, and that a killed run continues bit for bit."""

import dataclasses
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jaxrl_suite import cli
from jaxrl_suite.cli import catalog, runner
from jaxrl_suite.cli.arguments import split_overrides
from jaxrl_suite.cli.catalog import leaves
from jaxrl_suite.core.config import to_json
from jaxrl_suite.core.config_paths import flatten, renamed_path

FIXTURES = Path(__file__).parent / "fixtures"
WALK = str(FIXTURES / "walk.py")


def snapshot(folder):
    return {p.relative_to(folder): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def command(*words, cwd=None, **environment):
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "jaxrl_suite.cli", *words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A working folder, and a catalogue that holds the walk alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalog, "discover", lambda: {"walk": catalog.describe(Path(WALK), None)})
    return tmp_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = command("run", WALK, "--out", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{folder}/report.html\n"
    for part in ("devices: 2 CPU devices", "config:  seeds=[0, 1], steps=6", "walk compiled in", "out: 6/6"):
        assert part in done.stderr
    return folder


def test_killed_again_and_again_is_as_if_never_stopped(whole, tmp_path):
    folder = tmp_path / "run"
    for moment in ("out-3", "save", "back-0", "end"):
        done = command("run", WALK, "--out", str(folder), "--resume", WALK_DIES=moment)
        assert done.returncode == -signal.SIGKILL, done.stderr
        (folder / ".results.json.tmp").write_text("{")  # what other moments leave behind
        (folder / "checkpoint" / "out" / "9.orbax-checkpoint-tmp").mkdir(exist_ok=True)
        with open(folder / "metrics.jsonl", "a") as file:
            file.write('{"loop": "ou')
    done = command("run", WALK, "--out", str(folder), "--resume")
    assert done.returncode == 0, done.stderr
    for name in ("metrics.jsonl", "tables/walk.csv", "figures/walk.svg", "config.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_interrupt_says_how_to_continue(tmp_path):
    done = command("run", WALK, cwd=tmp_path, WALK_DIES="out-3", WALK_SIGNAL=str(int(signal.SIGINT)))
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == f"jaxrl-suite: interrupted; continue with: jaxrl-suite run {WALK} --resume"
    assert "Traceback" not in done.stderr


def test_a_bug_in_an_experiment_keeps_its_traceback(tmp_path):
    done = command("run", WALK, cwd=tmp_path, WALK_DIES="bug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("ValueError: a bug in the walk\n")


BAD = [
    ("", "which command"),
    ("rn", "Did you mean run"),
    ("list walk", "unknown argument 'walk'"),
    ("run", "NAME"),
    ("run wlak", "Did you mean walk"),
    ("run missing.py", "no file missing.py"),
    ("run broken.py", "cannot read the experiment"),
    ("run hollow.py", "has no Config"),
    ("run plain.py", "is no dataclass"),
    ("run walk --preset ful", "Did you mean full"),
    ("run walk --stesp 3", "Did you mean steps"),
    ("run walk --steps three", "steps must be a whole number"),
    ("run walk --steps 3.5", "steps must be a whole number"),
    ("run walk --steps", "--steps VALUE"),
    ("run walk --steps 3 --steps 4", "given twice"),
    ("run walk --steps 0", "at least 1, got 0: choose more"),
    ("run walk --noise norml", "Did you mean normal"),
    ("run walk --seeds 0 x", "whole number"),
    ("run walk 3", "unexpected argument '3'"),
    ("run walk --devices 0", "at least 1"),
    ("run walk --devices ²", "at least 1"),
    ("run walk --devices 3", "choose 1 to 2"),
    ("run walk --out file", "is a file"),
    ("run walk --out file/below", "choose another folder"),
    ("run walk --out /proc/nowhere", "cannot"),
    ("run walk --out full", "not empty"),
    ("run walk --out run", "--resume"),
    ("run walk --out full --resume", "holds no run"),
    ("run walk --out run --resume --steps 7", "steps is 6 there and 7 here"),
    ("run other.py --out run --resume", "holds a run of 'walk'"),
    ("run walk --out torn --resume", "delete the folder torn"),
    ("report nowhere", "no folder nowhere"),
    ("report full", "holds no run"),
    ("report torn", "damaged"),
    ("reproduce --only wlak", "Did you mean walk"),
    ("reproduce --only ,", "--only needs names"),
    ("reproduce --preset ful", "Did you mean full"),
    ("reproduce --out full", "not empty"),
    ("reproduce --out full --resume", "which is no run"),
    ("reproduce --out file", "is a file"),
    ("bench --out full", "is a folder"),
    ("bench --out file/x.json", "cannot"),
    ("bench nothing", "benchmark"),
]


@pytest.mark.parametrize(("words", "message"), BAD)
def test_bad_input_is_one_line_and_touches_nothing(house, whole, capfd, words, message):
    (house / "file").write_text("mine")
    (house / "full").mkdir()
    (house / "full" / "thesis.txt").write_text("mine")
    (house / "run").symlink_to(whole)
    (house / "torn").mkdir()
    (house / "torn" / "config.json").write_text('{"experiment": "walk", "con')
    (house / "broken.py").write_text("def main(:")
    (house / "hollow.py").write_text('"""Nothing."""\n')
    (house / "plain.py").write_text("class Config: ...\nPRESETS = {'quick': Config()}\ndef main(config, run): ...\n")
    (house / "other.py").write_text(Path(WALK).read_text())
    before, run_before = snapshot(house), snapshot(whole)
    assert cli.main(words.split()) == 2
    captured = capfd.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert snapshot(house) == before
    assert snapshot(whole) == run_before


def test_a_damaged_checkpoint_names_the_folder_to_delete(house, capfd):
    assert cli.main(["run", "walk", "--out", "run"]) == 0
    (house / "run" / "checkpoint" / "out" / "6" / "state" / "manifest.ocdbt").write_bytes(b"")
    before = snapshot(house)
    capfd.readouterr()
    assert cli.main(["run", "walk", "--out", "run", "--resume"]) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert "run/checkpoint/out/6 is damaged: delete that folder" in last
    assert snapshot(house) == before


def test_default_folder_tells_configs_apart(house, capsys):
    assert cli.main(["run", "walk", "--steps", "2"]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page.parent.parent == Path("runs")
    assert page.parent.name.startswith("walk-quick-")
    assert cli.main(["run", "walk", "--steps", "2"]) == 2
    assert cli.main(["run", "walk", "--steps=3", "--noise", "uniform"]) == 0
    assert len(list(Path("runs").iterdir())) == 2
    page.unlink()
    assert cli.main(["report", str(page.parent)]) == 0
    assert "What the paper claims" in page.read_text()


def test_reproduce_has_a_row_for_every_system(house, monkeypatch, capsys):
    crash = house / "crash.py"
    crash.write_text(
        Path(WALK).read_text().replace('    run.log(about="start")', "    raise RuntimeError('it fell\\nover')")
    )
    experiments = {"crash": catalog.describe(crash, None), "walk": catalog.describe(Path(WALK), None)}
    monkeypatch.setattr(catalog, "discover", lambda: experiments)
    assert cli.main(["reproduce", "--out", "all"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "all/report.html\n"
    assert "RuntimeError: it fell" in captured.err
    page = Path("all/report.html").read_text()
    for system in catalog.SYSTEMS:
        assert system.name in page
    assert page.count("not built yet") == len(catalog.SYSTEMS) - 1
    assert "failed: RuntimeError: it fell over" in page
    assert "1 partly" in page
    crash.write_text(Path(WALK).read_text())
    before = (house / "all" / "walk" / "results.json").read_bytes()
    assert cli.main(["reproduce", "--out", "all", "--resume"]) == 0
    assert "walk: finished already" in capsys.readouterr().err
    assert (house / "all" / "walk" / "results.json").read_bytes() == before
    assert "failed" not in Path("all/report.html").read_text()
    Path("all/report.html").unlink()
    assert cli.main(["report", "all"]) == 0
    assert Path("all/report.html").exists()


WRONG_ENVIRONMENT = {
    "import": ('SYSTEM = "Strategist"', 'SYSTEM = "Strategist"\n_ = envs.make("gosp-6")'),
    "config": ("    def __post_init__(self):", '    def __post_init__(self):\n        envs.make("gosp-6")'),
    "main": ('    run.log(about="start")', '    run.log(about="start")\n    envs.make("gosp-6")'),
}


@pytest.mark.parametrize("where", WRONG_ENVIRONMENT)
def test_a_wrong_environment_in_a_script_of_your_own_is_one_line(tmp_path, where):
    old, new = WRONG_ENVIRONMENT[where]
    right = Path(WALK).read_text().replace("import jax\n", "import jax\n\nfrom jaxrl_suite import envs\n", 1)
    wrong = right.replace(old, new, 1)
    assert "gosp-6" in wrong
    (tmp_path / "mine.py").write_text(wrong)
    done = command("run", "./mine.py", "--out", "run", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == ("jaxrl-suite: no environment is called 'gosp-6'; did you mean 'gops-6'?")
    assert "Traceback" not in done.stderr
    if where != "main":
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "run").exists()
        return
    (tmp_path / "mine.py").write_text(right)
    refused = command("run", "./mine.py", "--out", "run", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    assert command("run", "./mine.py", "--out", "run", "--resume", cwd=tmp_path).returncode == 0


def test_what_an_experiment_refuses_does_not_stop_the_others(house, monkeypatch, capsys):
    picky = house / "picky.py"
    source = Path(WALK).read_text().replace("import jax\n", "import jax\n\nfrom jaxrl_suite import envs\n", 1)
    picky.write_text(source.replace('    run.log(about="start")', '    envs.make("gosp-6")'))
    experiments = {"picky": catalog.describe(picky, None), "walk": catalog.describe(Path(WALK), None)}
    monkeypatch.setattr(catalog, "discover", lambda: experiments)
    assert cli.main(["reproduce", "--out", "all"]) == 1
    captured = capsys.readouterr()
    assert "picky: no environment is called 'gosp-6'" in captured.err
    assert "Traceback" not in captured.err
    assert "failed: no environment is called" in Path("all/report.html").read_text()
    assert (house / "all" / "walk" / "results.json").exists()


def test_an_experiment_without_a_system_is_listed_and_reported_and_fills_no_row(house, monkeypatch, capsys):
    layer = house / "layer.py"
    source = Path(WALK).read_text().replace('SYSTEM = "Strategist"', 'SYSTEM = ""').replace('("strat-11",)', "()")
    layer.write_text(source.replace('    run.result("strat-11"', '    0 and run.result("strat-11"'))
    monkeypatch.setattr(catalog, "discover", lambda: {"layer": catalog.describe(layer, None)})
    assert cli.main(["list"]) == 0
    assert "layer" in capsys.readouterr().out
    assert cli.main(["reproduce", "--out", "all"]) == 0
    page = Path("all/report.html").read_text()
    assert page.count("not built yet") == len(catalog.SYSTEMS)
    assert '<h2 class="run" id="layer">layer</h2>' in page
    assert "The walk went somewhere." in page


def test_bench_prints_and_writes_rows(house, monkeypatch, capsys):
    from jaxrl_suite.cli import benches

    rows = [{"what": "walk", "steps_per_second": 12.5}]
    monkeypatch.setattr(benches, "load", lambda: {"walk": lambda: rows})
    assert cli.main(["bench", "--out", "b.json"]) == 0
    assert "12.5" in capsys.readouterr().out
    assert '"steps_per_second": 12.5' in Path("b.json").read_text()
    assert cli.main(["bench", "wlak"]) == 2
    assert "Did you mean walk" in capsys.readouterr().err


def test_listing_and_help_start_nothing_heavy():
    code = """
import contextlib, io, sys
from jaxrl_suite.cli import main
lines = [["list"], ["envs"], ["--help"], ["run", sys.argv[1], "--help"]]
lines += [[name, "--help"] for name in ("list", "envs", "run", "reproduce", "bench", "report")]
for line in lines:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            assert main(line) == 0, line
        except SystemExit as end:
            assert end.code == 0, line
    assert out.getvalue().strip(), line
    if line[-1] == "--help" and len(line) == 2:
        assert "examples:" in out.getvalue(), line
print(sorted({"jax", "numpy", "matplotlib", "orbax", "jinja2", "scipy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code, WALK], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_help_of_an_experiment_lists_its_fields(capsys):
    assert cli.main(["run", "--preset", "full", WALK, "--help"]) == 0
    text = capsys.readouterr().out
    assert "walk: A random walk whose process can be killed at a chosen moment." in text
    assert "presets: quick, full" in text
    assert "--scale" in text
    assert "(default: 1.0); of a step" in text


NESTED = {
    "self.steps": "self.legs.steps",
    "@dataclasses.dataclass(frozen=True)\nclass Config": (
        '@dataclasses.dataclass(frozen=True)\nclass Legs:\n    """How far it goes."""\n\n    steps: int = 7  # of each'
        "\n    rests: int = 0  # between them\n\n    def __post_init__(self):\n        if self.steps < 1:\n"
        '            raise ValueError(f"steps must be at least 1, got {self.steps}")\n\n\n'
        'RENAMED = {"steps": "legs.steps"}\n\n\n@dataclasses.dataclass(frozen=True)\nclass Config'
    ),
    "    steps: int = 6\n": "    legs: Legs = Legs(steps=6)\n",
    "Config(steps=20)": "Config(legs=Legs(20))",
    "config.steps": "config.legs.steps",
}


@pytest.fixture
def nested(tmp_path):
    """The walk in a later version, whose config is nested."""
    source = Path(WALK).read_text()
    for old, new in NESTED.items():
        assert old in source
        source = source.replace(old, new)
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "walk.py").write_text(source)
    return str(tmp_path / "later" / "walk.py")


def test_nested_fields_are_options(nested, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", nested, "--help"]) == 0
    text = capsys.readouterr().out
    assert "\nlegs: How far it goes\n" in text
    assert "--legs.steps  int (default: 6); of each" in text
    assert "--legs.rests  int (default: 0); between them" in text
    assert text.index("--noise") < text.index("\nlegs:")
    for words, message in (
        ("--steps 3", "jaxrl-suite: --steps is now --legs.steps\n"),
        ("--legs.stesp 3", "unknown option --legs.stesp of walk. Did you mean legs.steps?"),
        ("--rests 3", "unknown option --rests of walk. Did you mean legs.rests?"),
        ("--legs 3", "field 'legs' is a config of its own: set its fields (legs.steps, legs.rests)"),
        ("--legs.steps x", "legs.steps must be a whole number"),
        ("--legs.steps 0", "legs: steps must be at least 1, got 0"),
    ):
        assert cli.main(["run", nested, *words.split()]) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1
    assert not Path("runs").exists()
    assert cli.main(["run", nested, "--legs.steps", "2", "--out", "run"]) == 0
    assert "config:  seeds=[0, 1], legs.steps=2, legs.rests=0, scale=1.0, noise=normal" in capsys.readouterr().err
    assert "legs.steps" in Path("run/report.html").read_text()


def test_a_run_of_an_earlier_version_continues_where_its_fields_were_renamed(whole, nested, tmp_path):
    folder = tmp_path / "run"
    assert command("run", WALK, "--out", str(folder), WALK_DIES="out-3").returncode == -signal.SIGKILL
    done = command("run", nested, "--out", str(folder), "--resume", "--legs.rests", "1")
    assert done.returncode == 2
    assert "legs.rests is 0 there and 1 here" in done.stderr
    done = command("run", nested, "--out", str(folder), "--resume")
    assert done.returncode == 0, done.stderr
    assert "out: continues at 3/6" in done.stderr
    for name in ("metrics.jsonl", "tables/walk.csv", "figures/walk.svg", "config.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    done = command("run", WALK, "--out", str(tmp_path / "new"), WALK_DIES="out-3")
    header = (tmp_path / "new" / "config.json").read_text()
    (tmp_path / "new" / "config.json").write_text(header.replace('"scale"', '"gait"'))
    done = command("run", nested, "--out", str(tmp_path / "new"), "--resume")
    assert done.returncode == 2
    assert done.stderr.endswith(
        "(unknown field 'gait' in Config. Choose from: legs, noise, scale, seeds): choose another folder (--out)\n"
    )
    assert done.stderr.count("\n") == 1


def test_experiments_keep_the_contract():
    claims = runner.load_claims(catalog.experiments_folder() / "claims.csv")
    names = {system.name for system in catalog.SYSTEMS}
    for experiment in catalog.discover().values():
        module = catalog.load(experiment)
        assert experiment.summary
        assert module.SYSTEM in names or (module.SYSTEM == "" and not module.CLAIMS)  # it serves a layer, and no paper
        assert set(module.CLAIMS) <= set(claims)
        assert "quick" in module.PRESETS
        paths = [path for path, _ in leaves(experiment.fields)]
        assert paths == list(flatten(to_json(module.Config())))  # help lists what can be set
        assert getattr(importlib.import_module(module.Config.__module__), "RENAMED", {}) == experiment.renamed
        assert not set(paths) & set(experiment.renamed)  # a name that is in use leads nowhere else
        assert {renamed_path(path, experiment.renamed) for path in experiment.renamed} <= set(paths)
        for config in module.PRESETS.values():
            assert dataclasses.is_dataclass(config)
            assert config.seeds  # pyright: ignore[reportAttributeAccessIssue]


def test_splitting_overrides():
    words = ["--a", "1", "-2", "--b=x=y", "--c"]
    assert split_overrides(words) == {"a": ["1", "-2"], "b": ["x=y"], "c": []}
