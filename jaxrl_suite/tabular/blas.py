"""One thread for BLAS, while programs that solve systems run on a CPU.

XLA's CPU backend takes LAPACK from scipy's OpenBLAS and calls it from several threads of its own. If OpenBLAS then
starts threads too, they wait for each other: a batch of solves was seen to take a hundred times longer, or forever.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS libraries use one thread inside; wait for results (`block_until_ready`) before leaving."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


@functools.cache
def _controller() -> Any:
    import scipy.linalg  # noqa: F401  (the library must be loaded to be found)
    import threadpoolctl

    return threadpoolctl.ThreadpoolController()
