"""A data market as a game: a platform posts prices one by one, then a buyer explores, buys or leaves.

Player 0, the platform, sets the price of each metric in turn to one of a few levels. Player 1 is a buyer whose type
only it knows. It pays for every period of discovery, the first one included; a period reveals a metric, whose model can
be bought from then on. The buyer goes on, buys the model of any metric seen so far, or leaves; after the last period it
can only buy or leave. The platform earns the price that is paid.

An observation is of fixed size: what is posted, what was revealed, the period, and for the buyer its valuations.

Shapes: `Q` metrics, `H` types, `T` periods, `L` price levels, `A = max(L, Q + 2)` actions.

Reference: arXiv 2310.17843, section 3; its buyers are not asked which model they buy, since the best one is plain.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.rules import refuse, takes_legal
from jaxrl_suite.errors import UserError

GO_ON, LEAVE, BUY = 0, 1, 2  # actions of the buyer; BUY + q buys the model of metric q
PLATFORM, BUYER = 0, 1


class MarketState(NamedTuple):
    """The state of an episode."""

    kind: jax.Array  # int32[], the buyer's type; -1 until it is drawn
    levels: jax.Array  # int32[Q], index of the posted price; -1 until it is posted
    posted: jax.Array  # int32[], how many prices are
    paid_for: jax.Array  # int32[], periods that the buyer paid for
    period: jax.Array  # int32[], periods whose metric was revealed
    latest: jax.Array  # int32[], the metric revealed last; -1 before
    seen: jax.Array  # bool[Q], metrics revealed so far
    bought: jax.Array  # int32[], the metric whose model was bought; -1 for none
    reward: jax.Array  # float32[2]
    terminated: jax.Array  # bool[]
    truncated: jax.Array  # bool[]


class Observation(NamedTuple):
    """The observation of a player."""

    prices: jax.Array  # float32[Q], -1 until posted
    period: jax.Array  # int32[]
    latest: jax.Array  # int32[]
    seen: jax.Array  # bool[Q]
    bought: jax.Array  # int32[]
    valuations: jax.Array  # float32[Q], the buyer's own; zeros for the platform


@dataclasses.dataclass(frozen=True)
class PostedPriceMarket:
    """The rules; arrays are given as nested tuples, lists or numpy arrays, and kept as tuples.

    Args:
      initial: [Q], law of the first metric revealed.
      transitions: [T-1][Q][Q], law of the next metric after each; for each later period.
      valuations: [H][Q], what each type pays at most for the model of each metric.
      prior: [H], how common each type is.
      levels: [L], prices to choose from, increasing.
      cost: of a period, paid by the buyer.

    Raises:
      UserError: for what is no market; the message names the row and the remedy.
    """

    initial: Any = (0.6, 0.3, 0.1, 0.0)
    transitions: Any = (
        ((0.3, 0.5, 0.2, 0.0), (0.1, 0.3, 0.4, 0.2), (0.0, 0.2, 0.4, 0.4), (0.0, 0.1, 0.3, 0.6)),
        ((0.4, 0.4, 0.2, 0.0), (0.1, 0.4, 0.3, 0.2), (0.0, 0.2, 0.5, 0.3), (0.0, 0.1, 0.3, 0.6)),
        ((0.5, 0.4, 0.1, 0.0), (0.2, 0.4, 0.3, 0.1), (0.0, 0.3, 0.4, 0.3), (0.0, 0.2, 0.3, 0.5)),
    )
    valuations: Any = ((0.1, 0.2, 0.3, 0.4), (0.1, 0.4, 0.5, 0.6), (0.2, 0.3, 0.7, 1.0))
    prior: Any = (0.4, 0.35, 0.25)
    levels: Any = (0.1, 0.25, 0.4, 0.55, 0.7)
    cost: float = 0.02

    def __post_init__(self):
        for name, ndim in (("initial", 1), ("transitions", 3), ("valuations", 2), ("prior", 1), ("levels", 1)):
            try:
                array = np.asarray(getattr(self, name), np.float64)
            except (TypeError, ValueError):
                raise UserError(f"{name} must have rows of one length and hold numbers only") from None
            if name == "transitions" and array.size == 0:
                array = array.reshape(0, np.size(self.initial), np.size(self.initial))
            if array.ndim != ndim or (not array.size and name != "transitions") or not np.isfinite(array).all():
                raise UserError(f"{name} must be finite numbers with {ndim} axes, got shape {list(array.shape)}")
            object.__setattr__(self, name, _nested(array))
        size, kinds = len(self.initial), len(self.valuations)
        shapes = {"transitions": (len(self.transitions), size, size), "valuations": (kinds, size), "prior": (kinds,)}
        for name, shape in shapes.items():
            if (got := np.shape(getattr(self, name))) != shape and len(getattr(self, name)):
                raise UserError(f"{name} must have shape {list(shape)} here, got {list(got)}")
        for name in ("initial", "transitions", "prior"):
            rows = np.asarray(getattr(self, name)).reshape(-1, size if name != "prior" else kinds)
            for row, law in enumerate(rows):
                if (law < 0).any() or abs(law.sum() - 1) > 1e-6:
                    raise UserError(f"{name} row {row} is no law (it sums to {law.sum():.6g}): divide it by its sum")
        if np.min(self.valuations) < 0:
            row = int(np.argwhere(np.asarray(self.valuations) < 0)[0][0])
            raise UserError(f"valuations row {row} has a negative entry: a model can be thrown away, so use 0")
        if np.min(self.levels) < 0 or (np.diff(self.levels) <= 0).any():
            raise UserError(f"levels must be increasing prices of at least 0, got {self.levels}: sort them")
        if not (isinstance(self.cost, (int, float, np.number)) and 0 <= self.cost < np.inf):
            raise UserError(f"cost must be one number, at least 0 and finite, got {self.cost!r}")

    @property
    def num_players(self) -> int:
        return 2

    @property
    def num_actions(self) -> int:
        return max(len(self.levels), self.num_metrics + BUY)

    @property
    def num_chance_outcomes(self) -> int:
        return max(self.num_types, self.num_metrics)

    @property
    def num_metrics(self) -> int:
        return len(self.initial)

    @property
    def num_types(self) -> int:
        return len(self.prior)

    @property
    def horizon(self) -> int:
        """T, the periods of discovery."""
        return len(self.transitions) + 1

    @property
    def max_turns(self) -> int:
        """Moves in an episode, at most: all prices, and a decision after each period."""
        return self.num_metrics + self.horizon

    def start(self) -> MarketState:
        """Nothing posted, the buyer's type still to be drawn."""
        return MarketState(
            kind=jnp.int32(-1),
            levels=jnp.full((self.num_metrics,), -1, jnp.int32),
            posted=jnp.int32(0),
            paid_for=jnp.int32(0),
            period=jnp.int32(0),
            latest=jnp.int32(-1),
            seen=jnp.zeros((self.num_metrics,), bool),
            bought=jnp.int32(-1),
            reward=jnp.zeros((2,), jnp.float32),
            terminated=jnp.bool_(False),
            truncated=jnp.bool_(False),
        )

    def init(self, key: jax.Array) -> MarketState:
        """A buyer has arrived; the platform posts its first price. `key` is consumed."""
        return self._draw(self.start(), key)

    def legal(self, state: MarketState) -> jax.Array:
        """bool[2, A]: levels for the platform while prices are missing, then the buyer's options."""
        posting = state.posted < self.num_metrics
        acts = ~state.terminated & ~self.chance_pending(state)
        actions = jnp.arange(self.num_actions)
        platform = posting & (actions < len(self.levels))
        further = state.period < self.horizon
        buyer = jnp.zeros((self.num_actions,), bool).at[GO_ON].set(further).at[LEAVE].set(True)
        buyer = buyer.at[BUY : BUY + self.num_metrics].set(state.seen) & ~posting
        return jnp.stack([platform, buyer]) & acts

    def apply(self, state: MarketState, action: jax.Array) -> MarketState:
        """Posts the next price, or does what the buyer decided; a metric may have to be revealed afterwards.

        Args:
          state: a state in which somebody acts; any other is returned unchanged, with reward 0.
          action: int32[2]; if that of the player who acts is not legal it is refused, see `envs.rules`.
        """
        posting = state.posted < self.num_metrics
        legal = self.legal(state)
        acts = jnp.any(legal)
        last = state.posted == self.num_metrics - 1
        fee = jnp.stack([jnp.float32(0), jnp.float32(-self.cost)])
        after_post = state._replace(
            levels=state.levels.at[state.posted].set(action[PLATFORM], mode="drop"),
            posted=state.posted + 1,
            paid_for=jnp.where(last, 1, 0).astype(jnp.int32),
            reward=jnp.where(last, fee, 0.0),
        )
        choice = action[BUYER]
        item = jnp.clip(choice - BUY, 0, self.num_metrics - 1)
        buys = choice >= BUY
        price = jnp.asarray(self.levels, jnp.float32)[state.levels[item]]
        value = jnp.asarray(self.valuations, jnp.float32)[state.kind, item]
        sale = jnp.where(buys, jnp.stack([price, value - price]), 0.0)
        after_choice = state._replace(
            paid_for=state.paid_for + (choice == GO_ON),
            bought=jnp.where(buys, item, -1).astype(jnp.int32),
            reward=jnp.where(choice == GO_ON, fee, sale),
            terminated=choice != GO_ON,
        )
        played = jax.tree.map(lambda post, choose: jnp.where(posting, post, choose), after_post, after_choice)
        played = refuse(takes_legal(legal, action), played, state)
        absorbed = state._replace(reward=jnp.zeros_like(state.reward))
        return jax.tree.map(lambda old, new: jnp.where(acts, new, old), absorbed, played)

    def step(self, state: MarketState, action: jax.Array, key: jax.Array) -> MarketState:
        """`apply`, then whatever chance has to reveal; a terminal state is returned unchanged, with reward 0."""
        after = self.apply(state, action)
        return jax.tree.map(
            lambda drawn, same: jnp.where(self.chance_pending(after), drawn, same), self._draw(after, key), after
        )

    def chance_pending(self, state: MarketState) -> jax.Array:
        """bool[]: whether a type or a metric is to be drawn."""
        return ~state.terminated & ((state.kind < 0) | (state.paid_for > state.period))

    def chance_logits(self, state: MarketState) -> jax.Array:
        """float32[C]: of the buyer's type before anything else, later of the next metric; -inf if none is due."""
        size = self.num_chance_outcomes
        types = _padded(jnp.asarray(self.prior, jnp.float32), size)
        metrics = jnp.asarray(self.initial, jnp.float32)
        if self.transitions:
            later = jnp.clip(state.period - 1, 0, self.horizon - 2)
            onward = jnp.asarray(self.transitions, jnp.float32)[later, jnp.maximum(state.latest, 0)]
            metrics = jnp.where(state.period > 0, onward, metrics)
        law = jnp.where(state.kind < 0, types, _padded(metrics, size))
        return jnp.where(self.chance_pending(state), jnp.log(law), -jnp.inf)

    def step_chance(self, state: MarketState, outcome: jax.Array) -> MarketState:
        """The state after the type or the metric `outcome` int32[] was drawn; unchanged if none is due."""
        outcome = jnp.asarray(outcome, jnp.int32)
        typed = state._replace(kind=outcome)
        shown = state._replace(
            period=state.period + 1,
            latest=outcome,
            seen=state.seen.at[outcome].set(True, mode="drop"),
        )
        pending, untyped = self.chance_pending(state), state.kind < 0
        return jax.tree.map(
            lambda old, first, later: jnp.where(pending, jnp.where(untyped, first, later), old), state, typed, shown
        )

    def observe(self, state: MarketState, player: jax.Array | int) -> Observation:
        """Observation of what was posted and revealed; the buyer's valuations only to the buyer."""
        prices = jnp.asarray(self.levels, jnp.float32)[jnp.maximum(state.levels, 0)]
        own_valuations = jnp.asarray(self.valuations, jnp.float32)[jnp.maximum(state.kind, 0)]
        return Observation(
            prices=jnp.where(state.levels < 0, -1.0, prices),
            period=state.period,
            latest=state.latest,
            seen=state.seen,
            bought=state.bought,
            valuations=jnp.where((jnp.asarray(player) == BUYER) & (state.kind >= 0), own_valuations, 0.0),
        )

    def scramble(self, state: MarketState, player: jax.Array | int, key: jax.Array) -> MarketState:
        """For `check_env`: another type, if `player` cannot know it."""
        other = jax.random.categorical(key, jnp.log(jnp.asarray(self.prior, jnp.float32))).astype(jnp.int32)
        return state._replace(kind=jnp.where(jnp.asarray(player) == PLATFORM, other, state.kind))

    def _draw(self, state: MarketState, key: jax.Array) -> MarketState:
        logits = self.chance_logits(state)
        drawn = jax.random.categorical(key, jnp.where(self.chance_pending(state), logits, 0.0))
        return self.step_chance(state, drawn)


def _nested(array: np.ndarray) -> Any:
    return tuple(_nested(row) for row in array) if array.ndim > 1 else tuple(float(x) for x in array)


def _padded(law: jax.Array, size: int) -> jax.Array:
    return jnp.concatenate([law, jnp.zeros(size - law.shape[0])])
