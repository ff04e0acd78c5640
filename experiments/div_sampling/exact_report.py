"""Sampling diversity where the truth is known: closed forms and enumeration, as tables and figures."""

from __future__ import annotations

from jaxrl_suite.core import plot
from jaxrl_suite.core.run import Run
from jaxrl_suite.scaling.diverse.prompt_mixture import PromptMixture, beta_any_right

COUNTS = (1, 2, 5, 10, 20, 100)
VOTES = (1, 3, 5, 7, 9, 11, 15, 21, 31)
# Half of the prompts are mostly right; the other half agree on one wrong answer, or spread over several.
AGREEING = PromptMixture(((0.7, 0.3, 0.0), (0.2, 0.8, 0.0)), (0.5, 0.5))
SCATTERED = PromptMixture(((0.4, 0.6, 0.0, 0.0), (0.4, 0.0, 0.6, 0.0), (0.4, 0.0, 0.0, 0.6)), (1 / 3, 1 / 3, 1 / 3))
CHANGING = PromptMixture(((0.2, 0.8, 0.0), (0.4, 0.1, 0.5)), (0.6, 0.4))  # gains for few votes and loses for many
ORIGINAL = 0.3  # failure rate of a prompt that is better than its perturbations


def write_exact(run: Run) -> None:
    rows = []
    for count in COUNTS:
        one, diverse = (beta_any_right(8, 2, count, diverse=which) for which in (False, True))
        rows.append(
            {
                "answers": count,
                "one prompt for all": one,
                "a prompt each": diverse,
                "gain": diverse - one,
                "original, failing less": 1 - ORIGINAL**count,
                "a prompt each, failing more": 1 - 0.5**count,
            }
        )
    caption = (
        "At least one right answer, exactly. Prompts that fail at rates of Beta(8, 2): 1 - E f^K where one prompt, "
        f"drawn once, answers K times, 1 - (E f)^K where each answer has its own. Last two: an original prompt that "
        f"fails at {ORIGINAL:g} beside perturbed ones that fail at .5 on average: there diversity hurts at every K. "
        "The theorem of the paper compares the first two."
    )
    run.table("exact_any", rows, caption=caption)
    votes, series = [], {}
    for label, mixture in (
        ("prompts that agree on an error", AGREEING),
        ("prompts with errors of their own", SCATTERED),
        ("one prompt agrees, one spreads", CHANGING),
    ):
        gains = []
        for count in VOTES:
            one, diverse = (mixture.majority_right(count, diverse=which) for which in (False, True))
            votes.append({"prompts": label, "votes": count, "one prompt": one, "a prompt each": diverse})
            gains.append(diverse - one)
        series[label] = (list(VOTES), gains)
    run.table("exact_votes", votes, caption="The majority vote is right, exactly, by enumeration.")
    figure = plot.lines(series, xlabel="votes", ylabel="gain of a prompt each", references={"none": 0.0})
    run.figure("exact_votes", figure, "Under a majority vote diversity may gain or lose, and the sign depends on N.")
