"""Searches for dialogue guides with a language model, and what the guides found are worth in unseen scenarios.

The methods of Strategist write equally many guides, from the same seed guide, and are judged by about equally many
speeches. In the evaluation all guides of a seed speak in the same scenarios, which no search has seen.

Shapes: `S` seeds, `A` methods, `G` = 1 + A guides (the seed guide, then what each method found), `H` scenarios a seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxrl_suite.avalonbench.dialogue.guides import Guide, seed_guide
from jaxrl_suite.avalonbench.dialogue.scenarios import Scenario, generate
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.evolve.attempts import SearchSetup
from jaxrl_suite.evolve.journal import Journal, services
from jaxrl_suite.evolve.llm_proposer import Brief, LanguageModelProposer
from jaxrl_suite.evolve.methods import METHODS, PRESETS, EvolveConfig, Search
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.evolve.rounds import Planned, search_rounds
from jaxrl_suite.llm.jobs import SamplerFailedError
from jaxrl_suite.llm.protocol import Usage
from jaxrl_suite.llm.recording import Recording
from jaxrl_suite.llm.run_sampler import as_user_error, draws_path, open_sampler
from jaxrl_suite.strategist.judge.guide import GUIDE, GuideJudge, Trial, contract

if TYPE_CHECKING:
    from jaxrl_suite.experiments.avalon_dialogue.config import Config, RoleName

GAME = Avalon(5)
SEARCHED = 0  # seed of the scenarios that searches are judged on, which come with the suite
KEY_STATES = 3  # scenarios of each guide that its proposer is shown
PARTS = ("score", "good", "merlin")  # of a speech, see `GuideScore`


class SpeechExample(NamedTuple):
    """One unseen scenario, and what two guides made of it."""

    scenario: Scenario
    trials: tuple[Trial, Trial]  # of the seed guide, and of the best


class RoleSearches(NamedTuple):
    """The searches of one role and their evaluation.

    Args:
      role: whose guides they are.
      searches: by method, one a seed.
      scores: float[S, G, H, 3], of the speeches in unseen scenarios, `PARTS`.
      unread: float[S, G, H], share of the answers to a speech's questions that could not be read.
      example: what the best guide, that with the largest gain, says.
      usage: all that was paid, by role of the request.
    """

    role: RoleName
    searches: dict[str, list[Search]]
    scores: np.ndarray
    unread: np.ndarray
    example: SpeechExample
    usage: dict[str, Usage]

    @property
    def gains(self) -> np.ndarray:
        """float[S, A], over the seed guide in the same scenarios, a mean over them."""
        return over_seed(self.scores)

    @property
    def best(self) -> tuple[int, int]:
        """(place of the seed, place of the method) of the guide with the largest gain."""
        return largest(self.gains)


def evolve_config(config: Config, method: str) -> EvolveConfig:
    sizes: dict[str, Any] = dict(
        method=method, strategies=config.search.strategies, rounds=config.search.rounds, repairs=config.search.repairs
    )
    return dataclasses.replace(PRESETS["default"], **sizes)


def scenarios_of(role: str, count: int, seed: int) -> list[Scenario]:
    return [one for one in generate(GAME, count, seed) if one.role == role]


def unseen_seed(seed: int) -> int:
    """Of the scenarios of the evaluation: each search has its own."""
    return SEARCHED + 1 + seed


def search_role(config: Config, run: Run, role: RoleName) -> RoleSearches:
    """All searches for guides of one role, and their evaluation."""
    judged = scenarios_of(role, config.search.scenarios, SEARCHED)
    with Journal(run.folder / f"journal-{role}.jsonl") as journal, open_sampler(config, run, role) as sampler:
        judge = GuideJudge(sampler, role, judged, num_key_states=KEY_STATES, strict=True)
        proposer = LanguageModelProposer(Brief(GUIDE, contract(GAME, role)))
        origin = Strategy(0, GUIDE.name, seed_guide(role).text)
        planned = []
        for method in config.search.methods:
            evolve = evolve_config(config, method)
            name = "steps" if METHODS[method].sequential else "rounds"  # as the journal calls the judge
            for seed in config.seeds:
                log = journal.log(f"{method} {seed}")
                setup = SearchSetup(evolve, proposer, seed, GUIDE.name, name, log, config.search.speeches)
                labels = dict(role=role, method=method, seed=seed)
                planned.append(Planned(f"{method} {seed}", labels, setup, origin))
        title = f"guides for {role.capitalize()}"
        asked = services({one.setup.judge: judge for one in planned}, journal)
        found, _ = search_rounds(run, planned, sampler, asked, title, f"search-{role}")
        size = len(config.seeds)
        searches = {method: found[at * size : (at + 1) * size] for at, method in enumerate(config.search.methods)}
        scores, unread = evaluate(config, run, role, sampler, searches, title)
        place, method = largest(over_seed(scores))
        example = _example(config, role, sampler, searches[config.search.methods[method]][place].best, place)
    with Recording(draws_path(config, run, role), read_only=True) as draws:
        usage = dict(draws.by_role)
    return RoleSearches(role, searches, scores, unread, example, usage)


def over_seed(scores: np.ndarray) -> np.ndarray:
    """float[S, A]: what guides score over the seed guide, a mean over scenarios, from `RoleSearches.scores`."""
    return (scores[:, 1:, :, 0] - scores[:, :1, :, 0]).mean(axis=2)


def largest(gains: np.ndarray) -> tuple[int, int]:
    """The place of the seed and of the method with the largest gain."""
    place, method = np.unravel_index(np.argmax(gains), gains.shape)
    return int(place), int(method)


def evaluate(
    config: Config, run: Run, role: str, sampler: Any, searches: dict[str, list[Search]], title: str
) -> tuple[np.ndarray, np.ndarray]:
    """float[S, G, H, 3] and float[S, G, H]: the guides found and the seed guide in unseen scenarios, a seed a step."""
    shape = len(config.seeds), 1 + len(searches), config.search.held_out
    loop = run.chunks(
        len(config.seeds), (np.zeros((*shape, len(PARTS))), np.zeros(shape)), f"{title}: unseen scenarios",
        name=f"final-{role}",
    )  # fmt: skip
    for place in loop:
        guides = [seed_guide(role), *(Guide.parse(role, found[place].best.text) for found in searches.values())]
        scores, unread = (part.copy() for part in loop.carry)
        judge = _evaluator(config, role, sampler, place)
        for number, row in enumerate(_trials(config, judge, guides, range(config.search.held_out), place)):
            for at, one in enumerate(row):
                scores[place, number, at] = one.score
                unread[place, number, at] = share_unread(one)
        loop.carry = scores, unread
        run.log(role=role, seed=config.seeds[place], scores=scores[place, :, :, 0].mean(axis=1).tolist())
    return np.asarray(loop.carry[0]), np.asarray(loop.carry[1])


def share_unread(one: Trial) -> float:
    """Of the answers in a trial: a worksheet or speech that is empty, a rating in which a player is missing."""
    bad = len(one.utterance.failures) + sum(bool(ratings.failures) for ratings in one.ratings.values())
    return bad / (2 + len(one.ratings))


def _evaluator(config: Config, role: str, sampler: Any, place: int) -> GuideJudge:
    unseen = scenarios_of(role, config.search.held_out, unseen_seed(config.seeds[place]))
    return GuideJudge(sampler, role, unseen, strict=True)


def _trials(
    config: Config, judge: GuideJudge, guides: Sequence[Guide], chosen: Sequence[int], place: int
) -> list[list[Trial]]:
    path = config.seeds[place], config.search.rounds + 1, 0  # after the last round
    try:
        trials = judge.trials(guides, chosen, path)
    except SamplerFailedError as error:
        raise as_user_error(error) from None
    return [[one for one in row if one is not None] for row in trials]  # a strict judge leaves none out


def _example(config: Config, role: str, sampler: Any, best: Strategy, place: int) -> SpeechExample:
    """Speeches of the seed guide and the best one in one scenario: these speeches are on record."""
    judge = _evaluator(config, role, sampler, place)
    guides = [seed_guide(role), Guide.parse(role, best.text)]
    (first,), (second,) = _trials(config, judge, guides, (0,), place)
    return SpeechExample(judge.scenarios[0], (first, second))
