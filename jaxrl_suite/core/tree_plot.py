"""Pictures of trees: every node a dot at its generation, children fanned out beside their parent, no lines cross."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxrl_suite.core import plot
from jaxrl_suite.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    spots = plot.tree_layout(children, [place for place, dot in enumerate(dots) if dot.parent is None])
    rows = 1 + max(y for _, y in spots)
    figure, axes = plot.new_figure(width=7.2, height=max(2.2, min(1.3 + 0.17 * rows, 9.0)))
    known = [dot.value for dot in dots if not math.isnan(dot.value)] or [0.0]
    scale = plot.value_scale(min(known), max(known), "value")
    size = 7.5 if len(dots) <= _LABELLED else 4.5
    for place, dot in enumerate(dots):
        marked = dot.is_marked
        if dot.parent is not None:
            line = marked and dots[dot.parent].is_marked
            axes.plot(
                *plot.bend(spots[dot.parent], spots[place]), zorder=2 if line else 1,
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
