"""The naive bots against their rules written as loops over sets, and against the statistics of the original bots."""

import dataclasses
import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.avalonbench import belief_metrics, beliefs, bot_games, driver
from jaxrl_suite.avalonbench.assignments import tables
from jaxrl_suite.avalonbench.bot_games import play_bots, rollout
from jaxrl_suite.avalonbench.bot_model import BotPolicies
from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.avalonbench.game_records import GameRecorder
from jaxrl_suite.avalonbench.observation_models import FailCounts, Proposal, Quest, Vote
from jaxrl_suite.avalonbench.player import BotPlayer
from jaxrl_suite.avalonbench.word_sets import draw_below, pick
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import GOOD_ROLES, encode_roles, mask_to_seats, seats_to_mask

ROUNDING = 1e-6


class Servant:
    """The published bookkeeping, in floats and frozensets: the oracle."""

    def __init__(self, game, seat):
        self.game, self.largest = game, None
        others = [other for other in range(game.num_players) if other != seat]
        self.sides = [frozenset(evil) for evil in itertools.combinations(others, game.num_evil)]
        self.weights = np.full(len(self.sides), 1 / len(self.sides))
        self.prefer(0)

    def prefer(self, quest):
        teams = [
            frozenset(t) for t in itertools.combinations(range(self.game.num_players), self.game.team_sizes[quest])
        ]
        scores = np.array([sum(w for w, s in zip(self.weights, self.sides, strict=True) if not s & t) for t in teams])
        best = [t for t, score in zip(teams, scores, strict=True) if score > scores.max() - ROUNDING]
        if len(best) > 1 and self.largest is not None:
            within = [t for t in best if t <= self.largest]
            around = [t for t in best if t >= self.largest]
            best = within or around or best
        self.preferred = set(best)

    def observe(self, quest, team, fails):
        self.weights = np.array(
            [w if len(s & team) >= fails else 0.0 for w, s in zip(self.weights, self.sides, strict=True)]
        )
        total = self.weights.sum()
        self.weights = self.weights / total if total > 0 else np.full(len(self.sides), 0.25)
        if fails == 0 and (self.largest is None or len(team) > len(self.largest)):
            self.largest = team
        self.prefer(min(quest + 1, 4))


def unpack(words):
    return [32 * n + bit for n, word in enumerate(words) for bit in range(32) if int(word) >> bit & 1]


def random_play(game, rng, truthful):
    """Teams and fails of up to four quests; if `truthful` the fails come from evil members of one hidden side."""
    evil = frozenset(rng.choice(game.num_players, game.num_evil, replace=False).tolist())
    for quest in range(4):
        team = frozenset(rng.choice(game.num_players, game.team_sizes[quest], replace=False).tolist())
        most = len(team & evil) if truthful else len(team)
        yield quest, team, int(rng.integers(0, most + 1)), evil


def masks_of(game, rng, evil):
    """Roles in which `evil` are the evil seats."""
    good = [role for role in game.roles if role in GOOD_ROLES]
    bad = [role for role in game.roles if role not in GOOD_ROLES]
    roles = np.zeros(game.num_players, np.int32)
    roles[sorted(evil)] = rng.permutation(bad)
    roles[[seat for seat in range(game.num_players) if seat not in evil]] = rng.permutation(good)
    return roles


