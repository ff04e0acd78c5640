"""Tables, figures and verdicts of the Strategist experiment.

Shapes: `S` seeds, `A` arms, `T` = rounds + 1, `Q` budgets, `K` strategies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxrl_suite.core import plot, stats
from jaxrl_suite.core.files import write_atomic
from jaxrl_suite.core.run import Run
from jaxrl_suite.evolve.methods import Search
from jaxrl_suite.evolve.rounds import tree_figure
from jaxrl_suite.experiments.strategist import variants
from jaxrl_suite.experiments.strategist.final import (
    ONE_SEED,
    ORIGIN,
    UNITS,
    Exact,
    Final,
    at_equal_cost,
    banded,
    write_budgets,
    write_cost,
)
from jaxrl_suite.experiments.strategist.search import OURS, Searches

if TYPE_CHECKING:
    from jaxrl_suite.experiments.strategist.config import Config, GameName

SURELY = 5  # seeds that a verdict needs
CLAIM = {"gops": "strat-1", "avalon": "strat-2"}


def write(
    config: Config, run: Run, game: GameName, title: str, searches: Searches, final: Final, exact: Exact | None
) -> None:
    """Writes everything about one game."""
    names = [arm.name for arm in searches.arms]
    write_headline(config, run, game, title, names, final)
    write_curve(config, run, game, title, final)
    write_tree(config, run, game, title, searches)
    write_methods(config, run, game, title, searches, final)
    write_budgets(run, game, searches)
    if exact is not None:
        write_exact(config, run, title, exact)
    write_best(config, run, game, title, searches, final)
    if OURS in names:
        variants.write(config, run, game, title, searches, final)
    write_cost(config, run, game, title, searches, final)
    columns = ("samples", "requests", "prompt_tokens", "output_tokens", "verifier_calls")
    used = sorted(searches.usage.items())
    rows = [{"role": role, **{name: getattr(usage, name) for name in columns}} for role, usage in used]
    run.table(f"ledger_{game}", rows, caption="What was asked of the model, the sandbox and the judge, all searches.")


def write_headline(config: Config, run: Run, game: GameName, title: str, names: list[str], final: Final) -> None:
    best = names.index(OURS) if OURS in names else 0
    gain = stats.mean_or_value(final.gains[:, best, -1])
    several = len(config.seeds) > 1
    sure = "The interval excludes zero." if gain.low > 0 else "The interval does not exclude zero."
    spread = f"{gain.low:+.2f} to {gain.high:+.2f}, 95 % over {len(config.seeds)} seeds" if several else "one seed"
    change = "beats" if gain.estimate > 0 else "does not beat"
    run.text(
        f"{title}: the best heuristic that {names[best]} found in {config.search.strategies} strategies {change} "
        f"the seed heuristic: {gain.estimate:+.2f} {UNITS[game]} ({spread}; {config.deals_of(game)} fresh deals each, "
        f"in both seats). {sure if several else ONE_SEED} "
        + ("Strategies come from a grammar of features, not from a language model." if config.proposer == "grammar"
           else f"Strategies come from the language model {config.model or 'on record'}.")
    )  # fmt: skip


def write_curve(config: Config, run: Run, game: GameName, title: str, final: Final) -> None:
    """The improvement curve: strength of the best strategy by how many were written."""
    written = np.arange(config.search.rounds + 1) * (config.search.strategies // config.search.rounds)
    series = {}
    for place, method in enumerate(config.methods):
        line = np.array([stats.mean_or_value(final.gains[:, place, at]) for at in range(len(written))])
        series[method] = (written, *line.T)
    figure = plot.lines(
        banded(series),
        xlabel="strategies written",
        ylabel=f"{UNITS[game]} over the seed heuristic",
        title=f"{title}: the best strategy so far",
        references={"seed heuristic": 0.0},
    )
    if len(written) <= 12:
        figure.axes[0].set_xticks(written)
    caption = (
        "What each search holds to be its best after every round, on the same fresh games against the seed heuristic. "
        "Band: 95 % interval over seeds; those of all methods are in the table of the curve."
    )
    run.figure(f"curve_{game}", figure, caption)
    rows = [
        {"method": method, "strategies": int(x), "gain": y, "low": low, "high": high}
        for method, line in series.items()
        for x, y, low, high in zip(*line, strict=True)
    ]
    run.table(f"curve_{game}", rows, caption=f"{UNITS[game].capitalize()} over the seed heuristic.")


def write_tree(config: Config, run: Run, game: GameName, title: str, searches: Searches) -> None:
    method = OURS if OURS in config.methods else config.methods[0]
    search = searches.found[method][0]
    figure = tree_figure(
        search.tree,
        ranking=search.config.ranking,
        title=f"{title}: strategies of {method}, seed {config.seeds[0]}",
        unit=UNITS[game] if game == "avalon" else "points",
    )
    caption = (
        "Each dot is a strategy, written from the one left of it; the way to the best is marked. Crosses: attempts "
        "that became none. Strength as the search itself holds it, from its games of self-play."
    )
    run.figure(f"tree_{game}", figure, caption)


def write_methods(config: Config, run: Run, game: GameName, title: str, searches: Searches, final: Final) -> None:
    """The ranking of methods at equal budgets, and the verdict on the paper's."""
    count = len(config.methods)
    cross = final.cross
    even = 0.0 if game == "gops" else 0.5
    others = (cross.sum(axis=2) - even) / max(count - 1, 1)  # float[S, A], the mean over the other methods
    rows, pairs, differences = [], [], {}
    axis, early = at_equal_cost(config, searches, final)
    ours = config.methods.index(OURS) if OURS in config.methods else None
    for place, method in enumerate(config.methods):
        row: dict[str, Any] = {"method": method, **stats.mean_or_value(final.gains[:, place, -1]).columns("over_seed")}
        row[f"at_equal_{axis}"] = float(np.mean(early[:, place]))
        row |= stats.mean_or_value(final.elo[:, place]).columns("elo")
        if count > 1:
            row |= stats.mean_or_value(others[:, place]).columns("against_others")
        rows.append(row)
        if ours is not None and place != ours:
            less = stats.mean_or_value(final.gains[:, ours, -1] - final.gains[:, place, -1])
            differences[method] = stats.mean_or_value(cross[:, ours, place] - even)
            pairs.append({"method": method, **differences[method].columns("games"), **less.columns("over_seed")})
    caption = (
        f"{UNITS[game].capitalize()} of what each method found, with 95 % intervals over {len(config.seeds)} seeds: "
        "over the seed heuristic, and on average against what the other methods found with the same seed. In between: "
        f"the gain over the seed heuristic when no search may use more {axis.replace('_', ' ')} than the cheapest did, "
        "and Elo points above the seed heuristic, from all these games with one seed, by who had more on a deal over "
        "both seats or the share of wins."
    )
    run.table(f"methods_{game}", rows, caption=caption)
    if pairs:
        caption = (
            f"What Strategist's have beyond this method's, {UNITS[game]}, paired by seed, 95 %: in games against each "
            "other, and as the difference of their leads over the seed heuristic."
        )
        run.table(f"strategist_against_{game}", pairs, caption=caption)
    if count > 1:
        shown = {row["method"]: (row["against_others"], row["against_others_low"], row["against_others_high"])
                 for row in sorted(rows, key=lambda row: -row["against_others"])}  # fmt: skip
        figure = plot.dots(
            shown,
            xlabel=f"{UNITS[game]} against what the other methods found",
            title=f"{title}, equal budgets",
            references={"even": even},
        )
        run.figure(f"methods_{game}", figure, "Means and 95 % intervals over seeds.")
    if differences and ours is not None:
        give_ranking(config, run, game, title, stats.mean_or_value(others[:, ours]), differences)


