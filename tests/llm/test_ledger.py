"""Budgets hold whatever the concurrency, and what was paid for stays counted."""

import dataclasses
import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_suite.core.files import to_csv
from jaxrl_suite.llm.ledger import COLUMNS, Budget, Ledger
from jaxrl_suite.llm.protocol import Decoding, Request, Usage


def request(num_samples=1, max_tokens=10, prefix: tuple | str = (1, 2, 3), **options) -> Request:
    return Request(prefix, num_samples, Decoding(max_tokens), **options)


@pytest.mark.parametrize(
    ("budget", "samples", "tokens"),
    [
        (Budget(), 4, 10),
        (Budget(samples=3), 3, 10),
        (Budget(output_tokens=40), 4, 10),
        (Budget(output_tokens=39), 3, 10),
        (Budget(output_tokens=9), 1, 9),
        (Budget(total_tokens=25), 2, 10),  # 3 prompt tokens and 22 for the output
        (Budget(total_tokens=4), 1, 1),
        (Budget(prompt_tokens=3, requests=1, seconds=0.1), 4, 10),
    ],
)
def test_a_request_is_cut_to_what_is_left(budget, samples, tokens):
    granted = Ledger(budget).grant(request(4))
    assert granted == request(samples, tokens)


@pytest.mark.parametrize(
    "limit", ["samples", "requests", "prompt_tokens", "output_tokens", "total_tokens", "verifier_calls", "seconds"]
)
def test_nothing_is_granted_at_a_limit(limit):
    ledger = Ledger(Budget(**{limit: 0}))
    if limit == "verifier_calls":
        assert ledger.grant_calls(3) == 0
        assert ledger.reason() == "the budget of 0 verifier_calls is spent: raise it to go on"
        assert ledger.grant(request()) is not None
        return
    assert ledger.grant(request()) is None
    assert ledger.reason(request()) == f"the budget of 0 {limit} is spent: raise it to go on"
    assert ledger.total == Usage()


def test_the_prompt_counts_before_a_token_request_and_after_a_text_request():
    assert Ledger(Budget(prompt_tokens=2)).grant(request()) is None
    assert Ledger(Budget(total_tokens=3)).grant(request()) is None
    ledger = Ledger(Budget(prompt_tokens=2))
    granted = ledger.grant(request(prefix="three words long"))
    assert granted is not None
    ledger.settle(granted, Usage(samples=1, requests=1, prompt_tokens=3))
    assert ledger.left.prompt_tokens == 0
    assert ledger.grant(request(prefix="x")) is None


def test_what_is_in_flight_is_reserved_and_what_was_not_used_comes_back():
    ledger = Ledger(Budget(output_tokens=30))
    first = ledger.grant(request(2))
    assert ledger.left.output_tokens == 10
    assert ledger.grant(request(2), cut_tokens=False) == request(1)
    assert ledger.grant(request()) is None
    ledger.settle(first, Usage(samples=2, requests=1, prompt_tokens=3, output_tokens=5))
    assert ledger.left.output_tokens == 15
    assert ledger.grant(request(1, 16), cut_tokens=False) is None
    assert ledger.grant(request(1, 16)) == request(1, 15)
    assert ledger.total == Usage(samples=2, requests=1, prompt_tokens=3, output_tokens=5)


def test_only_what_was_granted_can_be_settled():
    ledger = Ledger()
    granted = ledger.grant(request())
    ledger.settle(granted, Usage())
    with pytest.raises(ValueError, match="settle what `grant` returned, once"):
        ledger.settle(granted, Usage(samples=1))
    assert ledger.total == Usage()


