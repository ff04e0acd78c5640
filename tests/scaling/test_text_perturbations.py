"""Questions in words, perturbed: what a thinker or narrator is asked, what the solver then gets, and who pays."""

import numpy as np
import pytest

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Job
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.protocol import Capabilities, Completion, Decoding, Message, Reply, Usage
from jaxrl_suite.scaling.diverse.perturbations import Combined
from jaxrl_suite.scaling.diverse.text_perturbations import Rephrased, TextIdeas, pool_from_file, question, sentences
from jaxrl_suite.scaling.records import VisibleProblem

CHAT = (Message("system", "Be brief."), Message("user", "Add 2 and 3."))


class Scripted:
    """Answers every request with its own question in brackets, and notes it."""

    capabilities = Capabilities(prefix=True, logprobs=False, seed=True, fork=False, tokens=False, text=True)

    def __init__(self, name):
        self.name, self.asked = name, []

    def sample(self, requests):
        self.asked += requests
        usage = Usage(samples=1, requests=1, prompt_tokens=5, output_tokens=3)
        text = [f"[{len(question(request.prefix))}]" for request in requests]
        return [Reply((Completion(t, np.zeros(0, np.int32), None, "stop", 3),), usage, usage) for t in text]

    def score(self, pairs):
        raise NotImplementedError


def made(perturbation, prompt=CHAT, draw=0, number=0):
    problem = VisibleProblem(number, prompt, Decoding(max_tokens=8))
    samplers = {name: Scripted(name) for name in ("main", "other")}
    (outcome,) = run_lockstep([Job("0", lambda _: perturbation(problem, draw))], samplers)
    assert outcome.error is None
    return outcome, samplers


def test_an_idea_stands_behind_the_question_and_is_paid():
    outcome, samplers = made(TextIdeas(("other",)))
    (asked,) = samplers["other"].asked
    assert not samplers["main"].asked
    assert "Add 2 and 3." in question(asked.prefix)
    assert "Do not give the final answer" in question(asked.prefix)
    system, user = outcome.value
    assert system == CHAT[0]
    assert user.content.startswith("Add 2 and 3.\n\nAn idea that may help")
    assert user.content.endswith(f"[{len(question(asked.prefix))}]")
    assert outcome.ledger.rows()[0]["role"] == "idea"


def test_other_words_take_the_place_of_the_question_and_a_translation_goes_two_ways():
    outcome, samplers = made(Rephrased())
    assert len(samplers["main"].asked) == 1
    assert question(outcome.value) == f"[{len(question(samplers['main'].asked[0].prefix))}]"
    outcome, samplers = made(Rephrased(languages=("Welsh",)))
    there, back = (question(request.prefix) for request in samplers["main"].asked)
    assert "into Welsh" in there
    assert "into English" in back
    assert f"[{len(there)}]" in back
    assert outcome.ledger.total.requests == 2


def test_several_thinkers_take_turns_by_chance_and_repeat():
    rounds = [
        [bool(made(TextIdeas(("main", "other")), draw=draw)[1]["other"].asked) for draw in range(20)] for _ in range(2)
    ]
    assert rounds[0] == rounds[1]
    assert 3 < sum(rounds[0]) < 17


def test_a_role_and_an_idea_combine():
    outcome, _ = made(Combined((sentences("role"), TextIdeas())))
    assert question(outcome.value).startswith("You ")
    assert "An idea that may help" in question(outcome.value)


def test_pools_have_no_entry_twice_and_can_be_ones_own(tmp_path):
    for name in ("role", "instruction", "nonsense"):
        for subject in ("code", "math", "reasoning"):
            pool = sentences(name, subject).pool
            assert len(set(pool)) == len(pool) >= 6
    path = tmp_path / "pool.txt"
    path.write_text("One.\n\n  Two.\n")
    assert pool_from_file(str(path)).pool == ("One.", "Two.")
    path.write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        pool_from_file(str(path))
    with pytest.raises(UserError, match="cannot read the pool"):
        pool_from_file(str(tmp_path / "none.txt"))
    with pytest.raises(UserError, match="unknown pool 'rolle'"):
        sentences("rolle")
    tokens = TextIdeas()(VisibleProblem(0, (1, 2), Decoding(max_tokens=1)), 0)
    with pytest.raises(UserError, match="question in text"):
        next(tokens)
