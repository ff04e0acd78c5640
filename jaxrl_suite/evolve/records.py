"""Records of the outer search: strategies, the states they were judged on, and what judging them said.

The outer search (`evolve`) knows strategies as text and their scores; what a score is, a `Judge` knows. The two meet in
these records alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A strategy, where it came from and what is known of it.

    Args:
      id: its number in the tree, in order of birth; the seed is 0.
      kind: name of the kind of text, for instance `heuristic`, the source of a value function; see `proposer.Kind`.
      text: the source, or whatever a text of the kind is.
      parent: the strategy it was made from; None for a seed.
      idea: number of the idea it carries out; None for a seed.
      weights: of the features, where the same function has a compact form; a population of these is played in one
        program, with no compilation for each.
      thought: a summary in words that is kept beside the text, by the methods that keep one.
      score: the mean reward over the games played so far.
      games: how many those are.
      failures: what went wrong with earlier versions of the text, a line each, before this one passed.
    """

    id: int
    kind: str
    text: str
    parent: int | None = None
    idea: int | None = None
    weights: tuple[float, ...] | None = None
    thought: str = ""
    score: float = 0.0
    games: int = 0
    failures: tuple[str, ...] = ()


class KeyState(NamedTuple):
    """A state in which the search and the heuristic disagree, as a proposer is shown it."""

    strategy: int  # whose heuristic
    state: str  # described in words
    heuristic: tuple[float, ...]  # a value for each player, in points or as chances of winning
    named: Mapping[str, float]  # the heuristic's intermediate values
    search: tuple[float, ...]  # the estimate of the search, in the same unit
    outcome: tuple[float, ...]  # how the game ended
    features: tuple[float, ...] = ()  # of the compact form, for a proposer that works with numbers


class Judgement(NamedTuple):
    """The judgement of a round of evaluation on the strategies it was given, in their order."""

    scores: tuple[float, ...]  # mean reward of a game
    games: tuple[int, ...]  # played by each
    improvements: tuple[float | None, ...]  # of a child over its parent in the same round, paired; None without one
    key_states: tuple[KeyState, ...]  # most telling first


class Judge(Protocol):
    """Evaluates strategies. The same strategies, path and games give the same judgement, in any process."""

    @property
    def identity(self) -> str:
        """All else that its answers depend on, like its game and config.

        A journal does not answer for one judge with what another one said.
        """
        ...

    def judge(self, strategies: Sequence[Strategy], path: tuple[int, ...], games: int | None = None) -> Judgement:
        """Plays `strategies`, all that take part in a round, with random numbers that depend on `path` alone.

        Args:
          strategies: all that take part.
          path: names the random stream.
          games: how many games, or other evaluations, the round may take; the judge decides by default, and need not
            take the argument if no search sets it.
        """
        ...

    def check(self, texts: Sequence[str]) -> Sequence[str]:
        """For each text an empty line if it can be played, else what is wrong with it, for a repair prompt."""
        ...