@pytest.mark.parametrize("players", [5, 6, 7, 8])
def test_naive_bots_do_what_their_rules_say(players):
    game = Avalon(players)
    bots = Bots(game)
    remember, proposals = jax.jit(bots.remember), jax.jit(bots.proposals)
    vote, passes = jax.jit(bots.vote), jax.jit(bots.passes)
    for seed in range(12 if players == 5 else 4):
        rng = np.random.default_rng(seed)
        memory = bots.init()
        servants = [Servant(game, seat) for seat in range(players)]
        for quest, team, fails, evil in random_play(game, rng, truthful=seed % 2 == 0):
            roles = masks_of(game, rng, evil)
            deal, needed = jnp.int32(encode_roles(roles)), game.fails_needed[quest]
            teams = [frozenset(mask_to_seats(mask)) for mask in game.teams()[quest] if mask]
            for seat, role in enumerate(roles):
                wanted = servants[seat].preferred
                if role == 0:
                    wanted = {t for t in teams if seat in t and not t & evil}
                elif seat in evil:
                    wanted = {t for t in teams if seat in t and len(t & evil) == needed}
                choices = unpack(proposals(deal, jnp.int32(seat), jnp.int32(quest), memory))
                assert {teams[index] for index in choices} == wanted
            for index in rng.choice(len(teams), 5):
                t = teams[index]
                mask = jnp.int32(seats_to_mask(t))
                votes = vote(jnp.uint32(0), deal, jnp.int32(quest), jnp.int32(index), mask, memory)
                expected = [
                    seat
                    for seat, role in enumerate(roles)
                    if (len(t & evil) >= needed if seat in evil else not t & evil if role == 0 else None)
                    or (role == 5 and t in servants[seat].preferred)
                ]
                assert mask_to_seats(votes) == expected
                passed = set(mask_to_seats(passes(deal, jnp.int32(quest), mask)))
                for seat in t:
                    number = len(t & evil)
                    if seat not in evil or number < needed:
                        fails_it = False
                    elif roles[seat] == 7 or number == needed:
                        fails_it = True
                    else:
                        fails_it = not (len(evil) == 2 and needed == 1)
                    assert (seat not in passed) == fails_it
            memory = remember(memory, jnp.int32(quest), jnp.int32(seats_to_mask(team)), jnp.int32(fails))
            for seat, servant in enumerate(servants):
                servant.observe(quest, team, fails)
                possible = {frozenset(mask_to_seats(bots.tables.sides[i])) for i in unpack(memory.support[seat])}
                assert possible == {s for s, w in zip(servant.sides, servant.weights, strict=True) if w > 0}
                following = [frozenset(mask_to_seats(mask)) for mask in game.teams()[quest + 1] if mask]
                assert {following[index] for index in unpack(memory.preferred[seat])} == servant.preferred


def test_first_preference_is_every_team_with_oneself():
    memory = Bots(Avalon(5)).init()
    pairs = list(itertools.combinations(range(5), 2))
    for seat in range(5):
        assert [pairs[index] for index in unpack(memory.preferred[seat])] == [pair for pair in pairs if seat in pair]


