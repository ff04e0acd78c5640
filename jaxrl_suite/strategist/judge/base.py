"""The judge of heuristics for any game: a league among the strategies of a round, scores, key states.

Three kinds of feedback, as in the paper's comparison: `population`, all strategies of a round play each other; `fixed`,
each plays one and the same opponent, a search that ends in random play; `critic`, no games at all: a score that says
how well the heuristic agrees with its own search on random states. (The paper's critic is a language model's opinion.)
A population needs no best strategy so far to fill up seats: only a seed judged alone lacks an opponent, and it meets
that of `fixed`.

Strategies in compact form share one program whatever they are. Those given as text go through the sandbox once, and
the texts of a round share a program.

Shapes: `K` strategies, `G` deals, `R` games, `M` states seen.

Reference: Light et al., "Strategist" (arXiv 2408.10635), population self-play and Table 4.
"""

from __future__ import annotations

import abc
import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self, get_args

import jax
import numpy as np

from jaxrl_suite.core import devices
from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.records import Judgement, KeyState, Strategy
from jaxrl_suite.strategist.heuristics.features import FeatureLibrary
from jaxrl_suite.strategist.heuristics.pool import Pool
from jaxrl_suite.strategist.judge import league
from jaxrl_suite.strategist.judge.key_states import Describer, Rule, joined, select
from jaxrl_suite.strategist.judge.programs import Matches, Measured, Program, ProgramKey, Programs, chunks, seen_by
from jaxrl_suite.strategist.play.records import Seen

Feedback = Literal["population", "fixed", "critic"]


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
    """Constants of how a round is judged.

    Args:
      feedback: who plays whom, see the module.
      deals: G, for each pair, each played in both seats.
      num_simulations: of the search for each move.
      racing: whether a population is halved while it plays: all play a quarter of the deals, the better half goes on
        to half of them, and the better half of those to all; parents of others in the round always go on.
      key_states: shown for each strategy.
      key_rule: which: those with the largest gap, or drawn uniformly.
      batch_size: games that are played at a time; a multiple of the devices.
      critic_states: random states that a `critic` looks at.
      seed: of all that is random, together with a round's path.

    Raises:
      UserError: if a value is out of range, or there is nothing to race for.
    """

    feedback: Feedback = "population"
    deals: int = 16
    num_simulations: int = 16
    racing: bool = False
    key_states: int = 10
    key_rule: Rule = "gap"
    batch_size: int = 256
    critic_states: int = 256
    seed: int = 0

    def __post_init__(self):
        if self.feedback not in get_args(Feedback):
            raise UserError(f"feedback must be one of {', '.join(get_args(Feedback))}, got {self.feedback!r}")
        if self.key_rule not in get_args(Rule):
            raise UserError(f"key_rule must be one of {', '.join(get_args(Rule))}, got {self.key_rule!r}")
        check_ranges(
            self,
            deals=(1, 10**6),
            num_simulations=(1, 10**6),
            key_states=(0, 10**4),
            batch_size=(1, 10**6),
            critic_states=(2, 10**6),
            seed=(0, 2**32 - 1),
        )
        if self.racing and (self.feedback != "population" or self.deals < 4):
            raise UserError(
                f"a race is among a population, over 4 deals at least; got {self.feedback} and {self.deals} deals: "
                "leave racing off"
            )


