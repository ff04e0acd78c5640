"""Searches for tables and a model: the one that a buyer pays for by the period, and those it is compared with.

A search is a generator: it yields one request, a model and a choice of tables, and is sent its validation accuracy.
Many of them run in lockstep (`run`), so that what they train is trained together.

`data_bandit` picks models by Exp3 and tables as Metam does: tables with similar profiles form clusters; a cluster is
drawn by Thompson sampling, its most promising table is tried on top of those that helped so far, and now and then a
group of tables is. At the end the log2 P best tables are scored again with the best model.

Shapes: `P` side tables, `G` models, `T` periods.

Reference: arXiv 2310.17843, algorithm 2 and appendix A; Exp3: Auer et al., "The nonstochastic multiarmed bandit
problem" (2002); Metam: Galhotra, Gong, Castro Fernandez (2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import numpy as np

from jaxrl_suite.datamarket.automl import LakeTrainer
from jaxrl_suite.errors import UserError

Request = tuple[int, np.ndarray]  # a model, and bool[P]
Search = Generator[Request, float, None]
EXP3_RATE = 0.1  # gamma, as published
GROUP_EVERY = 4  # periods; every so often a group of tables is tried


class Log(NamedTuple):
    """The log of one search."""

    models: np.ndarray  # int[T]
    choices: np.ndarray  # bool[T, P]
    valid: np.ndarray  # float[T], accuracy revealed in each period
    test: np.ndarray  # float[T]

    def best_so_far(self) -> tuple[np.ndarray, np.ndarray]:
        """Two float[T]: highest validation accuracy up to each period, and the test accuracy of what reached it."""
        best = np.maximum.accumulate(self.valid)
        first = np.array([np.flatnonzero(self.valid == value)[0] for value in best])
        return best, self.test[first]


class Exp3:
    """Exponential weights over arms whose rewards lie in [0, 1]."""

    def __init__(self, arms: int, rate: float = EXP3_RATE):
        self.logits, self.rate = np.zeros(arms), rate

    def probabilities(self) -> np.ndarray:
        """float[arms]."""
        weights = np.exp(self.logits - self.logits.max())
        return (1 - self.rate) * weights / weights.sum() + self.rate / len(weights)

    def update(self, arm: int, reward: float) -> None:
        self.logits[arm] += self.rate * reward / (self.probabilities()[arm] * len(self.logits))


class TableChooser:
    """Metam's choice of the next table: clusters of profiles, a Beta posterior for each, and what is likely to help."""

    def __init__(self, profiles: np.ndarray, rng: np.random.Generator, clusters: int = 4):
        self.rng, self.tried = rng, np.zeros(len(profiles), bool)
        self.label = cluster(profiles, min(clusters, len(profiles)), rng)
        self.hits = np.ones((self.label.max() + 1, 2))  # Beta(1, 1)
        self.promise = profiles[:, 1] * (1 - profiles[:, 0])  # correlation with the target, where it matches

    def pick(self, chosen: np.ndarray) -> int | None:
        """A table that is not chosen; those not tried before come first. None if all are chosen."""
        open_ = ~chosen & ~self.tried if (~chosen & ~self.tried).any() else ~chosen
        if not open_.any():
            return None
        draws = self.rng.beta(self.hits[:, 0], self.hits[:, 1])
        alive = np.array([(open_ & (self.label == c)).any() for c in range(len(draws))])
        best = int(np.argmax(np.where(alive, draws, -1.0)))
        inside = np.flatnonzero(open_ & (self.label == best))
        return int(inside[np.argmax(self.promise[inside] + 1e-3 * self.rng.random(len(inside)))])

    def tell(self, table: int, helped: bool) -> None:
        self.tried[table] = True
        self.hits[self.label[table], 0 if helped else 1] += 1


def cluster(profiles: np.ndarray, count: int, rng: np.random.Generator, rounds: int = 20) -> np.ndarray:
    """int[P]: Lloyd's k-means on standardised profiles; labels are 0, 1, ... without gaps."""
    x = (profiles - profiles.mean(0)) / np.maximum(profiles.std(0), 1e-9)
    centres = x[rng.permutation(len(x))[:count]]
    label = np.zeros(len(x), int)
    for _ in range(rounds):
        label = ((x[:, None] - centres[None]) ** 2).sum(-1).argmin(1)
        centres = np.array([x[label == c].mean(0) if (label == c).any() else centres[c] for c in range(count)])
    return np.unique(label, return_inverse=True)[1].reshape(-1)


