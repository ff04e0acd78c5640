"""The outer search over dialogue guides, judged by scenarios: one model writes, speaks and rates, and is asked once."""

import contextlib
import re

from fixtures.fake_server import FakeServer

from jaxrl_suite.avalonbench.dialogue import scenarios
from jaxrl_suite.avalonbench.dialogue.guides import Guide, seed_guide
from jaxrl_suite.evolve.evolve import search_job
from jaxrl_suite.evolve.journal import Journal, services
from jaxrl_suite.evolve.llm_proposer import Brief, LanguageModelProposer
from jaxrl_suite.evolve.methods import EvolveConfig
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.llm.http.config import HTTPConfig
from jaxrl_suite.llm.http.sampler import HTTPSampler
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.protocol import Capabilities, Completion, Reply, Usage
from jaxrl_suite.llm.recorder import Recorder
from jaxrl_suite.llm.recording import Recording
from jaxrl_suite.strategist.judge.guide import GUIDE, GuideJudge

SEED = seed_guide("minion").text
PROPOSER = LanguageModelProposer(Brief(GUIDE, "A worksheet for the minion of Avalon, filled in before it speaks."))
CONFIG = EvolveConfig(strategies=6, rounds=2, ideas=3, repairs=1)


class Actor:
    """Ideas are numbered. Number 1 adds a question that makes every speech believed; number 2 makes no worksheet."""

    name = "actor"
    capabilities = Capabilities(True, False, True, False, False, True)

    def __init__(self):
        self.asked: list[str] = []

    def sample(self, requests):
        self.asked += [request.role for request in requests]
        return [self._answer(self.say(one.role, "\n".join(part.content for part in one.prefix))) for one in requests]

    def say(self, role, prompt):
        if role == "rate":
            evil = -2 if "WHOM DO THEY TRUST" in prompt else 0
            return "\n".join(f"player {seat}: evil {evil}, merlin 0" for seat in range(5))
        if role in ("think", "speak"):
            return "WHOM DO THEY TRUST" if "whom do they trust" in prompt.lower() else "hm"
        if role == "ideas":
            known = prompt.count("- Do number")
            return "\n".join(f"{i + 1}. Do number {known + i}." for i in range(3))
        if role == "implement" and "Do number 2." not in prompt:
            sheet = re.findall(r"```\n(.*?)```", prompt, re.DOTALL)[0].strip()
            count = len(Guide.parse("minion", sheet).questions)
            added = "Whom do they trust?" if "Do number 1." in prompt else "Is it raining?"
            return f"Here it is:\n```\n{sheet}\n{count + 1}. {added}\n```"
        return "I had rather not."

    def _answer(self, text):
        usage = Usage(samples=1, requests=1, prompt_tokens=1, output_tokens=1)
        return Reply((Completion(text, None, None, "stop", 1),), usage, usage)

    def score(self, pairs):
        raise NotImplementedError


def search(make, folder):
    """A whole search by the sampler that `make` makes from a recording; it judges its guides too."""
    told = tuple(one for one in scenarios.load() if one.role == "minion")[:2]
    with Recording(folder / "draws.jsonl") as draws, Journal(folder / "journal.jsonl") as journal:
        sampler, start = make(draws), [Strategy(0, "guide", SEED)]
        job = search_job("minion", CONFIG, PROPOSER, seeds=start, kind="guide", journal=journal)
        (outcome,) = run_lockstep([job], sampler, services(GuideJudge(sampler, "minion", told), journal))
    assert outcome.error is None, outcome.error
    return outcome.value


def test_guides_evolve_by_what_listeners_believe_and_resume_asks_for_nothing(tmp_path):
    model = Actor()
    found = search(lambda draws: Recorder(model, draws), tmp_path)
    assert "Whom do they trust?" in found.best.text
    assert SEED.strip() in found.best.text
    assert all(one.kind == "guide" for one in found.tree)
    gains = {found.queue[one.idea].text: one for one in found.tree if one.idea is not None}
    assert {"Do number 0.", "Do number 1."} <= set(gains)
    assert [gains[f"Do number {i}."].score for i in (0, 1)] == [0.0, 2.0]  # 2 is the highest
    assert found.tree.dropped
    assert all("no worksheet" in failure for one in found.tree.dropped for failure in one.failures)
    assert len(found.tree) + len(found.tree.dropped) == 1 + CONFIG.strategies
    assert set(model.asked) == {"conclusions", "ideas", "implement", "repair", "think", "speak", "rate"}
    again = Actor()
    assert search(lambda draws: Recorder(again, draws), tmp_path) == found
    assert again.asked == []


def test_a_server_that_talks_nonsense_makes_no_guide_and_breaks_nothing(tmp_path):
    with FakeServer(words="evil merlin 0 0") as server, contextlib.ExitStack() as stack:
        config = HTTPConfig(server.base_url, "fake")
        found = search(lambda draws: stack.enter_context(HTTPSampler(config, recording=draws)), tmp_path)
        paid = len(server.requests)
        again = search(lambda draws: stack.enter_context(HTTPSampler(config, recording=draws)), tmp_path)
        assert len(server.requests) == paid > 0
    assert again == found
    assert [one.id for one in found.tree] == [0]
    assert found.best.text == SEED
    assert len(found.tree.dropped) == CONFIG.strategies