def test_draws_are_uniform():
    words = jax.random.bits(jax.random.key(0), (60_000,), jnp.uint32)
    drawn = np.asarray(jax.vmap(partial(draw_below, bound=jnp.int32(6)))(words))
    np.testing.assert_allclose(np.bincount(drawn) / 60_000, np.full(6, 1 / 6), atol=0.01)
    elements = [1, 5, 31, 32, 40, 95]
    masks = np.zeros(3, np.uint32)
    for element in elements:
        masks[element // 32] |= np.uint32(1 << (element % 32))
    chosen = np.asarray(jax.vmap(lambda word: pick(tuple(jnp.asarray(masks.view(np.int32))), word))(words))
    found, counts = np.unique(chosen, return_counts=True)
    assert found.tolist() == elements
    np.testing.assert_allclose(counts / 60_000, np.full(6, 1 / 6), atol=0.01)


CASES = [
    (Avalon(5), "naive", "naive"),
    (Avalon(5), "random", "random"),
    pytest.param(Avalon(5), "naive", "random", marks=pytest.mark.tier2),
    pytest.param(Avalon(5), "random", "naive", marks=pytest.mark.tier2),
    pytest.param(Avalon(7), "naive", "naive", marks=pytest.mark.tier2),
    (Avalon.preset(6, "percival_morgana", rules="official"), "naive", "naive"),
    (Avalon.preset(5, "oberon", rules="official"), "random", "random"),
]


@dataclasses.dataclass(frozen=True)
class SameWords(BotPlayer):
    """The bots with the random words that `play_bots` gives them."""

    def act(self, params, keys, states, memory):
        return jax.vmap(self.bots.actions)(jax.random.key_data(keys), states, memory), memory

    def act_key(self, stream, state, turn):
        return jax.random.fold_in(stream, 2 * (state.num_proposals + (state.phase < 2)))


@partial(jax.jit, static_argnums=0)
def driven(bots, keys):
    """The games of `play_bots`, one a lane, by the driver; what is recorded is whether every action was legal."""
    game = bots.game

    def add(legal, turn):
        allowed = jax.vmap(game.legal)(turn.before)
        chosen = jnp.take_along_axis(allowed, turn.actions[..., None], axis=2)[..., 0]
        return legal & (~turn.played | jnp.all(chosen | ~jnp.any(allowed, axis=2), axis=1))

    tables = jax.vmap(lambda key: bot_games.deal_of(bots, key))(keys)
    states = jax.vmap(lambda table: game.start(leader=table.leader)._replace(deal=table.deal))(tables)
    return driver.play(
        game, [SameWords(bots)] * game.num_players, keys, states=states, fresh=True,
        streams=[jax.vmap(bot_games._stream)(keys)], recorder=GameRecorder(jnp.ones(len(keys), bool), add),
    )  # fmt: skip


@pytest.mark.parametrize(("game", "good", "evil"), CASES)
def test_fast_games_are_the_games_rules(game, good, evil):
    """The same random words through `play_bots` and through the driver give the same games."""
    bots, count = Bots(game, good, evil), 200
    keys = jax.random.split(jax.random.key(1), count)
    games = driven(bots, keys)
    states, memories = games.final, games.memories[0]
    totals = bot_games._play_lanes(bots, keys, jnp.ones((count,), jnp.int32))
    assert np.asarray(states.terminated).all()
    assert np.asarray(games.record).all()  # every action was legal
    results = np.asarray(states.results)
    np.testing.assert_array_equal(totals.proposals, states.num_proposals)
    np.testing.assert_array_equal(totals.quests_by_index.T, results >= 0)
    np.testing.assert_array_equal(totals.successes_by_index.T, results == 1)
    np.testing.assert_array_equal(totals.good_wins, states.good_victory)
    np.testing.assert_array_equal(totals.assassination_attempts, states.target >= 0)
    np.testing.assert_array_equal(totals.evil_by_assassination, ~states.good_victory & (states.target >= 0))
    rebuilt = jax.jit(jax.vmap(bots.memory_of))(states)
    chex.assert_trees_all_equal(rebuilt, memories)


def test_sides_are_judged_as_the_bench_counts():
    game, keys = Avalon(5), jax.random.split(jax.random.key(3), 50)
    bots = Bots(game)
    totals = bot_games._play_lanes(bots, keys, jnp.ones((50,), jnp.int32))

    games = driven(bots, keys)
    known = jax.jit(jax.vmap(lambda *args: jnp.stack([bots.known_good(*args, seat) for seat in range(5)])))
    roles, reports = games.final.roles, known(games.final, games.memories[0])
    right = belief_metrics.deduction_accuracy(reports, roles[:, None].repeat(5, axis=1))
    servants = np.asarray(roles) == 5
    np.testing.assert_allclose(totals.sides_right, 5 * (np.asarray(right) * servants).sum(1), atol=1e-4)
    assert (np.asarray(right)[np.isin(roles, [0, 6, 7])] == 1).all()  # they know


def rates(players, games, good="naive", evil="naive", lanes=2048):
    totals = play_bots(Bots(Avalon(players), good, evil), jax.random.key(players), games, lanes)
    assert totals.games == games
    assert totals.good_wins + totals.evil_by_missions + totals.evil_by_assassination == games
    return totals


@pytest.mark.optimised
def test_five_players_as_published():
    games = 20_000
    totals = rates(5, games)
    assert 0.365 <= totals.good_wins / games <= 0.400
    assert totals.evil_by_missions / games == pytest.approx(0.429, abs=0.02)
    assert totals.evil_by_assassination / games == pytest.approx(0.193, abs=0.02)
    assert totals.deduction_accuracy == pytest.approx(0.727, abs=0.02)
    assert totals.proposals / games == pytest.approx(7.6, abs=0.15)
    success = totals.successes_by_index / totals.quests_by_index
    np.testing.assert_allclose(success, [0.176, 0.359, 0.522, 0.930, 1.0], atol=0.02)


@pytest.mark.optimised
def test_one_random_side():
    games = 5_000
    assert rates(5, games, "naive", "random").good_wins / games == pytest.approx(0.747, abs=0.02)
    assert rates(5, games, "random", "naive").good_wins / games < 0.002


def test_seven_players():
    assert rates(7, 1_000, lanes=256).good_wins / 1_000 < 0.06


@pytest.mark.tier2
@pytest.mark.optimised
def test_many_games_as_published():
    games = 40_000
    totals = rates(5, games)
    assert 0.365 <= totals.good_wins / games <= 0.400
    assert totals.evil_by_missions / games == pytest.approx(0.429, abs=0.02)
    assert totals.evil_by_assassination / games == pytest.approx(0.193, abs=0.02)
    assert totals.deduction_accuracy == pytest.approx(0.727, abs=0.02)
    assert totals.proposals / games == pytest.approx(7.6, abs=0.15)
    assert 0.42 <= rates(6, games).good_wins / games <= 0.48
    assert rates(7, 20_000).good_wins / 20_000 < 0.06
    assert rates(5, games, "naive", "random").good_wins / games == pytest.approx(0.747, abs=0.02)
    assert rates(5, games, "random", "naive").good_wins / games < 0.002


@pytest.mark.tier2
@pytest.mark.parametrize("players", [8, 9, 10])
def test_many_players(players):
    assert rates(players, 2_000, lanes=128).good_wins / 2_000 < 0.08


@pytest.mark.tier2
def test_rollouts_from_the_middle_of_games():
    """From a state in each phase, the rewards agree with games played on phase by phase, on average."""
    game, count = Avalon(5), 2_000
    bots, init = Bots(game), jax.jit(game.init)

    @jax.jit
    def play_on(key, state, memory, phases):
        def phase(index, carry):
            state, memory = carry
            after = game.apply(state, bots.act(jax.random.fold_in(key, index), state, memory))
            return after._replace(reward=state.reward + after.reward), bots.observe(memory, state, after)

        return jax.lax.fori_loop(0, phases, phase, (state, memory))

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None, None))
    def both(key, state, memory):
        first, second = jax.random.split(key)
        return rollout(bots, first, state), play_on(second, state, memory, game.max_turns)[0].reward

    left = {0, 1, 2, 3}
    for seed, phases in itertools.product(range(20), range(5, 21, 3)):
        key = jax.random.key(seed)
        state, memory = play_on(key, init(key), bots.init(), phases)
        if state.terminated or int(state.phase) not in left:
            continue
        left.discard(int(state.phase))
        fast, slow = both(jax.random.split(key, count), state, memory)
        np.testing.assert_array_equal(np.abs(fast), np.ones((count, 5)))
        np.testing.assert_allclose(np.mean(fast, axis=0), np.mean(slow, axis=0), atol=0.15)
    assert not left
    over, _ = play_on(key, init(key), bots.init(), game.max_turns)
    assert not np.asarray(rollout(bots, key, over)).any()


