"""The channel of claims against enumeration in plain numpy; the value of communication, and when it is none."""

import dataclasses
import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.avalonbench import beliefs
from jaxrl_suite.avalonbench.assignments import OUTSIDER, tables
from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.avalonbench.cheap_talk import game as channel
from jaxrl_suite.avalonbench.cheap_talk import policies
from jaxrl_suite.avalonbench.cheap_talk.learning import TalkLearner
from jaxrl_suite.avalonbench.information_sets import information_sets
from jaxrl_suite.avalonbench.observation_models import FailCounts, Quest
from jaxrl_suite.core.stats import mean_interval, paired_bootstrap
from jaxrl_suite.envs import Avalon

GAME = Avalon(5)
MODEL = FailCounts(0.9)
EVIL = (6, 7)
HEAR = jax.jit(functools.partial(channel.hear, GAME))
CHANCES = jax.jit(functools.partial(channel.claim_probabilities, GAME))


def random_policy(seed):
    rng = np.random.default_rng(seed)
    return policies.ClaimPolicy(rng.normal(size=(8, 7)).astype(np.float32), rng.normal(size=8).astype(np.float32))


def public_belief(roles=GAME.roles):
    """After a quest of seats 1, 2 and 4 failed with one vote."""
    belief = beliefs.prior(GAME, jnp.asarray(roles), OUTSIDER, MODEL)
    return beliefs.update_quest(GAME, MODEL, belief, Quest(jnp.int32(1), jnp.int32(0b10110), jnp.int32(1)))


class Enumeration:
    """The same posterior from the 60 assignments, one after the other, in float64."""

    def __init__(self, policy):
        self.deals = sorted(set(itertools.permutations(GAME.roles)))
        self.policy = policies.ClaimPolicy(*(np.asarray(part, np.float64) for part in policy))
        self.weights = [self.quest(deal) for deal in self.deals]

    def quest(self, deal):
        evil = sum(deal[seat] in EVIL for seat in (1, 2, 4))
        return {0: 0.0, 1: 0.9, 2: 2 * 0.9 * 0.1}[evil]

    def told(self, deal, seat):
        if deal[seat] == 5:
            return (5,)
        return deal[seat], tuple(other for other in range(5) if other != seat and deal[other] in EVIL)

    def suspicion(self, told, seat):
        mass = [(w, d) for w, d in zip(self.weights, self.deals, strict=True) if self.told(d, seat) == told]
        if sum(w for w, _ in mass) == 0:
            mass = [(1.0, d) for _, d in mass]
        total = sum(w for w, _ in mass)
        return [sum(w for w, d in mass if d[other] in EVIL) / total for other in range(5)]

    def softmax(self, role, suspicion, speaker):
        row = self.policy.logits[role]
        logits = [row[0]]
        for seat in range(5):
            if seat == speaker:
                logits += [row[5], row[6]]
            else:
                logits += [row[1] + row[2] * suspicion[seat], row[3] + row[4] * suspicion[seat]]
        odds = np.exp(logits)
        return odds / odds.sum()

    def chances(self, deal, speaker):
        own = self.softmax(deal[speaker], self.suspicion(self.told(deal, speaker), speaker), speaker)
        if deal[speaker] == 5:
            return own
        hidden = 1 / (1 + np.exp(-self.policy.imitation[deal[speaker]]))
        return (1 - hidden) * own + hidden * self.softmax(5, self.suspicion((5,), speaker), speaker)

    def hear(self, speaker, claim):
        likelihood = [self.chances(deal, speaker)[claim] for deal in self.deals]
        self.weights = [w * p for w, p in zip(self.weights, likelihood, strict=True)]

    def posterior(self):
        return np.array(self.weights) / sum(self.weights)


def test_information_sets_are_fifteen_a_seat_and_agree_with_what_is_possible():
    sets = information_sets(GAME)
    assert sets.member.shape == (5, 15, 60)
    np.testing.assert_array_equal(sets.member.sum(axis=(1)), np.ones((5, 60)))
    for k in (0, 17, 43):
        for seat in range(5):
            roles = jnp.asarray(tables(GAME).roles[k])
            posterior = beliefs.posterior(beliefs.prior(GAME, roles, seat, MODEL))
            np.testing.assert_array_equal(np.asarray(posterior) > 0, sets.member[seat, sets.index[seat, k]] == 1)
            assert sets.role[seat, sets.index[seat, k]] == roles[seat]


