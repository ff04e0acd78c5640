"""Roles of a worker for candidate programs: `serve` runs written code, `judge` runs test code that calls it.

The two are different processes. The candidate's answers to calls with plain data and has neither expected values nor
a say in the verdict; test code reaches it through a proxy and sees the plain data that it returns.
"""

from __future__ import annotations

import builtins
import json
import os
import socket
import sys
import types
from typing import Any

from . import plain
from .worker import Role, write_all

NAME = "<program>"
MAX_FRAME = 16 << 20


class Gone(BaseException):
    """The candidate's process has ended; not an `Exception`, so that test code does not take it for an answer."""


def serve(payload: bytes, reply: int, peer: int) -> None:
    """Runs a program's source, then one call, or each call that arrives from the judge."""
    task, pid = json.loads(payload), os.getpid()
    if peer < 0:
        result = answer(task, lambda: load(task["source"]), task)
        if os.getpid() == pid:  # a fork that the program made does not answer for it
            write_all(reply, dump(result))
        return
    with socket.socket(fileno=peer) as channel:
        module: Any = None
        while (frame := receive(channel)) is not None:
            request = json.loads(frame)

            def loaded() -> types.ModuleType:
                nonlocal module
                module = module or load(task["source"])
                return module

            result = answer(task, loaded, request)
            if os.getpid() != pid:
                return
            send(channel, dump(result))


def judge(payload: bytes, reply: int, peer: int) -> None:
    """Runs test code in which the entry's name, and `candidate`, stand for the candidate in the other process."""
    task = json.loads(payload)
    with socket.socket(fileno=peer) as channel:

        def proxy(*args: Any, **kwargs: Any) -> Any:
            arguments = [plain.encode(args), plain.encode(kwargs)]
            try:
                send(channel, json.dumps({"args": arguments[0], "kwargs": arguments[1]}).encode())
                frame = receive(channel)
            except OSError:
                frame = None
            if frame is None:
                raise Gone
            result = json.loads(frame)
            if "error" in result:
                raise as_exception(result["error"])
            return plain.decode(result["value"])

        proxy.__name__ = task["entry"]
        module = types.ModuleType("test")
        module.__dict__.update({task["entry"]: proxy, "candidate": proxy})
        try:
            exec(compile(task["code"], "<test>", "exec"), module.__dict__)
            if "check" in module.__dict__ and task["entry"] != "check":
                module.__dict__["check"](proxy)
            result: dict[str, Any] = {"passed": True}
        except Gone:
            result = {"gone": True}
        except BaseException as error:
            from_candidate = getattr(error, "from_candidate", None)
            described = from_candidate or describe(error, "<test>", task["code"])
            result = {"error": described | {"candidate": from_candidate is not None}}
    write_all(reply, json.dumps(result).encode())


def load(source: str) -> types.ModuleType:
    """A module named `candidate` from its source."""
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module  # dataclasses and pickle look there
    exec(compile(source, NAME, "exec"), module.__dict__)
    return module


def answer(task: dict, module: Any, request: dict) -> dict[str, Any]:
    try:
        function = getattr(module(), task["entry"])
        args, kwargs = plain.decode(request["args"]), plain.decode(request["kwargs"])
        value = function(*args, **kwargs)
        try:
            return {"value": plain.encode(value)}
        except plain.NotPlainError as error:
            raise TypeError(f"it returned {error}") from None
    except BaseException as error:  # SystemExit too: it is an answer like any other
        return {"error": describe(error, NAME, task["source"])}


def describe(error: BaseException, name: str, source: str) -> dict[str, Any]:
    """An exception as data: its type, its message, and the last line of the source that it came through."""
    line, trace = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    lines = source.splitlines()
    text = lines[line - 1].strip() if isinstance(line, int) and 0 < line <= len(lines) else ""
    try:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
    except BaseException:
        message = ""
    return {"type": type(error).__name__, "message": str(message)[:500], "line": line, "text": text[:200]}


def as_exception(error: dict) -> Exception:
    kind = getattr(builtins, str(error.get("type")), None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)) or issubclass(kind, UnicodeError):
        kind = RuntimeError
    if issubclass(kind, AssertionError):  # the candidate's own assertion does not speak for the test's
        kind = RuntimeError
    raised = kind(str(error.get("message", "")))
    raised.from_candidate = error  # pyright: ignore[reportAttributeAccessIssue]
    return raised


def dump(result: dict[str, Any]) -> bytes:
    return json.dumps(result).encode()


def send(channel: socket.socket, data: bytes) -> None:
    channel.sendall(len(data).to_bytes(4, "big") + data)


def receive(channel: socket.socket) -> bytes | None:
    """One frame; None at the end of the stream."""
    head = exactly(channel, 4)
    if head is None or (size := int.from_bytes(head, "big")) > MAX_FRAME:
        return None
    return exactly(channel, size)


def exactly(channel: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        part = channel.recv(min(1 << 16, size - len(data)))
        if not part:
            return None
        data += part
    return data


ROLES: dict[str, Role] = {"serve": serve, "judge": judge}
