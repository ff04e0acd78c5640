"""Signals that end a command: an interrupt (Ctrl-C) and a request to terminate, each raised where the program is.

Python drops an exception that is raised inside a callback, such as those by which JAX forgets dead arrays, and goes on.
Such an exception is raised again a moment later. One that is raised while an extension module is being imported may
crash the process, or come out as an ImportError; it waits for the end of imports.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

AGAIN = 0.02  # seconds until a dropped exception is raised again
IMPORT_SECONDS = 10.0  # for which a signal waits for imports to end


class Terminated(KeyboardInterrupt):
    """SIGTERM; whatever lets an interrupt through lets it through too."""


class Caught:
    """The signal that came first, if one did."""

    number: int | None = None

    @property
    def code(self) -> int:
        """The exit code of a command that a signal ended."""
        return 128 + (self.number or signal.SIGINT)

    @property
    def word(self) -> str:
        return "terminated" if self.number == signal.SIGTERM else "interrupted"


@contextmanager
def catching() -> Iterator[Caught]:
    """Raises KeyboardInterrupt for SIGINT and Terminated for SIGTERM, until the end of the block.

    Signals that this process was told to ignore stay ignored; outside the main thread nothing changes. Once a signal
    has come, what other threads and C extensions would print of it stays unsaid, also after the block.
    """
    caught = Caught()
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    hooks, before = (sys.unraisablehook, sys.excepthook), {}
    inside, patience = True, 0.0

    def take(number: int, frame: FrameType | None) -> None:
        nonlocal patience
        if caught.number is None:
            caught.number, patience = number, time.monotonic() + IMPORT_SECONDS
        warnings.simplefilter("ignore")  # of what is left undone
        if hasattr(signal, "setitimer") and time.monotonic() < patience and _in_import(frame):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
            return
        raise Terminated if caught.number == signal.SIGTERM else KeyboardInterrupt

    def dropped(unraisable: Any) -> None:
        if caught.number is None:
            hooks[0](unraisable)
        elif isinstance(unraisable.exc_value, KeyboardInterrupt) and inside and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)

    def printed(*error: Any) -> None:
        if caught.number is None:
            hooks[1](*error)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "setitimer"):
        numbers.append(signal.SIGALRM)
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, take)
    sys.unraisablehook, sys.excepthook = dropped, printed
    try:
        yield caught
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        inside = False
        if caught.number is None:
            sys.unraisablehook, sys.excepthook = hooks
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_import(frame: FrameType | None) -> bool:
    """Whether an import statement is being carried out."""
    while frame is not None:
        if frame.f_code.co_name == "_find_and_load" and frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def leave_at_the_next() -> None:
    """From now on another signal ends the process at once: it has said all that it will."""
    # Python notes an interrupt that leaves an exec() of text, and then ends by SIGINT whatever exit code it is given;
    # the next exec() clears that.
    exec("")
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os._exit(128 + number))
