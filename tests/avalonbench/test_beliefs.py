"""Posteriors over roles against the reference data, brute force in float64, and what symmetry demands."""

import gzip
import itertools
import json
from functools import cache, partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrl_suite.avalonbench import beliefs
from jaxrl_suite.avalonbench.assignments import index_of, possible, tables
from jaxrl_suite.avalonbench.observation_models import (
    FailCounts,
    Proposal,
    Quest,
    SoftmaxValues,
    Vote,
    Votes,
    VotesAndProposals,
    reference_model,
)
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import GOOD_ROLES, mask_to_seats, seats_to_mask

FIVE = Avalon(5)
MODEL = VotesAndProposals(0.9)
BELIEF = jax.jit(beliefs.from_history, static_argnums=(0, 4))
TILT = jax.jit(beliefs.tilt, static_argnums=0)


@cache
def reference():
    path = Path(__file__).parents[1] / "data" / "beliefs.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


def stack(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


@partial(jax.jit, static_argnums=(0, 4))
@partial(jax.vmap, in_axes=(None, 0, 0, None, None))
@partial(jax.vmap, in_axes=(None, None, None, 0, None))
def summarise(game, history, roles, viewer, model):
    belief = beliefs.from_history(game, history, roles, viewer, model)
    probabilities = beliefs.posterior(belief)
    marginals = [f(game, probabilities) for f in (beliefs.p_good, beliefs.p_merlin, beliefs.p_assassin)]
    return probabilities, beliefs.log_evidence(belief), marginals


def check_items(data, items, name, p_fail):
    histories = stack([beliefs.history_from_events(item["history"]) for item in items])
    roles = np.array([item["true_roles"] for item in items], np.int32)
    viewers = np.array(data["viewers"], np.int32)
    result = summarise(FIVE, histories, roles, viewers, reference_model(name, p_fail))
    probabilities, log_evidence, marginals = jax.tree.map(np.asarray, result)
    evidence = np.exp(log_evidence.high.astype(np.float64) + log_evidence.low)
    expected = np.zeros_like(probabilities, np.float64)
    records = [item["models"][name] for item in items]
    for (row, item), viewer in itertools.product(enumerate(records), range(len(viewers))):
        for index, probability in item[viewer]["posterior"]:
            expected[row, viewer, index] = probability
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(evidence, [[r["evidence"] for r in item] for item in records], rtol=1e-6)
    for field, marginal in zip(("p_good", "p_merlin", "p_assassin"), marginals, strict=True):
        np.testing.assert_allclose(marginal, [[r[field] for r in item] for item in records], rtol=0, atol=1e-6)


@pytest.mark.parametrize("p_fail", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("name", ["F", "OUT", "V", "VP"])
def test_reference_posteriors(name, p_fail):
    data = reference()
    items = [item for item in data["items"] if item["p_fail"] == p_fail]
    assert items
    check_items(data, items, name, p_fail)


def test_the_reference_has_no_other_parameters_and_the_same_assignments():
    data = reference()
    assert {item["p_fail"] for item in data["items"]} == {0.5, 0.9, 1.0}
    np.testing.assert_array_equal(tables(FIVE).roles, data["assignments"])
    for item in data["items"][:10]:
        assert index_of(FIVE, jnp.array(item["true_roles"])) == item["true_assignment_index"]


@pytest.mark.parametrize(("players", "count"), [(5, 60), (6, 120), (7, 420), (8, 840), (9, 1512), (10, 5040)])
def test_number_of_assignments(players, count):
    assert tables(Avalon(players)).roles.shape == (count, players)


@pytest.mark.parametrize(
    "game",
    [
        Avalon(5),
        Avalon.preset(7, "percival_morgana_mordred"),
        Avalon.preset(5, "percival_morgana", rules="official"),
        Avalon.preset(7, "mordred", rules="official"),
        Avalon.preset(7, "oberon", rules="official"),
    ],
)
def test_a_viewer_considers_possible_what_shows_it_the_same(game):
    roles = tables(game).roles
    states = jax.vmap(lambda deal: game.start(deal))(jnp.asarray(roles))
    shown = jax.vmap(lambda state: jnp.stack([game.pointed_out(state, i) for i in range(game.num_players)]))(states)
    find = jax.jit(jax.vmap(partial(possible, game), (None, 0)))
    for true in np.random.default_rng(0).integers(0, len(roles), 5):
        found = find(jnp.asarray(roles[true]), jnp.arange(-1, game.num_players))
        assert found[0].all()
        same = (roles == roles[true]) & (np.asarray(shown) == np.asarray(shown)[true])
        np.testing.assert_array_equal(found[1:], same.T)


# Games of random events, on the host.


def random_events(game, rng, quests):
    """Events of a game in which teams, votes and fails are random; the last proposal leads to no quest."""
    events, leader = [], int(rng.integers(game.num_players))
    for quest in range(quests + 1):
        for turn in range(int(rng.integers(1, 5))):
            team = sorted(rng.choice(game.num_players, game.team_sizes[quest], replace=False).tolist())
            votes = rng.integers(0, 2, game.num_players).tolist()
            event = dict(
                type="propose_vote", quest=quest, round=turn, leader=leader, team=team, votes=votes, accepted=0
            )
            events.append(event)
            leader = (leader + 1) % game.num_players
        if quest < quests:
            events[-1]["accepted"] = 1
            fails = int(rng.integers(0, 2))
            events.append(dict(type="quest", quest=quest, team=team, num_fails=fails))
    return events


def log_likelihoods(game, events, model):
    """float64[K] of `VotesAndProposals`, one assignment, event and player at a time."""
    result = np.zeros(len(tables(game).roles))
    teams = [[set(mask_to_seats(m)) for m in row if m] for row in game.teams()]
    for index, roles in enumerate(tables(game).roles):
        good = {seat for seat, role in enumerate(roles) if role in GOOD_ROLES}
        for event in events:
            team = set(event["team"])
            evil = len(team - good)
            if event["type"] == "quest":
                distribution = np.array([1.0])
                for _ in range(evil):
                    distribution = np.convolve(distribution, [1 - model.p_fail, model.p_fail])
                fails = event["num_fails"]
                with np.errstate(divide="ignore"):
                    result[index] += np.log(distribution[fails] if fails <= evil else 0.0)
                continue
            clean = [other for other in teams[event["quest"]] if other <= good]
            dirty = [other for other in teams[event["quest"]] if not other <= good]
            role = roles[event["leader"]]
            aimed, weight = (clean, model.merlin_aims) if role == 0 else (dirty, model.evil_aims)
            if role in (1, 5) or not aimed:
                aimed, weight = teams[event["quest"]], 1.0
            chance = (1 - weight) / len(teams[event["quest"]]) + weight * (team in aimed) / len(aimed)
            result[index] += np.log(chance)
            for seat, vote in enumerate(event["votes"]):
                if roles[seat] == 0:
                    approve = model.merlin_dirty if evil else model.merlin_clean
                elif seat not in good:
                    approve = model.evil_dirty if evil else model.evil_clean
                else:
                    approve = model.member if seat in team else model.outsider
                result[index] += np.log(approve if vote else 1 - approve)
    return result


@pytest.mark.parametrize(
    "game", [Avalon(6), Avalon.preset(7, "percival_morgana", rules="official"), pytest.param(Avalon(10), id="ten")]
)
def test_agrees_with_brute_force_for_more_players(game):
    rng = np.random.default_rng(3)
    events = random_events(game, rng, 3)
    roles = tables(game).roles[rng.integers(0, len(tables(game).roles))]
    viewers = np.arange(-1, game.num_players)
    exact = log_likelihoods(game, events, MODEL)
    history = jax.tree.map(lambda leaf: leaf[None], beliefs.history_from_events(events))
    probabilities, log_evidence, _ = summarise(game, history, roles[None], viewers, MODEL)
    for viewer, row, high, low in zip(viewers, probabilities[0], *(x[0] for x in log_evidence), strict=True):
        allowed = np.asarray(possible(game, jnp.asarray(roles), int(viewer)))
        weights = np.where(allowed, np.exp(exact - exact[allowed].max()), 0.0)
        np.testing.assert_allclose(row, weights / weights.sum() if weights.sum() else weights, rtol=0, atol=1e-6)
        expected = np.log(weights.sum() / allowed.sum()) + exact[allowed].max()
        np.testing.assert_allclose(float(high) + float(low), expected, rtol=0, atol=1e-6)


def test_incremental_updates_agree_with_the_whole_history():
    events = random_events(FIVE, np.random.default_rng(8), 4)
    roles = jnp.array([5, 6, 0, 5, 7])
    belief = beliefs.prior(FIVE, roles, 0, MODEL)
    proposal, vote, quest = (
        jax.jit(f, static_argnums=(0, 1)) for f in (beliefs.update_proposal, beliefs.update_vote, beliefs.update_quest)
    )
    for event in events:
        team, index = jnp.int32(seats_to_mask(event["team"])), jnp.int32(event["quest"])
        if event["type"] == "quest":
            belief = quest(FIVE, MODEL, belief, Quest(index, team, jnp.int32(event["num_fails"])))
        else:
            votes = jnp.int32(seats_to_mask(np.flatnonzero(event["votes"])))
            belief = proposal(FIVE, MODEL, belief, Proposal(index, jnp.int32(event["leader"]), team))
            belief = vote(FIVE, MODEL, belief, Vote(index, team, votes))
    whole = beliefs.from_history(FIVE, beliefs.history_from_events(events), roles, 0, MODEL)
    np.testing.assert_array_equal(belief.log_weight.high, whole.log_weight.high)
    np.testing.assert_allclose(belief.log_weight.low, whole.log_weight.low, rtol=0, atol=1e-9)


@pytest.mark.parametrize("game", [FIVE, Avalon(8), Avalon.preset(6, "percival", rules="official")])
def test_history_of_a_state_is_what_was_seen(game):
    """Plays random games and writes down every public event; after every phase the two histories must agree."""
    legal, apply = jax.jit(game.legal), jax.jit(game.apply)
    read = jax.jit(partial(beliefs.history_of, game))
    for seed in range(4):
        rng = np.random.default_rng(seed)
        state, events = game.init(jax.random.key(seed)), []
        while not state.terminated:
            moves = [rng.choice(np.flatnonzero(row)) if row.any() else 0 for row in np.asarray(legal(state))]
            after = apply(state, jnp.array(moves, jnp.int32))
            quest = int(state.quest)
            if state.phase == 0:
                team = mask_to_seats(game.teams()[quest][moves[state.leader]])
                votes = [0] * game.num_players
                events.append(
                    dict(type="propose_vote", quest=quest, leader=int(state.leader), team=team, votes=votes, accepted=0)
                )
            elif state.phase == 1:
                events[-1].update(votes=moves, accepted=int(after.phase == 2))
            elif state.phase == 2:
                fails = sum(moves[seat] == 0 for seat in mask_to_seats(state.team))
                events.append(dict(type="quest", quest=quest, team=[], num_fails=fails))
            state = after
            expected = beliefs.history_from_events(events)
            expected = expected._replace(num_votes=expected.num_proposals - (state.phase == 1) * (~state.terminated))
            chex.assert_trees_all_equal(read(state), expected)


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(5)), st.integers(0, 2**31), st.integers(-1, 4))
def test_seats_are_only_names(order, seed, viewer):
    rng = np.random.default_rng(seed)
    events = random_events(FIVE, rng, int(rng.integers(0, 4)))
    roles = tables(FIVE).roles[rng.integers(0, 60)]
    moved_roles = np.empty_like(roles)
    moved_roles[list(order)] = roles  # seat i becomes seat order[i]
    moved = []
    for event in events:
        event = dict(event, team=[order[seat] for seat in event["team"]])
        if event["type"] == "propose_vote":
            votes = [0] * 5
            for seat, vote in enumerate(event["votes"]):
                votes[order[seat]] = vote
            event.update(votes=votes, leader=order[event["leader"]])
        moved.append(event)
    histories = stack([beliefs.history_from_events(e) for e in (events, moved)])
    viewers = np.array([viewer, order[viewer] if viewer >= 0 else -1])
    _, evidence, marginals = summarise(FIVE, histories, np.stack([roles, moved_roles]), viewers, MODEL)
    np.testing.assert_allclose(evidence.high[0, 0] + evidence.low[0, 0], evidence.high[1, 1] + evidence.low[1, 1], 1e-6)
    for marginal in marginals:
        np.testing.assert_allclose(marginal[0, 0], marginal[1, 1][np.array(order)], rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(-1, 4), st.floats(0, 4), st.floats(0, 4))
