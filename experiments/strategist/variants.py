"""Further comparisons of the Strategist experiment: feedback, negative controls and published rules.

Shapes: `S` seeds, `A` arms, `T` = rounds + 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jaxrl_suite.core import stats
from jaxrl_suite.core.run import Run
from jaxrl_suite.evolve.methods import DIFFERENCES, PRESETS
from jaxrl_suite.experiments.strategist.final import ONE_SEED, UNITS, Final
from jaxrl_suite.experiments.strategist.search import OURS, Searches, differing

if TYPE_CHECKING:
    from jaxrl_suite.experiments.strategist.config import Config, GameName

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


def write(config: Config, run: Run, game: GameName, title: str, searches: Searches, final: Final) -> None:
    """Writes what Strategist's variants gain, if it is among the methods."""
    names = [arm.name for arm in searches.arms]
    write_feedback(config, run, game, title, names, final)
    write_controls(config, run, game, names, final)
    write_differences(config, run, game, names, final, searches)


def against_ours(names: list[str], final: Final, name: str) -> dict[str, Any]:
    """The gain of one arm, and what Strategist as it is gains more, paired by seed."""
    mine, ours = (final.gains[:, names.index(one), -1] for one in (name, OURS))
    gain, more = stats.mean_or_value(mine), stats.mean_or_value(ours - mine)
    row = {"over_seed": gain.estimate, "over_seed_low": gain.low, "over_seed_high": gain.high}
    return row | {"default_less_this": more.estimate, "less_low": more.low, "less_high": more.high}


def write_feedback(config: Config, run: Run, game: GameName, title: str, names: list[str], final: Final) -> None:
    """The paper's Table 4: population self-play, one fixed opponent, or a critic without games."""
    if not config.variants.feedbacks:
        return
    kinds = {"population": OURS} | {kind: f"feedback: {kind}" for kind in config.variants.feedbacks}
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
    comparable = len(config.seeds) >= 5 and config.gops.num_cards == 6 and len(rows) == 3
    first = rows[0]
    run.result(
        "strat-7",
        first["over_seed"],
        low=first["over_seed_low"],
        high=first["over_seed_high"],
        unit="points over the seed heuristic",
        verdict="not comparable" if not comparable else "held" if len(worse) == 2 else "not held" if better or not worse
        else "partly",
        scale=f"{title}, {len(config.seeds)} seeds, {config.search.strategies} strategies",
        note=f"Surely better than {', '.join(worse) or 'neither'}; surely worse than {', '.join(better) or 'neither'}."
        if len(config.seeds) > 1 else ONE_SEED,
    )  # fmt: skip


def write_controls(config: Config, run: Run, game: GameName, names: list[str], final: Final) -> None:
    if not config.variants.controls:
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
    ablated = config.variants.ablations and game == "gops"
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


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)
