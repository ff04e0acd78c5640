"""The games of the Strategist experiment: a judge each, whose compiled programs serve all searches and the evaluation.

Shapes: `K` strategies, `M` pairs, `G` deals, `R` games.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.core import devices
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.evolve.records import Judgement, Strategy
from jaxrl_suite.strategist.heuristics.pool import Choice, Pool
from jaxrl_suite.strategist.judge.avalon import AvalonJudge
from jaxrl_suite.strategist.judge.base import Feedback, HeuristicJudge, JudgeConfig, Program
from jaxrl_suite.strategist.judge.gops import GopsJudge

if TYPE_CHECKING:
    from jaxrl_suite.experiments.strategist.config import Config, GameName


class Reported:
    """A program whose compilation the run reports, and whose games it counts if it plays any."""

    def __init__(self, program: Program, stage: StageMixin, name: str, plays: bool):
        self._program, self._stage, self._name, self._plays = program, stage, name, plays
        self._compiled: dict[int, Any] = {}  # by rows

    def __call__(self, *args: Any) -> Any:
        rows = len(args[-1])
        args = devices.shard_batch(jax.tree.map(jnp.asarray, args), self._stage.mesh)
        if rows not in self._compiled:
            self._compiled[rows] = self._stage.run.compile(self._program, *args, name=f"{self._name}, {rows} rows")
        start = time.monotonic()
        played = jax.block_until_ready(self._compiled[rows](*args))
        if self._plays:
            self._stage.seconds += time.monotonic() - start
            self._stage.games += rows
        return played


class StageMixin(HeuristicJudge):
    """A judge that plays for many searches and for the evaluation, with programs that are compiled once."""

    run: Run
    mesh: Any
    title: str
    round_batch_size: int  # games that are played at a time in a search
    duel_batch_size: int  # and in the evaluation

    def __init__(self, *args: Any, run: Run, title: str, mesh: Any, duel_batch_size: int, **options: Any):
        super().__init__(*args, mesh=mesh, **options)  # pyright: ignore[reportCallIssue]
        self.run, self.title, self.mesh = run, title, mesh
        self.round_batch_size, self.duel_batch_size = self.config.batch_size, duel_batch_size
        self.games, self.seconds = 0, 0.0

    def compile(self, pool: Pool):
        return self._reported("games", pool, super().compile)  # pyright: ignore[reportAbstractUsage]

    def compare(self, pool: Pool):
        return self._reported("states", pool, super().compare)  # pyright: ignore[reportAbstractUsage]

    def _reported(self, what: str, pool: Pool, make: Any) -> Any:
        kinds = ["weights"] * pool.compact + [f"{len(pool.functions)} written"] * bool(pool.functions)
        name = f"{self.title} {what}: {', '.join(kinds + ['rollouts'] * pool.rollout)}"
        return Reported(make(pool), self, name, what == "games")

    def set(self, **changes: Any) -> None:
        """Changes how rounds are judged; the programs stay."""
        self.config = dataclasses.replace(self.config, **changes)

    def pool_of(self, strategies: Sequence[Strategy]) -> tuple[Pool, Choice]:
        """The pool that plays `strategies`, and a choice [K] for each."""
        self.set(feedback="population")
        pool, choices = self._pool([*strategies, *strategies[:1]])
        return pool, jax.tree.map(lambda leaf: leaf[: len(strategies)], choices)

    def duel(self, strategies: Sequence[Strategy], pairs: Sequence[tuple[int, int]], keys: jax.Array) -> np.ndarray:
        """float64[M, G]: what the first of each pair gets against the second, a mean over both seats on every deal.

        Args:
          strategies: K, at least 2.
          pairs: M, places among them.
          keys: key[G], the same deals for all pairs.
        """
        self.set(feedback="population", key_states=0, batch_size=self.duel_batch_size)
        pool, choices = self._pool(strategies)
        size = len(keys)
        first, second = (np.repeat([pair[side] for pair in pairs], size) for side in (0, 1))
        deal = np.tile(np.arange(size), len(pairs))
        there = self._rows(pool, choices, first, second, keys[deal], [])
        back = self._rows(pool, choices, second, first, keys[deal], [])
        opposite = -back if self.zero_sum else 1 - back
        return ((there.astype(float) + opposite) / 2).reshape(len(pairs), size)


class GopsStage(StageMixin, GopsJudge):
    pass


class AvalonStage(StageMixin, AvalonJudge):
    pass


def stage_of(config: Config, game: GameName, run: Run) -> GopsStage | AvalonStage:
    """The judge of one game of the experiment."""
    gops = game == "gops"
    # a batch is filled up: none larger than a round has games
    batch_size = min(config.batch_size, config.games_of(game))
    # an evaluation has many games; another size is another compilation
    duel_batch_size = config.batch_size if gops else batch_size
    judge = JudgeConfig(
        num_simulations=config.num_simulations if gops else config.avalon_simulations,
        batch_size=batch_size,
        key_states=config.key_states,
    )
    mesh = run.mesh(batch=math.gcd(batch_size, duel_batch_size))
    options: dict[str, Any] = dict(run=run, mesh=mesh, duel_batch_size=duel_batch_size)
    if gops:
        style = "paper" if config.mechanics == "paper" else "regret_matching"
        rules = Gops(config.num_cards, objective="points")
        return GopsStage(rules, judge, style, title=f"GOPS-{config.num_cards}", **options)
    return AvalonStage(Avalon(5), judge, title="Avalon-5", **options)


class Referee:
    """The judge that one kind of search meets: it spends the same number of games on every round.

    Args:
      stage: of the game.
      games: of a round.
      steps: into which a round is divided; the seeds are judged once, with a quarter of a round.
      feedback: see `JudgeConfig`.
      key_states: of each strategy.
      shuffle_scores: the shuffled-score control: scores and improvements are dealt out at random among the strategies
        of a round, so that there is no selection.
    """

    def __init__(
        self,
        stage: StageMixin,
        games: int,
        steps: int,
        feedback: Feedback,
        key_states: int,
        shuffle_scores: bool = False,
    ):
        self.stage, self.games, self.steps = stage, games, steps
        self.feedback, self.key_states, self.shuffle_scores = feedback, key_states, shuffle_scores

    def check(self, texts: Sequence[str]) -> Sequence[str]:
        return self.stage.check(texts)

    def judge(self, strategies: Sequence[Strategy], path: tuple[int, ...]) -> Judgement:
        size = len(strategies)
        games = self.games // (4 if path[1] == 0 else self.steps)
        pairs = size if self.feedback == "fixed" or size == 1 else size * (size - 1) // 2
        deals = max(1, games // (2 * pairs))
        self.stage.set(
            feedback=self.feedback, deals=deals, key_states=self.key_states, batch_size=self.stage.round_batch_size
        )
        said = self.stage.judge(strategies, path)
        if not self.shuffle_scores:
            return said
        order = np.random.default_rng(path).permutation(size)
        scores = tuple(said.scores[place] for place in order)
        return said._replace(scores=scores, improvements=(None,) * size)
