"""GOPS solved exactly, against an independent solver's values, best responses and head-to-head results."""

import gzip
import itertools
import json
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs import Gops
from jaxrl_suite.search.gops import evaluation as gops_evaluation
from jaxrl_suite.search.gops import policies as gops_policies
from jaxrl_suite.search.gops.exact import batched_policy, policy, solve_gops, value
from jaxrl_suite.search.gops.keys import StateSpace, state_from_cards
from jaxrl_suite.search.gops.states import enumerate_states

OBJECTIVES = {"win_loss": "win_loss", "points": "point_difference"}
RULES = list(itertools.product(["carry", "discard"], ["random", "descending"]))
APPLY = jax.jit(lambda game, state, action: game.apply(state, action), static_argnums=0)
VALUES = jax.jit(jax.vmap(value, in_axes=(None, 0)))
VALUES_AND_POLICIES = jax.jit(jax.vmap(lambda s, state: (value(s, state), policy(s, state)), in_axes=(None, 0)))


@cache
def load(name):
    path = Path(__file__).parents[1] / "data" / f"{name}.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


def stack(states):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def named(name, game):
    return jax.jit(jax.vmap(partial(getattr(gops_policies, name), game)))


def check_against_reference(game):
    """Values and strategies of all recorded states and roots of one game; returns how many there were."""
    kind = OBJECTIVES[game.objective]
    rules = (game.num_cards, game.tie, game.prize_order)
    of_game = [s for s in load("gops_nash")["states"] if (s["num_cards"], s["tie"], s["points_order"]) == rules]
    states = [
        state_from_cards(
            game, s["hand0"], s["hand1"], s["current_prize"], s["carry"], s["prizes_remaining"], s["score_diff"]
        )
        for s in of_game
    ]
    cards = list(range(1, game.num_cards + 1))
    roots = [
        r
        for r in load("gops_nash_roots")["roots"]
        if (r["num_cards"], r["tie"], r["points_order"]) == rules and r["objective"] == kind
    ]
    for r in roots:
        rest = [card for card in cards if card != r["current_prize"]]
        states.append(state_from_cards(game, cards, cards, r["current_prize"], 0, rest, 0))
    records = [s["objectives"][kind] for s in of_game] + roots
    hands = [(s["hand0"], s["hand1"]) for s in of_game] + [(cards, cards)] * len(roots)

    solution = solve_gops(game)
    batch = stack(states)
    values, strategies = map(np.asarray, VALUES_AND_POLICIES(solution, batch))
    np.testing.assert_allclose(values, [r["value"] for r in records], atol=1e-5)
    for record, (hand0, hand1), probabilities in zip(records, hands, strategies, strict=True):
        payoff = np.array(record["payoff"])
        row, col = probabilities[0][np.array(hand0) - 1], probabilities[1][np.array(hand1) - 1]
        np.testing.assert_allclose([row.sum(), col.sum()], 1, atol=1e-5)
        assert (row @ payoff).min() >= record["value"] - 1e-4
        assert (payoff @ col).max() <= record["value"] + 1e-4
    return len(records)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("tie", "order"), RULES)
@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_values_and_strategies_are_the_reference_ones(n, tie, order, objective):
    assert check_against_reference(Gops(n, tie, objective, order)) > 2


@pytest.mark.optimised
@pytest.mark.tier2
@pytest.mark.parametrize(("tie", "order"), RULES)
def test_values_and_strategies_with_seven_cards(tie, order):
    assert check_against_reference(Gops(7, tie, "points", order)) > 60


@pytest.mark.optimised
@pytest.mark.tier2
@pytest.mark.parametrize("tie", ["carry", "discard"])
def test_seven_cards_win_loss(tie):
    game = Gops(7, tie, "win_loss")
    assert abs(float(value(solve_gops(game), game.start()))) < 1e-6


def test_every_recorded_state_is_checked():
    assert len(load("gops_nash")["states"]) == 1538


def test_the_value_of_the_start_is_the_mean_over_prizes_and_zero():
    game = Gops(4, objective="points")
    solution = solve_gops(game)
    start = game.start()
    revealed = stack([game.step_chance(start, jnp.int32(c)) for c in range(4)])
    np.testing.assert_allclose(value(solution, start), 0, atol=1e-6)
    np.testing.assert_allclose(VALUES(solution, revealed).mean(), 0, atol=1e-6)
    assert not np.asarray(policy(solution, start)).any()  # nobody acts before the prize is drawn


