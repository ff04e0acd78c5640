"""Further comparisons of the Strategist experiment: feedback, negative controls, published rules, and cost.

Shapes: `S` seeds, `A` arms, `T` = rounds + 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxrl_suite.core import plot, stats
from jaxrl_suite.core.run import Run
from jaxrl_suite.evolve.methods import DIFFERENCES, PRESETS
from jaxrl_suite.experiments.strategist.final import Final
from jaxrl_suite.experiments.strategist.games import StageMixin
from jaxrl_suite.experiments.strategist.search import OURS, Searches, differing

if TYPE_CHECKING:
    from jaxrl_suite.experiments.strategist.config import Config, GameName

ONE_SEED = "One seed has no interval."
UNITS = {"gops": "points a game", "avalon": "share of games won"}
# What departs from the published system below the rules of `EvolveConfig`: ours, published, what it changes.
LOW_LEVEL = (
    ("search in GOPS", "regret matching, root solved", "PUCT against uniform opponents, best score",
     "The published search keeps its tree over games; here its budget is one move's, in `paper` mechanics too."),
    ("search in Avalon", "one step, exact posterior over roles", "information-set tree, roles by Metropolis-Hastings",
     "Beliefs are exact and consistent with the number of roles."),
    ("states met on two paths in GOPS", "a node for each path", "one node", "Fewer statistics for each state."),
    ("opponent of a seed that is judged alone in GOPS", "a search whose leaves are one game of random play each",
     "the same with four games a leaf, later the best heuristic so far", "The seed alone is judged by it."),
    ("population self-play", "full round robin, common deals, both seats", "random seatings of the population",
     "The same number of games tells much more: a child and its parent meet the same opponents on the same deals."),
    ("seed heuristic", "points or quests won so far", "written by the language model",
     "All methods and seeds start alike."),
    ("games of a round in GOPS", "{games}", "32", "Games cost little here; fewer leave the ranking to noise."),
    ("final evaluation", "{deals} fresh deals in both seats, common to all, paired by seed",
     "1024 games, best of ten runs", "A best of ten reports the luckiest run."),
)  # fmt: skip


def banded(series: dict[str, Any]) -> dict[str, Any]:
    """The series with the band of one of them: five that overlap show nothing."""
    shown = OURS if OURS in series else next(iter(series))
    return {name: line if name == shown else line[:2] for name, line in series.items()}


def write(config: Config, run: Run, game: GameName, stage: StageMixin, searches: Searches, final: Final) -> None:
    names = [arm.name for arm in searches.arms]
    if OURS in names:
        write_feedback(config, run, game, stage, names, final)
        write_controls(config, run, game, names, final)
        write_differences(config, run, game, names, final, searches)
    write_cost(config, run, game, stage, searches, final)


def against_ours(names: list[str], final: Final, name: str) -> dict[str, Any]:
    """The gain of one arm, and what Strategist as it is gains more, paired by seed."""
    mine, ours = (final.gains[:, names.index(one), -1] for one in (name, OURS))
    gain, more = stats.mean_or_value(mine), stats.mean_or_value(ours - mine)
    row = {"over_seed": gain.estimate, "over_seed_low": gain.low, "over_seed_high": gain.high}
    return row | {"default_less_this": more.estimate, "less_low": more.low, "less_high": more.high}


def write_feedback(config: Config, run: Run, game: GameName, stage: StageMixin, names: list[str], final: Final) -> None:
    """The paper's Table 4: population self-play, one fixed opponent, or a critic without games."""
    if not config.feedbacks:
        return
    kinds = {"population": OURS} | {kind: f"feedback: {kind}" for kind in config.feedbacks}
    rows = [{"feedback": kind, **against_ours(names, final, name)} for kind, name in kinds.items()]
    caption = (
        f"{UNITS[game].capitalize()} over the seed heuristic of what Strategist finds with each kind of feedback, at "
        "equal strategies; 95 % intervals over seeds, differences paired by seed. The critic says how well a heuristic "
        "agrees with its own search, and plays no games; a language model in its place is what the paper tries."
    )
    run.table(f"feedback_{game}", rows, caption=caption)
    if game != "gops":
        return
    worse = [row["feedback"] for row in rows[1:] if row["less_low"] > 0]
    better = [row["feedback"] for row in rows[1:] if row["less_high"] < 0]
    comparable = len(config.seeds) >= 5 and config.num_cards == 6 and len(rows) == 3
    first = rows[0]
    run.result(
        "strat-7",
        first["over_seed"],
        low=first["over_seed_low"],
        high=first["over_seed_high"],
        unit="points over the seed heuristic",
        verdict="not comparable" if not comparable else "held" if len(worse) == 2 else "not held" if better or not worse
        else "partly",
        scale=f"{stage.title}, {len(config.seeds)} seeds, {config.strategies} strategies",
        note=f"Surely better than {', '.join(worse) or 'neither'}; surely worse than {', '.join(better) or 'neither'}."
        if len(config.seeds) > 1 else ONE_SEED,
    )  # fmt: skip


