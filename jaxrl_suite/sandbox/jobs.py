"""Moves the bytes of many jobs between this process and a few workers, in one loop."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from jaxrl_suite.sandbox.inside.worker import NONCE_BYTES
from jaxrl_suite.sandbox.levels import Worker, WorkerError
from jaxrl_suite.sandbox.records import SandboxJob, SandboxOutcome, outcome_of

GRACE_SECONDS = 10.0  # for a worker to report after its job's time is over, on a busy machine
CHUNK = 1 << 16


class _Reader:
    """The end of a pipe that a process of the sandbox writes to."""

    def __init__(self, limit: int):
        self.data, self.limit, self.excess = bytearray(), limit, False
        self.ours, self.theirs = os.pipe()
        os.set_blocking(self.ours, False)

    def read(self) -> bool:
        """Reads what is there; False at the end, or when there is too much."""
        while True:
            try:
                part = os.read(self.ours, CHUNK)
            except BlockingIOError:
                return True
            self.data += part
            if len(self.data) > self.limit:
                del self.data[self.limit :]
                self.excess = True
            if not part or self.excess:
                return False


class _Writer:
    """The end of a pipe that a process of the sandbox reads its payload from."""

    def __init__(self, payload: bytes):
        self.view = memoryview(payload)
        self.theirs, self.ours = os.pipe()
        os.set_blocking(self.ours, False)

    def write(self) -> bool:
        """Writes what fits; False when done, or when nobody reads."""
        try:
            self.view = self.view[os.write(self.ours, self.view) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return len(self.view) > 0


class _Run:
    """One job on one worker."""

    def __init__(self, job: SandboxJob, worker: Worker, selector: selectors.BaseSelector):
        assert worker.control is not None
        self.job, self.worker, self.selector = job, worker, selector
        self.nonce = secrets.token_bytes(NONCE_BYTES)
        self.report: dict[str, Any] | None = None
        self.excess = self.lost = False
        limits = job.limits
        self.deadline = time.monotonic() + limits.seconds + GRACE_SECONDS
        self.writers = [_Writer(process.payload + (process.stdin or b"")) for process in job.processes]
        self.replies = [_Reader(limits.reply_bytes) for _ in job.processes]
        self.outputs = [_Reader(limits.output_bytes) for _ in job.processes]
        peers = socket.socketpair() if len(job.processes) == 2 else ()
        fds = []
        for index, pipes in enumerate(zip(self.writers, self.replies, self.outputs, strict=True)):
            fds += [pipe.theirs for pipe in pipes] + [peer.fileno() for peer in peers[index : index + 1]]
        message = {
            "limits": {
                "seconds": limits.seconds,
                "cpu_seconds": limits.cpu_bound,
                "memory_bytes": limits.memory_bytes,
                "processes": limits.processes + len(job.processes) + worker.attendants,  # all of one uid count
                "file_bytes": limits.file_bytes,
            },
            "processes": [
                {"role": p.role, "descriptors": 3 + len(peers) // 2, "head": -1 if p.stdin is None else len(p.payload)}
                for p in job.processes
            ],
        }
        try:
            socket.send_fds(worker.control, [json.dumps(message).encode()], fds)
            worker.control.send(self.nonce)
        except OSError:
            self.lost, self.deadline = True, 0.0  # the worker is gone
        finally:
            for pipe in (*self.writers, *self.replies, *self.outputs):
                os.close(pipe.theirs)
            for peer in peers:
                peer.close()
        for writer in self.writers:
            selector.register(writer.ours, selectors.EVENT_WRITE, (self, writer))
        for reader in (*self.replies, *self.outputs):
            selector.register(reader.ours, selectors.EVENT_READ, (self, reader))
        selector.register(worker.control, selectors.EVENT_READ, (self, None))

    def handle(self, pipe: _Reader | _Writer | None) -> bool:
        """Takes part in one event; False when the job has ended."""
        if pipe is None:
            return self._listen()
        more = pipe.write() if isinstance(pipe, _Writer) else pipe.read()
        if not more:
            self._drop(pipe)
            if isinstance(pipe, _Reader) and pipe.excess:
                self.worker.interrupt()
        return True

    def finish(self) -> None:
        """Reads what is left and closes everything; a worker that did not report is ended."""
        assert self.worker.control is not None
        self.selector.unregister(self.worker.control)
        for reader in (*self.replies, *self.outputs):
            if reader.ours >= 0:
                reader.read()
        for pipe in (*self.writers, *self.replies, *self.outputs):
            self._drop(pipe)
        self.excess = any(reader.excess for reader in (*self.replies, *self.outputs))
        if self.report is None or not self.report["clean"]:
            self.worker.close()

    def _listen(self) -> bool:
        assert self.worker.control is not None
        try:
            message = self.worker.control.recv(1 << 16)
        except OSError:
            message = b""
        if message.startswith(self.nonce):
            self.report = json.loads(message[NONCE_BYTES:])
        return False

    def _drop(self, pipe: _Reader | _Writer) -> None:
        if pipe.ours >= 0:
            self.selector.unregister(pipe.ours)
            os.close(pipe.ours)
            pipe.ours = -1


def run_jobs(workers: Sequence[Worker], jobs: Sequence[SandboxJob]) -> list[SandboxOutcome]:
    """Runs jobs on workers and waits for all. A job whose worker ended on its own is tried once more.

    Args:
      workers: each takes one job at a time; those that have ended are started again.
      jobs: what to run.
    """
    outcomes: list[SandboxOutcome | None] = [None] * len(jobs)
    waiting = deque((index, 2) for index in range(len(jobs)))
    idle, running = deque(workers), {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and idle:
                    worker = idle.popleft()
                    (index, tries) = waiting.popleft()
                    try:
                        if not worker.alive:
                            worker.start()
                    except WorkerError:
                        idle.append(worker)
                        outcomes[index] = outcome_of(jobs[index], None, False, (), ())
                        continue
                    run = _Run(jobs[index], worker, selector)
                    running[run] = index, tries
                for run in _events(selector, running):
                    index, tries = running.pop(run)
                    run.finish()
                    idle.append(run.worker)
                    if run.report is None and (run.lost or not _late(run)) and tries > 1:
                        waiting.append((index, tries - 1))
                        continue
                    report = run.report or {"end": "timeout" if _late(run) else "gone", "seconds": 0, "processes": []}
                    replies, outputs = ([bytes(r.data) for r in group] for group in (run.replies, run.outputs))
                    outcomes[index] = outcome_of(run.job, report, run.excess, replies, outputs)
        finally:
            for run in running:  # an interrupt from the keyboard, for instance
                run.finish()
    return [outcome for outcome in outcomes if outcome is not None]


def _events(selector: selectors.BaseSelector, running: dict[_Run, Any]) -> list[_Run]:
    """Waits for news and handles it; the runs that have ended."""
    ended = []
    if running:
        first = min(run.deadline for run in running)
        for key, _ in selector.select(max(0.0, first - time.monotonic())):
            run, pipe = key.data
            if (pipe is None or pipe.ours >= 0) and not run.handle(pipe):
                ended.append(run)
        ended += [run for run in running if run not in ended and _late(run)]
    return ended


def _late(run: _Run) -> bool:
    return time.monotonic() >= run.deadline
