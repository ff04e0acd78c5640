"""The state of a server, as its answers have shown it so far. The thread that decides what is sent next keeps it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxrl_suite.llm.http.config import OMITTABLE, HTTPConfig
from jaxrl_suite.llm.http.dialect import TOKEN_FIELDS, Dialect, adapted, remedy
from jaxrl_suite.llm.http.failures import ExchangeError
from jaxrl_suite.llm.http.replies import Exchange
from jaxrl_suite.llm.http.wire import ExchangeAttempt
from jaxrl_suite.llm.protocol import Usage
from jaxrl_suite.llm.recording import Draw, Recording

MAX_UNUSABLE = 3  # paid replies without a sample, before any with one, after which no more is paid
THOUGHTS_ONLY = "%s: the tokens of a sample went into thoughts: raise max_tokens, or turn them off with extra"
PAID_FOR_NOTHING = "replies were paid for without a sample: no more is asked"
NO_LOGPROBS = "the server sends no log-probabilities: use one that does, or set logprobs=False"
_log = logging.getLogger(__name__)


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


class ServerState:
    """The state of one server.

    Args:
      config: which server.
      recording: holds what an earlier run learnt of it, and is told what this one learns.

    Attributes:
      dialect: in which requests go now.
      is_known: it has answered; until then one request at a time is sent.
      has_answered: with a sample, now or on record; else a refusal may be for the options.
      lacks_logprobs: it was asked for log-probabilities, and sent none.
      fatal_error: why nothing more is asked of it; None while there is hope.
      estimated: exchanges whose tokens it did not count.
    """

    def __init__(self, config: HTTPConfig, recording: Recording | None):
        self._config, self._recording = config, recording
        known = {} if recording is None else recording.dialects.get(config.name)
        self.dialect = first_dialect(config, known)
        self.is_known = False
        self.has_answered = recording is not None and len(recording) > 0
        self.lacks_logprobs = False
        self.fatal_error: str | None = None
        self.estimated = 0
        self._gives_several = False
        self._has_told_thoughts = False
        self._unusable = 0

    @property
    def width(self) -> int:
        """The number of requests that may be in flight."""
        return self._config.limits.concurrency if self.is_known else 1

    def take_samples(self, outcome: ExchangeOutcome, asked: int) -> str | None:
        """Takes note of an exchange that brought samples.

        Args:
          outcome: of the exchange.
          asked: samples that were asked for.

        Returns:
          Why there is no hope for any other request; None if there is.
        """
        exchange, config = outcome.exchange, self._config
        assert exchange is not None
        answered = any(draw.completion.finish != "filter" for draw in outcome.draws)
        self.is_known = True
        self.has_answered |= answered
        self._gives_several |= exchange.num_choices > 1 and answered
        if exchange.num_choices < asked and not self._gives_several and not self.dialect.one_choice:
            self._adopt(self.dialect._replace(one_choice=True), "it gives fewer samples than it is asked for")
        if exchange.estimated and not self.estimated:
            _log.warning("%s does not count its tokens: they are estimated", config.host)
        self.estimated += exchange.estimated
        if exchange.only_thoughts and not self._has_told_thoughts:
            _log.warning(THOUGHTS_ONLY, config.host)
        self._has_told_thoughts |= exchange.only_thoughts
        self.lacks_logprobs |= config.logprobs and any(draw.completion.logprobs is None for draw in outcome.draws)
        return NO_LOGPROBS if self.lacks_logprobs else None

    def learns(self, outcome: ExchangeOutcome, attempt: ExchangeAttempt) -> bool:
        """True if a refused request may be sent again at once, in the dialect that the refusal taught."""
        error, dialect = outcome.error, attempt.dialect
        if error is None or error.refusal is None or dialect is None:
            return False
        if dialect == self.dialect and outcome.proposal is not None:
            self._adopt(outcome.proposal, error.message)
        return dialect != self.dialect

    def take_failure(self, outcome: ExchangeOutcome) -> str | None:
        """Takes note of a failure for good.

        Returns:
          Why there is no hope for any other request; None if there is.
        """
        error = outcome.error
        assert error is not None
        if error.account:
            self.fatal_error = error.message
        if outcome.is_paid and not outcome.draws:
            self._unusable += 1
            if self._unusable >= MAX_UNUSABLE and not self.has_answered:
                self.fatal_error = f"{error.message}; {MAX_UNUSABLE} {PAID_FOR_NOTHING}"
                return self.fatal_error
        else:
            self.is_known = True
        return error.message if error.for_all else None

    def _adopt(self, dialect: Dialect, reason: str) -> None:
        """Speaks to the server in another way from now on, in a run that continues too."""
        self.dialect = dialect
        _log.warning("%s: %s; from now on requests go %s", self._config.host, reason, dialect)
        if self._recording is not None:
            self._recording.add_dialect(self._config.name, dialect.to_json())


def first_dialect(config: HTTPConfig, known: Mapping[str, Any] | None = None) -> Dialect:
    """The dialect to begin with: the config's, and what is known of the server from before.

    Args:
      config: of the sampler.
      known: `Dialect.to_json` of an earlier run.
    """
    known = known or {}
    left_out = {name for name in known.get("left_out", ()) if name in OMITTABLE} | set(config.omit)
    field = known.get("max_tokens_field")
    return Dialect(
        tuple(sorted(left_out - {"n"})),
        field if field in TOKEN_FIELDS else config.max_tokens_field,
        config.send_seed or "n" in config.omit or known.get("one_choice") is True,
        -1 if known.get("top_k_for_all") == -1 else config.top_k_for_all,
        known.get("is_swapped") is True,
    )


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
