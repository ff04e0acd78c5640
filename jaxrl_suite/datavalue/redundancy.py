"""A classification problem whose training points can be made more and more alike.

Reference: arXiv 2502.04554, section 6 (RQ2), "cumulative neighbour averaging": three Gaussian classes whose points move
towards each other. The paper's text of it was not at hand; at p = 1 this one gives its Shapley area, .595.
"""

from __future__ import annotations

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.tabular.datasets import Split

MEANS = np.array([[-2.0, -2.0], [0.0, -2.0 + 2.0 * 3**0.5], [2.0, -2.0]])  # an equilateral triangle of side 4
VARIANCE = 2.0


def gaussian_mixture(per_class: int, held: int, seed: int, *, redundancy: float = 0.0) -> Split:
    """Three Gaussian classes in the plane.

    Args:
      per_class: training points of each class, at least 2.
      held: validation and test rows of each class.
      seed: of the draw, the same for every redundancy.
      redundancy: p; each training point x becomes (1 - p) x + p times the mean of the points of its class before it,
        as they have become. At 1 all points of a class are the same.

    Raises:
      UserError: if an argument is out of range.
    """
    if per_class < 2 or held < 1:
        raise UserError(f"per_class must be at least 2 and held at least 1, got {per_class} and {held}")
    if not 0 <= redundancy <= 1:
        raise UserError(f"redundancy must be 0 to 1, got {redundancy}")
    rng = np.random.default_rng(seed)
    parts = []
    for size in (per_class, held, held):
        labels = np.repeat(np.arange(3, dtype=np.int32), size)
        parts += [MEANS[labels] + VARIANCE**0.5 * rng.normal(size=(len(labels), 2)), labels]
    x, y = parts[0], parts[1]
    for point in range(len(y)):
        before = np.flatnonzero(y[:point] == y[point])
        if len(before):
            x[point] = (1 - redundancy) * x[point] + redundancy * x[before].mean(axis=0)
    arrays = [part.astype(np.float32) if part.dtype.kind == "f" else part for part in parts]
    return Split(*arrays, num_classes=3, rows=np.arange(len(y)))
