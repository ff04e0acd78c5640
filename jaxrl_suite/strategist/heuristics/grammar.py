"""Ideas as sentences of a small grammar over the features of a game, and what they do to weights.

An idea is a sentence and nothing else, so that it can be queued, shown and tried on any strategy:

    Add +0.5 to the weight of hand_sum (sum of the cards held, less the other's).

`say` and `parse` are inverses; what stands in parentheses is for the reader. Conclusions are lines of the same kind.

Shapes: `F` features, `B` key states.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.records import KeyState

CONCLUSIONS = 5  # features that are named
RIDGE = 0.3  # of the regression on key states, in units of a feature's mean square


class Features(Protocol):
    """The protocol of a library that the grammar needs, see `features.FeatureLibrary`."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def summaries(self) -> tuple[str, ...]: ...

    @property
    def seed_weights(self) -> tuple[float, ...]: ...

    def render(self, weights: Sequence[float]) -> str: ...


class Operator(NamedTuple):
    """A change of weights: what to do, to which feature, beside which other, and how much."""

    name: str
    feature: str = ""
    other: str = ""
    amount: float = 0.0


_SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "add": "Add {amount:+.3g} to the weight of {feature}",
        "raise": "Give {feature} more weight: multiply it by {amount:.3g}",
        "lower": "Give {feature} less weight: multiply it by {amount:.3g}",
        "flip": "Turn the sign of {feature} around",
        "drop": "Leave {feature} out",
        "move": "Move a weight of {amount:.3g} from {other} to {feature}",
        "match": "Weigh {feature} as {other} is weighed",
        "scale": "Multiply all weights by {amount:.3g}",
    }
)
_NUMBER, _WORD = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", r"\w+"


def _pattern(sentence: str) -> re.Pattern[str]:
    escaped = re.escape(re.sub(r":\+?\.3g", "", sentence))
    for field, pattern in [
        ("amount", rf"(?P<amount>{_NUMBER})"),
        ("feature", rf"(?P<feature>{_WORD})"),
        ("other", rf"(?P<other>{_WORD})"),
    ]:
        escaped = escaped.replace(rf"\{{{field}\}}", pattern)
    return re.compile(escaped + r"(?: \(.*\))?\.?", re.DOTALL)


_PATTERNS = {name: _pattern(sentence) for name, sentence in _SENTENCES.items()}
_CONCLUSION = "{feature}: the search asks for {slope:+.3g} of weight, worth {worth:.3g} in such positions."
_CONCLUDED = re.compile(
    rf"^({_WORD}): the search asks for ({_NUMBER}) of weight, worth ({_NUMBER}) in such positions\.$", re.MULTILINE
)


def say(operator: Operator, features: Features) -> str:
    """The operator as a sentence, with what its features are."""
    about = dict(zip(features.names, features.summaries, strict=True))
    named = [name for name in (operator.feature, operator.other) if name]
    notes = "; ".join((f"{name}: " if len(named) > 1 else "") + about[name].rstrip(".").lower() for name in named)
    sentence = _SENTENCES[operator.name].format(**operator._asdict())
    return f"{sentence} ({notes})." if notes else f"{sentence}."


def parse(sentence: str) -> Operator | None:
    """The operator that a sentence says; None if it is not of the grammar."""
    for name, pattern in _PATTERNS.items():
        if found := pattern.fullmatch(sentence.strip()):
            parts = found.groupdict()
            return Operator(name, parts.get("feature") or "", parts.get("other") or "", float(parts.get("amount") or 0))
    return None


def apply(operator: Operator, weights: Sequence[float], names: Sequence[str]) -> tuple[float, ...]:
    """New weights [F].

    Raises:
      UserError: if a feature is not in the library.
    """
    new = [float(weight) for weight in weights]
    for name in (operator.feature, operator.other):
        if name and name not in names:
            raise UserError(f"there is no feature {name}: use one of {', '.join(names)}")
    at = names.index(operator.feature) if operator.feature else -1
    other = names.index(operator.other) if operator.other else -1
    if operator.name == "scale":
        new = [weight * operator.amount for weight in new]
    elif operator.name in ("raise", "lower"):
        new[at] *= operator.amount
    elif operator.name == "match":
        new[at] = new[other]
    elif operator.name == "move":
        new[at], new[other] = new[at] + operator.amount, new[other] - operator.amount
    else:
        new[at] = {"add": new[at] + operator.amount, "flip": -new[at], "drop": 0.0}[operator.name]
    return tuple(round(weight, 9) + 0.0 for weight in new)


class Finding(NamedTuple):
    """A feature whose weight the search would change."""

    feature: str
    slope: float  # by how much
    worth: float  # root mean square of what that changes in the states


