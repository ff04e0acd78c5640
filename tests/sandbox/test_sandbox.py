"""Programs that try to break out, at every level that works here: each ends in a verdict, and nothing is harmed."""

import dataclasses
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import lazy_loader
import numpy as np
import pytest
from escapes import ESCAPES

from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox import levels as sandbox_levels
from jaxrl_suite.sandbox.programs import Case, Check, Program, run_programs
from jaxrl_suite.sandbox.records import Limits, Process, SandboxJob, SandboxVerdict
from jaxrl_suite.sandbox.sandbox import PROGRAMS, Sandbox, Toolset

LEVELS = ("bwrap", "unshare")
TOKEN = "token-0" + secrets.token_hex(16)
QUICK = Limits(seconds=0.8, memory_bytes=256 << 20, output_bytes=10_000, reply_bytes=100_000)
LIMITS = dataclasses.replace(QUICK, seconds=10.0)
SLOW = Limits(seconds=10.0, memory_bytes=256 << 20)
TIMEOUT, ERROR, CRASH, WRONG = SandboxVerdict.TIMEOUT, SandboxVerdict.ERROR, SandboxVerdict.CRASH, SandboxVerdict.WRONG
# What each must end with; a forgery that is only a wrong answer is WRONG. Those not listed may be any but PASS.
ENDS = {
    "busy_loop": {TIMEOUT},
    "long_c_call": {TIMEOUT},
    "sleep": {TIMEOUT},
    "stop_itself": {TIMEOUT},
    "block_signals": {TIMEOUT},
    "zombies": {TIMEOUT},
    "fork_bomb": {TIMEOUT},
    "count_forks": {WRONG},
    "memory_bomb": {SandboxVerdict.MEMORY},
    "stdout_flood": {SandboxVerdict.OUTPUT},
    "stderr_flood": {SandboxVerdict.OUTPUT},
    "reply_flood": {SandboxVerdict.OUTPUT},
    "stdin_wait": {ERROR},
    "exit_early": {CRASH},
    "close_descriptors": {CRASH},
    "deep_recursion": {CRASH, SandboxVerdict.MEMORY, ERROR},
    "system_exit": {ERROR},
    "base_exception": {ERROR},
    "equal_object": {SandboxVerdict.UNSUPPORTED},
    "equal_to_everything": {WRONG},
    "write_every_descriptor": {CRASH, WRONG},
    "hostile_reply": {CRASH, SandboxVerdict.OUTPUT},
    "many_threads": {ERROR, SandboxVerdict.MEMORY},
    "big_file": {ERROR, CRASH},
    "many_files": {ERROR, CRASH},
    "read_file": {ERROR},
    "connect_loopback": {ERROR},
    "kill_outside": {ERROR},
    "search_for_the_answer": {WRONG},
    "sabotage_the_worker": {CRASH, WRONG},
    "daemon": {WRONG},
    "kill_everything": {WRONG},
    "signal_the_worker": {WRONG},
    "ptrace_the_worker": {WRONG},
}


@pytest.fixture(scope="module", params=LEVELS)
def sandbox(request):
    """One worker, so that jobs follow each other on it."""
    try:
        made = Sandbox(workers=1, levels=(request.param,))
    except UserError as error:
        pytest.skip(str(error))
    with made:
        yield made


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """What programs aim at. All of it is real: without a sandbox it would be reached."""
    folder = tmp_path_factory.mktemp("target")
    (folder / "secret").write_text("secret-file")
    (folder / "home").mkdir()
    hits = []
    abstract = f"jaxrl-suite-{secrets.token_hex(8)}"
    servers = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
    servers[1].bind(str(folder / "socket"))
    servers[2].bind("\0" + abstract)
    for server in servers:
        server.listen()
        threading.Thread(target=_accept, args=(server, hits), daemon=True).start()
    victim = subprocess.Popen(["sleep", "1000"])
    os.environ["JAXRL_SUITE_TEST_SECRET"] = "secret-environment"
    yield {
        "file": str(folder / "secret"),
        "folder": str(folder),
        "home": str(folder / "home"),
        "port": servers[0].getsockname()[1],
        "unix": str(folder / "socket"),
        "abstract": abstract,
        "victim": victim.pid,
        "site": str(Path(np.__file__).parent.parent),
    }
    del os.environ["JAXRL_SUITE_TEST_SECRET"]
    assert victim.poll() is None, "a process outside was killed"
    victim.kill()
    victim.wait()
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
    assert not hits, "a program reached a server outside"
    assert (folder / "secret").read_text() == "secret-file"
    assert sorted(x.name for x in folder.iterdir()) == ["home", "secret", "socket"]
    assert not list((folder / "home").iterdir())


