"""`check_env`: does an environment keep the contract of `envs.base`? For this package's environments and for yours.

The checks run one random episode of legal actions: identity by value, static shapes, `jit` = no `jit`, `vmap` = loop,
masks, explicit chance that agrees with `step`, terminal states that absorb, no key in the state, and no hidden
information in observations. The state may be a NamedTuple or a dataclass that is a pytree; actions may be discrete or
continuous.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.base import AnyEnv, ContinuousEnv, Game, missing_methods
from jaxrl_suite.envs.rules import random_legal, replace
from jaxrl_suite.errors import UserError

LOOSE = ("legal", "start")  # methods of `Game` that another environment may have for itself


class EnvError(UserError):
    """The environment breaks its contract; the message says where and how."""


def check_env(env: AnyEnv, *, seed: int = 0, max_steps: int = 1000, plain_steps: int = 1000) -> None:
    """Plays random episodes of `env` and checks all that the contract promises.

    For an environment with hidden information, define `scramble(state, player, key) -> state`, which redraws whatever
    `player` cannot know; what the player observes must not change.

    A `Game` has all the methods that search needs; one that has some of them is an error that names the others. An
    environment with `legal` alone may be learned in, and its masks are checked. What an illegal action does is not
    checked: learners and matches mask it or refuse it themselves.

    Args:
      env: the environment; if it is a `Game`, legal masks and chance are checked too.
      seed: of the episode.
      max_steps: an episode that lasts longer is an error, as it would never be checked at its end.
      plain_steps: steps that run without `jit` as well, to be compared with those under it; fewer make the check of an
        environment with long episodes or an expensive step faster. A `Game` always runs both.

    Raises:
      EnvError: at the first broken promise.
    """
    _check_identity(env)
    key = jax.random.key(seed)
    if hasattr(env, "num_actions") == hasattr(env, "action_size"):
        raise EnvError("an environment has num_actions if its actions are discrete, else action_size, and never both")
    for name in ("num_players", "num_actions" if hasattr(env, "num_actions") else "action_size"):
        value = getattr(env, name, None)
        _require(isinstance(value, int) and value >= 1, f"{name} must be an int of at least 1, got {value!r}")
    key, start_key, end_key = jax.random.split(key, 3)
    state = env.init(start_key)
    _check_fields(env, state)
    game = env if isinstance(env, Game) else None
    given = [name for name in vars(Game) if not name.startswith("_") and name not in LOOSE and hasattr(env, name)]
    if game is None and given:
        raise EnvError(
            f"{type(env).__name__} has {given[0]}, as a game that search can play, but no "
            f"{', '.join(missing_methods(env))}: add what is missing (NoChance has what is about chance)"
        )
    init, step, observe = jax.jit(env.init), jax.jit(env.step), jax.jit(env.observe)
    scramble = getattr(env, "scramble", None)
    scramble = None if scramble is None else jax.jit(scramble)
    _same(init(start_key), state, "init under jit differs from init")
    states = [state]
    for turn in range(max_steps):
        key, action_key, step_key, look_key = jax.random.split(key, 4)
        plain = game is not None or turn < plain_steps
        _check_observations(env, observe, scramble, state, turn, look_key, plain)
        if hasattr(env, "legal"):
            _check_masks(env, game, state)
        if state.terminated | state.truncated:
            break
        action = _random_action(env, state, action_key)
        after = env.step(state, action, step_key) if plain else step(state, action, step_key)
        _check_shapes(state, after, "step changes the shape or dtype of the state")
        _require(np.isfinite(after.reward).all(), f"the reward is {after.reward} (turn {turn}): it must be finite")
        if plain:
            _same(step(state, action, step_key), after, f"step under jit differs from step (turn {turn})")
        if game is not None:
            _check_chance(game, state, action, after)
        state = after
        states.append(state)
    else:
        raise EnvError(f"no episode ended within {max_steps} steps; raise max_steps, or check how episodes end")
    action_key, step_key, batch_key = jax.random.split(end_key, 3)
    absorbed = step(state, _random_action(env, state, action_key), step_key)
    _same(absorbed, replace(state, reward=jnp.zeros_like(state.reward)), "a finished state must absorb, with reward 0")
    _check_vmap(env, step, states, batch_key)


def _check_identity(env: AnyEnv) -> None:
    """Environments are static in compiled programs, which are kept by their hash: two that differ must differ in it."""
    name, remedy = type(env).__name__, "make it a dataclass(frozen=True) of numbers, text and tuples"
    if getattr(env, "__dict__", None) and type(env).__hash__ is object.__hash__:
        raise EnvError(f"{name} is hashed by identity: with another attribute it would keep its old program: {remedy}")
    try:
        hash(env)
    except TypeError as error:
        raise EnvError(f"{name} cannot be hashed ({error}): {remedy}") from None


def _require(condition: Any, message: str) -> None:
    if not condition:
        raise EnvError(message)


def _same(left: Any, right: Any, message: str) -> None:
    for (path, a), (_, b) in zip(jax.tree.leaves_with_path(left), jax.tree.leaves_with_path(right), strict=True):
        if not np.allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6, equal_nan=True):
            raise EnvError(f"{message}: {jax.tree_util.keystr(path)} is {a} and {b}")


def _check_fields(env: AnyEnv, state: Any) -> None:
    named = hasattr(state, "_replace") or (dataclasses.is_dataclass(state) and not jax.tree_util.all_leaves([state]))
    _require(named, "the state must be a NamedTuple or a dataclass that is a pytree, such as flax.struct.dataclass")
    for name, shape, dtype in (
        ("reward", (env.num_players,), jnp.float32),
        ("terminated", (), jnp.bool_),
        ("truncated", (), jnp.bool_),
    ):
        _require(hasattr(state, name), f"the state has no field {name!r}")
        leaf = jnp.asarray(getattr(state, name))
        good = leaf.shape == shape and leaf.dtype == dtype
        _require(good, f"state.{name} must be {jnp.dtype(dtype).name}{list(shape)}, got {leaf.dtype}{list(leaf.shape)}")
    for path, leaf in jax.tree.leaves_with_path(state):
        hidden = jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)
        _require(not hidden, f"state{jax.tree_util.keystr(path)} is a key: a planner could read the future from it")


def _check_shapes(before: Any, after: Any, message: str) -> None:
    same = jax.tree.structure(before) == jax.tree.structure(after)
    _require(same, f"{message}: {jax.tree.structure(before)} became {jax.tree.structure(after)}")
    for (path, a), (_, b) in zip(jax.tree.leaves_with_path(before), jax.tree.leaves_with_path(after), strict=True):
        good = jnp.shape(a) == jnp.shape(b) and jnp.result_type(a) == jnp.result_type(b)
        _require(good, f"{message}: {jax.tree_util.keystr(path)} was {jax.typeof(a)} and is {jax.typeof(b)}")


def _check_observations(
    env: AnyEnv, observe: Any, scramble: Any, state: Any, turn: int, key: jax.Array, plain: bool
) -> None:
    one = turn % env.num_players  # one player a turn, as it is much slower without jit
    seen = observe(state, one)
    if plain:
        _same(seen, env.observe(state, one), f"observe under jit differs from observe (player {one})")
    for player in range(env.num_players):
        other = observe(state, player)
        _check_shapes(seen, other, "observations of different players differ in shape")
        if scramble is not None:
            hidden = observe(scramble(state, player, key), player)
            _same(other, hidden, f"what player {player} observes depends on what it cannot know")


def _check_masks(env: Any, game: Game | None, state: Any) -> None:
    legal = jnp.asarray(env.legal(state))
    shape = (env.num_players, env.num_actions)
    good = legal.shape == shape and legal.dtype == jnp.bool_
    _require(good, f"legal must be bool{list(shape)}, got {legal.dtype}{list(legal.shape)}")
    over = bool(state.terminated | state.truncated)
    _require(bool(legal.any()) != over, "some action must be legal until the end, and none after it")
    _require(game is None or not bool(game.chance_pending(state)), "init and step must resolve chance")


def _check_chance(game: Game, state: Any, action: jax.Array, after: Any) -> None:
    moved = game.apply(state, action)
    logits = np.asarray(game.chance_logits(moved))
    _require(logits.shape == (game.num_chance_outcomes,), f"chance_logits must be float32[C], got {logits.shape}")
    pending = bool(game.chance_pending(moved))
    _require(pending == bool(np.isfinite(logits).any()), "chance_logits must be finite just where chance is pending")
    reachable = [game.step_chance(moved, jnp.int32(c)) for c in np.flatnonzero(np.isfinite(logits))] or [moved]
    for option in reachable:
        if all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(option), jax.tree.leaves(after), strict=True)):
            return
    raise EnvError("step gives a state that apply and step_chance cannot reach")


def _random_action(env: Any, state: Any, key: jax.Array) -> jax.Array:
    if isinstance(env, ContinuousEnv):
        return jax.random.uniform(key, (env.num_players, env.action_size), minval=-1.0, maxval=1.0)
    if not hasattr(env, "legal"):
        return jax.random.randint(key, (env.num_players,), 0, env.num_actions)
    return random_legal(key, env.legal(state))


def _check_vmap(env: AnyEnv, step: Any, states: list[Any], key: jax.Array) -> None:
    states = states[-3:]
    action_key, step_key = jax.random.split(key)
    keys = jax.random.split(step_key, len(states))
    drawn = jax.random.split(action_key, len(states))
    actions = jnp.stack([_random_action(env, s, one) for s, one in zip(states, drawn, strict=True)])
    batched = jax.vmap(step)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), actions, keys)
    for row, state in enumerate(states):
        alone = step(state, actions[row], keys[row])
        _same(jax.tree.map(lambda leaf, row=row: leaf[row], batched), alone, "step under vmap differs from a loop")
