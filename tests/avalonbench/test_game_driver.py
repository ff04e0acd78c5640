"""The one driver of Avalon: any mix of players sits down, and nobody acts on what its seat cannot know."""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.avalonbench import driver, host
from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.avalonbench.driver import GameDriver, by_side, play
from jaxrl_suite.avalonbench.game_records import trajectory
from jaxrl_suite.avalonbench.player import BotPlayer, Planner, PlayerPolicy
from jaxrl_suite.envs import Avalon
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Job
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.questions import Verify
from jaxrl_suite.search.tree_search import split_rows

GAME, TURNS = Avalon(5), 12
KEYS = jax.random.split(jax.random.key(0), 6)


def choose(params, key, state, seat, memory):
    """A legal action at random, and how many of them there were so far."""
    del params
    legal = GAME.legal(state)[seat]
    action = jax.random.categorical(key, jnp.where(legal, 0.0, -1e9))
    return action.astype(jnp.int32), memory + jnp.any(legal)


def other(params, key, state, seat, memory):
    """As `choose`, but a player that has been told what to do proposes and approves as its params say."""
    action, memory = choose((), key, state, seat, memory)
    return jnp.where(state.phase < 2, params, action), memory


RANDOM = PlayerPolicy(GAME, choose, np.int32(0))
BOT = BotPlayer(Bots(GAME))


@dataclasses.dataclass(frozen=True)
class Thinker(Planner):
    """Decides for one seat at a time, as a searching player does, by the deal that it is shown."""

    game: Avalon = GAME

    def decide(self, params, keys, states, seats):
        def one(key, state, seat):
            noise = jax.random.uniform(jax.random.fold_in(key, state.deal), (GAME.num_actions,))
            return jnp.argmax(jnp.where(GAME.legal(state)[seat], noise, -1.0)).astype(jnp.int32)

        return jax.vmap(one)(keys, states, seats)


MIX = [Thinker(), BOT, RANDOM, BOT, Thinker()]


@functools.cache
def mixed():
    """Games of a mix with a player that plans, and their first phases."""

    @jax.jit
    def run(keys):
        deal_keys, *streams = split_rows(keys, 4)
        first = jax.vmap(GAME.init)(deal_keys)
        recorder = trajectory(first, TURNS)
        return play(GAME, MIX, keys, states=first, fresh=True, streams=streams, recorder=recorder)

    return jax.device_get(run(KEYS))


def test_any_mix_plays_to_the_end_by_the_rules():
    games = mixed()
    assert games.final.terminated.all()
    assert (games.plans[:, 0] > 0).all()  # who plans has planned in each game,
    assert not games.plans[:, 1:].any()  # and nobody else has
    path, length = games.record, games.record.length
    legal = np.asarray(jax.jit(jax.vmap(jax.vmap(GAME.legal)))(path.states))[:, :TURNS]
    chosen = np.take_along_axis(legal, np.maximum(path.actions, 0)[..., None], axis=-1)[..., 0]
    counts = (np.arange(TURNS) < length[:, None])[..., None] & legal.any(-1)
    assert counts.sum() > 100
    assert chosen[counts].all()
    over = path.states.terminated[np.arange(len(KEYS)), length]
    np.testing.assert_array_equal(over[length < TURNS], True)


def test_nothing_is_planned_for_a_seat_that_does_not_act():
    games = mixed()
    states, played = games.record.states, np.arange(TURNS) < games.record.length[:, None]
    acting = np.asarray(jax.jit(jax.vmap(jax.vmap(GAME.acting)))(states))
    to_plan = np.where(states.phase == 2, acting & states.evil, acting)[:, :TURNS]  # good players pass a quest
    expected = sum((to_plan >> seat & played).sum(1) for seat in (0, 4))
    short = games.record.length < TURNS
    assert (games.plans[short, 0] == expected[short]).all()
    assert (games.plans[~short, 0] >= expected[~short]).all()


