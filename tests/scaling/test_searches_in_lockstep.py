"""Every search of inference scaling: the same result in any company, in any blocks, and after being killed."""

import dataclasses
import functools

import numpy as np
import pytest
from fixtures.scaling_searches import run_side_by_side

from jaxrl_suite.llm import Budget, Job, run_lockstep
from jaxrl_suite.llm.recorder import Recorder
from jaxrl_suite.llm.recording import Recording
from jaxrl_suite.scaling import (
    BeamConfig,
    DiscBeamConfig,
    DiscConfig,
    DiscTreeConfig,
    PivotChain,
    TreePolicy,
    UctConfig,
    beam_search,
    best_of_n,
    disc,
    disc_beam,
    disc_tree,
    majority_vote,
    self_consistency,
    uct,
    weighted_vote,
)

CHAIN = PivotChain(pivots=3, right=0.4, length=14)
JUDGES = {"reward": CHAIN.verifier, "process": CHAIN.verifier}
COUNT = 12  # most draws


def pivots(tokens):
    return tuple(tokens[place] for place in CHAIN.places)


BLOCKED = {
    "best_of_n": lambda problem, block, ledger: best_of_n(problem, COUNT, block=block, ledger=ledger),
    "disc": lambda problem, block, ledger: disc(problem, DiscConfig(COUNT, block=block), ledger),
    "disc_capped": lambda problem, block, ledger: disc(
        problem, DiscConfig(COUNT, acceptance="R", draws_per_prefix=3, count_base=False, block=block), ledger
    ),
    "disc_beam": lambda problem, block, ledger: disc_beam(
        problem, DiscBeamConfig(DiscConfig(COUNT, block=block), width=2), ledger
    ),
    "disc_tree": lambda problem, block, ledger: disc_tree(
        problem, DiscTreeConfig(DiscConfig(COUNT, block=block)), ledger
    ),
}  # fmt: skip
SEARCHES = {
    **{name: functools.partial(search, block=4) for name, search in BLOCKED.items()},
    "uct": lambda problem, ledger: uct(problem, UctConfig(COUNT, step=3, growth=0.5, branching=1)),
    "puct": lambda problem, ledger: uct(problem, UctConfig(COUNT, step=1, policy=TreePolicy("puct", "max"))),
    "beam": lambda problem, ledger: beam_search(problem, BeamConfig(3 * COUNT, width=2, branching=2, step=4)),
    "dvts": lambda problem, ledger: beam_search(
        problem, BeamConfig(3 * COUNT, width=1, branching=2, subtrees=3, step=4)
    ),
    "majority_vote": lambda problem, ledger: majority_vote(problem, COUNT, pivots),
    "weighted_vote": lambda problem, ledger: weighted_vote(problem, COUNT, pivots),
    "self_consistency": lambda problem, ledger: self_consistency(problem, COUNT, pivots),
}  # fmt: skip


class Counting:
    """A sampler that counts the tokens that it is asked for, and is killed after so many calls."""

    def __init__(self, life=10**9):
        self.sampler, self.life = CHAIN.sampler(), life
        self.tokens = self.draws = 0
        self.name, self.capabilities = self.sampler.name, self.sampler.capabilities

    def sample(self, requests):
        self.life -= 1
        if self.life < 0:
            raise KeyboardInterrupt
        replies = self.sampler.sample(requests)
        self.tokens += sum(reply.usage.total_tokens for reply in replies)
        self.draws += sum(request.num_samples for request in requests)
        return replies

    def score(self, pairs):
        raise NotImplementedError


def jobs(numbers, searches=SEARCHES, budget=Budget()):  # noqa: B008 (it is frozen)
    def start(name, number, ledger):
        return searches[name](CHAIN.problem(number), ledger=ledger)

    return [
        Job(f"{name}-{number}", functools.partial(start, name, number), budget)
        for name in searches
        for number in numbers
    ]


def ending(outcome, *, speculative=True):
    """Result and counts of a search, the time left out."""
    assert outcome.error is None, outcome.error
    total = dataclasses.replace(outcome.ledger.total, seconds=0.0)
    return outcome.value, total if speculative else dataclasses.replace(total, speculative_tokens=0)


