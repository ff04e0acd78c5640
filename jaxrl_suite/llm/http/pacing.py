"""Time as a sampler sees it, the spacing of its requests, and the pauses before it tries again."""

from __future__ import annotations

import math
import random
import threading
import time


class Clock:
    """Time, as a sampler sees it; tests have their own."""

    def monotonic(self) -> float:
        """Seconds, for durations."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float, stop: threading.Event) -> None:
        """Sleeps, but not longer than until `stop` is set."""
        if seconds > 0:
            stop.wait(seconds)


class Pace:
    """Spaces the starts of exchanges. Safe to share between threads."""

    def __init__(self, per_minute: float | None, clock: Clock):
        self._gap = 0.0 if per_minute is None else 60.0 / per_minute
        self._clock, self._lock, self._next = clock, threading.Lock(), -math.inf

    def reserve(self) -> float:
        """Takes the next place; returns how many seconds to wait for it."""
        with self._lock:
            now = self._clock.monotonic()
            start = max(now, self._next)
            self._next = start + self._gap
            return start - now


def backoff(identity: str, attempt: int, max_wait: float) -> float:
    """Seconds before retry number `attempt` (from 1): twice as long each time, by up to half more or less.

    Args:
      identity: decides the jitter, so that requests which failed together do not return together.
      attempt: from 1.
      max_wait: upper limit.
    """
    jitter = random.Random(f"{identity}:{attempt}").uniform(0.5, 1.5)
    return min(max_wait, jitter * 2.0 ** min(attempt - 2, 32))
