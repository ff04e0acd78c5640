"""Records of the outer search: strategies, the states they were judged on, and what judging them said.

The outer search (`evolve`) knows strategies as text and their scores; what a score is, a `Judge` knows. The two meet in
these records alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

Kind = Literal["heuristic", "guide"]


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A strategy, where it came from and what is known of it.

    Args:
      id: its number in the tree, in order of birth; the seed is 0.
      kind: `heuristic`, the source of a value function, or `guide`, a worksheet to fill in before speaking.
      text: the source, or the worksheet.
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
    kind: Kind
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
    """Evaluates strategies. The same strategies and path give the same judgement, in any process.

    A judge may have a property `identity`, a text that names all else that its answers depend on, like its game and
    config: a journal then does not answer for one judge with what another one said.
    """

    def judge(self, strategies: Sequence[Strategy], path: tuple[int, ...]) -> Judgement:
        """Plays `strategies`, all that take part in a round, with random numbers that depend on `path` alone."""
        ...

    def check(self, texts: Sequence[str]) -> Sequence[str]:
        """For each text an empty line if it can be played, else what is wrong with it, for a repair prompt."""
        ...
