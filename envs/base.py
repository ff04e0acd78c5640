"""Protocols of an environment and a game: pure functions on a fixed-shape state.

Shapes: `P` players, `A` actions, `C` chance outcomes. Batching is `jax.vmap`; nothing here knows about it.

Actions are numbers below `num_actions` in an `Env`, and vectors of `action_size` floats in a `ContinuousEnv`; all else
is the same in both.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp

Observation: TypeAlias = Any  # a pytree of arrays
State: TypeAlias = Any  # a pytree of arrays with at least the fields of `EnvState`


class EnvState(Protocol):
    """The fields every state has; the rest is the environment's own."""

    @property
    def reward(self) -> jax.Array: ...  # float32[P], received on the last step
    @property
    def terminated(self) -> jax.Array: ...  # bool[], the episode ended by its rules
    @property
    def truncated(self) -> jax.Array: ...  # bool[], the episode was cut off, by a time limit for instance


@runtime_checkable
class Env(Protocol):
    """An environment, single-agent and multi-agent alike.

    A key goes into `init` and `step` and is consumed there; it is never kept in the state, where a planner
    could read the future from it. A state that is terminated or truncated absorbs: stepping it returns it unchanged
    with reward 0.
    """

    @property
    def num_players(self) -> int: ...
    @property
    def num_actions(self) -> int: ...

    def init(self, key: jax.Array) -> State:
        """The first state that asks for an action."""
        ...

    def step(self, state: State, action: jax.Array, key: jax.Array) -> State:
        """The state after `action` int32[P]; the entry of a player who does not act now is ignored."""
        ...

    def observe(self, state: State, player: jax.Array | int) -> Observation:
        """The observation of `player`: what it may know, and nothing else."""
        ...


@runtime_checkable
class ContinuousEnv(Protocol):
    """An environment with continuous actions; what `Env` says of keys and of states that absorb holds here as well.

    Actions are scaled: -1 to 1 is the range of each actuator, and a value beyond it saturates. Each environment says
    what 1 stands for.
    """

    @property
    def num_players(self) -> int: ...
    @property
    def action_size(self) -> int: ...

    def init(self, key: jax.Array) -> State:
        """The first state that asks for an action."""
        ...

    def step(self, state: State, action: jax.Array, key: jax.Array) -> State:
        """The state after `action` float32[P, action_size]."""
        ...

    def observe(self, state: State, player: jax.Array | int) -> Observation:
        """The observation of `player`: what it may know, and nothing else."""
        ...


AnyEnv: TypeAlias = Env | ContinuousEnv


@runtime_checkable
class Game(Env, Protocol):
    """An environment with what search needs: legal actions, and chance as explicit outcomes.

    `step(state, action, key)` must equal `apply(state, action)`, followed by `step_chance` with an outcome drawn from
    `chance_logits` while chance is pending.
    """

    @property
    def num_chance_outcomes(self) -> int: ...

    def start(self) -> State:
        """The state before any chance was resolved; `init` resolves it."""
        ...

    def legal(self, state: State) -> jax.Array:
        """bool[P, A]: a row of False means that this player does not act now. An illegal action is never played."""
        ...

    def apply(self, state: State, action: jax.Array) -> State:
        """The part of `step` in which there is no chance; chance may be pending after it."""
        ...

    def chance_pending(self, state: State) -> jax.Array:
        """bool[]: whether chance moves next."""
        ...

    def chance_logits(self, state: State) -> jax.Array:
        """float32[C]: log-probabilities up to a constant, -inf where impossible, all -inf if not pending."""
        ...

    def step_chance(self, state: State, outcome: jax.Array) -> State:
        """The state after chance chose `outcome` int32[]."""
        ...


def missing_methods(env: Any) -> tuple[str, ...]:
    """The members of `Game` that an environment lacks, in alphabetical order."""
    members = {name for part in (Env, Game) for name in vars(part) if not name.startswith("_")}
    return tuple(sorted(name for name in members if not hasattr(env, name)))


class NoChance:
    """The part of a `Game` that is about chance, for games that have none after `init`."""

    @property
    def num_chance_outcomes(self) -> int:
        """1, never drawn."""
        return 1

    def chance_pending(self, state: State) -> jax.Array:
        """bool[]: False, as chance never moves."""
        return jnp.zeros_like(state.terminated)

    def chance_logits(self, state: State) -> jax.Array:
        """float32[1]: -inf, as chance never moves."""
        del state
        return jnp.full((1,), -jnp.inf)

    def step_chance(self, state: State, outcome: jax.Array) -> State:
        """The same state, as chance never moves."""
        del outcome
        return state
