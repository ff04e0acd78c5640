"""Likelihoods of public events under every assignment of roles, which turn a history into a belief.

Shapes: `K` assignments, `P` players, `T` teams of the quest's size. Teams and votes are bit masks over seats.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench import log_pair
from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.avalonbench.log_pair import LogPair
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.errors import UserError


class Proposal(NamedTuple):
    """A leader names a team."""

    quest: jax.Array  # int32[], 0 to 4
    leader: jax.Array  # int32[], seat
    team: jax.Array  # int32[], bit mask


class Vote(NamedTuple):
    """All players vote on the team."""

    quest: jax.Array  # int32[]
    team: jax.Array  # int32[], bit mask
    votes: jax.Array  # int32[], bit mask of the seats that approve


class Quest(NamedTuple):
    """The team's secret votes, of which the number of fails becomes public."""

    quest: jax.Array  # int32[]
    team: jax.Array  # int32[], bit mask
    fails: jax.Array  # int32[]


class ObservationModel(Protocol):
    """Log-likelihoods float[K] of public events, given the roles and the public past.

    A model is a frozen, hashable record. What it must remember of the past is a pytree that its user carries along:
    `init` makes it and `update` brings it past a quest, after the likelihood of that quest was taken.
    """

    def init(self, game: Avalon) -> Any: ...
    def proposal(self, game: Avalon, memory: Any, event: Proposal) -> LogPair: ...
    def vote(self, game: Avalon, memory: Any, event: Vote) -> LogPair: ...
    def quest(self, game: Avalon, memory: Any, event: Quest) -> LogPair: ...
    def update(self, game: Avalon, memory: Any, event: Quest) -> Any: ...


@dataclasses.dataclass(frozen=True)
class FailCounts:
    """Only quests tell anything: every evil member fails independently, good members never; the fails are counted.

    Args:
      p_fail: probability that an evil member fails the quest, in [0, 1]. With 1, only assignments with exactly as
        many evil members as fails remain.
    """

    p_fail: float = 0.9

    def __post_init__(self):
        if not 0 <= self.p_fail <= 1:
            raise UserError(f"p_fail is a probability and must lie in [0, 1], got {self.p_fail}")

    def init(self, game: Avalon) -> Any:
        return ()

    def update(self, game: Avalon, memory: Any, event: Quest) -> Any:
        return memory

    def proposal(self, game: Avalon, memory: Any, event: Proposal) -> LogPair:
        return _nothing(game)

    def vote(self, game: Avalon, memory: Any, event: Vote) -> LogPair:
        return _nothing(game)

    def quest(self, game: Avalon, memory: Any, event: Quest) -> LogPair:
        table = log_pair.log_constant(_binomial(game.num_players, self.p_fail))
        evil = jax.lax.population_count(tables(game).evil & event.team)
        return log_pair.take(table, event.fails, evil)


@dataclasses.dataclass(frozen=True)
class Outcomes(FailCounts):
    """As `FailCounts`, but only whether the quest succeeded is seen."""

    def quest(self, game: Avalon, memory: Any, event: Quest) -> LogPair:
        counts = _binomial(game.num_players, self.p_fail)  # [fails, evil]
        needed = np.asarray(game.fails_needed)
        failed = np.stack([counts[need:].sum(0) for need in needed])  # [quest, evil]
        succeeded = np.stack([counts[:need].sum(0) for need in needed])
        evil = jax.lax.population_count(tables(game).evil & event.team)
        outcome = (event.fails >= jnp.asarray(needed)[event.quest]).astype(jnp.int32)
        return log_pair.take(log_pair.log_constant(np.stack([succeeded, failed])), outcome, event.quest, evil)


@dataclasses.dataclass(frozen=True)
class Votes(FailCounts):
    """As `FailCounts`, and votes count: players approve independently, with a probability that the role decides.

    A team is clean if no member is evil. Merlin and evil players know that; Servants, and Percival, go by whether
    they are members.

    Args:
      p_fail: as in `FailCounts`.
      member: probability that a Servant approves a team that it is in.
      outsider: probability that a Servant approves any other team.
      merlin_clean: probability that Merlin approves a clean team.
      merlin_dirty: probability that Merlin approves another team.
      evil_clean: probability that an evil player approves a clean team.
      evil_dirty: probability that an evil player approves another team.
    """

    member: float = 0.7
    outsider: float = 0.4
    merlin_clean: float = 0.9
    merlin_dirty: float = 0.2
    evil_clean: float = 0.3
    evil_dirty: float = 0.8

    def __post_init__(self):
        super().__post_init__()
        for name in ("member", "outsider", "merlin_clean", "merlin_dirty", "evil_clean", "evil_dirty"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"{name} must lie strictly between 0 and 1, or one vote could exclude the truth")

    def approvals(self, game: Avalon, team: jax.Array) -> jax.Array:
        """float32[P, K]: the probability that each player approves a team, int32[], under each assignment."""
        seats = jnp.arange(game.num_players)[:, None]
        groups = [chance * ((who[None] >> seats) & 1) for who, chance in self._groups(game, team)]
        return jnp.sum(jnp.stack(groups), axis=0, dtype=jnp.float32)

    def vote(self, game: Avalon, memory: Any, event: Vote) -> LogPair:
        everyone = (1 << game.num_players) - 1
        total = _nothing(game)
        for who, chance in self._groups(game, event.team):
            logs = _bernoulli(chance)  # [reject, approve]
            for approve, votes in enumerate((everyone & ~event.votes, event.votes)):
                count = jax.lax.population_count(who & votes)
                total = log_pair.add(total, log_pair.times(count, log_pair.take(logs, approve)))
        return total

    def _groups(self, game: Avalon, team: jax.Array) -> list[tuple[Any, float]]:
        """Players who decide alike, int32[K] bit masks that split the table, and the probability that one approves."""
        table = tables(game)
        clean = (table.evil & team) == 0
        knows = table.evil | table.merlin
        return [
            (~knows & team, self.member),
            (~knows & ~team, self.outsider),
            (jnp.where(clean, table.merlin, 0), self.merlin_clean),
            (jnp.where(clean, 0, table.merlin), self.merlin_dirty),
            (jnp.where(clean, table.evil, 0), self.evil_clean),
            (jnp.where(clean, 0, table.evil), self.evil_dirty),
        ]