@pytest.mark.parametrize("players", [5, 7])
def test_bot_policies_as_an_observation_model(players):
    """Likelihoods of single events against the bots' choices, one assignment at a time."""
    game = Avalon(players)
    bots, epsilon = Bots(game), 0.1
    model, rng = BotPolicies(epsilon), np.random.default_rng(2)
    memory = bots.remember(bots.init(), jnp.int32(0), jnp.int32(seats_to_mask(range(game.team_sizes[0]))), jnp.int32(1))
    teams = [mask for mask in game.teams()[1] if mask]
    index = int(rng.integers(len(teams)))
    team, leader, votes, fails = jnp.int32(teams[index]), jnp.int32(2), jnp.int32(0b10110), jnp.int32(1)
    got = [
        jax.jit(lambda: model.proposal(game, memory, Proposal(jnp.int32(1), leader, team)))(),
        jax.jit(lambda: model.vote(game, memory, Vote(jnp.int32(1), team, votes)))(),
        jax.jit(lambda: model.quest(game, memory, Quest(jnp.int32(1), team, fails)))(),
    ]
    proposals, vote, passes = jax.jit(bots.proposals), jax.jit(bots.vote), jax.jit(bots.passes)
    for k in rng.integers(0, len(tables(game).roles), 20):
        deal = jnp.int32(encode_roles(tables(game).roles[k]))
        choices = unpack(proposals(deal, leader, jnp.int32(1), memory))
        expected = [epsilon / len(teams) + (1 - epsilon) * (index in choices) / len(choices)]
        agree = ~(int(vote(jnp.uint32(0), deal, jnp.int32(1), jnp.int32(index), team, memory)) ^ int(votes))
        same = bin(agree & ((1 << players) - 1)).count("1")
        expected.append((1 - epsilon / 2) ** same * (epsilon / 2) ** (players - same))
        failing = len(mask_to_seats(int(team) & ~int(passes(deal, jnp.int32(1), team))))
        expected.append(epsilon / (game.team_sizes[1] + 1) + (1 - epsilon) * (failing == 1))
        for pair, chance in zip(got, expected, strict=True):
            np.testing.assert_allclose(np.exp(pair.high[k] + pair.low[k]), chance, rtol=1e-5)


