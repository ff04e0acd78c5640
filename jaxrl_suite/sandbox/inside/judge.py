"""The test's side: runs test code in which the program's names stand for what another process holds.

The test ends with one answer, written by this process: passed, failed with an exception, or what kept it from being
judged. It passes if it ran to its end, called the entry, and the candidate still answers then. What ends it otherwise
ends this process at once, so that no `except` of the test takes it for something else.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import itertools
import json
import os
import socket
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any, NoReturn

from . import frames, plain, raised, remote, shapes
from .worker import flush, write_all

UNSEEN = ("os.environ", "os.chdir", "patch(", "patch.", "monkeypatch", "sys.argv", "sys.stdin")
MOST_ITEMS = 10_000  # of an iterator that a test hands over


class CheckJudge:
    """A channel to the candidate, and the end of the test.

    Args:
      channel: to the process of the candidate.
      reply: descriptor for the answer.
      task: `entry`, the name whose calls count; `in_place`, whether every change of arguments is taken over.
    """

    def __init__(self, channel: socket.socket, reply: int, task: dict[str, Any]):
        self.channel, self.reply, self.task = channel, reply, task
        self.lock, self.pid = threading.RLock(), os.getpid()
        self.entry: int | None = None
        self.calls = 0
        self.changed = False  # a call changed an argument and returned something: the change is not carried
        self.remotes: dict[int, remote.Remote] = {}
        self.functions: list[Any] = []
        self.waiting = False  # for an answer

    def end(self, result: dict[str, Any]) -> NoReturn:
        """Answers and ends this process."""
        if os.getpid() == self.pid:
            write_all(self.reply, json.dumps(result | {"changed": self.changed}).encode())
        flush()
        os._exit(0)

    def passed(self) -> NoReturn:
        word = os.urandom(8).hex()
        if self.calls and self.exchange({"do": "ping", "of": word}) != {"value": word}:
            self.end({"gone": True})
        self.end({"passed": True} if self.calls else {"untested": True})

    def failed(self, error: BaseException, source: str) -> NoReturn:
        described = getattr(error, "described", None)
        if found := [word for word in UNSEEN if word in source]:
            self.end({"uncarried": f"the test code uses {found[0]}, which changes its own process, not the program's"})
        name = type(error).__name__
        if isinstance(error, RuntimeError) and name in raised.NOT_CARRIED and name in source:  # perhaps waited for
            self.end({"uncarried": f"the program raises {name}, which never reaches a test"})
        if described is not None and described.get("type") == "EOFError" and ("input" in source or "stdin" in source):
            self.end({"uncarried": "the test code gives the program an input"})
        result = raised.describe(error, "<test>", source) if described is None else dict(described)
        self.end({"error": result | {"candidate": described is not None}})

    def ask(self, message: dict[str, Any]) -> Any:
        """The candidate's answer; raises what it raised."""
        return self.read(self.exchange(message))

    def exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        if os.getpid() != self.pid:
            raise RuntimeError("a process that the test code started cannot call the program")
        with self.lock:
            if self.waiting:  # a signal's handler raised, say: the next message would be the answer to another question
                self.end({"uncarried": "the test code interrupts a call of the program"})
            self.waiting = True
            try:
                frames.send(self.channel, message)
                while isinstance(reply := frames.receive(self.channel), dict) and "callback" in reply:
                    self.waiting = False  # the function may call the program
                    answer = self.called_back(reply)
                    self.waiting = True
                    frames.send(self.channel, {"answer": answer})
            except (ConnectionError, ValueError, RecursionError):
                reply = None
            self.waiting = False
        if not isinstance(reply, dict):
            self.end({"gone": True})
        if isinstance(printed := reply.get("printed"), str):
            sys.stdout.write(printed)
        return reply

    def read(self, reply: dict[str, Any]) -> Any:
        if "uncarried" in reply:
            self.end({"uncarried": str(reply["uncarried"])[:500]})
        if "error" in reply:
            raise raised.as_exception(reply["error"], self.decode)
        try:
            return self.decode(reply["value"])
        except (plain.NotPlainError, KeyError):
            self.end({"gone": True})

    def call(self, number: int, args: Any, kwargs: Any) -> Any:
        message = {"do": "call", "of": number, "args": self.encode(args), "kwargs": self.encode(kwargs)}
        reply = self.exchange(message)
        self.calls += number == self.entry
        value, originals = self.read(reply), [*args, *kwargs.values()]
        if "arguments" in reply:
            if value is not None and not self.task["in_place"]:
                self.changed = True
                return value
            if len(set(found := list(shapes.places(tuple(originals))))) < len(found):
                self.end({"uncarried": "the program changes an argument that the test passes twice"})
            try:
                after = [self.decode(part) for part in reply["arguments"]]
                for old, new in zip(originals, [*after[0], *after[1].values()], strict=True):
                    shapes.merge(old, new)
            except (plain.NotPlainError, ValueError, TypeError, LookupError, AttributeError):
                self.end({"gone": True})
        same = reply.get("same")
        return originals[same] if isinstance(same, int) and 0 <= same < len(originals) else value

    def called_back(self, message: dict[str, Any]) -> dict[str, Any]:
        """Runs a function of the test for the candidate."""
        try:
            function = self.functions[message["callback"]]
            args, kwargs = self.decode(message["args"]), self.decode(message["kwargs"])
        except (plain.NotPlainError, LookupError, TypeError):
            self.end({"gone": True})
        try:
            return {"value": self.encode(function(*args, **kwargs))}
        except Exception as error:
            return {"error": raised.describe(error, "<test>", self.task["code"], self.encode)}

    def encode(self, value: Any) -> Any:
        try:
            return plain.encode(value, self.hook)
        except plain.NotPlainError as error:
            self.end({"uncarried": f"the test code passes {error}"})

    def hook(self, value: Any, part: Any) -> Any:
        if isinstance(value, remote.Remote):
            return ["back", value._number]
        if isinstance(value, type) and issubclass(value, BaseException):
            return ["exception", raised.describe_class(value)]
        if (packed := shapes.pack(value, part)) is not None:
            return packed
        values: Any = value
        lazy = isinstance(value, Iterator) and type(value).__module__ in ("builtins", "itertools")
        if lazy or type(value) in VIEWS:
            items = list(itertools.islice(values, MOST_ITEMS + 1))
            if len(items) > MOST_ITEMS:
                raise plain.NotPlainError("an iterator without end")
            return part(items) if not lazy else ["iterator", part(items)]
        if (place := _place(value)) is not None:
            return ["global", *place]
        if callable(value) and not isinstance(value, type):
            if not any(value is known for known in self.functions):
                self.functions.append(value)
            number = next(i for i, known in enumerate(self.functions) if known is value)
            return ["function", number, str(getattr(value, "__name__", "function"))]
        raise plain.NotPlainError(f"an object of type {type(value).__name__}, which is not plain data")

    def decode(self, data: Any) -> Any:
        return plain.decode(data, self.unhook)

    def unhook(self, data: Any, part: Any) -> Any:
        tag = data[0]
        if tag in shapes.TAGS:
            return shapes.unpack(data, part)
        if tag == "derived":
            return _derived(part(data[2]), str(data[1]), self)
        if tag == "exception":
            return raised.class_of(data[1])
        if tag == "raised":
            return raised.as_exception(data[1], part)
        if tag == "back":
            return self.functions[data[1]]
        if tag == "ref" and data[2]["coroutine"]:
            return self.wait(int(data[1]))
        if tag == "ref":
            number, about = int(data[1]), data[2]
            if number not in self.remotes:
                kind = _kind(str(about["type"]), bool(about["call"]), bool(about["iterator"]))
                self.remotes[number] = kind(self, number)
            return self.remotes[number]
        raise plain.NotPlainError("a message that is no encoded value")

    async def wait(self, number: int) -> Any:
        return self.ask({"do": "await", "of": number, "args": self.encode(())})

    def name(self, name: str) -> Any:
        """The object that a name of the program stands for.

        Raises:
          KeyError: if it has no such name.
        """
        reply = self.exchange({"do": "name", "of": name})
        if "missing" in reply:
            raise KeyError(name)
        value = reply.get("value")
        if isinstance(value, list) and value[:1] == ["module"]:
            root = str(value[1]).partition(".")[0]
            if root not in sys.stdlib_module_names:
                self.end({"uncarried": f"the test code uses the module {root}"})
            return importlib.import_module(str(value[1]))
        found = self.read(reply)
        if name == self.task["entry"] and isinstance(found, remote.Remote):
            self.entry = found._number
        return found


