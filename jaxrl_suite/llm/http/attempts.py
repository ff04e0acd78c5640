"""Records of one attempt at an exchange: what is wanted, and what came of it."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from jaxrl_suite.llm.http.config import HTTPConfig
from jaxrl_suite.llm.http.dialect import Dialect, adapted, remedy
from jaxrl_suite.llm.http.failures import ExchangeError
from jaxrl_suite.llm.http.replies import Exchange
from jaxrl_suite.llm.protocol import Usage
from jaxrl_suite.llm.recorder import Part
from jaxrl_suite.llm.recording import Draw


class ExchangeAttempt(NamedTuple):
    """An exchange to come.

    Args:
      part: the draws that are wanted.
      number: attempts that failed.
      delay: seconds to wait before it.
      spent: what they cost.
      was_paid: one of them was paid for, or may have been.
      dialect: in which it is sent; None before that is decided.
    """

    part: Part
    number: int = 0
    delay: float = 0.0
    spent: Usage = Usage()
    was_paid: bool = False
    dialect: Dialect | None = None


class ExchangeOutcome(NamedTuple):
    """The result and cost of one attempt.

    Args:
      draws: what it brought; none if it failed.
      usage: what it cost.
      error: why draws are missing.
      exchange: the reply, if one could be read.
      proposal: the dialect in which the server may take the request that it refused.
    """

    draws: tuple[Draw, ...]
    usage: Usage
    error: ExchangeError | None = None
    exchange: Exchange | None = None
    proposal: Dialect | None = None

    @property
    def is_paid(self) -> bool:
        """True if the server counted tokens."""
        return self.exchange is not None and self.exchange.is_paid

    @property
    def may_be_paid(self) -> bool:
        return self.is_paid or (self.error is not None and self.error.may_be_paid)


def failed(
    config: HTTPConfig,
    body: dict[str, Any],
    dialect: Dialect,
    error: ExchangeError,
    exchange: Exchange | None,
    usage: Usage,
) -> ExchangeOutcome:
    """The outcome of an attempt that brought nothing: with a dialect to try, or a remedy, if a field was refused."""
    proposal = None if error.refusal is None else adapted(dialect, body, error.refusal)
    if error.refusal is not None and proposal is None and (way := remedy(config, body, error.refusal)):
        error.message = f"{error.message.rpartition(': ')[0]}: {way}"
    return ExchangeOutcome((), usage, error, exchange, proposal)


def may_retry(attempt: ExchangeAttempt, outcome: ExchangeOutcome, max_retries: int) -> bool:
    """True if the same may be asked again; where the server has worked for it, and where it may have, once."""
    assert outcome.error is not None
    return outcome.error.retry and attempt.number < max_retries and not (outcome.may_be_paid and attempt.was_paid)


def split(part: Part, count: int) -> tuple[Part, Part | None]:
    """The first `count` draws of a part, and the rest of it."""
    request, left = part.request, part.request.num_samples - count
    first = part._replace(request=dataclasses.replace(request, num_samples=count))
    if left == 0:
        return first, None
    rest = dataclasses.replace(request, first_draw=request.first_draw + count, num_samples=left)
    return first, part._replace(request=rest)
