"""The few Linux calls that Python 3.11 has no function for."""

from __future__ import annotations

import ctypes
import os

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 36, 38
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 8, 32, 4096, 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2


def call(name: str, *args: int | bytes | None) -> int:
    """Calls a function of the C library.

    Raises:
      OSError: if it returns -1.
    """
    library = ctypes.CDLL(None, use_errno=True)
    converted = [ctypes.c_long(x) if isinstance(x, int) else ctypes.c_char_p(x) for x in args]
    result = getattr(library, name)(*converted)
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def io_priority() -> int:
    """The priority of this process's reads and writes, which Python has no function for; 0 on other machines."""
    number = {"x86_64": 252, "aarch64": 31}.get(os.uname().machine)
    return 0 if number is None else call("syscall", number, 1, 0)


def prctl(option: int, value: int) -> None:
    call("prctl", option, value, 0, 0, 0)


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = (None if x is None else os.fsencode(x) for x in (source, target, kind))
    source_, target_, kind_ = texts
    call("mount", source_, target_, kind_, flags, None if data is None else data.encode())
