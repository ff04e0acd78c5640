"""Speed of inference scaling beside TreeQuest and its-hub, with a model and a verifier that cost next to nothing.

What is left is the machinery: adaptive expansions of trees of 64, 400 and 800, 50 problems in the first case, and
best-of-64. Each side runs in a process of its own, and its time is the time of all its cores, the least of as many
runs on either side. The peers may live in
an environment of their own, whose python `JAXRL_SUITE_SCALING_PEERS` names.
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
from jaxrl_suite.llm.lockstep import run_lockstep, without_errors
from jaxrl_suite.llm.protocol import Capabilities, Completion, Decoding, Reply, Request, Usage
from jaxrl_suite.scaling import UctConfig, VisibleProblem, best_of_n, uct
from jaxrl_suite.scaling.records import GradedAnswer

Row = dict[str, Any]
PEERS = "JAXRL_SUITE_SCALING_PEERS"  # an interpreter that has treequest and its-hub
MISSING = f"not installed: pip install 'jaxrl-suite[bench]', or set {PEERS} to a python that has it"
PROBLEMS, N, SIZES = 50, 64, (64, 400, 800)
STEPS, STEP = 32, 2  # steps of an answer, and their tokens
SHORT = 8  # tokens of an answer of best-of-N
REPEAT = 5  # runs of each measurement, ours and the peers', of which the fastest counts

# Runs where the peers live, which may not have this package. A model that answers at once with a random score.
PEER = """
import asyncio, json, logging, random, sys, time, warnings
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
repeat, problems, n, *sizes = map(int, sys.argv[1:])
found = {}

def search(make, problems, steps):
    rng = random.Random(0)
    def generate(state):
        return (0 if state is None else state + 1), rng.random()
    start = time.process_time()
    for _ in range(problems):
        algorithm = make()
        tree = algorithm.init_tree()
        for step in range(steps):
            tree = algorithm.step(tree, {"a": generate})
    return problems * steps / (time.process_time() - start)

