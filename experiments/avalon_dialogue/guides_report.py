"""Tables, pictures and the verdict on searches for dialogue guides.

Shapes: `S` seeds, `A` methods, `H` scenarios a seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxrl_suite.avalonbench.dialogue.guides import Guide, seed_guide
from jaxrl_suite.avalonbench.dialogue.words import dialogue_text
from jaxrl_suite.core import plot, stats
from jaxrl_suite.core.claims import Verdict
from jaxrl_suite.core.files import write_atomic
from jaxrl_suite.core.run import Run
from jaxrl_suite.evolve.rounds import tree_figure
from jaxrl_suite.experiments.avalon_dialogue.guides import RoleSearches
from jaxrl_suite.experiments.avalon_dialogue.talk_report import cells, text_of, tidy

if TYPE_CHECKING:
    from jaxrl_suite.experiments.avalon_dialogue.config import Config

CLAIM, OURS = "strat-3", "strategist"
OTHERS = ("line", "greedy", "best-first", "best-first-thought")
CLAIMED = ("merlin", "assassin")  # the roles that the paper shows
SURELY = 5  # seeds that a verdict needs
UNREAD = 0.5  # share of answers; above it a verdict would be on a model that does not play
# Table 2 of the paper, with GPT-3.5: gain over the seed guide, as read off the figure.
PUBLISHED: dict[str, tuple[str, ...]] = {
    "merlin": ("0.37 +- 0.19", "0.62 +- 0.13", "0.49 +- 0.06", "0.37 +- 0.06", "0.88 +- 0.06"),
    "assassin": ("1.83 +- 0.25", "1.81 +- 0.06", "1.82 +- 0.06", "1.89 +- 0.06", "1.98 +- 0.04"),
}


def write(config: Config, run: Run, by_role: Sequence[RoleSearches]) -> None:
    """Writes everything about guides; with no language model there is nothing to show but how to get it."""
    if not by_role:
        run.text(
            "Dialogue guides are written, followed and judged by a language model, and none was given: --proposer "
            "openai --base-url http://127.0.0.1:8080/v1 --model NAME asks any server that speaks OpenAI's protocol."
        )
        run.result(
            CLAIM, "not measured", verdict="not comparable", scale="no language model",
            note="Guides need a language model: --proposer openai --base-url URL --model NAME.",
        )  # fmt: skip
        return
    write_guides(config, run, by_role)
    write_differences(config, run, by_role)
    for one in by_role:
        write_role(config, run, one)
    write_ledger(config, run, by_role)
    write_verdict(config, run, by_role)


def source(config: Config) -> str:
    return f"the language model {config.model}" if config.model else "the language model on record"


def write_guides(config: Config, run: Run, by_role: Sequence[RoleSearches]) -> None:
    """The rows of the paper's Table 2."""
    rows, dots = [], {}
    for role_searches in by_role:
        published: dict[str, str] = dict(zip((*OTHERS, OURS), PUBLISHED.get(role_searches.role, ()), strict=False))
        for place, method in enumerate(config.search.methods):
            gain = stats.mean_or_value(role_searches.gains[:, place])
            score, good, merlin = role_searches.scores[:, 1 + place].mean(axis=(0, 1)).tolist()
            rows.append(
                {
                    "guide_of": role_searches.role,
                    "method": method,
                    **cells(gain, "gain"),
                    "score": tidy(score),
                    "seed_guide": tidy(role_searches.scores[:, 0, :, 0].mean()),
                    "believed_good": tidy(good),
                    "taken_for_merlin": tidy(merlin) if role_searches.role == "merlin" else None,
                    "unread": tidy(role_searches.unread[:, 1 + place].mean()),
                    "published": published.get(method),
                }
            )
            dots[f"{role_searches.role}: {method}"] = tuple(gain)
    caption = (
        f"What the best guide of each search changes in listeners, from -2 to 2, in {config.search.held_out} scenarios "
        "a seed that no search has seen; gain: over the seed guide in the same scenarios, with 95 % intervals over "
        f"{len(config.seeds)} seeds, each with a search and scenarios of its own. Merlin's score is the smaller of "
        "being believed good by the Servants and not being taken for Merlin by evil, speech by speech. Unread: "
        "share of worksheets, speeches and ratings that were empty or could not be read, which counts as no change. "
        "Published: the gain with GPT-3.5 in the paper's Table 2, by its own listeners."
    )
    run.table("guides", rows, caption=caption)
    figure = plot.dots(
        dots, xlabel="gain over the seed guide, on a scale from -2 to 2", title="Guides in unseen scenarios",
        references={"seed guide": 0.0},
    )  # fmt: skip
    run.figure("guides", figure, "Means and 95 % intervals over seeds.")


def differences(config: Config, role_searches: RoleSearches) -> dict[str, stats.Interval]:
    """Leads of Strategist's guides over each other method's, paired by seed and scenario; {} without it."""
    if OURS not in config.search.methods:
        return {}
    gains = role_searches.gains
    ours = gains[:, config.search.methods.index(OURS)]
    return {
        method: stats.mean_or_value(ours - gains[:, place])
        for place, method in enumerate(config.search.methods)
        if method != OURS
    }


def write_differences(config: Config, run: Run, by_role: Sequence[RoleSearches]) -> None:
    rows = [
        {"guide_of": role_searches.role, "method": method, **cells(interval, "strategist_more")}
        for role_searches in by_role
        for method, interval in differences(config, role_searches).items()
    ]
    if rows:
        caption = "What Strategist's guides gain beyond this method's, paired by seed and scenario, 95 %."
        run.table("strategist_against_guides", rows, caption=caption)


