"""Who plays whom under each kind of feedback, on games that cost nothing: what a judge does around its programs."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxrl_suite.core import devices
from jaxrl_suite.envs import Gops
from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.journal import Journal, JudgedRound, services
from jaxrl_suite.evolve.records import Strategy
from jaxrl_suite.strategist.heuristics.libraries import library
from jaxrl_suite.strategist.heuristics.pool import ROLLOUT
from jaxrl_suite.strategist.heuristics.views import example_states
from jaxrl_suite.strategist.judge.base import HeuristicJudge, JudgeConfig
from jaxrl_suite.strategist.judge.gops import GopsJudge
from jaxrl_suite.strategist.judge.key_states import select
from jaxrl_suite.strategist.judge.programs import KEPT, Matches
from jaxrl_suite.strategist.play.records import Played

GAME = Gops(3, objective="points")
LIB = library(GAME)
STATES = jax.tree.map(np.asarray, example_states(GAME, jax.random.key(0), 4))


@pytest.fixture(autouse=True)
def programs_are_not_compiled(monkeypatch):
    monkeypatch.setattr(devices, "map_batch", lambda fn, mesh: fn)


class Paper(HeuristicJudge):
    """A strategy is as strong as its first weight, random play is worth 0, seat 0 is worth 1; luck is the deal's."""

    features = staticmethod(library)
    usual = GAME, JudgeConfig(), None

    def __init__(self, config):
        super().__init__(GAME, config)
        self.asked = []

    def player(self, pool, num_simulations):
        pass

    def compile(self, pool, num_simulations, records):
        def program(first, second, keys):
            strength = [np.where(side.member == ROLLOUT, 0.0, side.weights[:, 0]) for side in (first, second)]
            self.asked.append((strength, jax.random.key_data(keys)[:, 1]))
            return self._played(strength[0] - strength[1] + 1 + np.asarray(jax.random.key_data(keys)[:, 1]) % 7)

        return program

    def compare(self, pool, num_simulations):
        return lambda choices, keys, state_keys: self._played(choices.weights[:, 0])

    def _played(self, reward):
        rows = len(reward)
        states = jax.tree.map(lambda leaf: np.broadcast_to(leaf[:2], (rows, 2, *leaf.shape[1:])), STATES)
        gap = np.broadcast_to(reward[:, None, None, None], (rows, 2, 1, 2))
        flags = np.zeros((rows, 2, 1), bool)
        return Played(reward, np.zeros((rows, 2)), states, np.zeros_like(gap), gap, flags, ~flags)


def strategies(*levels, parents=()):
    rows = [(level, *[0.0] * (LIB.size - 1)) for level in levels]
    parents = [*parents, *[None] * (len(rows) - len(parents))]
    return [Strategy(i, "heuristic", "", parents[i], weights=row) for i, row in enumerate(rows)]


ROUND = strategies(0.0, 1.0, 3.0, 2.0, 5.0, parents=(None, 0, 0, 1, 2))


def test_a_population_meets_itself_and_one_alone_meets_random_play():
    judge = Paper(JudgeConfig(deals=4, batch_size=16, key_states=1))
    said = judge.judge(ROUND, (0,))
    np.testing.assert_allclose(said.scores, [(5 * x - 11) / 4 for x in (0, 1, 3, 2, 5)])
    assert said.games == (32,) * 5
    alone = judge.judge(ROUND[4:], (0,))
    assert alone.scores == (5.0,)
    assert alone.improvements == (None,)


def test_a_fixed_opponent_makes_scores_independent_of_who_takes_part():
    said = Paper(JudgeConfig("fixed", deals=4, batch_size=16, key_states=1)).judge(ROUND, (0,))
    np.testing.assert_allclose(said.scores, [0, 1, 3, 2, 5])
    np.testing.assert_allclose(said.improvements[1:], [1, 3, 1, 2])
    assert said.games == (8,) * 5


def test_a_critic_scores_the_gap_between_search_and_heuristic():
    said = Paper(JudgeConfig("critic", critic_states=6, batch_size=16, key_states=1)).judge(ROUND, (0,))
    np.testing.assert_allclose(said.scores, -np.sqrt(2) * np.array([0, 1, 3, 2, 5]), rtol=1e-6)
    assert said.games == (0,) * 5


def test_a_race_saves_games_on_the_worse_and_keeps_parents():
    config = JudgeConfig(deals=16, batch_size=4, key_states=1, racing=True)
    raced, whole = (Paper(dataclasses.replace(config, racing=racing)) for racing in (True, False))
    said = raced.judge(strategies(0.0, 1.0, 3.0, 2.0, 5.0, parents=(None, 0)), (0,))
    full = whole.judge(ROUND, (0,))
    # all play 4 deals; 4, 2, 3 and the parent 0 play 8; 4, 2 and the parent all 16
    assert said.games == tuple(8 * deals for deals in (16, 4, 16, 8, 16))
    np.testing.assert_allclose(said.scores, full.scores)  # who is dropped is met by the others all the same
    assert said.improvements[1] == pytest.approx(1.25)
    assert sum(len(keys) for _, keys in raced.asked) < sum(len(keys) for _, keys in whole.asked)
    pair = Paper(config).judge(strategies(1.0, 0.0), (0,))
    assert pair.games == (32, 8)
    for wrong in (dict(deals=3), dict(feedback="fixed"), dict(feedback="critic")):
        with pytest.raises(UserError, match="leave racing off"):
            JudgeConfig(racing=True, **wrong)


