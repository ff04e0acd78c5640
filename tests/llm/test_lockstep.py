"""What a job obtains does not depend on its batch, its budget holds, and its failure is its own."""

import contextlib
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_suite.llm.jobs import Job, SamplerFailedError
from jaxrl_suite.llm.ledger import Budget, BudgetExhaustedError
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.protocol import Capabilities, Completion, Decoding, Reply, Request, Usage
from jaxrl_suite.llm.questions import Sample, Verify
from jaxrl_suite.llm.recorder import Recorder
from jaxrl_suite.llm.recording import Recording, RecordingError
from jaxrl_suite.llm.tabular import TabularSampler

LENGTHS = Decoding(max_tokens=8)


@functools.cache
def model() -> TabularSampler:
    rng = np.random.default_rng(0)
    return TabularSampler(rng.normal(size=(3, 4)), rng.integers(0, 3, (3, 4)), eos=0, seed=5)


class Sampler:
    """Draw d of path p is text "p.d" of 1 to max_tokens tokens; remembers its calls, and can fail."""

    name = "stub"
    capabilities = Capabilities(True, False, True, False, False, True)

    def __init__(self, fails=(), refuses=(), exhausted=()):
        self.calls, self.fails, self.refuses, self.exhausted = [], fails, refuses, exhausted

    def sample(self, requests):
        if any(request.path in self.refuses for request in requests):
            raise ValueError("no such prefix")
        self.calls.append([(request.path, request.num_samples) for request in requests])
        return [self.reply(request) for request in requests]

    def reply(self, request):
        tired = request.path in self.fails or request.path in self.exhausted
        draws = range(
            request.first_draw, request.first_draw + (request.num_samples // 2 if tired else request.num_samples)
        )
        completions = tuple(self.completion(request, draw) for draw in draws)
        usage = Usage(len(draws), 1, 3, 0, sum(c.num_tokens for c in completions))
        error = "the server is gone" if request.path in self.fails else "all is spent" if tired else None
        return Reply(completions, usage, usage, error, exhausted=request.path in self.exhausted)

    def completion(self, request, draw):
        length = min(1 + (7 * draw + 3 * sum(request.path)) % 5, request.decoding.max_tokens)
        return Completion(f"{min(request.path)}.{draw}", None, None, "stop", length)

    def score(self, pairs):
        raise NotImplementedError


def lengths(items):
    return [len(item) for item in items]


def search(problem, block, ledger):
    """An adaptive search: what it asks next depends on what it got, and it discards what is over."""
    best = (-1, (0,))
    prefix, found = (1 + problem % 3,), []
    try:
        for node in range(6):
            reply = yield Sample(Request(prefix, block, LENGTHS, path=(problem, node), role=f"depth{node % 2}"))
            texts = tuple(tuple(completion.tokens.tolist()) for completion in reply.completions)
            side = Sample(Request((2,), 1, LENGTHS, path=(problem, node, 9), role="idea"))
            verdicts, idea = yield Verify("lengths", texts), side
            ranked = sorted(zip(verdicts.values, texts, strict=False))
            found += [texts, verdicts.values, [completion.tokens.tolist() for completion in idea.completions]]
            best = max([best, *ranked])
            if len(ranked) > 1:
                ledger.discard(len(ranked[0][1]), f"depth{node % 2}")
            prefix = (*prefix, best[1][0])
    except BudgetExhaustedError as error:
        found.append(str(error))
    return best, found


def ending(outcome):
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in outcome.ledger.rows()]
    return outcome.name, outcome.value, repr(outcome.error), rows


BUDGETS = st.builds(
    Budget,
    samples=st.none() | st.integers(0, 12),
    requests=st.none() | st.integers(0, 8),
    output_tokens=st.none() | st.integers(0, 40),
    total_tokens=st.none() | st.integers(0, 60),
    verifier_calls=st.none() | st.integers(0, 12),
)


