"""Avalon: the contract, invariants of random games, the two views of one game, logs and pictures."""

import dataclasses
import itertools
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_suite.envs import Avalon, AvalonTurns, check_env
from jaxrl_suite.envs.avalon import render as avalon_render
from jaxrl_suite.envs.avalon import roles as tables
from jaxrl_suite.envs.avalon import view as avalon_view
from jaxrl_suite.envs.avalon.log import GameLog, action_of_move
from jaxrl_suite.envs.avalon.state import ASSASSINATION, QUEST, TEAM, VOTE

KEY = jax.random.key(0)
RULES = ("avalonbench", "official")
INIT = jax.jit(lambda game, key: game.init(key), static_argnums=0)
APPLY = jax.jit(lambda game, state, action: game.apply(state, action), static_argnums=0)
LEGAL = jax.jit(lambda game, state: game.legal(state), static_argnums=0)
OBSERVE = jax.jit(lambda game, state, player: game.observe(state, player), static_argnums=0)
SCRAMBLE = jax.jit(lambda game, state, player, key: game.scramble(state, player, key), static_argnums=0)
KNOWLEDGE = jax.jit(lambda game, state: game.knowledge(state), static_argnums=0)
TURN_START = jax.jit(lambda turns, table: turns.of_table(table), static_argnums=0)
WHO = jax.jit(lambda turns, state: turns.current_player(state), static_argnums=0)


def fits(n, preset):
    evil = set(tables.PRESETS[preset]) & {"morgana", "mordred", "oberon"}
    return len(evil) < tables.NUM_EVIL[n]


EVERY = [(n, preset, rules) for n in range(5, 11) for preset in tables.PRESETS for rules in RULES if fits(n, preset)]
# every size, preset and rule set once or more
SOME = {
    (5, "base", "avalonbench"),
    (5, "percival_morgana", "official"),
    (6, "oberon", "official"),
    (6, "no_merlin", "avalonbench"),
    (7, "percival_morgana_mordred", "avalonbench"),
    (8, "percival_morgana_oberon", "official"),
    (8, "percival", "avalonbench"),
    (9, "mordred", "official"),
    (10, "all", "official"),
}


@pytest.mark.parametrize(
    ("n", "preset", "rules"), [pytest.param(*case, marks=[] if case in SOME else [pytest.mark.tier2]) for case in EVERY]
)
def test_keeps_the_contract(n, preset, rules):
    check_env(Avalon.preset(n, preset, rules), seed=n)


@pytest.mark.parametrize(
    ("n", "preset", "rules"),
    [
        (5, "base", "avalonbench"),
        pytest.param(7, "percival_morgana_oberon", "official", marks=pytest.mark.tier2),
        pytest.param(10, "all", "official", marks=pytest.mark.tier2),
    ],
)
def test_one_player_at_a_time_keeps_the_contract(n, preset, rules):
    check_env(AvalonTurns(Avalon.preset(n, preset, rules)), seed=n)


def random_action(game, state, rng, approve=0.5):
    """A legal action as NumPy; `approve` is the probability of a 1 in votes where both are legal."""
    legal = np.asarray(LEGAL(game, state))
    action = np.zeros(game.num_players, np.int32)
    for seat in np.flatnonzero(legal.any(axis=1)):
        options = np.flatnonzero(legal[seat])
        if int(state.phase) in (VOTE, QUEST) and len(options) == 2:
            action[seat] = rng.random() < approve
        else:
            action[seat] = rng.choice(options)
    return action


def random_game(game, seed, approve=0.5):
    rng = np.random.default_rng(seed)
    states, actions = [jax.device_get(INIT(game, jax.random.key(seed)))], []
    while not states[-1].terminated:
        actions.append(random_action(game, states[-1], rng, approve))
        states.append(jax.device_get(APPLY(game, states[-1], actions[-1])))
    return states, actions


