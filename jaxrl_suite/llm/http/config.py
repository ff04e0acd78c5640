"""Config of an HTTP sampler: its server, the limits on its requests, and their pace."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
import json
import math
import random
import threading
import time
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from jaxrl_suite.core.config import to_json
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.http.ends import ENDS
from jaxrl_suite.llm.protocol import Finish


@dataclasses.dataclass(frozen=True)
class JSONValue:
    """A JSON object, list or null as its text: what cannot be hashed itself."""

    json: str


Value: TypeAlias = bool | int | float | str | JSONValue

OMITTABLE = ("n", "stop", "stream", "temperature", "top_p")
LATER_FIELDS = ("omit", "finish_reasons", "top_k_for_all")  # the names of older recordings do not know them
OWN_FIELDS = {"model", "messages", "prompt", "n", "stream", "stop", "seed", "temperature", "top_p", "top_k", "echo"}
OWN_FIELDS |= {"max_tokens", "max_completion_tokens", "logprobs", "top_logprobs"}


@dataclasses.dataclass(frozen=True)
class HTTPLimits:
    """Limits on how requests are sent; nothing here changes a sample.

    Args:
      concurrency: exchanges in flight at once, at least 1.
      requests_per_minute: their starts are spaced to keep to it; None is no limit.
      connect_timeout: seconds to reach the server.
      read_timeout: seconds without a byte from it. Servers that do not stream send none before a reply is complete.
      total_timeout: seconds for one exchange.
      max_retries: attempts after the first, for an exchange that may succeed later.
      max_wait: longest pause before a retry, seconds, whatever the server asks for.
      max_reply_bytes: a longer reply is not read.

    Raises:
      UserError: if a value is out of range.
    """

    concurrency: int = 8
    requests_per_minute: float | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 300.0
    total_timeout: float = 600.0
    max_retries: int = 6
    max_wait: float = 60.0
    max_reply_bytes: int = 16 * 2**20

    def __post_init__(self):
        if self.concurrency < 1 or self.max_retries < 0 or self.max_reply_bytes < 1:
            raise UserError("concurrency and max_reply_bytes must be at least 1, and max_retries at least 0")
        for name in ("requests_per_minute", "connect_timeout", "read_timeout", "total_timeout", "max_wait"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UserError(f"{name} must be a number above 0, got {value}")


@dataclasses.dataclass(frozen=True)
class HTTPConfig:
    """An OpenAI-compatible server. The API key is not in here: it is read from the environment when it is used.

    Servers differ in what they apply unasked, and in what they take: `profiles.server_config` knows some of them. What
    a server refuses is found out by its first refusal, see `dialect`.

    Args:
      base_url: for instance "http://127.0.0.1:8080/v1".
      model: as the server calls it.
      api: "chat" takes a text (one user message) or a chat, "completions" takes a text and continues it.
      api_key_variable: environment variable that holds the key; "" sends none. A server on this machine needs none.
      label: stands for the address in recordings, so that a server which moves keeps its recording.
      seed: makes other draws of the same requests.
      send_seed: the server is given a seed a draw, and so one sample a request. Whether it keeps to it is its affair.
      logprobs: ask for log-probabilities, and do without nothing less.
      supports_prefix: a chat that ends with the assistant's message is continued by the server.
      supports_top_k: the server knows `top_k`.
      max_tokens_field: what the server calls it.
      extra: (name, value) of more fields of each request; a value is anything that JSON has, and kept as a
        `JSONValue` where it is an object, a list or None.
      allow_plain_http: send the key unencrypted to another machine.
      limits: how requests are sent.
      omit: fields that are never sent, of `OMITTABLE`: without `n` samples are asked for one by one, without `stop`
        texts are cut here, and a temperature or top_p other than 1 is refused.
      finish_reasons: (reason, end) of more finish reasons than the closed list `ends.ENDS` has, such as
        (("done", "stop"),); a sample that ends for an unknown reason is none.
      top_k_for_all: the `top_k` that keeps all tokens, 0 or -1.

    Raises:
      UserError: if the address cannot be used, a choice is unknown, or `extra` sets a field that a request decides.
    """

    base_url: str
    model: str
    api: Literal["chat", "completions"] = "chat"
    api_key_variable: str = "OPENAI_API_KEY"
    label: str = ""
    seed: int = 0
    send_seed: bool = False
    logprobs: bool = False
    supports_prefix: bool = False
    supports_top_k: bool = False
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    extra: tuple[tuple[str, Value], ...] = ()
    allow_plain_http: bool = False
    limits: HTTPLimits = HTTPLimits()
    omit: tuple[str, ...] = ()
    finish_reasons: tuple[tuple[str, Finish], ...] = ()
    top_k_for_all: int = 0

    def __post_init__(self):
        try:
            parts = urlsplit(self.base_url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            raise UserError('base_url is no address: write for instance "http://127.0.0.1:8080/v1"') from None
        if parts.username is not None or parts.password is not None:
            raise UserError("base_url holds a user name or password: keep keys in the environment (api_key_variable)")
        if not usable or parts.query or parts.fragment:
            raise UserError('base_url must look like "http://127.0.0.1:8080/v1", without ? and #')
        if not self.model:
            raise UserError("model is empty: write the name that the server gives it")
        for name, value, known in (
            ("api", self.api, ("chat", "completions")),
            ("max_tokens_field", self.max_tokens_field, ("max_tokens", "max_completion_tokens")),
            ("top_k_for_all", self.top_k_for_all, (0, -1)),
        ):
            if value not in known:
                raise UserError(f"{name} must be one of {', '.join(map(str, known))}, got {value!r}")
        if not isinstance(self.omit, tuple) or set(self.omit) - set(OMITTABLE):
            raise UserError(f"omit must be a tuple of names among {', '.join(OMITTABLE)}, got {self.omit!r}")
        if not all(
            isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and pair[1] in ENDS
            for pair in self.finish_reasons
        ):
            raise UserError(
                f'finish_reasons must be a tuple of (reason, end), for instance (("done", "stop"),), with ends of '
                f"{', '.join(ENDS)}, got {self.finish_reasons!r}"
            )
        if not isinstance(self.extra, tuple) or not all(isinstance(x, tuple) and len(x) == 2 for x in self.extra):
            raise UserError('extra must be a tuple of (name, value), for instance (("min_p", 0.0),)')
        own = sorted(OWN_FIELDS & {name for name, _ in self.extra})
        if own:
            raise UserError(f"extra may not set {', '.join(own)}: requests and the fields of the config decide it")
        object.__setattr__(self, "extra", tuple((name, _hashable(name, value)) for name, value in self.extra))

    @property
    def extra_fields(self) -> dict[str, Any]:
        """The fields of `extra` as plain JSON values."""
        return {name: json.loads(v.json) if isinstance(v, JSONValue) else v for name, v in self.extra}

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_local(self) -> bool:
        """True if the server is on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def is_plain(self) -> bool:
        """True if the connection is unencrypted."""
        return urlsplit(self.base_url).scheme == "http"

    @property
    def url(self) -> str:
        """The address of requests."""
        return self.base_url.rstrip("/") + ("/chat/completions" if self.api == "chat" else "/completions")

    @property
    def name(self) -> str:
        """Tells all that decides a draw, but the request, apart."""
        place = self.label or self.base_url.rstrip("/")
        decisive = dataclasses.replace(
            self,
            base_url="http://server" if self.label else self.base_url.rstrip("/"),
            api_key_variable="",
            allow_plain_http=False,
            limits=HTTPLimits(),
        )
        fields = to_json(decisive) | {"extra": [[name, value] for name, value in self.extra_fields.items()]}
        defaults = {field.name: field.default for field in dataclasses.fields(HTTPConfig)}
        for field in LATER_FIELDS:
            if getattr(self, field) == defaults[field]:
                del fields[field]
        text = json.dumps([HTTPConfig.__name__, fields], sort_keys=True, separators=(",", ":"))
        return f"{self.model}@{place}:{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def draw_seed(self, path: tuple[int, ...], draw: int) -> int:
        """The seed of a draw, 31 bits."""
        digest = hashlib.sha256(json.dumps([self.seed, path, draw]).encode()).digest()
        return int.from_bytes(digest[:4], "little") & 0x7FFFFFFF