@settings(deadline=None, max_examples=10)
@given(st.lists(BUDGETS, min_size=1, max_size=4), st.integers(1, 4), st.integers(1, 3))
def test_results_do_not_depend_on_the_batch(budgets, block, max_batch):
    jobs = [Job(f"{i}", functools.partial(search, i, block), budget) for i, budget in enumerate(budgets)]
    together, alone = [], []
    run_lockstep(jobs, model(), {"lengths": lengths}, on_done=together.append)
    for job in jobs:
        alone += run_lockstep([job], model(), {"lengths": lengths}, max_batch=1)
    chunks = run_lockstep(jobs, model(), {"lengths": lengths}, max_batch=max_batch)
    assert [ending(outcome) for outcome in chunks] == [ending(outcome) for outcome in alone]
    assert sorted(map(repr, map(ending, together))) == sorted(map(repr, map(ending, alone)))
    for budget, outcome in zip(budgets, alone, strict=True):
        assert outcome.error is None
        for limit in ("samples", "requests", "output_tokens", "total_tokens", "verifier_calls"):
            most = getattr(budget, limit)
            assert most is None or getattr(outcome.ledger.total, limit) <= most


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 9),
    st.builds(Budget, samples=st.none() | st.integers(0, 9), output_tokens=st.none() | st.integers(0, 40)),
    st.integers(1, 9),
)
def test_a_block_is_what_its_samples_are_one_by_one(total, budget, max_tokens):
    def draw(block, ledger):
        got = []
        try:
            for first in range(0, total, block):
                size = min(block, total - first)
                request = Request("x", size, Decoding(max_tokens), path=(4,), first_draw=first)
                reply = yield Sample(request)
                got += [(completion.text, completion.num_tokens) for completion in reply.completions]
        except BudgetExhaustedError:
            pass
        return got

    jobs = [Job(f"{block}", functools.partial(draw, block), budget) for block in {1, 2, total}]
    one, *_, whole = outcomes = run_lockstep(jobs, Sampler())
    assert all(outcome.value == one.value for outcome in outcomes)
    assert one.ledger.total.output_tokens == whole.ledger.total.output_tokens
    limit = budget.output_tokens
    if budget.samples is None and len(one.value) < total:
        assert one.ledger.total.output_tokens == limit  # all of it was used


def ask(question, *more):
    """A job that asks a question, or several at once, and returns the answer."""

    def start(ledger):
        return (yield (question, *more) if more else question)

    return start


def sample(i=0, num_samples=2, sampler="main", **options):
    return Sample(Request("x", num_samples, LENGTHS, path=(i,), **options), sampler)


def test_a_round_is_one_call_of_each_service():
    main, editor, judged = Sampler(), Sampler(), []

    def judge(items):
        judged.append(list(items))
        return items

    def two_rounds(i, ledger):
        first = yield sample(i, 1), sample(i, 2, "editor")
        second = yield Verify("judge", (i, i)), sample(i, 3)
        return len(first), second[0].values

    jobs = [Job(f"{i}", functools.partial(two_rounds, i)) for i in range(3)]
    outcomes = run_lockstep(jobs, {"main": main, "editor": editor}, {"judge": judge})
    assert main.calls == [[((0,), 1), ((1,), 1), ((2,), 1)], [((0,), 3), ((1,), 3), ((2,), 3)]]
    assert editor.calls == [[((0,), 2), ((1,), 2), ((2,), 2)]]
    assert judged == [[0, 0, 1, 1, 2, 2]]
    assert [outcome.value for outcome in outcomes] == [(2, (i, i)) for i in range(3)]
    assert outcomes[0].ledger.total == Usage(
        6, 3, 9, 0, outcomes[0].ledger.total.output_tokens, 0, 2, pytest.approx(0, abs=5)
    )


def test_outcomes_are_given_as_jobs_finish():
    order = []

    def short_or_long(rounds, ledger):
        for node in range(rounds):
            yield sample(node)
        return rounds

    jobs = [Job(f"{rounds}", functools.partial(short_or_long, rounds)) for rounds in (3, 0, 2)]
    outcomes = run_lockstep(jobs, Sampler(), on_done=lambda outcome: order.append(outcome.name))
    assert order == ["0", "2", "3"]
    assert [outcome.value for outcome in outcomes] == [3, 0, 2]


def test_a_job_that_raises_does_not_disturb_the_others():
    def breaks(ledger):
        yield sample()
        raise RuntimeError("a bug")

    def cannot_start(ledger):
        raise TypeError("no problem given")

    jobs = [Job("a", breaks), Job("b", ask(sample(1))), Job("c", cannot_start)]
    bad, good, worse = run_lockstep(jobs, Sampler())
    assert str(bad.error) == "a bug"
    assert (bad.value, bad.ledger.total.samples, bad.fresh.samples) == (None, 2, 2)
    assert len(good.value.completions) == 2
    assert isinstance(worse.error, TypeError)


def test_a_request_that_is_refused_is_its_jobs_error_and_costs_nothing():
    def recovers(ledger):
        try:
            yield sample(7)
        except ValueError as error:
            return str(error)

    sampler = Sampler(refuses=[(7,)])
    jobs = [Job("a", ask(sample(0))), Job("b", ask(sample(7))), Job("c", recovers)]
    good, bad, recovered = run_lockstep(jobs, sampler)
    assert len(good.value.completions) == 2
    assert str(bad.error) == "no such prefix"
    assert recovered.value == "no such prefix"
    assert bad.ledger.total == Usage()
    assert bad.ledger.left == Budget()
    assert sampler.calls == [[((0,), 2)]]


