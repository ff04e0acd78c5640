"""Evaluation of the strategies found: on fresh games against the seed and each other, against exact equilibrium play,
against best responses at every search budget, and by what it cost.

Shapes: `S` seeds, `A` arms (ways to search), `M` methods among them, `T` = rounds + 1, `G` deals, `Q` budgets,
`K` strategies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from jaxrl_suite.core import plot, stats
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.experiments.strategist.search import OURS, Searches, seed_strategy
from jaxrl_suite.search.gops import exact as gops_exact
from jaxrl_suite.strategist.heuristics.features_gops import gops_library
from jaxrl_suite.strategist.heuristics.pool import Pool, choices_of
from jaxrl_suite.strategist.judge import league
from jaxrl_suite.strategist.judge.base import HeuristicJudge
from jaxrl_suite.strategist.judge.gops import GopsJudge
from jaxrl_suite.strategist.play import strength
from jaxrl_suite.strategist.play.gops import GopsPlayer

if TYPE_CHECKING:
    from jaxrl_suite.experiments.strategist.config import Config, GameName

ORIGIN = "seed heuristic"
FRESH, DECKS, NOISE = 1, 3, 5  # streams of the evaluation: deals, deals of exact play, search; others use 0, 2 and 4
CHUNK = 64  # states of the small game that are searched at a time
ONE_SEED = "One seed has no interval."
UNITS = {"gops": "points a game", "avalon": "share of games won"}


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


def play_final(config: Config, run: Run, game: GameName, judge: HeuristicJudge, searches: Searches) -> Final:
    """Plays the last and the earlier best strategies of every search, one seed a step."""
    names, times = [arm.name for arm in searches.arms], 1 + config.search.rounds
    arms, seeds, methods = len(names), len(config.seeds), len(config.methods)
    even = 0.0 if judge.zero_sum else 0.5
    carry = np.zeros((seeds, arms, times)), np.full((seeds, methods, methods), even), np.zeros((seeds, methods))
    origin = seed_strategy(config, judge)
    matches = judge.with_config(batch_size=config.batch_sizes_of(game)[1])
    loop = run.chunks(seeds, carry, f"{judge.title}: fresh games", name=f"final-{game}")
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
            for (a, b), scores in zip(pairs, matches.duel(players, pairs, keys), strict=True):
                payoff[a, b], payoff[b, a] = scores, (-scores if judge.zero_sum else 1 - scores)
            table = payoff.mean(axis=2)
            gains[number] = table[best, 0] - even
            cross[number] = table[np.ix_(last[:methods], last[:methods])]
            elo[number] = elo_of(payoff, last[:methods].tolist(), judge.zero_sum)
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


def measured(config: Config, judge: HeuristicJudge, searches: Searches) -> tuple[list[str], list[Strategy]]:
    """The seed strategy and the best of each search that is held against exact opponents, once for each seed."""
    found = {ORIGIN: [seed_strategy(config, judge)] * len(config.seeds)}
    found |= {method: [search.best for search in searches.found[method]] for method in config.exact.methods}
    names = [f"{kind} {seed}" for kind in found for seed in config.seeds]
    return names, [one for strategies in found.values() for one in strategies]


def play_exact(config: Config, run: Run, judge: GopsJudge, searches: Searches) -> Exact:
    """Returns against the exact equilibrium, and exploitability in a small game, one budget a step.

    Each seed has decks of its own, common to its strategies and to all budgets: intervals over seeds know of the luck
    of the draw, and differences do not.
    """
    names, strategies = measured(config, judge, searches)
    pool, choices = judge.programs.pool(strategies)
    budgets, kinds = config.exact.budgets, len(names) // len(config.seeds)
    decks = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(DECKS), np.array(config.seeds * kinds, np.uint32))
    table = np.zeros((len(budgets), len(names)))
    solution = None
    loop = run.chunks(len(budgets), table, "GOPS: against exact equilibrium play", name="nash")
    for step in loop:
        if solution is None:
            solution = gops_exact.solve_gops(judge.library.game)  # pyright: ignore[reportArgumentType]
        player = GopsPlayer(pool, budgets[step], judge.style)
        returns = strength.nash_returns(
            player, solution, choices, config.exact.deals, decks, batch_size=config.batch_size, mesh=judge.mesh
        )
        loop.carry[step] = returns.mean(axis=1)
        run.log(budget=budgets[step], returns=dict(zip(names, loop.carry[step].tolist(), strict=True)))
    return Exact(names, loop.carry, exploit(config, run, judge, names, strategies))


def exploit(config: Config, run: Run, judge: GopsJudge, names: list[str], strategies: Sequence[Strategy]) -> np.ndarray:
    """float[Q, K], or empty: texts are exported for one size of the game, so only compact strategies can be moved."""
    if not config.exact.small_cards or any(one.weights is None for one in strategies):
        return np.zeros((0, len(names)))
    library = gops_library(Gops(config.exact.small_cards, objective="points"))
    distinct = {_what(one): one for one in strategies}
    places = [list(distinct).index(_what(one)) for one in strategies]
    choices = choices_of(library, list(distinct.values()), {})
    budgets = config.exact.budgets
    title = f"GOPS-{config.exact.small_cards}: exploitability"
    loop = run.chunks(len(budgets), np.zeros((len(budgets), len(names))), title, name="exploitability")
    for step in loop:
        player = GopsPlayer(Pool(library), budgets[step], judge.style)
        found = strength.exploitabilities(
            player, choices, jax.random.key(NOISE), policy_samples=config.exact.policy_samples, chunk=CHUNK
        )
        loop.carry[step] = found[places, 0]
        run.log(budget=budgets[step], exploitability=dict(zip(names, loop.carry[step].tolist(), strict=True)))
    return loop.carry


def banded(series: dict[str, Any]) -> dict[str, Any]:
    """The series with the band of one of them: five that overlap show nothing."""
    shown = OURS if OURS in series else next(iter(series))
    return {name: line if name == shown else line[:2] for name, line in series.items()}


def cost_axis(config: Config) -> str:
    """The unit that the proposer is paid by: tokens, or calls where it has none."""
    return "output_tokens" if config.proposer != "grammar" else "calls"


def at_equal_cost(config: Config, searches: Searches, final: Final) -> tuple[str, np.ndarray]:
    """The axis, and float[S, M]: gains of the methods when none may use more than the cheapest search did in all."""
    axis = cost_axis(config)
    found = [searches.found[method] for method in config.methods]
    most = min(getattr(search.cost, axis) for row in found for search in row)
    gains = np.zeros((len(config.seeds), len(found)))
    for place, row in enumerate(found):
        for number, search in enumerate(row):
            rounds = [point.round for point in search.curve if getattr(point.cost, axis) <= most]
            gains[number, place] = final.gains[number, place, rounds[-1]]
    return axis, gains


def write_cost(config: Config, run: Run, game: GameName, title: str, searches: Searches, final: Final) -> None:
    """Strength by what the proposer was paid: output tokens, or calls where it has no tokens."""
    field = cost_axis(config)
    series, rises = {}, {}
    for place, method in enumerate(config.methods):
        curves = [[getattr(point.cost, field) for point in search.curve] for search in searches.found[method]]
        length = min(map(len, curves))
        spent = np.mean([curve[:length] for curve in curves], axis=0)
        line = np.array([stats.mean_or_value(final.gains[:, place, at]) for at in range(length)])
        series[method] = (spent, *line.T)
        early = max(1, (length - 1) // 4)
        rises[method] = stats.mean_or_value(final.gains[:, place, -1] - final.gains[:, place, min(early, length - 1)])
    label = field.replace("_", " ") + (" of the proposer" if field == "calls" else "")
    figure = plot.lines(
        banded(series),
        xlabel=label,
        ylabel=f"{UNITS[game]} over the seed heuristic",
        title=f"{title}: the best strategy by what it cost",
        references={"seed heuristic": 0.0},
    )
    why = "" if field == "output_tokens" else " The grammar has no tokens; calls stand for them."
    run.figure(f"cost_{game}", figure, f"Means over seeds; band: 95 % interval.{why}")
    if game != "gops" or OURS not in rises or len(rises) < 2:
        return
    rising = [method for method, cell in rises.items() if cell.low > 0]
    mine = rises[OURS]
    comparable = len(config.seeds) >= 5 and config.gops.num_cards == 6 and len(rises) >= 5 and config.search.rounds >= 4
    held = rising == [OURS]
    run.result(
        "strat-12",
        mine.estimate,
        low=mine.low,
        high=mine.high,
        unit="points gained from a quarter of the budget to all of it",
        verdict="not comparable" if not comparable else "held" if held else "partly" if OURS in rising else "not held",
        scale=f"{title}, {len(config.seeds)} seeds, {config.search.strategies} strategies",
        note=(f"Surely rising: {', '.join(rising) or 'none'}." if len(config.seeds) > 1 else ONE_SEED) + why,
    )


def write_budgets(run: Run, game: GameName, searches: Searches) -> None:
    """Writes what each method used, which shows the budgets equal."""
    paid = any(search.cost.output_tokens for found in searches.found.values() for search in found)
    fields = ("strategies", "dropped", "calls", "games", "checks")
    fields += ("prompt_tokens", "output_tokens") if paid else ("characters",)
    rows = []
    for arm in searches.arms:
        costs = [search.cost for search in searches.found[arm.name]]
        row: dict[str, Any] = {"search": arm.name}
        for field in fields:
            values = [getattr(cost, field) for cost in costs]
            row[field] = float(np.mean(values))
            if field in ("strategies", "games"):
                row[f"{field}_range"] = f"{min(values)} to {max(values)}"
        rows.append(row)
    caption = (
        "Used by a search, a mean over seeds. Games count once for each strategy in them, so that one against the "
        "fixed opponent counts half of one in the population. Strategies written and those dropped add up to the same "
        "number; line search puts a copy of the parent in the place of a dropped one, and plays it. A grammar has no "
        "tokens: characters it wrote stand for them."
    )
    run.table(f"budgets_{game}", rows, caption=caption)
