"""Learners beside the searches: AlphaZero-style networks, and DeepRole for Avalon.

Verdicts go by the fewest episodes that are no fewer than the games that a search plays; there is none without.
In GOPS a learner plays the strategy that Strategist found with the same seed, with equal simulations. In Avalon the
players of one side act by the network, by the strategy, or by the solver, and the others are the naive bots.

Shapes: `S` seeds, `L` learners, `E` numbers of episodes, `G` deals.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.avalonbench.matches import play_side
from jaxrl_suite.avalonbench.observation_models import VotesAndProposals
from jaxrl_suite.avalonbench.search_agent import SearchAgent
from jaxrl_suite.core import devices, stats, trees
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs.gops.game import Gops
from jaxrl_suite.experiments.strategist.search import OURS, Searches, seed_strategy
from jaxrl_suite.search import arena
from jaxrl_suite.strategist.heuristics.pool import Choice, Pool
from jaxrl_suite.strategist.judge.avalon import AvalonJudge
from jaxrl_suite.strategist.judge.base import HeuristicJudge
from jaxrl_suite.strategist.judge.gops import GopsJudge
from jaxrl_suite.strategist.learners.alphazero import AlphaZero
from jaxrl_suite.strategist.learners.avalon_value import AvalonValueLearner
from jaxrl_suite.strategist.learners.deeprole import play as deeprole_play
from jaxrl_suite.strategist.learners.deeprole.learner import SITUATIONS_A_GAME, DeepRole
from jaxrl_suite.strategist.play.avalon import AvalonPoolEvaluator
from jaxrl_suite.strategist.play.gops import GopsPlayer

if TYPE_CHECKING:
    from jaxrl_suite.experiments.strategist.config import Config, GameName

FRESH, LEARNING = 2, 4  # streams of the deals and of the learners
GOPS_LEARNERS = "AlphaZero, fair", "AlphaZero, as published"
EVEN = 0.5  # share of games that naive bots win against naive bots, a mean over both sides
A_WORLD = dict(num_simulations=8, num_assignments=4)  # search of a decision in Avalon, for network and strategy alike


class GopsLearner(NamedTuple):
    """A kind of learner, and how it is trained and played.

    Args:
      init: from a key to its state.
      update: (state, key) to (state, loss).
      games: episodes of an update.
    """

    init: Callable[[jax.Array], Any]
    update: Callable[[Any, jax.Array], tuple[Any, Any]]
    games: int


def write(config: Config, run: Run, judge: HeuristicJudge, searches: Searches) -> None:
    """Trains the learners of a game, plays, and reports."""
    if isinstance(judge, GopsJudge):
        write_gops(config, run, judge.title, play_gops(config, run, judge, searches))
    elif isinstance(judge, AvalonJudge):
        write_avalon(config, run, judge.title, *play_avalon(config, run, judge, searches))


def snapshots(numbers: Sequence[int], learner: GopsLearner, update: Any, seed: int) -> list[Any]:
    """The learner's parameters after each number of episodes, rounded up to whole updates."""
    init_key, steps_key = jax.random.split(jax.random.fold_in(jax.random.key(LEARNING), seed))
    state, players, done = learner.init(init_key), [], 0
    for episodes in sorted(numbers):
        for step in range(done, -(-episodes // learner.games)):
            state, _ = update(state, jax.random.fold_in(steps_key, step))
            done = step + 1
        trees.check_finite(state.params, f"training, seed {seed}, {episodes} episodes")
        players.append(state.params)
    return players


def at_least(config: Config, game: GameName) -> tuple[int, str]:
    """The fewest episodes that are no fewer than the games that a search plays; or the most, and why it is unfair."""
    played, numbers = config.search.rounds * config.games_of(game), config.episodes_of(game)
    enough = [episodes for episodes in numbers if episodes >= played]
    if enough:
        return min(enough), ""
    option, most = "--episodes" if game == "gops" else "--avalon-episodes", max(numbers)
    return most, f"A search plays {played} games, the learner {most}: {option} {played} would compare like with like."


def compiled_update(run: Run, learner: GopsLearner, name: str) -> Any:
    example = jax.eval_shape(learner.init, jax.random.key(0))
    return run.compile(learner.update, example, jax.random.key(0), name=f"{name}: an update")


# GOPS.


def gops_learners(config: Config, game: Gops) -> dict[str, AlphaZero]:
    makers = AlphaZero.fair, AlphaZero.paper
    made = (make(game, num_simulations=config.gops.num_simulations) for make in makers)
    return dict(zip(GOPS_LEARNERS, made, strict=True))


def play_gops(config: Config, run: Run, judge: GopsJudge, searches: Searches) -> np.ndarray:
    """float[S, L, E]: points of Strategist's best against each learner, over both seats."""
    game: Any = judge.library.game
    learners = gops_learners(config, game)
    best = [search.best for search in searches.found[OURS]]
    pool, choices = judge.programs.pool(best)
    player = GopsPlayer(pool, config.gops.num_simulations, judge.style)
    jobs = [(kind, seed) for kind in learners for seed in range(len(config.seeds))]
    scores = np.zeros((len(jobs), len(config.gops.episodes)))
    programs: dict[str, Any] = {}
    loop = run.chunks(len(jobs), scores, f"{judge.title}: learners", name="learners-gops")
    for job in loop:
        kind, number = jobs[job]
        whole, seed = learners[kind], config.seeds[number]
        learner = GopsLearner(whole.init, whole.update, whole.games)
        if kind not in programs:
            match = devices.map_batch(
                functools.partial(_gops_match, game, player, whole), judge.mesh, replicated=(0, 1)
            )
            programs[kind] = compiled_update(run, learner, kind), match
        update, match = programs[kind]
        choice = jax.tree.map(lambda leaf, row=number: jnp.asarray(leaf)[row], choices)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(FRESH), seed), _even(config.gops.deals, judge.mesh))
        for place, params in enumerate(snapshots(config.gops.episodes, learner, update, seed)):
            loop.carry[job, place] = float(np.mean(match(params, choice, keys)))
        run.log(learner=kind, seed=seed, points=loop.carry[job].tolist())
    return np.moveaxis(np.asarray(loop.carry).reshape(len(learners), len(config.seeds), -1), 0, 1)


