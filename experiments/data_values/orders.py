"""Data values: orders, surrogates and detectors of one table, split or share, as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxrl_suite import datavalue as dv
from jaxrl_suite.core.run import Run
from jaxrl_suite.datavalue.redundancy import gaussian_mixture
from jaxrl_suite.tabular import datasets as tabular_data
from jaxrl_suite.tabular.classifiers import Classifier, KernelRidgeClassifier, Logistic

if TYPE_CHECKING:
    from jaxrl_suite.experiments.data_values.config import Config

COMMON = ("Shapley", "Beta(16,1)", "Banzhaf", "leave one out", "random")  # the paper's baselines that are semivalues
EXACT = ("dynamic program", "beam 8", "rollout of Shapley", "greedy", *COMMON)
BUDGETED = (
    "coverage, published",
    "coverage, soft, restarted",
    "affine",
    "network",
    "Shapley",
    "Beta(16,1)",
    "Banzhaf",
    "AME",
    "Data-OOB",
    "KNN-Shapley",
    "leave one out",
    "random",
    "greedy, N(N+1)/2 fits",
)
ERRORS = (
    "coverage, published",
    "coverage, affine link",
    "coverage, soft",
    "network",
    "affine, all sizes",
    "affine, Banzhaf",
    "affine, Shapley",
    "constant",
)
DETECTORS = ("Data-OOB", "KNN-Shapley", "Shapley", "Beta(16,1)", "Banzhaf", "leave one out")
MIXED = ("dynamic program", "greedy", "Shapley", "Beta(.5,.5)", "Banzhaf")
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # redundancy


def draw_split(config: Config, table: str, seed: int, train: int) -> tabular_data.Split:
    data = tabular_data.load_table(table, seed=seed)
    valid, test = config.valid, config.test
    spare = len(data.y) - train
    if spare < valid + test:  # wine has 178 rows
        valid, test = min(valid, spare // 2), spare - min(valid, spare // 2)
    return tabular_data.split_table(data, (train, valid, test), seed, scale="pool")


def exact_orders(config: Config, run: Run, table: str, seed: int) -> np.ndarray:
    """float[methods, 2]: area under the curve of each order, on the rows that chose it and on test rows."""
    n = config.exact_points
    split = draw_split(config, table, seed, n)
    model: Classifier = KernelRidgeClassifier() if config.exact_model == "kernel_ridge" else Logistic()
    on_valid, on_test = (
        dv.utility_table(dv.model_utility(split, model, part=part), n, mesh=run.mesh()) for part in ("valid", "test")
    )
    utility = dv.TableUtility(jax.numpy.asarray(on_valid, jax.numpy.float32))
    shapley = dv.rank_order(dv.shapley(on_valid))
    orders = {
        "dynamic program": dv.solve_order(on_valid).order,
        "beam 8": dv.beam_order(utility, n, 8).order,
        "rollout of Shapley": dv.rollout_order(utility, shapley).order,
        "greedy": dv.greedy_order(utility, n).order,
        "Shapley": shapley,
        "Beta(16,1)": dv.rank_order(dv.beta_shapley(on_valid, 16, 1)),
        "Banzhaf": dv.rank_order(dv.banzhaf(on_valid)),
        "leave one out": dv.rank_order(dv.leave_one_out(on_valid)),
        "random": np.random.default_rng(seed).permutation(n),
    }
    return np.array([[dv.table_curve(t, orders[name]).mean() for t in (on_valid, on_test)] for name in EXACT])


def redundant_orders(config: Config, run: Run, share: float, seed: int) -> np.ndarray:
    """float[methods]: area under the test curve of each order, from all subsets."""
    split = gaussian_mixture(config.per_class, config.valid, seed, redundancy=share)
    n = len(split.y)
    on_valid, on_test = (
        dv.utility_table(dv.model_utility(split, Logistic(), part=part), n, mesh=run.mesh())
        for part in ("valid", "test")
    )
    utility = dv.TableUtility(jax.numpy.asarray(on_valid, jax.numpy.float32))
    orders = {
        "dynamic program": dv.solve_order(on_valid).order,
        "greedy": dv.greedy_order(utility, n).order,
        "Shapley": dv.rank_order(dv.shapley(on_valid)),
        "Beta(.5,.5)": dv.rank_order(dv.beta_shapley(on_valid, 0.5, 0.5)),
        "Banzhaf": dv.rank_order(dv.banzhaf(on_valid)),
    }
    return np.array([dv.table_curve(on_test, orders[name]).mean() for name in MIXED])


def values_from_budget(config: Config, utility: Any, n: int, seed: int) -> dict[str, np.ndarray]:
    """Values of the estimators, each from the budget of fits (KNN-Shapley and leave-one-out from their own)."""
    key, stop = jax.random.key(seed), dv.MaxFits(config.budget)
    permutations = max(1, min(4, config.budget // (4 * n)))
    estimators: dict[str, Any] = {
        "Shapley": dv.Permutations(samples=permutations, batch=64),
        "Beta(16,1)": dv.beta_estimator(n, 16, 1, samples=permutations, batch=64),
        "Banzhaf": dv.BanzhafReuse(samples=64),
        "AME": dv.AverageMarginalEffect(penalty=0.05, samples=64),
        "Data-OOB": dv.DataOOB(samples=64),
    }
    values = {name: dv.estimate_values(e, utility, n, key, stop).values for name, e in estimators.items()}
    values["leave one out"] = dv.leave_one_out_values(utility, n, batch=64)
    return values


def draw_subsets(utility: Any, n: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(bool[count, N], float[count]): subsets of a share uniform on .01 to .99, and their utilities."""
    rng = np.random.default_rng(seed)
    masks = rng.uniform(size=(count, n)) < rng.uniform(0.01, 0.99, (count, 1))
    return masks, dv.evaluate(utility, masks, batch=64)