def _accept(server, hits):
    try:
        while True:
            connection, _ = server.accept()
            connection.close()
            hits.append(server)
    except OSError:
        pass


def attempt(sandbox, name, target, limits=LIMITS):
    return run_programs(sandbox, [Program(ESCAPES[name], "f")], [[Case((target,), TOKEN)]], limits)[0].outcomes[0]


def still_works(sandbox):
    """The worker serves the next program as if nothing had been: alone, in an empty folder, with its whole limits."""
    source = """
import os, resource
def f(n):
    others = []
    for pid in range(2, 2000):
        try:
            os.kill(pid, 0)
            others.append(pid)
        except OSError:
            pass
    return [n, others == [os.getpid()], os.listdir("/tmp"), resource.getrlimit(resource.RLIMIT_AS)[0],
            resource.getrlimit(resource.RLIMIT_NOFILE)[0]]
"""
    case = Case((7,), [7, True, [], SLOW.memory_bytes, 256])
    report = run_programs(sandbox, [Program(source, "f")], [[case]], SLOW)[0]
    assert report.passed, report.feedback()


@pytest.mark.parametrize("name", ESCAPES)
def test_no_program_breaks_out(sandbox, target, name):
    before = set(os.listdir(target["site"]))
    limits = QUICK if ENDS.get(name) == {TIMEOUT} else LIMITS
    outcome = attempt(sandbox, name, target, limits)
    assert outcome.verdict is not SandboxVerdict.PASS
    assert outcome.feedback != "returned 'pwned'", name
    assert TOKEN not in outcome.feedback
    assert outcome.verdict in ENDS.get(name, set(SandboxVerdict)), outcome
    assert outcome.verdict is not SandboxVerdict.UNAVAILABLE
    assert outcome.seconds < limits.seconds + 3
    assert set(os.listdir(target["site"])) == before
    still_works(sandbox)


FORGERIES = ["exit_early", "print_a_verdict", "write_every_descriptor", "patch_the_harness", "kill_the_judge",
             "equal_to_everything", "equal_object", "system_exit", "search_for_the_answer", "close_descriptors",
             "kill_everything"]  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_test_code_with_assertions_cannot_be_made_to_pass(sandbox, name):
    checks = [
        Check(f"assert f({{}}) == {TOKEN!r}"),
        Check(f"def check(candidate):\n    value = candidate({{}})\n    assert value == {TOKEN!r}, value"),
    ]
    report = run_programs(sandbox, [Program(ESCAPES[name], "f")], [checks], QUICK)[0]
    assert report.reward == 0, report
    still_works(sandbox)


def test_a_value_that_was_computed_before_is_not_found_by_the_next_program(sandbox):
    """Results pass by the worker: its memory, which every fork inherits, has not held them."""
    token = "token-1" + secrets.token_hex(16)
    honest = Program(f"def f(x): return x + {token[8:]!r}", "f")
    assert run_programs(sandbox, [honest], [[Case((token[:8],), token)]], SLOW)[0].passed
    scan = """
import ctypes, gc
def f(parts):
    whole = parts[0] + parts[1]
    found = 0
    for item in gc.get_objects():
        for inner in gc.get_referents(item):
            if type(inner) in (str, bytes) and len(inner) > 30 and inner is not whole:
                text = inner if type(inner) is str else inner.decode(errors="replace")
                found += whole[9:] in text
    return found
"""
    case = Case(([token[:20], token[20:]],), 0)
    report = run_programs(sandbox, [Program(scan, "f")], [[case]], SLOW)[0]
    assert report.passed, report.feedback()


def test_the_worker_holds_no_descriptor_that_a_program_could_use(sandbox):
    source = """
import os, stat
def f():
    kinds = []
    for fd in range(1024):
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            continue
        kinds.append((fd, "pipe" if stat.S_ISFIFO(mode) else "device" if stat.S_ISCHR(mode) else "other"))
    return kinds
"""
    expected = [(0, "device"), (1, "pipe"), (2, "pipe"), (200, "pipe")]
    report = run_programs(sandbox, [Program(source, "f")], [[Case((), expected)]], SLOW)[0]
    assert report.passed, report.feedback()


def test_no_process_inside_may_look_into_another(sandbox):
    """Even if a way past the other walls were found: the worker has told the kernel so before it forks."""
    source = "import ctypes\ndef f(): return ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)"  # PR_GET_DUMPABLE
    assert run_programs(sandbox, [Program(source, "f")], [[Case((), 0)]], SLOW)[0].passed


TRACES = """
import ctypes, os, tempfile
def f(change):
    found = os.stat("/tmp").st_mtime_ns, os.stat("/tmp").st_atime_ns, ctypes.CDLL(None).syscall(NUMBER, 1, 1)
    if change:
        with tempfile.TemporaryFile("w", dir="/tmp") as file:
            file.write("x")
        ctypes.CDLL(None).syscall(NUMBER - 1, 1, 1, 3 << 13)  # the worker's I/O priority: idle
    return found
"""


