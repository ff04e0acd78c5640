"""Talk on the channel of claims: learned before the first quest of a game, and beside whole games of bots.

Shapes: `S` seeds, `T` = points + 1, `M` measures, `G` games, `N` proposals, `F` phases, `V` ways to talk.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.avalonbench.cheap_talk.game import Talked, play_and_talk
from jaxrl_suite.avalonbench.cheap_talk.learning import Params, TalkLearner, TalkLearnerState
from jaxrl_suite.avalonbench.cheap_talk.policies import ClaimPolicy, babbling, simple
from jaxrl_suite.avalonbench.observation_models import FailCounts
from jaxrl_suite.core import devices, trees
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs.avalon.game import Avalon

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jaxrl_suite.experiments.avalon_dialogue.config import Config

GAME = Avalon(5)
MEASURES = ("good_return", "accuracy", "log_loss", "merlin_found", "surprise")
PROPOSALS = 10  # N, the first ones of a game, which are shown
PHASES = 30  # of a game; almost all end before
_LEARN, _MEASURE, _PLAY = range(3)  # streams


class TalkSetting(NamedTuple):
    """One setting in which talk is learned.

    Args:
      name: for metrics.
      title: for tables.
      train_evil: evil players learn too.
      scrambled: the claims are about another deal.
    """

    name: str
    title: str
    train_evil: bool = False
    scrambled: bool = False


ARMS = (
    TalkSetting("good-learns", "good learns"),
    TalkSetting("both-learn", "both learn", train_evil=True),
    TalkSetting("other-deal", "another deal", scrambled=True),
)


class Learned(NamedTuple):
    """Results of the learners.

    Args:
      curves: by name of the arm, float[S, T, M] on fresh deals, the same for all arms and points.
      params: by name of the arm, with leaves [S, ...].
      misled: float[S, M], the policies of the first arm where the claims are about another deal.
      silent: float[M], where nobody says anything; the surprise aside, no deal differs from another.
    """

    curves: dict[str, np.ndarray]
    params: dict[str, Params]
    misled: np.ndarray
    silent: np.ndarray


def learn(config: Config, run: Run) -> Learned:
    """Trains every arm with every seed, all in one program, a point of the curves at a time."""
    arms, seeds, how = len(ARMS), len(config.seeds), config.learning
    mesh, size = run.mesh(batch=arms * seeds), how.updates // how.points
    learner = TalkLearner(GAME, batch=how.batch_size, learning_rate=how.learning_rate, merlin_weight=how.merlin_weight)
    train = _Program(run, mesh, _trainer(learner, size), "learning to talk")
    measure = _Program(run, mesh, _measurer(learner, how.deals), "talk, measured")
    flags = tuple(np.repeat([getattr(arm, name) for arm in ARMS], seeds) for name in ("train_evil", "scrambled"))
    fresh = _keys(_MEASURE, config.seeds * arms)
    state = _each(learner.init(), arms * seeds)
    curve = np.zeros((arms * seeds, how.points + 1, len(MEASURES)))
    curve[:, 0] = measure(state.params, flags[1], fresh)
    loop = run.chunks(how.points, (state, curve), "learning to talk", name="talk")
    for point in loop:
        state = train(loop.carry[0], *flags, _keys(_LEARN, config.seeds * arms, point))
        trees.check_finite(state.params, f"learning to talk, point {point + 1}")
        curve = loop.carry[1].copy()
        curve[:, point + 1] = measure(state.params, flags[1], fresh)
        loop.carry = state, curve
        for at, arm in enumerate(ARMS):
            means = curve[at * seeds : (at + 1) * seeds, point + 1].mean(axis=0).tolist()
            run.log(arm=arm.name, **dict(zip(MEASURES, means, strict=True)))
    run.throughput("deals of talk, learned from", how.updates * how.batch_size * arms * seeds, loop.seconds)
    params, curve = jax.device_get(loop.carry[0].params), np.asarray(loop.carry[1])
    place = {arm.name: slice(at * seeds, (at + 1) * seeds) for at, arm in enumerate(ARMS)}
    by_arm = {name: jax.tree.map(lambda leaf, rows=rows: leaf[rows], params) for name, rows in place.items()}
    first, mute = by_arm[ARMS[0].name], _each(Params(babbling(), babbling()), (arms - 1) * seeds)
    controls = jax.tree.map(lambda *parts: np.concatenate(parts), first, mute)
    found = measure(controls, np.arange(arms * seeds) < seeds, fresh)
    curves = {name: curve[rows] for name, rows in place.items()}
    return Learned(curves, by_arm, found[:seeds], found[seeds : 2 * seeds].mean(axis=0))


class _Program:
    """A function of arrays with one row for each learner, compiled at its first call."""

    def __init__(self, run: Run, mesh: Mesh, fn: Any, name: str):
        self._run, self._mesh, self._name = run, mesh, name
        self._fn: Any = devices.map_batch(fn, mesh)
        self._compiled: Any = None

    def __call__(self, *args: Any) -> Any:
        args = devices.shard_batch(jax.tree.map(jnp.asarray, args), self._mesh)
        if self._compiled is None:
            self._compiled = self._run.compile(self._fn, *args, name=self._name)
        return self._compiled(*args)


def _trainer(learner: TalkLearner, updates: int) -> Any:
    """A function of states, switches and keys: the states some updates later."""

    def one(state: TalkLearnerState, train_evil: jax.Array, scrambled: jax.Array, key: jax.Array) -> TalkLearnerState:
        mine = dataclasses.replace(learner, train_evil=train_evil, scrambled=scrambled)

        def step(at: TalkLearnerState, key: jax.Array) -> tuple[TalkLearnerState, None]:
            return mine.update(at, key)[0], None

        return jax.lax.scan(step, state, jax.random.split(key, updates))[0]

    return jax.vmap(one)


def _measurer(learner: TalkLearner, deals: int) -> Any:
    """A function of params, a switch and keys: float32[rows, M], means over fresh deals."""

    def one(params: Params, scrambled: jax.Array, key: jax.Array) -> jax.Array:
        found = dataclasses.replace(learner, batch=deals, scrambled=scrambled).evaluate(params, key)
        values = found._asdict() | found.deduction._asdict()
        return jnp.stack([values[name] for name in MEASURES])

    return jax.vmap(one)


class Way(NamedTuple):
    """A way of talking in bots' games: how players talk, and how they take each other to talk.

    Args:
      title: for tables.
      speaking: policies with leaves [S, ...].
      hearing: the same.
      scrambled: the claims are about another deal.
    """

    title: str
    speaking: ClaimPolicy
    hearing: ClaimPolicy
    scrambled: bool = False


class TalkGames(NamedTuple):
    """Bots' games, read without and with the talk.

    Args:
      ways: V titles.
      reached: float[V, S, N], share of games with an n-th proposal.
      by_proposal: float[V, S, N, 2, 3]: silent and talked; accuracy, log loss, Merlin found; 0 where none reached it.
      whole: float[V, S, 2, 3], means over games of the mean over a game's proposals.
    """

    ways: list[str]
    reached: np.ndarray
    by_proposal: np.ndarray
    whole: np.ndarray


def ways_of(config: Config, learned: Learned) -> list[Way]:
    """The ways to talk, those that were learned last."""

    def known(title: str, hearing: ClaimPolicy | None = None, scrambled: bool = False, **policy: float) -> Way:
        speaking = simple(**policy)
        heard = speaking if hearing is None else hearing
        return Way(title, _each(speaking, len(config.seeds)), _each(heard, len(config.seeds)), scrambled)

    babble = _each(babbling(), len(config.seeds))
    return [
        known("open"),
        known("evil half hides", evil_imitates=0.5),
        known("evil hides", evil_imitates=1.0),
        known("all hide", evil_imitates=1.0, merlin_imitates=0.9),
        known("trusted", hearing=simple(), evil_imitates=1.0),
        *(Way(arm.title, *learned.params[arm.name]) for arm in ARMS[:2]),
        Way("babbling", babble, babble),
        known("another deal", scrambled=True),
    ]


def play(config: Config, run: Run, learned: Learned) -> TalkGames:
    """The same games of naive bots with every way to talk, one way and seed a step; the bots do not listen."""
    ways = ways_of(config, learned)
    jobs = [(way, seed) for way in range(len(ways)) for seed in range(len(config.seeds))]
    mesh, bots, model = run.mesh(batch=config.learning.games), Bots(GAME), FailCounts()

    def games(keys: jax.Array, speaking: ClaimPolicy, hearing: ClaimPolicy, scrambled: jax.Array):
        def one(talked: Talked) -> tuple[jax.Array, jax.Array]:
            values = jnp.stack(
                [jnp.stack(kind, axis=1) for kind in (talked.silent, talked.talked)], axis=1
            )  # [F, 2, 3]
            number = jnp.cumsum(talked.asked) - 1
            at = (number[:, None] == jnp.arange(PROPOSALS)) & talked.asked[:, None]  # [F, N]
            mean = jnp.einsum("f,fkm->km", talked.asked, values) / jnp.sum(talked.asked)
            return jnp.any(at, axis=0), jnp.concatenate([jnp.einsum("fn,fkm->nkm", at, values), mean[None]])

        return jax.vmap(one)(play_and_talk(bots, model, speaking, hearing, keys, PHASES, scrambled))

    shape = len(ways), len(config.seeds), PROPOSALS
    carry = np.zeros(shape), np.zeros((*shape, 2, 3)), np.zeros((*shape[:2], 2, 3))
    loop = run.chunks(len(jobs), carry, "talk in games of bots", name="talk-games")
    program = None
    for job in loop:
        way, seed = jobs[job]
        mine = jax.tree.map(lambda leaf, seed=seed: jnp.asarray(leaf[seed]), (ways[way].speaking, ways[way].hearing))
        keys = devices.shard_batch(jax.random.split(_keys(_PLAY, config.seeds)[seed], config.learning.games), mesh)
        args = keys, *devices.replicate((*mine, jnp.asarray(ways[way].scrambled)), mesh)
        program = program or run.compile(devices.map_batch(games, mesh, replicated=(1, 2, 3)), *args, name="games")
        there, values = (np.asarray(part, np.float64) for part in program(*args))
        reached, by_proposal, whole = (part.copy() for part in loop.carry)
        reached[way, seed] = there.mean(axis=0)
        by_proposal[way, seed] = values[:, :-1].sum(axis=0) / np.maximum(there.sum(axis=0), 1)[:, None, None]
        whole[way, seed] = values[:, -1].mean(axis=0)
        loop.carry = reached, by_proposal, whole
        run.log(way=ways[way].title, seed=config.seeds[seed], log_loss=whole[way, seed, :, 1].tolist())
    run.throughput("games of bots, read with and without talk", len(jobs) * config.learning.games, loop.seconds)
    return TalkGames([way.title for way in ways], *(np.asarray(part) for part in loop.carry))


def _keys(stream: int, seeds: tuple[int, ...], *more: int) -> jax.Array:
    """key[S]: one a seed; `more` names its parts."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(stream), np.asarray(seeds, np.uint32))
    for part in more:
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, part)
    return keys


def _each(tree: Any, seeds: int) -> Any:
    """The same for every seed: leaves [S, ...]."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.asarray(leaf), (seeds, *np.shape(leaf))), tree)
