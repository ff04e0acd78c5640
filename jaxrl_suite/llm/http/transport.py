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
from typing import Any

import httpx

from jaxrl_suite.core.config import to_json
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.http.config import Clock, HTTPConfig
from jaxrl_suite.llm.http.failures import ErrorWords, ExchangeError, failure, one_line, read_error

MAX_ERROR_BYTES = 2**16
PACKINGS = ("identity", "gzip", "deflate")  # once only: what is packed twice grows a million times
LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.socks")
HIDDEN = "[key]"
MIN_SECRET = 8  # characters; what is shorter, "EMPTY" or "none", is a word that may stand in a text


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
            raise ExchangeError(remedy, retry=True, may_be_paid=True) from None
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
                    may_be_paid=True,
                )
        return b"".join(parts)

    def _object(self, response: httpx.Response, raw: bytes) -> dict[str, Any]:
        kind = response.headers.get("content-type", "something")
        if kind.lower().startswith("text/event-stream") or raw.lstrip()[:5] == b"data:":
            raise ExchangeError(
                "the server streams, although it was told not to: turn streaming off there, or use another base_url",
                for_all=True,
            )
        try:
            data = self._scrub(json.loads(raw))
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise ExchangeError(
                f"the server sent {self._line(kind)} that is no JSON object, or half of one: is base_url right?",
                retry=True,
            )
        return data

    def _failure(self, response: httpx.Response, raw: bytes) -> ExchangeError:
        """The error that a status other than 2xx means."""
        status, headers, words = response.status_code, response.headers, ErrorWords()
        with contextlib.suppress(ValueError, RecursionError):
            words = read_error(self._scrub(json.loads(raw)))
        if not words.message:
            words = words._replace(message=self._line(raw.decode("utf-8", "replace")))
        if response.is_redirect:
            said = f"the server answered {status}" + (f" ({one_line(words.message)})" if words.message else "")
            return ExchangeError(
                f"{said}, a redirect, which is not followed: set base_url to the new address", for_all=True
            )
        wait = self._milliseconds(headers.get("retry-after-ms", "")) or self._wait(headers.get("retry-after", ""))
        may_retry = {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())
        return failure(self._config, status, words, wait=wait, may_retry=may_retry)

    def _milliseconds(self, header: str) -> float:
        """Seconds that a header asks for in milliseconds."""
        try:
            seconds = float(header) / 1000
        except ValueError:
            return 0.0
        return min(seconds, self._config.limits.max_wait) if seconds > 0 else 0.0

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
        return one_line(self._scrub(text))

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
