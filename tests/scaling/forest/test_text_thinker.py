"""The thinker on text: its prompts, what is read from answers, its roles, and a search with scripted models."""

import json

import numpy as np
import pytest

from jaxrl_suite.llm.jobs import Job
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.protocol import Capabilities, Completion, Reply, Usage
from jaxrl_suite.scaling.forest import Feedback, SfsConfig, refine_instructions, sfs, verbalized_sampling
from jaxrl_suite.scaling.forest.text import (
    THEMES,
    TextThinker,
    asserts_of,
    described,
    insights_of,
    verbalized,
)


def program(number):
    return f"```python\ndef f(x):\n    return x + {number}\n```"


class Words:
    """A model that answers by what it is asked; its programs add one more each time. Keeps the prompts."""

    capabilities = Capabilities(prefix=True, logprobs=False, seed=True, fork=False, tokens=False, text=True)

    def __init__(self, name):
        self.name, self.prompts, self.count = name, [], 0

    def score(self, pairs):
        raise ValueError("no scores")

    def sample(self, requests):
        replies = []
        for request in requests:
            asked = request.prefix[-1].content
            self.prompts.append((request.role, asked))
            if request.role == "idea":
                text = "1. Add one more.\n2. Use a loop that counts."
            elif request.role == "insight":
                text = "Reflections: it helped.\n\nInsights:\nAdding helps."
            elif request.role == "verbalize":
                text = "".join(f"probability: 0.{i + 1}\n{program(i)}\n" for i in range(3))
            elif request.role == "test":
                text = "```python\nassert f(1) == 4\nassert f(\nassert f(2) == 5\nprint(f(1))\n```"
            else:
                text = program(self.count)
                self.count += 1
            usage = Usage(1, 1, len(asked) // 4, 0, len(text) // 4)
            completions = (Completion(text, None, None, "stop", usage.output_tokens),)
            replies.append(Reply(completions, usage, usage))
        return replies


def verifier(items):
    """Three tests: x + 3 is wanted, and what comes close passes some."""
    found = []
    for item in items:
        near = int(item.text.split("+")[1]) if "+" in item.text else -9
        bits = tuple(near >= k for k in (1, 2, 3))
        found.append(Feedback(float(np.mean(bits)), bits, tuple(f"assert f(1) == 4  # case {k}, {near}" for k in bits)))
    return found


def run(method, samplers=None, **fields):
    models = samplers or {"main": Words("main")}
    thinker = TextThinker(0, 0, "Write f(x) that adds three.", "f", **fields)
    (outcome,) = run_lockstep([Job("a", lambda _: method(thinker))], models, {"tests": verifier})
    if outcome.error is not None:
        raise outcome.error
    return outcome, models


def test_a_search_in_words_with_a_model_for_each_role():
    models = {name: Words(name) for name in ("main", "ideas", "critic")}
    roles = {"idea": "ideas", "insight": "critic"}
    outcome, models = run(lambda t: sfs(t, SfsConfig(6, seeds=2)), models, models=roles)
    result = outcome.value
    assert result.submission.score == 1
    assert [node.score for node in result.nodes] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert result.way(result.submitted) == (1, 3)
    assert result.nodes[3].direction == "Use a loop that counts."
    assert result.insights == "Adding helps."
    assert {role for role, _ in models["ideas"].prompts} == {"idea"}
    assert {role for role, _ in models["critic"].prompts} == {"insight"}
    assert set(outcome.ledger.by_role) == {"solve", "idea", "edit", "insight", "test"}
    first, second = (text for role, text in models["main"].prompts if role == "solve")
    assert second == THEMES[1] + "\n\n" + first  # the first theme is none
    edits = [text for role, text in models["main"].prompts if role == "edit"]
    assert "Use a loop that counts." in edits[-1]
    assert "These tests fail:" in edits[-1]


def test_insights_reach_the_next_request_for_directions():
    def search(thinker):
        return sfs(thinker, SfsConfig(5, seeds=1, ideas=1))

    models = {"main": Words("main")}
    models["main"].count = -2
    _, models = run(search, models)
    asked = [text for role, text in models["main"].prompts if role == "idea"]
    assert "(nothing yet)" in asked[0]
    assert "Adding helps." in asked[1]
    _, models = run(lambda t: sfs(t, SfsConfig(4, seeds=1, ideas=1, scouting=False)))
    assert not any("Adding helps." in text for _, text in models["main"].prompts)


def test_verbalized_sampling_and_irri_in_words():
    outcome, _ = run(lambda t: verbalized_sampling(t, 3, batch=3))
    assert [node.score for node in outcome.value.nodes] == pytest.approx([2 / 3, 1 / 3, 0])  # most probable first
    assert outcome.ledger.by_role["verbalize"].requests == 1
    outcome, _ = run(lambda t: refine_instructions(t, 4, seeds=1))
    assert [node.parent for node in outcome.value.nodes[1:]] == [0, 0, 0]


def test_tests_that_the_model_writes_are_paid_for_and_parse():
    found = []

    def method(thinker):
        found.append((yield from thinker.tests(2)))

    outcome, _ = run(method)
    assert found == [("assert f(1) == 4", "assert f(2) == 5")]
    assert outcome.ledger.by_role["test"].requests == 1


def test_answers_are_read_whatever_they_are():
    assert verbalized(f"probability: 20%\n{program(1)}\nprobability: 0.5\n{program(2)}") == [
        ("def f(x):\n    return x + 2\n", 0.5), ("def f(x):\n    return x + 1\n", 0.2),
    ]  # fmt: skip
    assert [p for _, p in verbalized(f"{program(1)}\n{program(2)}\n{program(1)}")] == pytest.approx([1 / 3, 1 / 3])
    assert verbalized("no code at all") == []
    assert insights_of("Reflections:\nx\n**Insights:** y\nz") == "y\nz"
    assert insights_of("only words") == "only words"
    assert asserts_of("nothing") == []
    assert asserts_of("```python\nassert f(1) == 2\nassert (\n```") == ["assert f(1) == 2"]


def test_feedback_shows_five_of_each_kind_clipped():
    outputs = tuple(f"assert f({i}) == {'9' * 200}" for i in range(14))
    text = described(Feedback(0.5, tuple(i < 7 for i in range(14)), outputs)).splitlines()
    assert len(text) == 12
    assert text[0] == "These tests fail:"
    assert text[1].startswith("- assert f(7)")
    assert max(map(len, text)) <= 102
    assert described(Feedback(0.25)) == "25% of the tests pass."


def test_a_dollar_sign_in_a_program_stays():
    models = {"main": Words("main")}
    run(lambda t: sfs(t, SfsConfig(2, seeds=1)), models)
    assert "$" not in json.dumps(models["main"].prompts)


def test_a_thinker_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="problem is empty"):
        TextThinker(0, 0, " ")
    with pytest.raises(ValueError, match="entry"):
        next(TextThinker(0, 0, "x").tests(1))
