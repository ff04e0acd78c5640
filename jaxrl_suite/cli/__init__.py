"""The command `jaxrl-suite`.

Input that cannot be used ends with exit code 2 and one line on stderr, an interrupted run with 130, a terminated one
with 143, a bug in an experiment with its traceback and 1.

Signals are taken before anything else is imported, and raised where the program is. Python drops an exception that is
raised inside a callback, such as those by which JAX forgets dead arrays, and goes on: it is raised again a moment
later. One that is raised while an extension module is being imported may crash the process, or come out as an
ImportError: it waits for the end of imports.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["main"]

AGAIN = 0.02  # seconds until a dropped exception is raised again
IMPORT_SECONDS = 10.0  # for which a signal waits for imports to end


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    caught = Caught()
    try:
        with catching() as caught:
            code = _execute(argv)
            if caught.number is None:
                return code
    except KeyboardInterrupt:
        pass
    except BaseException:
        if caught.number is None:  # else an extension has made another error of the interrupt
            raise
    leave_at_the_next()
    print(f"jaxrl-suite: {caught.word}{_how_to_resume(argv)}", file=sys.stderr)
    return caught.code


def _how_to_resume(argv: Sequence[str]) -> str:
    import shlex

    if argv[:1] not in (["run"], ["reproduce"], ["solve"]):
        return ""
    again = [*argv] if "--resume" in argv else [*argv, "--resume"]
    return f"; continue with: {shlex.join(['jaxrl-suite', *again])}"


def _execute(argv: list[str]) -> int:
    """Runs a command line; returns the exit code."""
    from jaxrl_suite.cli.arguments import SOLVE, describe_fields, named_experiment, parse, spelled_out
    from jaxrl_suite.errors import UserError

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's notes on its own progress
    argv = spelled_out(argv)
    try:
        if argv[:1] == ["run"] and {"-h", "--help"} & set(argv) and (name := named_experiment(argv[1:])):
            from jaxrl_suite.cli import catalog

            text = describe_fields(catalog.find(name))
            print(f"{SOLVE}\n{text}" if name == "solve" else text)
            return 0
        arguments, overrides = parse(argv)
        if arguments.command == "run":
            from jaxrl_suite.cli import runner

            return runner.run_command(arguments, overrides, argv)
        from jaxrl_suite.cli import commands

        return commands.COMMANDS[arguments.command](arguments, overrides, argv)
    except UserError as error:
        print(f"jaxrl-suite: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


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
