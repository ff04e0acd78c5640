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
from typing import NamedTuple

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.http.config import Clock, HTTPConfig, Pace, backoff
from jaxrl_suite.llm.http.transport import ExchangeError, Transport
from jaxrl_suite.llm.http.wire import Exchange, check, payload, read_reply
from jaxrl_suite.llm.ledger import Ledger
from jaxrl_suite.llm.protocol import Capabilities, Completion, Prefix, Reply, Request, Usage
from jaxrl_suite.llm.recorder import Part, RequestCache
from jaxrl_suite.llm.recording import Draw, Recording, split_usage

NO_LOGPROBS = "the server sends no log-probabilities: use one that does, or set logprobs=False"
_log = logging.getLogger(__name__)


class _Job(NamedTuple):
    """An exchange to come.

    Args:
      part: the draws that are wanted.
      attempt: attempts that failed.
      delay: seconds to wait before it.
      spent: what they cost.
    """

    part: Part
    attempt: int = 0
    delay: float = 0.0
    spent: Usage = Usage()


class _Outcome(NamedTuple):
    """The result and cost of one attempt; no draws if it failed."""

    draws: tuple[Draw, ...]
    usage: Usage
    error: ExchangeError | None = None
    estimated: bool = False


class HTTPSampler:
    """Samples from a server. A context manager; `close` it otherwise.

    A request that fails does not lose the others: its `Reply` carries the error. Retries are for what may pass: 429,
    500, 502, 503, 504, broken connections, time-outs and broken replies. A reply that never came may have been billed
    by the server all the same; it counts as a request without tokens.

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
        self._one_choice = config.send_seed  # whether the server gives one sample a request
        self._many_choices = False  # whether it was seen to give more
        self._no_logprobs = False
        self._answered = recording is not None and len(recording) > 0  # else a refusal may be for the options
        self.estimated = 0  # exchanges whose tokens the server did not count
        self._finalizer = weakref.finalize(self, self._transport.close)
        if recording is not None:
            recording.add_sampler(self.name, self.capabilities)

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def capabilities(self) -> Capabilities:
        config = self.config
        return Capabilities(
            prefix=config.api == "completions" or config.supports_prefix,
            logprobs=config.logprobs,
            seed=config.send_seed or self.recording is not None,
            fork=False,
            tokens=False,
            text=True,
        )

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
            if self._no_logprobs:
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
        most = self.config.limits.concurrency
        jobs = deque(_Job(part) for part in cache.missing)
        in_flight: dict[Future[_Outcome], tuple[_Job, Request]] = {}
        stop = threading.Event()  # what has been sent is still read and recorded, the rest is not sent
        fatal_error = None
        with ThreadPoolExecutor(most, "http-sampler") as pool:
            try:
                while jobs or in_flight:
                    while jobs and len(in_flight) < most:
                        job = jobs.popleft()
                        if fatal_error is not None:
                            self._give_up(cache, job, fatal_error)
                            continue
                        wanted = job.part.request
                        if self._one_choice:
                            wanted = dataclasses.replace(wanted, num_samples=1)
                        granted = self.ledger.grant(wanted, cut_tokens=not in_flight)
                        if granted is None and in_flight:  # they may settle for less than they reserved
                            jobs.appendleft(job)
                            break
                        if granted is None:
                            self._give_up(cache, job, self.ledger.reason(wanted), exhausted=True)
                            continue
                        now, rest = _split(job.part, granted.num_samples)
                        if rest is not None:
                            jobs.appendleft(_Job(rest))
                        job = job._replace(part=now)
                        in_flight[pool.submit(self._attempt, granted, job, cache, stop)] = job, granted
                    if in_flight:
                        done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
                        for future in done:
                            job, granted = in_flight.pop(future)
                            fatal_error = self._receive(future.result(), job, cache, jobs) or fatal_error
            except BaseException:
                stop.set()
                raise

    def _attempt(self, granted: Request, job: _Job, cache: RequestCache, stop: threading.Event) -> _Outcome:
        """One exchange, in a worker thread. Its draws are on record when it returns."""
        usage, owner = Usage(), job.part.owner
        try:
            self._clock.sleep(job.delay, stop)
            self._clock.sleep(self._pace.reserve(), stop)
            if stop.is_set():
                return _Outcome((), usage, ExchangeError("stopped before it was sent"))
            usage, started = Usage(requests=1), self._clock.monotonic()
            try:
                exchange = self._exchange(granted)
                usage = exchange.usage
            finally:
                usage = dataclasses.replace(usage, seconds=self._clock.monotonic() - started)
            if not exchange.completions:
                return _Outcome((), usage, ExchangeError("the reply has no choices", retry=True))
            parts = split_usage(usage + job.spent, exchange.completions)
            draws = tuple(Draw(*pair) for pair in zip(exchange.completions, parts, strict=True))
            if self.recording is not None:
                whole = granted.decoding == cache.requests[owner].decoding
                key = cache.keys[owner] if whole else granted.identity(self.name)
                self.recording.add(key, granted.role, enumerate(draws, start=granted.first_draw))
            return _Outcome(draws, usage, estimated=exchange.estimated)
        except ExchangeError as error:
            return _Outcome((), usage, error)
        finally:
            self.ledger.settle(granted, usage)

    def _exchange(self, request: Request) -> Exchange:
        """Sends a request and reads the answer, or what stands for that to a prompt that the server refuses."""
        try:
            return read_reply(self.config, request, self._transport.post(payload(self.config, request)))
        except ExchangeError as error:
            if not (error.prompt and self._answered) or self.config.logprobs:
                raise
            _log.warning("%s: a %s prompt is left without an answer", error.message, request.role)
            nothing = [Completion("", None, None, "filter", 0)] * request.num_samples
            return Exchange(nothing, Usage(samples=request.num_samples, requests=1), estimated=False)

    def _receive(self, outcome: _Outcome, job: _Job, cache: RequestCache, jobs: deque[_Job]) -> str | None:
        """Takes in one attempt, and decides what comes next.

        Returns:
          Why there is no hope for any other request; None if there is.
        """
        draws, error = outcome.draws, outcome.error
        if error is not None:
            job = job._replace(spent=job.spent + outcome.usage)
            limits, first = self.config.limits, job.part.request.first_draw
            if error.retry and job.attempt < limits.max_retries:
                attempt = job.attempt + 1
                pause = backoff(f"{cache.keys[job.part.owner]}:{first}", attempt, limits.max_wait)
                jobs.appendleft(job._replace(attempt=attempt, delay=max(pause, error.wait)))
                return None
            self._give_up(cache, job, error.message + (f", {job.attempt + 1} times" if job.attempt else ""))
            return error.message if error.for_all else None
        cache.put(job.part.owner, list(enumerate(draws, start=job.part.request.first_draw)))
        answered = [draw for draw in draws if draw.completion.finish != "filter"]
        self._answered |= bool(answered)
        self._many_choices |= len(answered) > 1
        _, rest = _split(job.part, len(draws))
        if rest is not None:
            jobs.appendleft(_Job(rest))
            self._one_choice |= not self._many_choices
        if outcome.estimated:
            if not self.estimated:
                _log.warning("%s does not count its tokens: they are estimated", self.config.host)
            self.estimated += 1
        self._no_logprobs |= self.config.logprobs and any(draw.completion.logprobs is None for draw in draws)
        return NO_LOGPROBS if self._no_logprobs else None

    def _give_up(self, cache: RequestCache, job: _Job, error: str, *, exhausted: bool = False) -> None:
        cache.fail(job.part.owner, error, job.spent, exhausted=exhausted)
        if self.recording is not None and job.spent != Usage():
            self.recording.add_cost(cache.keys[job.part.owner], job.part.request.role, job.spent, error)

    def _checked(self, reply: Reply) -> Reply:
        """The reply, with an error if it lacks log-probabilities that were asked for."""
        lacks = self.config.logprobs and any(completion.logprobs is None for completion in reply.completions)
        return dataclasses.replace(reply, error=NO_LOGPROBS, exhausted=False) if lacks else reply


def _split(part: Part, count: int) -> tuple[Part, Part | None]:
    """The first `count` draws of a part, and the rest of it."""
    request, left = part.request, part.request.num_samples - count
    first = part._replace(request=dataclasses.replace(request, num_samples=count))
    if left == 0:
        return first, None
    rest = dataclasses.replace(request, first_draw=request.first_draw + count, num_samples=left)
    return first, part._replace(request=rest)
