"""GOPS: the matches of the experiment, who plays whom and how, on the devices of a run."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.core import devices
from jaxrl_suite.core.run import Run
from jaxrl_suite.envs import Gops
from jaxrl_suite.search import arena, matrix_game
from jaxrl_suite.search.agents import Answer, SearchPolicy
from jaxrl_suite.search.evaluators import Rollout
from jaxrl_suite.search.gops import evaluation as gops_evaluation
from jaxrl_suite.search.gops import exact as gops_exact
from jaxrl_suite.search.gops import policies as gops_policies
from jaxrl_suite.search.rules import DecoupledPUCT, RegretMatching, UniformOpponentPUCT
from jaxrl_suite.search.simultaneous import SimultaneousSearch

if TYPE_CHECKING:
    from jaxrl_suite.experiments.gops_search.config import Config

# How actions are picked in the tree, how the root is answered, random rollouts a leaf.
RULES: dict[str, tuple[RegretMatching | DecoupledPUCT | UniformOpponentPUCT, Answer, int]] = {
    "regret_matching": (RegretMatching(), "solve", 1),
    "regret_matching_x8": (RegretMatching(), "solve", 8),
    "decoupled_puct": (DecoupledPUCT(), "solve", 1),
    "paper": (UniformOpponentPUCT(), "best", 1),
}
FIXED = ("nash", "match_prize", "just_above_prize", "highest", "uniform")
BUDGETS = (16, 160)  # of the published scaling figure
CHUNK = 64  # states of the small game that are searched at a time


class Pairing(NamedTuple):
    """`first` against `second` in one variant of the game; a search is written as (rule, simulations)."""

    game: Gops
    first: tuple[str, int]
    second: tuple[str, int] | str


def list_pairings(config: Config) -> list[Pairing]:
    """All matches to be played, those that share a program next to each other."""
    pairings = []
    for tie in config.ties:
        game = Gops(config.num_cards, tie)
        pairings += [Pairing(game, (rule, s), "nash") for rule in config.rules for s in config.simulations]
        rivals = [(rule, config.rival_simulations) for rule in config.rules]
        for i, rival in enumerate(rivals):
            pairings += [Pairing(game, rival, fixed) for fixed in FIXED]
            pairings += [Pairing(game, rival, other) for other in rivals[i + 1 :]]
    points = Gops(config.num_cards, config.ties[0], "points")
    pairings += [Pairing(points, ("paper", budget), "nash") for budget in BUDGETS]
    return list(dict.fromkeys(pairings))


def describe(pairing: Pairing) -> str:
    sides = [side if isinstance(side, str) else f"{side[0]}@{side[1]}" for side in pairing[1:]]
    return f"{pairing.game.tie} {pairing.game.objective}: {sides[0]} against {sides[1]}"


def search_policy(game: Gops, rule: str, simulations: int) -> SearchPolicy:
    selection, answer, rollouts = RULES[rule]
    search = SimultaneousSearch(game, Rollout(game, rollouts), selection, num_simulations=simulations)
    return SearchPolicy(search, answer)


class MatchPlayer:
    """Plays pairings on the run's devices: one compiled program for each search or pair of searches."""

    def __init__(self, config: Config, run: Run, mesh: Any):
        self._config, self._run, self._mesh = config, run, mesh
        self._programs: dict[Any, Callable[..., Any]] = {}
        self.simulations, self.seconds = 0, 0.0

    @functools.cache  # noqa: B019  (a referee lives as long as its run)
    def solution(self, game: Gops) -> gops_exact.GopsSolution:
        """The exact solution of a game, on every device."""
        start = time.monotonic()
        solution = gops_exact.solve_gops(game)
        self._run.say(
            f"solved GOPS-{game.num_cards} ({game.tie}, {game.objective}) exactly: "
            f"{solution.num_decisions:,} states in {time.monotonic() - start:.1f} s"
        )
        return devices.replicate(solution, self._mesh)

    def play(self, pairing: Pairing, seed: int) -> np.ndarray:
        """float32[games]: returns of the first policy, averaged over both seats."""
        game, first, second = pairing
        keys = devices.shard_batch(jax.random.split(jax.random.key(seed), self._config.games), self._mesh)
        opponent = devices.replicate(jnp.int32(FIXED.index(second) if isinstance(second, str) else 0), self._mesh)
        args = keys, self.solution(game), opponent
        key = game, first, None if isinstance(second, str) else second
        if key not in self._programs:
            program = devices.map_batch(functools.partial(self._match, *key), self._mesh, replicated=(1, 2))
            name = describe(pairing) if key[2] else f"{game.tie} {game.objective}: {first[0]}@{first[1]}"
            self._programs[key] = self._run.compile(program, *args, name=name)
        start = time.monotonic()
        returns = np.asarray(self._programs[key](*args))
        self.seconds += time.monotonic() - start
        searched = first[1] + (0 if isinstance(second, str) else second[1])
        self.simulations += 2 * self._config.games * game.max_turns * searched
        return returns

    def _match(self, game, first, second, keys, solution, opponent):
        """float32[B], for a share of the keys. Fixed opponents share a program: an index tells them apart."""

        def fixed(keys, states):
            policies = [lambda state: gops_exact.policy(solution, state)]
            policies += [functools.partial(getattr(gops_policies, name), game) for name in FIXED[1:]]
            return jax.lax.switch(opponent, [jax.vmap(policy) for policy in policies], states)

        rival = fixed if second is None else search_policy(game, *second)
        return arena.play_both_seats(game, (search_policy(game, *first), rival), keys)

    def show_game(self, game: Gops) -> list[Any]:
        """The states of one game of the exact equilibrium against `match_prize`."""
        solution = self.solution(game)

        @jax.jit
        def turn(state, key):
            keys = jax.random.split(key, 3)
            bids = [
                matrix_game.sample(keys[0], gops_exact.policy(solution, state)[0]),
                matrix_game.sample(keys[1], gops_policies.match_prize(game, state)[1]),
            ]
            return game.step(state, jnp.stack(bids), keys[2])

        keys = jax.random.split(jax.random.key(self._config.seeds[0]), game.num_cards + 1)
        states = [game.init(keys[0])]
        for key in keys[1:]:
            states.append(turn(states[-1], key))
        return states


def search_exploitability(config: Config, mesh: Any, game: Gops, rule: str, simulations: int) -> list[float]:
    """For each seed, what a best response wins against the mean strategy of many searches, computed exactly."""
    searcher = devices.map_batch(search_policy(game, rule, simulations), mesh)

    def policy(seed, states):
        batch = states.prize.shape[0]
        cards_left = int(states.hands[0, 0]).bit_count()  # a state's noise is independent of that of those it leads to
        total: Any = 0.0
        for repeat in range(config.policy_samples):
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), repeat), cards_left)
            total += searcher(*devices.shard_batch((jax.random.split(key, batch), states), mesh))
        return total / config.policy_samples

    return [gops_evaluation.exploitability(game, functools.partial(policy, seed), CHUNK) for seed in config.seeds]
