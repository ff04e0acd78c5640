"""A file of all that happened in searches over strategies, and judges that answer from it: `services`.

One JSON line for each thing, written as it happens.

Two kinds of lines. Results (`check`, `judge`) stand under a key that names all they depend on, and are on disk before
anyone acts on them; a run that starts again finds them instead of computing them. Events (`event`) belong to a job and
are numbered; a run that starts again makes the same ones, in the same order, which is checked: what has happened is
never written over. They reach the disk with the next result, so that a failing machine may lose the last ones.

Searches in lockstep share their calls: all texts to check are one call, and all rounds to judge are one, if the judge
has a method `judge_rounds(rounds)`; else they are judged one after the other. Draws of a language model are kept apart,
in a `jaxrl_suite.llm.Recording`, as they must be on disk the moment they are paid for.
"""

from __future__ import annotations

import collections
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jaxrl_suite.core.files import NO_SUCH_LINE, JsonLines
from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.records import Judge, Judgement, KeyState, Strategy
from jaxrl_suite.llm.lockstep import Verifier

Log = Callable[..., None]  # log("proposal", call=..., ...)


class Journal:
    """An open journal; a context manager. One process at a time may write to it.

    A last line that a killed process left half-written is cut off.

    Args:
      path: the file, made if it does not exist; None keeps everything in memory.
      read_only: only look things up.

    Raises:
      UserError: if the file is damaged, missing (`read_only`), cannot be opened, or is in use by another process.
    """

    def __init__(self, path: Path | str | None = None, *, read_only: bool = False):
        self._results: dict[tuple[str, str], Any] = {}
        self._events: dict[str, list[str]] = collections.defaultdict(list)
        self.path = Path(path) if path is not None else None
        self._lines = None if path is None else JsonLines(path, what="journal", read_only=read_only)
        for line, _ in self._lines or ():
            try:
                self._note(line)
            except NO_SUCH_LINE:
                assert self._lines is not None
                self._lines.reject()

    def get(self, kind: str, key: str) -> Any:
        """A result on record, or None."""
        return self._results.get((kind, key))

    def put(self, kind: str, results: Mapping[str, Any]) -> None:
        """Appends results by their key and returns when they are on disk; those on record stay as they are."""
        new = {key: value for key, value in results.items() if (kind, key) not in self._results}
        # In the order given, not sorted: prompts show what stands in a result.
        self._append([{"kind": kind, "key": key, "value": value} for key, value in new.items()])

    def log(self, job: str) -> Log:
        """The log of one job from its first event on; what is on record already is compared, not written again."""
        number = 0

        def note(event: str, **data: Any) -> None:
            nonlocal number
            line = json.dumps({"event": event, **data}, sort_keys=True)
            known = self._events[job]
            if number < len(known):
                if known[number] != line:
                    raise UserError(
                        f"event {number} of {job} in {self.path} is another one now: the journal is of another "
                        "config or version; give the same options, or choose another folder"
                    )
            else:
                self._append([{"kind": "event", "job": job, "number": number, "data": json.loads(line)}], sync=False)
            number += 1

        return note

    @property
    def jobs(self) -> tuple[str, ...]:
        return tuple(job for job, events in self._events.items() if events)

    def events(self, job: str) -> list[dict[str, Any]]:
        """All events of a job, in order."""
        return [json.loads(line) for line in self._events.get(job, [])]

    def proposals(self, job: str) -> dict[tuple[str, tuple[int, ...]], Any]:
        """Proposals of a job, by call and path, for a `ReplayProposer`."""
        made = [event for event in self.events(job) if event["event"] == "proposal"]
        return {(event["call"], tuple(event["path"])): event["result"] for event in made}

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Journal({str(self.path)!r}, {len(self._results)} results, {len(self.jobs)} jobs)"

    def _append(self, lines: Sequence[Mapping[str, Any]], *, sync: bool = True) -> None:
        if self._lines is None:
            written = json.loads(json.dumps(lines))
        else:
            written = [line for line, _ in self._lines.append(lines, sync=sync)] if lines else []
        for line in written:
            self._note(line)

    def _note(self, line: Mapping[str, Any]) -> None:
        if line["kind"] == "event":
            events = self._events[line["job"]]
            if line["number"] != len(events):
                raise ValueError(line)
            events.append(json.dumps(line["data"], sort_keys=True))
        else:
            self._results.setdefault((line["kind"], line["key"]), line["value"])


_VECTORS = ("heuristic", "search", "outcome", "features")


class JudgedRound(NamedTuple):
    """A question to a judge, see `Judge.judge`."""

    strategies: tuple[Strategy, ...]
    path: tuple[int, ...]
    games: int | None = None


