"""Enters the sandbox and becomes the worker: `main()` with the plan, as JSON, in `sys.argv[1]`.

Two levels come through here. `unshare` builds the whole sandbox: namespaces, a root that holds read-only binds of what
the plan lists and nothing else, and no way to make further user namespaces. `bwrap` has this done by bubblewrap; but
root first gets a view of the same files that an unprivileged user may read (an interpreter may live under root's home),
and the uid is dropped before bubblewrap starts: the kernel ignores the limit on processes for root.

The plan: `level`; `binds`, pairs of (source, path inside), files or folders; `links`, pairs of (path inside, target);
`scratch_bytes`, size of the only writable folder, /tmp; `drop`, whether to drop root; `command`, what is executed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys

from . import linux

NOBODY = 65534
STAGE = "/tmp"  # the new root is built on a mount over it that only this process sees
SPACES = (
    linux.CLONE_NEWUSER
    | linux.CLONE_NEWNS
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWCGROUP
)


def main() -> None:
    try:
        enter(json.loads(sys.argv[1]))
    except OSError as error:
        sys.exit(str(error))


def enter(plan: dict) -> None:
    write("/proc/self/oom_score_adj", "1000")  # where memory runs out, this ends first
    if plan["drop"]:
        unshare(linux.CLONE_NEWNS)
        build_root(plan)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        linux.prctl(linux.PR_SET_DUMPABLE, 1)  # cleared with the uid; files in /proc/self would stay root's
    if plan["level"] == "bwrap":
        os.execv(plan["command"][0], plan["command"])
    enter_namespaces()
    if not plan["drop"]:
        build_root(plan)
    enter_root()
    child = os.fork()  # the first process of the new pid namespace
    if child:
        for descriptor in range(3, 64):
            close(descriptor)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 255)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    os.chdir("/tmp")
    os.execve(plan["command"][0], plan["command"], os.environ)  # capabilities end here: the uid inside is not 0


def build_root(plan: dict) -> None:
    """Mounts the new root on `STAGE`: folders of a small tmpfs with read-only binds on them."""
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    sources = [os.open(source, os.O_PATH) for source, _ in plan["binds"]]  # before the stage hides some of them
    linux.mount("tmpfs", STAGE, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=65536")
    for descriptor, (source, inside) in zip(sources, plan["binds"], strict=True):
        target = STAGE + inside
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        linux.mount(f"/proc/self/fd/{descriptor}", target, None, linux.MS_BIND)
        close(descriptor)
        device = linux.MS_NODEV * (not source.startswith("/dev/"))
        flags = linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY | linux.MS_NOSUID | device
        linux.mount("none", target, None, flags | kept_flags(target))
    for inside, target in plan["links"]:
        os.makedirs(os.path.dirname(STAGE + inside), exist_ok=True)
        os.symlink(target, STAGE + inside)
    os.makedirs(STAGE + "/tmp")
    options = f"mode=1777,uid={NOBODY},gid={NOBODY},size={plan['scratch_bytes']}"
    linux.mount("tmpfs", STAGE + "/tmp", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)


def kept_flags(path: str) -> int:
    """Flags of a mount that may be locked by an outer user namespace: a remount must repeat them."""
    return os.statvfs(path).f_flag & (linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)  # statvfs has the same bits


def enter_namespaces() -> None:
    user, group = os.geteuid(), os.getegid()
    unshare(SPACES)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{NOBODY} {user} 1")
    write("/proc/self/gid_map", f"{NOBODY} {group} 1")
    write("/proc/sys/user/max_user_namespaces", "0")  # of this namespace: none can be made inside


def enter_root() -> None:
    linux.mount(STAGE, STAGE, None, linux.MS_BIND | linux.MS_REC)  # a mount of our own, which may become the root
    os.chdir(STAGE)
    linux.call("pivot_root", b".", b".")
    linux.call("umount2", b".", linux.MNT_DETACH)  # the old root lies on top of the new one
    os.chdir("/")
    flags = linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV
    linux.mount("none", "/", None, flags | kept_flags("/"))


def unshare(spaces: int) -> None:
    try:
        linux.call("unshare", spaces)
    except OSError as error:
        sys.exit(f"namespaces are not allowed here, as in many containers ({error.strerror})")


def write(path: str, text: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError as error:
        sys.exit(f"{path} cannot be written, as in many containers ({error.strerror})")


def close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)
