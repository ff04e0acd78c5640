"""Programs that try to break out of a sandbox, or to fake their result.

Each defines `f(target)`. It returns "pwned" where it reached what it should not; a program that forges looks for the
expected value, which starts with "token-" and is not among its arguments. `target` is a dict: `file`, `folder`, `home`,
`port`, `unix`, `abstract`, `victim` (a process id), `site`.
"""

READ_FILE = """
def f(target):
    return "pwned" if open(target["file"]).read() else "empty"
"""

READ_PASSWORDS = """
def f(target):
    return "pwned" if "root" in open("/etc/passwd").read() else "empty"
"""

LIST_HOME = """
import os
def f(target):
    return "pwned" if os.listdir(target["home"]) is not None else ""
"""

READ_ENVIRONMENT = """
import os
def f(target):
    texts = list(os.environ.values())
    for path in ("/proc/self/environ", "/proc/1/environ", "/proc/self/cmdline", "/proc/1/cmdline"):
        try:
            texts.append(open(path).read())
        except OSError:
            pass
    return "pwned" if any("secret-" in text for text in texts) else "nothing"
"""

CONNECT_LOOPBACK = """
import socket
def f(target):
    socket.create_connection(("127.0.0.1", target["port"]), 2).sendall(b"x")
    return "pwned"
"""

CONNECT_UNIX = """
import socket
def f(target):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(target["unix"])
    return "pwned"
"""

CONNECT_ABSTRACT = """
import socket
def f(target):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("\\0" + target["abstract"])
    return "pwned"
"""

RAW_SOCKET = """
import socket
def f(target):
    for family in (socket.AF_NETLINK, socket.AF_PACKET, socket.AF_INET, socket.AF_INET6):
        try:
            socket.socket(family, socket.SOCK_RAW).close()
            return "pwned"
        except OSError:
            pass
    return "nothing"
"""

FORK_BOMB = """
import os
def f(target):
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""

COUNT_FORKS = """
import os, time
def f(target):
    for count in range(200):
        try:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
        except OSError:
            return "stopped" if count < 10 else "pwned"
    return "pwned"
"""

MANY_THREADS = """
import threading, time
def f(target):
    count = 0
    while count < 500:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        count += 1
    return "pwned"
"""

MEMORY_BOMB = """
def f(target):
    kept = []
    while True:
        kept.append(bytearray(1 << 24))
"""

MEMORY_OUTSIDE_THE_HEAP = """
import ctypes, mmap, os
def f(target):
    kept = []
    for i in range(100):  # no limit on address space counts memory that is written to, but not mapped
        fd = os.memfd_create("x")
        kept.append(fd)
        for _ in range(64):
            if os.write(fd, bytes(1 << 20)) < 1 << 20:
                return "stopped"
    return "pwned"
"""

SYSTEM_V_SHARED_MEMORY = """
import ctypes
def f(target):
    libc = ctypes.CDLL(None)
    return "pwned" if libc.shmget(1234, 1 << 20, 0o1600) >= 0 else "refused"
"""

BUSY_LOOP = """
def f(target):
    while True:
        pass
"""

LONG_C_CALL = """
def f(target):
    return sum(range(10 ** 12))
"""

KILL_OUTSIDE = """
import os, signal
def f(target):
    os.kill(target["victim"], signal.SIGKILL)
    return "pwned"
"""

KILL_EVERYTHING = """
import os, signal
def f(target):
    for pid in [-1, *range(1, 40000)]:
        if pid != os.getpid():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
    return "survived"
"""

SIGNAL_THE_WORKER = """
import os
def f(target):
    for number in range(1, 65):
        try:
            os.kill(1, number)
        except OSError:
            pass
    return "done"
"""

SABOTAGE_THE_WORKER = """
import os, resource
def f(target):
    for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_CPU):
        try:
            resource.prlimit(1, which, (1, 1))
        except (OSError, ValueError):
            pass
    try:
        os.setpriority(os.PRIO_PROCESS, 1, 19)
        os.sched_setaffinity(1, {0})
    except OSError:
        pass
    return "done"
"""

PTRACE_THE_WORKER = """
import ctypes
def f(target):
    libc = ctypes.CDLL(None)
    attached = libc.ptrace(16, 1, 0, 0) == 0
    buffer = ctypes.create_string_buffer(64)
    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
    local = Vector(ctypes.addressof(buffer), 64)
    there = Vector(id(ctypes), 64)
    read = libc.process_vm_readv(1, ctypes.byref(local), 1, ctypes.byref(there), 1, 0) > 0
    return "pwned" if attached or read else "refused"
