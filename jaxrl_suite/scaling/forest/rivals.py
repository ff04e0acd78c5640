"""Rivals of Scattered Forest Search on the same terms: one thinker, one count of solutions, one ledger.

    line_search            edit the last solution along one reflection; the last one is submitted (Reflexion-like)
    plain_tree             UCT over a tree of two children each, one reflection a child
    rex                    Thompson sampling over all solutions, which one to repair next
    fun_search             islands of solutions; the worse half is emptied when all are full
    refine_instructions    first solutions stay as they are; what is refined is how to repair them (IRRI)
    verbalized_sampling    several solutions from one request

References: Shinn et al., arXiv 2303.11366 (Reflexion); Tang et al., arXiv 2405.17503 (REx); Romera-Paredes et al.,
"Mathematical discoveries from program search with large language models", 2023 (FunSearch); Tanaka and Sato,
arXiv 2604.23989 (IRRI); Zhang et al., arXiv 2510.01171 (verbalized sampling).
"""

from __future__ import annotations

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.evolve.selection import softmax_choice
from jaxrl_suite.llm.jobs import Algorithm
from jaxrl_suite.scaling.forest.sfs import SfsConfig, sfs
from jaxrl_suite.scaling.forest.thinker import Asking, Thinker
from jaxrl_suite.scaling.forest.trial import GENERIC, Forest, run_forest

REX, ISLANDS = 101, 102  # name the random streams of the rivals


def line_search(thinker: Thinker, num_solutions: int = 10, *, submit: str = "last") -> Algorithm:
    """Reflects on the last solution and writes it anew.

    Args:
      thinker: of the problem.
      num_solutions: at most.
      submit: "last", as published, or "best", the best visible score.

    Raises:
      UserError: if `submit` is neither.
    """
    if submit not in ("last", "best"):
        raise UserError(f"submit must be last or best, got {submit!r}")

    def search(forest: Forest) -> Asking[None]:
        node = yield from forest.plant(0)
        while not forest.is_over:
            yield from forest.ask(node, 1, scatter=False, insights=thinker.no_insights, anew=False)
            untried = forest.untried(node)
            node = yield from forest.attempt(node, untried[0] if untried else forest.suggest(node, GENERIC))

    return run_forest(Forest(thinker, num_solutions), search, last=submit == "last")


def plain_tree(thinker: Thinker, num_solutions: int = 10, *, branching: int = 2) -> Algorithm:
    """UCT over one tree in which every solution gets `branching` children, whatever they score."""
    config = SfsConfig(
        num_solutions, ideas=1, scattering=False, foresting=False, scouting=False, branching=branching, themes="none"
    )
    return sfs(thinker, config)


def rex(thinker: Thinker, num_solutions: int = 10, *, prior: float = 20.0, seed: int = 0) -> Algorithm:
    """Repairs the solution whose draw from its Beta law is highest.

    The law of a solution is Beta(1 + prior score, 1 + prior (1 - score) + repairs so far).

    Args:
      thinker: of the problem.
      num_solutions: at most.
      prior: how many trials the score is worth; 20 as published.
      seed: of the draws.

    Raises:
      UserError: if `prior` is not above 0.
    """
    if not prior > 0:
        raise UserError(f"prior must be above 0, got {prior}")

    def search(forest: Forest) -> Asking[None]:
        rng = np.random.default_rng((seed, REX, *thinker.key))
        repairs = np.zeros(num_solutions)
        yield from forest.plant(0)
        while not forest.is_over:
            scores = np.asarray([forest.score(node) for node in range(len(forest))])
            draws = rng.beta(1 + prior * scores, 1 + prior * (1 - scores) + repairs[: len(forest)])
            node = int(np.argmax(draws))
            repairs[node] += 1
            yield from forest.attempt(node, None)

    return run_forest(Forest(thinker, num_solutions), search)