@functools.cache
def told():
    """Games of two policies, one of which has params, as one batch."""
    seats = [RANDOM, PlayerPolicy(GAME, other, np.int32(0))] * 2 + [RANDOM]
    run = jax.jit(lambda params, lanes: play(GAME, seats, KEYS, params=((), params), lanes=lanes), static_argnums=1)
    return seats, run


def test_one_after_the_other_is_as_all_at_once():
    _, run = told()
    together, one_by_one = run(1, None), run(1, 1)
    chex.assert_trees_all_equal(together, one_by_one)
    assert len(np.unique(np.asarray(together.final.deal))) > 1


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_with_and_without_jit_the_same(self):
        seats, run = told()
        again = self.variant(lambda keys, params: play(GAME, seats, keys, params=((), params)))(KEYS, 1)
        chex.assert_trees_all_equal(jax.device_get(run(1, None)), jax.device_get(again))


def test_params_reach_their_player():
    _, run = told()
    approving, rejecting = run(1, None).final, run(0, None).final
    assert not np.array_equal(approving.proposals, rejecting.proposals)
    votes = np.asarray(approving.proposal_votes)[:, 0]
    assert (votes & 0b01010 == 0b01010).all()  # the seats of the second policy
    chex.assert_trees_all_equal(approving.deal, rejecting.deal)


def test_memories_are_a_players_own():
    _, run = told()
    games = jax.device_get(run(1, None))
    proposals, votes = games.final.num_proposals, games.memories[0] + games.memories[1]
    assert (votes.sum(1) > 5 * proposals).all()  # every seat votes on every proposal, and both count for all seats


def test_seats_may_differ_from_game_to_game():
    two = RANDOM, PlayerPolicy(GAME, other, np.int32(0))
    holders = np.array([[0] * 5, [1] * 5, [0, 0, 1, 1, 1]] * 2)
    by_row, good = jax.jit(
        lambda keys: [
            play(GAME, two, keys, holders=who, params=((), 1), max_turns=2).final for who in (holders, by_side("good"))
        ]
    )(KEYS)
    votes = np.asarray(by_row.proposal_votes)[:, 0]
    assert (votes[[1, 4]] == 31).all()
    assert (votes[[2, 5]] & 0b11100 == 0b11100).all()
    ours = ~np.asarray(good.evil) & 31
    assert (np.asarray(good.proposal_votes)[:, 0] & ours == ours).all()


def test_what_a_seat_cannot_know_does_not_change_what_it_does():
    """Roles are redrawn behind each seat's back in states of all phases."""
    path = mixed().record
    rows, turns = np.nonzero((np.arange(TURNS) < path.length[:, None]) & (np.arange(TURNS) % 2 == 0))
    states = jax.tree.map(lambda leaf: jnp.asarray(leaf[rows, turns]), path.states)
    keys = jax.random.split(jax.random.key(5), len(rows))

    @jax.jit
    def run(states):
        players, holders = driver.seating(GAME, MIX)
        seated = GameDriver(GAME, players, holders, ((),) * 3, split_rows(keys, 3), states, fresh=False)
        table = seated.seat(jnp.arange(len(rows)))
        table = jax.lax.while_loop(lambda table: jnp.any(table.waiting != 0), seated.plan, table)
        return seated.actions(table)[0]

    seen = np.asarray(run(states))
    acts = np.asarray(jax.jit(jax.vmap(GAME.acting))(states))
    scramble = jax.jit(jax.vmap(GAME.scramble, (0, None, 0)))
    changed = 0
    for seat in range(5):
        redrawn = scramble(states, seat, jax.random.split(jax.random.key(seat), len(rows)))
        changed += (np.asarray(redrawn.deal) != np.asarray(states.deal)).sum()
        # who has to act in the assassination depends on the roles: the seat itself still does
        here = acts >> seat & 1 == 1
        np.testing.assert_array_equal(np.asarray(run(redrawn))[here, seat], seen[here, seat])
    assert changed > len(rows)