def test_what_a_job_did_in_its_folder_and_to_priorities_is_not_seen_by_the_next(sandbox):
    number = {"x86_64": 252, "aarch64": 31}[os.uname().machine]
    program = Program(TRACES.replace("NUMBER", str(number)), "f")
    cases = [Case((change,), None) for change in (False, True, False, True, False)]
    shown = {outcome.feedback for outcome in run_programs(sandbox, [program], [cases], SLOW)[0].outcomes}
    assert len(shown) == 1
    assert shown.pop().startswith("returned (0, 0, ")


def test_inside_is_a_bare_room(sandbox):
    source = """
import os, random, socket
def f():
    caps = os.getuid(), os.getgid(), os.path.exists("/proc/self"), os.path.exists("/sys")
    return caps, sorted(os.listdir("/dev")), sorted(os.environ), hash("text"), socket.gethostname()
"""
    jobs = [run_programs(sandbox, [Program(source, "f")], [[Case((), None)]], SLOW)[0] for _ in range(2)]
    assert jobs[0].outcomes[0].feedback == jobs[1].outcomes[0].feedback  # hash seeds too are the same each time
    shown = jobs[0].outcomes[0].feedback
    assert shown.startswith(
        "returned ((65534, 65534, False, False), ['null', 'random', 'shm', 'urandom', 'zero'], ["
    ), shown


def test_unsandboxed_programs_do_reach_the_targets(tmp_path):
    """The attempts are real: with resource limits alone, those that are harmless to try succeed."""
    (tmp_path / "secret").write_text("x")
    (tmp_path / "home").mkdir()
    victim = subprocess.Popen(["sleep", "1000"])
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        target = {
            "file": str(tmp_path / "secret"),
            "home": str(tmp_path / "home"),
            "port": server.getsockname()[1],
            "unix": str(tmp_path / "socket"),
            "victim": victim.pid,
        }
        names = ["read_file", "read_passwords", "list_home", "connect_loopback", "connect_unix", "write_home", "shell"]
        names += ["kill_outside", "dunder_walk", "importlib"]
        shown = {}
        with Sandbox(levels=(), allow_unsandboxed=True) as bare:
            assert bare.level == "none"
            for name in names:
                with pytest.warns(UserWarning, match="without a sandbox"):
                    shown[name] = attempt(bare, name, target, SLOW).feedback
    assert victim.wait(5) == -signal.SIGKILL
    assert {name for name, text in shown.items() if text != "returned 'pwned'"} == set(), shown
    assert (tmp_path / "home" / "canary").exists()


def test_it_refuses_where_no_level_works(monkeypatch):
    monkeypatch.setattr(sandbox_levels, "obstacle", lambda level: "not installed")
    with pytest.raises(UserError, match=r"bwrap: not installed; unshare: not installed.*allow_unsandboxed") as caught:
        Sandbox()
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="allow_unsandboxed=True"):
        Sandbox(levels=("none",))


def test_where_bubblewrap_is_missing_the_next_level_serves(monkeypatch):
    if not _works("unshare"):
        pytest.skip("the level unshare does not work here")
    monkeypatch.setattr(sandbox_levels.shutil, "which", lambda name: None)
    with Sandbox(workers=1) as made:
        assert made.level == "unshare"
        still_works(made)


ORPHAN = """
import sys
from jaxrl_suite.sandbox.programs import Case, Program, run_programs
from jaxrl_suite.sandbox.records import Limits
from jaxrl_suite.sandbox.sandbox import Sandbox
with Sandbox(levels=(sys.argv[1],), workers=1) as sandbox:
    print(sandbox._workers[0]._process.pid, flush=True)
    busy = Program("def f():\\n    while True: pass", "f")
    run_programs(sandbox, [busy], [[Case((), 1)]], Limits(seconds=600.0, cpu_seconds=600))
"""


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_outlives_the_parent(level):
    """Not even a parent that is killed in the middle of a job."""
    if not _works(level):
        pytest.skip(f"the level {level} does not work here")
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN, level], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    time.sleep(0.3)
    assert Path(f"/proc/{worker}").exists()
    inside = _descendants(worker)
    assert inside
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(_runs(pid) for pid in (worker, *inside)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in (worker, *inside) if _runs(pid)]


def _descendants(pid):
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *_descendants(child)]
    return found


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


WITHOUT_NAMESPACES = """
import sys, warnings
from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox.inside import seccomp
from jaxrl_suite.sandbox.sandbox import Sandbox
if not seccomp.install():
    sys.exit("no table for this machine")
try:
    Sandbox()
except UserError as error:
    print(error)
"""


