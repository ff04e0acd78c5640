"""Recorded discussions, cut off just before one player's turn: what a dialogue guide is tried on.

The suite comes with ten for each role of the five-player game, in `data/scenarios.json`: positions of games between
naive bots, with what the players before the evaluated one say written from templates. `generate` makes them; the same
seed gives the same scenarios.

Shapes: `T` phases, `B` games, `P` players.

Reference: Light et al., "Strategist" (arXiv 2408.10635), evaluation of dialogue guides.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.avalonbench.bots import Bots
from jaxrl_suite.avalonbench.dialogue.dialogue import Dialogue, Scene
from jaxrl_suite.avalonbench.dialogue.words import players
from jaxrl_suite.avalonbench.driver import play
from jaxrl_suite.avalonbench.game_records import Trajectory, trajectory
from jaxrl_suite.avalonbench.player import BotPlayer
from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.log import GameLog
from jaxrl_suite.envs.avalon.roles import EVIL_ROLES, MERLIN, ROLE_NAMES, mask_to_seats
from jaxrl_suite.envs.avalon.state import TEAM, AvalonState
from jaxrl_suite.errors import UserError
from jaxrl_suite.search.tree_search import split_rows

_PHASES = 24  # of each game that scenarios are cut from


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One position in one discussion.

    Args:
      log: the game so far, up to a team selection.
      speaker: the seat whose turn it is.
      dialogue: what was said before, from the leader on.
      intention: what the speaker means to do, in words.
    """

    log: GameLog
    speaker: int
    dialogue: Dialogue
    intention: str

    def __post_init__(self):
        count = self.log.game.num_players
        if not 0 <= self.speaker < count:
            raise UserError(f"speaker must be 0 to {count - 1}, got {self.speaker}")
        if int(self.state.phase) != TEAM:
            raise UserError("the log of a scenario must end where a team is to be proposed: cut it there")
        expected = [(int(self.state.leader) + turn) % count for turn in range(len(self.dialogue) + 1)]
        if [*(seat for seat, _ in self.dialogue), self.speaker] != expected:
            raise UserError("speeches go round from the leader to the seat before the speaker: give one for each")

    @property
    def role(self) -> str:
        """Of the speaker, for instance "merlin"."""
        return ROLE_NAMES[self.log.roles[self.speaker]]

    @functools.cached_property
    def state(self) -> AvalonState:
        return self.log.replay()[-1]

    @property
    def scene(self) -> Scene:
        return Scene(self.log.game, self.state, self.dialogue)

    def to_json(self) -> dict[str, Any]:
        return {
            "log": [json.loads(line) for line in self.log.dumps().splitlines()],
            "speaker": self.speaker,
            "dialogue": [list(said) for said in self.dialogue],
            "intention": self.intention,
        }

    @classmethod
    def from_json(cls, data: Any) -> Scenario:
        """The inverse of `to_json`.

        Raises:
          UserError: if it is not a scenario.
        """
        try:
            log = GameLog.loads("\n".join(json.dumps(line) for line in data["log"]))
            dialogue = tuple((int(seat), str(speech)) for seat, speech in data["dialogue"])
            return cls(log, int(data["speaker"]), dialogue, str(data["intention"]))
        except (KeyError, TypeError) as error:
            raise UserError(f"not a scenario ({error!r}): Scenario.to_json writes one") from error


def load(path: str | Path | None = None, role: str | None = None) -> tuple[Scenario, ...]:
    """The scenarios in a JSON file, by default those that come with the suite.

    Args:
      path: of the file.
      role: of the speaker; by default all.
    """
    if path is None:
        source = resources.files("jaxrl_suite.avalonbench.dialogue").joinpath("scenarios.json")
        text = source.read_text(encoding="utf-8")
    else:
        text = Path(path).read_text(encoding="utf-8")
    scenarios = tuple(Scenario.from_json(data) for data in json.loads(text))
    return tuple(scenario for scenario in scenarios if role in (None, scenario.role))


def dumps(scenarios: Iterable[Scenario]) -> str:
    """A JSON file that `load` reads, a line for each scenario."""
    return "[\n" + ",\n".join(json.dumps(scenario.to_json()) for scenario in scenarios) + "\n]\n"


