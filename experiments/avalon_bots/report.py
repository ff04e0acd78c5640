"""Avalon: what the games of bots and of searching players say, as tables, figures and verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxrl_suite.core import plot, stats
from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.avalon_bots.games import COLUMNS, MODELS, SEARCHED

if TYPE_CHECKING:
    from jaxrl_suite.experiments.avalon_bots.config import Config


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
    missions, assassinations = total["evil_by_missions"] / games, total["evil_by_assassination"] / games
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
        verdict=verdict(evil.estimate - 0.618, missions - 0.427, assassinations - 0.191),
        scale=scale,
        note=(
            f"{100 * missions:.1f} % by missions, {100 * assassinations:.1f} % by assassination. "
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