@pytest.mark.parametrize("seed", range(3))
def test_the_posterior_after_claims_is_that_of_enumeration(seed):
    policy, oracle = random_policy(seed), Enumeration(random_policy(seed))
    belief, rng = public_belief(), np.random.default_rng(seed)
    assert [tuple(row) for row in tables(GAME).roles.tolist()] == oracle.deals
    for speaker in (2, 3, 4, 0, 1, 2):
        chances = np.asarray(CHANCES(policy, beliefs.posterior(belief), speaker))
        expected = [oracle.chances(deal, speaker) for deal in oracle.deals]
        np.testing.assert_allclose(chances, expected, atol=2e-6)
        claim = int(rng.integers(11))
        belief = HEAR(policy, belief, speaker, claim)
        oracle.hear(speaker, claim)
    np.testing.assert_allclose(np.asarray(beliefs.posterior(belief)), oracle.posterior(), atol=2e-6)


def test_a_players_own_belief_is_the_public_one_restricted_to_what_it_was_told():
    policy, oracle = random_policy(5), Enumeration(random_policy(5))
    belief, roles = public_belief(), (5, 7, 0, 5, 6)
    for speaker, claim in ((1, 4), (2, 3), (4, 0)):
        belief = HEAR(policy, belief, speaker, claim)
        oracle.hear(speaker, claim)
    for viewer in range(5):
        told = oracle.told(roles, viewer)
        weights = np.array(
            [w * (oracle.told(d, viewer) == told) for w, d in zip(oracle.weights, oracle.deals, strict=True)]
        )
        own = channel.in_the_eyes_of(GAME, belief, jnp.asarray(roles), viewer)
        np.testing.assert_allclose(np.asarray(own), weights / weights.sum(), atol=2e-6)


def test_babbling_leaves_every_belief_as_it_was_bit_for_bit():
    belief = public_belief()
    before = np.asarray(beliefs.posterior(belief))
    noise = np.random.default_rng(0).normal(size=7).astype(np.float32)
    noise[[2, 4]] = 0  # no claim depends on what the speaker knows
    same_for_all = policies.ClaimPolicy(np.tile(noise, (8, 1)), np.zeros(8, np.float32))
    for policy in (policies.babbling(), same_for_all):
        after = belief
        for speaker, claim in itertools.product(range(5), range(0, 11, 3)):
            after = HEAR(policy, after, speaker, claim)
        np.testing.assert_array_equal(np.asarray(beliefs.posterior(after)), before)


def test_who_imitates_a_servant_to_perfection_cannot_be_told_from_one():
    belief = public_belief()
    perfect = policies.simple(evil_imitates=1.0, merlin_imitates=1.0)
    after = belief
    for speaker, claim in ((0, policies.accuse(3)), (1, policies.vouch(2)), (4, policies.SILENCE)):
        after = HEAR(perfect, after, speaker, claim)
    np.testing.assert_allclose(np.asarray(beliefs.posterior(after)), np.asarray(beliefs.posterior(belief)), atol=1e-6)


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_alone_as_in_a_batch(self):
        policy, belief = random_policy(1), public_belief()
        roles = jnp.asarray(tables(GAME).roles[[3, 20, 59]])
        keys = jax.random.split(jax.random.key(4), 3)
        talk = functools.partial(channel.talk, GAME, policy, policy, belief)
        batch, claims = jax.jit(jax.vmap(talk, (0, None, 0)))(roles, 2, keys)
        alone = self.variant(lambda roles, key: talk(roles, 2, key))
        for row in range(3):
            heard, said = alone(roles[row], keys[row])
            np.testing.assert_array_equal(claims[row], said)
            np.testing.assert_allclose(batch.log_weight.high[row], heard.log_weight.high, atol=1e-5)


# The value of communication, in games of bots.


@functools.cache
def games():
    @jax.jit
    def run(speaking, hearing, scrambled):
        keys = jax.random.split(jax.random.key(1), 200)
        return channel.play_and_talk(Bots(GAME), MODEL, speaking, hearing, keys, 12, scrambled)

    def means(speaking, hearing=None, scrambled=False):
        """Of each game: (accuracy, log loss, Merlin found) silent and talked."""
        result = jax.device_get(run(speaking, speaking if hearing is None else hearing, scrambled))
        share = result.asked / result.asked.sum(1, keepdims=True)
        return [[(share * part).sum(1) for part in kind] for kind in (result.silent, result.talked)]

    return means