def data_bandit(
    trainer: LakeTrainer, rng: np.random.Generator, periods: int, models: Sequence[int] | None = None
) -> Search:
    """The published search, one training a period. `models` restricts the arms."""
    arms = list(range(len(trainer.models))) if models is None else list(models)
    tables = trainer.num_tables
    bandit, chooser = Exp3(len(arms)), TableChooser(trainer.profiles, rng)
    chosen, best = np.zeros(tables, bool), -1.0
    gains = np.zeros(tables)  # what each table added when it was tried
    by_model = np.zeros(len(arms))
    final = min(math.ceil(math.log2(max(tables, 2))), max(periods // 4, 1))
    for period in range(periods - final):
        arm = int(rng.choice(len(arms), p=bandit.probabilities()))
        trial, table = chosen.copy(), None
        if period == 0:
            pass  # the buyer's own columns
        elif period % GROUP_EVERY == 0:
            group = rng.permutation(np.flatnonzero(~chosen))[: max(2, tables // 4)]
            trial[group] = True
        elif (table := chooser.pick(chosen)) is not None:
            trial[table] = True
        value = yield arms[arm], trial
        by_model[arm] = max(by_model[arm], value)
        bandit.update(arm, value)
        if table is not None:
            gains[table] = max(gains[table], value - best)
            chooser.tell(table, value > best)
        if value > best:
            best, chosen = value, trial
    top = int(np.argmax(by_model))
    order = np.argsort(-(gains + chooser.promise * 1e-3), kind="stable")
    for step in range(final):
        trial = chosen.copy()
        trial[order[:step]] = True
        value = yield arms[top], trial
        if value > best:
            best, chosen = value, trial


def data_all(trainer: LakeTrainer, rng: np.random.Generator, periods: int) -> Search:
    """Baseline Data-All: the same choice of tables, but every model is trained on each."""
    chooser = TableChooser(trainer.profiles, rng)
    chosen, best, table = np.zeros(trainer.num_tables, bool), -1.0, None
    spent = 0
    while spent < periods:
        trial = chosen.copy()
        if spent and (table := chooser.pick(chosen)) is not None:
            trial[table] = True
        values = []
        for model in range(min(len(trainer.models), periods - spent)):
            values.append((yield model, trial))
        spent += len(values)
        if table is not None:
            chooser.tell(table, max(values) > best)
        if max(values) > best:
            best, chosen = max(values), trial


def data_alt(trainer: LakeTrainer, rng: np.random.Generator, periods: int, probe: int = 0) -> Search:
    """Baseline Data-Alt: one probe model chooses tables; every third block all models are trained on its choice."""
    chooser = TableChooser(trainer.profiles, rng)
    chosen, best, spent = np.zeros(trainer.num_tables, bool), -1.0, 0
    models = len(trainer.models)
    while spent < periods:
        for step in range(min(2 * models, periods - spent)):
            trial, table = chosen.copy(), chooser.pick(chosen) if spent or step else None
            if table is not None:
                trial[table] = True
            value = yield probe, trial
            if table is not None:
                chooser.tell(table, value > best)
            if value > best:
                best, chosen = value, trial
        spent = min(spent + 2 * models, periods)
        for model in range(min(models, periods - spent)):
            yield model, chosen
        spent = min(spent + models, periods)


def models_only(trainer: LakeTrainer, rng: np.random.Generator, periods: int) -> Search:
    """Baseline AutoML: models and hyper-parameters on the buyer's own columns."""
    order = rng.permutation(len(trainer.models))
    for period in range(periods):
        yield int(order[period % len(order)]), np.zeros(trainer.num_tables, bool)


def random_tables(trainer: LakeTrainer, rng: np.random.Generator, periods: int) -> Search:
    """Baseline: a random model on a random choice of tables."""
    for _ in range(periods):
        yield int(rng.integers(len(trainer.models))), rng.random(trainer.num_tables) < rng.random()


SEARCHES: dict[str, Callable[[LakeTrainer, np.random.Generator, int], Search]] = {
    "data bandit": data_bandit,
    "data-all": data_all,
    "data-alt": data_alt,
    "automl": models_only,
    "random tables": random_tables,
}


def run(trainer: LakeTrainer, search: str, seeds: Sequence[int], periods: int) -> list[Log]:
    """Runs one kind of search from several seeds in lockstep.

    Args:
      trainer: the task.
      search: a name in `SEARCHES`.
      seeds: one a run.
      periods: T, trainings of each run.

    Raises:
      UserError: if there is no such search, no seed, or no period.
    """
    if search not in SEARCHES or periods < 1:
        raise UserError(
            f"search must be one of {', '.join(SEARCHES)} and periods at least 1, got {search!r}, {periods}"
        )
    if not len(seeds):
        raise UserError("there is no seed to search from: give at least one")
    runs = [SEARCHES[search](trainer, np.random.default_rng(seed), periods) for seed in seeds]
    requests = [next(process) for process in runs]
    made, results = [[] for _ in runs], []
    for period in range(periods):
        scores = trainer.scores(requests)
        results.append(scores)
        for done, request in zip(made, requests, strict=True):
            done.append(request)
        if period < periods - 1:
            requests = [process.send(float(score)) for process, score in zip(runs, scores[:, 0], strict=True)]
    return [
        Log(
            np.array([model for model, _ in done]),
            np.array([choice for _, choice in done]),
            np.array([scores[place, 0] for scores in results]),
            np.array([scores[place, 1] for scores in results]),
        )
        for place, done in enumerate(made)
    ]
