"""The command `jaxrl-suite`.

Input that cannot be used ends with exit code 2 and one line on stderr, an interrupted run with 130, a terminated one
with 143, a bug in an experiment with its traceback and 1. Signals are taken before anything else is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    from jaxrl_suite.cli import interrupts

    argv = list(sys.argv[1:] if argv is None else argv)
    caught = interrupts.Caught()
    try:
        with interrupts.catching() as caught:
            from jaxrl_suite.cli import commands

            code = commands.execute(argv)
            if caught.number is None:
                return code
    except KeyboardInterrupt:
        pass
    except BaseException:
        if caught.number is None:  # else an extension has made another error of the interrupt
            raise
    interrupts.leave_at_the_next()
    print(f"jaxrl-suite: {caught.word}{_how_to_resume(argv)}", file=sys.stderr)
    return caught.code


def _how_to_resume(argv: Sequence[str]) -> str:
    import shlex

    if argv[:1] not in (["run"], ["reproduce"]):
        return ""
    again = [*argv] if "--resume" in argv else [*argv, "--resume"]
    return f"; continue with: {shlex.join(['jaxrl-suite', *again])}"
