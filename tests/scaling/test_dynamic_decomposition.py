"""DISC and best-of-N against exact laws: closed forms, enumeration of every outcome, and a second implementation."""

import collections
import functools
import itertools
import math

import numpy as np
import pytest
from fixtures.scaling_searches import every_outcome, run

from jaxrl_suite.llm import Budget, Job, run_lockstep
from jaxrl_suite.llm.jobs import together
from jaxrl_suite.scaling import DiscConfig, PivotChain, best_of_n, disc
from jaxrl_suite.scaling.disc import priority
from jaxrl_suite.scaling.metrics import tokens_to_solve
from jaxrl_suite.scaling.pivot_chain import START

RULES = ("Z", "negZ", "Q", "negQ", "R")
TINY = PivotChain(pivots=2, right=0.4, length=5)


@pytest.mark.parametrize("reward", ["run", "fraction", "tests", "binary"])
def test_best_of_n_solves_with_its_exact_probability(reward):
    chain = PivotChain(pivots=2, right=0.4, length=3, reward=reward)
    law = chain.sampler().probabilities((START,), chain.problem(0).decoding)
    once = math.fsum(chance for tokens, chance in law.items() if chain.grade(tokens) == 1)
    assert once == pytest.approx(0.16, abs=1e-7)  # the table is of float32
    for count in (1, 2, 3):
        outcomes = list(every_outcome(functools.partial(best_of_n, num_samples=count), chain))
        solved = math.fsum(chance for chance, result in outcomes if result.solved_after)
        assert solved == pytest.approx(1 - (1 - once) ** count, abs=1e-12)
        assert solved == pytest.approx(chain.best_of_n(count), abs=1e-6)
    assert PivotChain().best_of_n(100) == pytest.approx(1 - (1 - 0.35**5) ** 100, abs=1e-12)


def test_the_law_of_rewards_is_that_of_the_automaton():
    for reward, prefix in itertools.product(("run", "fraction", "tests", "binary"), ((), (0, 1), (0, 2, 0))):
        chain = PivotChain(pivots=3, right=0.3, length=6, reward=reward)
        found = collections.defaultdict(float)
        prompt, decoding = (START, *prefix), chain.problem(0).decoding
        for tokens, chance in chain.sampler().probabilities(prompt, decoding).items():
            found[chain.grade(prefix + tokens)] += chance
        law = chain.reward_law(prefix)
        assert law == pytest.approx(dict(found), abs=1e-6)
        assert math.fsum(law.values()) == pytest.approx(1, abs=1e-12)


def test_draws_from_a_prefix_end_as_renewal_theory_says():
    """The number of draws from the prompt, by a dynamic program over the sum of rewards."""
    config = DiscConfig(num_samples=4, sigma=1.0, restart=False)
    found, law = collections.defaultdict(float), TINY.reward_law()
    for chance, result in every_outcome(functools.partial(disc, config=config), TINY):
        found[len(result.visits[0].solutions)] += chance
    expected, sums = collections.defaultdict(float), {0.0: 1.0}
    for draw in range(1, 5):
        following = collections.defaultdict(float)
        for (total, chance), (reward, probability) in itertools.product(sums.items(), law.items()):
            ends = total + reward >= 1 - 1e-9 or draw == 4
            (expected if ends else following)[draw if ends else total + reward] += chance * probability
        sums = following
    assert dict(found) == pytest.approx(dict(expected), abs=1e-6)