GAMES = st.sampled_from(
    [
        Avalon(5),
        Avalon.preset(5, "percival_morgana", "official"),
        Avalon.preset(7, "percival_morgana_oberon", "official"),
        Avalon.preset(10, "all"),
    ]
)
SEEDS = st.integers(0, 2**31 - 1)
APPROVE = st.sampled_from([0.1, 0.5, 0.9])


@settings(max_examples=40, deadline=None)
@given(GAMES, SEEDS, APPROVE)
def test_random_games_follow_the_rules(game, seed, approve):
    """The rules once more, with plain lists, beside each game."""
    states, actions = random_game(game, seed, approve)
    n, roles = game.num_players, np.asarray(states[0].roles)
    evil = {seat for seat in range(n) if roles[seat] in tables.EVIL_ROLES}
    assert sorted(roles) == list(game.roles)
    assert len(evil) == game.num_evil
    leader, quest, rejected, results, team, history = int(states[0].leader), 0, 0, [], [], []
    outcome = None
    for before, action, after in zip(states[:-1], actions, states[1:], strict=True):
        assert outcome is None
        assert (int(before.leader), int(before.round)) == (leader, rejected)
        assert int(before.quest) == min(quest, 4)
        if before.phase == TEAM:
            team = tables.mask_to_seats(game.teams()[quest, action[leader]])
            assert len(team) == game.team_sizes[quest]
            proposer, leader = leader, (leader + 1) % n
        elif before.phase == VOTE:
            forced = rejected == 4 and game.rules == "avalonbench"
            accepted = bool(2 * action.sum() > n or forced)
            history.append(
                (proposer, tables.seats_to_mask(team), tables.seats_to_mask(np.flatnonzero(action)), quest, accepted)
            )
            if not accepted and rejected == 4:
                outcome = "evil"
            else:
                rejected = 0 if accepted else rejected + 1
        elif before.phase == QUEST:
            fails = sum(action[seat] == 0 for seat in team)
            if game.rules == "official":
                assert fails <= len(evil & set(team))
            results.append(int(fails < game.fails_needed[quest]))
            assert int(after.fails[quest]) == fails
            quest += 1
            outcome = "evil" if results.count(0) == 3 else None
        else:
            assert results.count(1) == 3
            assassin = list(roles).index(tables.ASSASSIN)
            target = int(action[assassin])
            if game.rules == "official":
                assert target != assassin
                assert target not in evil or roles[target] == tables.OBERON
            outcome = "evil" if roles[target] == tables.MERLIN else "good"
        np.testing.assert_array_equal(after.roles, roles)
        assert [result for result in after.results if result >= 0] == results
        count = int(after.num_proposals)
        fields = ("leader", "team", "votes", "quest", "accepted")
        recorded = zip(
            *(np.asarray(getattr(after, f"proposal_{name}"))[:count].tolist() for name in fields), strict=True
        )
        assert list(recorded) == history
        assert not np.asarray(after.proposals)[count:].any()
        assert bool(after.terminated) == (outcome is not None)
        assert bool(after.good_victory) == (outcome == "good")
        wins = [(seat in evil) == (outcome == "evil") for seat in range(n)]
        np.testing.assert_array_equal(after.reward, np.where(wins, 1, -1) if outcome else np.zeros(n))
    absorbed = APPLY(game, states[-1], actions[-1])
    for old, new in zip(states[-1]._replace(reward=np.zeros(n)), absorbed, strict=True):
        np.testing.assert_array_equal(old, new)
    assert len(actions) <= game.max_turns


