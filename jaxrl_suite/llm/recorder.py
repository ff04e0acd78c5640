"""Samplers that answer from a recording, so that nothing is paid for twice.

`Recorder` asks another sampler for the draws that are missing; `ReplaySampler` has no model behind it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.llm.protocol import Capabilities, Prefix, Reply, Request, Sampler, Usage
from jaxrl_suite.llm.recording import Draw, Recording, split_usage


class Part(NamedTuple):
    """Draws that must be asked for.

    Args:
      request: a run of draws, part of what was asked.
      owner: place in the batch of the request that they belong to.
    """

    request: Request
    owner: int


class RequestCache:
    """A cache over one batch of requests: answers from a recording and from what arrives.

    A draw that several requests of the batch share is asked for once.

    Args:
      requests: the batch.
      name: of the sampler that is asked.
      recording: what is known; None if nothing is.
    """

    def __init__(self, requests: Sequence[Request], name: str, recording: Recording | None):
        self.requests = requests
        self.keys = [request.identity(name) for request in requests]
        self.missing: list[Part] = []
        self._drawn: dict[tuple[str, int], Draw] = {}
        self._fresh = [Usage() for _ in requests]
        self._lost = [Usage() for _ in requests]  # paid, but not for a draw
        self._errors: list[tuple[str, bool] | None] = [None for _ in requests]
        self._owners: dict[tuple[str, int], int] = {}
        for i, (request, key) in enumerate(zip(requests, self.keys, strict=True)):
            run: list[int] = []
            for draw in _draws(request):
                known = recording.get(key, draw) if recording is not None else None
                if known is not None:
                    self._drawn[key, draw] = known
                elif (key, draw) not in self._owners:
                    self._owners[key, draw] = i
                    if run and draw != run[-1] + 1:
                        self._ask(i, run)
                        run = []
                    run.append(draw)
            self._ask(i, run)

    def put(self, owner: int, draws: Sequence[tuple[int, Draw]]) -> None:
        """Draws of the request at `owner` have been paid for."""
        for number, draw in draws:
            self._drawn[self.keys[owner], number] = draw
            self._fresh[owner] += draw.usage

    def fail(self, owner: int, error: str, usage: Usage | None = None, *, exhausted: bool = False) -> None:
        """Draws of the request at `owner` will not come: why, and what was paid all the same."""
        if usage is not None:
            self._fresh[owner] += usage
            self._lost[owner] += usage
        self._errors[owner] = self._errors[owner] or (error, exhausted)

    def replies(self) -> list[Reply]:
        """The answers, in order; call it when everything has arrived or failed."""
        return [self._reply(i) for i in range(len(self.requests))]

    def _ask(self, owner: int, run: Sequence[int]) -> None:
        if run:
            part = dataclasses.replace(self.requests[owner], first_draw=run[0], num_samples=len(run))
            self.missing.append(Part(part, owner))

    def _reply(self, i: int) -> Reply:
        places = [(self.keys[i], draw) for draw in _draws(self.requests[i])]
        drawn = [self._drawn[place] for place in places if place in self._drawn]
        owners = (self._owners.get(place, i) for place in places if place not in self._drawn)
        error = self._errors[i] or next((e for e in (self._errors[o] for o in owners) if e), None)
        return Reply(
            completions=tuple(draw.completion for draw in drawn),
            usage=sum((draw.usage for draw in drawn), self._lost[i]),
            fresh=self._fresh[i],
            error=error and error[0],
            exhausted=bool(error and error[1]),
        )


class Recorder:
    """Another sampler whose draws are kept.

    Args:
      sampler: asked for what is not on record.
      recording: open for writing.

    Raises:
      UserError: if the sampler keeps its own recording, or this one is not open for writing.
    """

    def __init__(self, sampler: Sampler, recording: Recording):
        if getattr(sampler, "keeps_recording", False):
            raise UserError(f"{sampler.name} writes each exchange as soon as it is paid: give it the recording itself")
        self.sampler, self.recording = sampler, recording
        recording.add_sampler(self.name, self.capabilities)

    @property
    def name(self) -> str:
        return self.sampler.name

    @property
    def capabilities(self) -> Capabilities:
        return self.sampler.capabilities

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """Answers from the recording, and asks for the rest in one batch. `Reply.fresh` is what was paid now."""
        cache = RequestCache(requests, self.name, self.recording)
        if not cache.missing:
            return cache.replies()
        self.recording.add_sampler(self.name, self.capabilities)
        replies = self.sampler.sample([part.request for part in cache.missing])
        for (request, owner), reply in zip(cache.missing, replies, strict=True):
            key = cache.keys[owner]
            if reply.completions:
                parts = split_usage(reply.usage, reply.completions)
                draws = [Draw(c, u) for c, u in zip(reply.completions, parts, strict=True)]
                numbered = list(enumerate(draws, start=request.first_draw))
                self.recording.add(key, request.role, numbered)
                cache.put(owner, numbered)
            elif reply.usage != Usage():
                self.recording.add_cost(key, request.role, reply.usage, reply.error or "")
            if reply.error or len(reply.completions) < request.num_samples:
                paid = None if reply.completions else reply.usage
                error = reply.error or f"{self.name} gave {len(reply.completions)} of {request.num_samples} samples"
                cache.fail(owner, error, paid, exhausted=reply.exhausted)
        return cache.replies()

    def score(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[np.ndarray]:
        return self.sampler.score(pairs)


class ReplaySampler:
    """A sampler without a model: answers from a recording alone.

    Args:
      recording: of an earlier run; may be read-only.
      name: of the sampler that it stands in for; needed if the recording holds several.

    Raises:
      UserError: if the recording does not hold that sampler.
    """

    def __init__(self, recording: Recording, name: str | None = None):
        known = recording.samplers
        if name is None and len(known) == 1:
            name = next(iter(known))
        if name is None or name not in known:
            raise UserError(f"{recording.path} holds no sampler {name or 'of that name'}{suggest(name or '', known)}")
        self.recording, self._name = recording, name

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """Those of the sampler that was recorded; its draws are fixed now."""
        return self.recording.samplers[self._name]._replace(seed=True)

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """Answers from the recording; nothing is ever paid.

        Raises:
          UserError: if a draw is not on record.
        """
        cache = RequestCache(requests, self._name, self.recording)
        if cache.missing:
            request = cache.missing[0].request
            raise UserError(
                f"{self.recording.path} has no draw {request.first_draw} of a {request.role!r} request with path "
                f"{request.path}: record it first with a Recorder, or keep the prompts and decoding of the recording"
            )
        return cache.replies()

    def score(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[np.ndarray]:
        raise UserError("a recording holds samples, not the scores of other texts: use the sampler itself for score")


def _draws(request: Request) -> range:
    return range(request.first_draw, request.first_draw + request.num_samples)
