"""The outer loop over jitted chunks: progress, checkpoints and resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jaxrl_suite.core import checkpoint
from jaxrl_suite.core.folder import Metrics
from jaxrl_suite.errors import UserError

QUIET_SECONDS = 10.0  # between progress lines where there is no terminal


class Loop:
    """An iterator over steps, which owns the state that goes through them. Made by `Run.chunks`.

    After each step the carry may be written to disk, so whatever the next step needs must be in it.

    Attributes:
      carry: any pytree; the body of the loop replaces it.
      step: steps done.
      total: steps asked for.
      seconds: time spent in the steps of this process.
    """

    def __init__(
        self,
        name: str,
        total: int,
        carry: Any,
        *,
        description: str,
        every: float,
        folder: Path,
        resume: bool,
        console: Console,
        metrics: Metrics,
    ):
        self.name, self.total, self.step, self.seconds = name, total, 0, 0.0
        self._description, self._every, self._folder, self._console = description or name, every, folder, console
        self._stopped = self.active = False
        self._metrics = metrics
        self.carry = carry
        if resume and checkpoint.latest_step(folder) is not None:
            restored = checkpoint.restore(folder, self.carry)
            if restored.step > total:
                raise UserError(
                    f"{folder} is at step {restored.step} of {total}: the program changed; start a new run folder"
                )
            metrics.check(restored.meta.get("metrics"))
            self.carry, self.step, self._stopped = restored.tree, restored.step, restored.meta["stopped"]
        self._last: tuple[int, Any] = self.step, None  # the last step that was done, and its carry

    @property
    def carry(self) -> Any:
        return self._carry

    @carry.setter
    def carry(self, value: Any) -> None:
        self._carry = jax.tree.map(_strong, value)

    def stop(self) -> None:
        """Ends the loop after the current step, for good: a resumed run does not go on with it."""
        self._stopped = True

    def __iter__(self) -> Iterator[int]:
        saved = time.monotonic()
        self.active = True
        try:
            with _progress(self._console, self._description, self.step, self.total) as show:
                while self.step < self.total and not self._stopped:
                    start = time.monotonic()
                    yield self.step
                    jax.block_until_ready(self.carry)
                    self.step += 1
                    now = time.monotonic()
                    self.seconds += now - start
                    show(self.step)
                    self._last = self.step, jax.tree.map(_copy, self.carry)
                    last = self._stopped or self.step == self.total
                    if last or now - saved >= self._every:
                        self._save(self.step, self.carry)
                        saved = time.monotonic()
        finally:
            self.active = False

    def keep(self) -> None:
        """Saves the last step that was done, for a process that is told to end; not where its arrays were donated."""
        step, carry = self._last
        donated = any(leaf.is_deleted() for leaf in jax.tree.leaves(carry) if isinstance(leaf, jax.Array))
        if carry is not None and not donated and step > (checkpoint.latest_step(self._folder) or 0):
            self._save(step, carry)

    def _save(self, step: int, carry: Any) -> None:
        meta = {"stopped": self._stopped, "total": self.total, "metrics": self._metrics.mark(self.name, step)}
        checkpoint.save(self._folder, step, carry, meta)


def _copy(leaf: Any) -> Any:
    """What the body of the loop may not change in place."""
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf


def _strong(leaf: Any) -> Any:
    """Arrays lose JAX's weak type, which a checkpoint cannot keep: a resumed loop must not promote differently."""
    if isinstance(leaf, jax.Array) and getattr(leaf, "weak_type", False):
        return jax.lax.convert_element_type(leaf, leaf.dtype)
    return leaf


@contextmanager
def _progress(console: Console, description: str, done: int, total: int) -> Iterator[Callable[[int], None]]:
    if console.is_terminal and not console.quiet:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(description, total=total, completed=done)
            yield lambda step: progress.update(task, completed=step)
        return
    started = shown = time.monotonic()

    def line(step: int) -> None:
        nonlocal shown
        if step == total or time.monotonic() - shown >= QUIET_SECONDS:
            shown = time.monotonic()
            plain(console, f"{description}: {step}/{total}, {shown - started:.1f} s")

    if done:
        plain(console, f"{description}: continues at {done}/{total}")
    yield line


def plain(console: Console, text: str) -> None:
    """Prints text as it is: no markup, no colours by content, no wrapping."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