@settings(max_examples=15, deadline=None)
@given(GAMES, SEEDS, APPROVE)
def test_both_views_are_the_same_game(game, seed, approve):
    states, actions = random_game(game, seed, approve)
    turns = AvalonTurns(game)
    state = TURN_START(turns, states[0])
    for before, action, after in zip(states[:-1], actions, states[1:], strict=True):
        public = [OBSERVE(turns, state, player) for player in range(game.num_players)]
        acting = np.flatnonzero(np.asarray(LEGAL(game, before)).any(axis=1))
        for committed, seat in enumerate(acting):
            assert int(WHO(turns, state)) == seat
            legal = np.asarray(LEGAL(turns, state))
            np.testing.assert_array_equal(legal.any(axis=1), np.arange(game.num_players) == seat)
            np.testing.assert_array_equal(legal[seat], LEGAL(game, before)[seat])
            if committed:  # nothing but the count of commits is seen by those who have not committed yet
                seen = OBSERVE(turns, state, int(acting[-1]))
                np.testing.assert_array_equal(seen[:-1], public[acting[-1]][:-1])
                assert float(seen[-1]) == pytest.approx(committed / game.num_players)
            others = np.where(np.arange(game.num_players) == seat, action, 7)  # must not matter
            state = APPLY(turns, state, others.astype(np.int32))
        for old, new in zip(after._replace(reward=0 * after.reward), state.table, strict=True):
            np.testing.assert_array_equal(old, new)
        np.testing.assert_array_equal(state.reward, after.reward)
        assert not state.acted
        assert not state.votes
    assert bool(state.terminated)
    assert int(WHO(turns, state)) == game.num_players


@settings(max_examples=15, deadline=None)
@given(GAMES, SEEDS)
def test_a_log_replays_to_the_same_states(game, seed):
    states, actions = random_game(game, seed)
    log = GameLog.loads(GameLog.of_play(game, states, actions).dumps())
    assert log.game == game
    for old, new in zip(states, log.replay(), strict=True):
        for a, b in zip(old, new, strict=True):
            np.testing.assert_array_equal(a, b)
    for state, action, other in zip(states[:-1], actions, log.actions(), strict=True):
        acts = np.asarray(LEGAL(game, state)).any(axis=1)
        np.testing.assert_array_equal(action[acts], other[acts])


def test_logs_refuse_what_cannot_be():
    states, actions = random_game(Avalon(5, rules="official"), 3)
    log = GameLog.of_play(Avalon(5, rules="official"), states, actions)
    for text, remedy in (
        ("", "GameLog.dumps writes"),
        ("1", "GameLog.dumps writes"),
        ("{}", "GameLog.dumps writes"),
        (log.dumps().replace("avalon 1", "avalon 9"), "unknown format"),
        (log.dumps().replace('"official"', '"house"'), "rules must be one of"),
    ):
        with pytest.raises(ValueError, match=remedy):
            GameLog.loads(text)
    with pytest.raises(ValueError, match="the roles must be"):
        dataclasses.replace(log, roles=(5, 5, 5, 6, 7))
    with pytest.raises(ValueError, match="leader must be 0 to 4"):
        dataclasses.replace(log, leader=5)
    team = log.moves[0]["team"]
    for move, remedy in (
        ({"phase": 1, "votes": [1] * 5}, "the game is in phase 0"),
        ({"phase": 0, "leader": (log.leader + 1) % 5, "team": team}, "the leader is"),
        ({"phase": 0, "leader": log.leader, "team": [0, 0]}, "takes 2 different players"),
    ):
        with pytest.raises(ValueError, match=f"move 0.*{remedy}"):
            dataclasses.replace(log, moves=(move,)).replay()
    with pytest.raises(ValueError, match="move 0, 3, is not possible"):
        dataclasses.replace(log, moves=(3,)).replay()
    with pytest.raises(ValueError, match="the game is over"):
        dataclasses.replace(log, moves=(*log.moves, log.moves[0])).replay()
    good = int(np.flatnonzero(np.isin(states[0].roles, tables.GOOD_ROLES))[0])
    start = APPLY(log.game, log.game.start(log.roles, good), np.zeros(5, np.int32))
    quest = jax.device_get(APPLY(log.game, start, np.ones(5, np.int32)))
    seats = tables.mask_to_seats(quest.team)
    votes = [0 if log.roles[seat] in tables.GOOD_ROLES else 1 for seat in seats]
    with pytest.raises(ValueError, match="may not do that"):
        action_of_move(log.game, quest, {"phase": 2, "team": seats, "votes": votes})


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("preset", ["base", "percival_morgana", "percival_morgana_oberon", "percival_morgana_mordred"])
def test_knowledge_is_what_all_indistinguishable_deals_share(rules, preset):
    """What `scramble` redraws is never told by an observation, and all that is common to those deals is known."""
    game = Avalon.preset(7, preset, rules)
    state = INIT(game, KEY)
    known = np.asarray(KNOWLEDGE(game, state))
    good = np.asarray(jnp.isin(state.roles, jnp.array(tables.GOOD_ROLES))).astype(int)
    assert ((known == good[None]) | (known == -1)).all()
    for player in range(7):
        keys = jax.random.split(jax.random.fold_in(KEY, player), 256)
        deals = jax.vmap(SCRAMBLE, (None, None, None, 0))(game, state, player, keys)
        roles = np.asarray(deals.roles)
        assert (np.sort(roles, axis=1) == np.array(game.roles)[None]).all()
        sides = np.isin(roles, tables.GOOD_ROLES)
        shared = np.where(sides.all(axis=0), 1, np.where(~sides.any(axis=0), 0, -1))
        np.testing.assert_array_equal(known[player], shared)
        seen = jax.vmap(OBSERVE, (None, 0, None))(game, deals, player)
        assert (np.asarray(seen) == np.asarray(seen)[:1]).all()
        if roles[0, player] == tables.ASSASSIN:
            options = jax.vmap(LEGAL, (None, 0))(game, deals._replace(phase=jnp.full((256,), ASSASSINATION)))[:, player]
            assert (np.asarray(options) == np.asarray(options)[:1]).all()
            assert options[0].any()


