"""Records that go into a sandbox and come out of it: jobs with their limits, outcomes with their verdicts."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import signal
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxrl_suite.errors import UserError

SHOWN = 100  # characters of a value or message in feedback


class SandboxVerdict(enum.StrEnum):
    """The verdict on something that was tried in a sandbox."""

    PASS = "pass"  # as it should
    WRONG = "wrong"  # another value than the expected one
    ERROR = "error"  # an exception, or an answer that is no answer
    REFUSED = "refused"  # written code asks for what is not allowed
    TIMEOUT = "timeout"  # more wall or CPU time than allowed
    MEMORY = "memory"  # more memory than allowed
    OUTPUT = "output"  # more output than allowed
    CRASH = "crash"  # the process ended without an answer
    UNTESTED = "untested"  # the test code never called the program
    UNSUPPORTED = "unsupported"  # the harness cannot carry what the test needs; no word on the program
    UNAVAILABLE = "sandbox_unavailable"  # no worker could be started


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits on what one job may use.

    Args:
      seconds: wall time of the job, from its start to its end.
      cpu_seconds: CPU time of each of its processes; as much as `seconds`, rounded up, where 0.
      memory_bytes: address space of each process.
      processes: processes and threads at a time.
      file_bytes: size of a file.
      output_bytes: text that a process prints; more ends the job.
      reply_bytes: size of a process's answer; more ends the job.

    Raises:
      UserError: if a limit is not positive.
    """

    seconds: float = 5.0
    cpu_seconds: int = 0
    memory_bytes: int = 512 << 20
    processes: int = 8
    file_bytes: int = 1 << 20
    output_bytes: int = 64 << 10
    reply_bytes: int = 1 << 20

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and (value > 0 or (field.name == "cpu_seconds" and value == 0))):
                raise UserError(f"{field.name} must be a number above 0, got {value}")

    @property
    def cpu_bound(self) -> int:
        """The limit on CPU time in force, in seconds."""
        return self.cpu_seconds or math.ceil(self.seconds)


class Process(NamedTuple):
    role: str  # one of the toolset's
    payload: bytes
    stdin: bytes | None = None  # its standard input, where it has one


@dataclasses.dataclass(frozen=True)
class SandboxJob:
    """Processes that start together, at most two, each with a channel to the other; the last one's end is the job's.

    Args:
      processes: what runs.
      limits: what it may use.
    """

    processes: tuple[Process, ...]
    limits: Limits = Limits()


@dataclasses.dataclass(frozen=True)
class SandboxOutcome:
    """The outcome of a job, in the order of its processes. All bytes are the sandbox's word, nothing more.

    Args:
      verdict: why the job ended, if not by itself: TIMEOUT, MEMORY, OUTPUT, CRASH, UNAVAILABLE; else None.
      detail: one line about it.
      replies: what each process answered.
      outputs: what each printed, on both streams.
      ends: (verdict or None, one line) for each: why it ended, if not by itself.
      seconds: wall time.
      cpu_seconds: CPU time of the processes, not of what they started and did not wait for.
    """

    verdict: SandboxVerdict | None
    detail: str
    replies: tuple[bytes, ...] = ()
    outputs: tuple[bytes, ...] = ()
    ends: tuple[tuple[SandboxVerdict | None, str], ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def outcome_of(
    job: SandboxJob, report: dict | None, excess: bool, replies: Sequence[bytes], outputs: Sequence[bytes]
) -> SandboxOutcome:
    """Reads a worker's report; None if no worker could run the job."""
    if report is None:
        return SandboxOutcome(SandboxVerdict.UNAVAILABLE, "no worker could be started")
    ends = tuple(_end(job.limits, *pair) for pair in zip(report["processes"], outputs, strict=False))
    if excess:
        verdict, detail = SandboxVerdict.OUTPUT, "more output than allowed"
    elif report["end"] == "timeout":
        verdict, detail = SandboxVerdict.TIMEOUT, f"more than {job.limits.seconds:g} s"
    elif report["end"] != "exit":
        verdict, detail = SandboxVerdict.CRASH, "the worker ended"
    else:
        verdict, detail = ends[-1]
    cpu = sum(process["cpu"] for process in report["processes"])
    return SandboxOutcome(verdict, detail, tuple(replies), tuple(outputs), ends, report["seconds"], cpu)


def _end(limits: Limits, process: dict, printed: bytes) -> tuple[SandboxVerdict | None, str]:
    """The reason why one process ended, if not by itself."""
    code = process["code"]
    if code == 0:
        return None, ""
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and process["cpu"] >= limits.cpu_bound):
        return SandboxVerdict.TIMEOUT, f"more than {limits.cpu_bound} s of CPU time"
    signs = (b"bad_alloc", b"MemoryError", b"RESOURCE_EXHAUSTED", b"out of memory")
    full = code == -signal.SIGKILL and process["memory"] > limits.memory_bytes // 2
    if full or any(sign in printed[-2000:] for sign in signs):
        return SandboxVerdict.MEMORY, f"more than {limits.memory_bytes >> 20} MiB"
    return SandboxVerdict.CRASH, f"signal {-code}" if code < 0 else f"exit code {code}"


def read_reply(data: bytes) -> dict[str, Any] | None:
    """A worker's answer as a JSON object; None if it is anything else."""
    try:
        reply = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return reply if isinstance(reply, dict) else None
