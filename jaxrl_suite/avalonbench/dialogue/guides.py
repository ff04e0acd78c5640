"""Dialogue guides: worksheets of questions that a player answers in writing before it speaks.

A guide is text. Lines that begin with a number and a full stop are its questions; what stands before the first one is
a preface, and what stands under a question belongs to it:

    Before you speak, settle what each listener should believe afterwards.
    1. What does each player believe about me now?
    2. Which sentence would move that belief, and could I have said it in any role?

How a guide becomes an act is `dialogue.Speaker`: a model fills in the worksheet, then turns its answers into a speech.
"""

from __future__ import annotations

import dataclasses
import re

from jaxrl_suite.envs.avalon.roles import ROLE_NAMES
from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.llm import parsing

PROMPTS = "jaxrl_suite.avalonbench.dialogue"  # the package whose prompts are filled in

MAX_QUESTIONS = 20
MAX_CHARACTERS = 6000

_NUMBERED = re.compile(r"^\s*(\d{1,3})\s*[.)]\s+(.*)$")


@dataclasses.dataclass(frozen=True)
class Guide:
    """A worksheet for one role.

    Args:
      role: a name in `ROLE_NAMES`, like "merlin".
      preface: what is said before the questions; may be empty.
      questions: in order.
    """

    role: str
    preface: str
    questions: tuple[str, ...]

    def __post_init__(self):
        if self.role not in ROLE_NAMES:
            raise UserError(f"no role is called {self.role!r}{suggest(self.role, ROLE_NAMES)}")
        if not self.questions or any(not question.strip() for question in self.questions):
            raise UserError("a guide needs questions: lines like '1. What does each player believe about me?'")
        if len(self.questions) > MAX_QUESTIONS:
            raise UserError(f"a guide has at most {MAX_QUESTIONS} questions, got {len(self.questions)}: merge some")
        if len(self.text) > MAX_CHARACTERS:
            raise UserError(f"a guide has at most {MAX_CHARACTERS} characters, got {len(self.text)}: shorten it")

    @property
    def text(self) -> str:
        """The worksheet as it is shown; `Guide.parse` reads it."""
        numbered = [f"{number}. {question}" for number, question in enumerate(self.questions, 1)]
        return "\n".join([*([self.preface] if self.preface else []), *numbered]) + "\n"

    @classmethod
    def parse(cls, role: str, text: str) -> Guide:
        """The guide in `text`.

        Raises:
          UserError: if there is no question in it, there are too many, or it is too long; one line with the remedy.
        """
        preface: list[str] = []
        questions: list[list[str]] = []
        for line in text.strip().splitlines():
            found = _NUMBERED.match(line)
            if found and int(found[1]) == len(questions) + 1:
                questions.append([found[2].strip()])
            else:
                (questions[-1] if questions else preface).append(line.rstrip())
        return cls(role, "\n".join(preface).strip(), tuple("\n".join(lines).strip() for lines in questions))


def seed_guide(role: str) -> Guide:
    """The worksheet that improvement starts from, for "merlin", "servant", "minion" or "assassin"."""
    seeds = ("merlin", "servant", "minion", "assassin")
    if role not in seeds:
        raise UserError(f"there is no seed guide for {role!r}{suggest(role, seeds)}")
    return Guide.parse(role, parsing.prompt(PROMPTS, f"seed_{role}"))
