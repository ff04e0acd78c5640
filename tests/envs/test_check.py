"""`check_env` passes what keeps the contract and names what does not."""

import dataclasses
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs import AutoReset, Gops, Pendulum, check_env


@pytest.mark.parametrize(
    "game",
    [
        Gops(2),
        Gops(5, tie="discard"),
        Gops(6, objective="points", prize_order="descending"),
        Gops(13, tie="discard", prize_order="descending"),
    ],
    ids=str,
)
def test_gops_keeps_the_contract(game):
    check_env(game)


@dataclasses.dataclass(frozen=True)
class _Forgets(Gops):
    """Terminal states do not absorb: the reward is paid again."""

    def step(self, state, action, key):
        after = super().step(state, action, key)
        return after._replace(reward=jnp.where(state.terminated, 1.0, after.reward))


@dataclasses.dataclass(frozen=True)
class _Widens(Gops):
    def step(self, state, action, key):
        after = super().step(state, action, key)
        return after._replace(carry=after.carry.astype(jnp.float32))


@dataclasses.dataclass(frozen=True)
class _LyingMask(Gops):
    def legal(self, state):
        return super().legal(state) & False


@dataclasses.dataclass(frozen=True)
class _OtherChance(Gops):
    """`step` reveals a prize that `step_chance` would not: one that was revealed before."""

    def step(self, state, action, key):
        after = super().step(state, action, key)
        return after._replace(prize=jnp.where(after.prize > 0, state.prize, after.prize))


class _KeyedState(NamedTuple):
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    key: jax.Array


class _Keyed:
    num_players = 1
    num_actions = 2

    def init(self, key):
        return _KeyedState(jnp.zeros(1), jnp.bool_(False), jnp.bool_(False), key)

    def step(self, state, action, key):
        return state

    def observe(self, state, player):
        return state.reward


class _CardState(NamedTuple):
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    cards: jax.Array


@dataclasses.dataclass(frozen=True)
class _HiddenCards:
    """Two players hold a card each and the episode ends after one step; `leak` shows the other's card."""

    leak: bool
    num_players: int = 2
    num_actions: int = 1

    def init(self, key):
        return _CardState(jnp.zeros(2), jnp.bool_(False), jnp.bool_(False), jax.random.permutation(key, 5)[:2])

    def step(self, state, action, key):
        return state._replace(terminated=jnp.bool_(True))

    def observe(self, state, player):
        return state.cards if self.leak else state.cards[player]

    def scramble(self, state, player, key):
        return state._replace(cards=state.cards.at[1 - player].add(1))


@flax.struct.dataclass
class _Position:
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    place: jax.Array
    turn: jax.Array


@dataclasses.dataclass(frozen=True)
class _Slide:
    """Continuous actions and a flax dataclass as state; `gust` is a force that differs without jit."""

    gust: float = 0.0
    max_turns: int = 30
    num_players: int = 1
    action_size: int = 2

    def init(self, key):
        place = jax.random.normal(key, (2,))
        return _Position(jnp.zeros(1), jnp.bool_(False), jnp.bool_(False), place, jnp.int32(0))

    def step(self, state, action, key):
        gust = 0.0 if isinstance(state.place, jax.core.Tracer) else self.gust
        place = state.place + action[0] + gust
        last = state.turn + 1 >= self.max_turns
        after = _Position(-abs(place).sum()[None], jnp.bool_(False), last, place, state.turn + 1)
        old = state.replace(reward=jnp.zeros(1))
        return jax.tree.map(lambda a, b: jnp.where(state.truncated, a, b), old, after)

    def observe(self, state, player):
        return state.place


class _BothKinds(_Slide):
    num_actions = 2


class _NoNumber(_Slide):
    def step(self, state, action, key):
        after = super().step(state, action, key)
        return after.replace(reward=after.reward * jnp.nan)


