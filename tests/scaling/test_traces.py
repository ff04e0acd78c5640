"""The tree of a search: prefixes once each, under what the search went on from, and the way to the best answer."""

import functools
import math

import pytest
from fixtures.scaling_searches import run_side_by_side

from jaxrl_suite.core import plot
from jaxrl_suite.core.tree_plot import draw_tree
from jaxrl_suite.scaling import BeamConfig, DiscConfig, PivotChain, ScalingResult, UctConfig, beam_search, disc, uct
from jaxrl_suite.scaling.records import SearchVisit, Solution
from jaxrl_suite.scaling.traces import trace_dots, trace_rows, trace_tree

LOW, MIDDLE, BEST = Solution((1, 2, 3), 0.1), Solution((1, 2, 4), 0.4), Solution((1, 5, 6), 0.8)


def test_a_tree_by_hand():
    """From the prompt to (1, 2), which is refused, to (1,), to (1, 5); then once more from (1,)."""
    visits = (
        SearchVisit((), (LOW,), 0.5, True),
        SearchVisit((1, 2), (MIDDLE,), 0.7, False),
        SearchVisit((1,), (), 0.3, True),
        SearchVisit((1, 5), (BEST,), math.inf, True),
        SearchVisit((1,), (MIDDLE, LOW), 0.2, True),
        SearchVisit((1, 2, 3), (), math.nan, True),
    )
    nodes = trace_tree(ScalingResult(BEST, visits))
    assert [node.prefix for node in nodes] == [(), (1, 2), (1,), (1, 5), (1, 2, 3)]
    assert [node.parent for node in nodes] == [None, 0, 0, 2, 2]  # what was refused has no children
    assert [node.draws for node in nodes] == [1, 1, 2, 1, 0]
    assert [node.is_on_way for node in nodes] == [True, False, True, True, False]
    assert [node.best for node in nodes] == [LOW, MIDDLE, MIDDLE, BEST, None]
    rows = trace_rows(nodes, lambda tokens: "".join(map(str, tokens)))
    assert rows[2] == {
        "node": 2, "parent": 0, "prefix": "1", "draws": 2, "best reward": 0.4, "priority": 0.2, "accepted": True,
        "on the way": True, "best answer": "124",
    }  # fmt: skip
    assert (rows[0]["prefix"], rows[3]["priority"], rows[4]["best answer"]) == ("(the prompt)", None, "")


def test_nothing_drawn_is_an_empty_tree():
    assert trace_tree(ScalingResult(None, ())) == []
    with pytest.raises(ValueError, match="nothing was drawn"):
        draw_tree([], title="", unit="")


def test_the_trees_of_searches_are_whole_and_are_drawn_with_the_same_bytes():
    searches = {
        "disc": functools.partial(disc, config=DiscConfig(30)),
        "uct": functools.partial(uct, config=UctConfig(30, step=5)),
        "beam": functools.partial(beam_search, config=BeamConfig(40, width=2, branching=2)),
    }
    chain = PivotChain()
    found, _ = run_side_by_side(chain, searches, range(2), {"process": chain.verifier})
    for results in found.values():
        for result in results:
            nodes = trace_tree(result)
            assert [node.parent for node in nodes].count(None) == 1
            assert all((node.parent or 0) < place for place, node in enumerate(nodes) if place)
            assert sum(node.draws for node in nodes) == len(result.solutions)
            way = [node.prefix for node in nodes if node.is_on_way]
            assert all(result.best.tokens[: len(prefix)] == prefix for prefix in way)
            dots = trace_dots(nodes)
            svg = plot.to_svg(draw_tree(dots, title="a search", unit="reward"))
            assert svg == plot.to_svg(draw_tree(dots, title="a search", unit="reward"))
            assert ">0</text>" in svg
