"""The ledger of what language-model work costs, by role, and budgets that stop it without losing what was paid for.

A request is granted before it is sent: the ledger cuts it to what is left after what is in flight, and reserves its
worst case, `num_samples * max_tokens` output tokens. When it is settled, what it used replaces the reservation.

    granted = ledger.grant(request)
    if granted is not None:
        reply = sampler.sample([granted])[0]
        ledger.settle(granted, reply.usage)
"""

from __future__ import annotations

import collections
import dataclasses
import math
import threading
from collections.abc import Mapping
from typing import Any

from jaxrl_suite.core.files import Row
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Request, Usage

COLUMNS = tuple(field.name for field in dataclasses.fields(Usage))


class BudgetExhaustedError(Exception):
    """Nothing of a budget is left. Thrown into an algorithm, which catches it to return the best that it has."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """The most that may be spent; None is no limit.

    Samples, requests, verifier calls and output tokens are never overrun, whatever the concurrency, as long as a
    sampler keeps to one request and `max_tokens` a sample. (An HTTP sampler may need more exchanges for a request: the
    ledger that it is given itself counts and limits each of them.) Prompt tokens of a token prefix are known
    beforehand; those of a text only after the reply, so that `prompt_tokens` and `total_tokens` may then be overrun by
    the prompts in flight. `seconds` are known only afterwards.

    Args:
      samples, requests, prompt_tokens, output_tokens, verifier_calls: as in `Usage`.
      total_tokens: prompt and output tokens together.
      seconds: time charged; work that overlaps counts each in full.

    Raises:
      UserError: if a limit is negative.
    """

    samples: int | None = None
    requests: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    verifier_calls: int | None = None
    seconds: float | None = None

    def __post_init__(self):
        for name, limit in dataclasses.asdict(self).items():
            if limit is not None and not limit >= 0:
                raise UserError(f"the budget of {name} must be at least 0, got {limit}: None is no limit")


LIMITS = tuple(field.name for field in dataclasses.fields(Budget))
MOVED = tuple(name for name in COLUMNS if name not in ("seconds", "speculative_tokens"))  # by `set_aside`


class Ledger:
    """Counts `Usage` by role under one budget. Safe to share between threads.

    Args:
      budget: the most that may be spent, all roles together.
    """

    def __init__(self, budget: Budget | None = None):
        self.budget = Budget() if budget is None else budget
        self._is_unlimited = all(getattr(self.budget, name) is None for name in LIMITS)
        self._lock = threading.Lock()
        self._roles: dict[str, Usage] = {}
        self._granted: collections.Counter[Request] = collections.Counter()
        self._reserved = Usage()

    def grant(self, request: Request, *, cut_tokens: bool = True) -> Request | None:
        """Reserves what is left for a request.

        Samples are cut before `max_tokens`, so that only the last sample of a budget is shortened.

        Args:
          request: what is wanted.
          cut_tokens: whether `max_tokens` may be cut; else a sample that does not fit as a whole is refused. (False
            while more is in flight: it may settle for less than it reserved.)

        Returns:
          The request, or its first samples; None if nothing of it may be spent. What is returned must be settled.
        """
        with self._lock:
            if self._is_unlimited:  # nothing to reserve from
                self._granted[request] += 1
                return request
            left = self._left()
            if self._refusal(request, left) is not None:
                return None
            room = min(left["output_tokens"], left["total_tokens"] - _known_prompt(request))
            tokens = request.decoding.max_tokens
            if tokens > room:
                if not cut_tokens:
                    return None
                tokens = int(room)
            whole = request.num_samples if math.isinf(room) else room // tokens
            samples = int(min(request.num_samples, left["samples"], whole))
            decoding = dataclasses.replace(request.decoding, max_tokens=tokens)
            granted = dataclasses.replace(request, num_samples=samples, decoding=decoding)
            self._granted[granted] += 1
            self._reserved += _worst_case(granted)
            return granted

    def settle(self, granted: Request, usage: Usage) -> None:
        """Replaces the reservation of a granted request by what it used; zero if it was never sent.

        Raises:
          UserError: if it was not granted, or was settled before.
        """
        with self._lock:
            count = self._granted.pop(granted, 0)
            if not count:
                raise UserError("this request is not in flight: settle what `grant` returned, once")
            if count > 1:
                self._granted[granted] = count - 1
            if not self._is_unlimited:
                self._reserved = _minus(self._reserved, _worst_case(granted))
            self._charge(usage, granted.role)

    def grant_calls(self, calls: int, role: str = "solve") -> int:
        """Charges up to `calls` verifier calls; returns how many there are left for it, 0 to `calls`."""
        with self._lock:
            if self._is_unlimited:
                self._charge(Usage(verifier_calls=calls), role)
                return calls
            left = self._left()
            calls = 0 if left["seconds"] <= 0 else int(min(calls, left["verifier_calls"]))
            if calls > 0:
                self._charge(Usage(verifier_calls=calls), role)
            return calls

    def charge(self, usage: Usage, role: str = "solve") -> None:
        """Adds what was used without a grant, for instance seconds."""
        with self._lock:
            self._charge(usage, role)

    def discard(self, tokens: int, role: str = "solve") -> None:
        """Notes that output tokens, which stay paid for, were not used.

        Raises:
          UserError: if more would be discarded than the role has produced.
        """
        with self._lock:
            usage = self._roles.get(role, Usage())
            if tokens < 0 or usage.discarded_tokens + tokens > usage.output_tokens:
                raise UserError(
                    f"role {role!r} cannot discard {tokens} tokens: it has {usage.output_tokens} output tokens, "
                    f"{usage.discarded_tokens} of them discarded already"
                )
            self._charge(Usage(discarded_tokens=tokens), role)

    def set_aside(self, usage: Usage, role: str = "solve") -> None:
        """Moves what was drawn ahead of need, and is not needed, out of the counts that limits know.

        Its prompt and output tokens go to `speculative_tokens`, its samples, requests and verifier calls to no column;
        seconds stay. Then all other counts are those of a search that draws one by one.

        Raises:
          UserError: if the role has not used as much.
        """
        with self._lock:
            used = self._roles.get(role, Usage())
            more = next((name for name in MOVED if getattr(usage, name) > getattr(used, name)), None)
            if more is not None:
                raise UserError(
                    f"role {role!r} cannot set {getattr(usage, more)} {more} aside: it has {getattr(used, more)}"
                )
            moved = Usage(**{name: getattr(usage, name) for name in MOVED})
            self._charge(_minus(Usage(speculative_tokens=usage.total_tokens), moved), role)

    def reason(self, request: Request | None = None) -> str:
        """One line: what limit refuses `request`, or a verifier call if None."""
        with self._lock:
            left = self._left()
            if request is not None:
                name = self._refusal(request, left)
            else:
                name = next((limit for limit in ("verifier_calls", "seconds") if left[limit] <= 0), None)
            if name is None:
                return "the budget is held by what is in flight: ask again"
            return f"the budget of {getattr(self.budget, name)} {name} is spent: raise it to go on"

    @property
    def total(self) -> Usage:
        """The usage of all roles together."""
        with self._lock:
            return sum(self._roles.values(), Usage())

    @property
    def by_role(self) -> dict[str, Usage]:
        with self._lock:
            return dict(self._roles)

    @property
    def left(self) -> Budget:
        """The budget that is left beside what is in flight."""
        with self._lock:
            left = self._left()
        values = {name: None if math.isinf(x) else max(x, 0) for name, x in left.items()}
        return Budget(**values)  # pyright: ignore[reportArgumentType]

    def rows(self) -> list[Row]:
        """A table: one row a role, in order of their names, and their total."""
        roles = sorted(self.by_role.items())
        return [{"role": role, **dataclasses.asdict(usage)} for role, usage in [*roles, ("total", self.total)]]

    def to_json(self) -> dict[str, Any]:
        """Budget and counts as JSON values. What is in flight is left out: it has not been paid for."""
        roles = {role: dataclasses.asdict(usage) for role, usage in sorted(self.by_role.items())}
        return {"budget": dataclasses.asdict(self.budget), "roles": roles}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ledger:
        ledger = cls(Budget(**data["budget"]))
        ledger._roles = {role: Usage(**usage) for role, usage in data["roles"].items()}
        return ledger

    def _charge(self, usage: Usage, role: str) -> None:
        used = self._roles.get(role)
        self._roles[role] = usage if used is None else used + usage

    def _left(self) -> dict[str, float]:
        """Each limit less what is used and reserved; integers unless there is no limit."""
        used = sum(self._roles.values(), self._reserved)
        limits = {name: getattr(self.budget, name) for name in LIMITS}
        return {name: math.inf if limit is None else limit - getattr(used, name) for name, limit in limits.items()}

    def _refusal(self, request: Request, left: dict[str, float]) -> str | None:
        """The limit that leaves no room for one token of one sample."""
        prompt = _known_prompt(request)
        needs = {"samples": 1, "requests": 1, "prompt_tokens": prompt or 1}
        needs |= {"output_tokens": 1, "total_tokens": prompt + 1}
        short = (name for name, need in needs.items() if left[name] < need)
        return next(short, "seconds" if left["seconds"] <= 0 else None)


def _known_prompt(request: Request) -> int:
    """Tokens of the prefix if it is given in tokens, else 0: a server tells in its reply."""
    return len(request.prefix) if isinstance(request.prefix[0], int) else 0


def _worst_case(request: Request) -> Usage:
    return Usage(
        samples=request.num_samples,
        requests=1,
        prompt_tokens=_known_prompt(request),
        output_tokens=request.num_samples * request.decoding.max_tokens,
    )


def _minus(a: Usage, b: Usage) -> Usage:
    return Usage(**{name: getattr(a, name) - getattr(b, name) for name in COLUMNS})