try:
    import treequest
    for name in ("StandardMCTS", "ABMCTSA"):
        make = getattr(treequest, name)
        search(make, 1, 8)
        few = problems if name == "StandardMCTS" else max(problems // 10, 1)
        for steps in sizes if name == "StandardMCTS" else sizes[:2]:
            many = few if steps == sizes[0] else 1
            found[f"{name} {steps}"] = max(search(make, many, steps) for _ in range(repeat))
except ImportError:
    pass
try:
    from its_hub.api import AbstractLanguageModel, AbstractOutcomeRewardModel
    from its_hub.core.algorithms.bon import BestOfN
    from its_hub.core.orchestrator import LMOrchestrator
    class Model(AbstractLanguageModel):
        answers = 0
        async def agenerate_single(self, messages, stop=None, **options):
            self.answers += 1
            return {"role": "assistant", "content": str(self.answers)}
        async def agenerate(self, messages, stop=None, **options):
            return [await self.agenerate_single(one) for one in messages]
    class Reward(AbstractOutcomeRewardModel):
        def score(self, messages, **options):
            return [0.5] * len(messages)
        async def ascore(self, messages, orchestrator=None, **options):
            return [0.5] * len(messages)
    async def all_of_them(algorithm, model, problems):
        for _ in range(problems):
            await algorithm.ainfer(model, "a question", n)
    for limit in (32, -1):  # its default, and no limit of what is in flight
        best = 0.0
        algorithm = BestOfN(Reward(), LMOrchestrator(limit))
        asyncio.run(all_of_them(algorithm, Model(), 1))
        for _ in range(repeat):
            start = time.process_time()
            asyncio.run(all_of_them(algorithm, Model(), problems))
            best = max(best, problems * n / (time.process_time() - start))
        found[f"its-hub {limit}"] = best
except ImportError:
    pass
print(json.dumps(found))
"""


class FreeSampler:
    """A language model whose answers cost next to nothing: random tokens, the same for the same draw."""

    name = "free"
    capabilities = Capabilities(prefix=True, logprobs=False, seed=True, fork=True, tokens=True, text=False)

    def __init__(self):
        self._answers = np.random.default_rng(0).integers(0, 4, (4096, STEPS * STEP)).astype(np.int32)
        self.calls: list[float] = []  # CPU seconds of the process at each call
        self._completions: dict[int, list[Completion]] = {}  # by their length, made when they are first asked for

    def sample(self, requests: Sequence[Request]) -> list[Reply]:
        replies = []
        self.calls.append(time.process_time())
        for request in requests:
            first, size = hash(request.path) + request.first_draw, request.decoding.max_tokens
            known = self._completions.get(size)
            if known is None:
                known = [Completion(None, answer[:size], None, "length", size) for answer in self._answers]
                self._completions[size] = known
            completions = tuple([known[(first + draw) & 4095] for draw in range(request.num_samples)])
            usage = Usage(request.num_samples, 1, len(request.prefix), 0, size * request.num_samples)
            replies.append(Reply(completions, usage, usage))
        return replies

    def score(self, pairs: Any) -> list[np.ndarray]:
        raise NotImplementedError


FREE = FreeSampler()


def grade(items: Sequence[GradedAnswer]) -> list[float]:
    """A reward that costs next to nothing, below the whole one."""
    return [0.9 * (hash(item.tokens) & 1023) / 1023 for item in items]


def search_all(search: Callable[[VisibleProblem], Algorithm], problems: int, tokens: int = STEPS * STEP) -> None:
    """All problems in lockstep, with answers of so many tokens."""
    decoding = Decoding(max_tokens=tokens)
    jobs = [
        Job(f"{i}", functools.partial(lambda i, _: search(VisibleProblem(i, (1, 2, 3), decoding)), i))
        for i in range(problems)
    ]
    without_errors(run_lockstep(jobs, FREE, {"reward": grade}))


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of `work`, the least of `REPEAT` times."""
    times = []
    for _ in range(REPEAT):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def measure_ours() -> dict[str, float]:
    """Expansions by the size of the tree and samples per CPU second."""
    best = functools.partial(best_of_n, num_samples=N, stop=False)
    search_all(best, 2)
    found = {"best of n": PROBLEMS * N / cpu_seconds(lambda: search_all(best, PROBLEMS, SHORT))}
    for size in SIZES:
        search = functools.partial(uct, config=UctConfig(size, step=STEP, growth=0.5, branching=1))
        problems = PROBLEMS if size == SIZES[0] else PROBLEMS // 5
        found[f"uct {size}"] = problems * size / cpu_seconds(functools.partial(search_all, search, problems))
    return found


def ask_peers() -> dict[str, float]:
    """Rates of the peers that are installed, in a process of their own."""
    command = [os.environ.get(PEERS, sys.executable), "-c", PEER, *map(str, (REPEAT, PROBLEMS, N, *SIZES))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"cannot run {command[0]}: {error.strerror}: set {PEERS} to a python") from None
    if done.returncode:
        raise UserError(f"{command[0]} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def second_half() -> float:
    """Time of the second half of the largest trees, as a share of that of the first; the median of a few runs."""
    search, shares = functools.partial(uct, config=UctConfig(SIZES[-1], step=STEP, growth=0.5, branching=1)), []
    for _ in range(5):
        FREE.calls.clear()
        search_all(search, PROBLEMS // 5)
        start, middle, end = (FREE.calls[place] for place in (0, len(FREE.calls) // 2, -1))
        shares.append((end - middle) / (middle - start))
    return float(np.median(shares))


def peers_second_half(rates: dict[str, float], name: str) -> float | None:
    """The same of a peer, from its rates on trees of the two larger sizes."""
    half, whole = (rates.get(f"{name} {size}") for size in SIZES[1:])
    return 2 * half / whole - 1 if half and whole else None


def rows() -> list[Row]:
    """Expansions of tree search and samples of best-of-64 a CPU second, with a free model, beside the peers."""
    ours, peers = measure_ours(), ask_peers()
    found: list[Row] = []
    for size in SIZES:
        what = f"adaptive expansions, trees of {size}"
        found.append(_row(what, "jaxrl_suite", ours[f"uct {size}"]))
        for name in ("StandardMCTS", "ABMCTSA") if size < SIZES[-1] else ("StandardMCTS",):
            found.append(_row(what, f"TreeQuest, {name}", peers.get(f"{name} {size}"), ours[f"uct {size}"]))
    theirs = peers_second_half(peers, "StandardMCTS")
    found[-2]["second half"], found[-1]["second half"] = (
        f"{second_half():.2f}",
        "" if theirs is None else f"{theirs:.2f}",
    )
    what = f"best of {N}, {PROBLEMS} problems"
    found.append(_row(what, "jaxrl_suite", ours["best of n"]))
    for limit, by in ((32, "its-hub, 32 in flight (its default)"), (-1, "its-hub, no limit in flight")):
        found.append(_row(what, by, peers.get(f"its-hub {limit}"), ours["best of n"]))
    columns = ("what", "by", "per CPU second", "jaxrl_suite is", "second half")
    return [{column: row.get(column, "") for column in columns} for row in found]


def _row(what: str, by: str, rate: float | None, ours: float | None = None) -> Row:
    row = {"what": what, "by": by, "per CPU second": MISSING if rate is None else f"{rate:,.0f}"}
    return row if rate is None or ours is None else row | {"jaxrl_suite is": f"{ours / rate:.1f} times as fast"}
