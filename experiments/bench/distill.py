"""Speed of an unrolled outer step beside the same step in PyTorch, each side in a process of its own on two cores.

The step: a fresh student of 64 and 64 units takes 60 full-batch steps of SGD on 16 pairs, its loss on 256 real pairs is
differentiated through all of them, and Adam moves the pairs. PyTorch does it on plain tensors, with the graph of every
inner gradient kept, on one thread and on two; the faster counts. Both sides print the outer gradient of the same
student on the same pairs, which must agree.
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

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.errors import UserError

Row = dict[str, Any]
TORCH = "JAXRL_SUITE_TORCH"  # an interpreter that has torch, if this one has not
MISSING = f"not installed: pip install 'jaxrl-suite[bench]', or set {TORCH} to a python that has torch"
PAIRS, STEPS, RATE, BATCH, WIDTH, ROWS = 16, 60, 0.1, 256, 64, 12_800

# Runs where torch lives, which may not have this package.
PEER = """
import json, sys, time
import numpy as np
try:
    import torch
except ImportError:
    print("{}")
    raise SystemExit
data = np.load(sys.argv[1])
steps, rate, batch = int(data["steps"]), float(data["rate"]), int(data["batch"])
x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
sx, sy = (torch.from_numpy(data[name]).requires_grad_() for name in ("sx", "sy"))
given = [torch.from_numpy(data[f"p{i}"]) for i in range(6)]
shapes = [p.shape for p in given]

def forward(p, x):
    h = torch.relu(torch.addmm(p[1], x, p[0]))
    h = torch.relu(torch.addmm(p[3], h, p[2]))
    return torch.tanh(torch.addmm(p[5], h, p[4]))

def outer(p, rx, ry):
    p = [q.requires_grad_() for q in p]
    for _ in range(steps):
        loss = ((forward(p, sx) - sy) ** 2).mean()
        gradient = torch.autograd.grad(loss, p, create_graph=True)
        p = [q - rate * g for q, g in zip(p, gradient)]
    return ((forward(p, rx) - ry) ** 2).mean()

agreed = torch.autograd.grad(outer([q.clone() for q in given], x[:batch], y[:batch]), [sx, sy])
optimiser = torch.optim.Adam([sx, sy], lr=1e-2)

def step():
    p = [torch.randn(s) / s[0] ** 0.5 if len(s) == 2 else torch.zeros(s) for s in shapes]
    rows = torch.randint(0, len(x), (batch,))
    loss = outer(p, x[rows], y[rows])
    optimiser.zero_grad()
    loss.backward(inputs=[sx, sy])
    torch.nn.utils.clip_grad_norm_([sx, sy], 0.1)
    optimiser.step()

best, cpu = {}, {}
for threads in (2, 1):
    torch.set_num_threads(threads)
    step()
    found = []
    for _ in range(4):
        start = time.perf_counter(), time.process_time()
        for _ in range(5):
            step()
        found.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    best[threads], cpu[threads] = min(f[0] for f in found), min(f[1] for f in found)
