"""Questions that an algorithm may ask, their answers, and how an answer comes together under a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.ledger import Ledger
from jaxrl_suite.llm.protocol import Completion, Reply, Request, Usage


@dataclasses.dataclass(frozen=True)
class Sample:
    """Asks for samples; answered by a `Reply`.

    If the budget ends, the reply holds the samples that it still paid for, and says `exhausted`. Only the last of them
    is shortened, and they are the same as if they had been asked for one by one.

    Args:
      request: what to draw.
      sampler: which model, where there are several.
    """

    request: Request
    sampler: str = "main"


@dataclasses.dataclass(frozen=True)
class Verify:
    """Asks for verdicts; answered by `Verdicts`.

    Args:
      verifier: its name.
      items: what it judges, at least one; each is a verifier call.
      role: column of the ledger.
    """

    verifier: str
    items: tuple[Any, ...]
    role: str = "solve"

    def __post_init__(self):
        if not isinstance(self.items, tuple):
            raise UserError(f"items must be a tuple, got a {type(self.items).__name__}: write tuple(...)")
        if not self.items:
            raise UserError("there is nothing to verify: give at least one item")


class Verdicts(NamedTuple):
    """A verifier's verdicts.

    Args:
      values: one an item, in order; fewer if the budget ended.
      error: why some are missing; one line.
      exhausted: whether some are.
    """

    values: tuple[Any, ...]
    error: str | None = None
    exhausted: bool = False


Question: TypeAlias = Sample | Verify
Answer: TypeAlias = Reply | Verdicts


class Slot:
    """A question that waits for its answer.

    Attributes:
      is_done: whether the answer is complete, or will not become so.
      is_whole: whether all that is missing was granted.
      raised: an error of the service, for the algorithm.
    """

    def __init__(self, ledger: Ledger, service: str):
        self.ledger, self.service = ledger, service
        self.is_done, self.is_whole = False, True
        self.raised: Exception | None = None
        self.error: str | None = None
        self.exhausted = False

    @property
    def has_something(self) -> bool:
        """True if a part of the answer is there."""
        raise NotImplementedError

    def grant(self, *, alone: bool) -> bool:
        """Reserves what may be spent now.

        Args:
          alone: nothing else of the job is in flight.

        Returns:
          Whether there is something to serve.
        """
        raise NotImplementedError

    def answer(self) -> Answer:
        raise NotImplementedError

    def refuse(self, reason: str) -> None:
        """The budget has ended."""
        self.error, self.exhausted, self.is_done = reason, True, True


class SampleSlot(Slot):
    """Samples that are on their way, in one request or, under a tight budget, in several."""

    def __init__(self, ledger: Ledger, question: Sample):
        super().__init__(ledger, question.sampler)
        self.request = question.request
        self.granted = question.request
        self._completions: list[Completion] = []
        self._usage, self._fresh = Usage(), Usage()

    @property
    def has_something(self) -> bool:
        return bool(self._completions)

    def grant(self, *, alone: bool) -> bool:
        got, ledger = len(self._completions), self.ledger
        rest = self.request
        if got:
            rest = dataclasses.replace(rest, first_draw=rest.first_draw + got, num_samples=rest.num_samples - got)
        granted = ledger.grant(rest, cut_tokens=alone)
        self.is_whole = granted is not None and granted.num_samples == rest.num_samples
        if granted is not None:
            self.granted = granted
        elif alone:
            self.refuse(ledger.reason(rest))
        return granted is not None

    def take(self, reply: Reply) -> None:
        """The reply to `granted`."""
        self.ledger.settle(self.granted, reply.usage)
        if self._completions:
            self._usage, self._fresh = self._usage + reply.usage, self._fresh + reply.fresh
        else:
            self._usage, self._fresh = reply.usage, reply.fresh
        self._completions += reply.completions
        missing = self.granted.num_samples - len(reply.completions)
        if missing or reply.error:
            self.error = reply.error or f"the sampler gave {missing} samples too few"
            self.exhausted = reply.exhausted
        short = self.granted.decoding.max_tokens < self.request.decoding.max_tokens
        if short and not self.error and any(completion.finish == "length" for completion in reply.completions):
            self.error, self.exhausted = "the budget ended within the last sample", True
        self.is_done = bool(self.error) or len(self._completions) == self.request.num_samples

    def fail(self, error: Exception) -> None:
        """The sampler refused `granted`; nothing was paid."""
        self.ledger.settle(self.granted, Usage())
        self.raised, self.is_done = error, True

    def answer(self) -> Reply:
        return Reply(tuple(self._completions), self._usage, self._fresh, self.error, self.exhausted)


class VerifySlot(Slot):
    """Items that are being judged."""

    def __init__(self, ledger: Ledger, question: Verify):
        super().__init__(ledger, question.verifier)
        self.question = question
        self.items: tuple[Any, ...] = ()  # those that may be judged
        self._values: tuple[Any, ...] = ()

    @property
    def has_something(self) -> bool:
        return bool(self._values)

    def grant(self, *, alone: bool) -> bool:
        ledger, items = self.ledger, self.question.items
        self.items = items[: ledger.grant_calls(len(items), self.question.role)]
        if len(self.items) < len(items):
            self.refuse(ledger.reason())
        return bool(self.items)

    def take(self, values: Sequence[Any], seconds: float) -> None:
        """The verdicts on `items`, and the time that they took."""
        self.ledger.charge(Usage(seconds=seconds), self.question.role)
        self._values, self.is_done = tuple(values), True

    def fail(self, error: Exception) -> None:
        """The verifier broke on `items`."""
        self.raised, self.is_done = error, True

    def answer(self) -> Verdicts:
        return Verdicts(self._values, self.error, self.exhausted)
