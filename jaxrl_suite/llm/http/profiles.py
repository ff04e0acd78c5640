"""Profiles of servers: the fields that each takes, and those that turn off what it applies unasked.

A request without them is drawn from another distribution than `Decoding` says: llama.cpp, vLLM and SGLang cut by their
own or the model's defaults. A server that is not listed is spoken to as OpenAI's, and its refusals teach the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.llm.http.config import HTTPConfig

PROFILES: Mapping[str, Mapping[str, Any]] = {
    "llama.cpp": {"supports_top_k": True, "extra": (("min_p", 0.0), ("repeat_penalty", 1.0))},
    "vllm": {
        "supports_top_k": True,
        "top_k_for_all": -1,
        "extra": (("min_p", 0.0), ("repetition_penalty", 1.0)),
    },
    "sglang": {
        "supports_top_k": True,
        "top_k_for_all": -1,
        "extra": (("min_p", 0.0), ("repetition_penalty", 1.0)),
    },
    "ollama": {"omit": ("n",)},  # it ignores n; top_k and min_p are the model's, whatever a request says
    "openai": {},
    "openai-reasoning": {"max_tokens_field": "max_completion_tokens", "omit": ("stop", "temperature", "top_p")},
}


def server_config(server: str, base_url: str, model: str, **options: Any) -> HTTPConfig:
    """The config of a kind of server.

    Args:
      server: a name in `PROFILES`.
      base_url, model: as in `HTTPConfig`.
      options: more of its fields; they go before the profile's, and `extra` is joined to the profile's by name.

    Raises:
      UserError: for an unknown kind, or a config that cannot work.
    """
    if server not in PROFILES:
        raise UserError(f"unknown server {server!r}{suggest(server, PROFILES)}")
    profile = dict(PROFILES[server])
    extra = dict(profile.get("extra", ())) | dict(options.get("extra", ()))
    return HTTPConfig(base_url, model, **{**profile, **options, "extra": tuple(extra.items())})