def test_deals_are_uniform():
    game, batch = Avalon(5), 120_000
    states = jax.jit(jax.vmap(game.init))(jax.random.split(KEY, batch))
    table = tables.assignments(game.roles)
    index = {tuple(row): number for number, row in enumerate(table.tolist())}
    counts = Counter(
        (index[tuple(row)], lead) for row, lead in zip(states.roles.tolist(), states.leader.tolist(), strict=True)
    )
    assert len(counts) == 300
    chi_square = sum((count - batch / 300) ** 2 for count in counts.values()) / (batch / 300)
    assert abs(chi_square - 299) < 4.5 * math.sqrt(2 * 299)


@pytest.mark.parametrize(
    ("n", "preset", "number"), [(5, "base", 60), (5, "percival_morgana", 120), (7, "base", 420), (10, "base", 5040)]
)
def test_lists_every_assignment_once_in_order(n, preset, number):
    roles = Avalon.preset(n, preset).roles
    table = tables.assignments(roles)
    assert table.shape == (number, n)
    rows = list(map(tuple, table.tolist()))
    assert rows == sorted(set(rows))
    assert all(tuple(sorted(row)) == roles for row in rows)
    if n < 7:
        assert rows == sorted(set(itertools.permutations(roles)))
    assert (
        tables.encode_roles(table.astype(np.int32))[:, None] == tables.encode_roles(table[:1].astype(np.int32))
    ).sum() == 1


def test_start_deals_what_it_is_told():
    game = Avalon.preset(6, "percival_morgana")
    roles = np.array([7, 5, 0, 2, 1, 5])
    state = game.start(roles, 4)
    np.testing.assert_array_equal(state.roles, roles)
    assert int(state.leader) == 4
    assert (int(state.evil), int(state.seats_of(tables.SERVANT))) == (0b001001, 0b100010)
    other = game.with_roles(state, jnp.array(game.roles))
    assert other.roles.tolist() == list(game.roles)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    np.testing.assert_array_equal(batch.roles, np.stack([roles, roles]))
    assert batch.results.shape == batch.fails.shape == (2, 5)
    assert batch.proposal_accepted.shape == (2, 25)


