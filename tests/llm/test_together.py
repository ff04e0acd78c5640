"""Algorithms side by side obtain what each obtains alone, and share their calls."""

from functools import partial

import pytest

from jaxrl_suite.llm.jobs import Job, SamplerFailedError, together
from jaxrl_suite.llm.ledger import Budget, BudgetExhaustedError
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.protocol import Capabilities, Completion, Decoding, Reply, Request, Usage
from jaxrl_suite.llm.questions import Sample, Verify


class Model:
    """The sample of path p is text "p"; a path in `fails` has none."""

    name = "stub"
    capabilities = Capabilities(True, False, True, False, False, True)

    def __init__(self, fails=()):
        self.calls, self.fails = [], fails

    def sample(self, requests):
        self.calls.append([request.path for request in requests])
        return [self.reply(request) for request in requests]

    def reply(self, request):
        if request.path in self.fails:
            return Reply((), Usage(), Usage(), "the server is gone")
        usage = Usage(1, 1, 3, 0, 2)
        return Reply((Completion(".".join(map(str, request.path)), None, None, "stop", 2),), usage, usage)


def chain(name, length):
    """Asks `length` times, one after the other, and for all verdicts at the end."""
    texts = []
    for step in range(length):
        reply = yield Sample(Request("q", decoding=Decoding(2), path=(name, step)))
        texts.append(reply.completions[0].text)
    first, second = yield Verify("size", tuple(texts) or ("",)), Verify("size", (str(name),))
    return texts, first.values, second.values


def bold(name, length):
    """As `chain`, but lives with failure."""
    try:
        return (yield from chain(name, length))
    except (SamplerFailedError, BudgetExhaustedError) as error:
        return type(error).__name__


def run(start, model, budget=None):
    verifiers = {"size": lambda items: [len(item) for item in items]}
    (outcome,) = run_lockstep([Job("job", lambda ledger: start(), budget or Budget())], model, verifiers)
    return outcome


def test_side_by_side_equals_one_by_one_in_as_many_calls_as_the_longest():
    alone = [run(partial(chain, name, length), Model()).value for name, length in enumerate((2, 0, 3))]
    model = Model()
    outcome = run(lambda: together([chain(name, length) for name, length in enumerate((2, 0, 3))]), model)
    assert outcome.value == alone
    assert model.calls == [[(0, 0), (2, 0)], [(0, 1), (2, 1)], [(2, 2)]]
    assert run(lambda: together([]), Model()).value == []


def test_a_failure_reaches_only_those_whose_question_it_was():
    model = Model(fails=[(0, 1)])
    outcome = run(lambda: together([bold(0, 2), bold(1, 3)]), model)
    assert outcome.value == ["SamplerFailedError", run(partial(chain, 1, 3), Model()).value]


def test_one_that_raises_ends_all():
    closed = []

    def patient():
        try:
            yield from chain(1, 9)
        finally:
            closed.append(True)

    outcome = run(lambda: together([patient(), chain(0, 2)]), Model(fails=[(0, 0)]))
    assert isinstance(outcome.error, SamplerFailedError)
    assert closed == [True]


@pytest.mark.parametrize("samples", [0, 1, 3])
def test_the_end_of_a_budget_is_raised_in_those_left_without_an_answer(samples):
    outcome = run(lambda: together([bold(0, 1), bold(1, 3)]), Model(), Budget(samples=samples))
    done = run(partial(chain, 0, 1), Model()).value
    assert outcome.value == ["BudgetExhaustedError" if samples == 0 else done, "BudgetExhaustedError"]
    assert outcome.ledger.total.samples == samples
