"""Avalon: the bots of AvalonBench, and how much better exact beliefs and search do in their seats.

Bots of every kind play each other on each side, and then searching players replace the bots of a side. Everybody keeps
to what its seat may know: the search reasons with the exact posterior over who is who.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench import belief_metrics, beliefs
from jaxrl_suite.avalonbench.bot_games import play_bots
from jaxrl_suite.avalonbench.bot_model import BotPolicies
from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.avalonbench.matches import play_side
from jaxrl_suite.avalonbench.observation_models import FailCounts, Votes
from jaxrl_suite.avalonbench.search_agent import SearchAgent
from jaxrl_suite.core import devices, plot, stats
from jaxrl_suite.core.config import check_distinct, check_ranges
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs import Avalon, avalon_render
from jaxrl_suite.envs.avalon_roles import MAX_PROPOSALS

SYSTEM = "AvalonBench"
CLAIMS = ("avalon-1", "avalon-2")

Kind = Literal["naive", "random"]
KINDS = ("naive", "random")
Side: TypeAlias = Literal["good", "evil", "both"]
SEARCHED: dict[
    str, tuple[Side, Kind, Kind]
] = {  # pairing: the side that searches, and the bots of the good and of the evil seats
    "search-naive": ("good", "naive", "naive"),
    "naive-search": ("evil", "naive", "naive"),
    "search-random": ("good", "naive", "random"),
    "random-search": ("evil", "random", "naive"),
    "search-search": ("both", "naive", "naive"),
}
PairingName = Literal["search-naive", "naive-search", "search-random", "random-search", "search-search"]
COLUMNS = (
    "games",
    "good_wins",
    "evil_by_missions",
    "evil_by_assassination",
    "proposals",
    "sides_right",
    "sides_judged",
)
MODELS = {"fail counts": FailCounts(), "votes": Votes(), "the bots' own policies": BotPolicies()}


@dataclasses.dataclass(frozen=True)
class Config:
    """All that decides the result. A pairing is named good-evil: who plays the good and who the evil seats."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # each deals its own games
    players: tuple[int, ...] = (5, 6, 7)  # sizes at which bots play bots
    bot_games: int = 4000  # a seed, size and pairing of bots
    search_players: tuple[int, ...] = (5,)  # sizes at which players search
    pairings: tuple[PairingName, ...] = ("search-naive", "naive-search")
    search_games: int = 40  # a seed, size and pairing with search
    simulations: int = 24  # for each tree of a decision
    epsilon: float = 0.05  # how often the search's model of the bots expects something else of them
    belief_games: int = 400  # a seed, for the log-loss of beliefs

    def __post_init__(self):
        check_ranges(
            self,
            seeds=(0, 2**32 - 1),
            players=(5, 10),
            bot_games=(1, 10**7),
            search_players=(5, 10),
            search_games=(8, 10**6),
            simulations=(1, 10**5),
            belief_games=(8, 10**5),
        )
        check_distinct(self, "seeds", "players", "search_players", "pairings")
        if not 0 < self.epsilon < 1:
            raise ValueError(f"epsilon must lie strictly between 0 and 1, got {self.epsilon}")


PRESETS = {
    "quick": Config(),
    "full": Config(
        players=(5, 6, 7, 8, 9, 10),
        bot_games=20_000,
        search_players=(5, 6),
        pairings=("search-naive", "naive-search", "search-random", "random-search", "search-search"),
        search_games=200,
        belief_games=2000,
    ),
    "accel": Config(
        players=(5, 6, 7, 8, 9, 10),
        bot_games=1_000_000,
        search_players=(5, 6, 7, 8, 9, 10),
        pairings=("search-naive", "naive-search", "search-random", "random-search", "search-search"),
        search_games=512,
        simulations=64,
        belief_games=20_000,
    ),
}


def main(config: Config, run: Run) -> None:
    jobs = [(n, good, evil, seed) for n in config.players for good in KINDS for evil in KINDS for seed in config.seeds]
    counts = np.zeros((len(jobs), len(COLUMNS)), np.int32)
    loop = run.chunks(len(jobs), counts, "bots")
    for job in loop:
        players, good, evil, seed = jobs[job]
        totals = play_bots(Bots(Avalon(players), good, evil), jax.random.key(seed), config.bot_games)  # type: ignore[arg-type]
        loop.carry[job] = [getattr(totals, column) for column in COLUMNS]
        run.log(players=players, good=good, evil=evil, seed=seed, good_wins=totals.good_wins)
    cells = {job[:3]: np.zeros(0) for job in jobs}
    bots = {
        cell: np.array([row for job, row in zip(jobs, loop.carry, strict=True) if job[:3] == cell]) for cell in cells
    }
    run.throughput("bot games, compilation included", config.bot_games * len(jobs), loop.seconds)

    searches = [
        (n, pairing, seed) for n in config.search_players for pairing in config.pairings for seed in config.seeds
    ]
    results = np.zeros((len(searches), config.search_games, 4), np.int32)
    loop = run.chunks(len(searches), results, "searches", name="searches")
    table = SearchTable(config, run)
    for job in loop:
        loop.carry[job] = table.play(*searches[job])
        players, pairing, seed = searches[job]
        run.log(players=players, pairing=pairing, seed=seed, good_wins=int(loop.carry[job][:, 0].sum()))
    run.throughput("searched decisions", table.decisions, table.seconds)
    searched = {
        (n, pairing): np.concatenate([r for s, r in zip(searches, loop.carry, strict=True) if s[:2] == (n, pairing)])
        for n in config.search_players
        for pairing in config.pairings
    }

    losses = np.zeros((len(config.seeds), len(MODELS), MAX_PROPOSALS + 1), np.float32)
    loop = run.chunks(len(config.seeds), losses, "beliefs", name="beliefs")
    for job in loop:
        loop.carry[job] = belief_losses(config.seeds[job], config.belief_games)

    write_bots(run, bots)
    write_searches(run, bots, searched)
    write_beliefs(run, loop.carry)
    if 5 in config.players:
        write_claims(config, run, bots[5, "naive", "naive"])
    run.figure("game", show_game(config.seeds[0]), "One game of naive bots at 5 players.")


