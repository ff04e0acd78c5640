"""A judge as verifiers of `jaxrl_suite.llm.run_lockstep`, with a journal that keeps what it said.

Searches that run in lockstep share their calls: all texts to check are one call, and all rounds to judge are one, if
the judge has a method `judge_rounds(rounds)`; else they are judged one after the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.journal import Journal
from jaxrl_suite.evolve.records import Judge, Judgement, KeyState, Strategy
from jaxrl_suite.llm.lockstep import Verifier

_VECTORS = ("heuristic", "search", "outcome", "features")


class JudgedRound(NamedTuple):
    """A question to a judge."""

    strategies: tuple[Strategy, ...]
    path: tuple[int, ...]


def services(judges: Judge | Mapping[str, Judge], journal: Journal | None = None) -> dict[str, Verifier]:
    """The verifiers that searches ask.

    Args:
      judges: one, or several by name, each for the searches that name it.
      journal: keeps what was said, and answers what it knows.

    Returns:
      "check" and "judge", or "check NAME" and "judge NAME" of each.
    """
    journal = Journal() if journal is None else journal
    named = judges if isinstance(judges, Mapping) else {"": judges}
    made: dict[str, Verifier] = {}
    for name, judge in named.items():
        made[service("check", name)] = partial(_check, judge, name, journal)
        made[service("judge", name)] = partial(_judge, judge, name, journal)
    return made


def service(kind: str, judge: str) -> str:
    """The name of a verifier of the judge called `judge`; empty for the only one."""
    return f"{kind} {judge}" if judge else kind


def _check(judge: Judge, name: str, journal: Journal, texts: Sequence[str]) -> list[str]:
    keys = [_key(judge, name, text) for text in texts]
    missing = {key: text for key, text in zip(keys, texts, strict=True) if journal.get("check", key) is None}
    if missing:
        said = list(judge.check(list(missing.values())))
        if len(said) != len(missing) or not all(isinstance(line, str) for line in said):
            raise UserError(f"the judge checked {len(missing)} texts and said {said!r}: it must give a line for each")
        journal.put("check", dict(zip(missing, said, strict=True)))
    return [journal.get("check", key) for key in keys]


def _judge(judge: Judge, name: str, journal: Journal, rounds: Sequence[JudgedRound]) -> list[Judgement]:
    keys = [_key(judge, name, round_to_json(asked_round)) for asked_round in rounds]
    missing = {
        key: asked_round for key, asked_round in zip(keys, rounds, strict=True) if journal.get("judge", key) is None
    }
    together = getattr(judge, "judge_rounds", None)
    if together is not None and missing:
        said = together(list(missing.values()))
        kept = [judgement_to_json(_checked(*pair)) for pair in zip(said, missing.values(), strict=True)]
        journal.put("judge", dict(zip(missing, kept, strict=True)))
    else:  # one by one: what was played is kept, if the next one is interrupted
        for key, asked_round in missing.items():
            judgement = _checked(judge.judge(asked_round.strategies, asked_round.path), asked_round)
            journal.put("judge", {key: judgement_to_json(judgement)})
    return [judgement_from_json(journal.get("judge", key)) for key in keys]


def _checked(judgement: Judgement, asked: JudgedRound) -> Judgement:
    size = len(asked.strategies)
    parts = {name: len(getattr(judgement, name)) for name in ("scores", "games", "improvements")}
    if any(length != size for length in parts.values()):
        raise UserError(f"a judgement of {size} strategies must have {size} of each part, got {parts}")
    return judgement


def _key(judge: Judge, name: str, asked: Any) -> str:
    named = [name, getattr(judge, "identity", ""), asked]
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:32]


def round_to_json(asked: JudgedRound) -> Any:
    """A judgement's inputs beside the judge, as JSON; scores and history are left out."""
    rows = [[one.id, one.kind, one.text, one.weights, one.parent] for one in asked.strategies]
    return [rows, list(asked.path)]


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