class Names(dict):
    """The names of test code: its own, then Python's, then the program's.

    Args:
      judge: asks for the program's.
      names: those that are there from the start.
      modules: names that test code uses as modules of the standard library, which no program stands in for.
    """

    def __init__(self, judge: CheckJudge, names: dict[str, Any], modules: set[str]):
        super().__init__(names)
        self.judge, self.modules = judge, modules

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name) or name.startswith("__"):
            raise KeyError(name)
        if name in self.modules:
            self[name] = importlib.import_module(name)
            return self[name]
        self[name] = self.judge.name(self.judge.task["entry"] if name == "candidate" else name)
        return self[name]


VIEWS = (type({}.keys()), type({}.values()), type({}.items()))


def _place(value: Any) -> tuple[str, str] | None:
    """(module, name) of something of the standard library."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    module = "builtins" if module is None and isinstance(value, types.BuiltinFunctionType) else module
    if not (isinstance(module, str) and isinstance(name, str)) or module.partition(".")[0] not in STANDARD:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return (module, name) if found is value else None


STANDARD = sys.stdlib_module_names - {"__main__"}


@functools.cache
def _kind(name: str, call: bool, iterator: bool) -> type[remote.Remote]:
    return remote.kind_of(name, call, iterator)


def _derived(value: Any, name: str, judge: CheckJudge) -> Any:
    """The value of an object whose class derives from a plain one; what else the class can is not carried."""

    def missing(self: Any, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        judge.end({"uncarried": f".{attribute} of an object of type {name}, which is not plain data"})

    return type(name, (type(value),), {"__getattr__": missing, "__module__": "candidate"})(value)