def give_ranking(
    config: Config, run: Run, game: GameName, title: str, score: stats.Interval,
    differences: dict[str, stats.Interval],
) -> None:  # fmt: skip
    beaten = [name for name, cell in differences.items() if cell.low > 0]
    lost = [name for name, cell in differences.items() if cell.high < 0]
    full = set(differences) >= {"line", "greedy", "best-first", "best-first-thought"}
    comparable = len(config.seeds) >= SURELY and full and (game == "avalon" or config.gops.num_cards == 6)
    verdict = "held" if len(beaten) == len(differences) else "partly" if beaten and not lost else "not held"
    said = f"It surely beats {', '.join(beaten) or 'none of them'}"
    said += f" and surely loses to {', '.join(lost)}" if lost else ""
    sentence = f"{said} (paired 95 % intervals over seeds)." if len(config.seeds) > 1 else ONE_SEED
    source = "a grammar of features" if config.proposer == "grammar" else "a language model"
    run.result(
        CLAIM[game],
        score.estimate,
        low=score.low,
        high=score.high,
        unit=f"{UNITS[game]} against the other methods",
        verdict=verdict if comparable else "not comparable",
        scale=f"{title}, {len(config.seeds)} seeds, {config.search.strategies} strategies, "
        f"{config.deals_of(game)} deals a pair",
        note=f"{sentence} Ideas come from {source}; the paper's from GPT-3.5.",
    )