def test_talk_improves_the_servants_deduction_and_gives_merlin_away():
    silent, talked = games()(policies.simple(candour=2.0, lies=2.0, evil_imitates=0.5))
    assert paired_bootstrap(talked[0], silent[0]).low > 0.1
    assert paired_bootstrap(talked[1], silent[1]).high < -0.1
    assert paired_bootstrap(talked[2], silent[2]).low > 0.1


def test_babbling_changes_no_game():
    silent, talked = games()(policies.babbling())
    for before, after in zip(silent, talked, strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_more_evil_imitates_the_less_is_learned_and_hiding_protects_merlin():
    open_, half, full, hidden = (
        games()(policies.simple(evil_imitates=share, merlin_imitates=hide))[1]
        for share, hide in ((0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (1.0, 0.9))
    )
    assert mean_interval(half[1] - open_[1]).low > 0
    assert mean_interval(full[1] - half[1]).low > 0
    assert mean_interval(full[2] - hidden[2]).low > 0.1


def test_evil_gains_by_imitating_listeners_who_do_not_expect_it():
    expected = policies.simple(evil_imitates=0.0)
    believed = games()(expected)[1]
    fooled = games()(policies.simple(evil_imitates=1.0), expected)[1]
    assert paired_bootstrap(fooled[1], believed[1]).low > 0.3
    assert fooled[0].mean() < believed[0].mean()


def test_talk_about_another_deal_helps_nobody():
    silent, talked = games()(policies.simple(), scrambled=True)
    assert paired_bootstrap(talked[0], silent[0]).high < 0
    assert paired_bootstrap(talked[1], silent[1]).low > 0.1


# Learning.


@functools.cache
def trained(train_evil):
    learner = TalkLearner(batch=192, train_evil=train_evil)
    update, first = jax.jit(learner.update), learner.init()
    state = first
    for step in range(150):
        state, _ = update(state, jax.random.fold_in(jax.random.key(2), step))
    return learner, first, state


@pytest.mark.tier2
def test_speakers_and_listeners_learn_from_near_babbling():
    learner, first, last = trained(False)
    returns = jax.jit(learner.returns)
    before, after = (np.asarray(returns(state.params, jax.random.key(9))) for state in (first, last))
    assert paired_bootstrap(after, before).low > 0.15
    found = learner.evaluate(last.params, jax.random.key(10)).deduction
    assert found.accuracy > 0.75
    assert found.log_loss < 0.45


@pytest.mark.tier2
def test_nothing_is_learned_from_talk_about_another_deal():
    learner, first, last = trained(False)
    shuffled = dataclasses.replace(learner, scrambled=True)
    update, state = jax.jit(shuffled.update), first
    for step in range(40):
        state, _ = update(state, jax.random.fold_in(jax.random.key(2), step))
    returns = jax.jit(shuffled.returns)
    before, after, misled = (np.asarray(returns(one.params, jax.random.key(9))) for one in (first, state, last))
    assert paired_bootstrap(after, before).high < 0.02
    assert paired_bootstrap(misled, before).high < -0.1  # listeners who trust what they hear


def test_listeners_who_learn_are_calibrated():
    learner, first, last = trained(False)
    evaluate = jax.jit(learner.evaluate)
    before, after = (evaluate(state.params, jax.random.key(9)).surprise for state in (first, last))
    assert after < before - 0.5
    exact = last.params._replace(hearing=last.params.speaking)  # those who know how the others talk
    assert evaluate(exact, jax.random.key(9)).surprise == pytest.approx(float(after), abs=0.25)


def test_only_evil_that_learns_changes_its_talk():
    _, first, last = trained(False)
    np.testing.assert_array_equal(last.params.speaking.logits[jnp.array(EVIL)], first.params.speaking.logits[6:8])
    assert np.abs(last.params.speaking.logits[0] - first.params.speaking.logits[0]).max() > 0.5


@pytest.mark.tier2
def test_evil_that_learns_takes_back_most_of_what_talk_gains():
    learner, _, alone = trained(False)
    _, _, against = trained(True)
    returns = jax.jit(learner.returns)
    gains = [np.asarray(returns(state.params, jax.random.key(9))) for state in (alone, against)]
    assert paired_bootstrap(gains[0], gains[1]).low > 0.1


@pytest.mark.parametrize("bad", [dict(evil_imitates=1.5), dict(merlin_imitates=-0.1)])
def test_refuses_probabilities_that_are_none(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        policies.simple(**bad)


def test_refuses_games_that_are_too_large_to_enumerate():
    with pytest.raises(ValueError, match="too many"):
        information_sets(Avalon(9))
