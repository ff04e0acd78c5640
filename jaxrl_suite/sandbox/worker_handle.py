"""One worker as its parent sees it: started, asked, replaced."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import Any

from jaxrl_suite.sandbox import levels as sandbox_levels
from jaxrl_suite.sandbox.inside.worker import KILL, READY
from jaxrl_suite.sandbox.levels import Level, Toolset

START_SECONDS = 60.0


class WorkerError(RuntimeError):
    """A worker did not start; the message is one line."""


class Worker:
    """A worker process and its control socket. `start` may be called again after it has ended."""

    def __init__(self, level: Level, tools: Toolset):
        self.level: Level = level
        self.tools = tools
        self.control: socket.socket | None = None
        self.facts: dict[str, Any] = {}
        self.startup_seconds = 0.0
        self._process: subprocess.Popen | None = None
        self._folder: str | None = None

    def start(self) -> None:
        """Starts the process and waits until it is ready.

        Raises:
          WorkerError: if it does not become ready.
        """
        self.close()
        begin = time.monotonic()
        if self.level == "none":  # elsewhere it works in a folder that only it sees
            self._folder = tempfile.mkdtemp(prefix="jaxrl_suite-")
        scratch = self._folder or ""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, tempfile.TemporaryFile() as errors:
            try:
                self._process = subprocess.Popen(
                    sandbox_levels.command(self.level, self.tools, theirs.fileno(), scratch),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env=sandbox_levels.environment(self.level, self.tools),
                    pass_fds=[theirs.fileno()],
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                self.close()
                raise WorkerError(f"it cannot be started: {error.strerror}") from None
            self.control = ours
            theirs.close()
            message = b""
            if select.select([ours], [], [], START_SECONDS)[0]:
                with contextlib.suppress(OSError):
                    message = ours.recv(1 << 12)
            if not message.startswith(READY):
                self.close()
                errors.seek(0)
                lines = errors.read(1 << 16).decode(errors="replace").strip().splitlines()
                raise WorkerError(lines[-1][:300] if lines else f"no sign of life in {START_SECONDS:g} s")
        self.facts = json.loads(message[len(READY) :])
        self.startup_seconds = time.monotonic() - begin

    @property
    def alive(self) -> bool:
        """True if it runs and has not announced its end."""
        if self._process is None or self.control is None or self._process.poll() is not None:
            return False
        return not select.select([self.control], [], [], 0)[0]  # between jobs the only news is that it has ended

    @property
    def attendants(self) -> int:
        """Processes beside the worker that the limit on processes counts: at level `unshare` one waits for its end."""
        return int(self.level == "unshare")

    def interrupt(self) -> None:
        """Asks it to end its job now; it still reports."""
        if self.control is not None:
            with contextlib.suppress(OSError):
                self.control.send(KILL)

    def close(self) -> None:
        """Ends it, and with it all that runs inside."""
        if self.control is not None:
            self.control.close()
        if self._process is not None:
            try:
                self._process.wait(1.0)  # it ends by itself when its socket closes
            except subprocess.TimeoutExpired:
                with contextlib.suppress(OSError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self.control = self._process = self._folder = None
