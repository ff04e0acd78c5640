"""A game of Avalon as JSON lines: the rules and the deal, then a line for each phase. It replays to the same states.

The log is complete, with roles and secret quest votes. Lines by phase:

  {"phase": 0, "leader": 3, "team": [2, 3]}
  {"phase": 1, "votes": [1, 0, ...]}            by seat, 1 approves
  {"phase": 2, "team": [2, 3], "votes": [1, 0]}  in the order of the team, 1 passes
  {"phase": 3, "assassin": 4, "target": 0}

Shapes: `P` players.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxrl_suite.envs.avalon.game import Avalon
from jaxrl_suite.envs.avalon.roles import NUM_QUESTS, mask_to_seats, seats_to_mask
from jaxrl_suite.envs.avalon.state import QUEST, TEAM, VOTE, AvalonState
from jaxrl_suite.errors import UserError

_FORMAT = "jaxrl_suite avalon 1"
# Play depends on the roles dealt, not on which could have been: one compilation serves all role sets.
_apply_any = jax.jit(lambda game, state, action: game.apply(state, action), static_argnums=0)
_legal_any = jax.jit(lambda game, state: game.legal(state), static_argnums=0)


@dataclasses.dataclass(frozen=True)
class GameLog:
    """One game, or its beginning.

    Args:
      game: the rules.
      roles: the role id on each seat.
      leader: who proposes first.
      moves: a mapping for each phase, as in the module's description.
    """

    game: Avalon
    roles: tuple[int, ...]
    leader: int
    moves: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self):
        if sorted(self.roles) != list(self.game.roles):
            raise UserError(f"the roles must be {list(self.game.roles)} in some order, got {list(self.roles)}")
        if not 0 <= self.leader < self.game.num_players:
            raise UserError(f"leader must be 0 to {self.game.num_players - 1}, got {self.leader}")

    @classmethod
    def of_play(cls, game: Avalon, states: Sequence[AvalonState], actions: Sequence[Any]) -> GameLog:
        """The log of a game that went through `states`, from the first one, by `actions` int32[P]."""
        states = jax.device_get(list(states))
        moves = tuple(move_of_action(game, state, action) for state, action in zip(states[:-1], actions, strict=True))
        return cls(game, tuple(int(role) for role in states[0].roles), int(states[0].leader), moves)

    def dumps(self) -> str:
        """The JSON lines."""
        header = {"format": _FORMAT, **dataclasses.asdict(self.game), "roles": self.roles, "leader": self.leader}
        return "".join(json.dumps(line) + "\n" for line in (header, *self.moves))

    @classmethod
    def loads(cls, text: str) -> GameLog:
        """The game that `dumps` wrote.

        Raises:
          UserError: if the text is no such log, or has rules, roles or a leader that cannot be.
        """
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            header, *moves = [json.loads(line) for line in lines]
            known = header.pop("format") == _FORMAT
            roles, leader = tuple(header.pop("roles")), header.pop("leader")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"not a log of Avalon ({error}); GameLog.dumps writes one") from error
        if not known:
            raise UserError(f"a log of an unknown format; this version reads {_FORMAT!r}")
        game = Avalon(**header)
        return cls(game, roles, leader, tuple(moves))

    def replay(self) -> list[AvalonState]:
        """The first state and the state after each move, with NumPy leaves.

        Raises:
          UserError: if a move is not legal in its state; the message says which and why.
        """
        state = self.game.start(self.roles, self.leader)
        states = [jax.device_get(state)]
        for number, move in enumerate(self.moves):
            try:
                action = action_of_move(self.game, states[-1], move)
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"move {number}, {move}, is not possible: {error}") from error
            state = _apply_any(_any_roles(self.game), state, action)
            states.append(jax.device_get(state))
        return states

    def actions(self) -> list[np.ndarray]:
        """int32[P] for each move."""
        pairs = zip(self.replay()[:-1], self.moves, strict=True)
        return [action_of_move(self.game, state, move) for state, move in pairs]


def move_of_action(game: Avalon, state: AvalonState, action: Any) -> dict[str, Any]:
    """The line for `action` int32[P] in the concrete `state`."""
    phase, action = int(state.phase), np.asarray(action)
    if phase == TEAM:
        leader = int(state.leader)
        team = game.teams()[int(state.quest), action[leader]]
        return {"phase": phase, "leader": leader, "team": mask_to_seats(team)}
    if phase == VOTE:
        return {"phase": phase, "votes": action.tolist()}
    if phase == QUEST:
        team = mask_to_seats(state.team)
        return {"phase": phase, "team": team, "votes": action[team].tolist()}
    assassin = int(np.argmax(state.roles == max(game.roles)))  # the Assassin has the highest role id
    return {"phase": phase, "assassin": assassin, "target": int(action[assassin])}


def action_of_move(game: Avalon, state: AvalonState, move: Mapping[str, Any]) -> np.ndarray:
    """int32[P]: the action that the line `move` describes in the concrete `state`, 0 for those who do not act.

    Raises:
      UserError: if it is not legal there.
    """
    phase, action = int(state.phase), np.zeros(game.num_players, np.int32)
    if bool(state.terminated):
        raise UserError("the game is over")
    if move["phase"] != phase:
        raise UserError(f"the game is in phase {phase}")
    if phase == TEAM:
        if move["leader"] != int(state.leader):
            raise UserError(f"the leader is {int(state.leader)}")
        found = np.flatnonzero(game.teams()[int(state.quest)] == seats_to_mask(move["team"]))
        if not len(found):
            raise UserError(f"quest {int(state.quest)} takes {game.team_sizes[int(state.quest)]} different players")
        action[move["leader"]] = found[0]
    elif phase == VOTE:
        action[:] = move["votes"]
    elif phase == QUEST:
        if seats_to_mask(move["team"]) != int(state.team):
            raise UserError(f"the team is {mask_to_seats(state.team)}")
        for seat, vote in zip(move["team"], move["votes"], strict=True):
            action[seat] = vote
    else:
        action[move["assassin"]] = move["target"]
    legal = np.asarray(_legal_any(_any_roles(game), state))
    for seat in np.flatnonzero(legal.any(axis=1)):
        if not (0 <= action[seat] < game.num_actions and legal[seat, action[seat]]):
            raise UserError(f"player {seat} may not do that")
    return action


def snapshot(state: AvalonState) -> list[Any]:
    """[phase, quest, round, leader, over, good victory, results of the quests played]: a state in plain numbers."""
    won, lost = int(state.won), int(state.lost)
    results = [won >> quest & 1 for quest in range(NUM_QUESTS) if (won | lost) >> quest & 1]
    facts = (state.phase, state.quest, state.round, state.leader, state.terminated, state.good_victory)
    return [*(int(fact) for fact in facts), results]


def announcement(before: AvalonState, after: AvalonState) -> list[int]:
    """The announcement to all players of the phase between two states: [phase, over], then by the phase that was played

    the next leader; whether the team is accepted; whether the quest succeeds, and the fail votes; whether good wins.
    """
    played, news = int(before.phase), [int(after.phase), int(after.terminated)]
    if played == TEAM:
        return [*news, int(after.leader)]
    if played == VOTE:
        return [*news, int(after.proposals[int(before.num_proposals)]) >> 27 & 1]
    if played == QUEST:
        quest = int(before.quest)
        return [*news, int(after.won) >> quest & 1, int(after.fail_votes) >> (4 * quest) & 15]
    return [*news, int(after.good_victory)]


def _any_roles(game: Avalon) -> Avalon:
    return Avalon(game.num_players, rules=game.rules)
