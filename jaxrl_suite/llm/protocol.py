"""The protocol of every language model of the suite: prefixes in; samples, log-probabilities and usage out.

A `Request` is a plain record: the prefix, how many samples, how they are drawn, and a path of integers that names its
random stream. Draw `d` of a request depends on the sampler's seed, the path and `d` alone, never on what else is in the
batch, so a request can be batched, recorded, resumed and replayed in any order. Nothing here imports JAX.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from jaxrl_suite.errors import UserError

Role: TypeAlias = Literal["system", "user", "assistant"]
Finish: TypeAlias = Literal["stop", "length", "filter"]  # a stop token or string; max_tokens; the server refused


class Message(NamedTuple):
    """One turn of a chat. If the last one is the assistant's, the model continues it (capability `prefix`)."""

    role: Role
    content: str


Prefix: TypeAlias = "tuple[int, ...] | str | tuple[Message, ...]"  # token ids, plain text, or a chat


def _are_whole(values: tuple[Any, ...]) -> bool:
    """True if all are plain ints: numpy's are written in another way, and would name other draws."""
    return all(type(value) is int for value in values)


@dataclasses.dataclass(frozen=True)
class Decoding:
    """Constants of how tokens are drawn.

    Args:
      max_tokens: longest continuation, at least 1.
      temperature: logits are divided by it; 0 is greedy.
      top_k: keep the k likeliest tokens; 0 keeps all.
      top_p: keep the smallest set of likeliest tokens with at least this probability; 1 keeps all.
      stop: strings that end a sample; they are cut off its text.
      stop_tokens: token ids that end a sample, beside the model's own end of sequence; they are kept as its last token.

    Raises:
      UserError: if a value is out of range.
    """

    max_tokens: int = 64
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[int, ...] = ()

    def __post_init__(self):
        if not (_are_whole((self.max_tokens,)) and 1 <= self.max_tokens < 2**31):
            raise UserError(f"max_tokens must be a whole number of at least 1, got {self.max_tokens}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"temperature must be a number of at least 0, got {self.temperature}")
        if not (_are_whole((self.top_k,)) and 0 <= self.top_k < 2**31 and 0 < self.top_p <= 1):
            raise UserError(
                "top_k must be a whole number of at least 0, and top_p above 0 and at most 1, "
                f"got {self.top_k}, {self.top_p}"
            )
        if not isinstance(self.stop, tuple) or not all(isinstance(text, str) and text for text in self.stop):
            raise UserError(f'stop must be a tuple of texts that are not empty, like ("END",), got {self.stop!r}')
        if not isinstance(self.stop_tokens, tuple) or not _are_whole(self.stop_tokens):
            raise UserError(f"stop_tokens must be a tuple of whole numbers, like (2,), got {self.stop_tokens!r}")


@dataclasses.dataclass(frozen=True)
class Request:
    """`num_samples` independent continuations of one prefix.

    Args:
      prefix: token ids, text, or a chat.
      num_samples: draws, at least 1.
      decoding: how they are drawn.
      path: names the random stream, for instance (problem, node); integers from 0 to 2**32 - 1.
      first_draw: number of the first draw; draw d of a path is the same sample whichever request asks for it.
      role: what the samples are for, a column of the ledger ("solve", "idea", "judge", ...).

    Raises:
      UserError: if a value is out of range.
    """

    prefix: Prefix
    num_samples: int = 1
    decoding: Decoding = Decoding()
    path: tuple[int, ...] = ()
    first_draw: int = 0
    role: str = "solve"

    def __post_init__(self):
        counts = self.num_samples, self.first_draw
        if not _are_whole(counts) or self.num_samples < 1 or self.first_draw < 0:
            raise UserError(
                "num_samples must be a whole number of at least 1 and first_draw one of at least 0, "
                f"got {self.num_samples}, {self.first_draw}"
            )
        whole = isinstance(self.path, tuple) and _are_whole(self.path)
        if not whole or any(not 0 <= part < 2**32 for part in self.path):
            raise UserError(f"path must be a tuple of integers from 0 to 2**32 - 1, got {self.path!r}")
        if not isinstance(self.prefix, str) and not (
            type(self.prefix) is tuple and set(map(type, self.prefix)) in (set(), {int}, {Message})
        ):
            raise UserError(
                "the prefix must be a text, a tuple of token ids (`tuple(ids.tolist())` of an array) or a tuple of "
                "messages"
            )
        if not self.prefix:
            raise UserError("the prefix is empty: give at least a token, a character or a message")

    def identity(self, sampler: str) -> str:
        """A hash of all that decides the draws of this request, their number and role left out.

        Args:
          sampler: `Sampler.name`: the model and its seed.
        """
        decoding = dataclasses.asdict(self.decoding)
        data = {
            "sampler": sampler,
            "prefix": self.prefix,
            "decoding": decoding | {name: float(decoding[name]) for name in ("temperature", "top_p")},  # 1 is 1.0
            "path": self.path,
        }
        return hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Completion:
    """One sample. A part that the sampler cannot give is None.

    Args:
      text: the continuation, without a stop string.
      tokens: int32[T], its token ids, an end-of-sequence token included.
      logprobs: float32[T], the log-probability of each token under the distribution that it was drawn from, after
        temperature, top-k and top-p; greedy tokens have 0.
      finish: why it ended.
      num_tokens: tokens that were generated and paid for; more than `len(tokens)` where some were cut off.
    """

    text: str | None
    tokens: np.ndarray | None
    logprobs: np.ndarray | None
    finish: Finish
    num_tokens: int


@dataclasses.dataclass(frozen=True)
class Usage:
    """Usage that was paid. Adding two adds their parts."""

    samples: int = 0
    requests: int = 0  # calls of the model: one HTTP exchange, or one request of a local sampler
    prompt_tokens: int = 0
    cached_tokens: int = 0  # prompt tokens that were not computed again; part of `prompt_tokens`
    output_tokens: int = 0
    discarded_tokens: int = 0  # output tokens that no one used; part of `output_tokens`
    verifier_calls: int = 0
    seconds: float = 0.0
    speculative_tokens: int = 0  # of draws ahead of need, prompt and output; in no other count, see `Ledger.set_aside`

    def __add__(self, other: Usage) -> Usage:
        return Usage(  # part by part: a search of a thousand samples adds thousands
            self.samples + other.samples,
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.discarded_tokens + other.discarded_tokens,
            self.verifier_calls + other.verifier_calls,
            self.seconds + other.seconds,
            self.speculative_tokens + other.speculative_tokens,
        )

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens


@dataclasses.dataclass(frozen=True)
class Reply:
    """The answer to one request, its completions in order of their draws.

    Args:
      completions: fewer than asked for only if a budget ended, or the model failed after something was paid for.
      usage: what it cost, or had cost when it was recorded.
      fresh: the part of `usage` that was paid now; less where a recording answered.
      error: why completions are missing, or lack what they should have; one line.
      exhausted: whether that is because a budget ended, not because the model failed.
    """

    completions: tuple[Completion, ...]
    usage: Usage
    fresh: Usage
    error: str | None = None
    exhausted: bool = False


class Capabilities(NamedTuple):
    """The capabilities of a sampler. An algorithm checks with `require` before it pays for anything."""

    prefix: bool  # continues any prefix, for instance half a solution, not only a whole question
    logprobs: bool  # of the tokens that it sampled; False: unknown until seen
    seed: bool  # the same request gives the same draws
    fork: bool  # continuations of one prefix share its computation
    tokens: bool  # works on token ids, in and out
    text: bool  # works on text, in and out


@runtime_checkable
class Sampler(Protocol):
    """A language model. All methods of the suite depend on this alone."""

    @property
    def name(self) -> str:
        """Tells models (weights, seed, server) apart in recordings; holds no secret."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        """Answers all requests, in order; they may be computed in one batch.

        Raises:
          UserError: if a request cannot be served: nothing has been paid for then.
        """
        ...

    def score(self, pairs: Sequence[tuple[Prefix, Sequence[int]]]) -> list[np.ndarray]:
        """Log-probabilities float32[T] of given continuations (token ids) at temperature 1.

        Raises:
          UserError: if the sampler has no exact log-probabilities.
        """
        ...


def require(sampler: Sampler, who: str, *capabilities: str) -> None:
    """Checks that a sampler can do what `who` needs, for instance `require(sampler, "DISC", "prefix")`.

    Raises:
      UserError: naming what is missing.
    """
    missing = [name for name in capabilities if not getattr(sampler.capabilities, name)]
    if missing:
        raise UserError(f"{who} needs a sampler with {', '.join(missing)}, and {sampler.name} has not: choose another")


def completion_to_json(completion: Completion) -> dict[str, Any]:
    """A completion as JSON values; `completion_from_json` gives it back bit for bit."""
    return {
        "text": completion.text,
        "tokens": None if completion.tokens is None else completion.tokens.tolist(),
        "logprobs": None if completion.logprobs is None else [float(x) for x in completion.logprobs],
        "finish": completion.finish,
        "num_tokens": completion.num_tokens,
    }


def completion_from_json(data: dict[str, Any]) -> Completion:
    tokens, logprobs = data["tokens"], data["logprobs"]
    return Completion(
        text=data["text"],
        tokens=None if tokens is None else np.asarray(tokens, np.int32),
        logprobs=None if logprobs is None else np.asarray(logprobs, np.float32),
        finish=data["finish"],
        num_tokens=data["num_tokens"],
    )
