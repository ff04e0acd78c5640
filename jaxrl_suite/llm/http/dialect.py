"""The dialect of a server: what it takes of a request, learnt from the first refusal, which costs nothing.

A field is left out only where the server's own default is what the request says: temperature 1, top_p 1, no stream;
stop strings are cut here as well. Nothing that would change a draw is dropped: such a refusal stays an error, with a
remedy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxrl_suite.llm.http.config import HTTPConfig
from jaxrl_suite.llm.http.failures import ErrorWords

TOKEN_FIELDS = ("max_tokens", "max_completion_tokens")
_CODES = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter", "extra_forbidden"})
_UNSUPPORTED = re.compile(
    r"unsupported|(not|n't)( currently| yet| be)? (support|allow|permit|accept|available|enabled)|unrecogni[sz]ed"
    r"|unknown|unexpected|extra (inputs?|fields?)|extra_forbidden|deprecated|cannot both|only (the default|one of)"
    r"|incompatible|forbidden|additional propert|use ['\"`]?max_",
    re.IGNORECASE,
)
_MANY = re.compile(
    r"['\"`]n['\"`]|\bn (must|should|is|>|=|to be)|\bn\s*[>=]|\bparameter:? n\b|(completion )?choices? (is|are) allowed"
    r"|(multiple|more than one|only one|single) (choices?|completions?|candidates?|samples?|generations?)"
    r"|number of (choices|completions|candidates)",
    re.IGNORECASE,
)
_TOO_MANY = re.compile(r"too (large|many|big|high)|at most|exceed", re.IGNORECASE)
_NOT_BOTH = re.compile(r"\bboth\b|one of|only one|together", re.IGNORECASE)


class Dialect(NamedTuple):
    """A dialect: the way in which a server takes requests.

    Args:
      left_out: fields that are not sent, in order of their names.
      max_tokens_field: what it calls the limit on tokens.
      one_choice: it gives one sample a request.
      top_k_for_all: the `top_k` that keeps all tokens.
      is_swapped: whether it refused the limit under its other name.
    """

    left_out: tuple[str, ...] = ()
    max_tokens_field: str = "max_tokens"
    one_choice: bool = False
    top_k_for_all: int = 0
    is_swapped: bool = False

    def to_json(self) -> dict[str, Any]:
        return self._asdict() | {"left_out": list(self.left_out)}

    def __str__(self) -> str:
        parts = [f"without {name}" for name in self.left_out]
        parts += ["one sample a request"] * self.one_choice + [f"with {self.max_tokens_field}"]
        return ", ".join(parts)


def adapted(dialect: Dialect, body: Mapping[str, Any], words: ErrorWords) -> Dialect | None:
    """The dialect in which a refused request may be sent again; None if the words name nothing that can be spared.

    Args:
      dialect: in which it was sent.
      body: the request.
      words: of the refusal.
    """
    if body.get("n", 1) > 1 and (words.param == "n" or _MANY.search(words.message)):
        return dialect._replace(one_choice=True)
    named = [name for name in body if _names(words, name)]
    if "top_k" in named and body["top_k"] == 0 and "-1" in words.message:
        return dialect._replace(top_k_for_all=-1)
    if not (words.codes & _CODES or _UNSUPPORTED.search(words.message)):
        return None
    if dialect.max_tokens_field in named and not _TOO_MANY.search(words.message):
        other = TOKEN_FIELDS[1 - TOKEN_FIELDS.index(dialect.max_tokens_field)]
        return None if dialect.is_swapped else dialect._replace(max_tokens_field=other, is_swapped=True)
    spare = [name for name in ("top_p", "temperature") if name in named and body[name] == 1]
    if len(spare) == 2 and _NOT_BOTH.search(words.message):
        spare = spare[:1]
    spare += [name for name in ("stop", "stream") if name in named]
    return dialect._replace(left_out=tuple(sorted({*dialect.left_out, *spare}))) if spare else None


def remedy(config: HTTPConfig, body: Mapping[str, Any], words: ErrorWords) -> str:
    """The way out of a refusal that names a field which cannot be left out; "" if it names none."""
    ways = {
        "temperature": "ask with temperature=1, the only one that it takes",
        "top_p": "ask with top_p=1, the only one that it takes",
        "seed": "set send_seed=False",
        "top_k": "set supports_top_k=False, or another top_k_for_all",
        "logprobs": "set logprobs=False",
        "top_logprobs": "set logprobs=False",
        **{name: f"take {name} out of extra" for name in config.extra_fields},
    }
    return next((ways[name] for name in body if name in ways and _names(words, name)), "")


def _names(words: ErrorWords, field: str) -> bool:
    """True if a refusal is about this field."""
    if words.param:
        return words.param == field
    return re.search(rf"(?<![\w.]){re.escape(field)}(?!\w)", words.message) is not None
