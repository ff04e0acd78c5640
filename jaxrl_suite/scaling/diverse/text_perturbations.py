"""Perturbations of a question in words: pools of sentences, ideas of a thinker, the question in other words.

What a thinker or narrator writes is paid for as role "idea" or "rephrase" of the ledger.

Reference: Wang et al., "On the effect of sampling diversity in scaling LLM inference", arXiv 2502.11027, section 3.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Generator
from importlib import resources
from typing import Any, Literal, get_args

from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.llm.ledger import BudgetExhaustedError
from jaxrl_suite.llm.parsing import fill, prose_of
from jaxrl_suite.llm.protocol import Decoding, Message, Prefix, Request
from jaxrl_suite.llm.questions import Sample
from jaxrl_suite.scaling.diverse.perturbations import THINKER, Asking, FromPool, stream
from jaxrl_suite.scaling.records import VisibleProblem
from jaxrl_suite.scaling.units import messages_of

PACKAGE = "jaxrl_suite.scaling.diverse"
PoolName = Literal["role", "instruction", "nonsense"]
Subject = Literal["code", "math", "reasoning"]
NARRATOR = 2**31 + 1  # last part of the paths of what is drawn here


@functools.cache
def _pools() -> dict[str, Any]:
    return json.loads((resources.files(PACKAGE) / "prompts" / "pools.json").read_text())


def sentences(name: PoolName, subject: Subject = "code") -> FromPool:
    """A pool of sentences of the package.

    Args:
      name: `role`, `instruction`, or `nonsense`, which is the same for every subject.
      subject: what the problems are about.

    Raises:
      UserError: if there is no such pool.
    """
    if name not in get_args(PoolName):
        raise UserError(f"unknown pool {name!r}{suggest(name, get_args(PoolName))}")
    if subject not in get_args(Subject):
        raise UserError(f"unknown subject {subject!r}{suggest(subject, get_args(Subject))}")
    found = _pools()[name]
    return FromPool(tuple(found if name == "nonsense" else found[subject]))


def pool_from_file(path: str) -> FromPool:
    """A pool of one's own: one sentence a line; empty lines are left out.

    Raises:
      UserError: if the file cannot be read or holds no sentence.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = tuple(line.strip() for line in file if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the pool {path}: {error}; give a text file with a sentence a line") from None
    if not lines:
        raise UserError(f"the pool {path} is empty: write a sentence a line")
    return FromPool(lines)


@dataclasses.dataclass(frozen=True)
class TextIdeas:
    """Puts an idea that a thinker wrote behind the question.

    Args:
      thinkers: names of samplers, see `IdeaInjection`.
      decoding: of the thinker.
    """

    thinkers: tuple[str, ...] = ("main",)
    decoding: Decoding = Decoding(max_tokens=256, temperature=1.0)  # noqa: RUF009 (it is frozen)

    def __call__(self, problem: VisibleProblem, draw: int) -> Asking:
        text = question(problem.prompt)
        who = self.thinkers[int(stream(problem, draw, THINKER).integers(len(self.thinkers)))]
        asked = fill(PACKAGE, "idea", question=text)
        idea = yield from _ask(problem, draw, who, asked, "idea", self.decoding)
        return with_question(problem.prompt, fill(PACKAGE, "with_idea", question=text, idea=idea))


@dataclasses.dataclass(frozen=True)
class Rephrased:
    """Has a narrator write the question in other words, or translate it and back.

    Args:
      narrators: names of samplers.
      languages: through which it is translated, one drawn each time; none for other words in the same language.
      decoding: of the narrator.
    """

    narrators: tuple[str, ...] = ("main",)
    languages: tuple[str, ...] = ()
    decoding: Decoding = Decoding(max_tokens=1024, temperature=1.0)  # noqa: RUF009 (it is frozen)

    def __call__(self, problem: VisibleProblem, draw: int) -> Asking:
        text, rng = question(problem.prompt), stream(problem, draw, THINKER)
        who = self.narrators[int(rng.integers(len(self.narrators)))]
        if not self.languages:
            asked = fill(PACKAGE, "rephrase", question=text)
            other = yield from _ask(problem, draw, who, asked, "rephrase", self.decoding)
            return with_question(problem.prompt, other or text)
        language = self.languages[int(rng.integers(len(self.languages)))]
        for target in (language, "English"):
            asked = fill(PACKAGE, "translate", question=text, language=target)
            text = (yield from _ask(problem, draw, who, asked, "rephrase", self.decoding)) or text
        return with_question(problem.prompt, text)


def question(prompt: Prefix) -> str:
    """The text of a prompt: all of it, or the first message of the user in a chat.

    Raises:
      UserError: if it is made of tokens, or a chat without a user.
    """
    if isinstance(prompt, str):
        return prompt
    asked = [message.content for message in messages_of(prompt) if message.role == "user"]
    if not asked:
        raise UserError("ideas and other words need a question in text: use IdeaInjection and Rewritten for tokens")
    return asked[0]


def with_question(prompt: Prefix, text: str) -> Prefix:
    """A prompt with another question in place of its own."""
    if isinstance(prompt, str):
        return text
    messages = messages_of(prompt)
    at = next(i for i, message in enumerate(messages) if message.role == "user")
    return (*messages[:at], Message("user", text), *messages[at + 1 :])


def _ask(
    problem: VisibleProblem, draw: int, who: str, text: str, role: str, decoding: Decoding
) -> Generator[Any, Any, str]:
    """What a model writes of a text; its draws have a path of their own."""
    path = (problem.seed, problem.number, NARRATOR)
    reply = yield Sample(Request((Message("user", text),), 1, decoding, path, draw, role=role), who)
    if not reply.completions:
        raise BudgetExhaustedError(reply.error)
    return prose_of(reply.completions[0].text or "")