def services(judges: Judge | Mapping[str, Judge], journal: Journal | None = None) -> dict[str, Verifier]:
    """The verifiers that searches ask.

    Args:
      judges: one, or several by name, each for the searches that name it.
      journal: keeps what was said, and answers what it knows.

    Returns:
      "check" and "judge", or "check NAME" and "judge NAME" of each.

    Raises:
      UserError: if a judge has no identity.
    """
    journal = Journal() if journal is None else journal
    named = judges if isinstance(judges, Mapping) else {"": judges}
    made: dict[str, Verifier] = {}
    for name, judge in named.items():
        if not getattr(judge, "identity", ""):
            raise UserError(
                f"{type(judge).__name__} has no identity: give it a property that names what its answers depend on, "
                "like its game and config, so that a journal does not answer for it with what another judge said"
            )
        made[service("check", name)] = partial(_check, judge, name, journal)
        made[service("judge", name)] = partial(_judge, judge, name, journal)
    return made


def service(kind: str, judge: str) -> str:
    """The name of a verifier of the judge called `judge`; empty for the only one."""
    return f"{kind} {judge}" if judge else kind


def _check(judge: Judge, name: str, journal: Journal, texts: Sequence[str]) -> list[str]:
    keys = [_keys(name, judge.identity, text, text) for text in texts]
    missing = {key: text for key, text in zip(keys, texts, strict=True) if _known(journal, "check", key) is None}
    if missing:
        said = list(judge.check(list(missing.values())))
        if len(said) != len(missing) or not all(isinstance(line, str) for line in said):
            raise UserError(f"the judge checked {len(missing)} texts and said {said!r}: it must give a line for each")
        journal.put("check", {key[0]: line for key, line in zip(missing, said, strict=True)})
    return [_known(journal, "check", key) for key in keys]


def _judge(judge: Judge, name: str, journal: Journal, rounds: Sequence[JudgedRound]) -> list[Judgement]:
    keys = [_keys(name, judge.identity, round_to_json(one), round_to_json(one._replace(games=None))) for one in rounds]
    missing = {key: one for key, one in zip(keys, rounds, strict=True) if _known(journal, "judge", key) is None}
    together = getattr(judge, "judge_rounds", None)
    if together is not None and missing:
        said = together(list(missing.values()))
        kept = [judgement_to_json(_checked(*pair)) for pair in zip(said, missing.values(), strict=True)]
        journal.put("judge", {key[0]: value for key, value in zip(missing, kept, strict=True)})
    else:  # one by one: what was played is kept, if the next one is interrupted
        for key, one in missing.items():
            more = {} if one.games is None else {"games": one.games}
            judgement = _checked(judge.judge(one.strategies, one.path, **more), one)
            journal.put("judge", {key[0]: judgement_to_json(judgement)})
    return [judgement_from_json(_known(journal, "judge", key)) for key in keys]


def _checked(judgement: Judgement, asked: JudgedRound) -> Judgement:
    size = len(asked.strategies)
    parts = {name: len(getattr(judgement, name)) for name in ("scores", "games", "improvements")}
    if any(length != size for length in parts.values()):
        raise UserError(f"a judgement of {size} strategies must have {size} of each part, got {parts}")
    return judgement


def _keys(name: str, identity: str, asked: Any, asked_before: Any) -> tuple[str, str]:
    """The key of a question, and that of journals of earlier versions, whose searches named no judge and no games."""
    named = [name, identity, asked], [name, "", asked_before]
    first, second = (hashlib.sha256(json.dumps(one, sort_keys=True).encode()).hexdigest()[:32] for one in named)
    return first, second


def _known(journal: Journal, kind: str, keys: Sequence[str]) -> Any:
    return next((value for key in keys if (value := journal.get(kind, key)) is not None), None)


def round_to_json(asked: JudgedRound) -> Any:
    """A judgement's inputs beside the judge, as JSON; scores and history are left out."""
    rows = [[one.id, one.kind, one.text, one.weights, one.parent] for one in asked.strategies]
    return [rows, list(asked.path)] if asked.games is None else [rows, list(asked.path), asked.games]


def judgement_to_json(judgement: Judgement) -> dict[str, Any]:
    return {
        "scores": _floats(judgement.scores),
        "games": [int(count) for count in judgement.games],
        "improvements": [None if gain is None else float(gain) for gain in judgement.improvements],
        "key_states": [
            {
                "strategy": int(state.strategy),
                "state": state.state,
                "named": {name: float(value) for name, value in state.named.items()},
                **{name: _floats(getattr(state, name)) for name in _VECTORS},
            }
            for state in judgement.key_states
        ],
    }


def judgement_from_json(data: Mapping[str, Any]) -> Judgement:
    states = (KeyState(**{**row, **{name: tuple(row[name]) for name in _VECTORS}}) for row in data["key_states"])
    return Judgement(tuple(data["scores"]), tuple(data["games"]), tuple(data["improvements"]), tuple(states))


def _floats(values: Sequence[float]) -> list[float]:
    return [float(value) for value in values]