class HeuristicJudge(abc.ABC):
    """A judge of heuristics (`records.Judge`); a subclass knows the game.

    A judgement depends on the config, the round, its path and its games alone. The config never changes: `with_config`
    makes another judge. Use it as a context manager, or call `close`, which ends the sandbox of all that share it.

    Args:
      game: the rules.
      config: how rounds are judged.
      players: what the game's players are given beside a heuristic; see the subclass for this and for defaults.
      mesh: devices that share the games; those that divide `config.batch_size` by default.
      workers: of the sandbox.
      on_compiled: is given the cost of each program, for instance `Run.compiled`; without it, none is reported.
    """

    zero_sum = True
    usual: tuple[Any, JudgeConfig, Any]  # game, config and players
    features: Callable[[Any], FeatureLibrary]  # of a game

    def __init__(
        self,
        game: Any = None,
        config: JudgeConfig | None = None,
        players: Any = None,
        mesh: Any = None,
        workers: int = 1,
        on_compiled: Callable[[devices.Compiled], None] | None = None,
    ):
        game = self.usual[0] if game is None else game
        self._config: JudgeConfig = config or self.usual[1]
        self.players: Any = self.usual[2] if players is None else players
        self._mesh, self._on_compiled = mesh, on_compiled
        self.library = self.features(game)
        self.programs, self._describer = Programs(self.library, workers), Describer(self.library)
        self.player(Pool(self.library), self._config.num_simulations)  # refuses what cannot be played

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.programs.exports.close()

    @property
    def config(self) -> JudgeConfig:
        return self._config

    def with_config(self, **changes: Any) -> Self:
        """A judge of the same game with other fields in its config, which shares programs and sandbox with this one."""
        other = copy.copy(self)
        other._config = dataclasses.replace(self._config, **changes)
        return other

    @property
    def identity(self) -> str:
        """Identity: all that answers depend on beside the question, which the batch size is not."""
        config = dataclasses.replace(self.config, batch_size=1)
        return f"{type(self).__name__} {self.library.game} {config} {self.players}"

    def check(self, texts: Sequence[str]) -> list[str]:
        """For each text an empty line if it passed the sandbox, else what is wrong with it."""
        return self.programs.exports.check(texts)

    def judge(self, strategies: Sequence[Strategy], path: tuple[int, ...], games: int | None = None) -> Judgement:
        """Judges one round.

        Args:
          strategies: K, all that take part.
          path: names the random stream.
          games: of the whole round, which pay for equally many deals of each pair, at least one; `config.deals` of each
            by default. A critic plays none.

        Raises:
          UserError: if there is no strategy, or one cannot be played.
        """
        size = len(strategies)
        if not size:
            raise UserError("a round needs a strategy to judge")
        key = jax.random.key(self.config.seed)
        for number in path:
            key = jax.random.fold_in(key, number)
        if self.config.feedback == "critic":
            return self._criticise(strategies, key)
        pairs = size if self.config.feedback == "fixed" or size == 1 else size * (size - 1) // 2
        return self._play(strategies, key, self.config.deals if games is None else max(1, games // (2 * pairs)))

    def duel(self, strategies: Sequence[Strategy], pairs: Sequence[tuple[int, int]], keys: jax.Array) -> np.ndarray:
        """float64[M, G]: what the first of each pair gets against the second, a mean over both seats on every deal.

        Args:
          strategies: K, at least 2.
          pairs: M, places among them.
          keys: key[G], the same deals for all pairs.
        """
        pool, choices = self.programs.pool(strategies)
        size = len(keys)
        first, second = (np.repeat([pair[side] for pair in pairs], size) for side in (0, 1))
        deal = np.tile(np.arange(size), len(pairs))
        play = Matches(self._program("compile", pool, records=False), choices, keys, self.config.batch_size)
        there, back = play(first, second, deal), play(second, first, deal)
        opposite = -back if self.zero_sum else 1 - back
        return ((there.astype(float) + opposite) / 2).reshape(len(pairs), size)

    # Of the game. A program depends on what these are given, and on what all judges of a `with_config` share.

    title = "game"  # for reports

    @abc.abstractmethod
    def player(self, pool: Pool, num_simulations: int) -> Any:
        """A player of the game."""

    @abc.abstractmethod
    def compile(self, pool: Pool, num_simulations: int, records: bool) -> Program:
        """A function, not jitted, that plays R games: the first strategy in seat 0, or as good, against the second.

        Without `records` it may leave out the states that were met.
        """

    @abc.abstractmethod
    def compare(self, pool: Pool, num_simulations: int) -> Program:
        """A function, not jitted, for the critic: `(choices, keys for the search, keys for the states)`, [R] each.

        It returns a `Played` whose games are single states that one player looked at.
        """

    @property
    def mesh(self) -> Any:
        """The devices that share a program's games."""
        return self._mesh if self._mesh is not None else devices.mesh(batch=self.config.batch_size)

    def _play(self, strategies: Sequence[Strategy], key: jax.Array, deals: int) -> Judgement:
        size, config = len(strategies), self.config
        pool, choices = self.programs.pool(strategies, rollout=config.feedback == "fixed" or size == 1)
        seen: list[Seen] | None = [] if config.key_states else None
        program = self._program("compile", pool, records=seen is not None)
        play = Matches(program, choices, jax.random.split(key, deals), config.batch_size, seen)
        if config.feedback == "fixed" or size == 1:
            table = league.versus(play, size + 1, deals, zero_sum=self.zero_sum)
        elif config.racing:
            parents = {strategy.parent for strategy in strategies}
            always = [row for row, strategy in enumerate(strategies) if strategy.id in parents]
            few = max(1, deals // 4)
            table = league.race(play, size, deals, first_deals=few, always=always, zero_sum=self.zero_sum)
        else:
            table = league.round_robin(play, size, deals, zero_sum=self.zero_sum)
        gains = _improvements(strategies, lambda child, parent: table.improvement(child, parent).estimate)
        return Judgement(
            tuple(float(score) for score in table.scores[:size]),
            tuple(int(count) for count in table.games[:size]),
            gains,
            self._key_states(strategies, seen or []),
        )

    def _criticise(self, strategies: Sequence[Strategy], key: jax.Array) -> Judgement:
        """The score is minus the root mean square gap between heuristic and search on random states."""
        config, size = self.config, len(strategies)
        pool, choices = self.programs.pool(strategies)
        keys = [jax.random.split(part, config.critic_states) for part in jax.random.split(key)]
        who = np.repeat(np.arange(size), config.critic_states)
        at = np.tile(np.arange(config.critic_states), size)
        seen: list[Seen] = []
        program = self._program("compare", pool, records=True)
        for part, real in chunks(len(who), config.batch_size):
            rows = who[part]
            mine = jax.tree.map(lambda leaf, rows=rows: leaf[rows], choices)
            played = program(mine, keys[0][at[part]], keys[1][at[part]])
            seen.append(seen_by(played, rows, rows, real))
        met = joined(seen)
        squares = np.sum((np.asarray(met.heuristic) - np.asarray(met.search)) ** 2, axis=1)
        scores = [-float(np.sqrt(np.mean(squares[met.strategy == row]))) for row in range(size)]
        gains = _improvements(strategies, lambda child, parent: scores[child] - scores[parent])
        return Judgement(tuple(scores), (0,) * size, gains, self._key_states(strategies, [met]))

    def _key_states(self, strategies: Sequence[Strategy], parts: Sequence[Seen]) -> tuple[KeyState, ...]:
        config, records = self.config, []
        if not config.key_states:
            return ()
        seen = joined(parts)
        for row, one in enumerate(strategies):
            rows = select(seen, row, config.key_states, config.key_rule, config.seed)
            function = self.programs.exports[one.text] if one.weights is None else None
            records += self._describer.key_states(seen, rows, one.id, function, one.weights)
        gaps = [float(np.linalg.norm(np.subtract(state.search, state.heuristic))) for state in records]
        return tuple(records[place] for place in np.argsort(np.negative(gaps), kind="stable"))

    def _program(self, kind: Literal["compile", "compare"], pool: Pool, *, records: bool) -> Program:
        """The program from the cache, or a new one; one that records can also play without."""
        key = ProgramKey(kind, pool, self.config.num_simulations, records, self.mesh)
        for known in (key, key._replace(records=True)):
            if known in self.programs.compiled:
                return self.programs.compiled[known]
        games = kind == "compile"
        made = self.compile(pool, key.num_simulations, records) if games else self.compare(pool, key.num_simulations)
        made = devices.map_batch(made, key.mesh)
        if self._on_compiled is not None:
            made = Measured(made, key, self.title, self.programs, self._on_compiled)
        self.programs.compiled[key] = made
        return made


def _improvements(strategies: Sequence[Strategy], gain: Callable[[int, int], float]) -> tuple[float | None, ...]:
    rows = {strategy.id: row for row, strategy in enumerate(strategies)}
    return tuple(
        float(gain(row, rows[one.parent])) if one.parent is not None and one.parent in rows else None
        for row, one in enumerate(strategies)
    )