def generate(game: Avalon, per_role: int = 10, seed: int = 0) -> list[Scenario]:
    """Scenarios from games between naive bots, `per_role` for each role in play, no two from one game.

    Each stands before a proposal after at least one quest; at least one player has spoken before the evaluated one.
    """
    rng = np.random.default_rng(seed)
    wanted = [role for role in sorted(set(game.roles)) for _ in range(per_role)]
    bots, scenarios = Bots(game), []
    games = jax.device_get(_play(bots, jax.random.split(jax.random.key(seed), 4 * len(wanted))))
    for number, length in enumerate(games.length):
        if len(scenarios) == len(wanted):
            break
        path = [jax.tree.map(lambda leaf, at=(number, t): leaf[at], games.states) for t in range(length + 1)]
        role = wanted[len(scenarios)]
        holders = [seat for seat in range(game.num_players) if int(path[0].roles[seat]) == role]
        speaker = int(rng.choice(holders))
        places = [
            t
            for t, state in enumerate(path)
            if int(state.phase) == TEAM
            and int(state.quest) > 0
            and not bool(state.terminated)
            and int(state.leader) != speaker
        ]
        if places:
            place = int(rng.choice(places))
            log = GameLog.of_play(game, path[: place + 1], list(games.actions[number, :place]))
            scenarios.append(_scenario(bots, log, path[place], speaker, rng))
    if len(scenarios) < len(wanted):
        raise UserError(f"only {len(scenarios)} of {len(wanted)} scenarios were found: ask for fewer, or another seed")
    return scenarios


@functools.partial(jax.jit, static_argnums=0)
def _play(bots: Bots, keys: jax.Array) -> Trajectory:
    """The first T phases of one game a key."""
    deal_keys, play_keys = split_rows(keys, 2)
    first, seats = jax.vmap(bots.game.init)(deal_keys), [BotPlayer(bots)] * bots.game.num_players
    recorder = trajectory(first, _PHASES)
    games = play(
        bots.game, seats, keys, states=first, fresh=True, streams=[play_keys], recorder=recorder, max_turns=_PHASES
    )
    return games.record


@functools.partial(jax.jit, static_argnums=0)
def _wishes(bots: Bots, state: AvalonState, words: jax.Array) -> jax.Array:
    """int32[P]: the team that each player would propose, a bit mask; `words` uint32[P] are random."""
    memory = bots.memory_of(state)
    seats = jnp.arange(bots.game.num_players)

    def wish(word, seat):
        return bots.team_of(state.quest, bots.propose(word, state.deal, seat, state.quest, memory))

    return jax.vmap(wish)(words, seats)


def _scenario(bots: Bots, log: GameLog, state: AvalonState, speaker: int, rng: np.random.Generator) -> Scenario:
    game, leader = bots.game, int(state.leader)
    words = jnp.asarray(rng.integers(0, 2**32, game.num_players, dtype=np.uint32))
    wishes = [mask_to_seats(mask) for mask in np.asarray(_wishes(bots, state, words))]
    dialogue = []
    seat = leader
    while seat != speaker:
        dialogue.append((seat, _speech(game, state, seat, wishes, rng)))
        seat = (seat + 1) % game.num_players
    intention = f"vote on the leader's team as suits you; you yourself would send {players(wishes[speaker])}"
    return Scenario(log, speaker, tuple(dialogue), intention)


def _speech(game: Avalon, state: AvalonState, seat: int, wishes: list[list[int]], rng: np.random.Generator) -> str:
    """A sentence or two from a template: Merlin hints, evil players deflect, the others go by failed quests."""
    role, evil = int(state.roles[seat]), [s for s in range(game.num_players) if int(state.evil) >> s & 1]
    others = [other for other in range(game.num_players) if other != seat]
    burnt = sorted(
        {
            member
            for number in range(int(state.num_proposals))
            if bool(state.proposal_accepted[number]) and int(state.results[int(state.proposal_quest[number])]) == 0
            for member in mask_to_seats(state.proposal_team[number])
        }
        - {seat}
    )
    doubted = [other for other in burnt if other not in wishes[seat]]
    open_to_all = doubted or [other for other in others if other not in wishes[seat]] or others
    if role == MERLIN:
        open_to_all = [other for other in open_to_all if other in evil] or evil
    elif role in EVIL_ROLES:
        open_to_all = [other for other in open_to_all if other not in evil] or open_to_all
    target = int(rng.choice(open_to_all))
    why = "was on a quest that failed" if target in burnt else "has been quiet about the teams so far"
    named = players(wishes[seat])
    opening = f"I mean to propose {named}." if seat == int(state.leader) else f"I would send {named}."
    templates = [
        f"{opening} Player {target} {why}, so I would keep player {target} off the team.",
        f"{opening} I am not sure about player {target}, who {why}.",
        f"{opening} Can player {target} explain the last votes? Player {target} {why}.",
        f"{opening} I have no strong read yet.",
    ]
    return str(rng.choice(templates))
