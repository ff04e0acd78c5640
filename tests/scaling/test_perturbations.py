"""Perturbed prompts: what each does, what it costs, and diverse best-of-N against the closed form."""

import dataclasses
import functools

import numpy as np
import pytest

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Job
from jaxrl_suite.llm.ledger import Budget
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.protocol import Decoding, Message
from jaxrl_suite.llm.tabular import TabularSampler
from jaxrl_suite.scaling import best_of_n
from jaxrl_suite.scaling.diverse.perturbations import Combined, FromPool, IdeaInjection, Rewritten, Unchanged, insert
from jaxrl_suite.scaling.diverse.search import diverse_best_of_n
from jaxrl_suite.scaling.records import VisibleProblem

START, GOOD, BAD, END = range(4)
STYLES = (4, 5, 6)  # tokens of a prompt after which the answer is right with these probabilities
CHANCES = {START: 0.3, 4: 0.05, 5: 0.2, 6: 0.5}


def sampler(seed=0):
    """One token decides; it follows the first token of the prompt."""
    states = {START: 0, 4: 1, 5: 2, 6: 3}
    logits = np.full((6, 7), -np.inf, np.float32)
    for token, state in states.items():
        logits[state, GOOD], logits[state, BAD] = np.log(CHANCES[token]), np.log1p(-CHANCES[token])
    logits[4, END] = logits[5, END] = 0.0
    following = np.full((6, 7), 5)
    following[:4, GOOD] = following[:4, BAD] = 4
    for token, state in states.items():
        following[5, token] = state
    following[1:4, START] = np.arange(1, 4)  # a style stays when the start follows it
    return TabularSampler(logits, following, eos=END, start=5, seed=seed)


def problem(number=0, seed=0):
    return VisibleProblem(number, (START,), Decoding(max_tokens=2), seed=seed)


def rewards(answers):
    return [float(answer.tokens[0] == GOOD) for answer in answers]


def solve(perturbation, count, problems=4000, **options):
    def start(number, _):
        return diverse_best_of_n(problem(number), perturbation, count, **options)

    jobs = [Job(f"{i}", functools.partial(start, i)) for i in range(problems)]
    outcomes = run_lockstep(jobs, sampler(), {"reward": rewards})
    assert not any(outcome.error for outcome in outcomes)
    return outcomes


STYLE = FromPool(tuple((token,) for token in STYLES))


@pytest.mark.parametrize(
    ("perturbation", "exact"),
    [
        (STYLE, 1 - np.mean([0.95, 0.8, 0.5]) ** 3),  # 1 - (E f)^K
        (dataclasses.replace(STYLE, fixed=True), 1 - np.mean([0.95**3, 0.8**3, 0.5**3])),  # 1 - E f^K
        (Unchanged(), 1 - 0.7**3),
    ],
)
@pytest.mark.parametrize("stop", [True, False])
def test_solves_as_often_as_the_closed_form(perturbation, exact, stop):
    solved = np.mean([outcome.value.solved_after is not None for outcome in solve(perturbation, 3, stop=stop)])
    assert abs(solved - exact) < 4 * np.sqrt(exact * (1 - exact) / 4000)


def test_an_unchanged_prompt_is_best_of_n_draw_by_draw():
    jobs = [Job("plain", lambda _: best_of_n(problem(3, 5), 8, stop=False))]
    plain = run_lockstep(jobs, sampler(), {"reward": rewards})[0].value
    jobs = [Job("diverse", lambda _: diverse_best_of_n(problem(3, 5), Unchanged(), 8, stop=False))]
    assert run_lockstep(jobs, sampler(), {"reward": rewards})[0].value == plain


def test_an_idea_is_drawn_injected_and_paid():
    thinker = IdeaInjection(("main",), length=1, mark=(6,))
    outcome = solve(thinker, 2, problems=1, stop=False)[0]
    rows = {row["role"]: row for row in outcome.ledger.rows()}
    assert rows["idea"]["samples"] == rows["solve"]["samples"] == 2
    assert rows["idea"]["output_tokens"] == 2
    asking = thinker(problem(), 0)
    question = next(asking)
    assert question.request.role == "idea"
    assert question.request.decoding.max_tokens == 1


def test_parts_follow_each_other_and_draws_repeat():
    swap = Rewritten(lambda prompt, rng: tuple(rng.permutation(prompt).tolist()))
    long = dataclasses.replace(problem(), prompt=(1, 2, 3, 4, 5))
    both = Combined((swap, FromPool(((6,),))))

    def made(draw):
        with pytest.raises(StopIteration) as done:
            next(both(long, draw))
        return done.value.value

    prompts = [made(draw) for draw in range(20)]
    assert all(prompt[0] == 6 and sorted(prompt[1:]) == [1, 2, 3, 4, 5] for prompt in prompts)
    assert len(set(prompts)) > 10
    assert prompts == [made(draw) for draw in range(20)]


def test_sentences_go_in_front_of_text_and_into_the_first_message_of_the_user():
    assert insert("What?", "Think.") == "Think.\n\nWhat?"
    chat = (Message("system", "s"), Message("user", "What?"), Message("assistant", "a"))
    assert insert(chat, "Think.") == (chat[0], Message("user", "Think.\n\nWhat?"), chat[2])
    for prompt, addition in (((1, 2), "Think."), ("What?", (1,))):
        with pytest.raises(UserError, match="does not fit"):
            insert(prompt, addition)


def test_a_budget_that_ends_keeps_what_was_paid():
    def run(stop):
        job = Job("0", lambda _: diverse_best_of_n(problem(), STYLE, 50, stop=stop), Budget(samples=3))
        return run_lockstep([job], sampler(1), {"reward": lambda answers: [0.0] * len(answers)})[0]

    for stop in (True, False):
        outcome = run(stop)
        assert outcome.error is None
        assert len(outcome.value.solutions) == 3


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="pool is empty"):
        FromPool(())
    with pytest.raises(UserError, match="thinker"):
        IdeaInjection(())
    with pytest.raises(UserError, match="num_samples"):
        next(diverse_best_of_n(problem(), STYLE, 0))