def test_a_model_that_fails_is_raised_with_what_was_paid():
    sampler = Sampler(fails=[(7,)])

    def recovers(ledger):
        try:
            yield sample(0), sample(7)
        except SamplerFailedError as error:
            return [len(answer.completions) for answer in error.answers]

    bad, recovered = run_lockstep([Job("a", ask(sample(7))), Job("b", recovers)], sampler)
    assert isinstance(bad.error, SamplerFailedError)
    assert str(bad.error) == "the server is gone"
    assert recovered.value == [2, 1]
    assert bad.ledger.total.samples == 1
    assert recovered.ledger.total.samples == 3


def test_a_samplers_own_budget_ends_a_job_as_its_own_does():
    sampler = Sampler(exhausted=[(7,)])
    jobs = [Job("a", ask(sample(7, 3))), Job("b", ask(sample(7, 1)))]
    part, nothing = run_lockstep(jobs, sampler)
    assert (len(part.value.completions), part.value.exhausted) == (1, True)
    assert isinstance(nothing.error, BudgetExhaustedError)
    assert str(nothing.error) == "all is spent"


def test_a_budget_cuts_what_is_asked_in_the_order_of_the_questions():
    questions = sample(0, 2), sample(1, 4), Verify("lengths", ("a", "bb", "ccc"))
    budget = Budget(samples=4, verifier_calls=2)
    outcome = run_lockstep([Job("a", ask(*questions), budget)], Sampler(), {"lengths": lengths})[0]
    first, second, verdicts = outcome.value
    assert [completion.text for completion in first.completions] == ["0.0", "0.1"]
    assert [completion.text for completion in second.completions] == ["1.0", "1.1"]
    assert (first.exhausted, second.exhausted) == (False, True)
    assert second.error == "the budget of 4 samples is spent: raise it to go on"
    assert (verdicts.values, verdicts.exhausted) == ((1, 2), True)
    assert verdicts.error == "the budget of 2 verifier_calls is spent: raise it to go on"


def test_a_spent_budget_is_raised_and_may_be_answered_with_another_question():
    def stubborn(ledger):
        best = yield sample(0, 3)
        try:
            yield sample(1)
        except BudgetExhaustedError as error:
            verdicts = yield Verify("lengths", ("four",))
            return len(best.completions), verdicts.values, str(error)

    outcome = run_lockstep([Job("a", stubborn, Budget(samples=3))], Sampler(), {"lengths": lengths})[0]
    assert outcome.value == (3, (4,), "the budget of 3 samples is spent: raise it to go on")
    unheard = run_lockstep([Job("a", ask(sample()), Budget(requests=0))], Sampler())[0]
    assert isinstance(unheard.error, BudgetExhaustedError)

    def endless(ledger):
        while True:
            with contextlib.suppress(BudgetExhaustedError):
                yield sample()

    outcome = run_lockstep([Job("a", endless, Budget(samples=1))], Sampler())[0]
    assert "after its budget was spent: let it return" in str(outcome.error)
    assert outcome.ledger.total.samples == 1


def test_a_verifier_that_breaks_is_the_error_of_the_job_whose_item_it_was():
    def fragile(items):
        if "bomb" in items:
            raise RuntimeError("boom")
        return items

    jobs = [Job("a", ask(Verify("v", ("x",)))), Job("b", ask(Verify("v", ("y", "bomb"))))]
    good, bad = run_lockstep(jobs, Sampler(), {"v": fragile})
    assert good.value.values == ("x",)
    assert str(bad.error) == "boom"
    short = run_lockstep(jobs[:1], Sampler(), {"v": lambda items: []})[0]
    assert "gave 0 verdicts on 1 items" in str(short.error)


def test_seconds_of_a_verifier_are_charged_by_items():
    ticks = iter([0.0, 4.0])
    jobs = [Job("a", ask(Verify("v", ("x",), role="judge"))), Job("b", ask(Verify("v", ("y", "z", "w"))))]
    one, two = run_lockstep(jobs, Sampler(), {"v": list}, clock=lambda: next(ticks))
    assert one.ledger.by_role == {"judge": Usage(verifier_calls=1, seconds=1.0)}
    assert two.ledger.by_role == {"solve": Usage(verifier_calls=3, seconds=3.0)}


