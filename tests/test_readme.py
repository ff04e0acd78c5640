"""What the README says: its example runs as pasted, its commands parse, its tables agree with the catalogue."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from jaxrl_suite.cli import arguments, catalog, runner
from jaxrl_suite.envs import registry

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_example_runs_as_pasted(tmp_path):
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"against exact equilibrium: (\S+) \+- (\S+) \(a win is 1\)\n", done.stdout)
    assert found, done.stdout
    assert -0.6 < float(found[1]) < 0.2
    assert 0 < float(found[2]) < 0.2


def test_every_command_can_be_run():
    lines = [line for block in blocks("bash") for line in block.splitlines() if "jaxrl-suite " in line]
    commands = [shlex.split(line, comments=True)[1:] for line in lines]
    assert {words[0] for words in commands} == set(arguments.COMMANDS)
    for words in commands:
        parsed, fields = arguments.parse(words)
        if parsed.command == "run":
            runner.prepare(parsed.name, parsed.preset, fields)
        if parsed.command == "reproduce" and parsed.only:
            assert parsed.only in catalog.discover()


def test_the_table_of_systems_is_the_catalogue():
    systems = {system.name: system for system in catalog.systems(catalog.discover())}
    rows = table("Systems")
    assert sorted(name for name, *_ in rows) == sorted(systems)
    for name, paper, state in rows:
        identifier = systems[name].reference.removeprefix("arXiv ")
        assert paper == f"[{identifier}](https://arxiv.org/abs/{identifier})"
        assert (state == "to come") == (not systems[name].built), name


def test_the_table_of_environments_is_the_registry():
    assert [re.findall("`(.*?)`", row[0])[0] for row in table("Environments")] == [
        name for name, _ in registry.describe_envs()
    ]


def test_every_file_that_it_names_exists():
    for target in re.findall(r"\]\((?!https?:)(.*?)\)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
