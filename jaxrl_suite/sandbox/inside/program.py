"""Roles of a worker for programs: `serve` runs one, `judge` runs test code that calls it, `script` runs one whole.

`serve` and `judge` are different processes. The candidate's answers calls and has neither expected values nor a say in
the verdict; test code reaches it through questions and sees plain data. `script` has its standard input from outside,
and what it prints goes there.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from typing import Any

from . import plain, raised
from .candidate import NAME, Candidate, load
from .judge import CheckJudge
from .pytest_parts import MissingPartError
from .styles import run
from .worker import Role, flush, write_all

FAILED = 71  # exit code of a script that raised; the last line it prints to standard error is the exception, as JSON


def serve(payload: bytes, reply: int, peer: int) -> None:
    """Runs a program's source, then one call, or each call that arrives from the judge."""
    task, pid = json.loads(payload), os.getpid()
    if peer < 0:
        result = answer(task)
        if os.getpid() == pid:  # a fork that the program made does not answer for it
            write_all(reply, json.dumps(result).encode())
        return
    with socket.socket(fileno=peer) as channel:
        Candidate(task["source"], channel).serve()


def answer(task: dict) -> dict[str, Any]:
    """The value that one call returns, as plain data."""
    try:
        function = getattr(load(task["source"]), task["entry"])
        value = function(*plain.decode(task["args"]), **plain.decode(task["kwargs"]))
        try:
            return {"value": plain.encode(value)}
        except plain.NotPlainError as error:
            return {"uncarried": f"it returned {error}"}
    except BaseException as error:  # SystemExit too: it is an answer like any other
        return {"error": raised.describe(error, NAME, task["source"])}


def judge(payload: bytes, reply: int, peer: int) -> None:
    """Runs test code; the process ends with its answer."""
    task = json.loads(payload)
    with socket.socket(fileno=peer) as channel:
        made = CheckJudge(channel, reply, task)
        try:
            run(made, task["setup"], task["code"])
        except MissingPartError as error:
            made.end({"uncarried": f"the test code uses {error}, which is not in the sandbox"})
        except ModuleNotFoundError as error:
            if getattr(error, "described", None) is None:
                made.end({"uncarried": f"the test code imports {error.name}, which is not in the sandbox"})
            made.failed(error, task["code"])
        except BaseException as error:
            made.failed(error, task["code"])
        made.passed()


def script(payload: bytes, reply: int, peer: int) -> None:
    """Runs a program as `python program.py` does; what it prints is the answer."""
    source = payload.decode(errors="surrogatepass")
    os.dup2(reply, 1)
    os.close(reply)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    try:
        load(source, "__main__")
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]  # waits for the program's threads
    except SystemExit as error:
        if error.code not in (None, 0):
            fail(error, source)
    except BaseException as error:
        fail(error, source)


def fail(error: BaseException, source: str) -> None:
    flush()
    write_all(2, b"\n" + json.dumps(raised.describe(error, NAME, source)).encode() + b"\n")
    os._exit(FAILED)


ROLES: dict[str, Role] = {"serve": serve, "judge": judge, "script": script}
