"""Beam search by a process reward and DVTS, against closed forms that enumeration confirms."""

import functools
import math

import pytest
from fixtures.scaling_searches import every_outcome, run

from jaxrl_suite.scaling import BeamConfig, PivotChain, beam_search
from jaxrl_suite.scaling.pivot_chain import EOS, FILLER

CHAIN = PivotChain(pivots=2, right=0.5, length=4)  # a pivot in each step of two tokens
PROCESS = {"process": CHAIN.verifier}  # the share of right pivots so far


def search(**options):
    return functools.partial(beam_search, config=BeamConfig(step=2, **options))


def probability(found):
    outcomes = list(every_outcome(found, CHAIN, PROCESS))
    assert math.fsum(chance for chance, _ in outcomes) == pytest.approx(1, abs=1e-12)
    return math.fsum(chance for chance, result in outcomes if result.solved_after)


@pytest.mark.parametrize("branching", [1, 2, 3])
def test_a_beam_of_one_finds_each_pivot_in_turn(branching):
    """Of b steps the best is kept: each pivot is right unless b draws fail, once to the end."""
    found = probability(search(num_samples=3 * branching, width=1, branching=branching))
    assert found == pytest.approx((1 - 0.5**branching) ** 2, abs=1e-12)


def test_independent_subtrees_are_independent():
    found = probability(search(num_samples=12, width=1, branching=2, subtrees=2))
    assert found == pytest.approx(1 - (1 - 0.75**2) ** 2, abs=1e-12)


def test_a_wider_beam_keeps_the_best_prefixes():
    """Four first steps, of which the best two go on, with four second steps."""
    found = probability(search(num_samples=8 + 4, width=2, branching=2, distinct=False))
    law = {0: 1 / 16, 1: 4 / 16, 2: 11 / 16}  # prefixes with a right first pivot among the two that are kept
    assert found == pytest.approx(sum(p * (1 - 0.5 ** (2 * right)) for right, p in law.items()), abs=1e-12)


def test_steps_end_at_a_delimiter_and_answers_at_their_end():
    chain = PivotChain(pivots=3, right=0.6, length=9)
    for options in ({"delimiter": FILLER}, {"step": 1}, {"step": 4}, {"step": 50}, {"delimiter": EOS + 1}):
        config = BeamConfig(60, width=2, branching=2, **options)
        results, totals = run(
            chain, functools.partial(beam_search, config=config), range(5), verifiers={"process": chain.verifier}
        )
        for result, total in zip(results, totals, strict=True):
            assert result.solutions
            assert all(len(s.tokens) == 10 and s.tokens[-1] == EOS for s in result.solutions)
            assert all(chain.grade(s.tokens) == s.reward for s in result.solutions)
            assert total.samples <= 60
            if "step" in options:
                assert total.output_tokens <= 60 * options["step"]


def test_a_process_reward_finds_what_a_whole_answer_rarely_is():
    chain = PivotChain()
    config = BeamConfig(500, width=2, branching=4, step=8)
    results, totals = run(
        chain, functools.partial(beam_search, config=config), range(20), verifiers={"process": chain.verifier}
    )
    assert sum(result.solved_after is not None for result in results) == 20
    assert max(total.output_tokens for total in totals) < 100 * 41  # of best-of-100, which solves 41 %


def test_constants_of_beams_out_of_range_are_refused():
    for name in ("num_samples", "width", "branching", "subtrees", "step"):
        with pytest.raises(ValueError, match="at least 1"):
            BeamConfig(**{name: 0})