def write_exact(config: Config, run: Run, title: str, exact: Exact) -> None:
    """Points against exact opponents at every budget, and the verdict on more search."""
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(exact.names):
        groups.setdefault(name.rpartition(" ")[0], []).append(place)
    rows, series = [], {}
    for name, places in groups.items():
        line = [stats.mean_or_value(exact.nash[at, places]) for at in range(len(config.exact.budgets))]
        series[name] = (config.exact.budgets, *np.array(line).T)
        for at, budget in enumerate(config.exact.budgets):
            row: dict[str, Any] = {"strategies_of": name, "simulations": budget, **line[at].columns("return")}
            if len(exact.exploitability):
                row |= stats.mean_or_value(exact.exploitability[at, places]).columns("exploitability")
            rows.append(row)
    caption = (
        f"Points a game in {title} against an exact equilibrium, which loses to nobody on average; intervals of "
        "95 % over seeds, each with decks of its own, on which the seed heuristic plays too."
    )
    if len(exact.exploitability):
        caption += f" Exploitability: the same strategies in GOPS-{config.exact.small_cards}, exact."
    elif config.exact.small_cards:
        caption += " Exploitability is not here: what a model writes is exported for one number of cards."
    run.table("exact", rows, caption=caption)
    if len(config.exact.budgets) > 1:
        figure = plot.lines(
            series,
            xlabel="simulations per move",
            ylabel="points against exact equilibrium",
            title=f"{title}: found strategies and search budget",
            log_x=True,
            references={"equilibrium": 0.0},
        )
        run.figure("budgets", figure, "Best strategy of each search; bands: 95 % intervals over seeds and their decks.")
    if OURS in groups and len(config.exact.budgets) > 1:
        places = groups[OURS]
        less, more = int(np.argmin(config.exact.budgets)), int(np.argmax(config.exact.budgets))
        gain = stats.mean_or_value(exact.nash[more, places] - exact.nash[less, places])
        few, many = config.exact.budgets[less], config.exact.budgets[more]
        comparable = len(config.seeds) >= SURELY and config.gops.num_cards == 6 and (few, many) == (16, 160)
        seed_gain = float(np.mean((exact.nash[more] - exact.nash[less])[groups[ORIGIN]]))
        run.result(
            "strat-11",
            gain.estimate,
            low=gain.low,
            high=gain.high,
            unit=f"points gained from budget {few} to {many}",
            verdict="not comparable" if not comparable else "held" if gain.low > 0 else "not held",
            scale=f"{title}, {len(config.seeds)} seeds, {config.exact.deals} deals, heuristics found in "
            f"{config.search.strategies} strategies",
            note=f"Against the exact equilibrium, where the seed heuristic gains {seed_gain:+.2f}. The paper's "
            "opponents were its own other strategies.",
        )


def write_best(config: Config, run: Run, game: GameName, title: str, searches: Searches, final: Final) -> None:
    """The best strategy of each search as a file, and how the best of all came about."""
    for arm in searches.arms[: len(config.methods)]:
        for seed, search in zip(config.seeds, searches.found[arm.name], strict=True):
            write_atomic(run.folder / "strategies" / f"{game}-{arm.name}-{seed}.py", search.best.text)
    method = OURS if OURS in config.methods else config.methods[0]
    number = int(np.argmax(final.gains[:, list(config.methods).index(method), -1]))
    search = searches.found[method][number]
    run.table(
        f"lineage_{game}",
        lineage(search),
        caption=f"How the best strategy of {method}, seed {config.seeds[number]}, came about. Its source is "
        f"strategies/{game}-{method}-{config.seeds[number]}.py; all that happened is in journal-{game}.jsonl.",
    )


def lineage(search: Search) -> list[dict[str, Any]]:
    values = search.tree.values(search.config.ranking)
    return [
        {
            "strategy": number,
            "round": search.tree.born[number],
            "idea": _idea(search, number),
            "strength": float(values[number]),
        }
        for number in search.tree.lineage(search.best.id)
    ]


def _idea(search: Search, number: int) -> str:
    strategy = search.tree[number]
    if strategy.idea is not None:
        return search.queue[strategy.idea].text
    if strategy.parent is None:
        return "(the seed)"
    return strategy.thought.splitlines()[-1] if strategy.thought else "(a copy of its parent)"