threads = min(best, key=best.get)  # the faster one counts
flat = torch.cat([g.flatten() for g in agreed]).tolist()
by = f"PyTorch {torch.__version__}, {threads} thread" + "s" * (threads > 1)
print(json.dumps({"seconds": best[threads] / 5, "cpu": min(cpu.values()) / 5, "gradient": flat, "by": by}))
"""

OURS = [sys.executable, "-m", __name__]  # `answer` on the path that follows


def rows() -> list[Row]:
    """Outer steps per second, by this package and by PyTorch, with how far their gradients are apart."""
    what = f"outer steps, {STEPS} inner ones, {PAIRS} pairs, {WIDTH}-{WIDTH}, batch {BATCH}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, **_problem())  # pyright: ignore[reportArgumentType]
        ours = _ask([*OURS, str(path)])
        theirs = _ask([os.environ.get(TORCH, sys.executable), "-c", PEER, str(path)])
    results = []
    for name, side in (("jaxrl_suite", ours), (theirs.get("by", "PyTorch"), theirs)):
        if not side:
            results.append({"what": what, "by": name, "per second": MISSING, "per CPU second": ""})
            continue
        rates = {"per second": f"{1 / side['seconds']:,.1f}", "per CPU second": f"{1 / side['cpu']:,.1f}"}
        results.append({"what": what, "by": name, **rates})
    if theirs:
        a, b = np.array(ours["gradient"]), np.array(theirs["gradient"])
        results[0]["agreement"] = f"gradients differ by {np.linalg.norm(a - b) / np.linalg.norm(b):.1e}"
        results[0]["jaxrl_suite is"] = f"{theirs['seconds'] / ours['seconds']:.1f} times as fast"
    results[0]["compiled in"] = f"{ours['compiled']:.1f} s"
    return results


def answer(path: str) -> None:
    """This package's side, in a process of its own: prints what it measures on the problem at `path`."""
    from jaxrl_suite.core import devices
    from jaxrl_suite.distill.driver import Driver
    from jaxrl_suite.distill.pairs import Distilled, Imitation, Pairs
    from jaxrl_suite.distill.sampling import UniformBatches
    from jaxrl_suite.distill.unrolled import Unrolled
    from jaxrl_suite.rl.learners.cloning import Recipe
    from jaxrl_suite.rl.policies import mlp_policy

    data = {name: jnp.asarray(value) for name, value in np.load(path).items()}
    imitation = Imitation(mlp_policy((3,), 1, widths=(WIDTH, WIDTH)))
    objective = Unrolled(imitation, Recipe("sgd", RATE, STEPS))
    driver = Driver(objective, UniformBatches(BATCH), students=1, judges=1)
    pairs = Pairs(data["x"], data["y"], jnp.ones(ROWS))
    syn = Distilled(data["sx"], data["sy"], jnp.zeros(PAIRS), jnp.zeros(()))
    layers = zip(("hidden_0", "hidden_1", "head"), (0, 2, 4), strict=True)
    given = {name: {"kernel": data[f"p{i}"], "bias": data[f"p{i + 1}"]} for name, i in layers}

    def loss(syn: Distilled) -> jax.Array:
        return imitation.mean_loss(objective.train(syn, given), Pairs(*(leaf[:BATCH] for leaf in pairs)))

    slope = jax.jit(jax.grad(loss))(syn)
    count = 50

    def steps(state: Any, pairs: Pairs) -> Any:
        return jax.lax.scan(lambda s, _: driver.update(s, pairs), state, None, length=count)[0]

    state = driver.init(jax.random.key(0), syn)
    run, compiled = devices.compile(steps, state, pairs)
    wall, cpu = [], []
    for _ in range(8):
        start = time.perf_counter(), time.process_time()
        state = jax.block_until_ready(run(state, pairs))
        wall.append((time.perf_counter() - start[0]) / count)
        cpu.append((time.process_time() - start[1]) / count)
    flat = np.concatenate([np.asarray(slope.observations).ravel(), np.asarray(slope.labels).ravel()]).tolist()
    print(json.dumps({"seconds": min(wall), "cpu": min(cpu), "compiled": compiled.seconds, "gradient": flat}))


def _problem() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 3)).astype(np.float32)
    y = np.tanh(2 * x[:, :1] - x[:, 1:2] * x[:, 2:]).astype(np.float32)
    sizes = ((3, WIDTH), (WIDTH,), (WIDTH, WIDTH), (WIDTH,), (WIDTH, 1), (1,))
    given = {
        f"p{i}": (rng.normal(size=s) / s[0] ** 0.5 if len(s) == 2 else np.zeros(s)).astype(np.float32)
        for i, s in enumerate(sizes)
    }
    return dict(x=x, y=y, sx=x[:PAIRS], sy=y[:PAIRS], steps=STEPS, rate=RATE, batch=BATCH, **given)


def _ask(command: list[str]) -> dict[str, Any]:
    """Measurements of a side: the JSON of its last line."""
    settings = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{command[0]} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    answer(sys.argv[1])