def test_knowing_the_bots_is_worth_something():
    game = Avalon(5)
    bots = Bots(game)

    def losses(key):
        deal_key, play_key = jax.random.split(key)

        def phase(index, carry):
            state, memory = carry
            after = game.apply(state, bots.act(jax.random.fold_in(play_key, index), state, memory))
            return after, bots.observe(memory, state, after)

        state, _ = jax.lax.fori_loop(0, 12, phase, (game.init(deal_key), bots.init()))
        result = []
        for model in (FailCounts(0.9), BotPolicies(0.01)):
            good = beliefs.p_good(game, beliefs.posterior(beliefs.from_state(game, state, -1, model)))
            result += [belief_metrics.log_loss(good, state.roles), belief_metrics.brier(good, state.roles)]
        merlin = beliefs.p_merlin(game, beliefs.posterior(beliefs.from_state(game, state, -1, BotPolicies(0.01))))
        return jnp.stack([*result, belief_metrics.merlin_probability(merlin, state.roles)])

    mean = np.asarray(jax.jit(jax.vmap(losses))(jax.random.split(jax.random.key(0), 200))).mean(0)
    assert mean[2] < 0.8 * mean[0]
    assert mean[3] < 0.8 * mean[1]
    assert mean[4] > 0.3  # chance is 0.2


def test_metrics():
    roles = jnp.array([0, 5, 6, 7, 5])
    good = jnp.array([1.0, 0.5, 0.5, 0.25, 0.0])
    assert belief_metrics.deduction_accuracy(good, roles) == pytest.approx(0.6)
    assert belief_metrics.brier(good, roles) == pytest.approx((0 + 0.25 + 0.25 + 0.0625 + 1) / 5)
    assert belief_metrics.log_loss(good, roles) == np.inf
    expected = -np.log([1.0, 0.5, 0.5, 0.75, 0.01]).mean()
    assert belief_metrics.log_loss(good, roles, floor=0.01) == pytest.approx(expected, rel=1e-5)
    assert belief_metrics.merlin_probability(good, roles) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bots(Avalon(5), good="clever"), "naive or random"),
        (lambda: BotPolicies(0.0), "epsilon"),
        (lambda: play_bots(Bots(Avalon(5)), jax.random.key(0), 0), "at least 1"),
        (lambda: play_bots(Bots(Avalon.preset(10, "all")), jax.random.key(0), 1), "fewer special roles"),
    ],
)
def test_errors_say_the_remedy(make, message):
    with pytest.raises(ValueError, match=message):
        make()
