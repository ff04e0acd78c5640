"""SFS and its rivals side by side: company, order, budgets and roles, and tests that are wrong at given rates."""

import functools
import math

import numpy as np
import pytest

from jaxrl_suite.llm.jobs import Job
from jaxrl_suite.llm.ledger import Budget
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.scaling.forest import (
    BasinGraph,
    Feedback,
    NoisyTests,
    SfsConfig,
    fun_search,
    line_search,
    plain_tree,
    refine_instructions,
    resample,
    rex,
    sfs,
)
from jaxrl_suite.scaling.records import GradedAnswer

METHODS = [
    functools.partial(sfs, config=SfsConfig(20, seeds=3)),
    functools.partial(sfs, config=SfsConfig(20, seeds=3, descent="PUCT", scattering=False)),
    functools.partial(resample, num_solutions=20),
    functools.partial(line_search, num_solutions=20),
    functools.partial(plain_tree, num_solutions=20),
    functools.partial(rex, num_solutions=20),
    functools.partial(fun_search, num_solutions=20),
    functools.partial(refine_instructions, num_solutions=20),
]


def run(method, graph, numbers, budget=Budget(), verifier=None):  # noqa: B008
    jobs = [Job(f"{i}", lambda _, i=i: method(graph.thinker(i)), budget) for i in numbers]
    outcomes = run_lockstep(jobs, graph.samplers(), {"tests": verifier or graph.verifier})
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return outcomes


@pytest.mark.parametrize("method", METHODS)
def test_results_depend_on_neither_company_nor_order_and_budgets_hold(method):
    graph = BasinGraph(steps=2)
    found = [outcome.value for outcome in run(method, graph, range(12))]
    assert [outcome.value for outcome in run(method, graph, range(11, -1, -1))] == found[::-1]
    assert [run(method, graph, [i])[0].value for i in range(3)] == found[:3]
    for budget, field in ((Budget(requests=7), "requests"), (Budget(total_tokens=20), "total_tokens")):
        for outcome in run(method, graph, range(4), budget):
            assert getattr(outcome.ledger.total, field) <= getattr(budget, field)
            nodes = outcome.value.nodes
            whole = found[int(outcome.name)].nodes[: len(nodes)]
            assert [node.solution for node in nodes] == [node.solution for node in whole]
    assert run(method, graph, [0], Budget(requests=0))[0].value.submission is None


def test_every_role_is_charged():
    roles = run(METHODS[0], BasinGraph(steps=3), [1])[0].ledger.by_role
    assert {"solve", "idea", "edit", "test"} <= set(roles)
    assert roles["test"].verifier_calls == roles["edit"].samples + roles["solve"].samples


def test_noise_of_tests_has_its_rates_and_is_the_same_each_time():
    def visible(items):
        return [Feedback(item.tokens[0] / 4, tuple(i < item.tokens[0] for i in range(4))) for item in items]

    def solved(items):
        return [item.tokens[1] == 1 for item in items]

    for right, rate in ((1, 1 - 0.275 / 0.825), (0, 0.0625 / 0.175)):
        for score in (1, 4):
            items = [GradedAnswer(i, (score, right)) for i in range(4000)]
            tests = NoisyTests(visible, solved)
            found = tests(items)
            passed = np.mean([feedback.score == 1 for feedback in found])
            assert abs(passed - rate) <= 4 * math.sqrt(rate * (1 - rate) / 4000)
            assert all(feedback.score == np.mean(feedback.passed) for feedback in found)
            assert tests(items[::-1]) == found[::-1]
            assert NoisyTests(visible, solved, seed=1)(items) != found
    exact = NoisyTests(visible, solved, 0.0, 0.0)(items)
    assert all(feedback.score < 1 for feedback in exact)  # wrong, though all that is visible is right