def budgeted_orders(config: Config, run: Run, table: str, seed: int) -> np.ndarray:
    """float[methods, 2]: mean test accuracy while points are added, best first, and weighted drop as they leave."""
    n = config.train
    split = draw_split(config, table, seed, n)
    utility, test = (dv.model_utility(split, part=part) for part in ("valid", "test"))
    masks, utilities = draw_subsets(utility, n, config.budget, seed)
    similar = dv.similarity(split)
    key = jax.random.key(seed)
    orders = {name: dv.rank_order(values) for name, values in values_from_budget(config, utility, n, seed).items()}
    orders |= {
        "coverage, published": dv.cover_order(dv.fit_threshold(similar, masks, utilities).edges, key=key),
        "coverage, soft, restarted": dv.cover_order(dv.fit_soft(similar, masks, utilities).edges, rest="restart"),
        "affine": dv.rank_order(np.asarray(dv.fit_affine(masks, utilities, ridge=0.1).coefficients)),
        "network": dv.greedy_order(dv.fit_network(key, masks, utilities), n, batch=64).order,
        "KNN-Shapley": dv.rank_order(dv.knn_shapley(dv.neighbour_utility(split))),
        "random": np.random.default_rng(seed).permutation(n),
        "greedy, N(N+1)/2 fits": dv.greedy_order(utility, n, batch=64).order,
    }
    return np.array(
        [
            [
                dv.addition_curve(test, orders[name], batch=64).mean(),
                dv.weighted_drop(dv.removal_curve(test, orders[name], batch=64)),
            ]
            for name in BUDGETED
        ]
    )


def surrogate_errors(config: Config, run: Run, table: str, seed: int) -> np.ndarray:
    """float[surrogates]: mean squared error on 200 subsets that no surrogate has seen; all know the same budget."""
    n = config.train * 2
    split = draw_split(config, table, seed, n)
    utility = dv.model_utility(split)
    masks, utilities = draw_subsets(utility, n, config.budget + 200, seed)
    seen, held = slice(0, config.budget), slice(config.budget, None)
    similar = dv.similarity(split)
    sizes = masks.sum(axis=1)
    drawn = np.maximum(np.bincount(sizes, minlength=n + 1), 1)

    def affine(distribution: np.ndarray) -> Any:
        # The kernel's mass on each size, shared by the subsets of that size that were drawn.
        kernel = dv.least_squares_kernel(distribution) * np.exp(_log_choose(n))
        return dv.fit_affine(masks[seen], utilities[seen], (kernel / drawn)[sizes[seen]], ridge=0.1)

    fits = {
        "coverage, published": dv.fit_threshold(similar, masks[seen], utilities[seen]),
        "coverage, affine link": dv.fit_threshold(similar, masks[seen], utilities[seen], affine=True),
        "coverage, soft": dv.fit_soft(similar, masks[seen], utilities[seen]),
        "network": dv.fit_network(jax.random.key(seed), masks[seen], utilities[seen]),
        "affine, all sizes": dv.fit_affine(masks[seen], utilities[seen], ridge=0.1),
        "affine, Banzhaf": affine(dv.banzhaf_sizes(n)),
        "affine, Shapley": affine(dv.shapley_sizes(n)),
    }
    errors = {name: np.mean((dv.evaluate(fit, masks[held]) - utilities[held]) ** 2) for name, fit in fits.items()}
    errors["constant"] = np.mean((utilities[held] - utilities[seen].mean()) ** 2)
    return np.array([errors[name] for name in ERRORS])


def _log_choose(n: int) -> np.ndarray:
    from scipy import special

    s = np.arange(n + 1)
    return special.gammaln(n + 1) - special.gammaln(s + 1) - special.gammaln(n - s + 1)


def detection(config: Config, run: Run, table: str, seed: int) -> np.ndarray:
    """float[methods]: chance that a wrong label has a lower value than a right one."""
    n = config.train
    split = draw_split(config, table, seed, n)
    noisy = dv.flip_labels(split.y, config.noise, split.num_classes, seed)
    split = split._replace(y=noisy.labels)
    values = values_from_budget(config, dv.model_utility(split), n, seed)
    values["KNN-Shapley"] = dv.knn_shapley(dv.neighbour_utility(split))
    return np.array([dv.detect(values[name], noisy.flipped).auc for name in DETECTORS])