def test_a_tilt_keeps_the_counts_and_what_is_certain(seed, viewer, scale_good, scale_merlin):
    rng = np.random.default_rng(seed)
    roles = jnp.asarray(tables(FIVE).roles[rng.integers(0, 60)])
    events = random_events(FIVE, rng, 1)
    before = BELIEF(FIVE, beliefs.history_from_events(events), roles, viewer, Votes(0.9))
    good, merlin = rng.integers(-2, 3, (2, 5)).astype(np.float32)
    after = beliefs.posterior(TILT(FIVE, before, good, merlin, scale_good, scale_merlin))
    prior = np.asarray(beliefs.posterior(before), np.float64)
    is_good = np.isin(tables(FIVE).roles, GOOD_ROLES)
    score = scale_good * (is_good @ good) + scale_merlin * ((tables(FIVE).roles == 0) @ merlin)
    weights = prior * np.exp(score - score.max())
    if not weights.sum():  # a team without evil for the viewer, and a fail
        assert not np.asarray(after).any()
        return
    np.testing.assert_allclose(after, weights / weights.sum(), rtol=0, atol=3e-6)
    np.testing.assert_allclose(beliefs.p_good(FIVE, after).sum(), 3, rtol=1e-6)
    np.testing.assert_allclose(beliefs.p_merlin(FIVE, after).sum(), 1, rtol=1e-6)
    held = beliefs.p_role(FIVE, after)
    np.testing.assert_allclose(held.sum(0), [1, 0, 0, 0, 0, 2, 1, 1], atol=2e-6)
    np.testing.assert_allclose(held.sum(1), np.ones(5), rtol=1e-6)
    certain = np.asarray(beliefs.p_good(FIVE, jnp.asarray(prior, jnp.float32)))
    for value in (0, 1):
        np.testing.assert_allclose(np.asarray(beliefs.p_good(FIVE, after))[certain == value], value, atol=1e-6)


