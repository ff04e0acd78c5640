"""An illegal action is refused by every game: the state stays, but it has ended, with reward NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs import Avalon, AvalonTurns, Gops, make
from jaxrl_suite.envs.rules import FAULTS, policy_fault, takes_legal

GAMES = {
    "gops": Gops(4),
    "gops, descending": Gops(5, tie="discard", prize_order="descending"),
    "data-selection": make("data-selection", num_points=5),
    "data-selection, budget": make("data-selection", num_points=6, budget=3),
    "market": make("market"),
    "avalon": Avalon(5),
    "avalon, official": Avalon(7, percival=True, morgana=True, oberon=True, rules="official"),
    "avalon, turns": AvalonTurns(Avalon(5)),
}


def random_actions(key, legal):
    drawn = jax.random.categorical(key, jnp.where(legal, 0.0, -jnp.inf))
    return jnp.where(jnp.any(legal, axis=1), drawn, 0).astype(jnp.int32)


@pytest.mark.parametrize("name", GAMES)
def test_illegal_actions_end_a_game_with_nan(name):
    game = GAMES[name]

    @jax.jit
    def try_all(key):
        """Plays a random game; in each state one player tries each number from -2 to A + 1 in place of its action."""

        def turn(state, key):
            act_key, step_key = jax.random.split(key)
            legal = game.legal(state)
            actions = random_actions(act_key, legal)
            tried = jnp.arange(-2, game.num_actions + 2)

            def attempt(player, number):
                after = game.step(state, actions.at[player].set(number), step_key)
                again = game.step(after, actions, step_key)
                same = [
                    jnp.all(a == b)
                    for (path, a), b in zip(jax.tree.leaves_with_path(after), jax.tree.leaves(state), strict=True)
                    if not any(str(step) in (".reward", ".terminated", ".prize") for step in path)
                ]
                return jnp.isnan(after.reward), after.terminated, jnp.all(jnp.stack(same)), again.reward

            every = jax.vmap(jax.vmap(attempt, (None, 0)), (0, None))(jnp.arange(game.num_players), tried)
            inside = (tried >= 0) & (tried < game.num_actions)
            taken = legal[:, jnp.clip(tried, 0, game.num_actions - 1)] & inside[None]
            allowed = taken | ~jnp.any(legal, axis=1)[:, None]
            return game.step(state, actions, step_key), (allowed, *every, state.terminated)

        return jax.lax.scan(turn, game.init(key), jax.random.split(key, min(game.max_turns, 20)))[1]

    seen = jax.vmap(try_all)(jax.random.split(jax.random.key(0), 4))
    allowed, nan, ended, same, again, over = (np.asarray(leaf) for leaf in seen)
    assert (~allowed).any()
    np.testing.assert_array_equal(nan.all(-1), ~allowed)
    np.testing.assert_array_equal(nan.any(-1), ~allowed)
    assert ended[~allowed].all()
    assert same[~allowed].all()
    assert not over.all()
    assert (again[~allowed] == 0).all()


def test_faults_of_probabilities_are_told_apart():
    legal = jnp.array([True, True, False])
    cases = {
        (0.5, 0.5, 0.0): 0,
        (1.0, 0.0, 0.0): 0,
        (0.5, 0.5 - 5e-5, 5e-5): 0,
        (np.nan, 0.5, 0.0): 1,
        (0.5, 0.5, np.inf): 1,
        (1.5, -0.5, 0.0): 2,
        (0.5, 0.0, 0.5): 3,
        (1 / 3, 1 / 3, 1 / 3): 3,
        (0.5, 0.4, 0.0): 4,
        (0.0, 0.0, 0.0): 4,
        (5.0, 3.0, 0.0): 4,
    }
    for row, number in cases.items():
        assert int(policy_fault(jnp.array(row), legal)) == number, FAULTS[number]
    assert int(policy_fault(jnp.full(3, jnp.nan), jnp.zeros(3, bool))) == 0  # who does not act is not asked
    mask = jnp.array([[True, False], [False, False]])
    assert [bool(takes_legal(mask, jnp.array(a))) for a in ([0, 9], [1, 0], [-1, 0], [2, 0])] == [True] + 3 * [False]
