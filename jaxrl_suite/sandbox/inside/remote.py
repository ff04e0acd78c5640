"""Objects of the candidate as test code sees them: each use is a question to the candidate's process.

What a test compares is plain data, here. An object that stays there is never compared with anything, added to anything
or asked whether it contains something: its own methods would then say whether the test passes. Such a use ends the test
with the verdict that the harness cannot carry it; so does asking a returned object what the methods of strings and sets
of that name answer with yes or no.
"""

from __future__ import annotations

import inspect
from typing import Any

from . import plain
from .allowed import words

REFUSED = words("""
lt le gt ge add radd sub rsub mul rmul matmul rmatmul truediv rtruediv floordiv rfloordiv mod rmod divmod rdivmod pow
rpow lshift rlshift rshift rrshift and rand or ror xor rxor iadd isub imul imatmul itruediv ifloordiv imod ipow iand ior
ixor ilshift irshift neg pos abs invert int float complex index round trunc floor ceil reversed bytes mro_entries copy
deepcopy reduce_ex
""")


class Remote:
    """An object that the candidate's process holds."""

    __slots__ = ("_asker", "_number")

    def __init__(self, asker: Any, number: int):
        for name, value in zip(Remote.__slots__, (asker, number), strict=True):
            object.__setattr__(self, name, value)

    def _ask(self, do: str, *args: Any) -> Any:
        return self._asker.ask({"do": do, "of": self._number, "args": self._asker.encode(args)})

    def __getattr__(self, name: str) -> Any:
        if name in plain.ANSWERS:
            self._refuse(f".{name}")
        return self._ask("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", name, value)

    def __delattr__(self, name: str) -> None:
        self._ask("delete", name)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._ask("set_item", key, value)

    def __delitem__(self, key: Any) -> None:
        self._ask("delete_item", key)

    def __len__(self) -> int:
        return self._ask("length")

    def __iter__(self) -> Any:
        return self._ask("iterate")

    def __contains__(self, item: Any) -> bool:
        return any(item is other or item == other for other in self)

    def __bool__(self) -> bool:
        return self._ask("truth")

    def __str__(self) -> str:
        return self._ask("text")

    def __repr__(self) -> str:
        return self._ask("repr")

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __hash__(self) -> int:
        return hash((Remote, self._number))

    def __eq__(self, other: Any) -> bool:
        return self is other or self._refuse("a comparison")

    def __ne__(self, other: Any) -> bool:
        return self is not other and self._refuse("a comparison")

    def __instancecheck__(self, value: Any) -> bool:
        if isinstance(value, Remote):
            return self._ask("is_instance", value)
        return type(value).__module__ == "candidate" and type(value).__name__ == self.__name__

    def __subclasscheck__(self, other: Any) -> bool:
        return self._ask("is_subclass", other)

    def __enter__(self) -> Any:
        return self._ask("enter")

    def __exit__(self, *_: object) -> None:
        self._ask("leave")

    def _refuse(self, what: str) -> Any:
        self._asker.end({"uncarried": f"{what} of an object of type {type(self).__name__}, which is not plain data"})


def _refusing(name: str) -> Any:
    def method(self: Remote, *_: Any) -> Any:
        self._refuse(f"the operation {name}")

    return method


for _name in REFUSED:
    setattr(Remote, f"__{_name}__", _refusing(_name))


class RemoteFunction(Remote):
    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._asker.call(self._number, args, kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        defaults = {True: ..., False: inspect.Parameter.empty}
        return inspect.Signature(
            [
                inspect.Parameter(name, list(inspect._ParameterKind)[kind], default=defaults[has])
                for name, kind, has in self._ask("signature")
            ]
        )


class RemoteIterator(Remote):
    __slots__ = ()

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        for item in self._ask("next"):
            return item
        raise StopIteration


def kind_of(name: str, call: bool, iterator: bool) -> type[Remote]:
    """A class of the candidate's name for what it can do."""
    bases = (RemoteFunction,) * call + (RemoteIterator,) * iterator
    doc = property(lambda self: self._ask("get", "__doc__"))
    return type(name, bases or (Remote,), {"__slots__": (), "__module__": "candidate", "__doc__": doc})
