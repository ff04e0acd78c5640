"""Judges dialogue guides: what a speech that follows the guide does to the beliefs of those who hear it.

In each scenario a model speaks as the guide says, and the other players, each with its own knowledge, rate the speech.
The score lies in [-2, 2]. Of an evil player or a servant it is the mean over the (other) servants of the change of
their belief that the speaker is good. Merlin must be believed and not be recognised, so its score is the smaller of
two: that mean, and minus the mean change of the evil players' belief that the speaker is Merlin.

All scenarios of all guides advance together: a round is three calls of the model, for worksheets, speeches, ratings.

Reference: Light et al., "Strategist" (arXiv 2408.10635), evaluation of dialogue guides.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxrl_suite.avalonbench.dialogue import words
from jaxrl_suite.avalonbench.dialogue.dialogue import Discriminator, Ratings, Speaker, Utterance
from jaxrl_suite.avalonbench.dialogue.guides import Guide
from jaxrl_suite.avalonbench.dialogue.scenarios import Scenario
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import EVIL_ROLES, GOOD_ROLES, MERLIN
from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.llm_proposer import Kind
from jaxrl_suite.evolve.records import Judgement, KeyState, Strategy
from jaxrl_suite.llm.jobs import Job, JobOutcome, SamplerFailedError
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.parsing import fill, worksheet_of
from jaxrl_suite.llm.protocol import Sampler, require

PROMPTS = "jaxrl_suite.strategist.judge"  # the package whose prompts are filled in

GUIDE = Kind("guide", "worksheet", PROMPTS, worksheet_of)


def contract(game: Avalon, role: str) -> str:
    """The contract for a proposer: the rules, what a worksheet for `role` is, and how its speeches are judged."""
    aim = "guide_aim_merlin" if role == "merlin" else "guide_aim"
    return fill(PROMPTS, "guide_contract", rules=words.rules_text(game), role=role.capitalize(), aim=fill(PROMPTS, aim))


class GuideScore(NamedTuple):
    score: float  # in [-2, 2]
    good: float  # mean change of the servants' belief that the speaker is good
    merlin: float  # mean change of the evil players' belief that the speaker is Merlin; 0 if they were not asked


class Trial(NamedTuple):
    """One speech and what it did."""

    utterance: Utterance
    ratings: Mapping[int, Ratings]  # by listener
    score: GuideScore


def listeners(scenario: Scenario) -> tuple[int, ...]:
    """The seats whose beliefs count: the other good players but Merlin, and, if Merlin speaks, the evil ones."""
    roles = scenario.log.roles
    wanted = set(GOOD_ROLES) - {MERLIN} | (set(EVIL_ROLES) if roles[scenario.speaker] == MERLIN else set())
    return tuple(seat for seat, role in enumerate(roles) if role in wanted and seat != scenario.speaker)


def guide_score(scenario: Scenario, ratings: Mapping[int, Ratings]) -> GuideScore:
    """The score of a speech from the ratings of the seats in `listeners`."""
    roles, speaker = scenario.log.roles, scenario.speaker
    good = [-ratings[seat].evil[speaker] for seat in ratings if roles[seat] in GOOD_ROLES]
    merlin = [ratings[seat].merlin[speaker] for seat in ratings if roles[seat] in EVIL_ROLES]
    believed = float(np.mean(good))
    if roles[speaker] != MERLIN:
        return GuideScore(believed, believed, 0.0)
    recognised = float(np.mean(merlin))
    return GuideScore(min(-recognised, believed), believed, recognised)


def trial(
    guide: Guide, scenario: Scenario, speaker: Speaker, discriminator: Discriminator, path: tuple[int, ...]
) -> Generator[Any, Any, Trial]:
    """Speaks once as `guide` says, and is rated: an algorithm that asks three times."""
    scene, seat = scenario.scene, scenario.speaker
    said = yield from speaker.speak(guide, scene, seat, scenario.intention, path)
    heard = scene._replace(dialogue=(*scene.dialogue, (seat, said.speech)))
    seats = listeners(scenario)
    replies = yield tuple(discriminator.ask(heard, listener, seat, path) for listener in seats)
    ratings = {one: discriminator.read(heard, one, reply) for one, reply in zip(seats, replies, strict=True)}
    return Trial(said, ratings, guide_score(scenario, ratings))


class GuideJudge:
    """A `records.Judge` of guides for one role.

    The random streams are named by the path of a round and the scenario, not by the guide: guides of one round are
    compared on common random numbers, and a recorder gives one draw to two guides with the same text.

    Args:
      sampler: a language model; wrap it in a `Recorder` to pay for nothing twice.
      role: of the speaker, for instance "merlin".
      scenarios: with a speaker of that role.
      speaker, discriminator: how speeches and ratings are drawn.
      per_round: scenarios a round, drawn by its path, where the round does not say its games; None takes all.
      num_key_states: of each guide, the scenarios in which it did worst.
      strict: a trial in which the model fails stops the round, and every round after it, to be asked again when it is
        back; else it counts as no change. An answer that cannot be read counts as no change in either case.

    Attributes:
      failures: what could not be read or was not answered, a line each, in order.

    Raises:
      UserError: if there are no scenarios of the role, fewer than `per_round`, or the sampler does not take text.
    """

    def __init__(
        self,
        sampler: Sampler,
        role: str,
        scenarios: Sequence[Scenario],
        *,
        speaker: Speaker | None = None,
        discriminator: Discriminator | None = None,
        per_round: int | None = None,
        num_key_states: int = 3,
        strict: bool = False,
    ):
        require(sampler, "a judge of guides", "text")
        if not scenarios or any(scenario.role != role for scenario in scenarios):
            raise UserError(f"a judge of guides for {role} needs scenarios in which {role} speaks: load(role={role!r})")
        if any(not listeners(scenario) for scenario in scenarios):
            raise UserError("in some scenario nobody listens whose belief counts: take games with other servants")
        if per_round is not None and not 1 <= per_round <= len(scenarios):
            raise UserError(f"per_round must be 1 to {len(scenarios)}, the number of scenarios, got {per_round}")
        self.sampler, self.role, self.scenarios = sampler, role, tuple(scenarios)
        self.speaker = speaker or Speaker()
        self.discriminator = discriminator or Discriminator()
        self.per_round, self.num_key_states, self.strict = per_round, num_key_states, strict
        self.failures: list[str] = []
        self._gone: SamplerFailedError | None = None
        texts = json.dumps([scenario.to_json() for scenario in self.scenarios], sort_keys=True)
        self._scenarios_hash = hashlib.sha256(texts.encode()).hexdigest()[:16]

    @property
    def identity(self) -> str:
        """Identity: all that answers depend on beside the question."""
        constants = f"{self.speaker} {self.discriminator} {self.per_round} {self.num_key_states} {self.strict}"
        return f"GuideJudge {getattr(self.sampler, 'name', '')} {self.role} {self._scenarios_hash} {constants}"

    def check(self, texts: Sequence[str]) -> list[str]:
        """For each text an empty line if it is a guide, else what is wrong with it."""
        return [_problem(self.role, text) for text in texts]

    def judge(self, strategies: Sequence[Strategy], path: tuple[int, ...], games: int | None = None) -> Judgement:
        """Tries all guides on the same scenarios.

        Args:
          strategies: the guides.
          path: of the random streams.
          games: speeches of the whole round, which pay for equally many scenarios of each guide, at least one; the
            judge's own `per_round` by default.

        Raises:
          UserError: if a text is no guide.
          SamplerFailedError: if the model answered nothing at all, or failed in one trial and the judge is strict.
        """
        if self._gone is not None:  # other searches need not find out for themselves that the model is gone
            raise self._gone
        most = len(self.scenarios)
        chosen = self._chosen(path, None if games is None else min(most, max(1, games // len(strategies))))
        trials = self.trials([Guide.parse(self.role, strategy.text) for strategy in strategies], chosen, path)
        table = np.array([[0.0 if one is None else one.score.score for one in row] for row in trials])
        means = table.mean(axis=1).tolist()
        rows = {strategy.id: row for row, strategy in enumerate(strategies)}
        improvements = tuple(
            means[row] - means[rows[strategy.parent]] if strategy.parent in rows else None
            for row, strategy in enumerate(strategies)
        )
        key_states = []
        for row, strategy in enumerate(strategies):
            worst = np.argsort(table[row], kind="stable")[: self.num_key_states]
            key_states += [
                self._key_state(strategy, self.scenarios[chosen[i]], one, float(table[:, i].max()))
                for i in worst
                if (one := trials[row][i]) is not None
            ]
        key_states.sort(key=lambda state: state.heuristic[0])
        return Judgement(tuple(means), (len(chosen),) * len(strategies), improvements, tuple(key_states))

    def trials(self, guides: Sequence[Guide], chosen: Sequence[int], path: tuple[int, ...]) -> list[list[Trial | None]]:
        """For each guide, its trial on each scenario numbered in `chosen`; None where the model failed."""
        jobs = [
            Job(f"guide {row}, scenario {index}", functools.partial(self._start, guide, index, (*path, index)))
            for row, guide in enumerate(guides)
            for index in chosen
        ]
        outcomes = run_lockstep(jobs, self.sampler)
        broken = [outcome for outcome in outcomes if outcome.error is not None]
        fatal = self.strict or len(broken) == len(outcomes)
        for outcome in broken:
            if fatal or not isinstance(outcome.error, SamplerFailedError | ValueError):
                assert outcome.error is not None
                if self.strict and isinstance(outcome.error, SamplerFailedError):
                    self._gone = outcome.error
                raise outcome.error
        self.failures += [line for outcome in outcomes for line in _failures(outcome)]
        values = [outcome.value for outcome in outcomes]
        return [values[start : start + len(chosen)] for start in range(0, len(values), len(chosen))]

    def _start(self, guide: Guide, index: int, path: tuple[int, ...], ledger: Any) -> Generator[Any, Any, Trial]:
        del ledger
        return trial(guide, self.scenarios[index], self.speaker, self.discriminator, path)

    def _chosen(self, path: tuple[int, ...], count: int | None = None) -> list[int]:
        count = self.per_round if count is None else count
        if count is None:
            return list(range(len(self.scenarios)))
        rng = np.random.default_rng([len(path), *path])
        return sorted(rng.choice(len(self.scenarios), count, replace=False).tolist())

    def _key_state(self, strategy: Strategy, scenario: Scenario, trial: Trial, best: float) -> KeyState:
        """The gap that a proposer should look at is the one to the best guide of the round on the same scenario."""
        before = words.dialogue_text(scenario.dialogue)
        state = (
            f"{words.public_text(scenario.log.game, scenario.state)}\n"
            f"{words.private_text(scenario.log.game, scenario.state, scenario.speaker)}\n"
            f"Said before:\n{before}\nThe worksheet, filled in:\n{trial.utterance.worksheet or '(empty)'}\n"
            f"The speech:\n{trial.utterance.speech or '(nothing)'}"
        )
        named = {"servants_believe_speaker_is_good": trial.score.good}
        if self.role == "merlin":
            named["evil_believe_speaker_is_merlin"] = trial.score.merlin
        score = (trial.score.score,)
        return KeyState(strategy.id, state, score, named, (best,), score)


def _problem(role: str, text: str) -> str:
    try:
        Guide.parse(role, text)
    except ValueError as error:
        return str(error)
    return ""


def _failures(outcome: JobOutcome) -> list[str]:
    if outcome.error is not None:
        return [f"{outcome.name}: {outcome.error}"]
    one: Trial = outcome.value
    notes = [*one.utterance.failures, *(note for ratings in one.ratings.values() for note in ratings.failures)]
    return [f"{outcome.name}: {note}" for note in notes]
