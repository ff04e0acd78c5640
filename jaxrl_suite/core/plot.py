"""Figures as SVG text that reads well on light and dark backgrounds and has the same bytes every time.

Text, axes and grid are drawn in colours that no figure uses and then replaced by CSS variables, which the SVG's own
style sheet sets for light and dark screens; series have colours that stand out on both. Text stays text and has the
reader's system font.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxrl_suite.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

# Contrast at least 3.5 : 1 on white and on #14171c; hues apart also for colour-blind readers.
PALETTE = ("#3a82c4", "#c8701a", "#2a9470", "#b8569b", "#8a74c9", "#8b7d2e", "#d0524a", "#808890")
INK, MUTED, GRID = "#010203", "#010204", "#010205"  # stand-ins for the CSS variables

_VARIABLES = {INK: "var(--plot-ink, #1f2328)", MUTED: "var(--plot-muted, #667080)", GRID: "var(--plot-grid, #dfe3e8)"}
_STYLE = (
    "<style>svg.plot{--plot-ink:#1f2328;--plot-muted:#667080;--plot-grid:#dfe3e8}"
    "@media screen and (prefers-color-scheme:dark){"
    "svg.plot{--plot-ink:#e3e6ea;--plot-muted:#98a2ae;--plot-grid:#30363e}}</style>"
)
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "jaxrl_suite",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}
LOW, HIGH = "#d0524a", "#3a82c4"  # of the scale of values, through grey
_MIDDLE = "#b9bec4"


class Line(NamedTuple):
    """One series: `x` and `y` float[T], and optionally the ends of an interval around `y`."""

    x: ArrayLike
    y: ArrayLike
    low: ArrayLike | None = None
    high: ArrayLike | None = None


class Dot(NamedTuple):
    """An estimate with its interval."""

    estimate: float
    low: float | None = None
    high: float | None = None


def style() -> AbstractContextManager[None]:
    """Within it, titles, labels and legends that are added to a figure have the house style."""
    import matplotlib

    return matplotlib.rc_context(_SETTINGS)


def new_figure(width: float = 6.4, height: float = 3.6) -> tuple[Figure, Axes]:
    """A figure and its axes in the house style, in inches; no global state is touched."""
    figure, axes = new_panels(1, width, height)
    return figure, axes[0]


def new_panels(columns: int, width: float = 9.0, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    """A figure with axes side by side, as `new_figure` makes one; draw on them within `style`."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def lines(
    series: Mapping[str, Line | tuple[Any, ...]],
    *,
    xlabel: str,
    ylabel: str,
    title: str = "",
    log_x: bool = False,
    references: Mapping[str, float] | None = None,
    markers: bool = True,
) -> Figure:
    """Lines with shaded intervals, each labelled at its right end in its own colour.

    Args:
      series: label to `Line` (or a tuple of its fields); at most 8.
      xlabel: with the unit.
      ylabel: with the unit.
      title: what is seen, in a few words.
      log_x: logarithmic abscissa, with a tick at each x if there are few (base 2 if all are powers of 2).
      references: label to value; dashed horizontal lines, for instance a published number.
      markers: draw the points too.

    Raises:
      UserError: if there are no series or more than the palette has colours, or lengths differ.
    """
    if not 1 <= len(series) <= len(PALETTE):
        raise UserError(f"a figure shows 1 to {len(PALETTE)} series, got {len(series)}: split it")
    import matplotlib

    figure, axes = new_figure()
    ends: list[tuple[float, str, str]] = []
    with matplotlib.rc_context(_SETTINGS):
        for (label, raw), color in zip(series.items(), PALETTE, strict=False):
            x, y, low, high = (None if part is None else np.asarray(part, float) for part in _line(raw))
            if x is None or y is None or x.ndim != 1 or x.shape != y.shape or not x.size:
                raise UserError(f"series {label!r} needs x and y of one length, at least 1")
            if low is not None and high is not None:
                axes.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0)
            axes.plot(x, y, color=color, marker="o" if markers else None, markersize=3.6)
            ends.append((float(y[-1]), label, color))
        for label, value in (references or {}).items():
            axes.axhline(value, color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
            ends.append((float(value), label, MUTED))
        if log_x:
            xs = np.concatenate([np.asarray(_line(raw).x, float) for raw in series.values()])
            axes.set_xscale("log", base=2 if np.all(np.mod(np.log2(xs), 1) == 0) else 10)
            if len(ticks := np.unique(xs)) <= 12:
                axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
                axes.minorticks_off()
        axes.grid(visible=False, axis="x")
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.set_title(title)
        _label_ends(axes, ends)
    return figure


def dots(
    rows: Mapping[str, Dot | tuple[Any, ...]],
    *,
    xlabel: str,
    title: str = "",
    references: Mapping[str, float] | None = None,
    log_x: bool = False,
) -> Figure:
    """One row an entry, its estimate as a dot and its interval as a line; the first row is on top.

    Args:
      rows: label to `Dot` (or a tuple of its fields).
      xlabel: with the unit.
      title: what is seen, in a few words.
      references: label to value; dashed vertical lines.
      log_x: logarithmic abscissa.
    """
    if not rows:
        raise UserError("a figure needs at least one row")
    import matplotlib

    figure, axes = new_figure(height=1.35 + 0.3 * len(rows))
    with matplotlib.rc_context(_SETTINGS):
        for place, raw in enumerate(rows.values()):
            dot = raw if isinstance(raw, Dot) else Dot(*raw)
            if dot.low is not None and dot.high is not None:
                axes.plot([dot.low, dot.high], [place, place], color=PALETTE[0], linewidth=2.4, alpha=0.45)
            axes.plot([dot.estimate], [place], "o", color=PALETTE[0], markersize=6)
        for label, value in (references or {}).items():
            axes.axvline(value, color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
            axes.annotate(
                label, (value, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                ha="center", va="bottom", color=MUTED, fontsize=8.5,
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), list(rows))
        axes.tick_params(axis="y", colors=INK)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        if log_x:
            axes.set_xscale("log")
        axes.set_xlabel(xlabel)
        axes.set_title(title, pad=20 if references else 10)
    return figure


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


def to_svg(figure: Figure) -> str:
    """The figure as an SVG element, alone or for a page; the same figure gives the same text.

    Colours `INK`, `MUTED` and `GRID` in it follow the reader's light or dark setting.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(_SETTINGS):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    svg = svg.replace("'DejaVu Sans'", _FONT)
    svg = svg.replace('<style type="text/css">*{', '<style type="text/css">svg.plot *{')  # not the page around it
    svg = re.sub(r"<svg ([^>]*)>", rf'<svg class="plot" \1>{_STYLE}', svg, count=1, flags=re.DOTALL)
    return svg if svg.endswith("\n") else svg + "\n"


def _line(raw: Line | tuple[Any, ...]) -> Line:
    return raw if isinstance(raw, Line) else Line(*raw)


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Writes the labels right of the axes, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    gap = 0.062  # height of a label as a share of the axes
    order = sorted((((y - low) / (high - low) if high > low else 0.5), i) for i, (y, _, _) in enumerate(ends))
    places = [height for height, _ in order]
    for _ in range(60):
        moved = 0.0
        for a, b in zip(range(len(places)), range(1, len(places)), strict=False):
            if (overlap := gap - (places[b] - places[a])) > 1e-6:
                places[a], places[b] = places[a] - overlap / 2, places[b] + overlap / 2
                moved = max(moved, overlap)
        if math.isclose(moved, 0.0, abs_tol=1e-6):
            break
    for place, (_, i) in zip(places, order, strict=True):
        _, label, color = ends[i]
        axes.annotate(
            label, (1, place), (6, 0), xycoords="axes fraction", textcoords="offset points",
            va="center", ha="left", color=color, fontsize=9, annotation_clip=False,
        )  # fmt: skip