def test_what_is_set_aside_is_in_no_count_that_a_limit_knows():
    ledger = Ledger(Budget(output_tokens=20, verifier_calls=3))
    one = Usage(samples=1, requests=1, prompt_tokens=3, cached_tokens=2, output_tokens=6, verifier_calls=1, seconds=0.5)
    ledger.charge(one)
    ledger.charge(one)
    ledger.set_aside(one)
    assert ledger.total == dataclasses.replace(one, seconds=1.0, speculative_tokens=9)
    assert (ledger.left.output_tokens, ledger.left.verifier_calls) == (14, 2)
    again = Ledger.from_json(json.loads(json.dumps(ledger.to_json())))
    assert again.total == ledger.total
    ledger.set_aside(one)
    with pytest.raises(ValueError, match="cannot set 1 samples aside: it has 0"):
        ledger.set_aside(one)
    with pytest.raises(ValueError, match="'judge' cannot"):
        ledger.set_aside(one, "judge")
    assert ledger.total == Usage(seconds=1.0, speculative_tokens=18)


def test_discarded_tokens_are_part_of_the_output():
    ledger = Ledger()
    ledger.charge(Usage(output_tokens=5), "solve")
    ledger.discard(3, "solve")
    assert ledger.total == Usage(output_tokens=5, discarded_tokens=3)
    with pytest.raises(ValueError, match="cannot discard 3 tokens"):
        ledger.discard(3, "solve")
    with pytest.raises(ValueError, match="role 'judge' cannot discard"):
        ledger.discard(1, "judge")


def test_verifier_calls_are_cut():
    ledger = Ledger(Budget(verifier_calls=5))
    assert [ledger.grant_calls(3), ledger.grant_calls(3), ledger.grant_calls(3)] == [3, 2, 0]
    assert ledger.total.verifier_calls == 5


def test_rows_and_json_hold_every_column():
    ledger = Ledger(Budget(samples=7, seconds=1.5))
    ledger.charge(Usage(1, 2, 3, 4, 50, 6, 7, 0.1, 8), "solve")
    ledger.charge(Usage(samples=1, seconds=0.25), "idea")
    granted = ledger.grant(request())
    rows = ledger.rows()
    assert [row["role"] for row in rows] == ["idea", "solve", "total"]
    assert rows[2] == {"role": "total", **dict(zip(COLUMNS, (2, 2, 3, 4, 50, 6, 7, 0.35, 8), strict=True))}
    assert to_csv(rows).startswith("role,samples,requests,prompt_tokens,")
    again = Ledger.from_json(json.loads(json.dumps(ledger.to_json())))
    assert again.rows() == rows
    assert again.budget == ledger.budget
    assert again.left.samples == 5  # the request in flight has not been paid for
    ledger.settle(granted, Usage())


def test_a_negative_budget_is_refused():
    for limits in ({"samples": -1}, {"seconds": float("nan")}):
        with pytest.raises(ValueError, match="must be at least 0"):
            Budget(**limits)


@settings(deadline=None, max_examples=200)
@given(
    st.builds(Budget, *[st.none() | st.integers(0, 60)] * 5),
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 12), st.integers(0, 12), st.booleans()), max_size=30),
)
def test_no_order_of_grants_and_settlements_overruns_a_budget(budget, steps):
    ledger, flying = Ledger(budget), []
    for samples, tokens, used, settle_now in steps:
        granted = ledger.grant(request(samples, tokens))
        if granted is not None:
            assert granted.num_samples <= samples
            assert granted.decoding.max_tokens <= tokens
            flying.append((granted, used))
        if flying and settle_now:
            done, used = flying.pop(0)
            output = done.num_samples * min(used, done.decoding.max_tokens)
            ledger.settle(done, Usage(done.num_samples, 1, 3, 0, output))
    for done, _ in flying:  # the worst case
        ledger.settle(done, Usage(done.num_samples, 1, 3, 0, done.num_samples * done.decoding.max_tokens))
    for name in ("samples", "requests", "prompt_tokens", "output_tokens", "total_tokens"):
        limit = getattr(budget, name)
        assert limit is None or getattr(ledger.total, name) <= limit
    assert ledger._reserved == Usage()


def test_threads_never_overrun_a_budget_and_use_all_of_it():
    ledger = Ledger(Budget(samples=200, output_tokens=900))

    def work():
        while (granted := ledger.grant(request(3, 10))) is not None:
            ledger.settle(granted, Usage(granted.num_samples, 1, 3, 0, granted.num_samples * 4))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.total.samples == 200
    assert ledger.total.output_tokens == 800