def _hashable(name: str, value: Any) -> Value:
    """A value of `extra` that a config may hold."""
    if isinstance(value, (bool, int, str, JSONValue)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    try:
        return JSONValue(json.dumps(value, allow_nan=False, sort_keys=True, separators=(",", ":")))
    except (TypeError, ValueError, RecursionError):
        raise UserError(
            f"extra: the value of {name!r} is nothing that JSON has: give numbers, texts, lists, dicts"
        ) from None


class Clock:
    """Time, as a sampler sees it; tests have their own."""

    def monotonic(self) -> float:
        """Seconds, for durations."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        """Sleeps, but not longer than until `stop` is set."""
        if seconds > 0:
            stop.wait(seconds)


class Pace:
    """Spaces the starts of exchanges. Safe to share between threads."""

    def __init__(self, per_minute: float | None, clock: Clock):
        self._gap = 0.0 if per_minute is None else 60.0 / per_minute
        self._clock, self._lock, self._next = clock, threading.Lock(), -math.inf

    def reserve(self) -> float:
        """Takes the next place; returns how many seconds to wait for it."""
        with self._lock:
            now = self._clock.monotonic()
            start = max(now, self._next)
            self._next = start + self._gap
            return start - now


def backoff(identity: str, attempt: int, max_wait: float) -> float:
    """Seconds before retry number `attempt` (from 1): twice as long each time, by up to half more or less.

    Args:
      identity: decides the jitter, so that requests which failed together do not return together.
      attempt: from 1.
      max_wait: upper limit.
    """
    jitter = random.Random(f"{identity}:{attempt}").uniform(0.5, 1.5)
    return min(max_wait, jitter * 2.0 ** min(attempt - 2, 32))