@pytest.mark.parametrize(
    ("question", "match"),
    [
        ("text", "yield Sample or Verify"),
        (sample(sampler="mian"), "Did you mean main"),
        (Verify("lenghts", (1,)), "Did you mean lengths"),
    ],
)
def test_questions_that_no_one_can_answer(question, match):
    closed = []

    def asks(ledger):
        try:
            yield question
        finally:
            closed.append(True)

    outcome = run_lockstep([Job("a", asks)], Sampler(), {"lengths": lengths})[0]
    assert match in str(outcome.error)
    assert closed == [True]


@pytest.mark.parametrize("start", [lambda ledger: 5, lambda ledger: [sample()], lambda ledger: iter([sample()])])
def test_an_algorithm_that_is_no_generator_is_its_jobs_error(start):
    bad, good = run_lockstep([Job("a", start), Job("b", ask(sample(1)))], Sampler())
    assert "a starts with a" in str(bad.error)
    assert "write its algorithm with yield" in str(bad.error)
    assert len(good.value.completions) == 2


@pytest.mark.parametrize("clean_up", ["asks", "raises"])
def test_an_algorithm_that_does_not_let_itself_be_ended(clean_up):
    def stubborn(ledger):
        try:
            yield "nonsense"
        finally:
            if clean_up == "raises":
                raise RuntimeError("clean-up")
            yield sample()

    bad, good = run_lockstep([Job("a", stubborn), Job("b", ask(sample(1)))], Sampler())
    assert "yield Sample or Verify" in str(bad.error)
    assert len(good.value.completions) == 2


def test_arguments_that_cannot_work():
    with pytest.raises(ValueError, match="2 jobs have 1 names"):
        run_lockstep([Job("a", ask(sample()))] * 2, Sampler())
    with pytest.raises(ValueError, match="max_batch must be at least 1"):
        run_lockstep([], Sampler(), max_batch=0)
    with pytest.raises(ValueError, match="at least one item"):
        Verify("v", ())
    with pytest.raises(ValueError, match=r"got a generator: write tuple\(\.\.\.\)"):
        Verify("v", (i for i in range(3)))
    assert run_lockstep([], Sampler()) == []


def test_an_interrupt_closes_the_jobs():
    closed = []

    def waits(ledger):
        try:
            yield sample()
        finally:
            closed.append(True)

    class Interrupted(Sampler):
        def sample(self, requests):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_lockstep([Job("a", waits), Job("b", waits)], Interrupted())
    assert closed == [True, True]


def test_a_recording_that_cannot_be_written_stops_the_run():
    class Full(Sampler):
        def sample(self, requests):
            super().sample(requests)
            raise RecordingError("cannot write")

    sampler = Full()
    with pytest.raises(RecordingError):
        run_lockstep([Job("a", ask(sample())), Job("b", ask(sample(1)))], sampler)
    assert len(sampler.calls) == 1


def test_a_run_over_a_recording_takes_the_same_way_and_pays_nothing(tmp_path):
    jobs = [Job(f"{i}", functools.partial(search, i, 3), Budget(output_tokens=30 + 9 * i)) for i in range(3)]
    with Recording(tmp_path / "r.jsonl") as recording:
        sampler = Recorder(model(), recording)
        first = run_lockstep(jobs, sampler, {"lengths": lengths})
    with Recording(tmp_path / "r.jsonl") as recording:
        again = run_lockstep(jobs, Recorder(model(), recording), {"lengths": lengths})
    assert [ending(outcome) for outcome in again] == [ending(outcome) for outcome in first]
    for outcome, later in zip(first, again, strict=True):
        assert outcome.fresh.samples == outcome.ledger.total.samples > 0
        assert later.fresh == Usage()


def test_a_sample_that_the_budget_cut_short_says_so():
    """Its finish is "length", as if the algorithm had asked for so few tokens: the reply tells the difference."""
    endless = TabularSampler(np.array([[-np.inf, 0.0, 0.0]]), np.zeros((1, 3), int), eos=0, seed=5)

    def ask(ledger):
        return (yield Sample(Request((1,), 3, LENGTHS)))

    jobs = [Job("cut", ask, Budget(output_tokens=20)), Job("whole", ask, Budget(output_tokens=24))]
    cut, whole = (outcome.value for outcome in run_lockstep(jobs, endless))
    assert [len(c.tokens) for c in cut.completions] == [8, 8, 4]
    assert cut.exhausted
    assert "budget" in cut.error
    assert [len(c.tokens) for c in whole.completions] == [8, 8, 8]
    assert (whole.exhausted, whole.error) == (False, None)