def check_company(numbers):
    everything = jobs(numbers)
    whole = {outcome.name: ending(outcome) for outcome in run_lockstep(everything, CHAIN.sampler(), JUDGES)}
    shuffled = np.random.default_rng(0).permutation(len(everything))
    for outcome in run_lockstep([everything[i] for i in shuffled], CHAIN.sampler(), JUDGES, max_batch=50):
        assert ending(outcome) == whole[outcome.name]
    some = [everything[i] for i in shuffled[:7]]
    assert [ending(outcome) for outcome in run_lockstep(some, CHAIN.sampler(), JUDGES)] == [whole[j.name] for j in some]
    for job in some:
        assert ending(run_lockstep([job], CHAIN.sampler(), JUDGES)[0]) == whole[job.name]
    return len(everything)


def test_a_result_does_not_depend_on_the_company_or_the_order():
    """All searches in one lockstep, in shuffled order, seven at a time, and alone."""
    check_company(range(3))


@pytest.mark.tier2
@pytest.mark.optimised
def test_a_result_does_not_depend_on_255_others():
    assert check_company(range(22)) >= 256


BUDGETS = (
    Budget(), Budget(samples=5), Budget(output_tokens=70), Budget(total_tokens=90), Budget(requests=6),
    Budget(verifier_calls=6), Budget(prompt_tokens=20), Budget(samples=0), Budget(verifier_calls=0),
)  # fmt: skip


@pytest.mark.parametrize("budget", BUDGETS, ids=repr)
def test_blocks_change_nothing_but_the_speculative_tokens(budget):
    found = {}
    for block in (1, 4, 16):
        searches = {name: functools.partial(search, block=block) for name, search in BLOCKED.items()}
        outcomes = run_lockstep(jobs(range(4), searches, budget), CHAIN.sampler(), JUDGES)
        found[block] = [ending(outcome, speculative=False) for outcome in outcomes]
        ahead = sum(outcome.ledger.total.speculative_tokens for outcome in outcomes)
        assert ahead == 0 if block == 1 or budget.samples == 0 else ahead >= 0
        assert ahead > 0 or block == 1 or budget != Budget()
    assert found[4] == found[1]
    assert found[16] == found[1]


def test_ledgers_add_up_to_what_the_sampler_made():
    sampler = Counting()
    outcomes = run_lockstep(jobs(range(5)), sampler, JUDGES)
    totals = [outcome.ledger.total for outcome in outcomes]
    assert sum(total.total_tokens + total.speculative_tokens for total in totals) == sampler.tokens
    assert 0 < sum(total.samples for total in totals) < sampler.draws


def run_recorded(path, sampler, numbers):
    with Recording(path) as recording:
        return run_lockstep(jobs(numbers), Recorder(sampler, recording), JUDGES)


def test_killed_searches_go_on_and_pay_for_nothing_twice(tmp_path):
    numbers, whole = range(1, 3), Counting()
    expected = [ending(outcome) for outcome in run_recorded(tmp_path / "whole.jsonl", whole, numbers)]
    for seed in range(5):
        path, living = tmp_path / f"{seed}.jsonl", Counting()
        dying = Counting(int(np.random.default_rng(seed).integers(1, 12)))
        with pytest.raises(KeyboardInterrupt):
            run_recorded(path, dying, numbers)
        outcomes = run_recorded(path, living, numbers)
        assert [ending(outcome) for outcome in outcomes] == expected
        assert dying.tokens + living.tokens == whole.tokens
        assert dying.draws + living.draws == whole.draws


def test_blocks_need_the_ledger_of_their_job():
    for search in BLOCKED.values():
        with pytest.raises(ValueError, match="need the job's ledger"):
            next(search(CHAIN.problem(0), block=2, ledger=None))


@pytest.mark.parametrize("budget", [Budget(output_tokens=60), Budget(verifier_calls=3), Budget(samples=0)], ids=repr)
def test_budgets_end_every_search_with_the_best_that_it_has(budget):
    for outcome in run_lockstep(jobs(range(2), budget=budget), CHAIN.sampler(), JUDGES):
        result, total = ending(outcome)
        assert total.output_tokens <= 60 or budget.output_tokens is None
        assert total.verifier_calls <= 3 or budget.verifier_calls is None
        assert (result.best is None) <= (not result.solutions)


def test_the_first_draws_are_those_of_best_of_n():
    searches = {
        "plain": functools.partial(best_of_n, num_samples=COUNT),
        "steps": functools.partial(uct, config=UctConfig(COUNT, step=3)),
        "tokens": functools.partial(uct, config=UctConfig(COUNT, step=1, policy=TreePolicy(exploration=0.0))),
    }
    found, _ = run_side_by_side(CHAIN, searches, range(5))
    for plain, *others in zip(*found.values(), strict=True):
        first = min(3, len(plain.solutions))
        assert all(other.solutions[:first] == plain.solutions[:first] for other in others)
