"""One exchange with a server: the key, the time-outs, the limits, and what each failure means.

The key is read from the environment, sent in one header to the one configured address (redirects are not followed), and
cut out of everything that the server says, so that it reaches no message, log or recording.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import logging
import os
import re
from typing import Any

import httpx

from jaxrl_suite.core.config import to_json
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.http.config import Clock, HTTPConfig

RETRY = frozenset({429, 500, 502, 503, 504})
PROMPT_STATUS = frozenset({400, 413, 422})  # with one of the codes or words below: this prompt will never be answered
PROMPT_CODES = frozenset({"content_filter", "content_policy_violation", "context_length_exceeded"})
PROMPT_WORDS = re.compile(
    r"context (length|size|window)|(prompt|input|request|messages?)\b.{0,40}\b(too (long|large)|too many tokens)"
    r"|content (management )?policy",
    re.IGNORECASE,
)
SAME_FOR_ALL = frozenset({401, 403, 404})  # key, permission or address: other requests would fail the same way
MAX_ERROR_BYTES = 2**16
PACKINGS = ("identity", "gzip", "deflate")  # once only: what is packed twice grows a million times
MAX_MESSAGE = 200  # characters of a server's own words
LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.socks")
HIDDEN = "[key]"
MIN_SECRET = 8  # characters; what is shorter, "EMPTY" or "none", is a word that may stand in a text


class ExchangeError(Exception):
    """An exchange that brought nothing.

    Args:
      message: one line, with the remedy.
      retry: it may succeed later.
      for_all: every other request would fail the same way.
      prompt: it is this prompt that is refused, for its length or its content, now and ever.
      wait: seconds that the server asks to wait.
    """

    def __init__(
        self, message: str, *, retry: bool = False, for_all: bool = False, prompt: bool = False, wait: float = 0.0
    ):
        super().__init__(message)
        self.message, self.retry, self.for_all, self.prompt, self.wait = message, retry, for_all, prompt, wait


class _Hide(logging.Filter):
    """Cuts a key out of log lines: httpcore shows all headers of a reply when it debugs."""

    def __init__(self, key: str):
        super().__init__()
        self._key = key

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if self._key in text:
            record.msg, record.args = text.replace(self._key, HIDDEN), ()
        return True


class Transport:
    """Posts JSON to the one address of a config. Safe to share between threads; close it.

    Raises:
      UserError: if a key is needed and missing, cannot be sent, or would travel unencrypted.
    """

    def __init__(self, config: HTTPConfig, clock: Clock):
        self._config, self._clock = config, clock
        self._key = _read_key(config)
        try:
            self._url = httpx.URL(config.url)
        except httpx.InvalidURL as error:
            raise UserError(f"base_url is no address ({error}): correct it") from None
        limits = config.limits
        try:
            self._client = httpx.Client(
                timeout=httpx.Timeout(limits.read_timeout, connect=limits.connect_timeout, pool=None),
                limits=httpx.Limits(max_connections=limits.concurrency, max_keepalive_connections=limits.concurrency),
                follow_redirects=False,
                trust_env=not config.is_local,  # proxies are for other machines
                verify=not (config.is_local and config.is_plain),  # certificates load slowly, and have no use there
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:  # httpx hides the password of a proxy
            raise UserError(f"cannot use the proxy that the environment names ({error}): correct HTTPS_PROXY") from None
        self._filter = _Hide(self._key) if len(self._key) >= MIN_SECRET else None
        if self._filter is not None:
            for name in LOGGERS:
                logging.getLogger(name).addFilter(self._filter)

    def __repr__(self) -> str:
        return f"Transport({self._config.url!r})"

    def close(self) -> None:
        self._client.close()
        if self._filter is not None:
            for name in LOGGERS:
                logging.getLogger(name).removeFilter(self._filter)

    def post(self, body: dict[str, Any]) -> dict[str, Any]:
        """Sends `body` and returns the object that comes back.

        Raises:
          ExchangeError: if none does.
        """
        config, limits = self._config, self._config.limits
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        deadline = self._clock.monotonic() + limits.total_timeout
        try:
            request = self._client.stream("POST", self._url, content=json.dumps(body).encode(), headers=headers)
            with request as response:
                raw = self._read(response, deadline)
        except httpx.ConnectTimeout:
            raise ExchangeError(
                f"cannot reach {config.host}: is base_url right, and the server up?", retry=True
            ) from None
        except httpx.TimeoutException:
            remedy = f"nothing came for {limits.read_timeout:g} s: raise read_timeout, or ask for fewer tokens"
            raise ExchangeError(remedy, retry=True) from None
        except httpx.ConnectError as error:
            reason = self._line(str(error))
            raise ExchangeError(
                f"cannot reach {config.host} ({reason}): is base_url right, and the server up?", retry=True
            ) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            reason = self._line(str(error)) or type(error).__name__
            raise ExchangeError(f"the connection to {config.host} broke ({reason})", retry=True) from None
        if not response.is_success:
            raise self._failure(response, raw)
        return self._object(response, raw)

    def _read(self, response: httpx.Response, deadline: float) -> bytes:
        """The body, within the limits on size and time."""
        limits = self._config.limits
        packing = response.headers.get("content-encoding", "identity").lower()
        if packing not in PACKINGS:
            raise ExchangeError(f"the reply is packed as {self._line(packing)}: turn compression off at the server")
        most = limits.max_reply_bytes if response.is_success else MAX_ERROR_BYTES
        parts, size = [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > most:
                if not response.is_success:
                    break
                raise ExchangeError(
                    f"the reply is longer than {most} bytes: raise max_reply_bytes, or ask for fewer tokens"
                )
            if self._clock.monotonic() > deadline:
                raise ExchangeError(
                    f"the reply took longer than {limits.total_timeout:g} s: raise total_timeout, or ask for less",
                    retry=True,
                )
        return b"".join(parts)

    def _object(self, response: httpx.Response, raw: bytes) -> dict[str, Any]:
        try:
            data = self._scrub(json.loads(raw))
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            kind = self._line(response.headers.get("content-type", "")) or "something"
            raise ExchangeError(
                f"the server sent {kind} that is no JSON object, or half of one: is base_url right?", retry=True
            )
        return data

    def _failure(self, response: httpx.Response, raw: bytes) -> ExchangeError:
        """The error that a status other than 2xx means."""
        status, config = response.status_code, self._config
        message, code = "", ""
        with contextlib.suppress(ValueError, RecursionError):
            message, code = _error_of(self._scrub(json.loads(raw)))
        message = self._line(message or raw.decode("utf-8", "replace"))
        words = f"the server answered {status}" + (f" ({message})" if message else "")
        if response.is_redirect:
            return ExchangeError(
                f"{words}, a redirect, which is not followed: set base_url to the new address", for_all=True
            )
        if status == 429 and code == "insufficient_quota":
            return ExchangeError(f"{words}: the account is out of credit", for_all=True)
        if status in RETRY:
            return ExchangeError(words, retry=True, wait=self._wait(response.headers.get("retry-after", "")))
        remedy = {
            400: "change the request",
            401: f"set {config.api_key_variable or 'api_key_variable'} to a valid key"
            if config.api_key_variable
            else "name the key's environment variable in api_key_variable",
            403: "the key may not use this model",
            404: "check base_url and model",
        }.get(status, "change the request")
        refused = status in PROMPT_STATUS and (
            status == 413 or code in PROMPT_CODES or PROMPT_WORDS.search(message) is not None
        )
        return ExchangeError(f"{words}: {remedy}", for_all=status in SAME_FOR_ALL, prompt=refused)

    def _wait(self, header: str) -> float:
        """Seconds that a Retry-After header asks for, given in seconds or as a date."""
        try:
            seconds = float(header)
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(header).timestamp() - self._clock.wall()
            except (ValueError, OverflowError):
                return 0.0
        return min(seconds, self._config.limits.max_wait) if seconds > 0 else 0.0  # nan is not

    def _line(self, text: str) -> str:
        """A server's words as part of one line, without the key."""
        text = " ".join(self._scrub(text).split())
        return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "..."

    def _scrub(self, value: Any) -> Any:
        """`value`, a JSON value, with the key cut out of its strings."""
        if len(self._key) < MIN_SECRET:
            return value
        if isinstance(value, str):
            return value.replace(self._key, HIDDEN)
        if isinstance(value, list):
            return [self._scrub(part) for part in value]
        if isinstance(value, dict):
            return {self._scrub(name): self._scrub(part) for name, part in value.items()}
        return value


def _read_key(config: HTTPConfig) -> str:
    key = os.environ.get(config.api_key_variable, "").strip() if config.api_key_variable else ""
    if not key:
        if config.api_key_variable and not config.is_local:
            raise UserError(
                f"{config.host} needs an API key: set the environment variable {config.api_key_variable}, or "
                'api_key_variable="" for a server without one'
            )
        return ""
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"the key in {config.api_key_variable} has characters that no key has: set it again")
    if len(key) >= MIN_SECRET and key in json.dumps(to_json(config)):
        raise UserError(f"the config holds the key itself: keep it in {config.api_key_variable} alone")
    if config.is_plain and not config.is_local and not config.allow_plain_http:
        raise UserError(
            f'the key would travel to {config.host} unencrypted: use https, api_key_variable="", or '
            "allow_plain_http=True in a network that you trust"
        )
    return key


def _error_of(data: Any) -> tuple[str, str]:
    """Message and code in an error reply, in the shapes that servers use."""
    error = data.get("error", data) if isinstance(data, dict) else data
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or ""
        return message if isinstance(message, str) else json.dumps(message), str(error.get("code") or "")
    return (error, "") if isinstance(error, str) else ("", "")