@dataclasses.dataclass(frozen=True)
class _Masked:
    """Three cards, each played once: an environment with masks that no search can play."""

    num_players: int = 1
    num_actions: int = 3
    max_turns: int = 3

    def init(self, key):
        return _CardState(jnp.zeros(1), jnp.bool_(False), jnp.bool_(False), jnp.zeros(3, jnp.int32))

    def legal(self, state):
        return ((state.cards == 0) & ~state.terminated)[None]

    def step(self, state, action, key):
        cards = state.cards.at[action[0]].add(1)
        done = cards.sum() >= 3
        after = _CardState(
            jnp.where(done, cards.max() == 1, 0.0)[None].astype(jnp.float32), done, state.truncated, cards
        )
        old = state._replace(reward=jnp.zeros(1))
        return jax.tree.map(lambda a, b: jnp.where(state.terminated, a, b), old, after)

    def observe(self, state, player):
        return state.cards.astype(jnp.float32)


class _Half(_Masked):
    def apply(self, state, action):
        return self.step(state, action, None)


class _WrongMask(_Masked):
    def legal(self, state):
        return super().legal(state)[0]


def test_an_environment_may_have_masks_alone():
    check_env(_Masked())  # an illegal card would not end it with reward 1


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        (_Forgets(3), "must absorb"),
        (_Widens(3), "shape or dtype"),
        (_LyingMask(3), "legal until the end"),
        (_OtherChance(3), "cannot reach"),
        (_Keyed(), "is a key"),
        (_HiddenCards(leak=True), "cannot know"),
        (_Slide(gust=0.1), "step under jit differs from step"),
        (_BothKinds(), "never both"),
        (_NoNumber(), "must be finite"),
        (
            _Half(),
            "_Half has apply.*but no chance_logits, chance_pending, num_chance_outcomes, start, step_chance: add",
        ),
        (_WrongMask(), r"legal must be bool\[1, 3\]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_broken_promises_are_named(env, complaint):
    with pytest.raises(ValueError, match=complaint):
        check_env(env)


class _Mutable(Pendulum):
    """A frozen dataclass whose subclass can be changed again, and is hashed by identity."""

    __setattr__ = object.__setattr__
    __hash__ = object.__hash__


def test_an_environment_whose_attributes_a_program_would_not_see_is_refused():
    """A program is kept by the hash of its static arguments: by identity, it outlives a change of an attribute."""
    env = _Mutable()
    force = jax.jit(lambda env, x: env.max_turns * x, static_argnums=0)
    assert force(env, 1.0) == env.max_turns
    object.__setattr__(env, "max_turns", 7)
    assert force(env, 1.0) != 7  # what would go wrong
    with pytest.raises(ValueError, match=r"hashed by identity.*frozen=True"):
        check_env(env)

    @dataclasses.dataclass(frozen=True)
    class Table(Pendulum):
        rows: Any = None

    with pytest.raises(ValueError, match=r"cannot be hashed.*frozen=True"):
        check_env(Table(rows=np.zeros(2)))


def test_hidden_information_that_stays_hidden_passes():
    check_env(_HiddenCards(leak=False))


def test_continuous_actions_and_a_dataclass_state_pass():
    check_env(_Slide())
    check_env(_Slide(max_turns=1500), max_steps=2000, plain_steps=3)
    check_env(_Slide(gust=0.1), plain_steps=0)


def test_auto_reset_keeps_the_end_of_the_episode():
    env = AutoReset(Gops(2))
    state = env.init(jax.random.key(0))
    step = jax.jit(env.step)
    first = step(state, jnp.array([1, 0]), jax.random.key(1))
    assert not first.after.terminated
    last = step(first.state, jnp.array([0, 1]), jax.random.key(2))
    assert last.after.terminated
    assert last.after.score.sum() == 3
    assert last.after.reward.tolist() in ([1, -1], [-1, 1])
    assert not last.state.terminated
    assert last.state.hands.tolist() == [3, 3]
