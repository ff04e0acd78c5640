"""A thinker of countdown: directions are the styles that its model knows, an edit writes all but the right lines anew.

The model never writes a style, so directions are drawn by what was learnt of them alone, evenly at first, and cost
nothing. An edit holds the right lines of a solution but the last fixed: one of them must be wrong, or there would be
nothing to mend.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Decoding
from jaxrl_suite.llm.task_models.families import TaskFamily
from jaxrl_suite.scaling.forest.choices import draw_choices
from jaxrl_suite.scaling.forest.thinker import SOLVE, Asking, Direction, DraftSolution, Feedback, Path, Subject
from jaxrl_suite.scaling.forest.tokens import Insights, TokenThinker
from jaxrl_suite.scaling.records import GradedAnswer
from jaxrl_suite.scaling.token_problems import TokenProblems

LINE = 4  # tokens of a line of countdown


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrefixThinker(TokenThinker):
    """The thinker of one problem of countdown; made by `prefix_thinker`.

    Args:
      problems: among which it is.
      decoding: how answers are drawn.
    """

    problems: TokenProblems
    decoding: Decoding

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.problems.prompts[self.number]

    @property
    def num_themes(self) -> int:
        return 1 + len(self.names)  # the first is none

    def seed(self, draw: int, theme: int | None) -> Asking[DraftSolution]:
        path, opening = ((SOLVE, theme), (list(self.names)[theme - 1],)) if theme else ((SOLVE,), ())
        return (yield from self.write((*opening, *self.prompt), self.decoding, path, draw, "solve"))

    def directions(
        self, subject: Subject, insights: Insights, tried: Sequence[Direction], count: int, path: Path, *, scatter: bool
    ) -> Asking[tuple[Direction, ...]]:
        tokens = list(self.names)
        logits = np.asarray(insights, np.float64) / self.habits.temperature
        if scatter:
            logits[[tokens.index(one.token) for one in tried if one.token in self.names]] = -np.inf
        if not np.isfinite(logits).any():
            return ()
        chosen = draw_choices(logits, count, self.chooser(path), repeat=not scatter)
        return tuple(Direction(self.names[tokens[i]], 0.0, tokens[i]) for i in chosen)
        yield

    def edit(self, subject: Subject, direction: Direction | None, path: Path) -> Asking[DraftSolution]:
        opening = () if direction is None or direction.token < 0 else (direction.token,)
        lines = sum(subject.feedback.passed) - 1
        held = subject.solution[: LINE * max(0, min(lines, len(subject.feedback.passed) - 2))]
        decoding = dataclasses.replace(self.decoding, max_tokens=self.decoding.max_tokens - len(held))
        draft = yield from self.write((*opening, *self.prompt, *held), decoding, path, 0, "edit")
        return draft._replace(solution=(*held, *draft.solution))

    def show(self, solution: tuple[int, ...]) -> str:
        return self.problems.task.render(solution)


def prefix_thinker(
    family: TaskFamily, problems: TokenProblems, number: int, seed: int, temperature: float
) -> PrefixThinker:
    """A thinker of problem `number` of a family whose prompts may have a style in front.

    Raises:
      UserError: if the family has no styles.
    """
    if family.prefixes is None or family.name != "countdown":
        raise UserError(f"the family {family.name} has no styles to think in: take countdown")
    names = {family.prefixes.first + i: style for i, style in enumerate(family.prefixes.styles)}
    return PrefixThinker(
        number, seed, names, models={}, problems=problems, decoding=problems.decoding(temperature)
    )  # fmt: skip


def line_feedback(problems: TokenProblems, answers: Sequence[GradedAnswer]) -> list[Feedback]:
    """Feedback on answers to countdown: the visible reward, and for each line whether it and those before are right."""
    grades = problems.verdicts(answers)
    steps = np.asarray(problems.problems.steps)[[answer.number for answer in answers]].tolist()
    scored = zip(problems.rewards_of(grades, answers), grades.leading.tolist(), steps, strict=True)
    return [Feedback(score, tuple(i < leading for i in range(count))) for score, leading, count in scored]
