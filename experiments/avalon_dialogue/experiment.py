"""Dialogue in Avalon: the value of communication, and searches for guides by which a language model speaks.

Without a language model, players make claims about each other's sides. They learn to talk and to listen, beside
controls in which the claims are about another deal, and against evil players who learn too; then bots' games are read
with and without such talk.

With one (--proposer openai --base-url URL --model NAME, as in `run strategist`), the methods of Strategist search for
guides: worksheets that a role fills in before it speaks. A guide is worth what its speeches change in the beliefs of
those who hear them. What each search finds meets the seed guide in scenarios that no search has seen.
"""

from __future__ import annotations

from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.avalon_dialogue.config import PRESETS, Config

__all__ = ["CLAIMS", "PRESETS", "SYSTEM", "Config", "check", "main"]

SYSTEM = "Strategist"
CLAIMS = ("strat-3",)


def check(config: Config) -> None:
    """Refuses a language model that cannot be asked, before a run begins."""
    from jaxrl_suite.llm.run_sampler import check_server

    check_server(config)


def main(config: Config, run: Run) -> None:
    from jaxrl_suite.experiments.avalon_dialogue import guides, guides_report, talk, talk_report

    if config.talk:
        learned = talk.learn(config, run)
        talk_report.write_learned(config, run, learned)
        talk_report.write_games(config, run, talk.play(config, run, learned))
    found = [] if config.proposer == "none" else [guides.search_role(config, run, role) for role in config.search.roles]
    guides_report.write(config, run, found)
