"""Searches over strategies side by side: all of them advance in lockstep, and a run is told of every round.

What a search does depends on its setup, the journal and the recording alone, so a run that continues goes through the
rounds that are done once more, without a judgement or a request, and then goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.evolve import evolve
from jaxrl_suite.evolve.attempts import SearchSetup
from jaxrl_suite.evolve.progress import Search
from jaxrl_suite.evolve.proposer import Asking
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.llm.jobs import Job
from jaxrl_suite.llm.ledger import Ledger
from jaxrl_suite.llm.lockstep import Verifier, run_lockstep
from jaxrl_suite.llm.protocol import Usage
from jaxrl_suite.llm.run_sampler import as_user_error


class Planned(NamedTuple):
    """One search to come.

    Args:
      name: tells it apart, also in the journal.
      labels: for `metrics.jsonl`.
      setup: its method, its proposer and its judge.
      origin: the strategy that it starts from.
    """

    name: str
    labels: Mapping[str, Any]
    setup: SearchSetup
    origin: Strategy


def search_rounds(
    run: Run, planned: Sequence[Planned], samplers: Any, judges: Mapping[str, Verifier], title: str, name: str
) -> tuple[list[Search], dict[str, Usage]]:
    """All rounds of all searches, which have equally many.

    Args:
      run: gets a line of metrics for each search and round.
      planned: J searches.
      samplers: see `run_lockstep`.
      judges: see `services`.
      title: for the progress bar.
      name: of the loop.

    Returns:
      The J searches, and what they asked for by role.

    Raises:
      UserError: if the language model does not answer; with the remedy.
    """
    usage: dict[str, Usage] = {}
    searches: list[Search] = []

    def advance() -> None:
        nonlocal searches
        if searches:
            steps = [partial(_improve, plan.setup, search) for plan, search in zip(planned, searches, strict=True)]
        else:
            steps = [partial(_start, plan.setup, plan.origin) for plan in planned]
        jobs = [Job(plan.name, step) for plan, step in zip(planned, steps, strict=True)]
        outcomes = run_lockstep(jobs, samplers, judges)
        for outcome in outcomes:
            if outcome.error is not None:
                raise as_user_error(outcome.error)
            for role, used in outcome.ledger.by_role.items():
                usage[role] = usage.get(role, Usage()) + used
        searches = [outcome.value for outcome in outcomes]

    loop = run.chunks(1 + planned[0].setup.config.rounds, np.int32(0), f"{title}: rounds of search", name=name)
    for _ in range(loop.step):
        advance()
    for _ in loop:
        advance()
        for plan, search in zip(planned, searches, strict=True):
            at = search.curve[-1]
            run.log(**plan.labels, best=at.best, value=at.value, **at.cost._asdict())
        loop.carry = np.int32(1)
    return searches, usage


def _start(setup: SearchSetup, origin: Strategy, ledger: Ledger) -> Asking[Search]:
    return (yield from evolve.start(setup, ledger, [origin]))


def _improve(setup: SearchSetup, search: Search, ledger: Ledger) -> Asking[Search]:
    return (yield from evolve.improve(setup, search, ledger))
