"""Strategies written by a language model, through the sampler protocol; its prompts are `prompts/*.md`.

Every call stands alone: a system message with the task, and one question. What a model writes is read as text, by
`llm.parsing`, and nothing of it runs here. An answer in which there is nothing to use becomes a draft with a problem,
which goes the same way as code that fails its check: back to the model, or out.

Reference: arXiv 2408.10635, algorithm 1 (the kinds of calls; the prompts are this project's own).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.proposer import CALLS, Asking, Draft, Path
from jaxrl_suite.evolve.records import KeyState, Strategy
from jaxrl_suite.llm import parsing
from jaxrl_suite.llm.parsing import ParsedText, fill
from jaxrl_suite.llm.protocol import Completion, Decoding, Message, Request
from jaxrl_suite.llm.questions import Sample

PROMPTS = "jaxrl_suite.evolve"  # the package whose prompts are filled in
CONCLUSIONS = "conclusions"  # the page that every kind of text has of its own

MAX_STATE = 1500  # characters of one described state
SHOWN_IDEAS = 12  # of those that are known already

TALK = Decoding(max_tokens=700, temperature=0.7)
WRITE = Decoding(max_tokens=2500, temperature=0.7)


class Kind(NamedTuple):
    """A kind of text that is searched for, as those who write and read it must know it.

    Args:
      name: that its strategies carry.
      noun: what it is called in prompts.
      package: whose `prompts/` hold two pages of it: `NAME_form.md`, how to answer, and `NAME_conclusions.md`, which
        shows `$text` and `$states` and asks what is wrong.
      parse: the text in an answer, or what is the matter with it.
      language: of the block that it is shown in, if it is code.
    """

    name: str
    noun: str
    package: str
    parse: Callable[[str], ParsedText]
    language: str = ""


@dataclasses.dataclass(frozen=True)
class Brief:
    """A proposer's description of its task.

    Args:
      kind: of the strategies.
      task: the rules of the game and what a strategy must be, in words, for instance `views.contract(game)`.
    """

    kind: Kind
    task: str

    def __post_init__(self):
        if not isinstance(self.kind, Kind):
            raise UserError(
                f"kind must be a Kind, such as HEURISTIC or GUIDE of jaxrl_suite.strategist, got {self.kind!r}"
            )
        if not self.task.strip():
            raise UserError("the task is empty: describe the game and the form of a strategy, see views.contract")


@dataclasses.dataclass(frozen=True)
class LanguageModelProposer:
    """Asks a language model.

    Args:
      brief: the task.
      talk: how conclusions, ideas and thoughts are drawn.
      write: how strategies are drawn.
      sampler: which, where a run has several; it must work on text.
    """

    brief: Brief
    talk: Decoding = TALK
    write: Decoding = WRITE
    sampler: str = "main"

    @property
    def name(self) -> str:
        return "language model"

    def seed(self, path: Path) -> Asking[Draft]:
        thought = yield from self._prose("seed", (*path, 0), "seed_thought")
        return (yield from self._draft("seed", (*path, 1), "seed", thought, thought=thought))

    def conclusions(self, strategy: Strategy, states: Sequence[KeyState], path: Path) -> Asking[str]:
        shown = "\n\n".join(described(place, state) for place, state in enumerate(states, 1)) or "(none were recorded)"
        return (yield from self._prose("conclusions", path, CONCLUSIONS, text=strategy.text, states=shown))

    def ideas(
        self, strategy: Strategy, conclusions: str, known: Sequence[str], count: int, path: Path
    ) -> Asking[tuple[str, ...]]:
        old = "\n".join(f"- {idea}" for idea in known[-SHOWN_IDEAS:])
        answer = yield from self._ask(
            "ideas", path, "ideas", self.talk,
            text=strategy.text, conclusions=conclusions or "(nothing)",
            known=f"These ideas are known already; have other ones:\n{old}\n" if known else "",
            count="one idea how to improve it" if count == 1 else f"{count} different ideas how to improve it",
        )  # fmt: skip
        return parsing.ideas_of(answer.text or "", count)

    def revise(self, strategy: Strategy, conclusions: str, path: Path) -> Asking[str]:
        plan = strategy.thought or "(there is no plan yet: first say what it does now)"
        return (
            yield from self._prose(
                "revise",
                path,
                "revise",
                text=strategy.text,
                thought=plan,
                conclusions=conclusions or "(nothing)",
            )
        )

    def implement(self, strategy: Strategy, idea: str, path: Path) -> Asking[Draft]:
        page = "implement"
        return (yield from self._draft("implement", path, page, strategy.thought, text=strategy.text, idea=idea))

    def follow(self, strategy: Strategy, thought: str, path: Path) -> Asking[Draft]:
        return (yield from self._draft("follow", path, "follow", thought, text=strategy.text, thought=thought))

    def repair(self, draft: Draft, failure: str, path: Path) -> Asking[Draft | None]:
        text = draft.text[: parsing.MAX_CODE]
        return (yield from self._draft("repair", path, "repair", draft.thought, text=text, failure=failure))

    def _draft(self, call: str, path: Path, page: str, keep: str, **words: str) -> Asking[Draft]:
        """A strategy; `keep` is the thought that it follows."""
        answer = yield from self._ask(call, path, page, self.write, **words)
        text = answer.text or ""
        parsed = self.brief.kind.parse(text)
        problem = ""
        if answer.finish == "length":
            problem = f"the answer was cut off after {answer.num_tokens} tokens: write less, and nothing but the block"
        elif not text.strip():
            problem = "the answer was empty" + ", the server refused to give one" * (answer.finish == "filter")
        return Draft(parsed.text, thought=keep, problem=problem or parsed.problem)

    def _prose(self, call: str, path: Path, page: str, **words: str) -> Asking[str]:
        answer = yield from self._ask(call, path, page, self.talk, **words)
        return parsing.prose_of(answer.text or "")

    def _ask(self, call: str, path: Path, page: str, decoding: Decoding, **words: str) -> Asking[Completion]:
        kind = self.brief.kind
        words = {"noun": kind.noun, **words}
        if "text" in words:
            words["text"] = _fenced(words["text"], kind.language)
        words["form"] = fill(kind.package, f"{kind.name}_form")
        asked = (
            fill(kind.package, f"{kind.name}_{page}", **words) if page == CONCLUSIONS else fill(PROMPTS, page, **words)
        )
        prefix = Message("system", fill(PROMPTS, "system", task=self.brief.task.strip())), Message("user", asked)
        # After the seed's first number, the kind of call: an idea and its implementation never share a stream.
        path = (path[0], CALLS[call], *path[1:])
        reply = yield Sample(Request(prefix, decoding=decoding, path=path, role=call), self.sampler)
        return reply.completions[0]


def described(number: int, state: KeyState) -> str:
    """One key state in words and numbers, for a prompt."""
    named = ", ".join(f"{name} = {value:.4g}" for name, value in state.named.items()) or "none"
    lines = (
        f"[{number}] {state.state.strip()[:MAX_STATE]}",
        f"its values: {_numbers(state.heuristic)}",
        f"its intermediate values: {named}",
        f"values that the search found: {_numbers(state.search)}",
        f"how it ended: {_numbers(state.outcome)}",
    )
    return "\n".join(lines)


def _fenced(text: str, language: str) -> str:
    fence = "````" if "```" in text else "```"
    return f"{fence}{language}\n{text.strip()}\n{fence}"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
