"""GOPS between heuristics: seats, decks, batches; near exact values near equilibrium; the judge on top of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.core import devices
from jaxrl_suite.envs import Gops
from jaxrl_suite.envs.gops.game import GopsState
from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.search.gops import exact as gops_exact
from jaxrl_suite.strategist.heuristics.libraries import library
from jaxrl_suite.strategist.heuristics.pool import Choice, Pool, choices_of, compact_choices
from jaxrl_suite.strategist.judge.base import JudgeConfig
from jaxrl_suite.strategist.judge.gops import GopsJudge
from jaxrl_suite.strategist.play.gops import GopsPlayer, play
from jaxrl_suite.strategist.play.strength import exploitabilities, nash_returns

GAME = Gops(3, objective="points")
LIB = library(GAME)


def weights(**named):
    return tuple(float(named.get(name, 0.0)) for name in LIB.names)


SEED, BETTER = LIB.seed_weights, weights(score_difference=1.0, hand_sum_difference=1.0)
WORST = weights(score_difference=-1.0)


@pytest.fixture(scope="module")
def solution():
    return gops_exact.solve_gops(GAME)


@pytest.fixture(scope="module")
def pool(solution):
    """The compact form, and exact values as a heuristic of the view."""

    def exact(view):
        def bits(mask):
            powers = (1 << jnp.arange(3)).reshape((1,) * (mask.ndim - 1) + (3,))
            return jnp.sum(mask.astype(jnp.int32) * powers, axis=-1)

        whole = (view.prize, view.carry, view.scores)
        state = GopsState(
            bits(view.hands), bits(view.deck), *(x.astype(jnp.int32) for x in whole), jnp.zeros(2), *_over()
        )
        value = gops_exact.value(solution, state)
        return jnp.stack([value / 2, -value / 2])

    def odd(view):
        """No number, an infinite one, and one too large to reckon with."""
        return jnp.stack([jnp.where(view.prize > 2, jnp.nan, jnp.where(view.prize > 1, -jnp.inf, 3e38)), view.carry])

    return Pool(LIB, (exact, odd))


def _over():
    return jnp.bool_(False), jnp.bool_(False)


@pytest.fixture(scope="module")
def player(pool):
    return GopsPlayer(pool, 16)


@pytest.fixture(scope="module")
def run(player):
    """192 games in one compiled program."""
    return jax.jit(lambda first, second, keys: play(player, first, second, keys))


@pytest.fixture(scope="module")
def games(run):
    """BETTER against SEED on 64 decks, then the same with the seats swapped, then each against itself."""
    keys = jax.random.split(jax.random.key(0), 64)
    a, b = (np.tile(np.array(w, np.float32), (64, 1)) for w in (BETTER, SEED))
    first, second = np.concatenate([a, b, a]), np.concatenate([b, a, a])
    return jax.tree.map(np.asarray, run(compact_choices(first), compact_choices(second), jnp.concatenate([keys] * 3)))


def test_pairs_meet_the_same_decks(games):
    prizes = games.states.prize
    np.testing.assert_array_equal(prizes[:64], prizes[64:128])
    np.testing.assert_array_equal(prizes[:64], prizes[128:])
    assert len({tuple(row) for row in prizes[:64]}) == 6


def test_the_final_difference_is_that_of_the_points(games):
    score = games.final.score
    np.testing.assert_array_equal(games.difference, score[:, 0] - score[:, 1])
    assert games.final.terminated.all()
    assert (score.sum(1) + games.final.carry == 6).all()


def test_the_better_heuristic_wins_in_both_seats(games):
    there, back = games.difference[:64], -games.difference[64:128]
    assert there.mean() > 0.2
    assert back.mean() > 0.2


def test_games_do_not_depend_on_the_batch_around_them(run, games):
    keys = jnp.concatenate([jax.random.split(jax.random.key(0), 64)] * 3)
    a, b = (np.tile(np.array(w, np.float32), (64, 1)) for w in (BETTER, SEED))
    order = np.random.default_rng(0).permutation(192)
    sides = [compact_choices(np.concatenate(side)[order]) for side in ((a, b, a), (b, a, a))]
    mixed = run(*sides, keys[order])
    np.testing.assert_array_equal(mixed.difference, games.difference[order])
    np.testing.assert_allclose(mixed.estimates, games.estimates[order], atol=1e-5)


def test_estimates_come_close_to_exact_values_where_leaves_are_exact(run, solution):
    keys = jax.random.split(jax.random.key(3), 192)
    exact = Choice(np.ones(192, np.int32), np.zeros((192, LIB.size), np.float32))
    found = run(exact, exact, keys)
    value = jax.jit(jax.vmap(jax.vmap(lambda state: gops_exact.value(solution, state))))(found.states)
    assert float(jnp.abs(found.estimates - value[..., None]).mean()) < 0.35


def test_values_that_are_no_numbers_buy_no_illegal_move(run):
    """Whoever says so still bids every card once."""
    row = np.tile(np.float32(SEED), (192, 1))
    odd, seed = (Choice(np.full(192, member, np.int32), row) for member in (2, 0))
    games = run(odd, seed, jax.random.split(jax.random.key(4), 192))
    assert not np.asarray(games.final.hands).any()
    assert np.isfinite(games.estimates).all()


@pytest.mark.parametrize("style", ["regret_matching", pytest.param("paper", marks=pytest.mark.tier2)])
def test_exact_values_play_near_equilibrium_and_the_seed_does_not(pool, solution, style):
    """Against exact play nobody can win on average; with exact leaves a search loses little, with the seed's more."""
    budget = 24
    chosen = Choice(np.array([1, 0, 0], np.int32), np.array([SEED, SEED, WORST], np.float32))
    player = GopsPlayer(pool, budget, style)
    returns = nash_returns(player, solution, chosen, 256, jax.random.key(0), batch_size=256)
    mean, error = returns.mean(1), returns.std(1) / 16
    assert (mean < 3 * error + 0.02).all()
    if style == "regret_matching":
        assert mean[0] > -0.12
    assert mean[0] > mean[1] + 0.3


