"""Strategist: searches over strategies on GOPS and Avalon, their baselines, what they find and what it is worth.

A strategy is the source of a value heuristic, which a tree search plays with. The methods write equally many of them,
from the same seed strategy, and are judged by equally many games of self-play. What they find then plays on fresh
games: against the seed strategy, against what the other methods found, against the exact equilibrium.

Strategies come from a grammar of features (default), or from a language model: --proposer openai --base-url URL
--model NAME, with the key in the environment (OPENAI_API_KEY; a server on this machine needs none). What was asked and
answered stays in the run folder, and so does a journal of all that happened; the same command with --resume pays for
nothing twice, and --proposer replay --recording FOLDER runs again from the answers of that run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.strategist.config import PRESETS, Config

if TYPE_CHECKING:
    from jaxrl_suite.networks.describe import Described

__all__ = ["CLAIMS", "PRESETS", "SYSTEM", "Config", "check", "main", "networks"]

SYSTEM = "Strategist"
CLAIMS = ("strat-1", "strat-2", "strat-4", "strat-5", "strat-6", "strat-7", "strat-11", "strat-12")


def networks(config: Config) -> dict[str, Described]:
    from jaxrl_suite.experiments.strategist import networks

    return networks.networks(config)


def check(config: Config) -> None:
    """Refuses a language model that cannot be asked, before a run begins."""
    from jaxrl_suite.llm.run_sampler import check_server

    check_server(config)


def main(config: Config, run: Run) -> None:
    from jaxrl_suite.experiments.strategist import learners, report
    from jaxrl_suite.experiments.strategist.final import play_exact, play_final
    from jaxrl_suite.experiments.strategist.search import judge_of, run_searches
    from jaxrl_suite.strategist.judge.gops import GopsJudge

    for game in config.games:
        with judge_of(config, game, run) as judge:
            searches = run_searches(config, run, game, judge)
            final = play_final(config, run, game, judge, searches)
            run.throughput(
                f"self-play games of {judge.title}, batches filled up", judge.programs.games, judge.programs.seconds
            )
            exact = None
            if isinstance(judge, GopsJudge) and config.exact.budgets and config.exact.methods:
                exact = play_exact(config, run, judge, searches)
            report.write(config, run, game, judge.title, searches, final, exact)
            if config.episodes_of(game):
                learners.write(config, run, judge, searches)
