"""Evaluation of the strategies found: on fresh games against the seed and each other, against exact equilibrium play,
and against best responses, at every search budget.

Shapes: `S` seeds, `A` arms (ways to search), `M` methods among them, `T` = rounds + 1, `G` deals, `Q` budgets,
`K` strategies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.experiments.strategist.games import GopsStage, StageMixin
from jaxrl_suite.experiments.strategist.search import Searches, seed_strategy
from jaxrl_suite.search.gops import exact as gops_exact
from jaxrl_suite.strategist.heuristics.features_gops import gops_library
from jaxrl_suite.strategist.heuristics.pool import Pool, choices_of
from jaxrl_suite.strategist.judge import league
from jaxrl_suite.strategist.play import strength
from jaxrl_suite.strategist.play.gops import GopsPlayer

if TYPE_CHECKING:
    from jaxrl_suite.experiments.strategist.config import Config, GameName

ORIGIN = "seed heuristic"
FRESH, DECKS, NOISE = 1, 3, 5  # streams of the evaluation: deals, deals of exact play, search; others use 0, 2 and 4
CHUNK = 64  # states of the small game that are searched at a time


class Final(NamedTuple):
    """Fresh games, means over both seats, on the same deals for all; a win rate in Avalon, else points."""

    gains: np.ndarray  # float[S, A, T], of the best strategy after each round over the seed strategy
    cross: np.ndarray  # float[S, M, M], of the last best strategy of the row's method against the column's
    elo: np.ndarray  # float[S, M], of the last best strategy of each method above the seed strategy, see `elo_of`


class Exact(NamedTuple):
    """Strategies against perfect opponents, points a game."""

    names: list[str]  # K: "seed heuristic SEED", then "METHOD SEED"
    nash: np.ndarray  # float[Q, K], mean return against an exact equilibrium
    exploitability: np.ndarray  # float[Q, K] in the small game; empty if there is none


def play_final(config: Config, run: Run, game: GameName, stage: StageMixin, searches: Searches) -> Final:
    """Plays the last and the earlier best strategies of every search, one seed a step."""
    names, times = [arm.name for arm in searches.arms], 1 + config.rounds
    arms, seeds, methods = len(names), len(config.seeds), len(config.methods)
    even = 0.0 if stage.zero_sum else 0.5
    carry = np.zeros((seeds, arms, times)), np.full((seeds, methods, methods), even), np.zeros((seeds, methods))
    origin = seed_strategy(config, stage)
    loop = run.chunks(seeds, carry, f"{stage.title}: fresh games", name=f"final-{game}")
    for number in loop:
        gains, cross, elo = loop.carry
        players, place = [origin], {_what(origin): 0}
        best = np.zeros((arms, times), int)
        for arm, name in enumerate(names):
            search = searches.found[name][number]
            points = search.curve if arm < methods else search.curve[-1:]  # of variants the last is all that is shown
            for point in points:
                strategy = search.tree[point.best]
                if _what(strategy) not in place:
                    place[_what(strategy)] = len(players)
                    players.append(strategy)
                best[arm, point.round :] = place[_what(strategy)]
        last = best[:, -1]
        wanted = {(0, player) for player in range(1, len(players))}
        wanted |= {(min(a, b), max(a, b)) for a in last[:methods] for b in last[:methods] if a != b}
        pairs = sorted(wanted)
        if pairs:
            keys = jax.random.split(
                jax.random.fold_in(jax.random.key(FRESH), config.seeds[number]), config.deals_of(game)
            )
            payoff = np.full((len(players), len(players), len(keys)), even)
            for (a, b), scores in zip(pairs, stage.duel(players, pairs, keys), strict=True):
                payoff[a, b], payoff[b, a] = scores, (-scores if stage.zero_sum else 1 - scores)
            table = payoff.mean(axis=2)
            gains[number] = table[best, 0] - even
            cross[number] = table[np.ix_(last[:methods], last[:methods])]
            elo[number] = elo_of(payoff, last[:methods].tolist(), stage.zero_sum)
        run.log(seed=config.seeds[number], gains=dict(zip(names, gains[number, :, -1].tolist(), strict=True)))
        loop.carry = gains, cross, elo
    return Final(*loop.carry)


def elo_of(payoff: np.ndarray, last: Sequence[int], zero_sum: bool) -> np.ndarray:
    """float[M]: Elo points of the players `last` above player 0, from their games against it and each other.

    Args:
      payoff: float[K, K, G], the row's mean over both seats against the column on each deal.
      last: M players; several may be the same.
      zero_sum: see `League`.
    """
    distinct = sorted({0, *last})
    games = payoff[np.ix_(distinct, distinct)]
    played = np.broadcast_to(~np.eye(len(distinct), dtype=bool)[..., None], games.shape)
    rated = league.ratings(league.League(games, played, zero_sum))
    return np.array([rated[distinct.index(player)] - rated[0] for player in last])


def _what(strategy: Strategy) -> object:
    return strategy.weights if strategy.weights is not None else strategy.text


def measured(config: Config, stage: StageMixin, searches: Searches) -> tuple[list[str], list[Strategy]]:
    """The seed strategy and the best of each search that is held against exact opponents, once for each seed."""
    found = {ORIGIN: [seed_strategy(config, stage)] * len(config.seeds)}
    found |= {method: [search.best for search in searches.found[method]] for method in config.exact_methods}
    names = [f"{kind} {seed}" for kind in found for seed in config.seeds]
    return names, [one for strategies in found.values() for one in strategies]


def play_exact(config: Config, run: Run, stage: GopsStage, searches: Searches) -> Exact:
    """Returns against the exact equilibrium, and exploitability in a small game, one budget a step.

    Each seed has decks of its own, common to its strategies and to all budgets: intervals over seeds know of the luck
    of the draw, and differences do not.
    """
    names, strategies = measured(config, stage, searches)
    pool, choices = stage.pool_of(strategies)
    budgets, kinds = config.budgets, len(names) // len(config.seeds)
    decks = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(DECKS), np.array(config.seeds * kinds, np.uint32))
    table = np.zeros((len(budgets), len(names)))
    solution = None
    loop = run.chunks(len(budgets), table, "GOPS: against exact equilibrium play", name="nash")
    for step in loop:
        if solution is None:
            solution = gops_exact.solve_gops(stage.library.game)  # pyright: ignore[reportArgumentType]
        player = GopsPlayer(pool, budgets[step], stage.style)
        returns = strength.nash_returns(
            player, solution, choices, config.nash_deals, decks, batch_size=config.batch_size, mesh=stage.mesh
        )
        loop.carry[step] = returns.mean(axis=1)
        run.log(budget=budgets[step], returns=dict(zip(names, loop.carry[step].tolist(), strict=True)))
    return Exact(names, loop.carry, exploit(config, run, stage, names, strategies))


def exploit(config: Config, run: Run, stage: GopsStage, names: list[str], strategies: Sequence[Strategy]) -> np.ndarray:
    """float[Q, K], or empty: texts are exported for one size of the game, so only compact strategies can be moved."""
    if not config.small_cards or any(one.weights is None for one in strategies):
        return np.zeros((0, len(names)))
    library = gops_library(Gops(config.small_cards, objective="points"))
    distinct = {_what(one): one for one in strategies}
    places = [list(distinct).index(_what(one)) for one in strategies]
    choices = choices_of(library, list(distinct.values()), {})
    budgets = config.budgets
    title = f"GOPS-{config.small_cards}: exploitability"
    loop = run.chunks(len(budgets), np.zeros((len(budgets), len(names))), title, name="exploitability")
    for step in loop:
        player = GopsPlayer(Pool(library), budgets[step], stage.style)
        found = strength.exploitabilities(
            player, choices, jax.random.key(NOISE), policy_samples=config.policy_samples, chunk=CHUNK
        )
        loop.carry[step] = found[places, 0]
        run.log(budget=budgets[step], exploitability=dict(zip(names, loop.carry[step].tolist(), strict=True)))
    return loop.carry
