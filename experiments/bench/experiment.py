"""Speed of this package beside installed peers, in one run on one machine: `jaxrl-suite bench`.

Every rate is the best of a few repetitions after compilation. "per CPU second" counts the time of all cores used, so
that it compares a program that uses several with one that uses one.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mctx
import numpy as np

from jaxrl_suite.avalonbench.bot_games import play_bots
from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.core import devices
from jaxrl_suite.envs import Avalon, Gops
from jaxrl_suite.experiments.bench import distill, heuristics, lm, rewards, scaling, strategist, values
from jaxrl_suite.search import tree_search
from jaxrl_suite.search.evaluators import Rollout
from jaxrl_suite.search.gops import exact as gops_exact
from jaxrl_suite.search.records import RecurrentFnOutput, RootFnOutput
from jaxrl_suite.search.rules import RegretMatching
from jaxrl_suite.search.simultaneous import SimultaneousSearch

Row = dict[str, Any]
GAME = Gops(6)
MISSING = "not installed: pip install 'jaxrl-suite[bench]'"


def measure(work: Callable[[], Any], amount: float, repeat: int = 3) -> tuple[float, float]:
    """(amount per second, amount per CPU second), each the best of `repeat`, after one call that is not counted."""
    jax.block_until_ready(work())
    wall, cpu = [], []
    for _ in range(repeat):
        start = time.perf_counter(), time.process_time()
        jax.block_until_ready(work())
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return amount / min(wall), amount / min(cpu)


def row(what: str, by: str, work: Callable[[], Any] | None, amount: float = 0, repeat: int = 3) -> Row:
    if work is None:
        return {"what": what, "by": by, "per second": MISSING, "per CPU second": ""}
    wall, cpu = measure(work, amount, repeat)
    return {"what": what, "by": by, "per second": f"{wall:,.0f}", "per CPU second": f"{cpu:,.0f}"}


def random_play() -> list[Row]:
    """Uniformly random GOPS-6 games, from the first prize to the end."""
    batch, rounds = 8192, 64

    def games(key):
        def chunk(index, total):
            keys = jax.random.split(jax.random.fold_in(key, index), batch)
            return total + jnp.sum(jax.vmap(GAME.random_return, (0, None))(keys, GAME.start()))

        return jax.lax.fori_loop(0, rounds, chunk, jnp.float32(0))

    what, games = "random games of GOPS-6", jax.jit(games)
    ours = row(what, "jaxrl_suite", lambda: games(jax.random.key(0)), batch * rounds)
    return [ours, row(what, "OpenSpiel C++ rollouts", _open_spiel(rollouts=20, simulations=500), 20 * 500)]


def search() -> list[Row]:
    """Whole searches of 512 games of GOPS-6 from the first prize: regret matching, one random rollout a leaf.

    What a simulation costs grows with the levels that the batch walks down in lockstep, not with the size of the tree.
    """
    rows, batch, mesh = [], 512, devices.mesh(batch=512)
    keys = jax.random.split(jax.random.key(0), batch)
    states = jax.vmap(GAME.init)(keys)
    sharded = devices.shard_batch((keys, states), mesh)
    for simulations in (25, 100, 400, 1600):
        searcher = SimultaneousSearch(GAME, Rollout(GAME), RegretMatching(), num_simulations=simulations)
        ours = devices.map_batch(lambda keys, states, s=searcher: s((), keys, states).node_values, mesh)
        what, amount = f"simulations, 512 searches of {simulations}", batch * simulations
        result = row(what, "jaxrl_suite", lambda ours=ours: ours(*sharded), amount)
        rows.append(result | {"levels walked": f"{_levels(jax.jit(searcher)((), keys, states)):.1f}"})
        if simulations == 100:
            stock = devices.map_batch(functools.partial(_stock_search, searcher), mesh)
            rows.append(row(what, "the same on mctx.search", lambda stock=stock: stock(*sharded), amount))
    for simulations in (100, 1000):
        what = f"simulations, one search of {simulations}"
        rows.append(row(what, "OpenSpiel C++ MCTSBot", _open_spiel(1, simulations, 10), 10 * simulations))
    return rows


def backward() -> list[Row]:
    """mctx's own policy on a model that costs nothing: 512 searches of 128 simulations, 13 actions."""
    batch, actions, simulations = 512, 13, 128

    def model(params, rng_key, action, path):
        path = (path * 1103515245 + action * 12345 + 12345) & 0x7FFFFFFF
        value = ((path >> 8) % 1000).astype(jnp.float32) / 500 - 1
        logits = jnp.sin(path[:, None].astype(jnp.float32) * jnp.arange(1.0, actions + 1)[None])
        return RecurrentFnOutput(
            reward=value / 10, discount=jnp.full_like(value, -1.0), prior_logits=logits, value=value
        ), path

    def run(search, key):
        embedding = jnp.arange(batch, dtype=jnp.int32)
        return search(
            (),
            key,
            root=RootFnOutput(prior_logits=jnp.zeros((batch, actions)), value=jnp.zeros(batch), embedding=embedding),
            recurrent_fn=model,
            root_action_selection_fn=functools.partial(mctx.muzero_action_selection, depth=0),
            interior_action_selection_fn=mctx.muzero_action_selection,
            num_simulations=simulations,
        ).node_values

    rows = []
    for by, search in (("jaxrl_suite", tree_search.search), ("mctx", mctx.search)):
        program = jax.jit(functools.partial(run, search))
        what = "simulations, 512 searches of 128, 13 actions"
        rows.append(row(what, by, lambda program=program: program(jax.random.key(0)), batch * simulations))
    return rows