def _gops_match(game: Gops, player: GopsPlayer, learner: AlphaZero, params: Any, choice: Choice, keys: jax.Array):
    def strategy(keys, states):
        rows = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (keys.shape[0], *leaf.shape)), choice)
        return player(rows, keys, states)[0]

    return arena.play_both_seats(game, (strategy, learner.policy(params)), keys)


def write_gops(config: Config, run: Run, title: str, scores: np.ndarray) -> None:
    rows, cells = [], {}
    for place, kind in enumerate(GOPS_LEARNERS):
        for at, episodes in enumerate(sorted(config.gops.episodes)):
            cell = cells[kind, episodes] = stats.mean_or_value(scores[:, place, at])
            rows.append(
                {"learner": kind, "episodes": episodes, "points": cell.estimate, "low": cell.low, "high": cell.high}
            )
    search_games = config.search.rounds * config.gops.round_games
    caption = (
        f"Points of Strategist's best against each learner in {title}, {config.gops.num_simulations} simulations "
        "per move on both sides; 95 % intervals over seeds. An episode is a game of self-play. A search over "
        f"{config.search.strategies} strategies plays about {search_games} games, without learning from "
        "them what the learners do. In GOPS only the bids are hidden: DeepRole comes down to the fair network here."
    )
    run.table("learners_gops", rows, caption=caption)
    episodes, unfair = at_least(config, "gops")
    cell = cells["AlphaZero, fair", episodes]
    comparable = len(config.seeds) >= 5 and config.gops.num_cards == 6 and not unfair
    verdict = "held" if cell.low > 0 else "not held"
    note = "Against a policy and value network with replay, Adam and the same search, which is given all facts."
    run.result(
        "strat-4",
        cell.estimate,
        low=cell.low,
        high=cell.high,
        unit="points a game",
        verdict=verdict if comparable else "not comparable",
        scale=f"{title}, {len(config.seeds)} seeds, {episodes} episodes",
        note=f"{unfair} {note}".strip(),
    )


# Avalon.


