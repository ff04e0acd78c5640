"""What is read from a model's answers, whatever they look like, and what it is asked."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_suite.evolve.llm_proposer import Brief, LanguageModelProposer
from jaxrl_suite.evolve.proposer import Draft
from jaxrl_suite.evolve.records import KeyState, Strategy
from jaxrl_suite.llm import parsing
from jaxrl_suite.llm.protocol import Completion, Message, Reply, Usage
from jaxrl_suite.llm.questions import Sample
from jaxrl_suite.strategist.heuristics.features import HEURISTIC
from jaxrl_suite.strategist.judge.guide import GUIDE

GOOD = "def evaluate_state(view):\n    return view.scores, {}\n"
WORSE = "def evaluate_state(view):\n    return 0\n"


def block(code, language="python"):
    return f"```{language}\n{code}```"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (block(GOOD), GOOD),
        (f"First\n{block('x = 1')}\nthen\n{block(GOOD)}\nDone.", GOOD),
        (f"{block(WORSE)}\nor better\n{block(GOOD)}", GOOD),  # the last wins
        (f"{block(GOOD)}\nexample of use:\n{block('print(1)')}", GOOD),  # what defines the entry beats what does not
        (f"{block(GOOD)}\n```\n```", GOOD),  # an empty one at the end
        (f"Sure!\n```python\n{GOOD}", GOOD),  # never closed
        (f"~~~py\n{GOOD}~~~", GOOD),
        (f"````\n{GOOD}````", GOOD),
        (f"```python\nx = 1\n```python\n{GOOD}```", GOOD),
        (f"import math\n\n{GOOD}", f"import math\n\n{GOOD}"),
        (f"Here it is:\n\n{GOOD}", GOOD),
        (f"<think>```python\nwrong```</think>{block(GOOD)}", GOOD),
        ("```python\r\n" + GOOD.replace("\n", "\r\n") + "```", GOOD.replace("\n", "\r\n")),
    ],
)
def test_code_is_found(answer, expected):
    found = parsing.code_of(answer, "evaluate_state")
    assert found.problem == ""
    assert found.text.strip().splitlines() == expected.strip().splitlines()


@pytest.mark.parametrize("answer", ["", "I cannot do that.", "```\n```", "def other(x):\n    return 1", "```python"])
def test_an_answer_without_code_says_so(answer):
    assert "holds no code" in parsing.code_of(answer, "evaluate_state").problem


def test_code_that_is_too_long_is_cut_and_refused():
    found = parsing.code_of(block("x" * 50_000), "evaluate_state")
    assert "shorten" in found.problem
    assert len(found.text) == parsing.MAX_CODE


@pytest.mark.parametrize(
    ("answer", "count", "expected"),
    [
        ("1. Count high cards.\n2. Count low cards.", 5, ("Count high cards.", "Count low cards.")),
        ("Ideas:\n- **Count** high\n  cards\n- b", 2, ("Count high cards", "b")),
        ("Idea 1: a thing\nIdea 2: another", 1, ("a thing",)),
        ("(1) a thing\n2) another\n2) another", 9, ("a thing", "another")),
        ("Count the\nhigh cards.\n\nAnd the low ones.", 9, ("Count the high cards.", "And the low ones.")),
        ("<think>1. no</think>1. yes", 2, ("yes",)),
        ("", 3, ()),
        ("1. ...\n\n2. 42", 3, ()),
    ],
)
def test_ideas_are_found(answer, count, expected):
    assert parsing.ideas_of(answer, count) == expected


def test_worksheets_are_found():
    sheet = "Think first.\n1. Who?\n2. Why?\n"
    assert parsing.worksheet_of(f"Sure:\n```\n{sheet}```\nbye").text == sheet
    assert parsing.worksheet_of("Here:\n1. Who?\n2. Why?").text == "1. Who?\n2. Why?\n"
    assert "no worksheet" in parsing.worksheet_of("I would rather not.").problem


@given(st.text(alphabet=st.sampled_from("`~\n 1.-def evaluate_state(view):<think>/pytho*"), max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_answer_is_too_odd(answer):
    parsing.code_of(answer, "evaluate_state")
    parsing.worksheet_of(answer)
    assert len(parsing.ideas_of(answer, 3)) <= 3
    assert len(parsing.prose_of(answer, 10)) <= 10


def test_a_megabyte_of_anything_is_read_in_no_time():
    """Patterns that look back over blanks again and again would take hours."""
    size, before = 1_000_000, time.process_time()
    for answer in ("\n" * size, "- " + " " * size, "```python\n" + "\n" * size, "1 " * size, "`" * size, "*" * size):
        assert len(parsing.code_of(answer, "evaluate_state").text) <= parsing.MAX_CODE + 1
        assert len(parsing.worksheet_of(answer).text) <= parsing.MAX_CODE + 1
        assert all(len(idea) <= parsing.MAX_IDEA for idea in parsing.ideas_of(answer, 3))
        assert len(parsing.prose_of(answer)) <= parsing.MAX_PROSE
    assert time.process_time() - before < 20


# What is asked.


def drive(asking, *answers, finish="stop"):
    """The requests of a generator that is given these answers, and its result."""
    requests, answers = [], list(answers)
    try:
        question = next(asking)
        while True:
            assert isinstance(question, Sample)
            requests.append(question.request)
            completion = Completion(answers.pop(0), None, None, finish, 7)
            question = asking.send(Reply((completion,), Usage(), Usage()))
    except StopIteration as stop:
        return requests, stop.value


@pytest.fixture(params=[HEURISTIC, GUIDE], ids=lambda kind: kind.name)
def proposer(request):
    return LanguageModelProposer(Brief(request.param, "The rules of the game: $5 a point."))


def test_every_call_is_a_prompt_of_its_own_stream(proposer):
    strategy = Strategy(3, proposer.brief.kind.name, "THE TEXT with $dollars", thought="THE PLAN")
    state = KeyState(3, "THE STATE", (1.0, 2.0), {"lead": 0.25}, (3.0, 4.0), (5.0, -5.0))
    path = (9, 1, 2, 0)
    text = block(GOOD) if proposer.brief.kind.name == "heuristic" else "```\n1. Who?\n```"
    calls = {
        "conclusions": drive(proposer.conclusions(strategy, [state], path), "I conclude."),
        "ideas": drive(proposer.ideas(strategy, "CONCLUDED", ["OLD IDEA"], 2, path), "1. one\n2. two\n3. three"),
        "revise": drive(proposer.revise(strategy, "CONCLUDED", path), "a plan"),
        "implement": drive(proposer.implement(strategy, "THE IDEA", path), text),
        "follow": drive(proposer.follow(strategy, "NEW PLAN", path), text),
        "repair": drive(proposer.repair(Draft("BAD TEXT"), "line 3: boom", path), text),
    }
    expected = {
        "conclusions": ("THE TEXT with $dollars", "THE STATE", "lead = 0.25", "1, 2", "3, 4", "5, -5"),
        "ideas": ("THE TEXT", "CONCLUDED", "OLD IDEA", "2 different ideas"),
        "revise": ("THE TEXT", "THE PLAN", "CONCLUDED"),
        "implement": ("THE TEXT", "THE IDEA"),
        "follow": ("THE TEXT", "NEW PLAN"),
        "repair": ("BAD TEXT", "line 3: boom"),
    }
    for name, ([request], _) in calls.items():
        system, user = request.prefix
        assert (type(user), user.role, request.role) == (Message, "user", name)
        assert "The rules of the game: $5 a point." in system.content
        for words in expected[name]:
            assert words in user.content, name
        if proposer.brief.kind.name == "guide":
            assert "python" not in user.content
            assert "function" not in user.content.replace("THE", ""), name
    assert len({requests[0].path for requests, _ in calls.values()}) == len(calls)
    assert calls["ideas"][1] == ("one", "two")
    assert calls["revise"][1] == "a plan"
    assert calls["implement"][1] == Draft(
        GOOD if proposer.brief.kind.name == "heuristic" else "1. Who?\n", thought="THE PLAN"
    )
    assert calls["follow"][1].thought == "NEW PLAN"


def test_a_seed_is_thought_over_first(proposer):
    text = block(GOOD) if proposer.brief.kind.name == "heuristic" else "```\n1. Who?\n```"
    (first, second), draft = drive(proposer.seed((0, 0, 0, 0)), "count the cards", text)
    assert "count the cards" in second.prefix[1].content
    assert draft.thought == "count the cards"
    assert first.path != second.path


def test_answers_without_use_become_drafts_with_a_problem():
    proposer = LanguageModelProposer(Brief(HEURISTIC, "rules"))
    strategy = Strategy(0, "heuristic", GOOD)
    for answer, finish, problem in [
        ("no", "stop", "holds no code"),
        ("", "filter", "the server refused"),
        (None, "stop", "empty"),
        (f"```python\n{GOOD}", "length", "cut off after 7 tokens"),
    ]:
        _, draft = drive(proposer.implement(strategy, "x", (0, 0, 0, 0)), answer, finish=finish)
        assert problem in draft.problem
        assert isinstance(draft.text, str)


def test_a_brief_must_say_something():
    with pytest.raises(ValueError, match="task is empty"):
        Brief(HEURISTIC, " ")
    with pytest.raises(ValueError, match="such as HEURISTIC or GUIDE"):
        Brief("poem", "x")
