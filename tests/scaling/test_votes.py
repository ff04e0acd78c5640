"""Votes against the enumeration of all ways to share them out, and the early stop against posteriors in closed form."""

import functools
import math

import numpy as np
import pytest
from fixtures.scaling_searches import every_outcome, run, run_side_by_side
from scipy import stats

from jaxrl_suite.scaling import PivotChain, majority_vote, self_consistency, weighted_vote
from jaxrl_suite.scaling.diverse.prompt_mixture import vote
from jaxrl_suite.scaling.pivot_chain import RIGHT, START
from jaxrl_suite.scaling.votes import beta_lead, dirichlet_lead

CHAIN = PivotChain(pivots=2, right=0.4, length=2)  # four answers


def answer_of(tokens):
    return tuple(tokens[:2])


def answer_law():
    law = {}
    for tokens, chance in CHAIN.sampler().probabilities((START,), CHAIN.problem(0).decoding).items():
        law[answer_of(tokens)] = law.get(answer_of(tokens), 0.0) + chance
    return law


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_majoritys_law_is_the_multinomial_one_with_fair_ties(count):
    outcomes = list(every_outcome(functools.partial(majority_vote, num_samples=count, answer_of=answer_of), CHAIN))
    law = answer_law()
    for answer, chance in law.items():
        won = math.fsum(p for p, result in outcomes if answer_of(result.best.tokens) == answer)
        others = [p for other, p in law.items() if other != answer]
        assert won == pytest.approx(vote(np.asarray([chance, *others]), count), abs=1e-12)


def test_weights_decide_beside_numbers():
    results, totals = run(CHAIN, functools.partial(weighted_vote, num_samples=9, answer_of=answer_of), range(30))
    plain, free = run(CHAIN, functools.partial(majority_vote, num_samples=9, answer_of=answer_of), range(30))
    for result, other in zip(results, plain, strict=True):
        assert [s.tokens for s in result.solutions] == [s.tokens for s in other.solutions]
        counts = dict(other.votes)
        assert sum(counts.values()) == 9
        weights = {answer: count * CHAIN.grade(answer) for answer, count in counts.items()}
        assert dict(result.votes) == pytest.approx(weights)
        assert weights[answer_of(result.best.tokens)] == pytest.approx(max(weights.values()))
        assert counts[answer_of(other.best.tokens)] == max(counts.values())
        assert math.isnan(other.best.reward)
        assert other.solved_after is None
    assert {total.verifier_calls for total in totals} == {9}
    assert {total.verifier_calls for total in free} == {0}


def test_samples_without_an_answer_have_no_vote():
    def only_right(tokens):
        return "right" if tokens[0] == RIGHT else None

    results, _ = run(CHAIN, functools.partial(majority_vote, num_samples=5, answer_of=only_right), range(20))
    for result in results:
        right = [s for s in result.solutions if s.tokens[0] == RIGHT]
        assert result.votes == ((("right", float(len(right))),) if right else ())
        assert result.best.tokens == (right or list(result.solutions))[0].tokens


def test_the_posterior_of_two_is_the_beta_law():
    for first, second in ((0, 0), (1, 0), (3, 1), (10, 7), (40, 2)):
        exact = stats.beta.sf(0.5, first + 1, second + 1)
        assert beta_lead([second, first]) == pytest.approx(exact, abs=1e-12)
        assert dirichlet_lead([second, first]) == pytest.approx(exact, abs=1e-9)


def test_the_posterior_of_many_by_hand():
    assert dirichlet_lead([2, 2, 2]) == pytest.approx(1 / 3, abs=1e-9)
    assert dirichlet_lead([0, 1, 0]) == pytest.approx(1 - 2 / 4 + 1 / 9, abs=1e-9)  # gamma(2) above two exponentials
    assert dirichlet_lead([5, 4, 4, 4]) < beta_lead([5, 4, 4, 4])


def test_a_lone_answer_is_compared_with_one_of_no_votes():
    for votes in (1, 2, 4):
        assert dirichlet_lead([votes]) == pytest.approx(1 - 2.0 ** -(votes + 1), abs=1e-9)  # Beta(v + 1, 1) above 1/2
    assert dirichlet_lead([]) == pytest.approx(1 / 2, abs=1e-9)


def test_an_early_stop_ends_where_the_lead_is_sure():
    sure = PivotChain(pivots=1, right=1.0, length=2)
    search = functools.partial(self_consistency, num_samples=20, answer_of=answer_of)
    found, _ = run_side_by_side(sure, {"early": search, "never": functools.partial(search, confidence=1.0)}, [0])
    assert len(found["early"][0].solutions) == 4  # 1 - 2^-5 is above .95, 1 - 2^-4 below
    assert len(found["never"][0].solutions) == 20
    rules = {"beta": beta_lead, "dirichlet": dirichlet_lead}
    found, _ = run_side_by_side(CHAIN, {rule: functools.partial(search, rule=rule) for rule in rules}, range(10))
    for rule, results in found.items():
        for result in results:
            counts, stops = {}, []
            for solution in result.solutions:
                counts[answer_of(solution.tokens)] = counts.get(answer_of(solution.tokens), 0) + 1
                stops.append(rules[rule](list(counts.values())) >= 0.95)
            assert not any(stops[:-1])
            assert stops[-1] or len(stops) == 20


def test_votes_that_cannot_be_are_refused():
    problem = CHAIN.problem(0)
    for algorithm in (majority_vote(problem, 0, answer_of), weighted_vote(problem, 0, answer_of)):
        with pytest.raises(ValueError, match="at least 1"):
            next(algorithm)
    for options in ({"confidence": 0.4}, {"rule": "gamma"}):
        with pytest.raises(ValueError, match="must lie"):
            next(self_consistency(problem, 3, answer_of, **options))