def write_role(config: Config, run: Run, role_searches: RoleSearches) -> None:
    """The headline of a role, its best worksheet, what it makes a model say, its tree, and what searches used."""
    role, (place, method) = role_searches.role, role_searches.best
    name = role.capitalize()
    how = config.search
    at = how.methods.index(OURS) if OURS in how.methods else 0
    gain, seeds = stats.mean_or_value(role_searches.gains[:, at]), len(config.seeds)
    sure = "excludes zero" if gain.low > 0 or gain.high < 0 else "does not exclude zero"
    run.text(
        f"{name}: the best guide that {how.methods[at]} found in {how.strategies} guides scores "
        f"{text_of(gain, seeds, 2)} over the seed guide, on a scale from -2 to 2, in {how.held_out} unseen scenarios "
        f"a seed. {f'The interval (95 % over {seeds} seeds) {sure}.' if seeds > 1 else 'One seed has no interval.'} "
        f"{source(config).capitalize()} writes the guides, speaks by them, and rates the speeches; "
        f"{role_searches.unread.mean():.0%} of its answers there could not be read."
    )
    for label, searches in role_searches.searches.items():
        for seed, search in zip(config.seeds, searches, strict=True):
            write_atomic(run.folder / "guides" / f"{role}-{label}-{seed}.txt", search.best.text)
    label, seed = config.search.methods[method], config.seeds[place]
    search = role_searches.searches[label][place]
    file = f"guides/{role}-{label}-{seed}.txt"
    run.table(
        f"worksheet_{role}",
        worksheet(role, search.best.text),
        caption=f"{name}'s seed guide, and the guide with the largest gain in the unseen scenarios, by {label}, seed "
        f"{seed} ({file}). It is the luckiest of {len(config.search.methods) * seeds}; its own gain flatters it.",
    )
    scenario, (before, after) = role_searches.example
    rows = [
        {
            "guide": guide,
            "score": trial.score.score,
            "speech": trial.utterance.speech or "(nothing)",
        }
        for guide, trial in (("seed guide", before), ("best guide", after))
    ]
    heard = " ".join(dialogue_text(scenario.dialogue).split())
    run.table(f"speeches_{role}", rows, caption=f"The same guides at one table. Said before {name} speaks: {heard}")
    figure = tree_figure(
        search.tree, ranking=search.config.ranking, title=f"Guides for {name}: {label}, seed {seed}", unit="score"
    )
    run.figure(f"tree_{role}", figure, "Strength as the search itself holds it. Crosses: texts that were no guides.")
    fields = ("strategies", "dropped", "calls", "games", "prompt_tokens", "output_tokens")
    table = [
        {"search": label, **{field: float(np.mean([getattr(x.cost, field) for x in searches])) for field in fields}}
        for label, searches in role_searches.searches.items()
    ]
    caption = (
        f"Used by a search for {name}'s guides, a mean over seeds. Games: speeches that were judged. Calls and tokens: "
        "of the proposer alone; speeches and ratings are in the ledger."
    )
    run.table(f"budgets_{role}", table, caption=caption)


def worksheet(role: str, text: str) -> list[dict[str, Any]]:
    """The lines of the seed guide beside those of another one."""
    guides = seed_guide(role), Guide.parse(role, text)
    preface = [("", *(guide.preface for guide in guides))]
    questions = itertools.zip_longest(*(guide.questions for guide in guides), fillvalue="")
    lines = [*preface, *((str(number), *pair) for number, pair in enumerate(questions, 1))]
    return [{"question": number, "seed_guide": old, "best_guide": new} for number, old, new in lines]


def write_ledger(config: Config, run: Run, by_role: Sequence[RoleSearches]) -> None:
    columns = ("samples", "requests", "prompt_tokens", "output_tokens")
    rows = [
        {"guide_of": role_searches.role, "call": call, **{name: getattr(used, name) for name in columns}}
        for role_searches in by_role
        for call, used in sorted(role_searches.usage.items())
    ]
    run.table(
        "ledger", rows, caption="All that was paid, by kind of call: proposals, and think, speak and rate of judges."
    )


def write_verdict(config: Config, run: Run, by_role: Sequence[RoleSearches]) -> None:
    shown = [result for result in by_role if result.role in CLAIMED]
    how = config.search
    enough = len(config.seeds) >= SURELY and len(shown) == len(CLAIMED) and {OURS, *OTHERS} <= set(how.methods)
    unread = max((float(result.unread.mean()) for result in by_role), default=0.0)
    against = {(result.role, method): cell for result in shown for method, cell in differences(config, result).items()}
    beaten = [" over ".join(pair) for pair, cell in against.items() if cell.low > 0]
    lost = [" to ".join(pair) for pair, cell in against.items() if cell.high < 0]
    verdict: Verdict = "held" if len(beaten) == len(against) else "partly" if beaten and not lost else "not held"
    note = (
        f"Strategist surely gains more: {', '.join(beaten) or 'over none'}; surely less: {', '.join(lost) or 'none'}."
    )
    if unread > UNREAD:
        note = f"{unread:.0%} of its answers could not be read: this model does not play. {note}"
    at = how.methods.index(OURS) if OURS in how.methods else 0
    measured = "; ".join(
        f"{result.role.capitalize()} {text_of(stats.mean_or_value(result.gains[:, at]), len(config.seeds), 2)}"
        for result in by_role
    )
    run.result(
        CLAIM,
        measured,
        unit="score over the seed guide",
        verdict=verdict if enough and unread <= UNREAD else "not comparable",
        scale=f"{len(config.seeds)} seeds, {how.strategies} guides a search, {how.held_out} unseen scenarios a "
        f"seed, {source(config)}",
        note=note,
    )