class SearchTable:
    """Plays pairings with search: one compiled program for each size and pairing."""

    def __init__(self, config: Config, run: Run):
        self._config, self._run, self._mesh = config, run, run.mesh(batch=config.search_games)
        self._programs: dict[Any, Any] = {}
        self.decisions, self.seconds = 0, 0.0

    def play(self, players: int, pairing: str, seed: int) -> np.ndarray:
        """int32[games, 4]: whether good won, evil won by missions, by assassination; and proposals."""
        keys = devices.shard_batch(jax.random.split(jax.random.key(seed), self._config.search_games), self._mesh)
        if (players, pairing) not in self._programs:
            program = devices.map_batch(functools.partial(self._match, players, pairing), self._mesh)
            name = f"{pairing} at {players} players"
            self._programs[players, pairing] = self._run.compile(program, keys, name=name)
        start = time.monotonic()
        rows, decisions = jax.device_get(self._programs[players, pairing](keys))
        self.seconds += time.monotonic() - start
        self.decisions += int(decisions.sum())
        return rows

    def _match(self, players, pairing, keys):
        side, good, evil = SEARCHED[pairing]
        game = Avalon(players)
        worlds = None if players <= 6 else 32  # above six players, assignments are drawn from the posterior
        agent = SearchAgent(
            Bots(game),
            BotPolicies(self._config.epsilon),
            num_simulations=self._config.simulations,
            num_assignments=worlds,
        )
        outcome = play_side(agent, side, Bots(game, good, evil), keys)
        columns = outcome.good_wins, outcome.by_missions, outcome.by_assassination, outcome.proposals
        return jnp.stack([column.astype(jnp.int32) for column in columns], axis=1), outcome.decisions


@functools.partial(jax.jit, static_argnums=1)
def _play_to_the_end(key, games):
    game = Avalon(5)
    bots = Bots(game)

    def one(key):
        deal_key, act_key = jax.random.split(key)
        state = game.init(deal_key)

        def turn(carry):
            index, state, memory = carry
            after = game.apply(state, bots.act(jax.random.fold_in(act_key, index), state, memory))
            return index + 1, after, bots.observe(memory, state, after)

        return jax.lax.while_loop(lambda carry: ~carry[1].terminated, turn, (0, state, bots.init()))[1]

    return jax.vmap(one)(jax.random.split(key, games))


@functools.partial(jax.jit, static_argnums=1)
def _losses(states, model):
    """float32[T]: mean log-loss over games of a Servant's beliefs about the others, after t proposals."""
    game = Avalon(5)

    def one(state, seen):
        history = beliefs.history_of(game, state)
        seen = jnp.minimum(seen, history.num_votes)
        history = history._replace(num_proposals=seen, num_votes=seen)
        viewer = jnp.argmax(state.roles == 5)  # the first Servant
        belief = beliefs.from_history(game, history, state.roles, viewer, model)
        good = beliefs.p_good(game, beliefs.posterior(belief))
        return belief_metrics.log_loss(good, state.roles, floor=1e-6)

    times = jnp.arange(MAX_PROPOSALS + 1)
    return jnp.mean(jax.vmap(lambda state: jax.vmap(one, (None, 0))(state, times))(states), axis=0)


def belief_losses(seed: int, games: int) -> np.ndarray:
    """float32[models, T]: see `_losses`; a game that ends before t counts with its last belief."""
    states = _play_to_the_end(jax.random.key(seed), games)
    return np.stack([np.asarray(_losses(states, model)) for model in MODELS.values()])


def write_bots(run: Run, bots: dict[tuple[int, Any, Any], np.ndarray]) -> None:
    rows = []
    for (players, good, evil), counts in bots.items():
        total = dict(zip(COLUMNS, counts.sum(0, dtype=np.int64).tolist(), strict=True))
        wins = stats.wilson(total["good_wins"], total["games"])
        rows.append(
            {
                "players": players,
                "good": good,
                "evil": evil,
                "good wins": wins.estimate,
                "low": wins.low,
                "high": wins.high,
                "evil by missions": total["evil_by_missions"] / total["games"],
                "evil by assassination": total["evil_by_assassination"] / total["games"],
                "deduction accuracy": total["sides_right"] / total["sides_judged"] if good == "naive" else None,
                "proposals": total["proposals"] / total["games"],
                "games": total["games"],
            }
        )
    caption = "Bots against bots. Deduction accuracy: share of sides that Servants judge right at the end."
    run.table("bots", rows, caption=caption)


