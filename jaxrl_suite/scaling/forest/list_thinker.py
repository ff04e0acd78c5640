"""The thinker of list functions, and the tests that judge its programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.tasks.listfun import EOS, ListProblem
from jaxrl_suite.envs.tasks.tokens import pad_rows
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Decoding, Sampler
from jaxrl_suite.llm.task_models.list_edits import ANY, CLASSES, DIRECTIONS, PLAIN, THEME, ListEdits, edit_prompt
from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.model import Params
from jaxrl_suite.llm.transformer.prefix_cache import bucket
from jaxrl_suite.llm.transformer.sampler import SamplerConfig, TransformerSampler
from jaxrl_suite.scaling.forest.choices import ChoiceSampler, transformer_reader
from jaxrl_suite.scaling.forest.thinker import SOLVE, Asking, Direction, DraftSolution, Feedback, Path, Subject
from jaxrl_suite.scaling.forest.tokens import TokenThinker
from jaxrl_suite.scaling.records import GradedAnswer, VisibleProblem

ROWS = 64  # decoded together; the same bits whatever is beside a draw


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListThinker(TokenThinker):
    """The thinker of one list function.

    Args:
      prompt: tokens of the examples, up to the `?`.
      task: of the problem.
      decoding: how programs are drawn.
    """

    prompt: tuple[int, ...]
    task: ListEdits
    decoding: Decoding

    @property
    def num_themes(self) -> int:
        return 1 + len(CLASSES)  # the first is none

    @property
    def visible(self) -> VisibleProblem:
        """The same problem for methods that do not think."""
        return VisibleProblem(self.number, (*self.prompt, PLAIN), self.decoding, "tests", self.seed_number)

    def seed(self, draw: int, theme: int | None) -> Asking[DraftSolution]:
        path = (SOLVE, theme) if theme else (SOLVE,)
        opening = THEME + theme - 1 if theme else PLAIN
        return (yield from self.write((*self.prompt, opening), self.decoding, path, draw, "solve"))

    def idea_prefix(self, subject: Subject) -> tuple[int, ...]:
        passed = subject.feedback.passed[: self.task.examples]  # the model has learned of the examples alone
        return edit_prompt(self.prompt, subject.solution, passed, self.task.max_operations)

    def edit(self, subject: Subject, direction: Direction | None, path: Path) -> Asking[DraftSolution]:
        hint = ANY if direction is None or direction.token < 0 else direction.token
        return (yield from self.write((*self.idea_prefix(subject), hint), self.decoding, path, 0, "edit"))

    def show(self, solution: tuple[int, ...]) -> str:
        return self.task.render(solution)


def list_thinker(
    task: ListEdits, prompt: tuple[int, ...], number: int, seed: int, temperature: float, **changes
) -> ListThinker:
    """A thinker of one problem, with the directions of list functions; `changes` are fields of it."""
    decoding = Decoding(max_tokens=task.max_answer, temperature=temperature)
    return ListThinker(number, seed, DIRECTIONS, prompt=prompt, task=task, decoding=decoding, **changes)


def list_prompts(task: ListEdits, problems: ListProblem) -> tuple[tuple[int, ...], ...]:
    """The prompts of stacked problems, up to the `?`, on the host."""
    texts = jax.device_get(jax.jit(jax.vmap(task.prompt))(problems))
    return tuple(tuple(row[: size - 1].tolist()) for row, size in zip(texts.tokens, texts.length, strict=True))


def list_samplers(name: str, config: LMConfig, params: Params, seed: int = 0) -> dict[str, Sampler]:
    """The editing model as the samplers "main" and "directions"."""
    main = TransformerSampler(
        name, config, params, eos=(EOS,), options=SamplerConfig(seed=seed, max_rows=ROWS, fixed_rows=True)
    )
    return {"main": main, "directions": ChoiceSampler(main, list(DIRECTIONS), transformer_reader(config, params))}


class ListTests:
    """The tests of a batch of problems: inputs that a search is told of, and others that it is not.

    A program is judged once; what it was found to be is remembered.

    Args:
      task: of the problems.
      problems: P of them, stacked; the number of an answer is its place among them.
      visible: inputs that a search is told of, the E examples first; None for those alone.

    Raises:
      UserError: if there are not so many inputs.
    """

    def __init__(self, task: ListEdits, problems: ListProblem, visible: int | None = None):
        self.task, self.problems = task, problems
        self.num_visible = task.examples if visible is None else visible
        if not task.examples <= self.num_visible <= task.examples + task.hidden:
            raise UserError(
                f"visible must be {task.examples} to {task.examples + task.hidden} inputs, got {self.num_visible}"
            )
        self._found: dict[tuple[int, tuple[int, ...]], np.ndarray] = {}

        @jax.jit
        def judge(problems: ListProblem, numbers: jax.Array, tokens: jax.Array) -> jax.Array:
            ours = jax.tree.map(lambda leaf: leaf[numbers], problems)
            return jax.vmap(task.right)(ours, tokens)

        self._judge = judge

    def visible(self, items: Sequence[GradedAnswer]) -> list[Feedback]:
        """Feedback of the visible inputs, for `run_lockstep`."""
        shown = (right[: self.num_visible] for right in self.right(items))
        return [Feedback(float(right.mean()), tuple(right.tolist())) for right in shown]

    def solved(self, items: Sequence[GradedAnswer]) -> list[bool]:
        """Verdicts: which pass the hidden inputs too."""
        return [bool(right.all()) for right in self.right(items)]

    def right(self, items: Sequence[GradedAnswer]) -> list[np.ndarray]:
        """bool[E + H] of each item."""
        new = list(
            dict.fromkeys((item.number, item.tokens) for item in items if (item.number, item.tokens) not in self._found)
        )
        if new:
            rows = pad_rows([np.asarray(tokens) for _, tokens in new], self.task.max_answer, self.task.pad)
            numbers = np.zeros(bucket(len(new)), np.int32)
            table = np.full((len(numbers), rows.shape[1]), self.task.pad, np.int32)
            numbers[: len(new)], table[: len(new)] = [number for number, _ in new], rows
            found = np.asarray(self._judge(self.problems, jnp.asarray(numbers), jnp.asarray(table)))
            self._found.update(zip(new, found, strict=False))
        return [self._found[item.number, item.tokens] for item in items]