def test_impossible_events_leave_nothing():
    quest = dict(type="quest", quest=0, team=[0, 1], num_fails=1)
    proposal = dict(type="propose_vote", quest=0, leader=0, team=[0, 1], votes=[1] * 5, accepted=1)
    history = beliefs.history_from_events([proposal, quest])
    belief = beliefs.from_history(FIVE, history, jnp.array([0, 5, 5, 6, 7]), 0, FailCounts())
    assert not np.asarray(beliefs.posterior(belief)).any()
    assert beliefs.log_evidence(belief).high == -np.inf


def test_softmax_values():
    def proposals(game, quest, leader):
        teams = jnp.asarray(game.teams())[quest]
        return -jax.lax.population_count(tables(game).evil[:, None] & teams[None]).astype(jnp.float32)

    def approvals(game, quest, team):
        members = jax.lax.population_count(tables(game).evil & team).astype(jnp.float32)
        return jnp.broadcast_to(1 - members[:, None], (60, 5))

    model = SoftmaxValues(1.0, proposals, approvals, temperature=0.5)
    event = dict(type="propose_vote", quest=0, leader=0, team=[0, 1], votes=[1, 0, 1, 1, 0], accepted=1)
    belief = beliefs.from_history(FIVE, beliefs.history_from_events([event]), jnp.arange(5), -1, model)
    evil = ~np.isin(tables(FIVE).roles, GOOD_ROLES)
    numbers = np.stack([evil[:, list(pair)].sum(1) for pair in itertools.combinations(range(5), 2)], 1)
    likelihood = np.exp(-2.0 * numbers[:, 0]) / np.exp(-2.0 * numbers).sum(1)
    approve = 1 / (1 + np.exp(-2.0 * (1 - numbers[:, 0])))
    likelihood *= approve**3 * (1 - approve) ** 2
    np.testing.assert_allclose(beliefs.posterior(belief), likelihood / likelihood.sum(), atol=1e-6)
    nothing = beliefs.from_history(FIVE, beliefs.history_from_events([event]), jnp.arange(5), -1, SoftmaxValues())
    np.testing.assert_allclose(beliefs.posterior(nothing), np.full(60, 1 / 60), atol=1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FailCounts(1.5), "p_fail"),
        (lambda: Votes(member=1.0), "member"),
        (lambda: VotesAndProposals(evil_aims=1.0), "evil_aims"),
        (lambda: SoftmaxValues(temperature=0), "temperature"),
        (lambda: reference_model("W", 0.9), "F, OUT, V, VP"),
        (lambda: beliefs.history_from_events([dict(type="speech")]), "propose_vote or quest"),
    ],
)
def test_errors_say_the_remedy(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_chances_of_single_votes_multiply_to_that_of_all():
    for team in (0b00011, 0b10110):
        chances = np.asarray(MODEL.approvals(FIVE, jnp.int32(team)), np.float64)
        assert chances.shape == (5, 60)
        for votes in range(32):
            logs = MODEL.vote(FIVE, (), Vote(jnp.int32(0), jnp.int32(team), jnp.int32(votes)))
            approves = ((votes >> np.arange(5)) & 1)[:, None] == 1
            expected = np.log(np.where(approves, chances, 1 - chances)).sum(0)
            np.testing.assert_allclose(np.asarray(logs.high) + np.asarray(logs.low), expected, atol=1e-5)
