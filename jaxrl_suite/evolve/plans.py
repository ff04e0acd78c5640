"""Plans of a round's attempts: which strategy is to be improved, and by what idea or thought."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from jaxrl_suite.evolve.attempts import SearchSetup, Tally, conclude, new_ideas, propose, revised_thoughts
from jaxrl_suite.evolve.methods import Search
from jaxrl_suite.evolve.proposer import Asking, Path
from jaxrl_suite.evolve.selection import choose_parents
from jaxrl_suite.llm.jobs import together

ATTEMPT = 1000  # third part of an attempt's path: this times 1 + the step, plus its place; at most so many in a round
_FEEDBACK, _PARENTS, _IDEAS = 0, 1, 2  # random streams of a step


class Plan(NamedTuple):
    """The plan of an attempt."""

    parent: int
    call: str  # of the proposer: implement or follow
    text: str  # the idea, or the thought
    idea: int | None


def plans_from_queue(
    setup: SearchSetup, search: Search, tally: Tally, count: int, path: Path
) -> Asking[tuple[Search, list[Plan]]]:
    """New ideas join the queue; then `count` times a strategy and an idea are chosen, apart from each other.

    Returns:
      The search with the ideas, those chosen under way; and the plans: none if no idea is known yet.
    """
    config, setting = search.config, search.config.setting
    (source,) = choose_parents(setup.method.rule, search.tree, 1, _rng(path, _FEEDBACK), setting)
    said = yield from conclude(setup, search, tally, source, path)
    known = tuple(idea.text for idea in search.queue.ideas)
    ideas = yield from propose(setup, tally, "ideas", path, search.tree[source], said, known, config.ideas)
    queue = search.queue
    for idea in ideas:
        if idea not in known:
            queue = queue.add(idea, source)
    plans = []
    if len(queue):
        rng = _rng(path, _IDEAS)
        for parent in choose_parents(setup.method.rule, search.tree, count, _rng(path, _PARENTS), setting):
            number = queue.choose(rng, config.temperature)
            queue = queue.begin(number)
            plans.append(Plan(parent, "implement", queue[number].text, number))
    return dataclasses.replace(search, queue=queue), plans


def plans_from_parents(
    setup: SearchSetup, search: Search, tally: Tally, count: int, path: Path
) -> Asking[tuple[Search, list[Plan]]]:
    """`count` strategies are chosen; each is looked at afresh, and given an idea or a revised thought of its own.

    A strategy that is chosen several times is looked at once, and asked for as many ideas; if there are fewer, they are
    carried out again. Without any it is left as it is.
    """
    seed, number, step = path
    parents = choose_parents(setup.method.rule, search.tree, count, _rng(path, _PARENTS), search.config.setting)
    distinct = list(dict.fromkeys(parents))
    make = revised_thoughts if setup.method.thought else new_ideas
    proposals = yield from together(
        [
            make(setup, search, tally, parent, parents.count(parent), (seed, number, ATTEMPT * step + place))
            for place, parent in enumerate(distinct)
        ]
    )
    texts = dict(zip(distinct, proposals, strict=True))
    queue, plans, numbers = search.queue, [], dict[tuple[int, int], int]()
    for place, parent in enumerate(parents):
        if not texts[parent]:
            continue
        which = parents[:place].count(parent) % len(texts[parent])
        text = texts[parent][which]
        if setup.method.thought:
            plans.append(Plan(parent, "follow", text, None))
            continue
        if (parent, which) not in numbers:
            numbers[parent, which] = len(queue)
            queue = queue.add(text, parent)
        number = numbers[parent, which]
        queue = queue.begin(number)
        plans.append(Plan(parent, "implement", text, number))
    return dataclasses.replace(search, queue=queue), plans


def _rng(path: Path, stream: int) -> np.random.Generator:
    return np.random.default_rng((*path, stream))
