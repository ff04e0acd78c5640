"""A worker process, how it is started at each level of isolation, and what the sandbox holds.

Inside, at every level but `none`: the interpreter, the shared libraries, the code of `inside`, packages that a toolset
names, time zones, four devices, an empty folder /tmp of limited size, which is /dev/shm too, all else absent and
read-only; no network, no /proc, an empty environment, a uid without rights, no further user namespaces.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal, TypeAlias

from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox import levels as sandbox_levels
from jaxrl_suite.sandbox.inside.worker import KILL, READY

Level: TypeAlias = Literal["bwrap", "unshare", "none"]

NOBODY = 65534
SCRATCH = "/tmp"
INSIDE = Path(__file__).resolve().parent / "inside"
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
ZONES = "/usr/share/zoneinfo"
LIBRARIES = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/nix/store")
START = "import sys; sys.path.append({path!r}); from inside.{module} import main; main()"


@dataclasses.dataclass(frozen=True)
class Toolset:
    """The tools of a worker.

    Args:
      module: of `inside`; its `ROLES` are what the worker can be asked for.
      packages: import names whose folders it may read.
      environment: variables, pairs of (name, value).
      scratch_bytes: size of its folder /tmp, which is kept in memory.
    """

    module: str
    packages: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    scratch_bytes: int = 16 << 20


def obstacle(level: Level) -> str | None:
    """The reason why a level cannot even be tried, if so."""
    if not sys.platform.startswith("linux"):
        return "needs Linux"
    if level == "bwrap" and shutil.which("bwrap") is None:
        return "not installed"
    return None


def command(level: Level, tools: Toolset, control: int, scratch: str) -> list[str]:
    """The command line of a worker.

    Args:
      level: how it is isolated.
      tools: what it is for.
      control: the descriptor of its control socket.
      scratch: at level `none` the folder it works in.
    """
    arguments = [str(control), scratch if level == "none" else SCRATCH, tools.module]
    if level == "none":
        return [*_python(sys.executable, str(INSIDE.parent), "worker"), *arguments, "bare"]
    binds, links, python = _contents(tools)
    worker = [*_python(python, "/sandbox", "worker"), *arguments, "isolated"]
    drop = os.geteuid() == 0 and _is_mapped(NOBODY)
    if level == "bwrap":
        view = SCRATCH if drop else ""
        worker = [*_bubblewrap(binds, links, view, tools), "--", *worker]
    plan = {
        "level": level,
        "binds": binds,
        "links": links,
        "scratch_bytes": tools.scratch_bytes,
        "drop": drop,
        "command": worker,
    }
    return [*_python(sys.executable, str(INSIDE.parent), "enter"), json.dumps(plan)]


def environment(level: Level, tools: Toolset) -> dict[str, str]:
    """The whole environment of a worker; none of ours is handed on."""
    paths = site_folders(tools.packages)
    if level != "none":
        paths = [f"/site{i}" for i in range(len(paths))]
    library = {} if level == "none" else {"LD_LIBRARY_PATH": "/python/lib"}
    fixed = {"PYTHONHASHSEED": "0", "HOME": SCRATCH, "LANG": "C.UTF-8", "PYTHONPATH": ":".join(paths)}
    return fixed | library | dict(tools.environment)


@functools.cache
def site_folders(packages: tuple[str, ...]) -> list[str]:
    """The folders that packages are installed in, each once.

    Raises:
      UserError: if a package is not installed.
    """
    folders = []
    for name in packages:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"the sandbox needs the package {name}: pip install {name}")
        folders.append(str(Path(next(iter(spec.submodule_search_locations))).resolve().parent))
    return list(dict.fromkeys(folders))


def _python(executable: str, path: str, module: str) -> list[str]:
    return [executable, "-S", "-s", "-P", "-B", "-c", START.format(path=path, module=module)]


def _contents(tools: Toolset) -> tuple[list[tuple[str, str]], list[tuple[str, str]], str]:
    """Binds (source, path inside), links (path inside, target), and the interpreter's path inside."""
    binds, links = [(device, device) for device in DEVICES], [("/dev/shm", SCRATCH)]  # semaphores lie there
    if (zones := _zones()) is not None:
        binds.append((zones, ZONES))
    for path in LIBRARIES:
        if os.path.islink(path):  # /lib -> usr/lib
            links.append((path, os.readlink(path)))
        elif os.path.exists(path):
            binds.append((path, path))
    executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    prefix = Path(sys.base_prefix).resolve()
    if prefix == Path("/usr") or not executable.is_relative_to(prefix):
        python = "/usr/bin/python3"
        binds.append((str(executable), python))
    else:
        python = f"/python/{executable.relative_to(prefix)}"
        binds += [(str(prefix / "bin"), "/python/bin"), (str(prefix / "lib"), "/python/lib")]
    binds.append((str(INSIDE), "/sandbox/inside"))
    binds += [(folder, f"/site{i}") for i, folder in enumerate(site_folders(tools.packages))]
    return binds, links, python


def _zones() -> str | None:
    """The folder of time zones: the machine's, or that of the package tzdata."""
    if os.path.isdir(ZONES):
        return os.path.realpath(ZONES)
    spec = importlib.util.find_spec("tzdata")
    folder = next(iter(spec.submodule_search_locations or []), "") if spec else ""
    return os.path.join(folder, "zoneinfo") if os.path.isdir(os.path.join(folder, "zoneinfo")) else None


def _bubblewrap(binds: list[tuple[str, str]], links: list[tuple[str, str]], view: str, tools: Toolset) -> list[str]:
    line = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--unshare-user", "--disable-userns"]
    line += ["--uid", str(NOBODY), "--gid", str(NOBODY), "--cap-drop", "ALL", "--hostname", "sandbox"]
    line += ["--die-with-parent", "--new-session", "--as-pid-1", "--clearenv"]
    for name, value in environment("bwrap", tools).items():
        line += ["--setenv", name, value]
    for source, inside in binds:
        source = view + inside if view else source
        line += ["--dev-bind" if inside in DEVICES else "--ro-bind", source, inside]
    for inside, target in links:
        line += ["--symlink", target, inside]
    line += ["--size", str(tools.scratch_bytes), "--tmpfs", SCRATCH, "--remount-ro", "/", "--chdir", SCRATCH]
    return line


def _is_mapped(uid: int) -> bool:
    """True if a uid exists in this user namespace."""
    rows = [[int(x) for x in row.split()] for row in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(first <= uid < first + count for first, _, count in rows)


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
