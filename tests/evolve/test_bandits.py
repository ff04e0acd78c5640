"""The idea queue against UCB by hand, the published queue with its flaws, and rules of selection on drawn trees."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest

from jaxrl_suite.evolve.methods import DIFFERENCES, METHODS, PRESETS, EvolveConfig, Method
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.evolve.selection import (
    IdeaQueue,
    Setting,
    choose_parents,
    fresh_bounds,
    improvement_scale,
    softmax_choice,
)
from jaxrl_suite.evolve.tree import Dropped, RoundScore, StrategyTree, fitted, from_json, to_json


def queue_with(outcomes, **options):
    queue = IdeaQueue(**options)
    for number in range(len(outcomes)):
        queue = queue.add(f"idea {number}")
    for number, improvements in enumerate(outcomes):
        for improvement in improvements:
            queue = queue.begin(number).update(number, improvement)
    return queue


def tree_of(parents, scores, dropped=()):
    """Strategy i is born in round i, with its parent and score."""
    tree = StrategyTree()
    for number, (parent, score) in enumerate(zip(parents, scores, strict=True)):
        tree = tree.add(Strategy(number, "heuristic", str(number), parent), number)
        tree = tree.play(RoundScore(0, number, score, 10))
    for parent in dropped:
        tree = tree.drop(Dropped(parent, None, 0, "", ()))
    return tree


def test_fresh_bounds_are_ucb1_whatever_the_order_of_updates():
    outcomes = [[1.0, 3.0], [-1.0], [2.0, 2.0, 2.0]]
    queue = queue_with(outcomes)
    size = math.sqrt(sum(x * x for row in outcomes for x in row) / 6)
    assert queue.scale == pytest.approx(size)
    expected = [np.mean(row) + math.sqrt(2) * size * math.sqrt(math.log(6) / len(row)) for row in outcomes]
    np.testing.assert_allclose(queue.bounds(), expected)
    begun = queue.begin(1)  # a trial under way counts
    assert begun.bounds()[1] == pytest.approx(-1 + math.sqrt(2) * size * math.sqrt(math.log(7) / 2))
    assert begun.cancel(1) == queue


def test_fresh_choice_does_not_depend_on_the_unit_of_reward():
    outcomes = [[1.0, 3.0], [-1.0], [2.0, 2.0, 2.0]]
    points, shares = queue_with(outcomes), queue_with([[x / 64 for x in row] for row in outcomes])
    picks = [queue.choose(np.random.default_rng(seed)) for seed in range(50) for queue in (points, shares)]
    assert picks[::2] == picks[1::2]
    assert set(picks) == {0, 1, 2}


def test_untried_ideas_come_first_and_a_round_tries_different_ones():
    queue = queue_with([[9.0], [], []])
    rng = np.random.default_rng(0)
    first = queue.choose(rng)
    second = queue.begin(first).choose(rng)
    assert {first, second} == {1, 2}


def test_fresh_queue_finds_the_good_idea():
    rng = np.random.default_rng(1)
    queue = queue_with([[], [], [], []])
    for _ in range(300):
        number = queue.choose(rng, temperature=0.1)
        queue = queue.begin(number).update(number, float(rng.normal([0.0, 1.0, -1.0, 0.2][number], 0.5)))
    counts = [idea.count for idea in queue.ideas]
    assert counts[1] > 150
    assert queue[1].mean == pytest.approx(1.0, abs=0.2)


def test_the_published_queue_is_stale_and_never_tries_its_first_idea():
    queue = queue_with([[], [], []], bandit="stale")
    bonuses = [math.sqrt(2) * math.sqrt(math.log(n) / 0.01) for n in (1, 2, 3)]
    np.testing.assert_allclose(queue.bounds(), bonuses)
    rng = np.random.default_rng(0)
    assert Counter(queue.choose(rng) for _ in range(500))[0] == 0
    queue = queue.begin(2).update(2, 0.5)  # the fourth change; only this one is worked out again
    np.testing.assert_allclose(queue.bounds(), [*bonuses[:2], 0.5 + math.sqrt(2) * math.sqrt(math.log(4))])
    root = queue_with([[], [0.5]], bandit="stale-root")
    np.testing.assert_allclose(root.bounds(), [math.sqrt(2 / 0.01), 0.5 + math.sqrt(2 * 3)])


def test_an_improvement_must_be_a_number():
    queue = IdeaQueue().add("a").begin(0)
    with pytest.raises(ValueError, match="finite"):
        queue.update(0, math.nan)
    with pytest.raises(ValueError, match="no idea"):
        IdeaQueue().choose(np.random.default_rng(0))


def test_softmax_draws_with_its_probabilities():
    rng, values = np.random.default_rng(0), np.array([0.0, 1.0, -math.inf])
    counts = Counter(softmax_choice(rng, values, 0.5) for _ in range(4000))
    assert counts[1] / 4000 == pytest.approx(1 / (1 + math.exp(-2)), abs=0.02)
    assert softmax_choice(rng, values, 0.0) == 1
    assert fresh_bounds([1.0], [0], 1.0)[0] == math.inf


def test_line_greedy_and_best_first_choose_as_their_names_say():
    #  0 ─ 1 ─ 3    round: id       the last round has a single strategy, and not the best
    #    └ 2
    tree = tree_of([None, 0, 0, 1], [0.0, 5.0, 3.0, 1.0])
    rng = np.random.default_rng(0)
    assert choose_parents("newest", tree, 1, rng) == (3,)
    assert choose_parents("generation", tree, 3, rng) == (3, 3, 3)
    assert choose_parents("top", tree, 4, rng, Setting(best=3)) == (1, 2, 3, 1)
    assert choose_parents("top", tree_of([None], [0.0]), 2, rng) == (0, 0)
    unplayed = tree.add(Strategy(4, "heuristic", "4", 1), 4)
    assert choose_parents("newest", unplayed, 1, rng) == (3,)
    with pytest.raises(ValueError, match="judge the seeds"):
        choose_parents("top", StrategyTree(), 1, rng)


def test_softmax_over_the_best_two():
    tree = tree_of([None, 0, 0, 1], [0.0, 5.0, 3.0, 1.0])
    picks = choose_parents("softmax", tree, 2000, np.random.default_rng(0), Setting(scale=2.0, temperature=0.5))
    assert set(picks) == {1, 2}
    assert picks.count(1) / 2000 == pytest.approx(1 / (1 + math.exp(-2)), abs=0.03)


def test_bandit_leaves_a_strategy_whose_children_are_worse_and_spreads_over_a_round():
    rng, low = np.random.default_rng(0), Setting(exploration=0.1, scale=1.0)
    bad = tree_of([None, 0, 0, 1, 1], [0.0, 3.0, 2.0, -4.0, -4.0])
    assert choose_parents("bandit", bad, 1, rng, low) == (2,)  # mean of 1 and its children: -1.67
    assert choose_parents("bandit", tree_of([None, 0, 0], [0.0, 3.0, 2.9]), 1, rng, low) == (1,)
    spread = choose_parents("bandit", tree_of([None, 0, 0], [0.0, 3.0, 2.9]), 4, rng, Setting(exploration=2, scale=1.0))
    assert {1, 2} <= set(spread)


def test_tree_search_descends_to_what_led_furthest():
    rng, greedy = np.random.default_rng(0), Setting(exploration=0.0, scale=1.0)
    tree = tree_of([None, 0, 0, 2, 3], [0.0, 1.0, 0.5, 4.0, 3.0])
    assert choose_parents("tree", tree, 1, rng, greedy) == (3,)  # 2's subtree is the best way; its child 3 is better
    assert choose_parents("tree", tree_of([None, 0], [0.0, -1.0]), 1, rng, greedy) == (0,)
    assert choose_parents("tree", tree_of([None, 0], [0.0, 1.0]), 1, rng, greedy) == (1,)
    curious = choose_parents("tree", tree, 12, rng, Setting(exploration=5.0, scale=1.0))
    assert len(set(curious)) >= 4


def test_attempts_that_are_dropped_make_a_strategy_less_attractive():
    parents, scores, setting = [None, 0, 0], [0.0, 2.0, 1.9], Setting(exploration=1.0, scale=1.0)
    rng = np.random.default_rng(0)
    for rule in ("bandit", "tree"):
        assert choose_parents(rule, tree_of(parents, scores), 1, rng, setting) == (1,)
        assert choose_parents(rule, tree_of(parents, scores, dropped=[1] * 3), 1, rng, setting) != (1,)


def test_running_mean_is_weighted_by_games():
    tree = StrategyTree().add(Strategy(0, "heuristic", "x"), 0)
    tree = tree.play(RoundScore(0, 0, 1.0, 30)).play(RoundScore(1, 0, -1.0, 10))
    assert tree[0].score == pytest.approx(0.5)
    assert tree[0].games == 40
    critic = (
        StrategyTree()
        .add(Strategy(0, "heuristic", "x"), 0)
        .play(RoundScore(0, 0, 1.0, 0))
        .play(RoundScore(1, 0, 2.0, 0))
    )
    assert (critic[0].score, critic[0].games, critic.ranked("mean")) == (1.5, 0, (0,))  # judged without games
    with pytest.raises(ValueError, match="finite"):
        tree.play(RoundScore(2, 0, math.nan, 1))
    with pytest.raises(ValueError, match="parent 7"):
        tree.add(Strategy(1, "heuristic", "", 7), 1)


def test_fitted_ratings_see_through_opponents_of_another_strength():
    """Two round robins: the second is among strong strategies, where all means are low."""
    truth = np.array([0.0, 1.0, 4.0, 5.0])
    tree = StrategyTree()
    for number in range(4):
        tree = tree.add(Strategy(number, "heuristic", str(number), None if number == 0 else number - 1), number)
    for turn, group in enumerate([(0, 1, 2), (2, 3)]):
        for one in group:
            others = [other for other in group if other != one]
            tree = tree.play(RoundScore(turn, one, truth[one] - np.mean(truth[others]), 1000))
    means = tree.values("mean")
    assert means[3] < means[2] + 0.5  # 1.0 and 1.39: nearly alike
    ratings = fitted(tree)
    assert list(np.argsort(ratings)) == [0, 1, 2, 3]
    assert ratings[3] - ratings[2] == pytest.approx(2.0, abs=0.01)  # a lead of 1 in a round of two counts twice
    assert tree.ranked("fitted") == (3, 2, 1, 0)
    fixed = StrategyTree()
    for number in range(4):
        fixed = fixed.add(Strategy(number, "heuristic", ""), 0)
    for turn, number in [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3)]:
        fixed = fixed.play(RoundScore(turn, number, truth[number] + 10 * turn, 1000))
    np.testing.assert_allclose(fitted(fixed), truth - truth.mean(), atol=0.02)  # levels of rounds cancel
    assert improvement_scale(fixed, fitted(fixed)) == 1.0


def test_a_tree_comes_back_from_json():
    tree = tree_of([None, 0, 1], [0.0, 0.1, 1 / 3], dropped=[1])
    assert from_json(to_json(tree)) == tree
    assert tree.lineage(2) == (0, 1, 2)
    assert tree.depth(2) == 2
    assert tree.children(0) == (1,)


def test_every_difference_from_the_published_search_is_named():
    default, paper = PRESETS["default"], PRESETS["paper-gops"]
    names = {field.name for field in dataclasses.fields(EvolveConfig)}
    assert {name for name in names if getattr(default, name) != getattr(paper, name)} == set(DIFFERENCES)


def test_presets_and_what_is_refused():
    assert (PRESETS["paper-gops"].strategies_per_round, PRESETS["paper-avalon"].strategies_per_round) == (4, 4)
    assert {"line", "greedy", "best-first", "best-first-thought", "strategist"} <= set(METHODS)
    with pytest.raises(ValueError, match="Did you mean greedy"):
        EvolveConfig(method="greddy")
    with pytest.raises(ValueError, match=r"there is no bandit 'Fresh'\. Did you mean fresh"):
        EvolveConfig(bandit="Fresh")
    with pytest.raises(ValueError, match="there is no ranking 'median'"):
        EvolveConfig(ranking="median")
    for wrong in (dict(strategies=0), dict(rounds=0), dict(strategies=4, rounds=8), dict(temperature=math.nan)):
        with pytest.raises(ValueError, match="must be"):
            EvolveConfig(**wrong)
    with pytest.raises(ValueError, match="there is no rule 'worst'"):
        choose_parents("worst", tree_of([None], [0.0]), 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="rounds must divide"):
        EvolveConfig(strategies=40, rounds=7)
    with pytest.raises(ValueError, match="temperature must be"):
        EvolveConfig(temperature=-1.0)
    with pytest.raises(ValueError, match="scale must be"):
        EvolveConfig(scale=0.0)
    with pytest.raises(ValueError, match="choose one"):
        Method("x", "", "top", queue=True, thought=True)
