"""Speed of data valuation beside pyDVL and scikit-learn, at matched agreement; each side in a process of its own.

pyDVL 0.10 needs numpy below 2 and so an environment of its own: `python -m venv pydvl; pydvl/bin/pip install pydvl`,
then `JAXRL_SUITE_PYDVL=pydvl/bin/python jaxrl-suite bench`. It is given one BLAS thread and the same rows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxrl_suite import datavalue as dv
from jaxrl_suite.errors import UserError
from jaxrl_suite.tabular import classifiers
from jaxrl_suite.tabular import datasets as tabular_data

Row = dict[str, Any]
PYDVL = "JAXRL_SUITE_PYDVL"  # an interpreter that has pyDVL
MISSING = f"not installed: make an environment with pyDVL and set {PYDVL} to its python"
ROWS, FITS = 100, 1024

# Runs where pyDVL lives, which may not have this package.
PEER = """
import json, sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
from sklearn.linear_model import LogisticRegression
data = np.load(sys.argv[1])
x, y, vx, vy, masks = (data[name] for name in ("x", "y", "vx", "vy", "masks"))
model = LogisticRegression(max_iter=1000)
def score(mask):
    seen = np.unique(y[mask])
    if len(seen) < 2:
        return float(np.mean(vy == seen[0]))
    return model.fit(x[mask], y[mask]).score(vx, vy)
start = time.process_time()
scores = [score(mask) for mask in masks]
found = {"scores": scores, "scikit-learn": len(masks) / (time.process_time() - start)}
try:
    from pydvl.valuation import Dataset, ModelUtility, SupervisedScorer
    from pydvl.valuation.types import Sample
    train = Dataset(x, y)
    utility = ModelUtility(model, SupervisedScorer("accuracy", Dataset(vx, vy), default=0.0), show_warnings=False)
    utility = utility.with_dataset(train)
    samples = [Sample(None, np.flatnonzero(mask)) for mask in masks]
    start = time.process_time()
    for sample in samples:
        utility(sample)
    found["pyDVL"] = len(masks) / (time.process_time() - start)
except ImportError:
    pass
print(json.dumps(found))
"""

OURS = [sys.executable, "-m", __name__]  # `answer` on the path that follows


def rows() -> list[Row]:
    """Fits a CPU second, with how far accuracies are from scikit-learn's; exact tables."""
    found = []
    for table in ("breast_cancer", "digits"):
        found += fits(table)
    return found + exact_tables()


def fits(table: str) -> list[Row]:
    """Logistic regression on 1024 prefixes of random permutations of 100 rows, judged on 100 others."""
    split = tabular_data.split_table(tabular_data.load_table(table), (ROWS, 100, 100), 0)
    rng = np.random.default_rng(0)
    masks = np.argsort(rng.uniform(size=(FITS, ROWS)), axis=1) < rng.integers(2, ROWS + 1, (FITS, 1))
    what = f"logistic fits, {table}, {split.num_classes} classes, {ROWS} rows"
    ours = ask(OURS, split, masks)
    peer = ask([os.environ.get(PYDVL, sys.executable), "-c", PEER], split, masks[:256])
    gap = float(np.mean(np.abs(np.array(ours["scores"][:256]) - np.array(peer["scores"]))))
    speed = ours["logistic"]
    results = [
        {"what": what, "by": "jaxrl_suite", "per CPU second": f"{speed:,.0f}", "agreement": f"mean gap {gap:.5f}"}
    ]
    for by in ("pyDVL", "scikit-learn"):
        rate = peer.get(by)
        results.append(
            {"what": what, "by": by, "per CPU second": MISSING if rate is None else f"{rate:,.0f}"}
            | ({} if rate is None else {"jaxrl_suite is": f"{speed / rate:.1f} times as fast"})
        )
    results.append({"what": f"ridge fits, {table}", "by": "jaxrl_suite", "per CPU second": f"{ours['ridge']:,.0f}"})
    return results


def measure(utility: Any, masks: np.ndarray, repeat: int = 5) -> tuple[float, np.ndarray]:
    """(fits per CPU second, the best of `repeat`; the utilities), after a call that compiles."""
    scores = dv.evaluate(utility, masks, batch=128)
    seconds = []
    for _ in range(repeat):
        start = time.process_time()
        dv.evaluate(utility, masks, batch=128)
        seconds.append(time.process_time() - start)
    return len(masks) / min(seconds), scores


def answer(path: str) -> None:
    """This package's side, in a process of its own: prints what it measures on the data at `path`."""
    data = np.load(path)
    x, y, vx, vy = (data[name] for name in ("x", "y", "vx", "vy"))
    split = tabular_data.Split(x, y, vx, vy, vx, vy, int(y.max()) + 1, np.arange(len(y)))
    logistic, scores = measure(dv.model_utility(split), data["masks"])
    ridge, _ = measure(dv.model_utility(split, classifiers.Ridge()), data["masks"])
    print(json.dumps({"scores": scores.tolist(), "logistic": logistic, "ridge": ridge}))


def ask(command: list[str], split: tabular_data.Split, masks: np.ndarray) -> dict[str, Any]:
    """Measurements of a side, in a process with one thread for BLAS and for XLA's matrix products."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, x=split.x, y=split.y, vx=split.valid_x, vy=split.valid_y, masks=masks)
        one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        one |= {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu"}
        done = subprocess.run([*command, str(path)], env=os.environ | one, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{command[0]} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def exact_tables() -> list[Row]:
    """All subsets fitted, and the exact order solved, compilation included."""
    results = []
    for n in (16, 20):
        split = tabular_data.split_table(tabular_data.load_table("breast_cancer"), (n, 100, 100), 0, scale="pool")
        for model in (classifiers.KernelRidgeClassifier(), classifiers.Logistic()):
            start = time.perf_counter()
            table = dv.utility_table(dv.model_utility(split, model), n)
            filled = time.perf_counter()
            dv.solve_order(table)
            solved = time.perf_counter() - filled
            results.append(
                {
                    "what": f"all 2^{n} subsets, {type(model).__name__}",
                    "by": "jaxrl_suite",
                    "seconds": f"{filled - start:.1f} and {solved:.2f} for the exact order",
                }
            )
    return results


if __name__ == "__main__":
    answer(sys.argv[1])
