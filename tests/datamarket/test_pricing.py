"""Price curves beside brute force and integer programs, and what must hold of any of them."""

import numpy as np
import pytest
from scipy.optimize import linprog

from jaxrl_suite.datamarket import baselines, instance, line_search, patterns, portfolio, programs, single_crossing


def random_instance(seed, types=3, metrics=3, sets=2, **options):
    rng = np.random.default_rng(seed)
    found = rng.random((sets, metrics)) < 0.6
    found[~found.any(1), 0] = True
    values = np.sort(rng.uniform(size=(types, metrics)), 1)
    return instance.instance_of_sets(values, found, rng.dirichlet(np.ones(types)), **options)


def ordered_instance(seed, types=6, metrics=5):
    rng = np.random.default_rng(seed)
    gains = np.sort(rng.uniform(size=(types, metrics)), 0) * rng.uniform(0.2, 1, metrics)
    return instance.full_information(np.cumsum(gains, 1), rng.dirichlet(np.ones(types)))


ORDER = ("independent", "shift", "jiggle")


def quick(problem, **options):
    return portfolio.price_curve(problem, starts=32, steps=200, perturbation_restarts=8, **options)


@pytest.mark.parametrize("forced", [False, True])
def test_choices_are_best_responses(forced):
    problem = random_instance(0, 4, 5, 6, **(dict(forced=True, cap=2.0) if forced else {}))
    prices = np.random.default_rng(1).uniform(0, 0.8, 5)
    chosen = instance.choose(problem, prices)
    for h, values in enumerate(problem.valuations):
        for s, found in enumerate(problem.sets):
            options = {0: 0.0} if not forced else {}
            options |= {int(q) + 1: values[q] - prices[q] for q in np.flatnonzero(found)}
            assert chosen.item[h, s] in options
            assert chosen.surplus[h, s] == pytest.approx(max(options.values()))
            assert chosen.payment[h, s] == (0 if chosen.item[h, s] == 0 else prices[chosen.item[h, s] - 1])
    if not forced:
        assert (chosen.surplus >= 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_brute_force_integer_program_and_portfolio_agree(seed):
    problem = random_instance(seed)
    exact, proof, mine = patterns.brute_force(problem), programs.solve_program(problem), quick(problem)
    assert instance.revenue(problem, exact.prices) == pytest.approx(exact.revenue, abs=1e-9)
    assert proof.closed
    assert proof.revenue == pytest.approx(exact.revenue, abs=1e-6)
    assert proof.bound == pytest.approx(exact.revenue, abs=1e-6)
    assert mine.revenue == pytest.approx(exact.revenue, abs=1e-6)
    assert instance.revenue(problem, mine.prices) == pytest.approx(mine.revenue, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_bounds_and_baselines_are_in_order(seed):
    problem = random_instance(seed + 20, 5, 4, 4)
    mine, proof = quick(problem), programs.solve_program(problem)
    earned = {name: float(instance.revenue(problem, rule(problem))) for name, rule in baselines.BASELINES.items()}
    assert earned["independent"] <= earned["shift"] + 1e-12
    assert earned["shift"] <= earned["jiggle"] + 1e-12
    assert max(earned.values()) <= mine.revenue + 1e-12
    assert proof.closed
    assert mine.revenue == pytest.approx(proof.revenue, abs=1e-6)
    lottery = programs.lottery_bound(problem)
    assert proof.revenue <= lottery + 1e-7
    assert lottery <= instance.welfare(problem) + 1e-7
    assert mine.bound == pytest.approx(min(lottery, instance.welfare(problem)))


@pytest.mark.parametrize("seed", range(3))
def test_baselines_are_in_order_where_purchase_is_forced_too(seed):
    problem = random_instance(seed + 80, 4, 4, 3, forced=True, cap=1.0)
    earned = [float(instance.revenue(problem, baselines.BASELINES[name](problem))) for name in ORDER]
    assert earned == sorted(earned)
    assert earned[-1] <= quick(problem).revenue + 1e-12
    assert quick(problem).revenue == pytest.approx(programs.solve_program(problem).revenue, abs=1e-5)


def test_lotteries_can_earn_more_than_prices():
    rng = np.random.default_rng(3)
    gains = []
    for _ in range(10):
        problem = instance.full_information(rng.uniform(size=(4, 3)))
        gains.append(programs.lottery_bound(problem) - programs.solve_program(problem).revenue)
    assert min(gains) > -1e-7
    assert max(gains) > 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_dynamic_program_of_ordered_types_is_the_integer_program(seed):
    problem = ordered_instance(seed)
    assert single_crossing.is_single_crossing(problem)
    solution = single_crossing.solve_single_crossing(problem)
    assert instance.revenue(problem, solution.prices) == pytest.approx(solution.revenue, abs=1e-9)
    assert solution.revenue == pytest.approx(programs.solve_program(problem).revenue, abs=1e-6)
    assert quick(problem).optimal


def test_dynamic_program_orders_metrics_by_what_types_add_to_them():
    problem = instance.full_information([[5.0, 1.0], [5.0, 3.0], [5.5, 4.5]], [0.5, 0.3, 0.2])
    assert single_crossing.is_single_crossing(problem)  # though everybody values the first metric more
    exact = patterns.brute_force(problem).revenue
    assert single_crossing.solve_single_crossing(problem).revenue == pytest.approx(exact)


def test_dynamic_program_refuses_types_in_no_order():
    problem = instance.full_information([[1.0, 0.2], [0.3, 0.9]])
    with pytest.raises(ValueError, match="do not cross once"):
        single_crossing.solve_single_crossing(problem)


@pytest.mark.parametrize("seed", range(3))
def test_forced_purchase_has_no_optimum_but_the_cap(seed):
    problem = random_instance(seed)
    sensible = patterns.brute_force(problem).revenue
    assert sensible < 1
    for cap in (1.0, 2.0, 4.0, 8.0):
        forced = problem.replace(forced=True, cap=cap)
        assert programs.solve_program(forced).revenue == pytest.approx(cap, abs=1e-5)
        assert patterns.brute_force(forced).revenue == pytest.approx(cap, abs=1e-5)
        assert quick(forced).revenue == pytest.approx(cap, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_largest_prices_solve_the_linear_program_of_a_pattern(seed):
    problem = random_instance(seed + 40, 4, 4, 3)
    prices = np.random.default_rng(seed).uniform(0, 0.6, 4)
    items = instance.choose(problem, prices).item
    rows, limits = [], []
    cost, upper = np.zeros(4), problem.highest.copy()
    lower = np.zeros(4)
    for h, s in np.ndindex(items.shape):
        took, values = items[h, s] - 1, problem.valuations[h]
        for r in np.flatnonzero(problem.sets[s]):
            if took < 0:
                lower[r] = max(lower[r], values[r])
            elif r != took:
                row = np.zeros(4)
                row[took], row[r] = 1, -1
                rows.append(row)
                limits.append(values[took] - values[r])
        if took >= 0:
            cost[took] -= problem.mass[h, s]
            upper[took] = min(upper[took], values[took])
    exact = linprog(cost, A_ub=np.array(rows), b_ub=limits, bounds=list(zip(lower, upper, strict=True)))
    found, exist = patterns.largest_prices(problem, items[None])
    assert exist[0]
    assert -cost @ found[0] == pytest.approx(-exact.fun, abs=1e-8)


def test_largest_prices_refuse_a_pattern_that_no_prices_give():
    problem = instance.full_information([[1.0, 0.2], [0.3, 0.9]])
    swapped = np.array([[[2], [1]]])  # each type takes what the other values more
    assert not patterns.largest_prices(problem, swapped)[1][0]


def test_line_search_finds_the_best_price_of_a_fine_grid():
    problem = random_instance(7, 5, 4, 5)
    starts = line_search.random_prices(problem, np.random.default_rng(0), 6)
    for metric in range(4):
        best = starts.copy()
        best[:, metric] = line_search.best_price(problem, starts, metric)
        grid = np.repeat(starts[:, None], 400, 1)
        grid[..., metric] = np.linspace(0, 1.2, 400)
        assert (instance.revenue(problem, best) >= instance.revenue(problem, grid).max(1) - 1e-12).all()
        assert (instance.revenue(problem, best) <= instance.revenue(problem, grid).max(1) + 4e-3).all()


@pytest.mark.filterwarnings("error")
def test_a_type_that_never_comes_and_a_metric_that_is_never_found_change_nothing():
    problem = random_instance(7, 3, 3, 2)
    more = instance.instance_of_sets(
        np.vstack([np.full((1, 4), 5.0), np.hstack([problem.valuations, np.ones((3, 1))])]),
        np.hstack([problem.sets, np.zeros((len(problem.sets), 1), bool)]),
        [0.0, *problem.prior],
        problem.weights,
    )
    exact = patterns.brute_force(problem).revenue
    assert quick(more).revenue == pytest.approx(exact)
    assert programs.solve_program(more).revenue == pytest.approx(exact, abs=1e-6)
    assert np.isinf(quick(more).prices[3])


def test_methods_never_fall_below_their_start():
    problem = random_instance(8, 5, 5, 5)
    rng = np.random.default_rng(0)
    starts = line_search.random_prices(problem, rng, 32)
    before = instance.revenue(problem, starts)
    assert (instance.revenue(problem, line_search.ascend(problem, starts, rng)) >= before - 1e-12).all()
    assert (instance.revenue(problem, patterns.polish(problem, starts)) >= before - 1e-12).all()


def test_large_instances_are_worked_on_in_parts(monkeypatch):
    problem = random_instance(13, 4, 4, 4)
    starts = line_search.random_prices(problem, np.random.default_rng(0), 16)
    whole = instance.revenue(problem, starts.reshape(4, 4, 4)), patterns.polish(problem, starts)
    monkeypatch.setattr(instance, "_BUDGET", 3 * problem.valuations.size * len(problem.sets))
    assert [len(part) for part in instance.in_parts(problem, starts)] == [3, 3, 3, 3, 3, 1]
    np.testing.assert_allclose(instance.revenue(problem, starts.reshape(4, 4, 4)), whole[0], rtol=1e-12)
    np.testing.assert_allclose(patterns.polish(problem, starts), whole[1], rtol=1e-12)
    climbed = line_search.ascend(problem, starts, np.random.default_rng(0))
    assert (instance.revenue(problem, climbed) >= instance.revenue(problem, starts) - 1e-12).all()


def test_revenue_scales_with_money():
    problem = random_instance(9, 4, 4, 4)
    scaled = problem.replace(valuations=problem.valuations * 1000)
    prices = np.random.default_rng(0).uniform(0, 0.8, 4)
    assert instance.revenue(scaled, prices * 1000) == pytest.approx(1000 * instance.revenue(problem, prices))
    assert quick(scaled).revenue == pytest.approx(1000 * quick(problem).revenue, rel=1e-6)


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1e9])
def test_certificates_do_not_depend_on_the_unit_of_money(unit):
    problem = random_instance(9)
    scaled = problem.replace(valuations=problem.valuations * unit)
    proof, exact = programs.solve_program(scaled), programs.solve_program(problem)
    assert proof.revenue / unit == pytest.approx(exact.revenue, abs=1e-6)
    assert proof.bound / unit == pytest.approx(exact.bound, abs=1e-6)
    assert programs.lottery_bound(scaled) / unit == pytest.approx(programs.lottery_bound(problem), abs=1e-6)
    known = programs.solve_program(scaled, at_least=(exact.revenue + 1e-3) * unit)
    assert known.closed
    assert known.prices is None


def test_a_cap_that_binds_nobody_changes_nothing():
    problem = random_instance(9, 4, 4, 4)
    prices = np.random.default_rng(0).uniform(0, 0.8, 4)
    for cap in (1.0, 1e10):
        assert instance.revenue(problem.replace(cap=cap), prices) == instance.revenue(problem, prices)


def test_splitting_a_type_or_a_set_changes_nothing():
    problem = random_instance(10, 3, 4, 3)
    prices = quick(problem).prices
    split = instance.instance_of_sets(
        problem.valuations[[0, 0, 1, 2]],
        problem.sets[[0, *range(len(problem.sets))]],
        problem.prior[[0, 0, 1, 2]] * [0.3, 0.7, 1, 1],
        np.array([0.5, *problem.weights]) * np.array([problem.weights[0], 0.5, *([1] * (len(problem.weights) - 1))]),
    )
    assert len(split.sets) == len(problem.sets)
    assert instance.revenue(split, prices) == pytest.approx(instance.revenue(problem, prices))
    assert programs.solve_program(split).revenue == pytest.approx(programs.solve_program(problem).revenue, abs=1e-6)


def test_a_metric_that_is_not_for_sale_changes_nothing():
    problem = random_instance(11)
    worthless = np.zeros((problem.num_types, 1))
    wider = instance.instance_of_sets(
        np.hstack([worthless, problem.valuations]),
        np.hstack([np.ones((len(problem.sets), 1), bool), problem.sets]),
        problem.prior,
        problem.weights,
    )
    prices = quick(problem).prices
    assert instance.revenue(wider, [np.inf, *prices]) == pytest.approx(instance.revenue(problem, prices))
    assert patterns.brute_force(wider).revenue == pytest.approx(patterns.brute_force(problem).revenue, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_shaving_prices_frees_revenue_from_the_goodwill_of_buyers(seed):
    problem = random_instance(seed + 60, 5, 4, 4)
    mine = quick(problem)
    lower = instance.shaved(mine.prices, 1e-3)
    chosen = instance.choose(problem, lower)
    spoiled = problem.replace(cap=None)
    net = np.where(
        spoiled.sets[None], (spoiled.valuations - np.where(np.isfinite(lower), lower, 9.0))[:, None], -np.inf
    )
    rivals = np.sort(np.concatenate([np.zeros((*net.shape[:2], 1)), net], -1), -1)[..., -2:]
    paying = chosen.payment > 0
    assert (rivals[..., 1] - rivals[..., 0])[paying].min() > 1e-7  # no payer is indifferent
    assert mine.revenue - 1e-3 <= instance.revenue(problem, lower) <= mine.revenue + 1e-12


def test_a_known_revenue_is_a_cutoff():
    problem = random_instance(12, 4, 4, 3)
    best = programs.solve_program(problem)
    assert programs.solve_program(problem, at_least=best.revenue - 1e-6).revenue == pytest.approx(best.revenue)
    none = programs.solve_program(problem, at_least=best.revenue + 1e-3)
    assert none.closed
    assert none.prices is None
