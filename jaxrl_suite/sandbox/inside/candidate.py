"""The candidate's side of a test: loads a program, answers calls, and keeps what is not plain where it is.

An object that is not plain data stays here; the test gets a number for it, with which it asks for an attribute, an
item or a call. A function of the test is the same the other way round: calling it here asks the other process.
"""

from __future__ import annotations

import builtins
import collections
import importlib
import inspect
import io
import linecache
import operator
import os
import socket
import sys
import types
from typing import Any

from . import frames, plain, raised, shapes

NAME = "<program>"
MODULE = "candidate"
MOST_KEPT = 100_000
MOST_PRINTED = 1 << 16


class Leave:
    """`exit` and `quit`, which an interpreter without `site` lacks."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"Use {self.name}() or Ctrl-D (i.e. EOF) to exit"

    def __call__(self, code: Any = None) -> None:
        raise SystemExit(code)


def add_site_names() -> None:
    """Puts `exit` and `quit` among Python's names, as in an interpreter with `site`."""
    for word in ("exit", "quit"):
        if not hasattr(builtins, word):
            setattr(builtins, word, Leave(word))


def load(source: str, name: str = MODULE) -> types.ModuleType:
    """A module from its source, which `inspect`, `dataclasses` and `pickle` find."""
    add_site_names()
    module = types.ModuleType(name)
    module.__file__ = NAME
    sys.modules[name] = module
    linecache.cache[NAME] = (len(source), None, source.splitlines(keepends=True), NAME)
    exec(compile(source, NAME, "exec", dont_inherit=True), module.__dict__)
    return module


OPERATIONS = {
    "get": getattr,
    "set": setattr,
    "delete": delattr,
    "item": operator.getitem,
    "set_item": operator.setitem,
    "delete_item": operator.delitem,
    "length": len,
    "iterate": iter,
    "text": str,
    "repr": repr,
    "truth": bool,
    "signature": lambda value: [
        [p.name, int(p.kind), p.default is not p.empty] for p in inspect.signature(value).parameters.values()
    ],
    "is_instance": lambda kind, value: isinstance(value, kind),
    "is_subclass": lambda kind, other: issubclass(other, kind),
    "enter": lambda value: type(value).__enter__(value),
    "leave": lambda value: type(value).__exit__(value, None, None, None),
    "await": lambda value: importlib.import_module("asyncio").run(value),
}
SCALARS = (type(None), bool, int, float, complex, str, bytes)
MUTABLE = (list, dict, set, bytearray, collections.deque)
DERIVED = (int, float, str, bytes, bytearray, tuple, list, dict, set, frozenset, collections.deque)


class Printed(io.BytesIO):
    """The text that a call prints, for the test; what is more than that counts as output."""

    def write(self, data: Any) -> int:
        return super().write(data) if self.tell() < MOST_PRINTED else os.write(1, data)

    def take(self) -> str:
        text = self.getvalue().decode(errors="replace")
        self.seek(0)
        self.truncate()
        return text