def test_the_same_key_deals_the_same_decks_against_exact_play(solution):
    """One key for all, or one for each."""
    player, one = GopsPlayer(Pool(LIB), 2), jax.random.key(0)
    keys = jnp.stack([one, one, jax.random.key(1)])
    chosen = compact_choices(np.array([SEED] * 3))
    first, second, other = nash_returns(player, solution, chosen, 8, keys, batch_size=32)
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    np.testing.assert_array_equal(nash_returns(player, solution, chosen, 8, one, batch_size=32), np.stack([first] * 3))


def test_no_two_states_share_the_noise_of_a_search():
    """Else the exploitability would depend on how states are cut into chunks."""
    chosen = compact_choices(np.array([SEED]))
    found = [
        exploitabilities(GopsPlayer(Pool(LIB), 3), chosen, jax.random.key(0), policy_samples=2, chunk=chunk)
        for chunk in (16, 40)
    ]
    np.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.tier2
def test_exploitability_tells_the_exact_from_the_seed(pool):
    chosen = Choice(np.array([1, 0], np.int32), np.array([SEED, SEED], np.float32))
    found = exploitabilities(GopsPlayer(pool, 32), chosen, jax.random.key(0), policy_samples=8, repeats=2)
    assert found.shape == (2, 2)
    assert (found >= -1e-6).all()
    assert found[0].mean() < 0.6 * found[1].mean()


# The judge.


def strategies(*rows):
    return [Strategy(row, "heuristic", LIB.render(w), parent, weights=w) for row, (w, parent) in enumerate(rows)]


ROUND = strategies((SEED, None), (BETTER, 0), (WORST, 1))


@pytest.fixture(scope="module")
def judge():
    with GopsJudge(GAME, JudgeConfig(deals=16, batch_size=64, key_states=4)) as made:
        yield made