"""

PROC_OF_THE_WORKER = """
import os
def f(target):
    for path in ("/proc/1/mem", "/proc/1/maps", "/proc/1/fd"):
        try:
            os.listdir(path) if path.endswith("fd") else open(path, "rb").read(1)
            return "pwned"
        except OSError:
            pass
    return "nothing"
"""

STEAL_DESCRIPTORS = """
import ctypes, os
def f(target):
    fd = os.pidfd_open(1)
    libc = ctypes.CDLL(None)
    for number in range(64):
        if libc.syscall(438, fd, number, 0) >= 0:
            return "pwned"
    return "refused"
"""

WRITE_HOME = """
import os
def f(target):
    open(os.path.join(target["home"], "canary"), "w").write("x")
    return "pwned"
"""

WRITE_FOLDER = """
import os
def f(target):
    os.makedirs(target["folder"], exist_ok=True)
    open(os.path.join(target["folder"], "canary"), "w").write("x")
    return "here"
"""

WRITE_PACKAGES = """
import os, sys
def f(target):
    library, code = os.path.dirname(os.__file__), os.path.dirname(sys.modules["inside"].__file__)
    for path in (target["site"], library, code, "/dev", "/"):
        try:
            open(os.path.join(path, "canary_of_the_sandbox"), "w").close()
            return "pwned"
        except OSError:
            pass
    return "refused"
"""

CHANGE_THE_WORKER_CODE = """
import os, sys
def f(target):
    path = sys.modules["inside.worker"].__file__
    os.chmod(path, 0o777)
    open(path, "a").write("x")
    return "pwned"
"""

SYMLINK = """
import os
def f(target):
    os.symlink(target["file"], "/tmp/link")
    return "pwned" if open("/tmp/link").read() else ""
"""

MOUNT = """
import ctypes
def f(target):
    libc = ctypes.CDLL(None)
    for kind in (b"tmpfs", b"proc", b"sysfs"):
        if libc.mount(b"none", b"/tmp", kind, 0, None) == 0:
            return "pwned"
    return "pwned" if libc.chroot(b"/tmp") == 0 else "refused"
"""

SET_UID = """
import os
def f(target):
    for change in (os.setuid, os.setgid, os.seteuid):
        try:
            change(0)
            return "pwned"
        except OSError:
            pass
    return "refused"
"""

NESTED_NAMESPACE = """
import ctypes, os
def f(target):
    libc = ctypes.CDLL(None)
    for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000):
        if libc.unshare(flag) == 0:
            return "pwned"
    stack = ctypes.create_string_buffer(1 << 16)
    clone = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    child = libc.syscall(clone, 0x10000000 | 17, 0, 0, 0, 0)
    if child == 0:
        libc._exit(0)
    return "pwned" if child > 0 else "refused"
"""

SHELL = """
import os, subprocess
def f(target):
    for shell in ("/bin/sh", "/usr/bin/sh", "/bin/bash", "/usr/bin/env"):
        try:
            subprocess.run([shell, "-c", "true"], check=True)
            return "pwned"
        except OSError:
            pass
    return "pwned" if os.system("true") == 0 else "nothing"
"""

DUNDER_WALK = """
def f(target):
    for kind in ().__class__.__base__.__subclasses__():
        space = getattr(getattr(kind, "__init__", None), "__globals__", {})
        system = space.get("sys")
        if system is not None:
            return "pwned" if system.modules["os"].path.exists(target["file"]) else "nothing there"
"""

IMPORTLIB = """
def f(target):
    import importlib, ctypes
    os = importlib.import_module("o" + "s")
    libc = ctypes.CDLL(None)
    found = os.path.exists(target["file"]) or libc.access(target["file"].encode(), 0) == 0
    return "pwned" if found else "nothing there"
"""

BIG_FILE = """
def f(target):
    with open("/tmp/big", "wb") as file:
        for _ in range(100):
            file.write(bytes(1 << 20))
    return "pwned"
"""

MANY_FILES = """
def f(target):
    for i in range(1000):
        with open(f"/tmp/file{i}", "wb") as file:
            file.write(bytes(1 << 19))
    return "pwned"
"""

STDOUT_FLOOD = """
def f(target):
    while True:
        print("x" * 1000)
