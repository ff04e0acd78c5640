"""Perturbations of a prompt, for samples that differ: pools of sentences or tokens, other orders, ideas of a thinker.

A perturbation is called with a problem and the number of a draw and is a generator: it may ask a model, and returns the
prompt of that draw. Which one it takes depends on the seed, the problem and the draw alone.

    task level      `FromPool`: a role, an instruction or a line of nonsense in front of the question
    query level     `Rewritten`: the question in another order; `IdeaInjection`: the question with an idea

Reference: Wang et al., "On the effect of sampling diversity in scaling LLM inference", arXiv 2502.11027, section 3.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Generator
from typing import Any, Protocol

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.ledger import BudgetExhaustedError
from jaxrl_suite.llm.protocol import Decoding, Prefix, Request
from jaxrl_suite.llm.questions import Sample
from jaxrl_suite.scaling.records import VisibleProblem
from jaxrl_suite.scaling.units import messages_of, tokens_of, units_of

Asking = Generator[Any, Any, Prefix]
REWRITE, THINKER, POOL = range(3)  # streams of what is drawn; each pool has its own from POOL on


class Perturbation(Protocol):
    """A way to change prompts."""

    def __call__(self, problem: VisibleProblem, draw: int) -> Asking: ...


def insert(prompt: Prefix, addition: tuple[int, ...] | str) -> Prefix:
    """A prompt with tokens or a sentence in front; in a chat it comes first in the first message of the user.

    Raises:
      UserError: if tokens are put in front of text, or text in front of tokens.
    """
    if isinstance(prompt, str) and isinstance(addition, str):
        return f"{addition}\n\n{prompt}"
    if (messages := messages_of(prompt)) and isinstance(addition, str):
        at = next((i for i, message in enumerate(messages) if message.role == "user"), 0)
        changed = messages[at]._replace(content=f"{addition}\n\n{messages[at].content}")
        return (*messages[:at], changed, *messages[at + 1 :])
    if (tokens := tokens_of(prompt)) and isinstance(addition, tuple):
        return (*addition, *tokens)
    kind = "tokens" if isinstance(addition, tuple) else "text"
    raise UserError(f"a pool of {kind} does not fit a prompt of another kind: give both as text, or both as tokens")


@dataclasses.dataclass(frozen=True)
class Unchanged:
    """Leaves the prompt as it is: plain best-of-N."""

    def __call__(self, problem: VisibleProblem, draw: int) -> Asking:
        yield from ()
        return problem.prompt


@dataclasses.dataclass(frozen=True)
class FromPool:
    """Puts an entry of a pool in front, drawn uniformly and with replacement.

    Args:
      pool: entries, all tokens or all text.
      fixed: one draw for all of a problem: diversity between problems alone, the baseline of the theorem.

    Raises:
      UserError: if the pool is empty.
    """

    pool: tuple[tuple[int, ...] | str, ...]
    fixed: bool = False

    def __post_init__(self):
        if not self.pool:
            raise UserError("the pool is empty: give at least one entry")

    def __call__(self, problem: VisibleProblem, draw: int) -> Asking:
        yield from ()
        part = zlib.crc32(repr(self.pool).encode())  # two pools are drawn from independently
        at = int(stream(problem, 0 if self.fixed else draw, POOL + part).integers(len(self.pool)))
        return insert(problem.prompt, self.pool[at])


@dataclasses.dataclass(frozen=True)
class Rewritten:
    """Rewrites the prompt by a function, for instance in another order.

    Args:
      rewrite: `(prompt, generator) -> prompt`; the question must stay the same.
    """

    rewrite: Callable[[Any, np.random.Generator], Prefix]

    def __call__(self, problem: VisibleProblem, draw: int) -> Asking:
        yield from ()
        return self.rewrite(problem.prompt, stream(problem, draw, REWRITE))


@dataclasses.dataclass(frozen=True)
class IdeaInjection:
    """Puts the first tokens of a thinker's answer in front, as an idea that the solver may follow.

    Args:
      thinkers: names of samplers; one that is the solver's own is "single", another one "dual", several "diverse".
      length: tokens of an idea.
      mark: tokens in front of it.
      temperature: of the thinker.

    Raises:
      UserError: if there is no thinker, or an idea has no token.
    """

    thinkers: tuple[str, ...] = ("main",)
    length: int = 3
    mark: tuple[int, ...] = ()
    temperature: float = 1.0

    def __post_init__(self):
        if not self.thinkers or self.length < 1:
            raise UserError(f"give at least one thinker and a length of at least 1, got {self.thinkers}, {self.length}")

    def __call__(self, problem: VisibleProblem, draw: int) -> Asking:
        at = int(stream(problem, draw, THINKER).integers(len(self.thinkers)))
        decoding = Decoding(max_tokens=self.length, temperature=self.temperature)
        path = (problem.seed, problem.number, 2**31)
        reply = yield Sample(Request(problem.prompt, 1, decoding, path, draw, role="idea"), self.thinkers[at])
        if not reply.completions:
            raise BudgetExhaustedError(reply.error)
        return insert(problem.prompt, (*self.mark, *units_of(reply.completions[0], problem.prompt)))


@dataclasses.dataclass(frozen=True)
class Combined:
    """One perturbation after the other, the first on the bare prompt.

    Args:
      parts: at least one.
    """

    parts: tuple[Perturbation, ...]

    def __call__(self, problem: VisibleProblem, draw: int) -> Asking:
        for part in self.parts:
            prompt = yield from part(problem, draw)
            problem = dataclasses.replace(problem, prompt=prompt)
        return problem.prompt


def stream(problem: VisibleProblem, draw: int, part: int) -> np.random.Generator:
    """Random numbers of one draw of a problem, apart for each part of a perturbation."""
    return np.random.default_rng((problem.seed, problem.number, draw, part))
