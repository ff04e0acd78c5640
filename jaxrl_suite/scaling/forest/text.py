"""A thinker on text: a chat model that is asked for solutions, directions, edits and insights in words.

Its prompts are `prompts/*.md`, this project's own. What it answers is read as text and nothing of it runs here: the
verifier, which lives in the sandbox, is asked for feedback. Of the tests it is shown at most five that fail and five
that pass, with what came out.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.fences import blocks_of, without_thinking
from jaxrl_suite.llm.ledger import BudgetExhaustedError
from jaxrl_suite.llm.parsing import code_of, fill, ideas_of, prose_of
from jaxrl_suite.llm.protocol import Completion, Decoding, Message, Request
from jaxrl_suite.llm.questions import Sample, Verify
from jaxrl_suite.scaling.forest.thinker import (
    SOLVE,
    TEST,
    VERBALIZE,
    Asking,
    Direction,
    DraftSolution,
    Feedback,
    Path,
    Subject,
)

PACKAGE = "jaxrl_suite.scaling.forest"
SHOWN_TESTS, CLIPPED = 5, 100  # tests of each kind, and characters of a test's line
SHOWN_DIRECTIONS = 12
THEMES = (  # the first is none
    "",
    "Work out a small example by hand first, and let the program follow it step by step.",
    "Prefer the plainest program that is right, however slow it is.",
    "Think of the inputs that break most programs: empty, single, repeated, negative, very large.",
    "Write small helper functions, each of which is obviously right.",
    "Look for a formula or a known algorithm before you write a loop.",
)
_PROBABILITY = re.compile(r"probability\W{0,6}(\d*\.?\d+)\s*(%?)", re.IGNORECASE)
_INSIGHTS = re.compile(r"^[^\w\n]*insights(?:[^\w\n]*:[^\w\n]*|[^\w\n]*$)", re.IGNORECASE | re.MULTILINE)


class TextAnswer(NamedTuple):
    """An answer in words that a verifier grades."""

    number: int  # of the problem
    text: str


@dataclasses.dataclass(frozen=True)
class TextThinker:
    """A thinker of one problem on text.

    Args:
      number: of the problem, to the random streams and the verifier.
      seed_number: of the search.
      problem: its statement.
      entry: name of the function that is wanted; "" if any program is.
      themes: sentences, one of which stands before the request for a first solution.
      write: how programs are drawn.
      talk: how directions and insights are drawn.
      models: role (solve, idea, edit, insight, verbalize, test) to sampler, "main" where it is left out.
      verifier: gives `Feedback` on a `TextAnswer`.

    Raises:
      UserError: if there is no problem.
    """

    number: int
    seed_number: int
    problem: str
    entry: str = ""
    themes: tuple[str, ...] = THEMES
    write: Decoding = Decoding(max_tokens=1500, temperature=0.2)  # noqa: RUF009 (it is frozen)
    talk: Decoding = Decoding(max_tokens=600, temperature=0.2)  # noqa: RUF009
    models: Mapping[str, str] = dataclasses.field(default_factory=dict)
    verifier: str = "tests"

    no_insights = ""

    def __post_init__(self):
        if not self.problem.strip():
            raise UserError("the problem is empty: say what the program must do")

    @property
    def key(self) -> tuple[int, int]:
        return self.seed_number, self.number

    @property
    def num_themes(self) -> int:
        return len(self.themes)

    def seed(self, draw: int, theme: int | None) -> Asking[DraftSolution]:
        path = (SOLVE, theme) if theme and self.themes[theme] else (SOLVE,)
        words = {"theme": "" if theme is None else self.themes[theme]}
        return (yield from self._program("solve", path, "seed", draw, **words))

    def several(self, count: int, draw: int) -> Asking[tuple[DraftSolution, ...]]:
        decoding = dataclasses.replace(self.write, max_tokens=self.write.max_tokens * count)
        answer = yield from self._ask("verbalize", (VERBALIZE,), "several", decoding, draw, count=str(count))
        found = verbalized(answer.text or "", self.entry)
        return tuple(DraftSolution(text, math.log(max(p, 1e-9))) for text, p in found[:count])

    def directions(
        self, subject: Subject, insights: str, tried: Sequence[Direction], count: int, path: Path, *, scatter: bool
    ) -> Asking[tuple[Direction, ...]]:
        known = "\n".join(f"- {one.text}" for one in tried[-SHOWN_DIRECTIONS:])
        words = {
            "text": fenced(subject.solution),
            "feedback": described(subject.feedback),
            "insights": insights or "(nothing yet)",
            "known": f"These directions are known already; give other ones:\n{known}\n" if known and scatter else "",
            "count": "one direction" if count == 1 else f"{count} directions" + " that differ" * scatter,
        }
        answer = yield from self._ask("idea", path, "directions", self.talk, 0, **words)
        logprob = 0.0 if answer.logprobs is None else float(answer.logprobs.sum())
        return tuple(Direction(text, logprob) for text in ideas_of(answer.text or "", count))

    def edit(self, subject: Subject, direction: Direction | None, path: Path) -> Asking[DraftSolution]:
        words = {"text": fenced(subject.solution), "feedback": described(subject.feedback)}
        if direction is None:
            return (yield from self._program("edit", path, "repair", 0, **words))
        return (yield from self._program("edit", path, "edit", 0, direction=direction.text, **words))

    def learn(
        self, insights: str, before: Subject, direction: Direction | None, after: Subject, path: Path
    ) -> Asking[str]:
        answer = yield from self._ask(
            "insight", path, "insights", self.talk, 0,
            before=fenced(before.solution), feedback_before=described(before.feedback),
            after=fenced(after.solution), feedback_after=described(after.feedback),
            score_before=f"{before.feedback.score:.2f}", score_after=f"{after.feedback.score:.2f}",
            direction="(none: the model repaired it as it liked)" if direction is None else direction.text,
            insights=insights or "(nothing yet)",
        )  # fmt: skip
        return insights_of(answer.text or "") or insights

    def grade(self, solution: str) -> Asking[Feedback]:
        verdicts = yield Verify(self.verifier, (TextAnswer(self.number, solution),), role="test")
        if not verdicts.values:
            raise BudgetExhaustedError(verdicts.error)
        return verdicts.values[0]

    def show(self, solution: str) -> str:
        return solution

    def tests(self, count: int, *, tries: int = 20) -> Asking[tuple[str, ...]]:
        """Tests that the model writes itself: up to `count` lines that parse; whether they are true is not checked.

        Raises:
          UserError: if there is no function to test.
        """
        if not self.entry:
            raise UserError("self-written tests call a function: give its name as `entry`")
        found: list[str] = []
        asked = {"count": str(count), "entry": self.entry}
        with contextlib.suppress(BudgetExhaustedError):
            for draw in range(tries if self.talk.temperature > 0 else 1):  # greedy answers are all the same
                answer = yield from self._ask("test", (TEST,), "tests", self.talk, draw, **asked)
                found = list(dict.fromkeys([*found, *asserts_of(answer.text or "")]))
                if len(found) >= count:
                    break
        return tuple(found[:count])

    def _program(self, role: str, path: Path, page: str, draw: int, **words: str) -> Asking[DraftSolution]:
        answer = yield from self._ask(role, path, page, self.write, draw, form=fill(PACKAGE, "form"), **words)
        found = code_of(answer.text or "", self.entry)
        logprob = 0.0 if answer.logprobs is None else float(answer.logprobs.sum())
        return DraftSolution("" if found.problem else found.text, logprob)

    def _ask(self, role: str, path: Path, page: str, decoding: Decoding, draw: int, **words: str) -> Asking[Completion]:
        system = Message("system", fill(PACKAGE, "system", problem=self.problem.strip()))
        prefix = system, Message("user", fill(PACKAGE, page, **words))
        request = Request(prefix, decoding=decoding, path=(*self.key, *path), first_draw=draw, role=role)
        reply = yield Sample(request, self.models.get(role, "main"))
        return reply.completions[0]


def described(feedback: Feedback) -> str:
    """Up to five tests that fail and five that pass, a line each, clipped."""
    if not feedback.outputs:
        return f"{feedback.score:.0%} of the tests pass."
    lines = []
    for passed, heading in ((False, "These tests fail:"), (True, "These tests pass:")):
        ours = [line for line, good in zip(feedback.outputs, feedback.passed, strict=True) if good == passed]
        if ours:
            lines += [heading, *(f"- {line[:CLIPPED]}" for line in ours[:SHOWN_TESTS])]
    return "\n".join(lines)


def verbalized(answer: str, entry: str = "") -> list[tuple[str, float]]:
    """Programs of an answer with the probability that is named before each, the most probable first.

    One without a probability has that of an even share; programs that are alike count once.
    """
    answer = without_thinking(answer)
    found: dict[str, float] = {}
    blocks = [code for block in blocks_of(answer) if (code := code_of(f"```python\n{block.text}\n```", entry).text)]
    named = _PROBABILITY.findall(answer)
    values = [float(number) / (100 if percent else 1) for number, percent in named]
    if len(values) != len(blocks):
        values = [1 / max(1, len(blocks))] * len(blocks)
    for code, p in zip(blocks, values, strict=True):
        found.setdefault(code, min(p, 1.0))
    return sorted(found.items(), key=lambda item: -item[1])


def insights_of(answer: str) -> str:
    """The part of an answer below its last heading `Insights`, else all of it."""
    text = prose_of(answer)
    found = list(_INSIGHTS.finditer(text))
    return text[found[-1].end() :].strip() if found else text


def asserts_of(answer: str) -> list[str]:
    """Lines of an answer that are assertions and parse as Python."""
    lines = []
    for line in code_of(answer).text.splitlines():
        if line.startswith("assert "):
            try:
                ast.parse(line)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            lines.append(line.strip())
    return lines


def fenced(text: str) -> str:
    """A program in a block, as a prompt shows it."""
    fence = "````" if "```" in text else "```"
    return f"{fence}python\n{text.strip() or '# (no program was found in the answer)'}\n{fence}"
