"""Runs many algorithms at once, so that all they ask of a model goes in one batch.

In each round every job is advanced to its next questions; those to one sampler, or one verifier, are one call. Each job
has a ledger of its own. What a job obtains does not depend on the jobs beside it, nor on how the batches are cut:

    jobs = [Job(f"{i}", partial(best_of, problem), Budget(samples=8)) for i, problem in enumerate(problems)]
    outcomes = run_lockstep(jobs, sampler, {"tests": run_tests}, on_done=save)

An algorithm cannot be saved in the middle. To resume a run, leave out the jobs whose outcomes were saved and run the
others again over a recording of the sampler: they take the same way and pay for nothing that is on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Job, JobOutcome, Running
from jaxrl_suite.llm.protocol import Sampler
from jaxrl_suite.llm.questions import SampleSlot, Slot, VerifySlot
from jaxrl_suite.llm.recording import RecordingError

Verifier: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]  # items to their verdicts, in order
T = TypeVar("T", bound=Slot)


def run_lockstep(
    jobs: Sequence[Job],
    samplers: Sampler | Mapping[str, Sampler],
    verifiers: Mapping[str, Verifier] | None = None,
    *,
    max_batch: int | None = None,
    on_done: Callable[[JobOutcome], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[JobOutcome]:
    """Advances all jobs together until each has ended.

    A job that raises does not disturb the others; see its `JobOutcome`. A request that a sampler refuses
    (`ValueError`), a model that fails (`SamplerFailedError`) and a verifier that breaks are raised in the job
    that asked.

    Args:
      jobs: with different names.
      samplers: one, which is called "main", or several by name.
      verifiers: by name; they must judge each item by itself.
      max_batch: most questions in one call; None for all of a round.
      on_done: is given each outcome as soon as it is known, for instance to save it.
      clock: seconds, for what verifiers cost.

    Returns:
      The outcomes, in the order of the jobs.

    Raises:
      UserError: if two jobs have one name, `max_batch` is below 1, or a recording cannot be written.
    """
    names = {job.name for job in jobs}
    if len(names) < len(jobs):
        raise UserError(f"{len(jobs)} jobs have {len(names)} names: give each its own")
    if max_batch is not None and max_batch < 1:
        raise UserError(f"max_batch must be at least 1, got {max_batch}")
    models = samplers if isinstance(samplers, Mapping) else {"main": samplers}
    judges = {} if verifiers is None else verifiers
    everyone = [Running(job, models, judges) for job in jobs]
    running = everyone
    try:
        while running:
            slots: list[Slot] = []
            for slot in running:
                slots += slot.orders()
                if slot.outcome is not None and on_done is not None:
                    on_done(slot.outcome)
            running = [slot for slot in running if slot.outcome is None]
            for name, sampler in models.items():
                for batch in _batches(slots, SampleSlot, name, max_batch):
                    _sample(sampler, batch)
            for name, judge in judges.items():
                for batch in _batches(slots, VerifySlot, name, max_batch):
                    _verify(judge, batch, name, clock)
    finally:
        for slot in running:
            slot.close()
    return [slot.outcome for slot in everyone if slot.outcome is not None]


def without_errors(outcomes: Sequence[JobOutcome]) -> list[JobOutcome]:
    """The outcomes of jobs none of which may fail; the error of the first that did is raised."""
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return list(outcomes)


def _batches(slots: Iterable[Slot], kind: type[T], service: str, most: int | None) -> list[list[T]]:
    """The slots of one service, in calls of at most `most`."""
    ours = [slot for slot in slots if isinstance(slot, kind) and slot.service == service]
    size = most or max(len(ours), 1)
    return [ours[first : first + size] for first in range(0, len(ours), size)]


def _sample(sampler: Sampler, slots: Sequence[SampleSlot]) -> None:
    try:
        replies = sampler.sample([slot.granted for slot in slots])
    except RecordingError:
        raise  # what is paid from now on would be lost
    except ValueError as error:  # nothing was paid: find out whose request it is
        if len(slots) == 1:
            slots[0].fail(error)
            return
        for slot in slots:
            _sample(sampler, [slot])
        return
    for slot, reply in zip(slots, replies, strict=True):
        slot.take(reply)


def _verify(judge: Verifier, slots: Sequence[VerifySlot], name: str, clock: Callable[[], float]) -> None:
    items = [item for slot in slots for item in slot.items]
    started = clock()
    try:
        values = list(judge(items))
        if len(values) != len(items):
            raise UserError(
                f"verifier {name!r} gave {len(values)} verdicts on {len(items)} items: it must give one each"
            )
    except Exception as error:
        if len(slots) == 1:
            slots[0].fail(error)
            return
        for slot in slots:
            _verify(judge, [slot], name, clock)
        return
    seconds = (clock() - started) / len(items)
    for slot in slots:
        size = len(slot.items)
        slot.take(values[:size], size * seconds)
        values = values[size:]
