"""Meanings of failures: a server's words about one, and what follows from them and the status."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from jaxrl_suite.llm.http.config import HTTPConfig
from jaxrl_suite.llm.http.ends import words as words_of

RETRY = frozenset({408, 409, 425, 429})  # and all from 500 on: they pass by themselves
PROMPT_STATUS = frozenset({400, 413, 422})  # with one of the codes or words below: this prompt will never be answered
PROMPT_CODES = frozenset({"content_filter", "content_policy_violation", "context_length_exceeded"})
PROMPT_WORDS = re.compile(
    r"context (length|size|window)|(prompt|input|request|messages?)\b.{0,40}\b(too (long|large)|too many tokens)"
    r"|content (management )?policy",
    re.IGNORECASE,
)
FLAGGED_WORDS = re.compile(r"\b(input|prompt|content|message)\b.{0,40}\bflagged\b|requires moderation", re.IGNORECASE)
CREDIT_CODES = words_of(
    "insufficient_quota insufficient_credits insufficient_balance insufficient_funds billing_hard_limit_reached "
    "billing_not_active payment_required exceeded_current_quota_error credits_exhausted"
)
CREDIT_WORDS = re.compile(
    r"(insufficient|not enough|no more|out of|used all( available)?) (account )?(credits?|balance|funds)\b"
    r"|credit balance is too low|payment required",
    re.IGNORECASE,
)
CREDIT_STATUS = frozenset({400, 403, 412, 429})  # with one of the codes or words above; 402 needs none
SAME_FOR_ALL = frozenset({401, 403, 404})  # key, permission or address: other requests would fail the same way
ACCOUNT = frozenset({401, 402, 403})  # as long as the account stays as it is
MAX_MESSAGE = 200  # characters of a server's own words that are shown
MAX_WORDS = 4000  # that are read

# The status of an error that came with status 200, by its type or code.
_STATUS = {
    400: "invalid_request_error bad_request badrequesterror invalid_argument context_length_exceeded content_filter",
    401: "invalid_api_key authentication_error authenticationerror unauthorized unauthenticated",
    402: " ".join(sorted(CREDIT_CODES)),
    403: "permission_error permission_denied forbidden",
    404: "not_found_error notfounderror not_found model_not_found",
    429: "rate_limit_error rate_limit_exceeded ratelimiterror too_many_requests resource_exhausted",
}
TYPE_STATUS = {code: status for status, codes in _STATUS.items() for code in codes.split()}


class ErrorWords(NamedTuple):
    """A server's own words about a failure.

    Args:
      message: one line.
      codes: its code, type and status, in lower case.
      param: the field of the request that it is about, or "".
    """

    message: str = ""
    codes: frozenset[str] = frozenset()
    param: str = ""

    @property
    def status(self) -> int:
        """The HTTP status that the words stand for; 500 if they do not say."""
        numbers = sorted(int(code) for code in self.codes if re.fullmatch(r"[45]\d\d", code))
        known = sorted(TYPE_STATUS[code] for code in self.codes if code in TYPE_STATUS)
        return next(iter([*numbers, *known]), 500)


class ExchangeError(Exception):
    """An exchange that brought nothing.

    Args:
      message: one line, with the remedy.
      retry: it may succeed later.
      for_all: every other request would fail the same way.
      account: for as long as the account is as it is: a wrong key, no permission, no credit.
      prompt: it is this prompt that is refused, for its length or its content, now and ever.
      wait: seconds that the server asks to wait.
      refusal: the server's words about a request that it will not take as it is.
      may_be_paid: the server may have worked, and counted tokens, all the same.
    """

    def __init__(
        self,
        message: str,
        *,
        retry: bool = False,
        for_all: bool = False,
        account: bool = False,
        prompt: bool = False,
        wait: float = 0.0,
        refusal: ErrorWords | None = None,
        may_be_paid: bool = False,
    ):
        super().__init__(message)
        self.message, self.retry, self.for_all, self.account = message, retry, for_all, account
        self.prompt, self.wait, self.refusal, self.may_be_paid = prompt, wait, refusal, may_be_paid


def failure(
    config: HTTPConfig, status: int, words: ErrorWords, *, wait: float = 0.0, may_retry: bool | None = None, sent=0
) -> ExchangeError:
    """The error that a status means.

    Args:
      config: names what a remedy sets.
      status: of HTTP, or what `words` stand for.
      words: the server's own.
      wait: seconds that the server asks to wait.
      may_retry: what the server itself says about another attempt.
      sent: the status that came, if it was another.
    """
    said = f"the server answered {sent or status}" + (" with an error" if sent else "")
    said += f" ({one_line(words.message)})" if words.message else ""
    credit = bool(words.codes & CREDIT_CODES) or CREDIT_WORDS.search(words.message) is not None
    if status == 402 or (status in CREDIT_STATUS and credit):
        return ExchangeError(f"{said}: the account is out of credit, top it up", for_all=True, account=True)
    flagged = status == 403 and FLAGGED_WORDS.search(words.message) is not None
    refused = status in PROMPT_STATUS and (
        status == 413 or bool(words.codes & PROMPT_CODES) or PROMPT_WORDS.search(words.message) is not None
    )
    transient = (status in RETRY or status >= 500) and may_retry is not False
    if not (flagged or refused) and (transient or (may_retry is True and status not in SAME_FOR_ALL)):
        refusal = words if status in (500, 501) else None
        return ExchangeError(said, retry=True, wait=wait, refusal=refusal)
    remedy = {
        401: f"set {config.api_key_variable} to a valid key"
        if config.api_key_variable
        else "name the key's environment variable in api_key_variable",
        403: "change the prompt" if flagged else "the key may not use this model",
        404: "check base_url and model",
    }.get(status, "change the request")
    return ExchangeError(
        f"{said}: {remedy}",
        for_all=status in SAME_FOR_ALL and not flagged,
        account=status in ACCOUNT and not flagged,
        prompt=flagged or refused,
        refusal=words if status in (400, 403, 422) and not (refused or flagged) else None,
    )


def read_error(data: Any) -> ErrorWords:
    """The words of an error reply, in the shapes that servers use; empty if there are none."""
    if isinstance(data, list) and data:  # one error in a list
        data = data[0]
    if isinstance(data, str):
        return ErrorWords(one_line(data, MAX_WORDS))
    if not isinstance(data, dict):
        return ErrorWords()
    error = data.get("error") or data.get("base_resp") or data.get("errors") or data
    if isinstance(error, list) and error:
        error = error[0]
    if not isinstance(error, dict):
        error = {"message": error} if isinstance(error, str) else {}
    names = ("message", "detail", "msg", "status_msg")
    message = next((error[name] for name in names if error.get(name)), "")
    if not message and error is not data:
        message = next((data[name] for name in names if data.get(name)), "")
    param = error.get("param") or data.get("param")
    raw = [where.get(name) for where in (error, data) for name in ("code", "type", "status", "error_type")]
    codes = (str(code).lower() for code in raw if isinstance(code, (str, int)) and not isinstance(code, bool))
    return ErrorWords(_text(message), frozenset(filter(None, codes)), param if isinstance(param, str) else "")


def one_line(text: str, most: int = MAX_MESSAGE) -> str:
    """A server's words as part of one line: without control characters, and not too long."""
    text = " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in text[: 2 * MAX_WORDS]).split())
    return text if len(text) <= most else text[: most - 3] + "..."


def _text(message: Any) -> str:
    if isinstance(message, str):
        return one_line(message, MAX_WORDS)
    try:
        return one_line(json.dumps(message), MAX_WORDS)
    except (RecursionError, ValueError):
        return ""