def fun_search(
    thinker: Thinker,
    num_solutions: int = 10,
    *,
    islands: int = 2,
    size: int = 3,
    temperature: float = 0.2,
    seed: int = 0,
) -> Algorithm:
    """Islands that repair their own solutions in turn, drawn by the softmax of their scores.

    When every island has `size` solutions, the worse half of them is emptied and begins again from the best solution of
    an island that stays, drawn evenly; those that stay keep their best alone, which makes room.

    Args:
      thinker: of the problem.
      num_solutions: at most.
      islands: at least 2.
      size: solutions of a full island, at least 2.
      temperature: of the softmax.
      seed: of the draws.

    Raises:
      UserError: if a number is out of range.
    """
    if islands < 2 or size < 2 or not temperature >= 0:
        raise UserError(f"give 2 islands of 2 at least, and a temperature, got {islands}, {size}, {temperature}")

    def search(forest: Forest) -> Asking[None]:
        rng = np.random.default_rng((seed, ISLANDS, *thinker.key))
        members: list[list[int]] = [[] for _ in range(islands)]
        turn = 0
        while not forest.is_over:
            island = members[turn % islands]
            turn += 1
            if not island:
                island.append((yield from forest.plant(len(forest))))
            else:
                scores = np.asarray([forest.score(node) for node in island])
                node = island[softmax_choice(rng, scores, temperature)]
                island.append((yield from forest.attempt(node, None)))
            if all(len(island) >= size for island in members):
                members = _reset(forest, members, rng)

    return run_forest(Forest(thinker, num_solutions), search)


def _reset(forest: Forest, members: list[list[int]], rng: np.random.Generator) -> list[list[int]]:
    """Islands after the worse half of them was emptied, the better ones first."""
    best = [max(island, key=lambda node: (forest.score(node), -node)) for island in members]
    order = sorted(range(len(members)), key=lambda i: (-forest.score(best[i]), i))
    stay = order[: (len(order) + 1) // 2]
    kin = [best[stay[int(rng.integers(len(stay)))]] for _ in order[len(stay) :]]
    return [*([best[i]] for i in stay), *([node] for node in kin)]


def refine_instructions(thinker: Thinker, num_solutions: int = 10, *, seeds: int = 5) -> Algorithm:
    """IRRI: first solutions stay as they are, and the instruction to repair each is refined from its last outcome.

    In turn each first solution gets one more instruction, which takes account of what those before brought, and is
    edited along it. An edited solution is never edited again. (That they take turns is this project's reading.)

    Args:
      thinker: of the problem.
      num_solutions: at most.
      seeds: first solutions.

    Raises:
      UserError: if `seeds` is below 1.
    """
    if seeds < 1:
        raise UserError(f"seeds must be at least 1, got {seeds}")

    def search(forest: Forest) -> Asking[None]:
        themes = thinker.num_themes
        roots = []
        while len(roots) < seeds and not forest.is_over:
            roots.append((yield from forest.plant(len(roots), len(roots) % themes if themes else None)))
        insights = [thinker.no_insights for _ in roots]
        turn = 0
        while not forest.is_over:
            place = turn % len(roots)
            node, turn = roots[place], turn + 1
            yield from forest.ask(node, 1, scatter=True, insights=insights[place])
            untried = forest.untried(node)
            child = yield from forest.attempt(node, untried[0] if untried else forest.suggest(node, GENERIC))
            if not forest.is_over:
                insights[place] = yield from forest.learn(insights[place], child)

    return run_forest(Forest(thinker, num_solutions), search)


def verbalized_sampling(thinker: Thinker, num_solutions: int = 10, *, batch: int = 5) -> Algorithm:
    """Has several different solutions written in one answer, and grades them in the order of their probabilities.

    Args:
      thinker: of the problem; one of tokens cannot do this.
      num_solutions: at most.
      batch: solutions of one request.

    Raises:
      UserError: if `batch` is below 1.
    """
    if batch < 1:
        raise UserError(f"batch must be at least 1, got {batch}")

    def search(forest: Forest) -> Asking[None]:
        draw = 0
        while not forest.is_over:
            drafts = yield from thinker.several(min(batch, forest.most - len(forest)), draw)
            draw += 1
            for draft in drafts or ((yield from thinker.seed(draw, None)),):
                if forest.is_over:
                    return
                yield from forest.add(draft)

    return run_forest(Forest(thinker, num_solutions), search)
