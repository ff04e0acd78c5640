"""DISC by beam and by tree: what they share with greedy DISC and best-of-N, and the trap that tells them apart."""

import dataclasses
import functools
import itertools
import math

import pytest
from fixtures.scaling_searches import every_outcome, run_side_by_side

from jaxrl_suite.scaling import (
    DiscBeamConfig,
    DiscConfig,
    DiscTreeConfig,
    PivotChain,
    TrapChain,
    TreePolicy,
    best_of_n,
    disc,
    disc_beam,
    disc_tree,
)
from jaxrl_suite.scaling.pivot_chain import START
from jaxrl_suite.scaling.trap_chain import TRAP

RULES = ("Z", "negZ", "Q", "negQ", "R")
VARIANTS = {
    "greedy": lambda problem, config: disc(problem, config),
    "beam": lambda problem, config: disc_beam(problem, DiscBeamConfig(config)),
    "beam_z": lambda problem, config: disc_beam(problem, DiscBeamConfig(config, rank="z")),
    "tree": lambda problem, config: disc_tree(problem, DiscTreeConfig(config)),
    "tree_max": lambda problem, config: disc_tree(problem, DiscTreeConfig(config, TreePolicy("puct", "max"))),
}
SMALL_TRAP = TrapChain(trap=0.5, pivots=1, right=0.5, length=3, open_reward=0.0)


def every_rule(config):
    """All variants with all rules, by (variant, rule)."""
    return {
        (name, rule): functools.partial(variant, config=dataclasses.replace(config, acceptance=rule))
        for name, variant in VARIANTS.items()
        for rule in RULES
    }


def test_with_a_binary_reward_every_variant_is_best_of_n_sample_by_sample():
    chain = PivotChain(pivots=3, right=0.4, length=12, reward="binary")
    plain = functools.partial(best_of_n, num_samples=20)
    found, cost = run_side_by_side(chain, {"plain": plain, **every_rule(DiscConfig(20))}, range(5))
    for results, totals in zip(found.values(), cost.values(), strict=True):
        assert [result.solutions for result in results] == [result.solutions for result in found["plain"]]
        assert totals == [
            dataclasses.replace(total, seconds=used.seconds) for total, used in zip(cost["plain"], totals, strict=True)
        ]
    for other in (DiscConfig(20, draws_per_prefix=3), DiscConfig(20, count_base=False)):  # then it is another search
        for results in run_side_by_side(chain, every_rule(other), range(5))[0].values():
            assert [r.solutions for r in results] != [r.solutions for r in found["plain"]]


def test_rules_coincide_in_every_variant_where_every_step_is_one_token():
    chain = PivotChain(pivots=2, right=0.3, length=5)
    found, _ = run_side_by_side(chain, every_rule(DiscConfig(30)), range(4))
    for (name, _), results in found.items():
        assert [r.solutions for r in results] == [r.solutions for r in found[name, "Z"]]


@pytest.mark.parametrize("carry", [True, False])
def test_a_beam_of_one_is_greedy_disc(carry):
    searches = {}
    for rule in RULES:
        config = DiscConfig(30, acceptance=rule, carry_best=carry)
        searches["greedy", rule] = functools.partial(disc, config=config)
        searches["beam", rule] = functools.partial(disc_beam, config=DiscBeamConfig(config, width=1))
    found, _ = run_side_by_side(PivotChain(), searches, range(4))
    for rule in RULES:
        assert found["beam", rule] == found["greedy", rule]


def test_every_step_begins_with_an_answer_that_was_drawn():
    searches = {name: functools.partial(variant, config=DiscConfig(40)) for name, variant in VARIANTS.items()}
    found, cost = run_side_by_side(PivotChain(), searches, range(6))
    results, totals = list(itertools.chain(*found.values())), list(itertools.chain(*cost.values()))
    for result, total in zip(results, totals, strict=True):
        seen = []
        for visit in result.visits:
            assert not visit.prefix or any(s.tokens[: len(visit.prefix)] == visit.prefix for s in seen)
            assert all(s.tokens[: len(visit.prefix)] == visit.prefix for s in visit.solutions)
            seen += visit.solutions
        assert total.samples == len(seen) <= 40
    assert any(len({visit.prefix for visit in result.visits}) > 2 for result in results)


