"""The worker: a process that stays warm and forks for each job. It never sees what the forks read and write.

It is the first process of its namespace, so that no fork can kill it, and so that it can kill all of them: what a job
started, daemons included, ends with the job. It is not dumpable, so that no fork can read its memory or descriptors. It
holds no payload and no result: a fork reads its payload from a pipe of its own and answers on another, both made by the
parent process outside. No file, limit or priority that a job leaves is seen by the next: a worker whose state is not
what it was ends. What the next job can tell is that others were there: process numbers go on, and the change time of
the scratch folder is the end of the last job.

Messages on the control socket, one packet each. In: a job, JSON with descriptors attached, and right after it a nonce;
`KILL` ends the job before its time. Out: `READY` once; then for each job its nonce and a JSON report. The nonce is read
after the forks were made, so that they cannot know it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

from . import linux, probe, seccomp

READY, KILL = b"READY", b"KILL"
NONCE_BYTES = 16
NUM_LIMITS = 16  # kinds of resource limits that Linux has
MAX_PAYLOAD = 64 << 20
Role = Callable[[bytes, int, int], None]  # payload; descriptor to answer on; descriptor to a second process, or -1


def main() -> None:
    descriptor, scratch, module, isolated = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "isolated"
    control = socket.socket(fileno=descriptor)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    roles = {"probe": probe.probe} | importlib.import_module(f".{module}", __package__).ROLES
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # which the first process of a namespace does not hear
    os.chdir(scratch)
    if isolated:
        if os.getpid() != 1:
            sys.exit("the worker is not the first process of its namespace")
        filtered = seccomp.install()
    else:
        filtered = False
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    gc.collect()
    gc.freeze()
    control.send(READY + json.dumps({"seccomp": filtered, "threads": num_threads()}).encode())
    while serve_one(control, roles, scratch, isolated):
        pass


def serve_one(control: socket.socket, roles: dict[str, Role], scratch: str, isolated: bool) -> bool:
    """Runs one job; False when the worker is to end."""
    message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 32)
    if not message:
        return False
    if message == KILL:  # of a job that had just ended
        return True
    job = json.loads(message)
    forget_times(scratch)
    before = state(scratch)
    forget_times(scratch)  # of reading the folder too
    started, rest, leader = time.monotonic(), list(descriptors), 0
    children: dict[int, dict] = {}
    for process in job["processes"]:
        used, rest = rest[: process["descriptors"]], rest[process["descriptors"] :]
        leader = os.fork()
        if leader == 0:
            run_role(control, roles[process["role"]], used, process["head"], job["limits"])
        children[leader] = {}
    for descriptor in descriptors:
        os.close(descriptor)
    nonce = control.recv(NONCE_BYTES)
    end = wait(control, leader, started + job["limits"]["seconds"])
    kill_all(children, isolated)
    if end == "closed" or len(nonce) != NONCE_BYTES:
        return False
    forget_times(scratch)
    clean = state(scratch) == before
    report = {"end": end, "seconds": time.monotonic() - started, "processes": list(children.values()), "clean": clean}
    control.send(nonce + json.dumps(report).encode())
    return clean


def state(scratch: str) -> tuple:
    """State that a job could change for the next one: files, and this process's own limits and priority."""
    folder = os.stat(scratch)
    limits = [resource.getrlimit(which) for which in range(NUM_LIMITS)]
    schedule = os.sched_getscheduler(0), os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    times = folder.st_mtime_ns, linux.io_priority()
    return os.listdir(scratch), folder.st_mode, os.listxattr(scratch), limits, schedule, times


def forget_times(scratch: str) -> None:
    """Sets the times of the scratch folder, which tell what a job did in it, to the same each time."""
    with contextlib.suppress(OSError):  # a job took the right away: the state is not what it was
        os.utime(scratch, ns=(0, 0))


def wait(control: socket.socket, leader: int, deadline: float) -> str:
    """Waits for the last process of a job, its time limit, or word from outside; says which it was."""
    ended = os.pidfd_open(leader)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(control, select.POLLIN)
    try:
        while True:
            ready = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
            if ended in ready:
                return "exit"
            if ready:
                return "killed" if control.recv(64) == KILL else "closed"
            if time.monotonic() >= deadline:
                return "timeout"
    finally:
        os.close(ended)


def kill_all(children: dict[int, dict], isolated: bool) -> None:
    """Ends every process but this one and records how the children ended."""
    while True:
        if isolated:
            kill(-1)  # as the first process of the namespace: all in it, at once
        else:
            for pid in {*children, *descendants()}:
                if not children.get(pid):
                    kill(-pid)
                    kill(pid)
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return
        if pid in children:
            children[pid] = {
                "code": os.waitstatus_to_exitcode(status),
                "cpu": usage.ru_utime + usage.ru_stime,
                "memory": usage.ru_maxrss * 1024,
            }


def descendants() -> list[int]:
    """Processes that fell to this one when their parent ended; only where there is no namespace to kill as a whole."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def run_role(control, role: Role, used: list[int], head: int, limits: dict) -> None:
    """The life of a fork, which never returns; of what it is sent, `head` bytes are payload and the rest its input."""
    try:
        control.close()
        os.setsid()
        payload_in, reply, output, *peer = used
        payload = read_some(payload_in, head) if head >= 0 else read_all(payload_in)
        source = payload_in if head >= 0 else os.open("/dev/null", os.O_RDWR)
        peer_fd = peer[0] if peer else -1
        high = [os.dup(fd) if fd >= 0 else -1 for fd in (reply, peer_fd)]
        high = [fd if fd < 0 else move(fd, 200 + i) for i, fd in enumerate(high)]
        os.dup2(source, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, 200)
        limit(limits)
        role(payload, high[0], high[1])
        flush()
    except BaseException as error:  # a fork must not go on as a second worker
        os.write(2, f"{type(error).__name__}: {error}\n".encode()[:1000])
        os._exit(70)
    os._exit(0)


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # written code may have put anything there
            stream.flush()


def move(descriptor: int, target: int) -> int:
    os.dup2(descriptor, target)
    os.close(descriptor)
    return target


def limit(limits: dict) -> None:
    cpu = limits["cpu_seconds"]
    bounds = {
        resource.RLIMIT_CPU: (cpu, cpu + 1),
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_NPROC: limits["processes"],
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for which, bound in bounds.items():
        soft, hard = bound if isinstance(bound, tuple) else (bound, bound)
        ceiling = resource.getrlimit(which)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(which, (soft, hard))


def read_all(descriptor: int) -> bytes:
    """The bytes that the parent sends until it closes its end.

    Raises:
      ValueError: if it is too much.
    """
    parts, size = [], 0
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
        size += len(part)
        if size > MAX_PAYLOAD:
            raise ValueError("the payload is too large")
    return b"".join(parts)


def read_some(descriptor: int, size: int) -> bytes:
    """The first `size` bytes, and not one more.

    Raises:
      ValueError: if fewer are sent.
    """
    parts = []
    while size:
        part = os.read(descriptor, min(1 << 20, size))
        if not part:
            raise ValueError("the payload is too short")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def kill(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def num_threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 0
