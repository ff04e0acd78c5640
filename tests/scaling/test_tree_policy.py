"""Selection and backup by hand, and UCT over steps against a second implementation that scans all that was drawn."""

import functools
import math

import pytest
from fixtures.scaling_searches import run_side_by_side

from jaxrl_suite.scaling import PivotChain, TreePolicy, UctConfig, best_of_n, uct
from jaxrl_suite.scaling.pivot_chain import START
from jaxrl_suite.scaling.trees.policy import PrefixNode, backup, close, select
from jaxrl_suite.scaling.trees.uct import step_length


def family(*priors):
    """A root and its children; the first rewards are .9, .5 and .1."""
    root = PrefixNode((), None)
    children = [PrefixNode((i,), root, prior) for i, prior in enumerate(priors)]
    for child, reward in zip(children, (0.9, 0.5, 0.1), strict=True):
        backup(child, reward)
    return root, children


def test_uct_with_mean_backup_by_hand():
    root, (a, b, c) = family(1, 1, 1)
    policy = TreePolicy("uct", "mean", 1.0)
    assert select(root, policy) == (a, pytest.approx(0.9 + math.sqrt(math.log(3))))
    backup(a, 0.1)  # its mean falls to .5: .5 + sqrt(ln 4 / 2) = 1.333 against .5 + sqrt(ln 4) = 1.677
    assert select(root, policy) == (b, pytest.approx(1.67741, abs=1e-5))
    backup(b, 0.3)  # .5 + sqrt(ln 5 / 2) = 1.397, .4 + .897 = 1.297, .1 + sqrt(ln 5) = 1.369
    assert select(root, policy) == (a, pytest.approx(1.39706, abs=1e-5))
    backup(a, 0.2)  # .4 + sqrt(ln 6 / 3) = 1.173, .4 + .947 = 1.347, .1 + sqrt(ln 6) = 1.439
    assert select(root, policy) == (c, pytest.approx(1.43857, abs=1e-5))
    assert (root.visits, root.value(policy), root.highest) == (6, pytest.approx(2.1 / 6), 0.9)


def test_max_backup_by_hand():
    root, (a, b, _) = family(1, 1, 1)
    policy = TreePolicy("uct", "max", 1.0)
    backup(a, 0.1)  # .9 + sqrt(ln 4 / 2) = 1.733 against .5 + sqrt(ln 4) = 1.677
    assert select(root, policy) == (a, pytest.approx(1.73255, abs=1e-5))
    backup(PrefixNode((0, 0), a), 0.2)  # N = 5: .9 + sqrt(ln 5 / 3) = 1.632 against .5 + sqrt(ln 5) = 1.769
    assert select(root, policy) == (b, pytest.approx(1.76864, abs=1e-5))
    backup(PrefixNode((1, 0), b), 1.0)
    assert (root.value(policy), b.value(policy), a.value(policy)) == (1.0, 1.0, 0.9)


def test_puct_by_hand():
    root, (a, b, _) = family(5, 3, 2)  # priors .5, .3 and .2
    policy = TreePolicy("puct", "mean", 1.0)
    assert select(root, policy) == (a, pytest.approx(0.9 + math.sqrt(3) * 0.5 / 2))
    backup(a, 0.1)  # .5 + 2 * .5 / 3 = .833 against .5 + 2 * .3 / 2 = .8
    assert select(root, policy) == (a, pytest.approx(0.83333, abs=1e-5))
    backup(a, 0.0)  # 1 / 3 + sqrt(5) * .5 / 4 = .613 against .5 + sqrt(5) * .3 / 2 = .835
    assert select(root, policy) == (b, pytest.approx(0.83541, abs=1e-5))


def test_what_is_closed_is_not_chosen_and_closes_what_lies_above():
    root, (a, b, c) = family(1, 1, 1)
    below = PrefixNode((0, 0), a)
    backup(below, 1.0)
    close(below)
    assert root.children == [b, c]
    close(b)
    close(c)
    assert root.children == []