@dataclasses.dataclass(frozen=True)
class VotesAndProposals(Votes):
    """As `Votes`, and proposals count: mixtures of a uniform team and a uniform team of the kind that the leader wants.

    Args:
      merlin_aims: probability that Merlin draws from the clean teams alone.
      evil_aims: probability that an evil leader draws from the teams with an evil member alone.
    """

    merlin_aims: float = 0.8
    evil_aims: float = 0.75

    def __post_init__(self):
        super().__post_init__()
        for name in ("merlin_aims", "evil_aims"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} must lie in [0, 1), or one proposal could exclude the truth")

    def proposal(self, game: Avalon, memory: Any, event: Proposal) -> LogPair:
        table = tables(game)
        dirty = ((table.evil & event.team) != 0).astype(np.int32)
        leader_class = jnp.where(
            ((table.merlin >> event.leader) & 1) == 1, 1, jnp.where(((table.evil >> event.leader) & 1) == 1, 2, 0)
        )
        return log_pair.take(log_pair.log_constant(self._proposal_table(game)), event.quest, leader_class, dirty)

    def _proposal_table(self, game: Avalon) -> np.ndarray:
        """float64[quest, (Servant, Merlin, evil), (clean, dirty)]: the probability of one team."""
        result = np.zeros((5, 3, 2))
        for quest, size in enumerate(game.team_sizes):
            every = math.comb(game.num_players, size)
            clean = math.comb(game.num_players - game.num_evil, size)
            result[quest] = 1 / every
            if clean:
                result[quest, 1] = (1 - self.merlin_aims) / every
                result[quest, 1, 0] += self.merlin_aims / clean
            result[quest, 2] = (1 - self.evil_aims) / every
            result[quest, 2, 1] += self.evil_aims / (every - clean)
        return result


@dataclasses.dataclass(frozen=True)
class SoftmaxValues(FailCounts):
    """Players choose in proportion to `exp(value / temperature)`, with values that know all roles.

    Args:
      p_fail: as in `FailCounts`.
      proposal_values: `(game, quest int32[], leader int32[]) -> float32[K, T]`, what each team of the quest's size
        (in the order of `game.teams()`) is worth to the leader under each assignment; at `T` teams beyond the quest's
        number the values are ignored.
      approval_values: `(game, quest int32[], team int32[]) -> float32[K, P]`, what each player gains if the team is
        accepted.
      temperature: of the softmax, positive; in the units of the values.
    """

    proposal_values: Callable[[Avalon, jax.Array, jax.Array], jax.Array] | None = None
    approval_values: Callable[[Avalon, jax.Array, jax.Array], jax.Array] | None = None
    temperature: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        if not self.temperature > 0:
            raise UserError(f"temperature must be positive, got {self.temperature}")

    def proposal(self, game: Avalon, memory: Any, event: Proposal) -> LogPair:
        if self.proposal_values is None:
            return _nothing(game)
        masks = jnp.asarray(game.teams())[event.quest]
        values = self.proposal_values(game, event.quest, event.leader) / self.temperature
        logits = jax.nn.log_softmax(jnp.where(masks != 0, values, -jnp.inf), axis=-1)
        return log_pair.single(logits[:, jnp.argmax(masks == event.team)])

    def vote(self, game: Avalon, memory: Any, event: Vote) -> LogPair:
        if self.approval_values is None:
            return _nothing(game)
        gains = self.approval_values(game, event.quest, event.team) / self.temperature
        approved = ((event.votes >> jnp.arange(game.num_players)) & 1) == 1
        return log_pair.single(jnp.sum(jax.nn.log_sigmoid(jnp.where(approved[None], gains, -gains)), axis=-1))


REFERENCE_MODELS = {"F": FailCounts, "OUT": Outcomes, "V": Votes, "VP": VotesAndProposals}


def reference_model(name: str, p_fail: float) -> ObservationModel:
    """One of the four models of the reference data: F, OUT, V or VP."""
    if name not in REFERENCE_MODELS:
        raise UserError(f"unknown model {name!r}; choose one of {', '.join(REFERENCE_MODELS)}")
    return REFERENCE_MODELS[name](p_fail=p_fail)


def _nothing(game: Avalon) -> LogPair:
    return log_pair.constant(np.zeros(len(tables(game).evil)))


def _bernoulli(probability: float) -> LogPair:
    return log_pair.log_constant(np.array([1 - probability, probability]))


def _binomial(num_players: int, p_fail: float) -> np.ndarray:
    """float64[fails, evil members]: probability of so many fails, 0 to P of each."""
    return np.array(
        [
            [
                math.comb(evil, fails) * p_fail**fails * (1 - p_fail) ** (evil - fails) if fails <= evil else 0.0
                for evil in range(num_players + 1)
            ]
            for fails in range(num_players + 1)
        ]
    )