def findings(states: Sequence[KeyState], weights: Sequence[float], names: Sequence[str]) -> tuple[Finding, ...]:
    """Ridge regression of what the search adds to the heuristic on the features, over the key states.

    Values are those of player 0 where there are two players, else of the larger side, around the middle between the
    sides: what `weights @ features` stands for in GOPS and in Avalon. The ratio of the heuristic's values to that sum
    puts them into its unit.

    Args:
      states: B; those without features are left out.
      weights: [F].
      names: of the features.

    Returns:
      The features that matter most, most first; none without states.
    """
    rows = [state for state in states if len(state.features) == len(names)]
    if not rows:
        return ()
    x = np.array([state.features for state in rows], float)
    total = x @ np.asarray(weights, float)
    heuristic = np.array([_lead(state.heuristic) for state in rows])
    gap = np.array([_lead(state.search) for state in rows]) - heuristic
    unit = float(heuristic @ total / (total @ total)) if total @ total > 0 else 0.0
    if unit <= 1e-9:  # the heuristic says nothing here: half a difference of points, or log-odds around one half
        unit = 0.5 if len(rows[0].heuristic) == 2 else 0.25
    gap = gap / unit
    size = np.sqrt(np.mean(x**2, axis=0))
    known = size > 1e-9
    z = x[:, known] / size[known]
    slopes = np.zeros(len(names))
    covariance = z.T @ z / len(rows) + RIDGE * np.eye(z.shape[1])
    slopes[known] = np.linalg.solve(covariance, z.T @ gap / len(rows)) / size[known]
    worth = np.abs(slopes) * size
    order = np.argsort(-worth, kind="stable")[:CONCLUSIONS]
    limit = 0.005 * worth.max()
    return tuple(Finding(str(names[i]), float(slopes[i]), float(worth[i])) for i in order if worth[i] > limit)


def say_findings(findings: Sequence[Finding]) -> str:
    return "\n".join(_CONCLUSION.format(**one._asdict()) for one in findings)


def parse_findings(conclusions: str) -> tuple[Finding, ...]:
    """The findings in a text; what is not of the grammar is passed over."""
    return tuple(Finding(name, float(slope), float(worth)) for name, slope, worth in _CONCLUDED.findall(conclusions))


def _lead(values: Sequence[float]) -> float:
    """The lead over the middle of player 0 of two, or of the larger of two sides; a median is of the larger side."""
    first = values[0] if len(values) == 2 else float(np.median(values))
    return first - (max(values) + min(values)) / 2


def draw_guided(rng: np.random.Generator, findings: Sequence[Finding], weights: Mapping[str, float]) -> Operator:
    """A change in the direction that the key states ask for; a feature is drawn by what it is worth."""
    worth = np.array([finding.worth for finding in findings])
    finding = findings[int(rng.choice(len(findings), p=worth / worth.sum()))]
    old = weights[finding.feature]
    if old and rng.random() < 0.3:
        if old * finding.slope > 0:
            return Operator("raise", finding.feature, amount=float(rng.choice([1.5, 2.0])))
        name = str(rng.choice(["lower", "drop", "flip"] if abs(finding.slope) > abs(old) else ["lower"]))
        return Operator(name, finding.feature, amount=0.5 if name == "lower" else 0.0)
    return Operator("add", finding.feature, amount=_short(finding.slope * float(rng.choice([0.5, 1.0, 1.0, 2.0]))))


def draw_blind(rng: np.random.Generator, weights: Mapping[str, float]) -> Operator:
    """Any change of the grammar, harmful ones too."""
    names = list(weights)
    used = [name for name in names if weights[name]] or names
    size = max((abs(weight) for weight in weights.values()), default=0.0) or 1.0

    def pair() -> tuple[str, str]:
        one, other = rng.choice(names, 2, replace=False)
        return str(one), str(other)

    draws: list[Callable[[], Operator]] = [
        lambda: Operator(
            "add", str(rng.choice(names)), amount=_short(size * float(rng.choice([-1, -0.5, 0.25, 0.5, 1])))
        ),
        lambda: Operator("raise", str(rng.choice(used)), amount=float(rng.choice([1.5, 2.0, 3.0]))),
        lambda: Operator("lower", str(rng.choice(used)), amount=float(rng.choice([0.3, 0.5, 0.7]))),
        lambda: Operator("flip", str(rng.choice(used))),
        lambda: Operator("drop", str(rng.choice(used))),
        lambda: Operator("move", *pair(), amount=_short(size / 2)),
        lambda: Operator("match", *pair()),
        lambda: Operator("scale", amount=float(rng.choice([0.5, 0.7, 1.5, 2.0]))),
    ]
    chances = np.array([4, 2, 2, 1, 1, 2, 1, 1])
    return draws[int(rng.choice(len(draws), p=chances / chances.sum()))]()


def _short(value: float) -> float:
    """Two significant digits, as the sentence shows three."""
    return float(f"{value:.2g}")
