"""The tree of a search, from its trace: the prefixes that it drew from, and the way to its best answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxrl_suite.core.files import Row
from jaxrl_suite.core.tree_plot import TreeDot
from jaxrl_suite.scaling.records import ScalingResult, Solution, best_of


class TraceNode(NamedTuple):
    """A prefix that a search drew from."""

    parent: int | None  # the longest prefix of it that the search had gone on from before; None for the prompt
    prefix: tuple[int, ...]
    draws: int
    best: Solution | None  # of the answers drawn here
    priority: float  # by which the search chose, the last time
    is_accepted: bool
    is_on_way: bool  # to the best answer


def trace_tree(result: ScalingResult) -> list[TraceNode]:
    """The tree of a search, its nodes in the order in which they were first drawn from.

    A prefix that was drawn from several times is one node; one that was refused is a leaf.
    """
    places: dict[tuple[int, ...], int] = {}
    nodes: list[TraceNode] = []
    found_at = None
    for visit in result.visits:
        place = places.get(visit.prefix)
        if place is None:
            place = places[visit.prefix] = len(nodes)
            nodes.append(
                TraceNode(_parent(visit.prefix, places, nodes), visit.prefix, 0, None, math.nan, False, False)
            )  # fmt: skip
        node = nodes[place]
        both = [*([] if node.best is None else [node.best]), *visit.solutions]
        nodes[place] = node._replace(
            draws=node.draws + len(visit.solutions), best=best_of(both), priority=visit.priority,
            is_accepted=node.is_accepted or visit.accepted,
        )  # fmt: skip
        if found_at is None and result.best is not None and result.best in visit.solutions:
            found_at = place
    while found_at is not None:
        nodes[found_at] = nodes[found_at]._replace(is_on_way=True)
        found_at = nodes[found_at].parent
    return nodes


def trace_rows(nodes: Sequence[TraceNode], text_of: Callable[[Sequence[int]], str]) -> list[Row]:
    """A table: one row a node.

    Args:
      nodes: of `trace_tree`.
      text_of: tokens as text.
    """
    return [
        {
            "node": place,
            "parent": node.parent,
            "prefix": text_of(node.prefix) or "(the prompt)",
            "draws": node.draws,
            "best reward": None if node.best is None else node.best.reward,
            "priority": node.priority if math.isfinite(node.priority) else None,
            "accepted": node.is_accepted,
            "on the way": node.is_on_way,
            "best answer": "" if node.best is None else text_of(node.best.tokens),
        }
        for place, node in enumerate(nodes)
    ]


def trace_dots(nodes: Sequence[TraceNode]) -> list[TreeDot]:
    """The nodes for `core.tree_plot`, coloured by their best reward."""
    return [
        TreeDot(node.parent, math.nan if node.best is None else node.best.reward, str(place), node.is_on_way)
        for place, node in enumerate(nodes)
    ]


def _parent(prefix: tuple[int, ...], places: dict[tuple[int, ...], int], nodes: list[TraceNode]) -> int | None:
    for size in range(len(prefix) - 1, -1, -1):
        place = places.get(prefix[:size])
        if place is not None and place < len(nodes) and nodes[place].is_accepted:
            return place
    return None
