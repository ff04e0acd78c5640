"""Methods of `solve`: which search a name stands for, what it may cost, and its result in one form."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxrl_suite.errors import UserError
from jaxrl_suite.experiments.solve.config import VOTES, Config
from jaxrl_suite.experiments.solve.grading import final_answer
from jaxrl_suite.experiments.solve.problems import VisibleTask
from jaxrl_suite.llm.jobs import Algorithm
from jaxrl_suite.llm.ledger import Ledger
from jaxrl_suite.llm.parsing import code_of, fill
from jaxrl_suite.llm.protocol import Decoding, Message
from jaxrl_suite.scaling.disc import DiscConfig, disc
from jaxrl_suite.scaling.diverse.perturbations import Perturbation
from jaxrl_suite.scaling.diverse.search import diverse_best_of_n
from jaxrl_suite.scaling.diverse.text_perturbations import Rephrased, TextIdeas, pool_from_file, sentences
from jaxrl_suite.scaling.forest import (
    ForestResult,
    SfsConfig,
    fun_search,
    line_search,
    plain_tree,
    refine_instructions,
    rex,
    sfs,
    verbalized_sampling,
)
from jaxrl_suite.scaling.forest.text import PACKAGE, TextThinker
from jaxrl_suite.scaling.forest.trial import resample
from jaxrl_suite.scaling.records import ScalingResult, VisibleProblem
from jaxrl_suite.scaling.votes import majority_vote, self_consistency

# Most requests for a solution: directions are asked for up to six times before a generic one is taken.
MOST_REQUESTS = {"sfs": 8, "tree": 7, "irri": 3, "line": 2, "verbalized": 2, "div_idea": 2, "div_rephrase": 2}
TEST_TRIES, TALK = 20, 600  # requests for tests of one problem; tokens of a direction, an insight, tests, an idea
CHARACTERS_PER_TOKEN = 4  # of English and code, roughly; for the estimate alone
SYSTEM_ANSWER = "Solve the problem. Think step by step, then end with a line `Answer: ` and the answer alone."


class Found(NamedTuple):
    """Result of one search."""

    text: str  # the program, or the answer in words; "" if nothing was written
    score: float | None  # share of the visible tests that it passes; None if there are none
    trace: list[dict[str, Any]]  # solutions in the order in which they were written


class CostBound(NamedTuple):
    """Most that a run may ask for."""

    requests: int
    prompt_tokens: int
    output_tokens: int


def check_method(config: Config, tasks: list[VisibleTask]) -> None:
    """Refuses a method that the problems do not fit, and a pool that cannot be read.

    Raises:
      UserError: naming the problem.
    """
    if config.pool:
        pool_from_file(config.pool)
    if config.method in VOTES:
        odd = next((task for task in tasks if task.entry), None)
        if odd is not None:
            raise UserError(f"programs are not voted on, and problem {odd.id} asks for one: use --method best_of_n")
        return
    odd = next((task for task in tasks if not task.entry), None)
    if odd is not None:
        raise UserError(
            f"{config.method} grades programs, and problem {odd.id} names no entry: give the function that tests call, "
            f"or use --method {VOTES[0]}"
        )


def estimate(config: Config, tasks: list[VisibleTask]) -> CostBound:
    """An upper bound of what the problems may cost, tokens of prompts roughly."""
    asked = MOST_REQUESTS.get(config.method, 1)
    written = sum(config.method not in VOTES and not task.tests for task in tasks)
    searches = len(tasks) * len(config.seeds)
    requests = searches * config.samples * asked + TEST_TRIES * written
    longest = max(len(task.prompt) for task in tasks) // CHARACTERS_PER_TOKEN + 400
    if config.method in ("sfs", "line", "tree", "rex", "islands", "irri", "disc"):
        longest += config.max_tokens  # a program is shown, or held fixed
    talk = 1024 if config.method == "div_rephrase" else TALK
    output = searches * config.samples * (config.max_tokens + (asked - 1) * max(talk, TALK))
    if config.method == "verbalized":
        output = searches * config.samples * (asked + 4) * config.max_tokens
    output += written * TEST_TRIES * TALK
    total = CostBound(requests, requests * longest, output)
    if config.budget_tokens:
        most = config.budget_tokens * (searches + written)
        total = total._replace(prompt_tokens=min(total.prompt_tokens, most), output_tokens=min(output, most))
    return total


def thinker(config: Config, task: VisibleTask, number: int, seed: int) -> TextThinker:
    write = Decoding(max_tokens=config.max_tokens, temperature=config.temperature)
    talk = Decoding(max_tokens=TALK, temperature=config.temperature)
    return TextThinker(number, seed, task.prompt, task.entry, write=write, talk=talk)


def search(config: Config, task: VisibleTask, number: int, seed: int, ledger: Ledger) -> Algorithm:
    """The search on one problem."""
    name, most = config.method, config.samples
    problem = _problem(config, task, number, seed)
    if name == "majority":
        return majority_vote(problem, most, _said)
    if name == "self_consistency":
        return self_consistency(problem, most, _said)
    if name == "disc":
        return disc(problem, DiscConfig(most))
    if name.startswith("div_"):
        return diverse_best_of_n(problem, _perturbation(config), most)
    mind = thinker(config, task, number, seed)
    if name == "sfs":
        return sfs(mind, SfsConfig(most, seeds=max(1, most // 2)))
    if name == "rex":
        return rex(mind, most)
    if name == "islands":
        return fun_search(mind, most)
    if name == "irri":
        return refine_instructions(mind, most, seeds=max(1, most // 2))
    plain = {"best_of_n": resample, "line": line_search, "tree": plain_tree, "verbalized": verbalized_sampling}
    return plain[name](mind, most)


def found(config: Config, task: VisibleTask, result: ForestResult | ScalingResult) -> Found:
    """The result of any search in one form."""
    if isinstance(result, ForestResult):
        rows = [
            {
                "node": n.id,
                "parent": n.parent,
                "direction": n.direction,
                "score": n.score,
                "value": n.value,
                "text": n.text,
            }
            for n in result.nodes
        ]
        best = result.submission
        return Found("", None, rows) if best is None else Found(best.text, best.score, rows)
    voted = config.method in VOTES
    texts = ["".join(map(str, solution.tokens)) for solution in result.solutions]
    shown = texts if voted else [_program(text, task) for text in texts]
    scores = [None if voted else solution.reward for solution in result.solutions]
    rows = [
        {"node": i, "parent": None, "direction": "", "score": score, "value": score, "text": text}
        for i, (text, score) in enumerate(zip(shown, scores, strict=True))
    ]
    if result.best is None:
        return Found("", None, rows)
    place = result.solutions.index(result.best)
    return Found(shown[place], scores[place], rows)


def _program(text: str, task: VisibleTask) -> str:
    code = code_of(text, task.entry)
    return "" if code.problem else code.text


def _problem(config: Config, task: VisibleTask, number: int, seed: int) -> VisibleProblem:
    if config.method in VOTES:
        messages = (Message("system", SYSTEM_ANSWER), Message("user", task.prompt.strip()))
    else:
        # The form stands apart, so that what changes a question changes the question alone.
        form = f"Write a program that solves the problem. {fill(PACKAGE, 'form')}"
        messages = (Message("system", form), Message("user", task.prompt.strip()))
    decoding = Decoding(max_tokens=config.max_tokens, temperature=config.temperature)
    return VisibleProblem(number, messages, decoding, seed=seed)


def _perturbation(config: Config) -> Perturbation:
    if config.method == "div_pool":
        return pool_from_file(config.pool)
    if config.method == "div_idea":
        return TextIdeas()
    if config.method == "div_rephrase":
        return Rephrased()
    return sentences(config.method.removeprefix("div_"), config.subject)  # pyright: ignore[reportArgumentType]


def _said(units: Any) -> str | None:
    return final_answer("".join(map(str, units)))
