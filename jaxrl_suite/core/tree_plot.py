"""Pictures of trees: every node a dot at its generation, children fanned out beside their parent, no lines cross."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxrl_suite.core import plot
from jaxrl_suite.errors import UserError

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

LOW, HIGH = "#d0524a", "#3a82c4"  # of the scale of values, through grey
_MIDDLE = "#b9bec4"
_LABELLED = 60  # a larger tree has labels only where it is marked


class TreeDot(NamedTuple):
    """A node of a picture.

    Args:
      parent: place of its parent, which comes before it; None for a root.
      value: gives its colour; nan leaves it hollow.
      label: is written beside it.
      is_marked: whether it lies on the way that is shown.
    """

    parent: int | None
    value: float
    label: str = ""
    is_marked: bool = False


def tree_layout(children: Sequence[Sequence[int]], roots: Sequence[int]) -> list[tuple[float, float]]:
    """Places (generation, row) of nodes whose children are given, in order.

    Every leaf has a row of its own; a parent stands in the middle of its children's rows.
    """
    spots = [(0.0, 0.0)] * len(children)
    row = 0
    todo = [(root, 0, False) for root in reversed(roots)]
    while todo:  # a stack, as a line of a thousand nodes is deeper than Python's
        at, depth, children_done = todo.pop()
        if children_done:
            rows = [spots[child][1] for child in children[at]]
            spots[at] = (float(depth), (min(rows) + max(rows)) / 2)
        elif not children[at]:
            spots[at], row = (float(depth), float(row)), row + 1
        else:
            todo.append((at, depth, True))
            todo += [(child, depth + 1, False) for child in reversed(children[at])]
    return spots


def bend(start: Sequence[float], end: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """A smooth line that leaves and arrives level."""
    t = np.linspace(0.0, 1.0, 16)
    ease = t * t * (3 - 2 * t)
    return start[0] + (end[0] - start[0]) * t, start[1] + (end[1] - start[1]) * ease


def value_scale(low: float, high: float, name: str) -> ScalarMappable:
    """A scale of colours from `low` to `high`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    colours = LinearSegmentedColormap.from_list(name, [LOW, _MIDDLE, HIGH])
    return ScalarMappable(Normalize(low, high + 1e-9), colours)


def draw_tree(dots: Sequence[TreeDot], *, title: str, unit: str, xlabel: str = "step") -> Figure:
    """A picture of a tree.

    Args:
      dots: its nodes, a parent before its children.
      title: what is seen, in a few words.
      unit: of the values, for the scale.
      xlabel: what a generation is.

    Raises:
      UserError: if there is no node.
    """
    if not dots:
        raise UserError("the tree has no node: nothing was drawn")
    from matplotlib.ticker import MaxNLocator

    children: list[list[int]] = [[] for _ in dots]
    for place, dot in enumerate(dots):
        if dot.parent is not None:
            children[dot.parent].append(place)
    spots = tree_layout(children, [place for place, dot in enumerate(dots) if dot.parent is None])
    rows = 1 + max(y for _, y in spots)
    figure, axes = plot.new_figure(width=7.2, height=max(2.2, min(1.3 + 0.17 * rows, 9.0)))
    known = [dot.value for dot in dots if not math.isnan(dot.value)] or [0.0]
    scale = value_scale(min(known), max(known), "value")
    size = 7.5 if len(dots) <= _LABELLED else 4.5
    for place, dot in enumerate(dots):
        marked = dot.is_marked
        if dot.parent is not None:
            line = marked and dots[dot.parent].is_marked
            axes.plot(
                *bend(spots[dot.parent], spots[place]), zorder=2 if line else 1,
                color=plot.INK if line else plot.MUTED, linewidth=2.0 if line else 0.7, alpha=1.0 if line else 0.7,
            )  # fmt: skip
        face = "none" if math.isnan(dot.value) else tuple(scale.to_rgba(np.asarray([dot.value]))[0])
        axes.plot(
            *spots[place], "o", color=face, markersize=size + (2 if marked else 0), zorder=4,
            markeredgecolor=plot.INK if marked else plot.MUTED, markeredgewidth=1.6 if marked else 0.5,
        )  # fmt: skip
        if dot.label and (marked or len(dots) <= _LABELLED):
            above = bool(children[place])  # right of a leaf, where nothing follows
            axes.annotate(
                dot.label, spots[place], (0, 6) if above else (6, 0), textcoords="offset points",
                ha="center" if above else "left", va="bottom" if above else "center", fontsize=7,
                color=plot.INK if marked else plot.MUTED, zorder=5,
            )  # fmt: skip
    last = max(x for x, _ in spots)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    axes.set(xlabel=xlabel, xlim=(-0.3 - 0.01 * last, last + 0.6 + 0.01 * last), ylim=(rows - 0.4, -0.9))
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_title(title)
    bar = figure.colorbar(scale, ax=axes, fraction=0.03, pad=0.02)
    bar.set_label(unit)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure
