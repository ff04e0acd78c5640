"""Prompts kept as files, `PACKAGE/prompts/NAME.md` with `$fields` to fill in; `parsing` reads the answers."""

from __future__ import annotations

import functools
from importlib import resources
from string import Template


@functools.cache
def prompt(package: str, name: str) -> str:
    """The text of `prompts/NAME.md` of a package, for instance `prompt("jaxrl_suite.evolve", "ideas")`."""
    return resources.files(package).joinpath("prompts", f"{name}.md").read_text(encoding="utf-8")


def fill(package: str, name: str, **words: str) -> str:
    """The prompt `name` of a package with its `$fields` filled in; every field must be given.

    A dollar sign within `words` is left as it is.
    """
    return Template(prompt(package, name)).substitute(words).strip()