def write_controls(config: Config, run: Run, game: GameName, names: list[str], final: Final) -> None:
    if not config.controls:
        return
    about = {
        OURS: "as it is",
        "shuffled states": "each key state is shown with the gap of another",
        "shuffled scores": "scores and improvements are dealt out at random: no selection",
    }
    rows = [{"search": name, "what": what, **against_ours(names, final, name)} for name, what in about.items()]
    caption = f"Negative controls: {UNITS[game]} over the seed heuristic; what Strategist gains more, paired by seed."
    run.table(f"controls_{game}", rows, caption=caption)


def write_differences(
    config: Config, run: Run, game: GameName, names: list[str], final: Final, searches: Searches
) -> None:
    """Each difference from the published system, what it changes, and by how much where that was measured."""
    ours = next(arm.evolve for arm in searches.arms if arm.name == OURS)
    published = PRESETS[f"paper-{game}"]
    rows: list[dict[str, Any]] = []
    for field in differing(ours, published):
        row: dict[str, Any] = {
            "what": field,
            "here": _plain(getattr(ours, field)),
            "published": _plain(getattr(published, field)),
            "what_it_changes": DIFFERENCES.get(field, ""),
        }
        if f"published {field}" in names:
            found = against_ours(names, final, f"published {field}")
            row |= {key: found[key] for key in ("default_less_this", "less_low", "less_high")}
        rows.append(row)
    columns = ["what", "here", "published", "what_it_changes"]
    ablated = config.ablations and game == "gops"
    if ablated:
        columns += ["default_less_this", "less_low", "less_high"]
    other = "Avalon" if game == "gops" else "GOPS"
    shown = [low for low in LOW_LEVEL if not low[0].endswith(other)]
    numbers = dict(games=config.games_of(game), deals=config.deals_of(game))
    facts = [[one.format(**numbers) for one in low] for low in shown]
    if config.mechanics == "paper" and game == "gops":
        facts[0][1] = "as published, with a fresh tree for each move"
    rows += [dict(zip(columns, fact, strict=False)) for fact in facts if fact[1] != fact[2]]
    rows = [{column: row.get(column) for column in columns} for row in rows]
    caption = "How this search differs from the published one."
    if ablated:
        caption += (
            f" Measured: {UNITS[game]} that are lost when this rule alone is as published, paired by seed, 95 %; where "
            "nothing stands it was not."
        )
    run.table(f"differences_{game}", rows, columns, caption)


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


def write_cost(config: Config, run: Run, game: GameName, stage: StageMixin, searches: Searches, final: Final) -> None:
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
        title=f"{stage.title}: the best strategy by what it cost",
        references={"seed heuristic": 0.0},
    )
    why = "" if field == "output_tokens" else " The grammar has no tokens; calls stand for them."
    run.figure(f"cost_{game}", figure, f"Means over seeds; band: 95 % interval.{why}")
    if game != "gops" or OURS not in rises or len(rises) < 2:
        return
    rising = [method for method, cell in rises.items() if cell.low > 0]
    own_rise = rises[OURS]
    comparable = len(config.seeds) >= 5 and config.num_cards == 6 and len(rises) >= 5 and config.rounds >= 4
    held = rising == [OURS]
    run.result(
        "strat-12",
        own_rise.estimate,
        low=own_rise.low,
        high=own_rise.high,
        unit="points gained from a quarter of the budget to all of it",
        verdict="not comparable" if not comparable else "held" if held else "partly" if OURS in rising else "not held",
        scale=f"{stage.title}, {len(config.seeds)} seeds, {config.strategies} strategies",
        note=(f"Surely rising: {', '.join(rising) or 'none'}." if len(config.seeds) > 1 else ONE_SEED) + why,
    )


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)
