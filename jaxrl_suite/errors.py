"""The one error type that the command turns into a line: for an input that cannot be used."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """An input that cannot be used. The message is one line that names the remedy; the command shows it as it is."""


def suggest(name: str, options: Iterable[str]) -> str:
    """The end of an error message: ". Did you mean X?" if something is close, else the options themselves."""
    options = sorted(options)
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    if close:
        return f". Did you mean {close[0]}?"
    if not options:
        return ". There is none"
    shown = ", ".join(options[:12]) + (", ..." if len(options) > 12 else "")
    return f". Choose from: {shown}"
