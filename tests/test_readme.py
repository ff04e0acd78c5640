"""What the README and the docs say: code runs as pasted, commands parse, tables are the catalogue, links resolve."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jaxrl_suite.cli import arguments, catalog, runner
from jaxrl_suite.envs import registry

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, content) of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def table(text: str, after: str = "") -> list[list[str]]:
    """The cells of the first table behind a line, without its head."""
    rows = re.search(r"(?:^\|.*\n)+", text.partition(after)[2] if after else text, re.MULTILINE)
    assert rows, after
    lines = rows[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def run_python(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_short_and_every_block_is_one_that_a_test_runs():
    assert len(README.split()) < 1200
    languages = [language for language, _ in blocks(README)]
    assert languages.count("python") == 1
    assert set(languages) == {"python", "bash", "bibtex"}


def test_the_example_runs_as_pasted(tmp_path):
    (example,) = [code for language, code in blocks(README) if language == "python"]
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    out = run_python(example, tmp_path)
    found = re.fullmatch(r"against exact equilibrium: (\S+) \+- (\S+) \(a win is 1\)\n", out)
    assert found, out
    assert -0.6 < float(found[1]) < 0.2
    assert 0 < float(found[2]) < 0.2


DOCS = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in PAGES[1:]
    for number, (_, code) in enumerate(block for block in blocks(page.read_text("utf-8")) if block[0] == "python")
]


@pytest.mark.parametrize("code", DOCS)
def test_the_code_of_the_docs_runs_as_pasted(code, tmp_path):
    if "def main(config" not in code:
        run_python(code, tmp_path)
        return
    (tmp_path / "mine.py").write_text(code)
    for more in ([], ["--resume"]):
        words = [sys.executable, "-m", "jaxrl_suite.cli", "run", "./mine.py", "--steps", "20", "--out", "run", *more]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_every_command_can_be_run():
    lines = [line for language, code in blocks(README) if language == "bash" for line in code.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if "jaxrl-suite " in line]
    assert {words[0] for words in commands} == set(arguments.COMMANDS)
    for words in commands:
        parsed, fields = arguments.parse(words)
        if parsed.command == "run":
            runner.prepare(parsed.name, parsed.preset, fields)
        if parsed.command == "reproduce" and parsed.only:
            assert parsed.only in catalog.discover()
    others = [line for line in lines if "jaxrl-suite " not in line]
    assert all(re.match(r"(python3 -m venv|\.venv/bin/(pip install|python -m pytest))", line) for line in others)


def test_the_table_of_systems_is_the_catalogue():
    systems = {system.name: system for system in catalog.systems(catalog.discover())}
    rows = table(README, "\n## Systems\n")
    names = [re.sub(r"\[(.*?)\].*", r"\1", name) for name, *_ in rows]
    assert sorted(names) == sorted(systems)
    for name, (cell, paper, experiments, state) in zip(names, rows, strict=True):
        system = systems[name]
        identifier = system.reference.removeprefix("arXiv ")
        assert paper == f"[{identifier}](https://arxiv.org/abs/{identifier})"
        assert (state == "to come") == (not system.built), name
        assert cell.startswith("[") == system.built, "a system that runs is linked to its folder"
        linked = re.findall(r"\[`(\w+)`\]\(experiments/(\w+)\)", experiments)
        assert sorted(linked) == sorted((name, name) for name in system.experiments)


def test_the_table_of_environments_is_the_registry():
    rows = table((ROOT / "docs" / "environments.md").read_text("utf-8"))
    assert [re.findall("`(.*?)`", row[0])[0] for row in rows] == [name for name, _ in registry.describe_envs()]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    text = page.read_text("utf-8")
    assert text.startswith("# ")
    for target in re.findall(r"\]\((?!https?:)(.*?)\)", text):
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), target
        assert not anchor or anchor in anchors(place), target


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    for page in PAGES[1:]:
        assert page.name == "README.md" or f"({page.relative_to(ROOT / 'docs').as_posix()})" in index, page