def test_observation_is_laid_out_as_documented():
    game = Avalon.preset(5, "percival_morgana", "official")
    state = APPLY(game, game.start([5, 0, 7, 1, 2], 1), np.zeros(5, np.int32))  # player 1 proposes players 0 and 1
    state = APPLY(game, state, np.array([1, 1, 0, 1, 0]))
    layout = avalon_view.observation_layout(game)
    seen = np.asarray(OBSERVE(game, state, 3))
    assert seen.shape == (layout["proposals"].stop,)
    part = {name: seen[place].tolist() for name, place in layout.items()}
    assert part["role"].index(1) == tables.PERCIVAL
    assert part["good"] == [1, 0, 0, 0, 0]
    assert part["candidates"] == [0, 1, 0, 1, 0]  # players 4 and 1, counted from player 3
    assert part["team"] == [0, 0, 1, 1, 0]
    assert part["leader"] == [0, 0, 0, 0, 1]
    assert part["acts"] == [0]
    first = seen[layout["proposals"]][:17].tolist()
    assert first == [0, 0, 0, 1, 0, *part["team"], 1, 0, 1, 1, 0, pytest.approx(0.2), 1]
    assert not seen[layout["proposals"]][17:].any()
    assert OBSERVE(game, state, 0)[layout["acts"]] == 1


@pytest.mark.parametrize(
    ("make", "remedy"),
    [
        (lambda: Avalon(4), "num_players must be 5 to 10, got 4"),
        (lambda: Avalon(5, rules="house"), "rules must be one of avalonbench, official"),
        (lambda: Avalon(5, morgana=True, mordred=True), "beside the Assassin take at most 1 of"),
        (lambda: Avalon.preset(6, "all"), "6 players have 2 evil seats, but 4 evil roles"),
        (lambda: Avalon.preset(6, "everyone"), "the presets are base"),
        (lambda: tables.role_set(5, ("merlin",)), "every game has an Assassin"),
        (lambda: tables.role_set(5, ("merlin", "assasin")), "did you mean 'assassin'"),
        (lambda: tables.role_set(5, ("minion", "assassin")), "fill the seats that are left"),
        (lambda: tables.role_set(5, ("merlin", "merlin", "assassin")), "at most once"),
        (lambda: Avalon(5).start([0, 5, 5, 6, 6]), r"must be \[0, 5, 5, 6, 7\] in some order"),
        (lambda: Avalon.of_roles([0, 5, 5, 6, 6]), "every game has an Assassin"),
        (lambda: Avalon.of_roles([0, 5, 5, 6, 9]), "9 is no role; the roles are 0 merlin"),
        (lambda: Avalon.of_roles([0, 5, 6, 6, 7]), "must be 1 merlin, 2 servant, 1 minion, 1 assassin"),
    ],
)
def test_refuses_impossible_games(make, remedy):
    with pytest.raises(ValueError, match=remedy):
        make()


def test_pictures_show_the_facts():
    game = Avalon.preset(5, "percival_morgana", "official")
    state = APPLY(game, game.start([5, 0, 7, 1, 2], 1), np.zeros(5, np.int32))
    voted = APPLY(game, state, np.array([1, 1, 0, 1, 0]))
    assert avalon_render.text(game, voted, player=3).splitlines() == [
        "Avalon, 5 players: players 0, 1 are on quest 1",
        "  quests  2  3  2  3  3",
        "   * player 0  ?                 approved",
        "  L* player 1  Merlin?           approved",
        "     player 2  ?                 rejected",
        "     player 3  Percival          approved",
        "     player 4  Merlin?           rejected",
    ]
    assert "Merlin?" not in avalon_render.text(game, voted)
    hidden, shown = avalon_render.svg(game, voted, player=0), avalon_render.svg(game, voted)
    assert "Assassin" in shown
    assert "Assassin" not in hidden
    states, _ = random_game(game, 5)
    picture = avalon_render.svg_game(game, states[-1])
    assert picture.count(">L</text>") == int(states[-1].num_proposals)
    assert f"{'good' if states[-1].good_victory else 'evil'} wins" in picture.split("</title>")[0]