def test_it_says_when_user_namespaces_are_off():
    """As in a container: the calls that make namespaces fail."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_NAMESPACES], capture_output=True, text=True)
    if "no table" in done.stderr:
        pytest.skip("system calls cannot be filtered on this machine")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("no sandbox works here (")
    assert done.stdout.count("\n") == 1
    assert "unshare: namespaces are not allowed here, as in many containers" in done.stdout, done.stdout


ORDINARY = """
import os, sys
from jaxrl_suite.sandbox.programs import Case, Program, run_programs
from jaxrl_suite.sandbox.sandbox import Sandbox
forks = '''
import os, time
def f():
    for count in range(200):
        try:
            if os.fork() == 0:
                time.sleep(60)
        except OSError:
            return count
'''
for level in sys.argv[1:]:
    with Sandbox(levels=(level,), workers=1) as sandbox:
        programs = [Program("def f(): return 1", "f"), Program(forks, "f"), Program("import os\\nf = os.getuid", "f")]
        reports = run_programs(sandbox, programs, [[Case((), 1)], [Case((), 7)], [Case((), 65534)]])
        print(os.getuid(), level, [report.passed for report in reports], *[r.feedback() for r in reports])
"""


def test_an_ordinary_user_has_the_same_sandbox():
    if os.geteuid() != 0:
        pytest.skip("all tests of this run are an ordinary user's already")
    python, setpriv = shutil.which("python3", path="/usr/bin:/usr/local/bin"), shutil.which("setpriv")
    if python is None or setpriv is None:
        pytest.skip("no interpreter that another user may run")
    command = [setpriv, "--reuid=1000", "--regid=1000", "--clear-groups", python, "-c"]
    root = Path(sandbox_levels.__file__).parents[2]
    path = os.pathsep.join((str(root), str(Path(lazy_loader.__file__).parents[1])))
    environment = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    check = "import sys; sys.exit(sys.version_info < (3, 11)); "
    if subprocess.run([*command, check], env=environment, capture_output=True).returncode:
        pytest.skip("no interpreter that another user may run")
    readable = (
        subprocess.run([*command, "import jaxrl_suite, lazy_loader"], env=environment, capture_output=True).returncode
        == 0
    )
    if not readable:
        pytest.skip("another user may not read this checkout")
    levels = [level for level in LEVELS if _works(level)]
    done = subprocess.run([*command, ORDINARY, *levels], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"1000 {level} [True, True, True]   " for level in levels]


def _works(level):
    try:
        Sandbox(workers=1, levels=(level,)).close()
    except UserError:
        return False
    return True


def test_a_worker_that_is_killed_is_replaced(sandbox):
    program, case = Program("def f(x): return x", "f"), Case((1,), 1)
    os.killpg(sandbox._workers[0]._process.pid, signal.SIGKILL)
    report = run_programs(sandbox, [program], [[case] * 3], SLOW)[0]
    assert report.passed, report.feedback()


def test_a_job_that_cannot_be_run_is_unavailable(sandbox, monkeypatch):
    sandbox._workers[0].close()
    monkeypatch.setattr(sandbox_levels, "command", lambda *_: ["/nonexistent"])
    report = run_programs(sandbox, [Program("def f(): return 1", "f")], [[Case((), 1)]], SLOW)[0]
    assert report.outcomes[0].verdict is SandboxVerdict.UNAVAILABLE
    monkeypatch.undo()
    still_works(sandbox)


def test_nothing_runs_after_close():
    levels = [level for level in LEVELS if _works(level)]
    if not levels:
        pytest.skip("no level works here; that it refuses is tested")
    with Sandbox(workers=2, levels=levels) as made:
        processes = [worker._process for worker in made._workers if worker._process]
        made.run([SandboxJob((Process("probe", b'{"file": "/", "port": 1, "pid": 1}'),))] * 2)
        processes += [worker._process for worker in made._workers]
    assert all(process.poll() is not None for process in processes)
    with pytest.raises(UserError, match="closed"):
        made.run([])


def test_limits_are_checked():
    for wrong in ({"seconds": 0}, {"seconds": float("nan")}, {"memory_bytes": -1}, {"cpu_seconds": -1}):
        with pytest.raises(UserError, match="must be a number above 0"):
            Limits(**wrong)
    with pytest.raises(UserError, match="pip install nonexistent_package"):
        sandbox_levels.site_folders(("nonexistent_package",))
    assert Toolset("program") == PROGRAMS


def test_cpu_time_has_a_limit_of_its_own(sandbox):
    limits = Limits(seconds=20.0, cpu_seconds=1)
    outcome = attempt(sandbox, "busy_loop", {}, limits)
    assert outcome.verdict is SandboxVerdict.TIMEOUT
    assert outcome.seconds < 15
