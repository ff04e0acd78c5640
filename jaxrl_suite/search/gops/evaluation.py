"""Exact strength of a GOPS policy: best responses, exploitability and head-to-head results, without sampling.

A policy is a function of batched states: it is asked once about every state of the game, and all the rest is backward
induction on the host in float64. What a policy may depend on is the whole public state, both scores included.

Shapes: `B` states, `P` = 2 players, `A` = N actions, `S` chance states, `m` prizes, `k` cards left (see `states`).

Reference: NashConv and exploitability as in Lanctot et al., "A unified game-theoretic approach to multiagent
reinforcement learning", NeurIPS 2017.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.envs.gops.game import Gops, GopsState
from jaxrl_suite.envs.rules import FAULTS, policy_fault
from jaxrl_suite.errors import UserError
from jaxrl_suite.search.gops.keys import decision_states, subsets
from jaxrl_suite.search.gops.states import Layout, Successors, enumerate_states, slices, successors

Policy = Callable[[GopsState], jax.Array]  # batched states [B, ...] -> float32[B, P, A], probabilities of legal bids


class PolicyTable(NamedTuple):
    """A policy's probabilities in every state: what a best response is, and a policy that is used repeatedly."""

    layers: tuple[np.ndarray, ...]  # by cards left from 0 to N: float64[P, k, m, S], cards held ascending


class BestResponse(NamedTuple):
    value: float  # of the responding player, before the first prize is drawn
    policy: (
        PolicyTable  # pure; the lowest card among equally good ones. The other player's part is the policy responded to
    )


class Matchup(NamedTuple):
    """The result of player 0 following one policy and player 1 another."""

    p_win: float  # probability that player 0 has more points
    p_tie: float
    mean_point_diff: float  # player 0's points less player 1's


def states(game: Gops, k: int) -> GopsState:
    """All decision states with `k` cards left, batched in the order in which policies are asked about them.

    Raises:
      UserError: if `k` is not 1 to N, or the game has too many states.
    """
    if not 1 <= k <= game.num_cards:
        raise UserError(f"k must be 1 to {game.num_cards}, the number of cards left, got {k}")
    layout = _layout(game)
    return decision_states(layout.space, k, layout.keys[k])


def tabulate(game: Gops, policy: Policy, chunk: int = 4096, player: int | None = None) -> PolicyTable:
    """Asks a policy about every state of the game.

    Args:
      game: the rules.
      policy: function of batched states to probabilities float32[B, P, A].
      chunk: states asked about at a time; the last batch is filled up with copies, so that a jitted policy is compiled
        once.
      player: the only seat that counts, if given; then float32[B, A], the probabilities of that seat, will do. The
        other seat's part of the table is 0.

    Raises:
      UserError: if the policy does not return probabilities over the legal bids.
    """
    layout = _layout(game)
    layers = [np.zeros((2, 0, 1, 0))]
    for k in range(1, game.num_cards + 1):
        parts = [np.zeros((2, k, layout.space.num_prizes(k), 0))]
        for part in slices(layout.space, k, layout.counts[k], chunk):
            parts.append(_ask(layout, k, part, policy, chunk, [0, 1] if player is None else [player]))
        layers.append(np.concatenate(parts, axis=3))
    return PolicyTable(tuple(layers))


def best_response(game: Gops, policy: Policy | PolicyTable, player: int, chunk: int = 4096) -> BestResponse:
    """The most that `player` can get against a fixed policy of the other.

    Args:
      game: the rules; its objective says what is maximised.
      policy: of the opponent; of a function, only what it returns for seat `1 - player` counts, and it may return
        float32[B, A] for that seat alone.
      player: who responds, 0 or 1.
      chunk: see `tabulate`.

    Returns:
      The expected reward of `player` from the start of the game, and a policy that attains it.

    Raises:
      UserError: if `player` is not 0 or 1, or `policy` not a policy.
    """
    if player not in (0, 1):
        raise UserError(f"player must be 0 or 1, got {player}")
    layout, table = _layout(game), _as_table(game, policy, chunk, 1 - player)
    sign = 1 - 2 * player
    end = np.sign if game.objective == "win_loss" else np.asarray
    layers, below = [np.zeros((2, 0, 1, 0))], np.zeros(0)
    for k in range(1, game.num_cards + 1):
        answer = np.zeros_like(table.layers[k])
        answer[1 - player] = table.layers[k][1 - player]
        values = []
        for part in slices(layout.space, k, layout.counts[k]):
            after = successors(layout.space, k, layout.keys[k][part])
            payoff = sign * _continuation(layout, k, after, below, end)
            other = answer[1 - player][..., part]
            expected = np.einsum("ijms,jms->ims" if player == 0 else "jims,jms->ims", payoff, other)
            best = expected.max(0)
            choice = np.argmax(expected >= best - 1e-9, axis=0)
            answer[player][..., part] = choice == np.arange(k)[:, None, None]
            values.append(sign * best.mean(0))
        below = np.concatenate([below, *values])
        layers.append(answer)
    return BestResponse(float(sign * below[-1]), PolicyTable(tuple(layers)))