def write_searches(run: Run, bots: dict[Any, np.ndarray], searched: dict[tuple[int, str], np.ndarray]) -> None:
    rows, dots = [], {}
    for (players, pairing), games in searched.items():
        side, *_ = SEARCHED[pairing]
        won = games[:, 0] if side != "evil" else 1 - games[:, 0]
        share = stats.wilson(int(won.sum()), len(won))
        rows.append(
            {
                "players": players,
                "good-evil": pairing,
                "winner counted": "evil" if side == "evil" else "good",
                "wins": share.estimate,
                "low": share.low,
                "high": share.high,
                "evil by missions": float(games[:, 1].mean()),
                "evil by assassination": float(games[:, 2].mean()),
                "proposals": float(games[:, 3].mean()),
                "games": len(games),
            }
        )
        who = "evil" if side == "evil" else "good"
        dots[f"{players} players, {pairing}: {who} wins"] = share
        if pairing in ("search-naive", "naive-search") and (players, "naive", "naive") in bots:
            counts = bots[players, "naive", "naive"].sum(0, dtype=np.int64)
            wins = counts[1] if who == "good" else counts[0] - counts[1]
            dots[f"{players} players, naive-naive: {who} wins"] = stats.wilson(int(wins), int(counts[0]))
    run.table("search", rows, caption="Searching players in the seats of bots, and the wins of the side that searches.")
    caption = "Win rates with 95 % intervals: the searching side, and below it the bots it replaced."
    run.figure("search", plot.dots({k: tuple(v) for k, v in dots.items()}, xlabel="share of games won"), caption)
    told = [
        f"{row['winner counted']} wins {row['wins']:.0%} ({row['low']:.0%} to {row['high']:.0%})"
        for row in rows
        if row["good-evil"] in ("search-naive", "naive-search") and row["players"] == 5
    ]
    if told:
        run.text(
            "With searching players in the seats of one side, against naive bots at 5 players: " + "; ".join(told) + "."
        )


def write_beliefs(run: Run, losses: np.ndarray) -> None:
    series = {}
    for index, name in enumerate(MODELS):
        line = [stats.mean_or_value(losses[:, index, t]) for t in range(losses.shape[2])]
        series[name] = (range(losses.shape[2]), *np.array(line).T)
    figure = plot.lines(
        series,
        xlabel="proposals voted on",
        ylabel="log-loss of sides, nats a player",
        title="A Servant's exact beliefs, 5 naive bots",
        markers=False,
    )
    run.figure("beliefs", figure, "Mean over games; one that has ended counts with its last belief. Bands: 95 %.")
    rows = [
        {"model": name, "proposals": t, "log-loss": float(losses[:, index, t].mean())}
        for index, name in enumerate(MODELS)
        for t in (0, 5, 10, losses.shape[2] - 1)
    ]
    run.table("beliefs", rows, caption="Log-loss of a Servant's belief about everybody's side, by observation model.")


def write_claims(config: Config, run: Run, counts: np.ndarray) -> None:
    total = dict(zip(COLUMNS, counts.sum(0, dtype=np.int64).tolist(), strict=True))
    games = total["games"]
    evil = stats.wilson(games - total["good_wins"], games)
    missions, hits = total["evil_by_missions"] / games, total["evil_by_assassination"] / games
    deduction = total["sides_right"] / total["sides_judged"]
    scale = f"{len(config.seeds)} seeds, {games:,} games"
    enough = len(config.seeds) >= 5 and games >= 10_000

    def verdict(*gaps: float) -> Any:
        return "not comparable" if not enough else "held" if max(map(abs, gaps)) <= 0.02 else "not held"

    run.result(
        "avalon-1",
        100 * evil.estimate,
        low=100 * evil.low,
        high=100 * evil.high,
        unit="% of games won by evil",
        verdict=verdict(evil.estimate - 0.618, missions - 0.427, hits - 0.191),
        scale=scale,
        note=(
            f"{100 * missions:.1f} % by missions, {100 * hits:.1f} % by assassination. "
            "Held means within 2 points of each."
        ),
    )
    good = stats.wilson(total["good_wins"], games)
    run.result(
        "avalon-2",
        100 * good.estimate,
        low=100 * good.low,
        high=100 * good.high,
        unit="% of games won by good",
        verdict=verdict(good.estimate - 0.382, deduction - 0.718),
        scale=scale,
        note=f"Deduction accuracy {100 * deduction:.1f} %. Held means within 2 points of each.",
    )


def show_game(seed: int) -> str:
    game = Avalon(5)
    states = _play_to_the_end(jax.random.key(seed), 8)
    return avalon_render.svg_game(game, jax.tree.map(lambda leaf: leaf[0], states))
