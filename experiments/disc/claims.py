"""DISC: verdicts on the published claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxrl_suite.core import stats
from jaxrl_suite.core.claims import Verdict
from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.disc.config import ChainName, MethodName
from jaxrl_suite.experiments.disc.report import column
from jaxrl_suite.experiments.disc.searches import COLUMNS

if TYPE_CHECKING:
    from jaxrl_suite.experiments.disc.config import Config
    from jaxrl_suite.experiments.disc.learned import LearnedFound
    from jaxrl_suite.experiments.disc.report import Found

RULES: tuple[MethodName, ...] = ("Z", "Q", "negQ", "R", "negZ")
ORDER: dict[MethodName, str] = {"disc_tree": "tree", "disc_beam": "beam", "Z": "greedy"}  # as published, best first
SOLVED = COLUMNS.index("solved")
CHAINS: tuple[ChainName, ...] = ("run", "trap")  # where the order is judged, beside the learned tasks
ELSEWHERE = {
    "disc-1": "It needs gpt-4o-mini and APPS; chains and countdown are other problems, and other models solve them.",
    "disc-2": "It needs gpt-4o-mini, MATH500 and an outcome reward model.",
    "disc-3": "It needs a large model and LiveCodeBench.",
    "disc-4": "It compares temperatures of a large model on APPS; a run has one, --temperature, and chains have none.",
}


class OrderPlace(NamedTuple):
    """A place where the order of the three variants was measured.

    Args:
      name: of the chain or the model.
      shares: float64[searches or problems] of each variant, paired.
      steps: its differences, tree less beam and beam less greedy.
    """

    name: str
    shares: dict[MethodName, np.ndarray]
    steps: tuple[stats.Interval, stats.Interval]


def write_claims(config: Config, run: Run, found: Found, learned: LearnedFound) -> None:
    for claim, why in ELSEWHERE.items():
        _unmeasured(run, claim, why)
    write_rules(config, run, found)
    write_order(config, run, found, learned)


def write_rules(config: Config, run: Run, found: Found) -> None:
    """disc-5: which rule of acceptance is best."""
    if not all(("run", rule) in found for rule in RULES) or found["run", "Z"][..., 0].size < 2:
        _unmeasured(run, "disc-5", f"It needs two searches or more of chain run with the methods {', '.join(RULES)}.")
        return
    solved = {rule: column(found["run", rule], "solved") for rule in RULES}
    size = solved["Z"].size
    gaps = {rule: stats.paired_bootstrap(solved["Z"], solved[rule]) for rule in RULES[1:]}
    worse = stats.paired_bootstrap(solved["R"], solved["negZ"])
    beaten = [rule for rule, gap in gaps.items() if gap.high < 0]
    best = all(gap.low > 0 for gap in gaps.values())
    enough = len(config.seeds) >= 5 and size >= 100
    verdict = "not held" if beaten else "held" if best and worse.low > 0 else "partly"
    order = sorted(RULES, key=lambda rule: -solved[rule].mean())
    tokens = {rule: column(found["run", rule], "output_tokens").mean() for rule in RULES}
    run.result(
        "disc-5",
        " > ".join(f"{rule} {solved[rule].mean():.3f}" for rule in order),
        verdict=verdict if enough else "not comparable",
        scale=f"chain run, {len(config.seeds)} seeds, {size} searches of at most {config.samples} samples",
        note=(
            "Share solved by each rule. "
            + "; ".join(f"Z - {rule} {_words(gap)}" for rule, gap in gaps.items())
            + f"; R - negZ {_words(worse)}. Paired 95 % intervals. Mean "
            "output tokens: " + ", ".join(f"{rule} {tokens[rule]:.0f}" for rule in order) + "."
        ),
    )


def write_order(config: Config, run: Run, found: Found, learned: LearnedFound) -> None:
    """disc-6: tree above beam above greedy, wherever all three were run."""
    places = [
        order_place(f"chain {chain}", {m: column(found[chain, m], "solved") for m in ORDER})
        for chain in CHAINS
        if all((chain, m) in found for m in ORDER)
    ]
    places += [
        order_place(model, {m: learned[model, m][..., SOLVED].mean(axis=0) for m in ORDER})
        for model in config.models
        if all((model, m) in learned for m in ORDER)
    ]
    if not places:
        _unmeasured(run, "disc-6", f"It needs the methods {', '.join(ORDER)}, as the preset full has them.")
        return
    size = min(place.shares["Z"].size for place in places)
    enough = len(config.seeds) >= 5 and size >= 100
    scale = f"{', '.join(place.name for place in places)}; {len(config.seeds)} seeds, at least {size} searches or "
    run.result(
        "disc-6",
        "; ".join(
            f"{place.name}: " + ", ".join(f"{word} {place.shares[m].mean():.3f}" for m, word in ORDER.items())
            for place in places
        ),
        verdict=order_verdict([place.steps for place in places]) if enough else "not comparable",
        scale=scale + "problems each",
        note=(
            "Share solved by DISC-Z by tree, by beam and greedy. Tree less beam, then beam less greedy: "
            + "; ".join(f"{place.name} {_words(place.steps[0])}, {_words(place.steps[1])}" for place in places)
            + ". Paired 95 % intervals, over searches on chains and over problems with models. Held: both are above 0 "
            "everywhere; not held: nowhere are both, and somewhere one is below 0. Other problems than published."
        ),
    )


def _unmeasured(run: Run, claim: str, why: str) -> None:
    run.result(claim, "not measured", verdict="not comparable", scale="none", note=why)


def order_place(name: str, shares: dict[MethodName, np.ndarray]) -> OrderPlace:
    """Measures both steps of the order, each by the paired bootstrap; two entries at least, else a step is a point."""
    tree, beam, greedy = (shares[method] for method in ORDER)
    return OrderPlace(name, shares, (_difference(tree, beam), _difference(beam, greedy)))


def order_verdict(steps: list[tuple[stats.Interval, stats.Interval]]) -> Verdict:
    """Held where all steps of all places are above 0; not held where no place has both and one step is below 0."""
    whole = [all(step.low > 0 for step in place) for place in steps]
    if all(whole):
        return "held"
    reversed_step = any(step.high < 0 for place in steps for step in place)
    return "not held" if reversed_step and not any(whole) else "partly"


def _difference(ours: np.ndarray, theirs: np.ndarray) -> stats.Interval:
    if ours.size < 2:
        return stats.Interval(*[float(ours.mean() - theirs.mean())] * 3)
    return stats.paired_bootstrap(ours, theirs)


def _words(gap: stats.Interval) -> str:
    return f"{gap.estimate:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
