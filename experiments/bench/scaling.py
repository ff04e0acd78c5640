"""Speed of inference scaling beside TreeQuest and its-hub, with a model and a verifier that cost next to nothing.

What is left is the machinery: 50 problems, each searched by 64 (and by 800) adaptive expansions, and best-of-64. The
peers need environments of their own: `python -m venv peers; peers/bin/pip install treequest its-hub`, then
`JAXRL_SUITE_SCALING_PEERS=peers/bin/python jaxrl-suite bench scaling`. Each side runs in a process of its own, and its
time is the time of all its cores.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.jobs import Algorithm, Job
from jaxrl_suite.llm.lockstep import run_lockstep
from jaxrl_suite.llm.protocol import Capabilities, Completion, Decoding, Reply, Request, Usage
from jaxrl_suite.scaling import UctConfig, VisibleProblem, best_of_n, uct
from jaxrl_suite.scaling.records import GradedAnswer

Row = dict[str, Any]
PEERS = "JAXRL_SUITE_SCALING_PEERS"  # an interpreter that has treequest and its-hub
MISSING = f"not installed: make an environment with treequest and its-hub and set {PEERS} to its python"
PROBLEMS, EXPANSIONS, LONG, N = 50, 64, 800, 64
STEPS, STEP = 32, 2  # steps of an answer, and their tokens

# Runs where the peers live, which may not have this package. A model that answers at once with a random score.
PEER = """
import asyncio, json, logging, random, sys, time, warnings
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
problems, expansions, long, n = map(int, sys.argv[1:5])
found = {}

def search(make, problems, steps):
    rng = random.Random(0)
    def generate(state):
        return (0 if state is None else state + 1), rng.random()
    start = time.process_time()
    halves = []
    for _ in range(problems):
        algorithm = make()
        tree = algorithm.init_tree()
        for step in range(steps):
            if step == steps // 2:
                halves.append(time.process_time())
            tree = algorithm.step(tree, {"a": generate})
    end = time.process_time()
    rate = problems * steps / (end - start)
    ratio = (end - halves[0]) / (halves[0] - start) if problems == 1 else None
    return rate, ratio

