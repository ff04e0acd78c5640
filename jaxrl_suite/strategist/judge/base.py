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
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import numpy as np

from jaxrl_suite.core import devices
from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.records import Judgement, KeyState, Strategy
from jaxrl_suite.strategist.heuristics.features import FeatureLibrary
from jaxrl_suite.strategist.heuristics.pool import ROLLOUT, Choice, Exports, Pool, choices_of
from jaxrl_suite.strategist.judge import league
from jaxrl_suite.strategist.judge.key_states import Describer, Rule, joined, select
from jaxrl_suite.strategist.play.records import Played, Seen, chunks, seen_by

Feedback = Literal["population", "fixed", "critic"]

KEPT = 8  # rounds of written heuristics whose programs are kept; a program takes a thousand memory maps of 65,530


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


Program = Callable[[Choice, Choice, jax.Array], Played]


class HeuristicJudge(abc.ABC):
    """A judge of heuristics; a subclass knows the game. It is a `records.Judge`.

    A judgement depends on the config, the round and its path alone. The judge holds compiled programs and a sandbox:
    use it as a context manager, or call `close`.
    """

    zero_sum = True

    def __init__(self, library: FeatureLibrary, config: JudgeConfig, mesh: Any = None, workers: int = 1):
        self.library, self.config, self._mesh = library, config, mesh
        self._exports = Exports(library.game, workers)
        self._pools: dict[Any, Pool] = {}  # the last used last
        self._programs: dict[tuple[str, Pool], Program] = {}
        self._describer = Describer(library)

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the sandbox's workers."""
        self._exports.close()

    # The protocol.

    @property
    def identity(self) -> str:
        """Identity: all that answers depend on beside the question; how many games are played at a time is not."""
        return f"{type(self).__name__} {self.library.game} {dataclasses.replace(self.config, batch_size=1)}"

    def check(self, texts: Sequence[str]) -> list[str]:
        """For each text an empty line if it passed the sandbox, else what is wrong with it."""
        return self._exports.check(texts)

    def judge(self, strategies: Sequence[Strategy], path: tuple[int, ...]) -> Judgement:
        """Judges one round.

        Raises:
          UserError: if there is no strategy, or one cannot be played.
        """
        if not strategies:
            raise UserError("a round needs a strategy to judge")
        pool, choices = self._pool(strategies)
        key = jax.random.key(self.config.seed)
        for number in path:
            key = jax.random.fold_in(key, number)
        return (self._criticise if self.config.feedback == "critic" else self._play)(strategies, pool, choices, key)

    # Of the game.

    @abc.abstractmethod
    def compile(self, pool: Pool) -> Program:
        """A program that plays `batch_size` games, the first strategy in seat 0 or as good, against the second."""

    @abc.abstractmethod
    def compare(self, pool: Pool) -> Callable[[Choice, jax.Array, jax.Array], Played]:
        """A program for the critic: `(choices, keys for the search, keys for the states)`, [batch_size] each.

        It returns a `Played` whose games are single states that one player looked at.
        """

    # What is common.

    @property
    def share(self) -> Any:
        """The devices that share a program's games."""
        return self._mesh if self._mesh is not None else devices.mesh(batch=self.config.batch_size)

    def _play(self, strategies, pool, choices, key) -> Judgement:
        size, config = len(strategies), self.config
        deal_keys = jax.random.split(key, config.deals)
        seen: list[Seen] = []

        def play(first: np.ndarray, second: np.ndarray, deal: np.ndarray) -> np.ndarray:
            return self._rows(pool, choices, first, second, deal_keys[deal], seen)

        if config.feedback == "fixed" or size == 1:
            table = league.versus(play, size + 1, config.deals, zero_sum=self.zero_sum)
        elif config.racing:
            parents = {strategy.parent for strategy in strategies}
            always = [row for row, strategy in enumerate(strategies) if strategy.id in parents]
            few = config.deals // 4
            table = league.race(play, size, config.deals, first_deals=few, always=always, zero_sum=self.zero_sum)
        else:
            table = league.round_robin(play, size, config.deals, zero_sum=self.zero_sum)
        gains = _improvements(strategies, lambda child, parent: table.improvement(child, parent).estimate)
        scores, games = table.scores[:size], table.games[:size]
        return Judgement(
            tuple(float(score) for score in scores),
            tuple(int(count) for count in games),
            gains,
            self._key_states(strategies, seen),
        )

    def _criticise(self, strategies, pool, choices, key) -> Judgement:
        """The score is minus the root mean square gap between heuristic and search on random states."""
        config, size = self.config, len(strategies)
        search_key, state_key = jax.random.split(key)
        keys = [jax.random.split(k, config.critic_states) for k in (search_key, state_key)]
        who = np.repeat(np.arange(size), config.critic_states)
        at = np.tile(np.arange(config.critic_states), size)
        seen: list[Seen] = []
        program = self._program("compare", pool)
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

    def _rows(self, pool, choices, first, second, keys, seen) -> np.ndarray:
        """Rewards of the first; what its games met is added to `seen`."""
        program, rewards = self._program("compile", pool), []
        for part, real in chunks(len(first), self.config.batch_size):
            sides = [jax.tree.map(lambda leaf, rows=side[part]: leaf[rows], choices) for side in (first, second)]
            played = program(*sides, keys[part])
            rewards.append(np.asarray(played.reward)[:real])
            if self.config.key_states:
                seen.append(seen_by(played, first[part], second[part], real))
        return np.concatenate(rewards)

    def _key_states(self, strategies: Sequence[Strategy], parts: Sequence[Seen]) -> tuple[KeyState, ...]:
        if not self.config.key_states:
            return ()
        seen, records = joined(parts), []
        for row, strategy in enumerate(strategies):
            rows = select(seen, row, self.config.key_states, self.config.key_rule, self.config.seed)
            records += self._describer.key_states(
                seen, rows, strategy.id, None if strategy.weights else self._named(strategy.text), strategy.weights
            )
        return tuple(sorted(records, key=lambda state: -_gap(state)))

    def _named(self, text: str) -> Callable[[Any], dict[str, np.ndarray]]:
        # jitted, and let go: what an eager call compiles is never freed
        function = jax.jit(lambda views: self._exports[text].call_with_auxiliary(views)[1])
        return lambda views: {k: np.asarray(v) for k, v in function(views).items()}

    def _pool(self, strategies: Sequence[Strategy]) -> tuple[Pool, Choice]:
        """The pool of a round, and a choice for each strategy and for the opponent without a heuristic."""
        texts = list(dict.fromkeys(strategy.text for strategy in strategies if strategy.weights is None))
        for text, said in zip(texts, self.check(texts), strict=True):
            if said:
                owner = next(strategy.id for strategy in strategies if strategy.text == text)
                raise UserError(f"strategy {owner} cannot be played: {said}")
        texts.sort()
        feedback = self.config.feedback
        filled = feedback == "fixed" or (feedback == "population" and len(strategies) == 1)
        compact = any(strategy.weights is not None for strategy in strategies)
        key = tuple(texts), compact, filled
        pool = self._pools.pop(key, None)
        if pool is None:
            pool = Pool(self.library, tuple(self._exports[text].call_one for text in texts), compact, filled)
        self._pools[key] = pool
        self._forget()
        places = {text: place for place, text in enumerate(texts, 1)}
        own_choices = choices_of(self.library, strategies, places)
        extra = Choice(np.array([ROLLOUT], np.int32), np.zeros((1, self.library.size), np.float32))
        return pool, jax.tree.map(lambda a, b: np.concatenate([a, b]), own_choices, extra)

    def _forget(self) -> None:
        """Lets go of the pools of texts that were used longest ago, and of their programs."""
        written = [key for key, pool in self._pools.items() if pool.functions]
        for key in written[:-KEPT]:
            pool = self._pools.pop(key)
            self._programs = {which: program for which, program in self._programs.items() if which[1] != pool}

    def _program(self, kind: Literal["compile", "compare"], pool: Pool) -> Any:
        if (kind, pool) not in self._programs:
            self._programs[kind, pool] = getattr(self, kind)(pool)
        return self._programs[kind, pool]


def _improvements(strategies: Sequence[Strategy], gain: Callable[[int, int], float]) -> tuple[float | None, ...]:
    rows = {strategy.id: row for row, strategy in enumerate(strategies)}
    return tuple(
        float(gain(row, rows[one.parent])) if one.parent is not None and one.parent in rows else None
        for row, one in enumerate(strategies)
    )


def _gap(state: KeyState) -> float:
    return float(np.linalg.norm(np.subtract(state.search, state.heuristic)))