@pytest.mark.parametrize("tie", ["carry", "discard"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_values_follow_random_games_to_their_ends(tie, objective):
    game = Gops(4, tie, objective)
    solution = solve_gops(game)
    key = jax.random.key(3)
    state = jax.vmap(game.init)(jax.random.split(key, 64))
    for turn in range(4):
        assert np.isfinite(VALUES(solution, state)).all()
        probabilities = batched_policy(solution)(state)
        np.testing.assert_allclose(probabilities.sum(2), 1, atol=1e-5)
        assert not np.asarray(probabilities)[~np.asarray(jax.vmap(game.legal)(state))].any()
        keys = jax.random.split(jax.random.fold_in(key, turn), 64)
        legal = jax.vmap(game.legal)(state)
        action = jax.vmap(partial(jax.random.categorical, axis=-1))(keys, jnp.where(legal, 0.0, -jnp.inf))
        state = jax.vmap(game.step)(state, action, keys)
    assert state.terminated.all()
    np.testing.assert_array_equal(VALUES(solution, state), state.reward[:, 0])
    assert not np.asarray(batched_policy(solution)(state)).any()


def test_a_decided_game_has_its_winner_as_value_and_is_played_uniformly():
    game = Gops(5)
    state = state_from_cards(game, [1, 2], [1, 5], 1, 0, [2], 8)
    solution = solve_gops(game)
    assert float(value(solution, state)) == 1
    np.testing.assert_allclose(policy(solution, state), [[0.5, 0.5, 0, 0, 0], [0.5, 0, 0, 0, 0.5]])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_the_start_does_not_lead_to_is_nan_and_can_be_solved_from_itself(objective):
    game = Gops(5, objective=objective)
    state = state_from_cards(game, [2, 4], [2, 4], 1, 14, [2], -2)  # more is carried than was played for
    whole = solve_gops(game)
    assert np.isnan(value(whole, state))
    assert np.isnan(np.asarray(policy(whole, state))[:, [1, 3]]).all()
    part = solve_gops(game, state)
    assert part.num_decisions < 20
    assert np.isfinite(value(part, state))
    np.testing.assert_allclose(policy(part, state).sum(1), 1, atol=1e-6)
    inside = state_from_cards(game, [1, 3, 5], [2, 4, 5], 1, 0, [2, 4], 2)
    np.testing.assert_allclose(value(solve_gops(game, inside), inside), value(whole, inside), atol=1e-6)


def test_a_solution_is_an_argument_of_jitted_functions():
    game = Gops(3)
    solution = solve_gops(game)
    states = jax.vmap(game.init)(jax.random.split(jax.random.key(0), 6))
    compiled = jax.jit(jax.vmap(policy, in_axes=(None, 0))).lower(solution, states).compile()
    np.testing.assert_array_equal(compiled(solution, states), batched_policy(solution)(states))


@pytest.mark.parametrize(
    ("tie", "detail", "decisions"),
    [("carry", "points", 1668), ("carry", "history", 2800), ("discard", "points", 692)],
)
def test_numbers_of_states_with_four_cards(tie, detail, decisions):
    layout = enumerate_states(Gops(4, tie), detail)
    assert sum(count * k for k, count in enumerate(layout.counts)) == decisions
    for k in range(1, 5):
        number, found = layout.index.find(layout.keys[k])
        assert found.all()
        np.testing.assert_array_equal(number, sum(layout.counts[:k]) + np.arange(layout.counts[k]))


@pytest.mark.parametrize(("n", "expected"), [(3, 1.5556), (4, 3.0764), (5, 4.7903), (6, 6.8400)])
def test_best_response_to_uniform_wins_the_known_points(n, expected):
    game = Gops(n, objective="points")
    table = gops_evaluation.tabulate(game, named("uniform", game))
    for player in (0, 1):
        assert gops_evaluation.best_response(game, table, player).value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("tie", "order"), RULES)
@pytest.mark.parametrize("n", [3, 4, *(pytest.param(n, marks=pytest.mark.tier2) for n in (5, 6))])
def test_matchups_are_the_reference_ones(n, tie, order, objective):
    game = Gops(n, tie, objective, order)
    (reference,) = (
        r
        for r in load("gops_matchups")["results"]
        if (r["num_cards"], r["tie"], r["points_order"], r["policy_objective"])
        == (n, tie, order, OBJECTIVES[objective])
    )
    names = ("uniform", "match_prize", "just_above_prize", "highest")
    rows = {name: gops_evaluation.tabulate(game, named(name, game)) for name in names}
    cols = dict(rows)
    best = [gops_evaluation.best_response(game, rows["uniform"], player) for player in (0, 1)]
    rows["br_to_uniform"], cols["br_to_uniform"] = best[0].policy, best[1].policy
    expected = reference["br_value_vs_uniform"]
    assert best[0].value == pytest.approx(expected, abs=1e-9)
    assert gops_evaluation.exploitability(game, rows["uniform"]) == pytest.approx(expected, abs=1e-9)
    compared = 0
    for record in reference["matchups"]:
        if record["row"] in rows and record["col"] in cols:
            result = gops_evaluation.matchup(game, rows[record["row"]], cols[record["col"]])
            np.testing.assert_allclose(result, [record["p_win"], record["p_tie"], record["mean_point_diff"]], atol=1e-6)
            compared += 1
    assert compared >= 5


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("tie", ["carry", "discard"])
def test_an_equilibrium_is_not_exploitable(tie, objective):
    game = Gops(5, tie, objective)
    assert abs(gops_evaluation.exploitability(game, batched_policy(solve_gops(game)))) < 2e-6


def follow(game, play, state):
    """(p_win, p_tie, mean difference) of a policy against itself, by walking the tree through the rules."""
    if bool(state.terminated):
        diff = int(state.score[0] - state.score[1])
        return np.array([diff > 0, diff == 0, diff], float)
    if bool(game.chance_pending(state)):
        outcomes = np.flatnonzero(np.isfinite(game.chance_logits(state)))
        return np.stack([follow(game, play, game.step_chance(state, jnp.int32(c))) for c in outcomes]).mean(0)
    row, col = np.asarray(play(state))
    total = np.zeros(3)
    for i, j in itertools.product(np.flatnonzero(row), np.flatnonzero(col)):
        total += row[i] * col[j] * follow(game, play, APPLY(game, state, jnp.array([i, j])))
    return total


@pytest.mark.parametrize("tie", ["carry", "discard"])
def test_a_policy_may_depend_on_all_of_the_state(tie):
    game = Gops(3, tie, "points")

    def play(state):
        mixed = jnp.sin(jnp.arange(1, 4) * (1.0 + state.score[0] + 3 * state.score[1] + 7 * state.prize + state.carry))
        weights = jnp.where(game.legal(state), jnp.stack([1.5 + mixed, 1.5 - mixed]), 0.0)
        return weights / weights.sum(1, keepdims=True)

    expected = follow(game, jax.jit(play), game.start())
    policy_of_states = jax.jit(jax.vmap(play))
    np.testing.assert_allclose(gops_evaluation.matchup(game, policy_of_states, policy_of_states), expected, atol=1e-6)
    one_seat = gops_evaluation.best_response(game, lambda states: policy_of_states(states)[:, 1], 0)
    assert one_seat.value == pytest.approx(gops_evaluation.best_response(game, policy_of_states, 0).value)
    assert one_seat.value > expected[2]


def test_states_for_a_search_are_all_decision_states():
    game = Gops(4)
    batches = [gops_evaluation.states(game, k) for k in range(1, 5)]
    assert sum(len(batch.prize) for batch in batches) == 2800
    assert all((jax.vmap(game.legal)(batch).sum((1, 2)) == 2 * k).all() for k, batch in enumerate(batches, start=1))


def test_mistakes_are_refused():
    game = Gops(3)
    with pytest.raises(ValueError, match="equally many"):
        state_from_cards(game, [1, 2], [1], 1, 0, [2], 0)
    with pytest.raises(ValueError, match="different numbers"):
        state_from_cards(game, [1, 1], [1, 2], 1, 0, [2], 0)
    with pytest.raises(ValueError, match="carry"):
        state_from_cards(Gops(3, "discard"), [1, 2], [1, 2], 1, 3, [2], 0)
    with pytest.raises(ValueError, match="smallest"):
        state_from_cards(Gops(3, prize_order="descending"), [1, 2], [1, 2], 3, 0, [2], 0)
    with pytest.raises(ValueError, match="int32"):
        StateSpace(Gops(10), "win_loss")
    with pytest.raises(ValueError, match="player"):
        gops_evaluation.best_response(game, named("uniform", game), 2)
    with pytest.raises(ValueError, match="sum to 1"):
        gops_evaluation.tabulate(game, lambda states: jnp.ones((len(states.prize), 2, 3)))
    with pytest.raises(ValueError, match="must return"):
        gops_evaluation.tabulate(game, lambda states: jnp.ones((len(states.prize), 2, 4)))
