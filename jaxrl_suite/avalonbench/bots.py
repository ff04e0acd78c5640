"""The naive bots of AvalonBench and a random bot, for all seats at once.

    bots = Bots(Avalon(5))
    memory = bots.init()
    action = bots.act(key, state, memory)
    after = game.apply(state, action)
    memory = bots.observe(memory, state, after)

Everything is arithmetic on bit sets in scalars, with few table look-ups, so that a batch of games runs in vector
registers. A Servant's posterior is a uniform distribution over the sides that are still possible, so a set of sides
is all there is to remember.

Shapes: `P` players, `A` actions; a set of W words is a tuple of int32[]. Seats are bit masks.

Reference: Light et al., "AvalonBench" (arXiv 2310.05036), baseline agents.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench.bot_tables import BotTables, bot_tables
from jaxrl_suite.avalonbench.word_sets import Words, both, choose, constants, contains, look_up, nonempty, pick, size
from jaxrl_suite.envs.avalon import roles
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import ASSASSIN, EVIL_ROLES, GOOD_ROLES, MERLIN, NUM_QUESTS
from jaxrl_suite.envs.avalon.state import ASSASSINATION, QUEST, TEAM, AvalonState
from jaxrl_suite.errors import UserError


class Memory(NamedTuple):
    """The memory that a Servant in each seat would have; public, whatever the roles are."""

    support: tuple[Words, ...]  # for each seat: the sets of evil seats that it still considers possible
    largest: jax.Array  # int32[], the first largest team that went on a quest without a fail, 0 before
    preferred: tuple[Words, ...]  # for each seat: the teams of the present quest that it would propose and approve


@dataclasses.dataclass(frozen=True)
class Bots:
    """A bot in every seat, of one kind for each side.

    Naive bots. A Servant keeps the sides that have enough evil on every failed quest, and goes for the teams that are
    all good in most of them, preferably within or around the largest team that has passed. Merlin goes for teams
    without evil. Evil players go for teams with as many evil members as fails are needed; if two are on a team where
    one fail is enough, the Assassin fails alone; the Assassin names a random good player. Percival plays as a
    Servant, other evil roles as Minions. Under the `official` rules they know only what their roles are shown.

    Random bots propose uniformly, vote at random, decide quests by their side, and name any other player.

    Args:
      game: the rules.
      good: the kind of bot in the good seats.
      evil: the kind of bot in the evil seats.
    """

    game: Avalon
    good: Literal["naive", "random"] = "naive"
    evil: Literal["naive", "random"] = "naive"

    def __post_init__(self):
        for name in ("good", "evil"):
            if getattr(self, name) not in ("naive", "random"):
                raise UserError(f"{name} must be naive or random, got {getattr(self, name)!r}")

    @property
    def tables(self) -> BotTables:
        return bot_tables(self.game.num_players)

    # Memory.

    def init(self) -> Memory:
        """The memory at the start of a game."""
        tables = self.tables
        return Memory(
            support=tuple(constants(tables.without[:, seat]) for seat in range(self.game.num_players)),
            largest=jnp.int32(0),
            preferred=tuple(constants(tables.first_preferred[:, seat]) for seat in range(self.game.num_players)),
        )

    def observe(self, memory: Memory, before: AvalonState, after: AvalonState) -> Memory:
        """The memory after the step from `before` to `after`; it changes only with a quest."""
        played = (before.phase == QUEST) & ~before.terminated
        fails = (after.fail_votes >> (4 * before.quest)) & 15
        updated = self.remember(memory, before.quest, before.team, fails)
        return jax.tree.map(lambda old, new: jnp.where(played, new, old), memory, updated)

    def remember(self, memory: Memory, quest: jax.Array, team: jax.Array, fails: jax.Array) -> Memory:
        """The memory after `team` int32[] went on `quest` int32[] and `fails` int32[] votes were fails."""
        tables, players = self.tables, self.game.num_players
        possible = look_up(tables.at_least, fails * (1 << players) + team)
        support = []
        for seat, old in enumerate(memory.support):
            new = both(old, possible)
            fresh = constants(tables.without[:, seat])  # a contradiction: it takes all its sides to be possible again
            support.append(choose(nonempty(new), new, fresh))
        larger = (fails == 0) & (size((team,)) > size((memory.largest,)))
        largest = jnp.where(larger, team, memory.largest)
        following = jnp.minimum(quest + 1, NUM_QUESTS - 1)
        return Memory(tuple(support), largest, self._preferred(tuple(support), largest, following))

    def memory_of(self, state: AvalonState) -> Memory:
        """The memory that the bots have in `state`, from its public history."""
        memory = self.init()
        for quest in range(NUM_QUESTS):
            accepted = state.proposal_accepted & (state.proposal_quest == quest)
            team = jnp.sum(jnp.where(accepted, state.proposal_team, 0), dtype=jnp.int32)
            updated = self.remember(memory, jnp.int32(quest), team, (state.fail_votes >> (4 * quest)) & 15)
            played = (((state.won | state.lost) >> quest) & 1) == 1
            memory = jax.tree.map(lambda old, new, played=played: jnp.where(played, new, old), memory, updated)
        return memory

    def _preferred(self, support: tuple[Words, ...], largest: jax.Array, quest: jax.Array) -> tuple[Words, ...]:
        tables, players = self.tables, self.game.num_players
        slot = self._slot(quest)
        inside = look_up(tables.exactly, (slot << players) + (~largest & ((1 << players) - 1)))
        around = look_up(tables.supersets, (slot << players) + largest)
        best = self._best_teams(support, slot)
        within, beyond = (tuple(both(teams, some) for teams in best) for some in (inside, around))
        return tuple(
            choose(nonempty(first), first, choose(nonempty(second), second, third))
            for first, second, third in zip(within, beyond, best, strict=True)
        )

    def _best_teams(self, support: tuple[Words, ...], slot: jax.Array) -> tuple[Words, ...]:
        """For each seat, the teams that are all good in most of the sides in its support."""
        tables = self.tables
        if tables.preferred.size:
            return tuple(
                look_up(tables.preferred[None], (slot << len(tables.sides)) + possible[0]) for possible in support
            )
        clean = jnp.asarray(tables.clean_sides)[slot]  # [T, V]
        real = jnp.asarray(tables.teams.reshape(-1, len(clean)))[slot] != 0
        kept = jnp.stack([jnp.stack(possible) for possible in support])[:, None, :] & clean[None]  # [P, T, V]
        counts = jnp.where(real[None], jnp.sum(jax.lax.population_count(kept), axis=-1), -1)
        best = counts == jnp.max(counts, axis=-1, keepdims=True)
        bits = jnp.pad(best, ((0, 0), (0, tables.team_words * 32 - best.shape[1]))).reshape(-1, tables.team_words, 32)
        place = (1 << np.arange(32, dtype=np.uint32))[None, None]
        words = jax.lax.bitcast_convert_type(jnp.sum(jnp.where(bits, place, 0), axis=-1, dtype=jnp.uint32), jnp.int32)
        words = jax.lax.optimization_barrier(words)  # or each use of a word computes all of them again
        return tuple(tuple(words[seat, word] for word in range(tables.team_words)) for seat in range(len(support)))

    # Policies. One random word goes to the proposal, one to votes and target: see `play_round`.

    def act(self, key: jax.Array, state: AvalonState, memory: Memory) -> jax.Array:
        """int32[P]: the actions of all who act in `state`; other entries mean nothing. `key` is consumed."""
        return self.actions(jax.random.bits(key, (2,), jnp.uint32), state, memory)

    def actions(self, words: jax.Array, state: AvalonState, memory: Memory) -> jax.Array:
        """int32[P]: as `act`, with `words` uint32[2] for all that is random."""
        index = self.propose(words[0], state.deal, state.leader, state.quest, memory)
        number = self.index_of(state.quest, state.team)
        votes = self.vote(words[1], state.deal, state.quest, number, state.team, memory)
        votes = jnp.where(state.phase == QUEST, self.passes(state.deal, state.quest, state.team), votes)
        seats = jnp.arange(self.game.num_players)
        action = (votes >> seats) & 1
        action = jnp.where(state.phase == TEAM, index, action)
        return jnp.where(state.phase == ASSASSINATION, self.target(words[1], state.deal), action).astype(jnp.int32)

    def propose(
        self, word: jax.Array, deal: jax.Array, leader: jax.Array, quest: jax.Array, memory: Memory
    ) -> jax.Array:
        """int32[]: the action of the leader in team selection, drawn from `proposals` with `word` uint32[]."""
        return pick(self.proposals(deal, leader, quest, memory), word, min(32, self.game.num_actions))

    def proposals(self, deal: jax.Array, leader: jax.Array, quest: jax.Array, memory: Memory) -> Words:
        """The teams among which the leader draws, a set of actions.

        Args:
          deal: int32[], the roles as the game packs them.
          leader: int32[], the seat.
          quest: int32[], its index.
          memory: of the bots.
        """
        tables, players = self.tables, self.game.num_players
        slot, own = self._slot(quest), 1 << leader
        choices = memory.preferred[0]
        for seat in range(1, players):
            choices = choose(leader == seat, memory.preferred[seat], choices)
        informed = [role for role in sorted(set(self.game.roles)) if role == MERLIN or role in EVIL_ROLES]
        evil, level, knows = jnp.int32(0), jnp.int32(0), jnp.bool_(False)
        for role in informed:
            here = (roles.seats_of(deal, role, players) & own) != 0
            known = self._known_evil(deal, role)
            wanted = jnp.minimum(self.needed(quest), size((known,))) if role in EVIL_ROLES else 0
            evil, level = jnp.where(here, known, evil), jnp.where(here, wanted, level)
            knows = knows | here
        aimed = look_up(tables.exactly, (level * (tables.every.shape[1] << players)) + (slot << players) + evil)
        aimed = both(aimed, look_up(tables.containing, slot * players + leader))
        choices = choose(knows, aimed, choices)
        every = look_up(tables.every, slot)
        leader_evil = (roles.evil_seats(deal, players) & own) != 0
        for kind, side in ((self.good, ~leader_evil), (self.evil, leader_evil)):
            if kind == "random":
                choices = choose(side, every, choices)
        return choices

    def vote(
        self, word: jax.Array, deal: jax.Array, quest: jax.Array, index: jax.Array, team: jax.Array, memory: Memory
    ) -> jax.Array:
        """int32[]: the seats that approve `team` int32[], a bit mask, whose action was `index` int32[]."""
        players, present = self.game.num_players, sorted(set(self.game.roles))
        evil_mask = roles.evil_seats(deal, players)
        votes = jnp.int32(0)
        for seat in range(players):
            votes = votes | (contains(memory.preferred[seat], index) << seat)
        for role in present:
            if role == MERLIN or role in EVIL_ROLES:
                holders = roles.seats_of(deal, role, players)
                known = size((team & self._known_evil(deal, role),))
                approves = known == 0 if role == MERLIN else known >= self.needed(quest)
                votes = jnp.where(approves, votes | holders, votes & ~holders)
        coins = (word >> (32 - players)).astype(jnp.int32)
        if self.good == "random":
            votes = (votes & evil_mask) | (coins & ~evil_mask)
        if self.evil == "random":
            votes = (votes & ~evil_mask) | (coins & evil_mask)
        return votes

    def passes(self, deal: jax.Array, quest: jax.Array, team: jax.Array) -> jax.Array:
        """int32[]: the seats that would pass the quest of `team` int32[], a bit mask."""
        players = self.game.num_players
        if self.evil == "random":
            return ~roles.evil_seats(deal, players) & ((1 << players) - 1)
        needed, fail = self.needed(quest), jnp.int32(0)
        one_fails = jnp.bool_(self.game.num_evil == 2) & (needed == 1)  # the Assassin, where evil is more than enough
        for role in set(self.game.roles) & set(EVIL_ROLES):
            known = size((team & self._known_evil(deal, role),))
            fails = known >= needed if role == ASSASSIN else (known == needed) | ((known > needed) & ~one_fails)
            fail = jnp.where(fails, fail | roles.seats_of(deal, role, players), fail)
        return ~fail & ((1 << players) - 1)

    def target(self, word: jax.Array, deal: jax.Array) -> jax.Array:
        """int32[]: the seat that the Assassin names, drawn with `word` uint32[]."""
        players = self.game.num_players
        spared = self._known_evil(deal, ASSASSIN)
        if self.evil == "random" and self.game.rules != "official":
            spared = roles.seats_of(deal, ASSASSIN, players)
        rest = word << players  # the first bits are the votes
        return pick((~spared & ((1 << players) - 1),), rest, players)

    def known_good(self, state: AvalonState, memory: Memory, seat: int) -> jax.Array:
        """float32[P]: the probability that each player is good that the bot in `seat` would report, for naive bots."""
        players = self.game.num_players
        possible = memory.support[seat]
        total = size(possible)
        good = [size(both(possible, constants(self.tables.without[:, other]))) for other in range(players)]
        reported = jnp.stack(good).astype(jnp.float32) / total.astype(jnp.float32)
        own = 1 << seat
        for role in sorted(set(self.game.roles)):
            if role == MERLIN or role in EVIL_ROLES:
                here = (roles.seats_of(state.deal, role, players) & own) != 0
                sides = ((~self._known_evil(state.deal, role) >> jnp.arange(players)) & 1).astype(jnp.float32)
                reported = jnp.where(here, sides, reported)
        return reported

    def believed_good(self, memory: Memory, seat: int) -> jax.Array:
        """int32[]: the seats that a Servant in `seat` takes to be good with probability 1/2 or more."""
        possible, mask = memory.support[seat], jnp.int32(0)
        total = size(possible)
        for other in range(self.game.num_players):
            good = size(both(possible, constants(self.tables.without[:, other])))
            mask = mask | jnp.where(2 * good >= total, 1 << other, 0)
        return mask

    def _known_evil(self, deal: jax.Array, role: int) -> jax.Array:
        """The seats that a holder of `role` knows to be evil, its own among them."""
        pointed_out = roles.pointed_out(role, self.game.roles, self.game.rules)
        shown = [other for other in pointed_out if other not in GOOD_ROLES]
        if len(shown) == len(set(self.game.roles) & set(EVIL_ROLES)):
            return roles.evil_seats(deal, self.game.num_players)
        mask = jnp.int32(0)
        for other in {*shown, role} - set(GOOD_ROLES):
            mask = mask | roles.seats_of(deal, other, self.game.num_players)
        return mask

    def index_of(self, quest: jax.Array, team: jax.Array) -> jax.Array:
        """int32[]: the action that proposes `team`, a bit mask; 0 if it is not of the quest's size."""
        return look_up(self.tables.index[None], (self._slot(quest) << self.game.num_players) + team)[0]

    def team_of(self, quest: jax.Array, index: jax.Array) -> jax.Array:
        """int32[]: the bit mask of the team that action `index` proposes."""
        width = self.tables.teams.size // self.tables.every.shape[1]
        return look_up(self.tables.teams[None], self._slot(quest) * width + index)[0]

    def needed(self, quest: jax.Array) -> jax.Array:
        """int32[]: the fails that make the quest fail."""
        packed = sum(need << (4 * index) for index, need in enumerate(self.game.fails_needed))
        return (jnp.int32(packed) >> (4 * quest)) & 15

    def _slot(self, quest: jax.Array) -> jax.Array:
        return (jnp.int32(self.tables.slot_of_quest) >> (4 * quest)) & 15
