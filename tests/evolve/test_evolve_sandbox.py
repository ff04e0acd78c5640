"""What a bad model writes goes through the real sandbox: each is a failed idea with a line, and the search goes on."""

import dataclasses

import pytest
from fixtures.toy_strategies import ScriptedModel, ToyJudge

from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.evolve.evolve import search_job
from jaxrl_suite.evolve.journal import Journal, services
from jaxrl_suite.evolve.llm_proposer import Brief, LanguageModelProposer
from jaxrl_suite.evolve.methods import EvolveConfig
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.sandbox.export import EXPORT, EXPORT_LIMITS
from jaxrl_suite.sandbox.sandbox import Sandbox
from jaxrl_suite.strategist.heuristics.features import HEURISTIC
from jaxrl_suite.strategist.heuristics.pool import export_texts
from jaxrl_suite.strategist.heuristics.views import contract

GAME = Gops(3, objective="points")
GOOD = "def evaluate_state(view):\n    return view.scores, {'lead': view.scores[0] - view.scores[1]}\n"
BETTER = "def evaluate_state(view):\n    return view.scores + view.hands @ view.cards, {}\n"
ODD = {  # what the model writes, and a part of the line that is said about it
    "nonsense": ("I am sorry, Dave.", "holds no code"),
    "does not parse": ("```python\ndef evaluate_state(view:\n    return 1\n```", "SyntaxError"),
    "never terminates": ("```python\ndef evaluate_state(view):\n    while True:\n        pass\n```", "did not finish"),
    "not a number": ("```python\ndef evaluate_state(view):\n    return view.scores / 0 * 0, {}\n```", "not finite"),
    "wrong shape": ("```python\ndef evaluate_state(view):\n    return view.scores[0], {}\n```", ""),
    "reads files": ("```python\nimport os\ndef evaluate_state(view):\n    return view.scores, {}\n```", ""),
}


class SandboxedJudge(ToyJudge):
    """Plays on the toy's terms; checks for real."""

    def __init__(self, sandbox):
        super().__init__()
        self.sandbox, self.limits = sandbox, dataclasses.replace(EXPORT_LIMITS, seconds=8.0)

    def check(self, texts):
        self.checked += texts
        reports = export_texts(GAME, self.sandbox, texts, limits=self.limits)
        return ["" if report.function is not None else report.feedback for report in reports]


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(EXPORT, workers=2) as sandbox:
        yield sandbox


def test_every_kind_of_bad_answer_is_one_failed_idea(sandbox):
    kinds, journal = list(ODD), Journal()

    def write(role, prompt, rng):
        if role == "ideas":
            return "\n".join(f"{i}. {kind}." for i, kind in enumerate([*kinds, "a good one"], 1))
        if role == "implement":
            kind = next((kind for kind in kinds if f"\n{kind}.\n" in prompt), "")
            return ODD[kind][0] if kind else f"```python\n{BETTER}```"
        if role == "repair":
            return "```python\nimport this\n```"
        return f"```python\n{GOOD}```"

    size = len(kinds) + 1
    config = EvolveConfig(strategies=size, rounds=1, ideas=size, repairs=1)
    proposer = LanguageModelProposer(Brief(HEURISTIC, contract(GAME)))
    judge = SandboxedJudge(sandbox)
    (outcome,) = run_lockstep(
        [search_job("it", config, proposer, journal=journal)], ScriptedModel(write), services(judge, journal)
    )
    assert outcome.error is None
    search = outcome.value
    assert [one.text for one in search.tree] == [GOOD, BETTER]  # the good idea was carried out
    assert len(search.tree.dropped) == len(kinds)  # each of the others once: untried ideas come first
    for attempt in search.tree.dropped:
        kind = search.queue[attempt.idea].text.rstrip(".")
        first, second = attempt.failures
        assert ODD[kind][1] in first, kind
        assert first.strip()
        assert second.strip()
        assert "\n" not in first + second
    dropped = [event for event in journal.events("it") if event["event"] == "dropped"]
    assert [tuple(event["failures"]) for event in dropped] == [attempt.failures for attempt in search.tree.dropped]
    assert all(idea.count == 1 for idea in search.queue.ideas)