def test_a_judgement_ranks_and_repeats(judge):
    said = judge.judge(ROUND, (3, 1))
    assert said == judge.judge(ROUND, (3, 1))
    assert sum(said.scores) == pytest.approx(0, abs=1e-6)
    assert said.games == (64, 64, 64)
    assert said.improvements[0] is None
    assert said.improvements[1] == pytest.approx(said.scores[1] - said.scores[0], abs=1e-6)
    assert said.improvements[2] == pytest.approx(said.scores[2] - said.scores[1], abs=1e-6)
    assert said != judge.judge(ROUND, (3, 2))
    # the same decks whoever takes part: the pair's own games do not change
    alone = judge.judge(ROUND[:2], (3, 1))
    assert alone.scores[0] == -alone.scores[1] < 0


def test_key_states_are_those_with_the_largest_gap(judge):
    said = judge.judge(ROUND, (0,))
    gaps = [np.linalg.norm(np.subtract(state.search, state.heuristic)) for state in said.key_states]
    assert gaps == sorted(gaps, reverse=True)
    assert [sum(state.strategy == row for state in said.key_states) for row in range(3)] == [4, 4, 4]
    assert len({(state.strategy, state.state) for state in said.key_states}) == 12
    for state in said.key_states:
        assert "GOPS-3" in state.state
        assert "player 0  1 2 3" not in state.state  # not the initial state
        named = dict(zip(LIB.names, state.features, strict=True))
        used = {name: named[name] for name, w in zip(LIB.names, ROUND[state.strategy].weights, strict=True) if w}
        assert state.named == pytest.approx(used)
        total = sum(ROUND[state.strategy].weights[LIB.names.index(name)] * value for name, value in used.items())
        assert state.heuristic[0] - state.heuristic[1] == pytest.approx(total, abs=1e-4)
        assert sum(state.search) == pytest.approx(sum(state.heuristic), abs=1e-4)
        assert sum(state.outcome) <= 6


def test_text_is_judged_like_its_weights(judge):
    """And two devices judge like one."""
    expected = judge.judge(ROUND[:2], (7,))
    texts = [dataclasses.replace(one, weights=None) for one in ROUND[:2]]
    with GopsJudge(GAME, judge.config, mesh=devices.mesh(1)) as other:
        try:
            failed = other.check([texts[0].text, texts[1].text, "def evaluate_state(view):\n    return view.nothing"])
        except UserError as error:
            pytest.skip(str(error))
        assert failed[:2] == ["", ""]
        assert "nothing" in failed[2]
        said = other.judge(texts, (7,))
        with pytest.raises(UserError, match="strategy 0 cannot be played"):
            other.judge([dataclasses.replace(texts[0], text="def evaluate_state(view):\n    return view.nothing")], ())
    assert said.scores == pytest.approx(expected.scores, abs=1e-6)
    assert [state.named for state in said.key_states] == [pytest.approx(s.named) for s in expected.key_states]


@pytest.mark.tier2
@pytest.mark.parametrize("feedback", ["fixed", "critic"])
def test_other_feedback(feedback):
    with GopsJudge(GAME, JudgeConfig(feedback, deals=16, batch_size=64, key_states=2, critic_states=32)) as judge:
        said = judge.judge(ROUND, (0,))
        fewer = judge.judge(ROUND[:2], (0,))
    assert said.scores[:2] == pytest.approx(fewer.scores, abs=1e-6)  # what the others are does not matter
    assert said.games == ((32,) * 3 if feedback == "fixed" else (0,) * 3)
    assert len(set(said.scores)) == 3
    assert len(said.key_states) == 6
    if feedback == "critic":
        assert max(said.scores) <= 0


def test_refuses_what_cannot_be_judged(judge):
    with pytest.raises(UserError, match="needs a strategy"):
        judge.judge([], ())
    with pytest.raises(UserError, match="weights, expected"):
        judge.judge([dataclasses.replace(ROUND[0], weights=(1.0,))], ())
    with pytest.raises(UserError, match="neither weights nor"):
        choices_of(LIB, [dataclasses.replace(ROUND[0], weights=None)], {})
    with pytest.raises(UserError, match='objective="points"'):
        GopsJudge(Gops(3))
    with pytest.raises(UserError, match="style must be one of"):
        GopsPlayer(Pool(LIB), style="mcts")
    with pytest.raises(UserError, match="feedback must be one of"):
        JudgeConfig("applause")
    with pytest.raises(ValueError, match="deals must be"):
        JudgeConfig(deals=0)