@pytest.mark.parametrize("feedback", ["population", "fixed", "critic"])
def test_no_key_states_are_kept_if_none_are_wanted(feedback):
    judge = Paper(JudgeConfig(feedback, deals=4, batch_size=16, key_states=0, critic_states=4))
    assert judge.judge(ROUND, (0,)).key_states == ()
    with pytest.raises(UserError, match="key_rule must be one of"):
        JudgeConfig(key_rule="largest")


def test_selecting_no_state_selects_none():
    judge, seen = Paper(JudgeConfig(deals=4, batch_size=16)), []
    pool, choices = judge.programs.pool(ROUND)
    keys = jax.random.split(jax.random.key(0))
    play = Matches(judge._program("compile", pool, records=True), choices, keys, 16, seen)
    play(np.array([0, 1]), np.array([1, 2]), np.arange(2))
    assert [len(select(seen[0], 0, count)) for count in (0, 1, 2, 9)] == [0, 1, 2, 2]


def test_a_journal_does_not_answer_for_a_judge_with_another_config():
    journal, asked = Journal(), [JudgedRound(tuple(ROUND[:2]), (0,))]
    config = JudgeConfig(deals=4, batch_size=16, key_states=0)
    changed = [config, dataclasses.replace(config, batch_size=4), dataclasses.replace(config, deals=8)]
    said = [services(Paper(one), journal)["judge"](asked)[0].games for one in changed]
    assert said == [(8, 8), (8, 8), (16, 16)]
    assert len(journal._results) == 2
    gops = [GopsJudge(GAME, config, style).identity for style in ("paper", "regret_matching")]
    assert len({*gops, GopsJudge(Gops(4, objective="points"), config, "paper").identity}) == 3


class Written:
    """Passes every text; what each does is of no matter here."""

    def check(self, texts):
        return [""] * len(texts)

    def __getitem__(self, text):
        return SimpleNamespace(call_one=text.split, call_with_auxiliary=lambda views: (None, {"one": np.ones(1)}))

    def close(self):
        pass


def test_programs_of_rounds_long_past_are_let_go():
    """A program that holds written heuristics takes a thousand memory maps, and a search has hundreds of rounds."""
    judge, counted = Paper(JudgeConfig(deals=2, batch_size=16, key_states=1)), []
    judge.programs.exports = Written()  # pyright: ignore[reportAttributeAccessIssue]
    judge.judge(ROUND, (0,))
    rounds = [[Strategy(i, "heuristic", f"{kind} {i}") for i in range(2)] for kind in range(3 * KEPT)]
    for number, strategies in enumerate(rounds):
        judge.judge(strategies, (number,))
        pool = judge.programs.pool(rounds[0])[0]  # one that is used again and again stays
        assert pool in {key.pool for key in judge.programs.compiled}
        counted.append(len(judge.programs.compiled))
    assert max(counted) == 1 + KEPT
    assert len(judge.programs._pools) == 1 + KEPT
    judge.judge(ROUND, (0,))
    assert len(judge.programs.compiled) == 1 + KEPT  # weights share a program whatever they are


def test_a_judge_with_another_config_uses_no_program_of_the_first_that_does_not_fit():
    judge = Paper(JudgeConfig(deals=4, batch_size=16, key_states=1))
    judge.judge(ROUND, (0,))
    with pytest.raises(AttributeError):
        judge.config = JudgeConfig(num_simulations=3)  # pyright: ignore[reportAttributeAccessIssue]
    same = judge.with_config(deals=8, feedback="fixed", key_states=0, seed=3)
    assert same.programs is judge.programs
    same.judge(ROUND, (0,))  # meets random play, and so another pool
    judge.with_config(deals=2).judge(ROUND, (1,))
    assert len(judge.programs.compiled) == 2
    more = judge.with_config(num_simulations=99)
    more.judge(ROUND, (0,))
    assert (judge.config.num_simulations, more.config.num_simulations) == (16, 99)
    keys = list(judge.programs.compiled)
    assert [key.num_simulations for key in keys] == [16, 16, 99]
    assert [key.records for key in keys] == [True, False, True]


@pytest.mark.parametrize(
    ("feedback", "size", "games", "deals"),
    [
        ("population", 5, 480, 24),  # 10 pairs, both seats
        ("population", 6, 480, 16),
        ("population", 2, 480, 240),
        ("population", 1, 120, 60),
        ("fixed", 5, 480, 48),
        ("population", 5, 3, 1),  # one deal at least
        ("population", 5, None, 16),
    ],
)
def test_every_round_costs_the_games_that_it_is_given(feedback, size, games, deals):
    said = Paper(JudgeConfig(feedback, batch_size=512, key_states=0)).judge(strategies(*range(size)), (0, 1, 0), games)
    opponents = 1 if feedback == "fixed" or size == 1 else size - 1
    assert said.games == (2 * deals * opponents,) * size


def test_a_duel_is_a_mean_over_both_seats_on_the_same_deals():
    judge = Paper(JudgeConfig(batch_size=4))
    rewards = judge.duel(ROUND[:3], [(0, 1), (2, 0), (2, 1)], jax.random.split(jax.random.key(0), 5))
    np.testing.assert_allclose(rewards, np.broadcast_to([[-1.0], [3.0], [2.0]], (3, 5)))