def play_avalon(config: Config, run: Run, judge: AvalonJudge, searches: Searches) -> tuple[list[str], np.ndarray]:
    """Names of players, and float[S, players]: win rates against naive bots, a mean over both sides."""
    game: Any = judge.library.game
    bots, model = Bots(game), VotesAndProposals()
    values, solver = AvalonValueLearner(bots), DeepRole(game)
    kinds = {
        "AlphaZero-style": GopsLearner(values.init, values.update, values.games),
        "DeepRole": GopsLearner(solver.init, solver.update, solver.games),
    }
    pool, choices = judge.programs.pool(
        [seed_strategy(config, judge), *(search.best for search in searches.found[OURS])]
    )
    names = ["seed heuristic", OURS]
    names += [f"{kind}, {episodes} episodes" for kind in kinds for episodes in sorted(config.avalon.episodes)]
    deals = _even(config.avalon.deals, judge.mesh)

    def compiled(fn: Callable[..., Any]) -> Any:
        return devices.map_batch(fn, judge.mesh, replicated=(0,))

    def searched(side: Literal["good", "evil"], kind: str, what: Any, keys: jax.Array) -> jax.Array:
        if kind == "strategy":
            evaluator = AvalonPoolEvaluator(Pool(pool.library, pool.functions, pool.compact), bots)
            agent = SearchAgent(bots, model, lambda key, state, memory: evaluator(what, key, state, memory), **A_WORLD)
            wins = play_side(agent, side, bots, keys).good_wins
        elif kind == "AlphaZero-style":
            wins = play_side(SearchAgent(bots, model, values.evaluator(what), **A_WORLD), side, bots, keys).good_wins
        else:
            wins = deeprole_play.play(solver, what, side, bots, keys, model).good_wins
        return wins if side == "good" else ~wins

    matches = {
        (side, kind): compiled(functools.partial(searched, side, kind))
        for side in ("good", "evil")
        for kind in ("strategy", *kinds)
    }

    def rate(kind: str, what: Any, keys: jax.Array) -> float:
        return float(np.mean([np.mean(matches[side, kind](what, keys)) for side in ("good", "evil")]))

    updates: dict[str, Any] = {}
    loop = run.chunks(
        len(config.seeds), np.zeros((len(config.seeds), len(names))), f"{judge.title}: learners", name="learners-avalon"
    )
    for number in loop:
        seed = config.seeds[number]
        keys = jax.random.split(jax.random.fold_in(jax.random.key(FRESH), seed), deals)
        row = [rate("strategy", _row(choices, place), keys) for place in (0, number + 1)]
        for kind, learner in kinds.items():
            if kind not in updates:
                updates[kind] = compiled_update(run, learner, kind)
            stages = snapshots(config.avalon.episodes, learner, updates[kind], seed)
            row += [rate(kind, params, keys) for params in stages]
        loop.carry[number] = row
        run.log(seed=seed, rates=dict(zip(names, row, strict=True)))
    return names, np.asarray(loop.carry)


def write_avalon(config: Config, run: Run, title: str, names: Sequence[str], rates: np.ndarray) -> None:
    ours = rates[:, names.index(OURS)]
    rows, cells, weak = [], {}, set[str]()
    for place, name in enumerate(names):
        cell = stats.mean_or_value(rates[:, place])
        less = cells[name] = stats.mean_or_value(ours - rates[:, place])
        if place > 1 and cell.estimate < EVEN:  # of the learners
            weak.add(name)
        rows.append(
            {"player": name, "win_rate": cell.estimate, "low": cell.low, "high": cell.high,
             "strategist_less_this": less.estimate, "less_low": less.low, "less_high": less.high}
        )  # fmt: skip
    caption = (
        f"Share of games won against naive bots in {title}, a mean over both sides, on the same deals; 95 % "
        "intervals over seeds, differences paired. Strategy and network judge the leaves of the same search "
        f"({A_WORLD['num_simulations']} simulations in each of {A_WORLD['num_assignments']} worlds a decision); "
        "the network has learned values from games between naive bots, which is what it meets here, not from its own. "
        "DeepRole solves each round by regret minimisation and reads the bots by the model that the search uses; an "
        f"episode is {SITUATIONS_A_GAME} situations that it solves, as many as a game has proposals. Naive bots "
        f"in the place of the players would win {EVEN:g}, as a mean over both sides: "
        + (f"below that, and so too weak as trained here to be worth a win: {'; '.join(sorted(weak))}." if weak
           else "no learner is below that.")
    )  # fmt: skip
    run.table("learners_avalon", rows, caption=caption)
    episodes, unfair = at_least(config, "avalon")
    claims = {"strat-5": f"AlphaZero-style, {episodes} episodes", "strat-6": f"DeepRole, {episodes} episodes"}
    give(config, run, title, claims, cells, weak, unfair)


def give(
    config: Config, run: Run, title: str, claims: Mapping[str, str], cells: Mapping[str, stats.Interval],
    weak: Collection[str] = (), unfair: str = "",
) -> None:  # fmt: skip
    """Verdicts, unless the comparison is `unfair`.

    To be ahead of a learner that is `weak`, worse than the naive bots themselves, decides nothing.
    """
    for claim, name in claims.items():
        cell = cells[name]
        fair = name not in weak or cell.low <= 0
        note = "Both against naive bots, on the same deals; the paper's opponents are each other."
        if not fair:
            note = f"{name}: wins fewer games than naive bots in its place, too weak as trained to decide this. {note}"
        comparable = len(config.seeds) >= 5 and fair and not unfair
        run.result(
            claim,
            cell.estimate,
            low=cell.low,
            high=cell.high,
            unit="more of the games won",
            verdict="not comparable" if not comparable else "held" if cell.low > 0 else "not held",
            scale=f"{title}, {len(config.seeds)} seeds, {name}",
            note=f"{unfair} {note}".strip(),
        )


def _row(choices: Choice, row: int) -> Choice:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[row], choices)


def _even(count: int, mesh: Any) -> int:
    """`count`, rounded up to what the devices can share."""
    return -(-count // mesh.size) * mesh.size