class Candidate:
    """A program that answers requests on a channel."""

    def __init__(self, source: str, channel: socket.socket):
        self.source, self.channel, self.pid = source, channel, os.getpid()
        self.module: types.ModuleType | None = None
        self.kept: list[Any] = []
        self.places: dict[int, int] = {}
        self.functions: dict[int, Function] = {}
        self.printed = Printed()
        sys.stdout = sys.__stdout__ = io.TextIOWrapper(self.printed, encoding="utf-8", write_through=True)

    def serve(self) -> None:
        while (request := frames.receive(self.channel)) is not None:
            answer = self.answer(request)
            if text := self.printed.take():
                answer["printed"] = text
            if os.getpid() != self.pid:  # a fork that the program made does not answer for it
                return
            frames.send(self.channel, answer)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.act(request)
        except plain.NotPlainError as error:
            return {"uncarried": str(error)}
        except BaseException as error:  # SystemExit too: it is an answer like any other
            return {"error": raised.describe(error, NAME, self.source, self.encode)}

    def act(self, request: dict[str, Any]) -> dict[str, Any]:
        do, of = request["do"], request["of"]
        if do == "ping":
            return {"value": of}
        self.module = self.module or load(self.source)
        if do == "name":
            return self.named(str(of))
        if do == "seed":
            importlib.import_module("random").seed(*self.decode(request["args"]))
            return {"value": None}
        if do == "call":
            return self.call(request)
        if do == "next":
            for item in self.kept[of]:
                return {"value": ["list", self.encode(item)]}
            return {"value": ["list"]}
        return {"value": self.encode(OPERATIONS[do](self.kept[of], *self.decode(request["args"])))}

    def named(self, name: str) -> dict[str, Any]:
        """The object that a name of the program stands for; a function or class by number, whatever it is."""
        if not hasattr(self.module, name):
            return {"missing": True}
        value = getattr(self.module, name)
        if callable(value) and not (isinstance(value, type) and issubclass(value, BaseException)):
            return {"value": ["ref", self.keep(value), self.about(value)]}
        return {"value": self.encode(value)}

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """Calls; says with the value which argument it is, and what has become of the arguments."""
        args, kwargs = self.decode(request["args"]), self.decode(request["kwargs"])
        arguments = [*args, *kwargs.values()]
        fixed = all(type(argument) in SCALARS for argument in arguments)
        before = None if fixed else [self.encode(args), self.encode(kwargs)]
        value = self.kept[request["of"]](*args, **kwargs)
        reply = {"value": self.encode(value)}
        if fixed:
            return reply
        found = [place for place, argument in enumerate(arguments) if argument is value]
        if found and isinstance(value, MUTABLE):
            reply["same"] = found[0]
        try:
            after = [self.encode(args), self.encode(kwargs)]
        except plain.NotPlainError:
            return reply
        return reply if after == before else reply | {"arguments": after}

    def encode(self, value: Any) -> Any:
        return plain.encode(value, self.hook)

    def hook(self, value: Any, part: Any) -> Any:
        """The encoding of what is not exactly plain: by its value where its class derives from it, else by a number."""
        if type(value) is Function:
            return ["back", value.number]
        if isinstance(value, types.ModuleType):
            return ["module", value.__name__]
        if isinstance(value, type) and issubclass(value, BaseException):
            return ["exception", raised.describe_class(value)]
        if isinstance(value, BaseException):
            return ["raised", raised.describe(value, NAME, self.source, part)]
        if (packed := shapes.pack(value, part)) is not None:
            return packed
        if issubclass(type(value), DERIVED):
            return ["derived", type(value).__name__, plain.encode_base(value, part)]
        return ["ref", self.keep(value), self.about(value)]

    def keep(self, value: Any) -> int:
        place = self.places.get(id(value))
        if place is None:
            if len(self.kept) >= MOST_KEPT:
                raise plain.NotPlainError("more objects than can be kept")
            place = self.places[id(value)] = len(self.kept)
            self.kept.append(value)
        return place

    def about(self, value: Any) -> dict[str, Any]:
        kind = type(value)
        return {
            "coroutine": isinstance(value, types.CoroutineType),
            "type": kind.__name__,
            "name": str(getattr(value, "__name__", kind.__name__)),
            "call": callable(value),
            "class": isinstance(value, type),
            "iterator": hasattr(kind, "__next__"),
        }

    def decode(self, data: Any) -> Any:
        return plain.decode(data, self.read)

    def read(self, data: Any, part: Any) -> Any:
        tag, first = data[0], data[1]
        if tag in shapes.TAGS:
            return shapes.unpack(data, part)
        if tag == "back":
            return self.kept[first]
        if tag == "function":
            if first not in self.functions:
                self.functions[first] = Function(self, first, data[2])
            return self.functions[first]
        if tag == "global":
            return operator.attrgetter(data[2])(importlib.import_module(first))
        if tag == "iterator":
            return iter(part(data[1]))
        if tag == "exception":
            return raised.class_of(first, MODULE)
        raise plain.NotPlainError(f"a message of kind {tag}")


class Function:
    """A function of the test, as the candidate sees it."""

    def __init__(self, owner: Candidate, number: int, name: str):
        self.owner, self.number, self.__name__ = owner, number, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        owner = self.owner
        message = {"callback": self.number, "args": owner.encode(args), "kwargs": owner.encode(kwargs)}
        frames.send(owner.channel, message)
        while True:
            reply = frames.receive(owner.channel)
            if reply is None:
                raise SystemExit("the test has ended")
            if "answer" not in reply:  # the function calls the candidate
                frames.send(owner.channel, owner.answer(reply))
            elif "error" in reply["answer"]:
                raise raised.as_exception(reply["answer"]["error"], owner.decode, MODULE)
            else:
                return owner.decode(reply["answer"]["value"])
