"""The embedded default: strategies from a grammar of features, with no language model. It is called what it is.

It sees what a model would be shown, key states, and nothing else: conclusions are a regression on them, ideas are
drawn partly from the conclusions and partly blindly, so that some do harm and a search has something to find out.
What it writes is a source text like a model's, and the same function as weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from jaxrl_suite.core.config import check_ranges
from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.proposer import CALLS, Asking, Draft, Path, T
from jaxrl_suite.evolve.records import KeyState, Strategy
from jaxrl_suite.strategist.heuristics import grammar
from jaxrl_suite.strategist.heuristics.grammar import Features, Operator

MEMORY = 6  # lines of a thought
_TRIES = 50  # draws for an idea that is not known yet


@dataclasses.dataclass(frozen=True)
class GrammarProposer:
    """Changes weights by sentences of the grammar.

    Args:
      library: the features of the game.
      guided: chance that an idea goes by the conclusions.
    """

    library: Features
    guided: float = 0.6

    def __post_init__(self):
        check_ranges(self, guided=(0.0, 1.0))

    @property
    def name(self) -> str:
        return "grammar"

    def seed(self, path: Path) -> Asking[Draft]:
        return _at_once(lambda: self._draft(self.library.seed_weights))

    def conclusions(self, strategy: Strategy, states: Sequence[KeyState], path: Path) -> Asking[str]:
        weights, names = self._weights(strategy), self.library.names
        return _at_once(lambda: grammar.say_findings(grammar.findings(states, weights, names)))

    def ideas(
        self, strategy: Strategy, conclusions: str, known: Sequence[str], count: int, path: Path
    ) -> Asking[tuple[str, ...]]:
        return _at_once(lambda: self._ideas(strategy, conclusions, known, count, _rng("ideas", path)))

    def revise(self, strategy: Strategy, conclusions: str, path: Path) -> Asking[str]:
        """A thought of what was done on the way to the strategy, and one thing more that was not."""
        done = strategy.thought.splitlines()
        new = self._ideas(strategy, conclusions, done, 1, _rng("revise", path))
        return _at_once(lambda: "\n".join([*done, *new][-MEMORY:]))

    def implement(self, strategy: Strategy, idea: str, path: Path) -> Asking[Draft]:
        return _at_once(lambda: self._carry_out(strategy, idea, strategy.thought))

    def follow(self, strategy: Strategy, thought: str, path: Path) -> Asking[Draft]:
        """Carries out the last line of the thought; the strategy has the others in it."""
        last = thought.splitlines()[-1] if thought.strip() else ""
        return _at_once(lambda: self._carry_out(strategy, last, thought))

    def repair(self, draft: Draft, failure: str, path: Path) -> Asking[Draft | None]:
        """None: the grammar has no second way to carry out a sentence."""
        return _at_once(lambda: None)

    def _ideas(
        self, strategy: Strategy, conclusions: str, known: Sequence[str], count: int, rng: np.random.Generator
    ) -> tuple[str, ...]:
        names, old = self.library.names, self._weights(strategy)
        weights = dict(zip(names, old, strict=True))
        findings = [
            finding
            for finding in grammar.parse_findings(conclusions)
            if finding.feature in weights and finding.worth > 0
        ]
        new: list[str] = []
        for _ in range(_TRIES * count):
            if len(new) == count:
                break
            guided = bool(findings) and rng.random() < self.guided
            operator: Operator = (
                grammar.draw_guided(rng, findings, weights) if guided else grammar.draw_blind(rng, weights)
            )
            idea = grammar.say(operator, self.library)
            if idea not in known and idea not in new and grammar.apply(operator, old, names) != old:
                new.append(idea)
        return tuple(new)

    def _carry_out(self, strategy: Strategy, idea: str, thought: str) -> Draft:
        operator, old = grammar.parse(idea), self._weights(strategy)
        if operator is None:
            return Draft(strategy.text, strategy.weights, thought, f"the grammar has no sentence {idea[:100]!r}")
        try:
            draft = self._draft(grammar.apply(operator, old, self.library.names))
        except UserError as error:  # no such feature, or a weight that is no number any more
            return Draft(strategy.text, strategy.weights, thought, str(error))
        return dataclasses.replace(draft, thought=thought)

    def _draft(self, weights: Sequence[float]) -> Draft:
        return Draft(self.library.render(weights), tuple(weights))

    def _weights(self, strategy: Strategy) -> tuple[float, ...]:
        if strategy.weights is None or len(strategy.weights) != len(self.library.names):
            raise UserError(
                f"strategy {strategy.id} has no weights for {len(self.library.names)} features: the grammar changes "
                "strategies in compact form; start from its own seed, or use a language model"
            )
        return strategy.weights


def _rng(call: str, path: Path) -> np.random.Generator:
    return np.random.default_rng((CALLS[call], *path))


def _at_once(make: Callable[[], T]) -> Asking[T]:
    """A generator that asks nothing."""
    return make()
    yield