try:
    import treequest
    for name in ("StandardMCTS", "ABMCTSA"):
        make = getattr(treequest, name)
        few = problems if name == "StandardMCTS" else max(problems // 10, 1)
        search(make, 1, 8)
        found[name] = search(make, few, expansions)[0]
        if name == "StandardMCTS":
            found[name + " long"], found[name + " ratio"] = search(make, 1, long)
except ImportError:
    pass
try:
    from its_hub.base import AbstractLanguageModel, AbstractOutcomeRewardModel
    from its_hub.algorithms import BestOfN
    class Model(AbstractLanguageModel):
        async def agenerate(self, messages, stop=None, **options):
            one = {"role": "assistant", "content": "an answer"}
            return [one for _ in messages] if isinstance(messages[0], list) else one
        def generate(self, messages, stop=None, **options):
            one = {"role": "assistant", "content": "an answer"}
            return [one for _ in messages] if isinstance(messages[0], list) else one
        def evaluate(self, prompt, generation):
            raise NotImplementedError
        async def aevaluate(self, prompt, generation):
            raise NotImplementedError
    class Reward(AbstractOutcomeRewardModel):
        async def ascore(self, prompt, response):
            return [0.5] * len(response) if isinstance(response, list) else 0.5
        def score(self, prompt, response):
            return [0.5] * len(response) if isinstance(response, list) else 0.5
    algorithm, model = BestOfN(Reward()), Model()
    algorithm.infer(model, "a question", 2)
    best = 0.0
    for _ in range(3):
        start = time.process_time()
        for _ in range(problems):
            algorithm.infer(model, "a question", n)
        best = max(best, problems * n / (time.process_time() - start))
    found["its-hub"] = best
except ImportError:
    pass
print(json.dumps(found))
"""


class FreeSampler:
    """A language model whose answers cost next to nothing: random tokens, the same for the same draw."""

    name = "free"
    capabilities = Capabilities(prefix=True, logprobs=False, seed=True, fork=True, tokens=True, text=False)

    def __init__(self):
        rng = np.random.default_rng(0)
        answers = rng.integers(0, 4, (4096, STEPS * STEP)).astype(np.int32)
        self._answers = list(answers)

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        replies = []
        for request in requests:
            first = hash(request.path) + request.first_draw
            size = request.decoding.max_tokens
            completions = tuple(
                Completion(None, self._answers[(first + draw) & 4095][:size], None, "length", size)
                for draw in range(request.num_samples)
            )
            usage = Usage(request.num_samples, 1, len(request.prefix), 0, size * request.num_samples)
            replies.append(Reply(completions, usage, usage))
        return replies

    def score(self, pairs: Any) -> list[np.ndarray]:
        raise NotImplementedError


def grade(items: Sequence[GradedAnswer]) -> list[float]:
    """A reward that costs next to nothing, below the whole one."""
    return [0.9 * (hash(item.tokens) & 1023) / 1023 for item in items]


def search_all(search: Callable[[VisibleProblem], Algorithm], problems: int) -> None:
    """All problems in lockstep."""
    decoding = Decoding(max_tokens=STEPS * STEP)
    jobs = [
        Job(f"{i}", functools.partial(lambda i, _: search(VisibleProblem(i, (1, 2, 3), decoding)), i))
        for i in range(problems)
    ]
    for outcome in run_lockstep(jobs, FreeSampler(), {"reward": grade}):
        if outcome.error is not None:
            raise outcome.error


def cpu_seconds(work: Callable[[], Any], repeat: int = 3) -> float:
    """CPU seconds of `work`, the least of a few times."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def measure_ours() -> dict[str, float]:
    """Expansions and samples per CPU second, and how much longer the second 400 expansions take than the first."""
    config = UctConfig(EXPANSIONS, step=STEP, growth=0.5, branching=1)
    search_all(functools.partial(uct, config=UctConfig(4)), 2)
    short = cpu_seconds(lambda: search_all(functools.partial(uct, config=config), PROBLEMS))
    half, whole = (
        cpu_seconds(
            lambda n=n: search_all(
                functools.partial(uct, config=UctConfig(n, step=STEP, growth=0.5, branching=1)), PROBLEMS // 5
            ),
            5,
        )
        for n in (LONG // 2, LONG)
    )
    best = functools.partial(best_of_n, num_samples=N, stop=False)
    return {
        "uct": PROBLEMS * EXPANSIONS / short,
        "uct long": PROBLEMS // 5 * LONG / whole,
        "uct ratio": (whole - half) / half,
        "best of n": PROBLEMS * N / cpu_seconds(lambda: search_all(best, PROBLEMS), 5),
    }


def ask_peers() -> dict[str, float]:
    """Rates of the peers that are installed, in a process of their own."""
    command = [os.environ.get(PEERS, sys.executable), "-c", PEER, *map(str, (PROBLEMS, EXPANSIONS, LONG, N))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{command[0]} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def rows() -> list[Row]:
    """Expansions of tree search and samples of best-of-64 a CPU second, with a free model, beside the peers."""
    ours, peers = measure_ours(), ask_peers()
    tree = f"adaptive expansions, {PROBLEMS} problems x {EXPANSIONS}"
    flat = f"{LONG} expansions a tree"
    results = [
        {"what": tree, "by": "jaxrl_suite", "per CPU second": f"{ours['uct']:,.0f}", "jaxrl_suite is": ""},
        {
            "what": flat, "by": "jaxrl_suite", "per CPU second": f"{ours['uct long']:,.0f}",
            "jaxrl_suite is": "", "second half takes": f"{ours['uct ratio']:.2f} of the first",
        },
    ]  # fmt: skip
    for what, mine, peer, by in (
        (tree, "uct", "StandardMCTS", "TreeQuest, StandardMCTS"),
        (tree, "uct", "ABMCTSA", "TreeQuest, ABMCTSA"),
        (flat, "uct long", "StandardMCTS long", "TreeQuest, StandardMCTS"),
    ):
        row = _peer_row(what, by, ours[mine], peers.get(peer))
        if peer.endswith("long") and peers.get("StandardMCTS ratio") is not None:
            row["second half takes"] = f"{peers['StandardMCTS ratio']:.2f} of the first"
        results.append(row)
    best = f"best of {N}, {PROBLEMS} problems"
    results.append({"what": best, "by": "jaxrl_suite", "per CPU second": f"{ours['best of n']:,.0f}"})
    results.append(_peer_row(best, "its-hub", ours["best of n"], peers.get("its-hub")))
    columns = ("what", "by", "per CPU second", "jaxrl_suite is", "second half takes")
    return [{column: row.get(column, "") for column in columns} for row in results]


def _peer_row(what: str, by: str, ours: float, rate: float | None) -> Row:
    if rate is None:
        return {"what": what, "by": by, "per CPU second": MISSING}
    return {
        "what": what,
        "by": by,
        "per CPU second": f"{rate:,.0f}",
        "jaxrl_suite is": f"{ours / rate:.0f} times as fast",
    }