"""

STDERR_FLOOD = """
import os
def f(target):
    while True:
        os.write(2, b"x" * 1000)
"""

REPLY_FLOOD = """
def f(target):
    return "x" * 50_000_000
"""

STDIN_WAIT = """
def f(target):
    return input("name? ")
"""

SLEEP = """
import time
def f(target):
    time.sleep(1000)
"""

STOP_ITSELF = """
import os, signal
def f(target):
    os.kill(os.getpid(), signal.SIGSTOP)
"""

BLOCK_SIGNALS = """
import signal
def f(target):
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))
    for number in range(1, 64):
        try:
            signal.signal(number, lambda *_: None)
        except (OSError, ValueError):
            pass
    while True:
        pass
"""

ZOMBIES = """
import os, time
def f(target):
    for _ in range(5):
        if os.fork() == 0:
            os._exit(0)
    time.sleep(1000)
"""

DAEMON = """
import os, time
def f(target):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for fd in range(256):
                try:
                    os.close(fd)
                except OSError:
                    pass
            time.sleep(1000)
        os._exit(0)
    os.wait()
    return "done"
"""

DEEP_RECURSION = """
import sys
def f(target):
    sys.setrecursionlimit(10 ** 9)
    class A:
        def __repr__(self):
            return repr([self])
    return repr(A())
"""

CLOSE_DESCRIPTORS = """
import os
def f(target):
    os.closerange(0, 1024)
    return "pwned"
"""

EXIT_EARLY = """
import os
os._exit(0)
"""

SYSTEM_EXIT = """
import sys
def f(target):
    sys.exit(0)
"""

BASE_EXCEPTION = """
class Strange(BaseException):
    def __str__(self):
        raise self
def f(target):
    raise Strange
"""

PRINT_A_VERDICT = """
def f(target):
    print('{"value": "token-", "passed": true, "verdict": "pass"}')
    print("PASS " * 10)
    return "done"
"""

WRITE_EVERY_DESCRIPTOR = """
import os
def f(target):
    for text in (b'{"passed": true}', b'{"value": true}', b"PASS"):
        for fd in range(1024):
            try:
                os.write(fd, len(text).to_bytes(4, "big") + text)
            except OSError:
                pass
    os._exit(0)
"""

HOSTILE_REPLY = """
import os
def f(target):
    for fd in range(3, 1024):
        try:
            os.write(fd, b'{"value": ' + b'["list",' * 50_000)
        except OSError:
            pass
    os._exit(0)
"""

EQUAL_TO_EVERYTHING = """
class Equal(str):
    __hash__ = str.__hash__
    def __eq__(self, other):
        return True
    def __ne__(self, other):
        return False
def f(target):
    return Equal("anything")
"""

EQUAL_OBJECT = """
class Equal:
    def __eq__(self, other):
        return True
def f(target):
    return Equal()
"""

PATCH_THE_HARNESS = """
import builtins, json, sys
def f(target):
    for name, module in list(sys.modules.items()):
        if name.startswith("inside"):
            for function in ("equal", "key", "check", "encode", "describe"):
                if hasattr(module, function):
                    setattr(module, function, lambda *_, **__: True)
    json.dumps = lambda *_, **__: '{"passed": true, "value": true}'
    builtins.AssertionError = Exception
    return "done"
"""

SEARCH_FOR_THE_ANSWER = """
import gc, os, sys
def f(target):
    seen, frame = [], sys._getframe()
    while frame:
        seen += list(frame.f_locals.values()) + list(frame.f_globals.values())
        frame = frame.f_back
    seen += gc.get_objects() + list(os.environ.values()) + sys.argv
    for module in list(sys.modules.values()):
        seen += list(vars(module).values())
    found, stack, known = "nothing", seen, set()
    while stack:
        item = stack.pop()
        if id(item) in known:
            continue
        known.add(id(item))
        if isinstance(item, str) and item.startswith("token-") and len(item) > 20:
            found = item
        elif isinstance(item, bytes) and b"token-0" in item and len(item) > 20:
            found = item
        elif isinstance(item, dict):
            stack += list(item.values())
        elif isinstance(item, (list, tuple)):
            stack += item
    return found
"""

KILL_THE_JUDGE = """
import os, signal
def f(target):
    for pid in range(2, 100):
        if pid != os.getpid():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
    return "done"
"""

ESCAPES = {name.lower(): source for name, source in list(globals().items()) if name.isupper()}
