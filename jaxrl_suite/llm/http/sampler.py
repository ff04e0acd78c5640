"""A model behind an OpenAI-compatible server: synchronous for its caller, concurrent inside.

`sample` cuts a batch into exchanges and keeps `concurrency` of them in flight on threads. Each worker thread makes one
attempt: it pauses, sends, reads, writes the recording and settles the ledger. All decisions (what is sent next,
retries, the budget) are taken by the calling thread alone.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.http.config import Clock, HTTPConfig, Pace, backoff
from jaxrl_suite.llm.http.failures import ExchangeError
from jaxrl_suite.llm.http.replies import Exchange, read_reply
from jaxrl_suite.llm.http.server_state import NO_LOGPROBS, ExchangeOutcome, ServerState, failed, may_retry
from jaxrl_suite.llm.http.transport import Transport
from jaxrl_suite.llm.http.wire import ExchangeAttempt, check, payload, split
from jaxrl_suite.llm.ledger import Ledger
from jaxrl_suite.llm.protocol import Capabilities, Completion, Prefix, Reply, Request, Usage
from jaxrl_suite.llm.recorder import RequestCache
from jaxrl_suite.llm.recording import Draw, Recording, split_usage

_log = logging.getLogger(__name__)


class HTTPSampler:
    """Samples from a server. A context manager; `close` it otherwise.

    A request that fails does not lose the others: its `Reply` carries the error. Retries are for what may pass: 408,
    409, 425, 429, 500 and above, broken connections, time-outs, broken replies. A reply that never came counts as a
    request without tokens. One for which tokens were counted is a sample or an error and is not asked for again; only
    a sample that the server itself calls failed is, once. A wrong key or an empty account ends the run, and until the
    server has answered once, one request at a time is sent.

    What a server refuses of a request is left out from then on where that changes no draw, see `dialect`.

    A prompt that the server refuses for its length or its content, where it has answered another, is answered by empty
    completions that finish with `filter`, which are on record as any other: it is never asked again, and no reason for
    the others to stop. With log-probabilities it is an error instead.

    Args:
      config: which server.
      recording: holds every draw, from the moment that it is paid for; what is on it is not asked for again.
      ledger: what is paid now is counted here, every attempt as a request, and its budget is a hard stop before each.
      clock: for tests.

    Raises:
      UserError: if the key is missing, or would travel unencrypted.
    """

    keeps_recording = True

    def __init__(
        self,
        config: HTTPConfig,
        *,
        recording: Recording | None = None,
        ledger: Ledger | None = None,
        clock: Clock | None = None,
    ):
        self.config, self.recording = config, recording
        self.ledger = Ledger() if ledger is None else ledger
        self._clock = Clock() if clock is None else clock
        self._transport = Transport(config, self._clock)
        self._pace = Pace(config.limits.requests_per_minute, self._clock)
        self._finalizer = weakref.finalize(self, self._transport.close)
        if recording is not None:
            recording.add_sampler(self.name, self.capabilities)
        self._server = ServerState(config, recording)

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            prefix=self.config.api == "completions" or self.config.supports_prefix,
            logprobs=self.config.logprobs,
            seed=self.config.send_seed or self.recording is not None,
            fork=False,
            tokens=False,
            text=True,
        )

    @property
    def estimated(self) -> int:
        """Exchanges whose tokens the server did not count."""
        return self._server.estimated

    def __repr__(self) -> str:
        return f"HTTPSampler({self.name!r})"

    def __enter__(self) -> HTTPSampler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._finalizer()

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """Answers all requests, from the recording where it can.

        Raises:
          UserError: if a request cannot be served; nothing has been paid then.
        """
        for request in requests:
            check(self.config, request)
        cache = RequestCache(requests, self.name, self.recording)
        if cache.missing:
            if self._server.lacks_logprobs:
                raise UserError(NO_LOGPROBS)
            self._serve(cache)
        return [self._checked(reply) for reply in cache.replies()]

    def score(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[np.ndarray]:
        raise UserError(
            "servers echo log-probabilities of a given text that are silently off by one position, or none: use the "
            "Flax sampler for score"
        )

    def _serve(self, cache: RequestCache) -> None:
        """Asks for all that `cache` misses."""
        jobs = deque(ExchangeAttempt(part) for part in cache.missing)
        in_flight: dict[Future[ExchangeOutcome], tuple[ExchangeAttempt, Request]] = {}
        stop = threading.Event()  # what has been sent is still read and recorded, the rest is not sent
        server, fatal_error = self._server, self._server.fatal_error
        with ThreadPoolExecutor(self.config.limits.concurrency, "http-sampler") as pool:
            try:
                while jobs or in_flight:
                    while jobs and len(in_flight) < server.width:
                        job = jobs.popleft()
                        if fatal_error is not None:
                            self._give_up(cache, job, fatal_error)
                            continue
                        wanted = job.part.request
                        if server.dialect.one_choice:
                            wanted = dataclasses.replace(wanted, num_samples=1)
                        granted = self.ledger.grant(wanted, cut_tokens=not in_flight)
                        if granted is None and in_flight:  # they may settle for less than they reserved
                            jobs.appendleft(job)
                            break
                        if granted is None:
                            self._give_up(cache, job, self.ledger.reason(wanted), exhausted=True)
                            continue
                        now, rest = split(job.part, granted.num_samples)
                        if rest is not None:
                            jobs.appendleft(ExchangeAttempt(rest))
                        job = job._replace(part=now, dialect=server.dialect)
                        in_flight[pool.submit(self._attempt, granted, job, cache, stop)] = job, granted
                    if in_flight:
                        done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
                        for future in done:
                            job, granted = in_flight.pop(future)
                            fatal_error = self._receive(future.result(), job, cache, jobs) or fatal_error
            except BaseException:
                stop.set()
                raise

    def _attempt(
        self, granted: Request, job: ExchangeAttempt, cache: RequestCache, stop: threading.Event
    ) -> ExchangeOutcome:
        """One exchange, in a worker thread. Its draws are on record when it returns."""
        usage, owner, exchange, dialect = Usage(), job.part.owner, None, job.dialect or self._server.dialect
        body = payload(self.config, granted, dialect)
        try:
            self._clock.sleep(job.delay, stop)
            self._clock.sleep(self._pace.reserve(), stop)
            if stop.is_set():
                return ExchangeOutcome((), usage, ExchangeError("stopped before it was sent"))
            usage, started = Usage(requests=1), self._clock.monotonic()
            try:
                exchange = self._exchange(granted, body)
                usage = exchange.usage
            finally:
                usage = dataclasses.replace(usage, seconds=self._clock.monotonic() - started)
            if not exchange.completions and exchange.error is not None:
                raise exchange.error
            parts = split_usage(usage + job.spent, exchange.completions)
            draws = tuple(Draw(*pair) for pair in zip(exchange.completions, parts, strict=True))
            if self.recording is not None:
                whole = granted.decoding == cache.requests[owner].decoding
                key = cache.keys[owner] if whole else granted.identity(self.name)
                self.recording.add(key, granted.role, enumerate(draws, start=granted.first_draw))
            return ExchangeOutcome(draws, usage, exchange.error, exchange)
        except ExchangeError as error:
            return failed(self.config, body, dialect, error, exchange, usage)
        finally:
            self.ledger.settle(granted, usage)

    def _exchange(self, request: Request, body: dict[str, Any]) -> Exchange:
        """Sends a request and reads the answer, or what stands for that to a prompt that the server refuses."""
        try:
            exchange = read_reply(self.config, request, self._transport.post(body))
            if exchange.error is not None and exchange.error.prompt and not exchange.is_paid:
                raise exchange.error
            return exchange
        except ExchangeError as error:
            if not (error.prompt and self._server.has_answered) or self.config.logprobs:
                raise
            _log.warning("%s: a %s prompt is left without an answer", error.message, request.role)
            empty = [Completion("", None, None, "filter", 0)] * request.num_samples
            usage = Usage(samples=request.num_samples, requests=1)
            return Exchange(empty, usage, estimated=False, num_choices=request.num_samples)

    def _receive(
        self, outcome: ExchangeOutcome, job: ExchangeAttempt, cache: RequestCache, jobs: deque[ExchangeAttempt]
    ) -> str | None:
        """Takes in one attempt, and decides what comes next.

        Returns:
          Why there is no hope for any other request; None if there is.
        """
        draws, exchange, wanted = outcome.draws, outcome.exchange, job.part.request
        if not draws:
            return self._receive_failure(outcome, job._replace(spent=job.spent + outcome.usage), cache, jobs)
        assert exchange is not None
        cache.put(job.part.owner, list(enumerate(draws, start=wanted.first_draw)))
        _, rest = split(job.part, len(draws))
        if rest is not None and outcome.error is not None:
            lost, rest = split(rest, exchange.num_failed)
            self._receive_failure(outcome, ExchangeAttempt(lost, job.number, was_paid=job.was_paid), cache, jobs)
        if rest is not None:
            jobs.appendleft(ExchangeAttempt(rest))
        return self._server.take_samples(outcome, wanted.num_samples)

    def _receive_failure(
        self, outcome: ExchangeOutcome, job: ExchangeAttempt, cache: RequestCache, jobs: deque[ExchangeAttempt]
    ) -> str | None:
        """Draws did not come: tries again, in another dialect or later, or gives them up."""
        error, limits = outcome.error, self.config.limits
        assert error is not None
        if self._server.learns(outcome, job):
            jobs.appendleft(job._replace(delay=0.0))
            return None
        if may_retry(job, outcome, limits.max_retries):
            first, job = job.part.request.first_draw, job._replace(number=job.number + 1)
            pause = backoff(f"{cache.keys[job.part.owner]}:{first}", job.number, limits.max_wait)
            was_paid = job.was_paid or outcome.may_be_paid
            jobs.appendleft(job._replace(delay=max(pause, error.wait), was_paid=was_paid))
            self._server.is_known |= not outcome.is_paid
            return None
        self._give_up(cache, job, error.message + (f", {job.number + 1} times" if job.number else ""))
        return self._server.take_failure(outcome)

    def _give_up(self, cache: RequestCache, job: ExchangeAttempt, error: str, *, exhausted: bool = False) -> None:
        cache.fail(job.part.owner, error, job.spent, exhausted=exhausted)
        if self.recording is not None and job.spent != Usage():
            self.recording.add_cost(cache.keys[job.part.owner], job.part.request.role, job.spent, error)

    def _checked(self, reply: Reply) -> Reply:
        """The reply, with an error if it lacks log-probabilities that were asked for."""
        lacks = self.config.logprobs and any(completion.logprobs is None for completion in reply.completions)
        return dataclasses.replace(reply, error=NO_LOGPROBS, exhausted=False) if lacks else reply
