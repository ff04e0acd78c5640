"""Views and features: what they say of states, odd where they must be, and the same as text and as weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.envs import Avalon, Gops
from jaxrl_suite.envs.avalon.state import QUEST
from jaxrl_suite.errors import UserError
from jaxrl_suite.sandbox.export import EXPORT
from jaxrl_suite.sandbox.sandbox import Sandbox
from jaxrl_suite.strategist.heuristics.libraries import library
from jaxrl_suite.strategist.heuristics.pool import Pool, compact_choices, export_texts
from jaxrl_suite.strategist.heuristics.views import (
    avalon_view,
    contract,
    example_states,
    example_views,
    gops_view,
    view_of,
)

GOPS, AVALON = Gops(6, objective="points"), Avalon(5)
GAMES = [GOPS, AVALON]


@pytest.fixture(scope="module", params=GAMES, ids=["gops", "avalon"])
def case(request):
    game = request.param
    states = jax.jit(lambda key: example_states(game, key))(jax.random.key(1))
    return game, states, jax.jit(jax.vmap(view_of(game)))(states), library(game)


def test_a_view_of_gops_spells_the_state_out():
    state = GOPS.start()._replace(
        hands=jnp.array([0b100101, 0b010110]), deck=jnp.int32(0b1001), prize=jnp.int32(5), carry=jnp.int32(3)
    )
    view = gops_view(GOPS, state._replace(score=jnp.array([4, 9])))
    np.testing.assert_array_equal(view.hands, [[1, 0, 1, 0, 0, 1], [0, 1, 1, 0, 1, 0]])
    np.testing.assert_array_equal(view.deck, [1, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(view.cards, [1, 2, 3, 4, 5, 6])
    assert [float(x) for x in (view.prize, view.carry, view.rounds_left)] == [5, 3, 3]
    np.testing.assert_array_equal(view.scores, [4, 9])


def test_a_view_of_avalon_spells_the_history_out():
    state = AVALON.start([0, 5, 7, 5, 6], leader=3)
    state = AVALON.vote(AVALON.propose(state, jnp.int32(0b00011)), jnp.int32(0b00001))  # rejected
    state = AVALON.vote(AVALON.propose(state, jnp.int32(0b00110)), jnp.int32(0b01110))  # accepted
    state = AVALON.go_on_quest(state, jnp.int32(0b00010))  # seat 2, evil, fails it
    state = AVALON.propose(state, jnp.int32(0b11001))
    view = avalon_view(AVALON, state)
    np.testing.assert_array_equal(view.evil, [0, 0, 1, 0, 1])
    np.testing.assert_array_equal(view.merlin, [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(view.assassin, [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(view.phase, [0, 1, 0, 0])
    np.testing.assert_array_equal(view.team, [1, 0, 0, 1, 1])
    np.testing.assert_array_equal(view.leader, [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(view.lost, [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(view.fails, [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(view.quest_teams[0], [0, 1, 1, 0, 0])
    assert float(view.quest_teams[1:].sum()) == 0
    np.testing.assert_array_equal(view.voted[:3], [1, 1, 0])
    np.testing.assert_array_equal(view.accepted[:3], [0, 1, 0])
    np.testing.assert_array_equal(view.proposers[:2], [[0, 0, 0, 1, 0], [0, 0, 0, 0, 1]])
    np.testing.assert_array_equal(view.approvals[:2], [[1, 0, 0, 0, 0], [0, 1, 1, 1, 0]])
    lib = library(AVALON)
    found = dict(zip(lib.names, map(float, lib.features(view)), strict=True))
    assert (found["quests_lost"], found["evil_on_team"], found["clean_team"]) == (1, 1, 0)
    assert (found["evil_exposed"], found["fails_seen"], found["merlin_on_team"]) == (0.5, 1, 1)
    assert found["good_suspected"] == pytest.approx(1 / 3)
    # the first team was clean and only Merlin approved it; the second was not, and Merlin rejected it
    assert found["merlin_votes_right"] == 1
    assert found["good_votes_right"] == 0


def test_examples_show_every_stage_and_no_end(case):
    game, states, view, _ = case
    assert not np.asarray(states.terminated).any()
    if game is GOPS:
        assert set(np.asarray(view.rounds_left)) == {1, 2, 3, 4, 5, 6}
        assert 0.2 < (np.asarray(view.prize) == 0).mean() < 0.6
        assert (np.asarray(view.carry) > 0).any()
    else:
        assert (np.asarray(view.phase).sum(0) > 0).all()
        assert set(np.asarray(view.quest)) >= {0, 1, 2, 3}
    other = jax.tree.leaves(jax.jit(lambda key: example_views(game, key))(jax.random.key(2)))
    pairs = list(zip(jax.tree.map(np.asarray, jax.tree.leaves(view)), other, strict=True))
    for a, b in pairs:
        np.testing.assert_array_equal(a[:24], b[:24])  # whatever the key
    assert any((a[24:] != np.asarray(b[24:])).any() for a, b in pairs)


def test_features_of_gops_change_sign_when_the_players_swap(case):
    game, _, view, lib = case
    if game is not GOPS:
        pytest.skip("of GOPS")
    features = jax.jit(jax.vmap(lib.features))
    swapped = view._replace(hands=view.hands[:, ::-1], scores=view.scores[:, ::-1])
    np.testing.assert_allclose(features(view), -features(swapped), atol=1e-5)
    assert (np.asarray(features(view)).std(0) > 0.1).all()


def test_features_of_gops_by_hand():
    state = GOPS.start()._replace(
        hands=jnp.array([0b100110, 0b010101]), deck=jnp.int32(0b001010), prize=jnp.int32(6), carry=jnp.int32(1)
    )  # 2 3 6 against 1 3 5, prize 6 with 1 carried, 2 and 4 to come
    lib = library(GOPS)
    found = dict(zip(lib.names, map(float, lib.features(gops_view(GOPS, state))), strict=True))
    assert found["hand_sum_difference"] == 11 - 9
    assert found["pairwise_advantage"] == pytest.approx((5 - 3) / 9)  # of nine pairs one is equal
    assert found["ranked_prizes"] == 6 + 2  # 6 beats 5 for prize 6, 3 meets 3 for 4, 2 beats 1 for 2
    assert found["ranked_matches"] == 2
    assert found["sure_wins"] == 1
    assert found["pot_best_card"] == 7
    assert found["remaining_value_advantage"] == pytest.approx((6 + 4 + 1 + 2) * 2 / 20)
    assert found["lowest_card_advantage"] == 1
    assert found["even_cards"] == 2


def test_features_of_avalon_do_not_depend_on_seats_but_for_one(case):
    game, _, view, lib = case
    if game is not AVALON:
        pytest.skip("of Avalon")
    order = np.array([2, 4, 1, 0, 3])
    seats = {name for name, leaf in view._asdict().items() if leaf.shape[-1] == 5 and name not in _BY_QUEST}
    turned = view._replace(**{name: getattr(view, name)[..., order] for name in seats})
    features = jax.jit(jax.vmap(lib.features))
    kept = np.array([name != "leader_in_even_seat" for name in lib.names])
    np.testing.assert_allclose(features(view)[:, kept], features(turned)[:, kept], atol=1e-5)
    assert (np.asarray(features(view))[:, ~kept] != np.asarray(features(turned))[:, ~kept]).any()


_BY_QUEST = ("won", "lost", "fails", "team_sizes", "fails_needed")


def test_text_and_weights_are_the_same_heuristic(case):
    _, _, view, lib = case
    rng = np.random.default_rng(0)
    for weights in (rng.normal(size=lib.size), np.array(lib.seed_weights), np.zeros(lib.size)):
        space = {"jnp": jnp, "nn": jax.nn}
        exec(lib.render(weights), space)
        values, named = jax.jit(jax.vmap(space[lib.entry]))(view)
        compact = jax.jit(jax.vmap(lib.evaluate, (None, 0)))(jnp.asarray(weights, jnp.float32), view)
        np.testing.assert_allclose(values, compact, atol=1e-4)
        assert set(named) == {name for name, weight in zip(lib.names, weights, strict=True) if weight}


def test_through_the_sandbox_it_still_is(case):
    """And a product of matrices passes, which XLA would hand to a library that the sandbox stops."""
    game, _, view, lib = case
    try:
        sandbox = Sandbox(EXPORT, workers=1)
    except UserError as error:
        pytest.skip(str(error))
    weights = np.random.default_rng(1).normal(size=lib.size)
    product = "view.proposals @ view.evil" if game is AVALON else "view.hands @ view.cards"
    other = f"""
