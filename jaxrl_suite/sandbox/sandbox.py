"""Runs code that a model wrote, isolated from this process, the files, the network and the rest of the machine.

A `Sandbox` keeps a few warm workers; each forks for every job, and nothing of a job outlives it. Its level is found by
trying: `bwrap` (bubblewrap), else `unshare` (namespaces made by this package), else it refuses, unless the caller asks
for no protection by name. A worker must show that files, network, processes and root are out of reach before it runs.

What a job can do is use its limits, and answer with bytes that are read here as data. What is true about the answer is
judged here, in this process, where written code never runs. See `programs` and `export` for what is built on it.

What does not hold: the memory limit is each process's own, so that a job may use `processes` times as much, and its
folder /tmp besides; code sees which kernel runs, what shared libraries are installed and how fast the machine is; side
channels are not closed; a hole in the kernel is a hole in every level. At level `none` there are resource limits only,
and for root not even one on processes.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import warnings
import weakref
from collections.abc import Sequence

from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox import levels as sandbox_levels
from jaxrl_suite.sandbox.jobs import run_jobs
from jaxrl_suite.sandbox.levels import Level, Toolset, Worker, WorkerError
from jaxrl_suite.sandbox.records import Limits, Process, SandboxJob, SandboxOutcome

PROGRAMS = Toolset("program")


class Sandbox:
    """A pool of isolated workers. Use it in a `with` block, or call `close`; it may be shared by threads.

    Args:
      tools: what its workers can do.
      workers: jobs at a time.
      levels: levels to try, in this order.
      allow_unsandboxed: run written code with resource limits alone where no level works, with a warning. It can then
        do to this machine whatever its user can.

    Raises:
      UserError: if no level works here; the message says why.
    """

    def __init__(
        self,
        tools: Toolset = PROGRAMS,
        workers: int = 2,
        levels: Sequence[Level] = ("bwrap", "unshare"),
        allow_unsandboxed: bool = False,
    ):
        if workers < 1:
            raise UserError(f"workers must be at least 1, got {workers}")
        if "none" in levels:
            raise UserError("level none is no sandbox: pass allow_unsandboxed=True to run written code without one")
        self.tools, self._lock, self._workers = tools, threading.Lock(), []
        self._closer = weakref.finalize(self, _close_all, self._workers)
        self.level, first = self._first_worker(levels, allow_unsandboxed)
        self._workers += [first, *(Worker(self.level, tools) for _ in range(workers - 1))]
        self.startup_seconds = first.startup_seconds
        self.filtered: bool = first.facts["seccomp"]  # whether system calls are filtered too

    def run(self, jobs: Sequence[SandboxJob]) -> list[SandboxOutcome]:
        """Runs jobs, as many at a time as there are workers, and waits for all.

        Returns:
          Their outcomes, in order. Nothing that written code does raises here.

        Raises:
          UserError: if the sandbox is closed.
        """
        if not self._closer.alive:
            raise UserError("the sandbox is closed: make a new one")
        if self.level == "none":
            warnings.warn("written code runs without a sandbox: it can do whatever this user can", stacklevel=2)
        with self._lock:
            return run_jobs(self._workers, jobs)

    def close(self) -> None:
        """Ends the workers."""
        self._closer()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _first_worker(self, levels: Sequence[Level], allow_unsandboxed: bool) -> tuple[Level, Worker]:
        reasons = []
        for level in levels:
            problem = sandbox_levels.obstacle(level)
            if problem is None:
                worker = Worker(level, self.tools)
                try:
                    worker.start()
                    problem = _open_doors(worker)
                except WorkerError as error:
                    problem = str(error)
                if problem is None:
                    return level, worker
                worker.close()
            reasons.append(f"{level}: {problem}")
        if allow_unsandboxed:
            worker = Worker("none", self.tools)
            try:
                worker.start()
            except WorkerError as error:
                raise UserError(f"no worker starts, with or without a sandbox ({error}): see the message") from None
            return "none", worker
        raise UserError(
            f"no sandbox works here ({'; '.join(reasons)}): install bubblewrap and allow user namespaces, or pass "
            "allow_unsandboxed=True to run written code without protection"
        )


def _open_doors(worker: Worker) -> str | None:
    """Things that written code could reach in a worker that should be isolated."""
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.NamedTemporaryFile() as file:
        task = {"file": file.name, "port": server.getsockname()[1], "pid": os.getpid()}
        job = SandboxJob((Process("probe", json.dumps(task).encode()),), Limits(seconds=20))
        outcome = run_jobs([worker], [job])[0]
    if outcome.verdict is not None:
        return f"a trial run ended with {outcome.verdict} ({outcome.detail})"
    opened = json.loads(outcome.replies[0])
    return f"written code would reach {', '.join(opened)}" if opened else None


def _close_all(workers: list[Worker]) -> None:
    for worker in workers:
        worker.close()