def exploitability(game: Gops, policy: Policy | PolicyTable, chunk: int = 4096) -> float:
    """The mean over both seats of what a best response wins against the policy: NashConv / 2, 0 for an equilibrium.

    The value of the game is 0 by symmetry, so that what a best response wins is what the policy loses to it. It is in
    units of the game's objective.

    Args:
      game: the rules.
      policy: what both seats play, float32[B, P, A].
      chunk: see `tabulate`.
    """
    table = _as_table(game, policy, chunk)
    return (best_response(game, table, 0).value + best_response(game, table, 1).value) / 2


def matchup(game: Gops, policy0: Policy | PolicyTable, policy1: Policy | PolicyTable, chunk: int = 4096) -> Matchup:
    """The exact result of player 0 following `policy0` against player 1 following `policy1`."""
    layout = _layout(game)
    tables = _as_table(game, policy0, chunk, 0), _as_table(game, policy1, chunk, 1)
    outcomes = (lambda diff: diff > 0, lambda diff: diff == 0, np.asarray)
    below = [np.zeros(0)] * len(outcomes)
    for k in range(1, game.num_cards + 1):
        values = [[] for _ in outcomes]
        for part in slices(layout.space, k, layout.counts[k]):
            after = successors(layout.space, k, layout.keys[k][part])
            row, col = tables[0].layers[k][0][..., part], tables[1].layers[k][1][..., part]
            for i, outcome in enumerate(outcomes):
                payoff = _continuation(layout, k, after, below[i], outcome)
                expected = np.einsum("ijms,ims,jms->ms", payoff, row, col, optimize=["einsum_path", (0, 1), (0, 1)])
                values[i].append(expected.mean(0))
        below = [np.concatenate([b, *v]) for b, v in zip(below, values, strict=True)]
    return Matchup(*(float(b[-1]) for b in below))


@functools.lru_cache(maxsize=4)
def _layout(game: Gops) -> Layout:
    return enumerate_states(game, "history")


def _as_table(game: Gops, policy: Policy | PolicyTable, chunk: int, player: int | None = None) -> PolicyTable:
    return policy if isinstance(policy, PolicyTable) else tabulate(game, policy, chunk, player)


def _continuation(
    layout: Layout, k: int, after: Successors, below: np.ndarray, end: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """float64[k, k, m, S]: the value of each pair of bids, from those of all chance states with fewer cards left."""
    if k == 1:
        return end(after.diff).astype(np.float64)
    return below[layout.index.find(after.keys)[0]]


def _ask(layout: Layout, k: int, part: slice, policy: Policy, chunk: int, seats: list[int]) -> np.ndarray:
    """float64[P, k, m, S]: the policy's probabilities in the chance states `part`, 0 for other players than `seats`."""
    space, keys = layout.space, layout.keys[k][part]
    n, m = space.game.num_cards, space.num_prizes(k)
    asked = decision_states(space, k, keys)
    count = asked.prize.shape[0]
    padded = jax.tree.map(lambda x: jnp.concatenate([x, jnp.repeat(x[:1], max(0, chunk - count), axis=0)]), asked)
    answer = np.asarray(policy(padded), np.float64)[:count]
    if len(seats) == 1 and answer.shape == (count, n):
        answer = np.repeat(answer[:, None], 2, axis=1)
    if answer.shape != (count, 2, n):
        raise UserError(f"a policy must return float32[B, 2, {n}] for B states, got {answer.shape} for B = {count}")
    table = np.zeros((2, k, m, len(keys)))
    legal = jax.vmap(space.game.legal)(asked)
    for seat in seats:
        held = np.repeat(subsets(n, k).cards[:, space.unpack(k, keys)[seat]].T, m, axis=0)
        faults = np.asarray(policy_fault(jnp.asarray(answer[:, seat], jnp.float32), legal[:, seat]))
        if faults.any():
            first = int(np.argmax(faults > 0))
            raise UserError(
                f"a policy must return probabilities that sum to 1 over the legal bids, in every state: those of "
                f"player {seat} {FAULTS[faults[first]]} in {int((faults > 0).sum())} states; mask them by game.legal"
            )
        bids = np.maximum(np.take_along_axis(answer[:, seat], held, axis=1), 0)
        table[seat] = (bids / bids.sum(1, keepdims=True)).reshape(len(keys), m, k).transpose(2, 1, 0)
    return table
