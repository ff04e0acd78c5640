"""Speed of a heuristic that came through the sandbox beside the same one called as Python, inside one search.

Both are compiled by XLA; the exported one arrives as StableHLO. The repetitions alternate, so that a machine that
slows down meanwhile slows both.
"""

from __future__ import annotations

import inspect
import time
from typing import Any

import jax
import jax.numpy as jnp

from jaxrl_suite.envs import Gops
from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox.export import EXPORT, ExportRequest, export_functions
from jaxrl_suite.sandbox.sandbox import Sandbox
from jaxrl_suite.search.evaluators import Evaluator, Heuristic
from jaxrl_suite.search.simultaneous import SimultaneousSearch

Row = dict[str, Any]
GAME = Gops(6)
BATCH, SIMULATIONS, REPEAT = 512, 100, 7


def evaluate(state):
    """Points won so far, and the values of the cards held beyond what the deck and the pot are worth."""
    cards = jnp.arange(6)
    held = ((state.hands[:, None] >> cards[None, :]) & 1) * (cards + 1)[None, :]
    left = jnp.sum(((state.deck >> cards) & 1) * (cards + 1)) + state.prize + state.carry
    strength = jnp.sum(held.astype(jnp.float32) ** 1.5, axis=1)
    share = strength[0] / jnp.maximum(strength[0] + strength[1], 1.0)
    lead = (state.score[0] - state.score[1]).astype(jnp.float32)
    return jnp.tanh(0.15 * (lead + (2.0 * share - 1.0) * left))


def exported(source: str = "", entry: str = "evaluate") -> Any:
    """The heuristic through the sandbox.

    Raises:
      UserError: if no sandbox works here, or the function is refused.
    """
    states = jax.vmap(GAME.init)(jax.random.split(jax.random.key(0), 16))
    with Sandbox(EXPORT, workers=1) as sandbox:
        request = ExportRequest(source or inspect.getsource(evaluate), entry, states, platforms=("cpu",))
        report = export_functions(sandbox, [request])[0]
    if report.function is None:
        raise UserError(f"the heuristic is not exported: {report.feedback}")
    return report.function


def program(evaluator: Evaluator) -> Any:
    """Values and visits of all nodes of searches from (keys, states)."""
    search = SimultaneousSearch(GAME, evaluator, num_simulations=SIMULATIONS)

    def run(keys, states):
        tree = search((), keys, states)
        return tree.node_values, tree.children_visits

    return jax.jit(run)


def heuristics() -> list[Row]:
    """Simulations of 512 searches of GOPS-6 with the same heuristic, native and exported, and how results differ."""
    keys = jax.random.split(jax.random.key(1), BATCH)
    states = jax.vmap(GAME.init)(keys)
    programs = {"native": program(Heuristic(evaluate)), "exported": program(Heuristic(exported().call_one))}
    wall: dict[str, list[float]] = {name: [] for name in programs}
    cpu: dict[str, list[float]] = {name: [] for name in programs}
    by_maker: dict[str, Any] = {}
    for turn in range(REPEAT + 1):
        for name, run in programs.items():
            start = time.perf_counter(), time.process_time()
            by_maker[name] = jax.block_until_ready(run(keys, states))
            if turn:  # the first compiles
                wall[name].append(time.perf_counter() - start[0])
                cpu[name].append(time.process_time() - start[1])
    amount, what = BATCH * SIMULATIONS, f"simulations, {BATCH} searches of {SIMULATIONS}, a heuristic at the leaves"
    return [
        {
            "what": what,
            "by": f"jaxrl_suite, {name}",
            "per second": f"{amount / min(wall[name]):,.0f}",
            "per CPU second": f"{amount / min(cpu[name]):,.0f}",
            "largest difference": max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(*by_maker.values(), strict=True)),
        }
        for name in programs
    ]