def evaluate_state(view):
    total = jnp.sum({product}) + jnp.sum(jnp.outer({product}, {product}))
    return jnp.full({game.num_players}, total), {{"total": total}}
"""
    with sandbox:
        reports = export_texts(game, sandbox, [lib.render(weights), other, "def evaluate_state(view): return view"])
    assert [report.function is not None for report in reports] == [True, True, False], reports
    assert reports[2].feedback
    pool = Pool(lib, (reports[0].function.call_one,))
    choice = compact_choices([weights])
    member = choice._replace(member=np.array([1], np.int32))

    def values(choice):
        one = jax.tree.map(lambda leaf: leaf[0], choice)
        return jax.jit(jax.vmap(lambda view: pool.values(one, view)))(view)

    np.testing.assert_allclose(values(choice), values(member), atol=1e-4)
    named = reports[0].function.call_with_auxiliary(view)[1]
    features = jax.jit(jax.vmap(lib.features))(view)
    for name, column in named.items():
        np.testing.assert_allclose(column, features[:, lib.names.index(name)], atol=1e-5)


def test_the_contract_names_every_field(case):
    game, _, view, _ = case
    text = contract(game)
    for name in view._fields:
        assert f"view.{name}" in text
    assert "evaluate_state(view)" in text


def test_summaries_say_what_each_feature_is(case):
    lib = case[3]
    assert len(set(lib.summaries)) == len(set(lib.names)) == lib.size >= 15
    assert all(20 < len(summary) < 130 for summary in lib.summaries)
    assert sum(weight != 0 for weight in lib.seed_weights) in (1, 2)


def test_quest_teams_are_those_that_went(case):
    """Against the history itself, in plain numpy."""
    game, states, view, _ = case
    if game is not AVALON:
        pytest.skip("of Avalon")
    for row in range(len(view.quest)):
        state = jax.tree.map(lambda leaf, row=row: np.asarray(leaf)[row], states)
        teams = np.zeros((5, 5))
        for index in range(int(state.num_proposals)):
            quest = int(state.proposals[index] >> 24 & 7)
            pending = int(state.phase) == QUEST and quest == int(state.quest) and index == int(state.num_proposals) - 1
            if state.proposals[index] >> 27 & 1 and not pending:
                teams[quest] = state.proposals[index] >> np.arange(5) & 1
        np.testing.assert_array_equal(view.quest_teams[row], teams)


def test_refuses_other_games_and_weights():
    with pytest.raises(UserError, match="GOPS and Avalon"):
        view_of(object())
    with pytest.raises(UserError, match="finite"):
        library(GOPS).render([1.0])
    with pytest.raises(UserError, match="finite"):
        library(GOPS).render([float("nan")] * library(GOPS).size)
    with pytest.raises(UserError, match="at least 2"):
        example_views(GOPS, jax.random.key(0), 1)