@dataclasses.dataclass(frozen=True)
class Scripted:
    """Asks elsewhere what `RANDOM` would do."""

    def start(self, state, seat, key):
        return key, jnp.int32(0)

    def decide(self, state, seat, memory, path):
        verdicts = yield Verify("choose", ((state, seat, memory, path[-2]),))
        return verdicts.values[0]

    def observe(self, memory, before, after, seat):
        return memory


def answer(items):
    """As the jitted driver has `RANDOM` choose."""

    @jax.jit
    def one(state, seat, memory, turn):
        stream, count = memory
        key = jax.random.fold_in(RANDOM.act_key(stream, state, turn), seat)
        action, count = choose((), key, state, seat, count)
        return action, (stream, count)

    answers = [one(*item[:3], jnp.int32(item[3])) for item in items]
    return [(int(action), memory) for action, memory in answers]


def test_the_host_form_plays_the_same_games():
    scripted = Scripted()
    seats: list[Any] = [BOT, scripted, BOT, scripted, BOT]
    jobs = [
        Job(f"{number}", lambda ledger, n=number: host.play(GAME, seats, KEYS[n], path=(n,))) for number in range(3)
    ]
    sizes = []
    outcomes = run_lockstep(jobs, {}, {"choose": lambda items: sizes.append(len(items)) or answer(items)})
    assert [outcome.error for outcome in outcomes] == [None] * 3
    expected = jax.device_get(jax.jit(lambda keys: play(GAME, [BOT, RANDOM, BOT, RANDOM, BOT], keys))(KEYS[:3]))
    for number, outcome in enumerate(outcomes):
        chex.assert_trees_all_equal(outcome.value.final, jax.tree.map(lambda leaf, n=number: leaf[n], expected.final))
    assert max(sizes) > 2  # seats and games are asked together


class Rude(Scripted):
    def decide(self, state, seat, memory, path):
        yield Verify("choose", ((state, seat, memory, path[-2]),))
        return 99, memory


def test_an_illegal_action_is_refused_on_the_host():
    job = Job("rude", lambda ledger: host.play(GAME, [Rude()] * 5, KEYS[0]))
    error = run_lockstep([job], {}, {"choose": answer})[0].error
    assert isinstance(error, UserError)
    assert "99" in str(error)


@dataclasses.dataclass(frozen=True)
class Heavy(BotPlayer):
    weights: Any = None


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: play(GAME, [BOT] * 4, KEYS), "4 players for 5 seats"),
        (lambda: play(GAME, [Heavy(Bots(GAME), weights=np.zeros(3))] * 5, KEYS), "hashable"),
        (lambda: play(GAME, [BOT] * 5, KEYS, params=[(), ()]), "give each"),
        (lambda: play(GAME, [BOT] * 5, KEYS, lanes=0), "lanes"),
        (lambda: by_side("neither"), "side must be"),  # pyright: ignore[reportArgumentType]
    ],
    ids=["seats", "hash", "params", "lanes", "side"],
)
def test_refuses_what_does_not_fit(call, match):
    with pytest.raises(UserError, match=match):
        call()


def test_200_players_who_pick_anything_are_refused_or_were_lucky():
    """In each of 200 games five players pick any number from -1 on."""

    def anything(params, key, state, seat, memory):
        return jax.random.randint(key, (), -1, 4), memory

    player = PlayerPolicy(GAME, anything)
    keys = jax.random.split(jax.random.key(5), 200)
    final = jax.jit(lambda keys: play(GAME, [player] * 5, keys).final)(keys)
    refused = np.isnan(final.reward).any(axis=1)
    assert np.asarray(final.terminated).all()
    assert 150 < refused.sum() <= 200  # in a whole game somebody picks -1 or more than there is
    with pytest.raises(UserError, match=r"in game [0-9]+ a player picked an action that is not legal"):
        play(GAME, [player] * 5, keys)
    lucky = play(GAME, [RANDOM] * 5, keys).final
    assert np.isfinite(lucky.reward).all()
