"""The language model behind a search over strategies: the options that name it, and its draws in the run folder.

An experiment whose config has the fields of `Options` calls `check_options` in its `__post_init__` and asks the sampler
of `open_sampler`. Every draw is on disk as soon as it is paid for, so that `--resume` asks for what is missing alone,
and `--proposer replay --recording FOLDER` asks nobody.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from jaxrl_suite.core.run import Run
from jaxrl_suite.errors import UserError

if TYPE_CHECKING:
    from jaxrl_suite.llm.http.config import HTTPConfig


class Options(Protocol):
    """The fields of a config that name a model."""

    @property
    def proposer(self) -> str:
        """`openai`: any compatible server; `replay`: the answers of an earlier run; any other name: no model."""
        ...

    @property
    def base_url(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def api_key_variable(self) -> str: ...
    @property
    def recording(self) -> str: ...


def check_options(config: Options) -> None:
    """For a config's `__post_init__`.

    Raises:
      UserError: if an option is missing, cannot be used, or belongs to another proposer.
    """
    if config.api_key_variable and not re.fullmatch(r"[A-Za-z_]\w*", config.api_key_variable, re.ASCII):
        raise UserError(
            f"api_key_variable {config.api_key_variable!r} cannot name an environment variable: give its name, never "
            "the key itself"
        )
    if config.proposer == "openai":
        if not config.base_url:
            raise UserError("--proposer openai needs --base-url, for instance http://127.0.0.1:8080/v1")
        http_config(config)
    elif given := [name for name in ("base_url", "model") if getattr(config, name)]:
        raise UserError(f"{given[0]} is for --proposer openai: give that too, or leave it out")
    if config.proposer == "replay" and not os.path.isdir(config.recording):
        raise UserError(f"--proposer replay needs --recording FOLDER of an earlier run, got {config.recording!r}")
    if config.proposer != "replay" and config.recording:
        raise UserError("recording is for --proposer replay: give that too, or leave it out")


def check_server(config: Options) -> None:
    """For an experiment's `check`: a server that cannot be spoken to is noticed before anything else is done.

    Raises:
      UserError: if a key is missing, or nothing answers at the address.
    """
    if config.proposer != "openai":
        return
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    from jaxrl_suite.llm.http.config import Clock
    from jaxrl_suite.llm.http.transport import Transport

    server = http_config(config)
    Transport(server, Clock()).close()
    if getproxies() and not server.is_local:
        return  # only the proxy knows
    parts = urlsplit(config.base_url)
    address = parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]
    try:
        socket.create_connection(address, timeout=server.limits.connect_timeout).close()
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise UserError(f"cannot reach {config.base_url} ({reason}): start the server, or correct --base-url") from None


def http_config(config: Options) -> HTTPConfig:
    """The server; a run that continues may find it at another address."""
    from jaxrl_suite.llm.http.config import HTTPConfig

    continues = bool(getattr(config, "continues", False))
    return HTTPConfig(
        config.base_url,
        config.model,
        api_key_variable=config.api_key_variable,
        label="server",
        supports_prefix=continues,
    )


def draws_path(config: Options, run: Run, name: str) -> Path:
    """The file of the draws of one part of a run: in its folder, or in that of the run that is replayed."""
    folder = Path(config.recording) if config.proposer == "replay" else run.folder
    return folder / f"draws-{name}.jsonl"


@contextlib.contextmanager
def open_sampler(config: Options, run: Run, name: str) -> Iterator[Any]:
    """The sampler of a run: the model, whose every draw is kept; no sampler at all where there is no model.

    Args:
      config: names the model.
      run: keeps the draws.
      name: of the part of the run, such as its game; each has a file of draws.
    """
    from jaxrl_suite.llm.http.sampler import HTTPSampler
    from jaxrl_suite.llm.recorder import ReplaySampler
    from jaxrl_suite.llm.recording import Recording

    path = draws_path(config, run, name)
    if config.proposer == "replay":
        with Recording(path, read_only=True) as known:
            yield ReplaySampler(known)
    elif config.proposer == "openai":
        with Recording(path) as draws, HTTPSampler(http_config(config), recording=draws) as sampler:
            yield sampler
    else:
        yield {}


def as_user_error(error: Exception) -> Exception:
    """A model that does not answer is no fault of the program: one line, and the way on."""
    from jaxrl_suite.llm.jobs import SamplerFailedError

    if isinstance(error, SamplerFailedError):
        return UserError(f"the language model failed ({error}): continue with --resume when it is back")
    return error