def test_a_child_without_answers_comes_first_and_equal_ones_in_order():
    root, children = family(1, 1, 1)
    new = PrefixNode((9,), root)
    assert select(root, TreePolicy())[0] is new
    root = PrefixNode((), None)
    children = [PrefixNode((i,), root) for i in range(3)]
    for child in children:
        backup(child, 0.5)
    assert select(root, TreePolicy())[0] is children[0]


CHAIN = PivotChain(pivots=3, right=0.4, length=12)


def plain_choice(history, config, prior):
    """The prefix to draw from after `history` of (prefix, child, reward), by scanning it at every node."""
    policy, prefix = config.policy, ()
    while True:
        through = [reward for _, child, reward in history if child[: len(prefix)] == prefix]
        here = list(dict.fromkeys(child for p, child, _ in history if p == prefix and child != prefix))
        draws = sum(p == prefix for p, _, _ in history)
        if not here or draws < config.branching * len(through) ** config.growth:
            return prefix
        priors = [prior(prefix, child) for child in here]
        scores = []
        for child, p in zip(here, priors, strict=True):
            rewards = [reward for _, c, reward in history if c[: len(child)] == child]
            value = max(rewards) if policy.backup == "max" else sum(rewards) / len(rewards)
            if policy.rule == "uct":
                bonus = math.sqrt(math.log(len(through)) / len(rewards))
            else:
                bonus = p / sum(priors) * math.sqrt(len(through)) / (1 + len(rewards))
            scores.append(round(value + policy.exploration * bonus, 9))
        prefix = here[scores.index(max(scores))]


CONFIGS = (
    UctConfig(40, step=3, branching=3, growth=0.0),
    UctConfig(40, step=1, branching=2, growth=0.0, policy=TreePolicy("uct", "max", 0.5)),
    UctConfig(40, step=2, branching=1, growth=0.5),
    UctConfig(40, step=4, policy=TreePolicy("puct", "mean", 2.0)),
    UctConfig(40, delimiter=0, branching=2, policy=TreePolicy("puct", "max", 1.0)),
)


def test_searches_go_where_a_second_implementation_goes():
    chain = PivotChain(pivots=8, right=0.4, length=12)  # rarely solved in 40 draws
    sampler = chain.sampler()

    def prior(prefix, child):
        return math.exp(sum(sampler.score([((START, *prefix), child[len(prefix) :])])[0].tolist()))

    found, _ = run_side_by_side(chain, {config: functools.partial(uct, config=config) for config in CONFIGS}, range(3))
    for config, results in found.items():
        assert max(len(result.visits) for result in results) == 40
        for result in results:
            history = []
            for visit in result.visits:
                assert visit.prefix == plain_choice(history, config, prior)
                answer, reward = visit.solutions[0]
                size = step_length(answer[len(visit.prefix) :], config.step, config.delimiter)
                is_end = len(visit.prefix) + size >= len(answer)
                child = visit.prefix if is_end else answer[: len(visit.prefix) + size]
                history.append((visit.prefix, child, reward))


def test_steps_end_at_the_delimiter_or_after_so_many_tokens():
    assert [step_length((5, 7, 5, 7), size, None) for size in (1, 3, 9)] == [1, 3, 4]
    assert [step_length(rest, 3, 7) for rest in ((5, 5, 5, 5, 7, 5), (7,), (5, 5))] == [5, 1, 2]


def test_wide_branching_is_best_of_n():
    plain = functools.partial(best_of_n, num_samples=30)
    wide = functools.partial(uct, config=UctConfig(30, branching=30))
    found, _ = run_side_by_side(CHAIN, {"plain": plain, "wide": wide}, range(10))
    assert [r.solutions for r in found["wide"]] == [r.solutions for r in found["plain"]]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (UctConfig, {"num_samples": 0}), (UctConfig, {"step": 0}), (UctConfig, {"branching": 0}),
        (UctConfig, {"growth": 1.5}), (TreePolicy, {"rule": "ucb"}), (TreePolicy, {"backup": "min"}),
        (TreePolicy, {"exploration": -1.0}), (TreePolicy, {"exploration": math.nan}),
    ],
)  # fmt: skip
def test_constants_of_trees_out_of_range_are_refused(kind, options):
    with pytest.raises(ValueError, match="must"):
        kind(**options)
