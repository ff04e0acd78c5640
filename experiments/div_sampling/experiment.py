"""Sampling diversity: answers from perturbed prompts beside answers from one, at equal samples and at equal tokens.

A small model of countdown learned what its prefixes mean: a style (the analogue of a role or an instruction), a hint
(an idea of a thinker), noise (nonsense); the order of the numbers is the question in other words. Failure rates of
single prompts are measured, so that what diversity should gain is predicted exactly and compared with what it does
gain, beside the original prompt at a temperature tuned on other problems.
"""

from __future__ import annotations

import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.div_sampling import draws, exact_report, report
from jaxrl_suite.experiments.div_sampling.config import PRESETS, Config, MethodName
from jaxrl_suite.experiments.div_sampling.draws import COLUMNS, MEASURED

__all__ = ["CLAIMS", "PRESETS", "SYSTEM", "Config", "main"]

SYSTEM = "DivSampling"
CLAIMS = ("div-1", "div-2", "div-3", "div-4", "div-5")


def main(config: Config, run: Run) -> None:
    exact_report.write_exact(run)
    everything = {}
    for name in config.models:
        found = everything[name] = _measure(config, run, name)
        report.write_success(config, run, name, found)
        report.write_predictions(config, run, name, found)
        report.write_noise(config, run, name, found)
        report.write_diversity(config, run, name, found)
    report.write_claims(config, run, everything)


def _measure(config: Config, run: Run, name: draws.ModelName) -> dict[str, np.ndarray]:
    """All that is measured of a model. Methods are tuned first; then each is run at its best temperature."""
    model, _ = draws.models(name)
    prefixes = model.family.prefixes
    assert prefixes is not None
    problems = draws.problems_of(model, config.problems)
    tuning = draws.problems_of(model, config.tuning, tuning=True)
    how = {method: draws.perturbation(method, prefixes) for method in config.methods}
    measured: list[MethodName] = ["plain", *(method for method in MEASURED if method in config.methods)]
    S, M, P = len(config.seeds), len(config.methods), config.problems
    carry = {
        "tuned": np.zeros((M, len(config.temperatures))),
        "searches": np.zeros((M, S, P, len(COLUMNS))),
        "right": np.zeros((len(measured), P, config.prompts), np.int64),
        "noise": np.zeros((len(config.noise), S, P, len(COLUMNS))),
        "diversity": np.zeros((M, min(P, report.DIVERSITY_PROBLEMS), len(report.MEASURES))),
    }
    few = draws.problems_of(model, carry["diversity"].shape[1])
    cells = [("tuned", m, t) for m in range(M) for t in range(len(config.temperatures))]
    cells += [(kind, m, 0) for m in range(M) for kind in ("searches", "diversity")]
    cells += [("right", m, 0) for m in range(len(measured))] + [("noise", n, 0) for n in range(len(config.noise))]
    loop = run.chunks(len(cells), carry, name, name=name)
    for cell in loop:
        kind, at, place = cells[cell]
        found = loop.carry
        best = [config.temperatures[t] for t in found["tuned"].argmax(axis=1)]
        plain = best[config.methods.index("plain")]
        if kind == "tuned":
            temperature = config.temperatures[place]
            rows = draws.search(name, how[config.methods[at]], tuning, (2**31,), config.samples, temperature)
            found["tuned"][at, place] = rows[..., 0].mean()
        elif kind == "searches":
            method = how[config.methods[at]]
            found[kind][at] = draws.search(name, method, problems, config.seeds, config.samples, best[at])
        elif kind == "diversity":
            answers = draws.answers_of(name, how[config.methods[at]], few, config.samples, plain)
            found[kind][at] = [[measure(rows) for measure in report.MEASURES.values()] for rows in answers]
        elif kind == "right":
            method, temperature = measured[at], best[config.methods.index(measured[at])]
            found[kind][at] = draws.failure_rates(config, name, how[method], problems, temperature)
        else:
            noisy = draws.noise(prefixes, config.noise[at])
            found[kind][at] = draws.search(name, noisy, problems, config.seeds, config.samples, plain)
        run.log(model=name, kind=kind, cell=cell)
    return loop.carry
