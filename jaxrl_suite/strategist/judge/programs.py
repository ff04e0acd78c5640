"""Compiled programs that judges of one game share, and games played with them in batches of one size.

Shapes: `K` strategies, `G` deals, `R` games of a batch, `N` games.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.core import devices
from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.strategist.heuristics.features import FeatureLibrary
from jaxrl_suite.strategist.heuristics.pool import ROLLOUT, Choice, Exports, Pool, choices_of
from jaxrl_suite.strategist.play.records import Played, Seen

Program = Callable[..., Any]  # two `Choice`s [R] and keys [R] to a `Played`

KEPT = 8  # rounds of written heuristics whose programs are kept; a program takes a thousand memory maps of 65,530


class ProgramKey(NamedTuple):
    """Key of a program: all that it needs, but for what is fixed for a judge and all that `with_config` makes of it.

    Args:
      kind: "compile", which plays games, or "compare", which looks at states.
      pool: of heuristics.
      num_simulations: of the search for each move.
      records: whether the states that games meet are returned.
      mesh: the devices that share a batch.
    """

    kind: str
    pool: Pool
    num_simulations: int
    records: bool
    mesh: Any


class Programs:
    """The pools of recent rounds, the sandbox that their texts went through, and what plays them.

    Args:
      library: of the features.
      workers: of the sandbox.

    Attributes:
      exports: texts as functions.
      compiled: programs by their key.
      games: played by `Measured` programs, batches filled up.
      seconds: that these took.
    """

    def __init__(self, library: FeatureLibrary, workers: int = 1):
        self.library, self.exports = library, Exports(library.game, workers)
        self.compiled: dict[ProgramKey, Program] = {}
        self.games, self.seconds = 0, 0.0
        self._pools: dict[Any, Pool] = {}  # the last used last

    def pool(self, strategies: Sequence[Strategy], *, rollout: bool = False) -> tuple[Pool, Choice]:
        """The pool that plays the strategies, and a choice [K] for each; with `rollout` one more, without a heuristic.

        Of pools of texts the last `KEPT` stay, and their programs.

        Raises:
          UserError: if a strategy cannot be played.
        """
        texts = list(dict.fromkeys(one.text for one in strategies if one.weights is None))
        for text, problem in zip(texts, self.exports.check(texts), strict=True):
            if problem:
                owner = next(one.id for one in strategies if one.text == text)
                raise UserError(f"strategy {owner} cannot be played: {problem}")
        texts.sort()
        key = tuple(texts), any(one.weights is not None for one in strategies), rollout
        pool = self._pools.pop(key, None)
        if pool is None:
            pool = Pool(self.library, tuple(self.exports[text].call_one for text in texts), *key[1:])
        self._pools[key] = pool
        self._forget()
        choices = choices_of(self.library, strategies, {text: place for place, text in enumerate(texts, 1)})
        if rollout:
            extra = Choice(np.array([ROLLOUT], np.int32), np.zeros((1, self.library.size), np.float32))
            choices = jax.tree.map(lambda a, b: np.concatenate([a, b]), choices, extra)
        return pool, choices

    def _forget(self) -> None:
        """Lets go of the pools of texts that were used longest ago, and of their programs."""
        written = [key for key, pool in self._pools.items() if pool.functions]
        for old in written[:-KEPT]:
            pool = self._pools.pop(old)
            for key in [key for key in self.compiled if key.pool == pool]:
                del self.compiled[key]


class Measured:
    """A program that is compiled ahead for each batch size, which is reported, and whose games are counted.

    Args:
      program: to compile; its last argument is an array of keys [R].
      key: of the program.
      title: what is played, for the report.
      programs: count the games.
      report: is given the cost of each compilation.
    """

    def __init__(
        self,
        program: Program,
        key: ProgramKey,
        title: str,
        programs: Programs,
        report: Callable[[devices.Compiled], None],
    ):
        pool = key.pool
        kinds = ["weights"] * pool.compact + [f"{len(pool.functions)} written"] * bool(pool.functions)
        what = "games" if key.kind == "compile" else "states"
        self._name = f"{title} {what}: {', '.join(kinds + ['rollouts'] * pool.rollout)}"
        self._program, self._mesh, self._plays = program, key.mesh, key.kind == "compile"
        self._programs, self._report = programs, report
        self._compiled: dict[int, Program] = {}  # by R

    def __call__(self, *args: Any) -> Any:
        rows = len(args[-1])
        args = devices.shard_batch(jax.tree.map(jnp.asarray, args), self._mesh)
        if rows not in self._compiled:
            self._compiled[rows], cost = devices.compile(self._program, *args, name=f"{self._name}, {rows} rows")
            self._report(cost)
        start = time.monotonic()
        played = jax.block_until_ready(self._compiled[rows](*args))
        if self._plays:
            self._programs.seconds += time.monotonic() - start
            self._programs.games += rows
        return played


@dataclasses.dataclass(frozen=True)
class Matches:
    """Games between the strategies of a pool; what a league plays with, see `league.PlayRows`.

    Args:
      program: plays a batch.
      choices: [K], of the pool.
      keys: key[G], of the deals.
      batch_size: R.
      seen: gets the states that the games met; None: they are not wanted.
    """

    program: Program
    choices: Choice
    keys: jax.Array
    batch_size: int
    seen: list[Seen] | None = None

    def __call__(self, first: np.ndarray, second: np.ndarray, deal: np.ndarray) -> np.ndarray:
        """float[N]: rewards of `first` int[N] in seat 0 against `second` int[N], on deals int[N]."""
        keys, rewards = self.keys[deal], []
        for part, real in chunks(len(first), self.batch_size):
            sides = [jax.tree.map(lambda leaf, rows=side[part]: leaf[rows], self.choices) for side in (first, second)]
            played = self.program(*sides, keys[part])
            rewards.append(np.asarray(played.reward)[:real])
            if self.seen is not None:
                self.seen.append(seen_by(played, first[part], second[part], real))
        return np.concatenate(rewards)


def looked_at(states: Any, heuristic: jax.Array, search: jax.Array) -> Played:
    """Single states [R, ...] that one player each looked at, with values float32[R, P], as what a program returns."""
    rows = heuristic.shape[0]
    return Played(
        reward=jnp.zeros(rows),
        outcome=jnp.zeros((rows, 0)),
        states=jax.tree.map(lambda leaf: leaf[:, None], states),
        heuristic=heuristic[:, None, None],
        search=search[:, None, None],
        by_second=jnp.zeros((rows, 1, 1), bool),
        counts=jnp.ones((rows, 1, 1), bool),
    )


def chunks(size: int, rows: int) -> list[tuple[np.ndarray, int]]:
    """Row numbers in parts of one size, the last one filled up with its last row; and how many of each are real."""
    starts = range(0, size, rows)
    return [(np.minimum(np.arange(start, start + rows), size - 1), min(rows, size - start)) for start in starts]


def seen_by(played: Played, first: np.ndarray, second: np.ndarray, real: int) -> Seen:
    """The states of a batch of games, one entry for each player that looked at one."""
    counts = np.asarray(played.counts)[:real]
    games, turns, viewers = counts.shape
    who = np.where(np.asarray(played.by_second)[:real], second[:real, None, None], first[:real, None, None])

    def flat(leaf: Any) -> np.ndarray:
        return np.asarray(leaf)[:real].reshape(games * turns * viewers, *np.shape(leaf)[3:])

    kept = np.flatnonzero(counts.ravel())
    at = kept // viewers
    states = jax.tree.map(
        lambda leaf: np.asarray(leaf)[:real].reshape(games * turns, *np.shape(leaf)[2:])[at], played.states
    )
    return Seen(
        strategy=who.reshape(-1)[kept],
        state=states,
        heuristic=flat(played.heuristic)[kept],
        search=flat(played.search)[kept],
        outcome=np.asarray(played.outcome)[:real][kept // (turns * viewers)],
        counts=np.ones(len(kept), bool),
    )
