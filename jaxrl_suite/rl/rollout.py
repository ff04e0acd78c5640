"""Batched rollouts: many policies by many episodes in one program, and whole trajectories for offline data.

Episodes start at keys of their own, and every policy plays the same ones (common random numbers). A state that has
ended absorbs with reward 0, which is what keeps the returns right while longer episodes go on.

In an environment with `legal` an actor is given the mask, if it has an argument for it. An illegal action is never
played, nor one that is NaN: the episode ends there with reward NaN, which outside of `jit` becomes an error.

Shapes: `S` policies, `E` episodes, `T` steps of an episode at most.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.base import AnyEnv, ContinuousEnv, State
from jaxrl_suite.envs.rules import is_concrete, refuse, takes_legal
from jaxrl_suite.errors import UserError
from jaxrl_suite.rl.actors import Actor, act
from jaxrl_suite.rl.policies import Params


class Trajectories(NamedTuple):
    """Steps of E episodes. Where `mask` is false the episode is over, and what the arrays hold there means nothing."""

    observations: jax.Array  # [E, T, ...], that the action answers
    actions: jax.Array  # float32[E, T, A] or int32[E, T]
    rewards: jax.Array  # float32[E, T]
    next_observations: jax.Array  # [E, T, ...], that the action led to, the end of an episode included
    terminated: jax.Array  # bool[E, T], true in the last step of an episode that ended by its rules
    truncated: jax.Array  # bool[E, T], true in the last step of an episode that was cut off
    mask: jax.Array  # bool[E, T], the step was taken


def observation_spec(env: AnyEnv) -> jax.ShapeDtypeStruct:
    """Shape and dtype of an observation of player 0; traces the environment and compiles nothing.

    Raises:
      UserError: if an observation is not one array.
    """
    seen = jax.eval_shape(lambda key: env.observe(env.init(key), 0), jax.eval_shape(lambda: jax.random.key(0)))
    if not isinstance(seen, jax.ShapeDtypeStruct):
        raise UserError(f"policies read one array, an observation here is a {type(seen).__name__}: join its parts")
    return seen


def evaluate(
    env: AnyEnv, actor: Actor, params: Params, key: jax.Array, episodes: int, *, max_turns: int | None = None
) -> jax.Array:
    """Undiscounted returns of many policies. The loop ends as soon as every episode has.

    Args:
      env: of one player; hashable, with `max_turns`.
      actor: how a policy acts; hashable.
      params: parameters with a leading axis S; None for an actor that has none, then S = 1.
      key: of the episodes, consumed. Policies share starts, chance, and the noise of the actor.
      episodes: E.
      max_turns: steps at most; the environment's own limit by default.

    Returns:
      float32[S, E].

    Raises:
      UserError: if the environment has several players, or no time limit and none is given, or the actor's actions
        are of the wrong kind for it, or one of them is illegal, or NaN, or a reward is; under a `jit` of the
        caller's those returns are NaN instead.
    """
    returns, refusals = _evaluate(env, actor, params, key, episodes, max_turns)
    if is_concrete(returns) and (bad := np.argwhere(np.isnan(returns))).size:
        policy, episode = bad[0]
        raise UserError(
            f"the return of policy {policy} in episode {episode} is NaN: {_reason(refusals[tuple(bad[0])])}"
        )
    return returns


@functools.partial(jax.jit, static_argnames=("env", "actor", "episodes", "max_turns"))
def _evaluate(
    env: AnyEnv, actor: Actor, params: Params, key: jax.Array, episodes: int, max_turns: int | None
) -> tuple[jax.Array, jax.Array]:
    """Returns float32[S, E], and whether an action was refused bool[S, E]."""
    limit, bare = time_limit(env, max_turns), not jax.tree.leaves(params)
    _check_episodes(episodes)
    sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(params)}
    if len(sizes) > 1 or () in sizes:
        raise UserError("params need one leading axis of policies in every array: add one of size 1 to a single policy")
    start_key, turn_key = jax.random.split(key)
    starts = jax.vmap(env.init)(jax.random.split(start_key, episodes))
    turn_keys = jax.random.split(turn_key, episodes)
    policies = 1 if bare else jax.tree.leaves(params)[0].shape[0]

    def step_one(params: Params, state: State, key: jax.Array) -> tuple[State, jax.Array]:
        return _step(env, actor, params, state, key)[1:]

    every = jax.vmap(jax.vmap(step_one, (None, 0, 0)), (None if bare else 0, 0, None))

    def unfinished(carry):
        turn, states, *_ = carry
        return (turn < limit) & ~jnp.all(states.terminated | states.truncated)

    def step_all(carry):
        turn, states, total, refusals = carry
        keys = jax.vmap(jax.random.fold_in, (0, None))(turn_keys, turn)
        states, allowed = every(params, states, keys)
        return turn + 1, states, total + states.reward[..., 0], refusals | ~allowed

    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (policies, *leaf.shape)), starts)
    shape = policies, episodes
    begin = (jnp.int32(0), many, jnp.zeros(shape), jnp.zeros(shape, bool))
    return jax.lax.while_loop(unfinished, step_all, begin)[2:]


def collect(
    env: AnyEnv, actor: Actor, params: Params, key: jax.Array, episodes: int, *, max_turns: int | None = None
) -> Trajectories:
    """Whole episodes of one policy; `evaluate` with the same key plays the same ones.

    Args:
      env, actor, key, episodes: as in `evaluate`.
      params: of one policy, without a leading axis.
      max_turns: T; the environment's own limit by default. An episode that a smaller one cuts is marked truncated.

    Raises:
      UserError: as `evaluate` does.
    """
    played = _collect(env, actor, params, key, episodes, max_turns)
    check_played(played)
    return played


def check_played(played: Trajectories) -> None:
    """Refuses trajectories with a reward that is NaN, as after an illegal action; under `jit` nothing is checked.

    Raises:
      UserError: with episode and step.
    """
    if is_concrete(played) and (bad := np.argwhere(np.isnan(played.rewards) & np.asarray(played.mask))).size:
        episode, step = bad[0]
        action = np.asarray(played.actions)[episode, step]
        raise UserError(f"episode {episode}, step {step}, action {action}: the reward is NaN: {_reason(True)}")


@functools.partial(jax.jit, static_argnames=("env", "actor", "episodes", "max_turns"))
def _collect(
    env: AnyEnv, actor: Actor, params: Params, key: jax.Array, episodes: int, max_turns: int | None
) -> Trajectories:
    limit = time_limit(env, max_turns)
    _check_episodes(episodes)
    start_key, turn_key = jax.random.split(key)

    def episode(start_key: jax.Array, turn_key: jax.Array) -> Trajectories:
        def turn(state: State, turn: jax.Array):
            active: Any = ~(state.terminated | state.truncated)
            seen = env.observe(state, 0)
            action, after, _ = _step(env, actor, params, state, jax.random.fold_in(turn_key, turn))
            cut = after.truncated | ((turn == limit - 1) & ~after.terminated)
            step = Trajectories(
                observations=seen,
                actions=action,
                rewards=after.reward[0],
                next_observations=env.observe(after, 0),
                terminated=active & after.terminated,
                truncated=active & cut,
                mask=active,
            )
            return after, step

        return jax.lax.scan(turn, env.init(start_key), jnp.arange(limit))[1]

    return jax.vmap(episode)(jax.random.split(start_key, episodes), jax.random.split(turn_key, episodes))


def flatten(trajectories: Trajectories) -> dict[str, np.ndarray]:
    """The steps that were taken, one after the other, under the names that `rl.offline.make_data` takes."""
    mask = np.asarray(trajectories.mask)
    names = {"terminated": "terminals", "truncated": "timeouts"}
    arrays = {names.get(name, name): np.asarray(getattr(trajectories, name))[mask] for name in Trajectories._fields}
    del arrays["mask"]
    return arrays


def as_action(env: AnyEnv, action: jax.Array) -> jax.Array:
    """The action of one player as `step` takes it, with the axis of players.

    Raises:
      UserError: unless it is float[A] in an environment with continuous actions, and int[] in another.
    """
    action = jnp.asarray(action)
    size, kind, word = (), jnp.integer, "one whole number"
    if isinstance(env, ContinuousEnv):
        size, kind, word = (env.action_size,), jnp.floating, f"floats of shape ({env.action_size},)"
    if action.shape != size or not jnp.issubdtype(action.dtype, kind):
        raise UserError(f"this environment takes {word}, the actor answers {action.dtype}{list(action.shape)}")
    return action.astype(jnp.float32 if size else jnp.int32)[None]


def legal_actions(env: Any, state: State) -> jax.Array | None:
    """bool[A]: what player 0 may do; None in an environment without `legal`."""
    return env.legal(state)[0] if hasattr(env, "legal") else None


def step(env: Any, state: State, action: jax.Array, key: jax.Array) -> tuple[Any, jax.Array]:
    """One step of one player, or the end with reward NaN where its action is refused: it is illegal, or NaN.

    Args:
      env: of one player.
      state: the current one; a finished one absorbs, whatever the action.
      action: int32[], or float32[A].
      key: consumed.

    Returns:
      The state after it, and whether the action was allowed, bool[].
    """
    moves = as_action(env, action)
    if isinstance(env, ContinuousEnv):
        allowed = jnp.all(jnp.isfinite(moves))
    elif hasattr(env, "legal"):
        allowed = takes_legal(env.legal(state), moves)
    else:
        allowed = takes_legal(jnp.ones((1, env.num_actions), bool), moves)
    allowed |= state.terminated | state.truncated
    return refuse(allowed, env.step(state, moves, key), state), allowed


def _step(env: AnyEnv, actor: Actor, params: Params, state: State, key: jax.Array) -> tuple[jax.Array, Any, jax.Array]:
    act_key, step_key = jax.random.split(key)
    action = act(actor, params, env.observe(state, 0), act_key, legal_actions(env, state))
    return action, *step(env, state, action, step_key)


def _reason(refused: Any) -> str:
    if refused:
        return "an action was illegal or NaN; take the actor's argument `legal`, and look for NaN in its parameters"
    return "a reward of the environment is NaN; check its step"


def time_limit(env: Any, max_turns: int | None = None) -> int:
    """Steps of an episode at most: `max_turns`, or else the environment's own limit.

    Raises:
      UserError: if the environment has several players, or neither is there.
    """
    if env.num_players != 1:
        raise UserError(f"a rollout is of one player, this environment has {env.num_players}")
    limit = getattr(env, "max_turns", None) if max_turns is None else max_turns
    if not isinstance(limit, int) or limit < 1:
        raise UserError(f"the environment has no time limit of its own: give max_turns of at least 1, got {limit}")
    return limit


def _check_episodes(episodes: int) -> None:
    if episodes < 1:
        raise UserError(f"episodes must be at least 1, got {episodes}")