def plain_disc(chain, count, rule, carry):
    """Probability that DISC solves the chain: a second implementation, by recursion over all that can happen."""
    law = chain.sampler().probabilities
    decoding = chain.problem(0).decoding

    @functools.cache
    def completions(prefix):
        return [(prefix + tokens, chance) for tokens, chance in law((START, *prefix), decoding).items()]

    def sample(prefix, left, drawn, then):
        """Draws until the sum is reached; `then` gets all draws and what is left of the budget."""
        if drawn and chain.grade(drawn[-1]) == 1:
            return 1.0
        if left == 0:
            return 0.0
        if drawn and sum(map(chain.grade, drawn)) >= 1 - 1e-9:
            return then(drawn, left)
        return math.fsum(
            chance * sample(prefix, left - 1, (*drawn, answer), then) for answer, chance in completions(prefix)
        )

    def statistics(answers):
        rewards = [chain.grade(answer) for answer in answers]
        mean = sum(rewards) / len(rewards)
        deviation = (sum((reward - mean) ** 2 for reward in rewards) / len(rewards)) ** 0.5
        z = (max(rewards) - mean) / deviation if deviation > 1e-9 else math.inf
        return mean, z, answers[rewards.index(max(rewards))]

    def restart(left):
        return sample((), left, (), lambda drawn, left: advance((), statistics(drawn), 0.15, left))

    def advance(prefix, base, alpha, left):
        mean, z, best = base
        step = max(1, math.ceil(alpha * (len(best) - len(prefix)) - 1e-9))
        if step >= len(best) - len(prefix):
            return restart(left)
        longer = best[: len(prefix) + step]

        def decide(drawn, left):
            found = statistics((*drawn, best) if carry else drawn)
            less = {"Z": found[1] < z - 1e-9, "negQ": found[0] > mean + 1e-9}[rule]
            if step == 1 or less:
                return advance(longer, found, 0.15, left)
            return advance(prefix, base, alpha * 0.15, left)

        return sample(longer, left, (), decide)

    return restart(count)


@pytest.mark.parametrize(
    ("rule", "carry", "length"), [("Z", True, 9), ("Z", False, 9), ("negQ", True, 9), ("Z", True, 3)]
)
def test_the_probability_to_solve_is_that_of_a_second_implementation(rule, carry, length):
    chain = PivotChain(pivots=2, right=0.4, length=length)
    config = DiscConfig(num_samples=5, acceptance=rule, carry_best=carry)
    outcomes = list(every_outcome(functools.partial(disc, config=config), chain))
    solved = math.fsum(chance for chance, result in outcomes if result.solved_after)
    assert solved == pytest.approx(plain_disc(chain, 5, rule, carry), abs=1e-12)
    assert all(len(result.solutions) <= 5 for _, result in outcomes)


@pytest.mark.parametrize("rule", RULES)
def test_with_a_binary_reward_every_variant_is_best_of_n(rule):
    chain = PivotChain(pivots=3, right=0.4, length=12, reward="binary")
    plain, paid = run(chain, functools.partial(best_of_n, num_samples=20), range(40))
    found, cost = run(chain, functools.partial(disc, config=DiscConfig(num_samples=20, acceptance=rule)), range(40))
    assert [result.solutions for result in found] == [result.solutions for result in plain]
    assert [(c.samples, c.output_tokens, c.verifier_calls) for c in cost] == [
        (c.samples, c.output_tokens, c.verifier_calls) for c in paid
    ]
    capped = DiscConfig(num_samples=20, acceptance=rule, draws_per_prefix=3)  # then it is another search
    assert [r.solutions for r in run(chain, functools.partial(disc, config=capped), range(40))[0]] != [
        result.solutions for result in plain
    ]


def test_rules_coincide_where_every_step_is_one_token():
    chain = PivotChain(pivots=2, right=0.3, length=5)  # 6 tokens: 15 % of them is one
    found = [
        run(chain, functools.partial(disc, config=DiscConfig(30, acceptance=rule)), range(30))[0] for rule in RULES
    ]
    assert [[r.solutions for r in results] for results in found[1:]] == [[r.solutions for r in found[0]]] * 4


def test_a_result_does_not_depend_on_the_company():
    chain, search = PivotChain(), functools.partial(disc, config=DiscConfig(num_samples=25))
    together_, _ = run(chain, search, range(30))
    order = np.random.default_rng(0).permutation(30).tolist()
    assert [run(chain, search, [i])[0][0] for i in range(7)] == together_[:7]
    assert run(chain, search, range(30), order=order)[0] == [together_[i] for i in order]


