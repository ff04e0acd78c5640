"""Where strategies stand in the picture, that nothing overlaps, and what is drawn."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_suite.core import plot
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.evolve.rounds import layout, tree_figure
from jaxrl_suite.evolve.tree import Dropped, RoundScore, StrategyTree


def random_tree(seed, size, dropped, chain=False):
    rng, tree = np.random.default_rng(seed), StrategyTree()
    for number in range(size):
        parent = None if number == 0 else number - 1 if chain else int(rng.integers(number))
        tree = tree.add(Strategy(number, "heuristic", "", parent), number)
        tree = tree.play(RoundScore(number, number, float(rng.normal()), 5))
    for _ in range(dropped):
        tree = tree.drop(Dropped(int(rng.integers(size)), None, 0, "", ()))
    return tree


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_generations_are_columns_and_no_two_share_a_place(seed, size, dropped):
    tree = random_tree(seed, size, dropped)
    spots, crosses = layout(tree)
    for one in tree:
        assert spots[one.id][0] == tree.depth(one.id)
    for attempt, (x, _) in zip(tree.dropped, crosses, strict=True):
        assert x == tree.depth(attempt.parent) + 1
    assert len(set(spots + crosses)) == size + dropped
    columns = {}
    for x, y in spots + crosses:
        columns.setdefault(x, []).append(y)
    assert all(np.diff(sorted(rows)).min(initial=9) >= 0.5 for rows in columns.values())


def test_a_line_of_a_thousand_is_drawn():
    spots, _ = layout(random_tree(0, 2000, 0, chain=True))
    assert spots[-1] == (1999.0, 0.0)


def test_the_figure_shows_every_strategy_and_cross_and_has_the_same_bytes():
    tree = random_tree(3, 12, 4)
    figure = tree_figure(tree, unit="points a game")
    axes = figure.axes[0]
    markers = [line.get_marker() for line in axes.lines]
    assert (markers.count("o"), markers.count("x")) == (12, 4)
    wide = [line for line in axes.lines if line.get_linewidth() == 2.0 and line.get_marker() == "None"]
    assert len(wide) == tree.depth(tree.ranked("fitted")[0])
    assert {text.get_text() for text in axes.texts} == {str(number) for number in range(12)}
    svg = plot.to_svg(figure)
    assert svg == plot.to_svg(tree_figure(tree, unit="points a game"))
    assert "points a game" in svg
    assert not re.search(f"{plot.INK}|{plot.MUTED}", svg)
    with pytest.raises(ValueError, match="no strategy was played"):
        tree_figure(StrategyTree().add(Strategy(0, "heuristic", ""), 0))
