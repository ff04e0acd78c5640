"""The table of published claims, one row a claim, and the verdict a run adds to a row."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from jaxrl_suite.errors import UserError, suggest

Verdict = Literal["held", "partly", "not held", "not comparable"]
VERDICTS: tuple[str, ...] = get_args(Verdict)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A published claim. All fields are text, as the paper states them."""

    id: str
    system: str
    claim: str  # what the paper says, in a clause
    metric: str  # what was measured, with its unit
    published: str  # the published value
    baseline: str  # the published value of what it is compared with
    setting: str
    known: str  # where the number stands: table, figure, text, ...
    comparable: str  # whether this project can measure the same thing


class Measurement(NamedTuple):
    """The value that a run sets beside a claim, with its interval; the fields are those of `Run.result`."""

    measured: float | str
    low: float | None
    high: float | None
    unit: str
    scale: str
    verdict: Verdict
    note: str


def report_entry(claim: str, measurement: Measurement, claims: Mapping[str, Claim]) -> dict[str, Any]:
    """The published claim and the measurement as one row of a report.

    Args:
      claim: its id.
      measurement: what the run says about it.
      claims: the published ones by id; where there are none, any id is taken.

    Raises:
      UserError: if the claim or the verdict is unknown.
    """
    if measurement.verdict not in VERDICTS:
        raise UserError(f"unknown verdict {measurement.verdict!r}{suggest(measurement.verdict, VERDICTS)}")
    if claims and claim not in claims:
        raise UserError(f"unknown claim {claim!r}{suggest(claim, claims)}")
    published = dataclasses.asdict(claims[claim]) if claim in claims else {"id": claim}
    values = measurement._asdict()
    for name in ("measured", "low", "high"):
        if not isinstance(values[name], (str, type(None))):
            values[name] = float(values[name])
    return {**published, **values}


def load_claims(path: Path) -> dict[str, Claim]:
    """Reads the claims from a CSV file.

    Returns:
      Claim by id, in the order of the file. "same" as a claim means the claim of the row above.

    Raises:
      UserError: if the file cannot be read, lacks a column or repeats an id.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read the claims in {path}: {error.strerror}") from None
    reader = csv.DictReader(io.StringIO(text))
    names = [field.name for field in dataclasses.fields(Claim)]
    missing = [name for name in names if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{path} lacks the column {missing[0]!r}: its first line must name {', '.join(names)}")
    claims: dict[str, Claim] = {}
    above = ""
    for row in reader:
        values = {name: (row[name] or "").strip() for name in names}
        above = values["claim"] = above if values["claim"] == "same" else values["claim"]
        if values["id"] in claims:
            raise UserError(f"{path} has the claim {values['id']!r} twice: ids must differ")
        claims[values["id"]] = Claim(**values)
    return claims