def test_budgets_end_a_search_with_the_best_that_it_has():
    for budget, field, most in (
        (Budget(samples=7), "samples", 7),
        (Budget(output_tokens=150), "output_tokens", 150),
        (Budget(requests=9), "requests", 9),
        (Budget(verifier_calls=4), "verifier_calls", 4),
        (Budget(samples=0), "samples", 0),
    ):
        for search in (disc, functools.partial(best_of_n, num_samples=100)):
            results, totals = run(PivotChain(), search, range(5), budget)
            for result, total in zip(results, totals, strict=True):
                assert getattr(total, field) <= most
                assert (result.best is None) == (most == 0)
                if result.best is not None:
                    assert result.best.reward == max(solution.reward for solution in result.solutions)


def test_the_ledger_counts_what_was_drawn():
    results, totals = run(PivotChain(), disc, range(10))
    for result, total in zip(results, totals, strict=True):
        drawn = [len(s.tokens) - len(visit.prefix) for visit in result.visits for s in visit.solutions]
        assert (total.samples, total.output_tokens) == (len(drawn), sum(drawn))
        assert total.verifier_calls == total.requests == len(drawn)
        if result.solved_after:
            assert tokens_to_solve(result) == sum(drawn)


def test_priority_of_equal_rewards_is_infinite_and_of_others_by_hand():
    assert priority([0.5, 0.5, 0.5]) == (0.5, math.inf)
    assert priority([1.0, 0.0, 0.0]) == pytest.approx((1 / 3, 2**0.5))  # sqrt(M - 1) at the first success of M draws


def test_searches_can_share_a_job():
    chain = PivotChain(pivots=2, right=0.5, length=6)
    apart = [run(chain, disc, [i])[0][0] for i in (0, 1)]
    job = Job("both", lambda _: together([disc(chain.problem(0)), disc(chain.problem(1))]))
    assert run_lockstep([job], chain.sampler(), {"reward": chain.verifier})[0].value == apart


@pytest.mark.parametrize(
    "options",
    [
        {"num_samples": 0}, {"alpha": 0.0}, {"alpha": 1.0}, {"sigma": 0.0}, {"sigma": math.nan}, {"acceptance": "z"},
        {"min_step": "none"}, {"draws_per_prefix": -1}, {"static_step": -1}, {"block": 0},
    ],
)  # fmt: skip
def test_constants_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="must"):
        DiscConfig(**options)


@pytest.mark.parametrize(
    "options", [{"pivots": 0}, {"pivots": 41}, {"right": 0.0}, {"right": 1.5}, {"right": math.nan}, {"reward": "x"}]
)
def test_chains_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        PivotChain(**options)
    with pytest.raises(ValueError, match="num_samples"):
        next(best_of_n(PivotChain().problem(0), 0))


@pytest.mark.optimised
@pytest.mark.tier2
def test_a_reward_aligned_with_the_prefix_is_where_disc_wins_and_an_easy_chain_where_it_loses():
    """200 searches of at most 100 samples each, paired by the draws from the prompt."""
    plain, paid = run(PivotChain(), functools.partial(best_of_n, num_samples=100), range(200))
    found, cost = run(PivotChain(), disc, range(200))
    solved = [np.mean([r.solved_after is not None for r in results]) for results in (plain, found)]
    exact = PivotChain().best_of_n(100)
    assert abs(solved[0] - exact) <= 3 * (exact * (1 - exact) / 200) ** 0.5
    assert solved[1] >= 0.85
    assert sum(total.output_tokens for total in cost) <= 0.5 * sum(total.output_tokens for total in paid)
    easy = PivotChain(pivots=8, right=0.7, reward="fraction")
    plain, found = (
        np.mean([r.solved_after is not None for r in run(easy, search, range(200))[0]])
        for search in (functools.partial(best_of_n, num_samples=100), disc)
    )
    assert plain > found
