"""The outer search: rounds of ideas, strategies that carry them out, and games that say which were good.

A round: the states in which search and heuristic disagree most become conclusions, conclusions become ideas, ideas are
carried out in chosen strategies; what can be played is played together with its parents, and each idea is remembered
by the paired improvement that it brought. All methods of `methods.METHODS` run through this one loop.

It is a generator in the manner of `jaxrl_suite.llm.jobs`, so that many searches advance in lockstep and share the calls
of models and judges:

    with Recording(folder / "draws.jsonl") as draws, Journal(folder / "journal.jsonl") as journal:
        jobs = [search_job(f"{method}-{seed}", EvolveConfig(method), proposer, seed=seed, journal=journal) for ...]
        outcomes = run_lockstep(jobs, Recorder(sampler, draws), services(judge, journal))

Everything depends on the config, the seed, the draws and the judgements alone. To resume, run the same again: draws
come from the recording, checks and judgements from the journal, and nothing is paid twice. An experiment that wants to
report between rounds advances its searches with `start` and `improve`, one round a time. A model that fails (not one
that answers nonsense) ends the job with `SamplerFailedError`: resume when it is back.

Reference: arXiv 2408.10635, algorithm 1 and section 3.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.attempts import Attempt, SearchSetup, Tally, attempt
from jaxrl_suite.evolve.journal import Journal, JudgedRound, service
from jaxrl_suite.evolve.methods import EvolveConfig, Search
from jaxrl_suite.evolve.plans import ATTEMPT, plans_from_parents, plans_from_queue
from jaxrl_suite.evolve.proposer import Asking, Proposer
from jaxrl_suite.evolve.records import Judgement, Strategy
from jaxrl_suite.evolve.selection import IdeaQueue
from jaxrl_suite.evolve.tree import Dropped, RoundScore, StrategyTree
from jaxrl_suite.llm.jobs import Job, together
from jaxrl_suite.llm.ledger import Budget, BudgetExhaustedError, Ledger
from jaxrl_suite.llm.questions import Verify


def search_job(
    name: str,
    config: EvolveConfig,
    proposer: Proposer,
    *,
    seeds: Sequence[Strategy] = (),
    seed: int = 0,
    kind: str = "heuristic",
    judge: str = "",
    journal: Journal | None = None,
    budget: Budget = Budget(),  # noqa: B008 (it is frozen)
) -> Job:
    """A whole search as a job; its value is a `Search`.

    Args:
      name: tells the jobs of a run, and their events in the journal, apart.
      config, proposer, seed, kind, judge: as in `SearchSetup`.
      seeds: strategies to start from; none: the proposer writes one.
      journal: of the run.
      budget: of the search; when it ends, the search returns what it has.
    """
    book = Journal() if journal is None else journal

    def begin(ledger: Ledger) -> Asking[Search]:
        return evolve(SearchSetup(config, proposer, seed, kind, judge, book.log(name)), ledger, seeds)

    return Job(name, begin, budget)


def evolve(setup: SearchSetup, ledger: Ledger, seeds: Sequence[Strategy] = ()) -> Asking[Search]:
    """All rounds of a search."""
    search = yield from start(setup, ledger, seeds)
    while not search.is_done:
        search = yield from improve(setup, search, ledger)
    setup.log("end", stopped=search.stopped, best=search.best.id)
    return search


def start(setup: SearchSetup, ledger: Ledger, seeds: Sequence[Strategy] = ()) -> Asking[Search]:
    """The state before the first round: the seeds, judged.

    Raises:
      UserError: if a seed cannot be played, or the proposer can write none.
    """
    tally, tree = Tally(ledger), StrategyTree()
    path = (setup.seed, 0, 0)
    if not seeds:
        tries = setup.config.seed_tries - 1
        tried = yield from attempt(setup, tally, "seed", path, repairs=tries)
        if not tried.passed:
            why = tried.spent or tried.failures[-1]
            raise UserError(f"no first strategy could be written ({why}): give one, or another proposer")
        seeds = [_strategy(setup, 0, tried, None, None)]
    else:
        texts = tuple(strategy.text for strategy in seeds if strategy.weights is None)
        if texts:
            verdicts = yield Verify(service("check", setup.judge), texts, role="check")
            for failure in filter(None, verdicts.values):
                raise UserError(f"a seed cannot be played ({failure}): mend it")
    for number, strategy in enumerate(seeds):
        tree = tree.add(dataclasses.replace(strategy, id=number, parent=None, idea=None, score=0.0, games=0), 0)
        setup.log("strategy", id=number, parent=None, idea=None, text=strategy.text, weights=strategy.weights)
    queue = IdeaQueue(bandit=setup.config.bandit, exploration=setup.config.exploration)
    search = Search(setup.config, tree, queue, {})
    judgement = yield from _judge(setup, tree.strategies, (setup.seed, 0, 0), parts=4)
    search, _ = _played(setup, search, tree.strategies, judgement, 0)
    if not search.tree.ranked(setup.config.ranking):
        raise UserError("no seed could be played to the end: give another one")
    return _closed(search, tally)


def improve(setup: SearchSetup, search: Search, ledger: Ledger) -> Asking[Search]:
    """One more round. If the budget ends in it, what was finished counts, and the search is stopped."""
    tally, number = Tally(ledger), search.round + 1
    steps = search.config.strategies_per_round if setup.method.sequential else 1
    try:
        for step in range(steps):
            count = search.config.strategies_per_round // steps
            search = yield from _step(setup, search, tally, count, (setup.seed, number, step))
            if search.stopped:
                break
    except BudgetExhaustedError as error:
        search = dataclasses.replace(search, stopped=str(error))
    return _closed(dataclasses.replace(search, round=number), tally)


def _step(setup: SearchSetup, search: Search, tally: Tally, count: int, path: tuple[int, int, int]) -> Asking[Search]:
    """Ideas, attempts, games. `path` is the seed, the round and the step in it."""
    seed, number, step = path
    make = plans_from_queue if setup.method.queue else plans_from_parents
    search, plans = yield from make(setup, search, tally, count, path)
    setup.log("chosen", round=number, step=step, parents=[p.parent for p in plans], ideas=[p.idea for p in plans])
    attempts: list[Attempt] = yield from together(
        [
            attempt(
                setup, tally, plan.call, (seed, number, ATTEMPT * (1 + step) + slot), search.tree[plan.parent],
                plan.text, parent=search.tree[plan.parent], repairs=search.config.repairs,
            )
            for slot, plan in enumerate(plans)
        ]
    )  # fmt: skip
    tree, queue, new = search.tree, search.queue, []
    for plan, tried in zip(plans, attempts, strict=True):
        identity = len(tree) + len(new)
        if tried.passed:
            new.append(_strategy(setup, identity, tried, plan.parent, plan.idea))
            continue
        tree = tree.drop(Dropped(plan.parent, plan.idea, number, tried.draft.text, tried.failures))
        setup.log("dropped", round=number, parent=plan.parent, idea=plan.idea, failures=tried.failures)
        queue = _unmade(queue, plan.idea, counts=search.config.count_failures and not tried.spent)
        if setup.method.forward_fill and not tried.spent:
            copy = search.tree[plan.parent]
            new.append(
                Strategy(
                    identity, copy.kind, copy.text, copy.id, None, copy.weights, copy.thought, 0.0, 0, tried.failures
                )
            )
    spent = next((tried.spent for tried in attempts if tried.spent), "")
    search = dataclasses.replace(search, tree=tree, queue=queue, stopped=spent)
    if not new:
        return search
    for strategy in new:
        setup.log(
            "strategy",
            id=strategy.id,
            parent=strategy.parent,
            idea=strategy.idea,
            text=strategy.text,
            weights=strategy.weights,
        )
    parents = sorted({strategy.parent for strategy in new if strategy.parent is not None})
    players = (*(search.tree[parent] for parent in parents), *new)
    judgement = yield from _judge(setup, players, path, parts=search.config.strategies_per_round // count)
    search = dataclasses.replace(search, tree=_grown(search.tree, new, number))
    search, gains = _played(setup, search, players, judgement, number * search.config.strategies_per_round + step)
    queue = search.queue
    for strategy in new:
        if strategy.idea is not None:
            gain = gains[strategy.id]
            queue = queue.cancel(strategy.idea) if gain is None else queue.update(strategy.idea, gain)
    return dataclasses.replace(search, queue=queue)


def _judge(setup: SearchSetup, players: Sequence[Strategy], path: tuple[int, ...], parts: int) -> Asking[Judgement]:
    """Asks the judge, which may play one of so many parts of a round's games."""
    asked = JudgedRound(tuple(players), path, None if setup.games is None else setup.games // parts)
    verdicts = yield Verify(service("judge", setup.judge), (asked,), role="judge")
    judgement: Judgement = verdicts.values[0]
    ids = [one.id for one in players]
    scores, gains = map(list, (judgement.scores, judgement.improvements))
    setup.log("judged", path=path, ids=ids, scores=scores, games=list(judgement.games), improvements=gains)
    return judgement


def _played(
    setup: SearchSetup, search: Search, players: Sequence[Strategy], judgement: Judgement, level: int
) -> tuple[Search, dict[int, float | None]]:
    """The search with the rewards of `players`, and the improvement of each over its parent where there is one.

    A reward that is not a number is left out: the strategy stays in the tree, unplayed.
    """
    tree, games, fresh = search.tree, 0, 0
    scores = {player.id: score for player, score in zip(players, judgement.scores, strict=True)}
    gains: dict[int, float | None] = {}
    for player, count, gain in zip(players, judgement.games, judgement.improvements, strict=True):
        games += count
        if not math.isfinite(scores[player.id]):
            setup.log("unplayed", id=player.id)
            gains[player.id] = None
            continue
        fresh += player.parent is not None and player.id not in tree.judged
        tree = tree.play(RoundScore(level, player.id, scores[player.id], count))
        if gain is None and player.parent in scores:
            gain = scores[player.id] - scores[player.parent]
        gains[player.id] = gain if gain is not None and math.isfinite(gain) else None
    states = dict(search.states)
    for player in players:
        mine = tuple(state for state in judgement.key_states if state.strategy == player.id)
        if mine:
            states[player.id] = mine
    cost = search.cost._replace(strategies=search.cost.strategies + fresh, games=search.cost.games + games)
    return dataclasses.replace(search, tree=tree, states=states, cost=cost), gains


def _closed(search: Search, tally: Tally) -> Search:
    """The search at the end of a round: what it cost, and where it stands."""
    prompt, output = tally.tokens
    old = search.cost
    cost = old._replace(
        dropped=len(search.tree.dropped),
        calls=old.calls + tally.calls,
        prompt_tokens=old.prompt_tokens + prompt,
        output_tokens=old.output_tokens + output,
        characters=old.characters + tally.characters,
        checks=old.checks + tally.checks,
    )
    search = dataclasses.replace(search, cost=cost)
    return dataclasses.replace(search, curve=(*search.curve, search.point()))


def _strategy(setup: SearchSetup, number: int, tried: Attempt, parent: int | None, idea: int | None) -> Strategy:
    draft = tried.draft
    return Strategy(number, setup.kind, draft.text, parent, idea, draft.weights, draft.thought, failures=tried.failures)


def _grown(tree: StrategyTree, new: Sequence[Strategy], born: int) -> StrategyTree:
    for one in new:
        tree = tree.add(one, born)
    return tree


def _unmade(queue: IdeaQueue, idea: int | None, *, counts: bool) -> IdeaQueue:
    """The queue after an attempt that made no strategy: a trial that brought nothing, or no trial."""
    if idea is None:
        return queue
    return queue.update(idea, 0.0) if counts else queue.cancel(idea)