def exact() -> list[Row]:
    """Exact solutions, compilation included; a second one of the same size shows what compilation cost."""
    rows = []
    for game in (Gops(6), Gops(6, "discard"), Gops(6, objective="points"), Gops(7, objective="points")):
        start = time.perf_counter()
        solution = jax.block_until_ready(gops_exact.solve_gops(game))
        seconds = time.perf_counter() - start
        name = f"GOPS-{game.num_cards} {game.tie} {game.objective}"
        rows.append({"what": name, "by": "jaxrl_suite", "states": solution.num_decisions, "seconds": round(seconds, 1)})
    return rows


def _levels(tree: Any) -> float:
    """Mean over simulations of the deepest leaf in the batch: the levels that each of them walks."""
    depth = np.zeros(tree.parents.shape, int)
    for node, parent in enumerate(np.asarray(tree.parents).T[1:], start=1):
        depth[:, node] = np.where(parent >= 0, depth[np.arange(len(parent)), parent] + 1, 0)
    return float(depth.max(0)[1:].mean())


def _stock_search(searcher: SimultaneousSearch, keys: jax.Array, states: Any) -> jax.Array:
    """The search of `searcher` on `mctx.search`, which hands one key to the whole batch and asks rows one by one."""
    batch = keys.shape[0]
    root = searcher.plant((), keys, states, 1)
    embedding = jax.tree.map(lambda leaf: leaf[:, 0], root.embeddings)

    def select(key, tree, node, depth=None):
        trees, nodes = jax.tree.map(lambda leaf: leaf[None], (tree, node))
        return searcher._select(key[None], trees, nodes, jnp.int32(1), jnp.ones(1, bool))[0]

    stock_search: Any = mctx.search  # its types do not know keys and embeddings of our own
    return stock_search(
        (),
        keys[0],
        root=RootFnOutput(
            prior_logits=root.children_prior_logits[:, 0], value=root.node_values[:, 0], embedding=embedding
        ),
        recurrent_fn=lambda params, key, action, state: searcher._recurrent(
            params, jax.random.split(key, batch), action, state
        ),
        root_action_selection_fn=select,
        interior_action_selection_fn=select,
        num_simulations=searcher.num_simulations,
    ).node_values


def _open_spiel(rollouts: int, simulations: int, searches: int = 1) -> Callable[[], Any] | None:
    """OpenSpiel's C++ MCTS at the first bid of turn-based GOPS-6, its rollouts uniformly random."""
    try:
        import pyspiel  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    game = pyspiel.load_game(
        "turn_based_simultaneous_game(game=goofspiel(num_cards=6,imp_info=False,points_order=random,returns_type=win_loss))"
    )
    state = game.new_initial_state()
    state.apply_action(state.legal_actions()[0])
    evaluator = pyspiel.RandomRolloutEvaluator(rollouts, 1)
    bot = pyspiel.MCTSBot(game, evaluator, 2.0, simulations, 1000, False, 1, False)
    return lambda: [bot.step(state) for _ in range(searches)] and None


def avalon() -> list[Row]:
    """Whole games of naive bots at 5 players, by how many are in play at a time."""
    rows, bots = [], Bots(Avalon(5))
    for lanes in (1024, 4096, 16_384):
        games = 32 * lanes
        what = f"bot games of Avalon, {lanes} in play"
        rows.append(
            row(what, "jaxrl_suite", lambda lanes=lanes, n=games: play_bots(bots, jax.random.key(0), n, lanes), games)
        )
    return rows


BENCHES = {
    "random_play": random_play,
    "search": search,
    "backward": backward,
    "exact": exact,
    "avalon": avalon,
    "heuristics": heuristics.heuristics,
    "lm_decode": lm.lm_decode,
    "data_values": values.rows,
    "self_play": strategist.self_play,
    "distill": distill.rows,
    "rewards": rewards.rows,
    "scaling": scaling.rows,
}