def test_the_trap_chains_laws_are_those_of_its_automaton():
    for chain in (TrapChain(pivots=2, length=5), TrapChain(trap=0.0, pivots=3, length=6), SMALL_TRAP):
        found = {}
        for tokens, chance in chain.sampler().probabilities((START,), chain.problem(0).decoding).items():
            reward = round(chain.grade(tokens), 9)
            found[reward] = found.get(reward, 0.0) + chance
        law = {}
        for reward, chance in chain.reward_law():
            law[round(reward, 9)] = law.get(round(reward, 9), 0.0) + chance
        assert {r: p for r, p in law.items() if p} == pytest.approx(found, abs=1e-6)
        assert math.fsum(law.values()) == pytest.approx(1, abs=1e-12)
    outcomes = every_outcome(functools.partial(best_of_n, num_samples=3), SMALL_TRAP)
    solved = math.fsum(chance for chance, result in outcomes if result.solved_after)
    assert solved == pytest.approx(SMALL_TRAP.best_of_n(3), abs=1e-12)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_greedy_disc_escapes_the_trap_with_its_exact_probability_before_it_commits(count):
    """Without a new start; what begins in the trap is never solved, whatever is drawn on."""
    config = DiscConfig(count, restart=False)
    outcomes = list(every_outcome(functools.partial(disc, config=config), SMALL_TRAP))
    solved = math.fsum(chance for chance, result in outcomes if result.solved_after)
    assert solved == pytest.approx(SMALL_TRAP.solved_before_commitment(count), abs=1e-12)
    commits = [
        result.solved_after for _, result in outcomes
        if not any(s.reward == 1 for s in result.visits[0].solutions)
        and any(s.tokens[0] == TRAP for s in result.visits[0].solutions)
    ]  # fmt: skip
    assert commits
    assert not any(commits)


def plain_tree(chain, count, draw):
    """DISC with tree search by a second implementation: a list of answers, scanned from the prompt at every choice."""
    nodes = []  # (prefix, answer, own reward, parent, whether its draw counts)
    drawn = 0

    def sample(prefix, parent, carried):
        nonlocal drawn
        rewards = []
        while sum(rewards) < 1 - 1e-9 and drawn < count:
            answer = draw(prefix)
            drawn += 1
            rewards.append(chain.grade(answer))
            nodes.append((prefix, answer, rewards[-1], parent, True))
            if rewards[-1] == 1:
                return True
        if carried is not None:
            nodes.append((prefix, carried, chain.grade(carried), parent, False))
        return False

    def lineage(i):
        while i is not None:
            yield i
            i = nodes[i][3]

    if sample((), None, None):
        return True
    done = set()
    while drawn < count:
        open_ones = [i for i in range(len(nodes)) if i not in done and not any(n[3] == i for n in nodes)]
        alive = {j for i in open_ones for j in lineage(i)}
        if not alive:
            return False
        at, below = None, [i for i in sorted(alive) if nodes[i][3] is None]
        while below:
            counts = {i: [n[2] for k, n in enumerate(nodes) if i in lineage(k) and (n[4] or k == i)] for i in below}
            total = sum(n[4] for k, n in enumerate(nodes) if at is None or at in lineage(k))
            total += at is not None and not nodes[at][4]
            scores = [
                round(sum(r) / len(r) + math.sqrt(math.log(total) / len(r)), 9) for r in counts.values()
            ]  # fmt: skip
            at = below[scores.index(max(scores))]
            below = [i for i in sorted(alive) if nodes[i][3] == at]
        prefix, answer = nodes[at][:2]
        step = max(1, math.ceil(0.15 * (len(answer) - len(prefix))))
        if step >= len(answer) - len(prefix):
            done.add(at)
        elif sample(answer[: len(prefix) + step], at, answer):
            return True
    return False


def plain_probability(chain, count):
    law = chain.sampler().probabilities

    class _Open(Exception):  # noqa: N818
        pass

    def explore(choices, chance):
        made = iter(choices)

        def draw(prefix):
            tokens = next(made, None)
            if tokens is None:
                raise _Open(prefix)
            return tokens

        try:
            return chance * plain_tree(chain, count, draw)
        except _Open as open_:
            prefix = open_.args[0]
        tails = law((START, *prefix), chain.problem(0).decoding)
        return math.fsum(explore((*choices, prefix + tail), chance * p) for tail, p in tails.items())

    return explore((), 1.0)


@pytest.mark.parametrize("count", [3, 8, 11])
def test_tree_search_leaves_the_trap_with_the_probability_of_a_second_implementation(count):
    config = DiscTreeConfig(DiscConfig(count, restart=False))
    outcomes = list(every_outcome(functools.partial(disc_tree, config=config), SMALL_TRAP))
    solved = math.fsum(chance for chance, result in outcomes if result.solved_after)
    assert math.fsum(chance for chance, _ in outcomes) == pytest.approx(1, abs=1e-12)
    assert solved == pytest.approx(plain_probability(SMALL_TRAP, count), abs=1e-12)
    greedy = SMALL_TRAP.solved_before_commitment(count)
    assert solved > greedy + 0.05 if count > 8 else solved >= greedy - 1e-12


@pytest.mark.parametrize("options", [{"trap": 1.0}, {"bait": 0.3}, {"bait": 1.0}, {"right": 0.0}, {"pivots": 0}])
def test_traps_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match="must"):
        TrapChain(**options)
    for kind in ({"width": 0}, {"rank": "q"}):
        with pytest.raises(ValueError, match="must be"):
            DiscBeamConfig(**kind)


def test_more_samples_never_hurt_the_trap_chains_closed_forms():
    chances = [[SMALL_TRAP.best_of_n(n), SMALL_TRAP.solved_before_commitment(n)] for n in range(1, 12)]
    assert all(a <= b + 1e-12 for x, y in itertools.pairwise(chances) for a, b in zip(x, y, strict=True))
    assert SMALL_TRAP.solved_before_commitment(60) == pytest.approx(1 - (0.5 / 0.75) ** 2, abs=1e-9)
