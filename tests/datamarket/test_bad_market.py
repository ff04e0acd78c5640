"""Markets and instances that are refused, with the row and the remedy; and what is made from tables."""

import numpy as np
import pytest

from jaxrl_suite.datamarket import baselines, cost_aware, instance, learning, market, menu, portfolio, scenarios
from jaxrl_suite.errors import UserError

GOOD = scenarios.climbing_market(2, 3, 3)


def broken(name, place, value):
    array = np.array(getattr(GOOD, name))
    array[place] = value
    return {name: array}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (broken("valuations", (1, 2), np.nan), r"valuations\[1, 2\] is nan: drop or fill"),
        (broken("valuations", (1, 2), -0.5), "valuations row 1 is -0.5 at metric 2"),
        (broken("transitions", (1, 2, 0), 0.9), r"transitions row \[1, 2\] sums to .* divide it by its sum"),
        (broken("transitions", (0, 1, 1), -0.1), r"transitions\[0, 1, 1\] is -0.1: probabilities"),
        (broken("initial", 0, 0.9), "initial sums to 1.3"),
        (broken("prior", 0, 0.7), "prior sums to 1.2 and must sum to 1"),
        (broken("metrics", 1, 0.0), "metrics must increase, but entry 1"),
        (dict(metrics=[]), "at least one number"),
        (dict(valuations=np.zeros((0, 3))), "valuations must have shape"),
        (dict(valuations=[["a", "b", "c"]]), "valuations must hold numbers only"),
        (dict(prior=[1.0]), "prior must have shape"),
        (dict(cost=-1), "cost must be at least 0"),
        (dict(cost=[0.1, 0.2]), "cost must be at least 0, and one number"),
    ],
)
def test_what_is_no_market_is_refused(change, message):
    with pytest.raises(UserError, match=message) as caught:
        GOOD.replace(**change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([[0.5, 0.2]], [[True, False], [False, False]]), {}, "set 1 is empty"),
        (([[0.5, 0.2]], [[1, 0]]), {}, "sets must be bool"),
        (([[0.5, 0.2]], np.zeros((0, 2), bool)), {}, "at least one set"),
        (([[0.5, -0.2]], [[True, True]]), {}, "valuations row 0 is -0.2 at metric 1"),
        (([[0.5, np.inf]], [[True, True]]), {}, r"valuations\[0, 1\] is inf"),
        (([], [[True, True]]), {}, "valuations must be"),
        (([[0.5, 0.2]], [[True, True]]), dict(prior=[0.4, 0.6]), "prior must have 1 entries"),
        (([[0.5, 0.2]], [[True, True]]), dict(weights=[0.4]), "weights sums to 0.4"),
        (([[0.5, 0.2]], [[True, True]]), dict(forced=True), "give cap="),
        (([[0.5, 0.2]], [[True, True]]), dict(cap=-1.0), "cap must be a positive number"),
    ],
)
def test_what_is_no_instance_is_refused(arguments, options, message):
    with pytest.raises(UserError, match=message):
        instance.instance_of_sets(*arguments, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(valuations=[[0.5, np.nan]]), r"valuations\[0, 1\] is nan"),
        (dict(prior=[0.7]), "prior sums to 0.7"),
        (dict(sets=np.array([[True, False], [False, False]]), weights=[0.5, 0.5]), "set 1 is empty"),
        (dict(weights=[0.5, 0.5]), "weights must have 1 entries"),
        (dict(forced=True), "give cap="),
        (dict(cap=np.nan), "cap must be a positive number"),
    ],
)
def test_an_instance_is_checked_however_it_is_made(change, message):
    problem = instance.full_information([[0.5, 0.2]])
    with pytest.raises(UserError, match=message):
        problem.replace(**change)
    fields = {name: getattr(problem, name) for name in ("valuations", "prior", "sets", "weights")}
    with pytest.raises(UserError, match=message):
        instance.Instance(**(fields | change))


@pytest.mark.parametrize("valuations", [0.5, [0.5, 0.2], [[0.5, 0.2], [0.3]], []])
def test_full_information_needs_a_table_of_valuations(valuations):
    with pytest.raises(UserError, match="valuations must"):
        instance.full_information(valuations)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (np.zeros((0, 3), int), "at least 1 by 1"),
        (np.zeros((2, 3)), "must be int"),
        (np.array([[0, 1], [0, 3]]), "trajectory 1 leaves 0 to 2"),
        (np.array([[0, -1], [0, 2]]), "trajectory 0 leaves 0 to 2"),
    ],
)
def test_what_are_no_trajectories_is_refused(found, message):
    for use in (market.smoothed_chain, instance.sets_of_trajectories):
        with pytest.raises(UserError, match=message):
            use(found, 3)


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ([0.1, np.nan, 0.1], r"prices\[1\] is nan: give at least 0, or inf"),
        ([[0.1, 0.1, 0.1], [0.1, 0.1, -0.2]], r"prices\[1, 2\] is -0.2"),
        ([0.1, 0.2], r"prices must have shape \[..., 3\], one for each metric, got \[2\]"),
        (0.1, "one for each metric"),
        (["a", "b", "c"], "prices must hold numbers only"),
    ],
)
def test_what_are_no_prices_is_refused(prices, message):
    problem = instance.full_information(GOOD.valuations)
    for use in (
        lambda: instance.revenue(problem, prices),
        lambda: instance.choose(problem, prices),
        lambda: cost_aware.expected_revenue(GOOD, prices),
        lambda: learning.likelihoods(GOOD, prices),
    ):
        with pytest.raises(UserError, match=message):
            use()


@pytest.mark.parametrize("smoothing", [0, np.nan, np.inf])
def test_smoothing_must_be_a_positive_number(smoothing):
    with pytest.raises(UserError, match="smoothing must be above 0"):
        market.smoothed_chain(np.array([[0, 1]]), 2, smoothing)


def test_a_chain_is_recovered_from_many_trajectories():
    rng = np.random.default_rng(0)
    law = rng.dirichlet(np.ones(3), 3)
    found = np.zeros((20_000, 3), int)
    found[:, 0] = rng.choice(3, 20_000, p=[0.5, 0.3, 0.2])
    for t in (1, 2):
        found[:, t] = (rng.random((20_000, 1)) > law[found[:, t - 1]].cumsum(1)).sum(1)
    initial, transitions = market.smoothed_chain(found, 3)
    np.testing.assert_allclose(initial, [0.5, 0.3, 0.2], atol=0.02)
    np.testing.assert_allclose(transitions, np.stack([law, law]), atol=0.03)


def test_a_metric_never_left_in_a_period_follows_the_other_periods():
    _, transitions = market.smoothed_chain(np.array([[0, 0, 1], [0, 1, 0]]), 3)
    np.testing.assert_allclose(transitions.sum(-1), 1)
    np.testing.assert_allclose(transitions[0, 1], [1, 0, 0], atol=1e-6)  # seen in the second period only
    np.testing.assert_allclose(transitions[:, 2], [[0, 0, 1]] * 2, atol=1e-6)  # never seen: stays


def test_from_accuracies_to_a_posted_menu():
    rng = np.random.default_rng(0)
    accuracies = np.clip(0.6 + np.cumsum(rng.uniform(-0.02, 0.06, (20, 8)), 1), 0, 1)
    posted = menu.post_menu(accuracies, num_types=4, num_metrics=6, steps=100)
    assert posted.revenue == pytest.approx(float(cost_aware.expected_revenue(posted.market, posted.prices)), abs=1e-6)
    for curve in (*(rule(posted.instance) for rule in baselines.BASELINES.values()), posted.free.prices):
        assert posted.revenue >= cost_aware.expected_revenue(posted.market, instance.shaved(curve, 1e-3)) - 2e-3
    assert 0.3 < menu.share_of_welfare(posted) <= 1
    assert posted.free.revenue <= posted.free.bound
    assert [row["metric"] for row in posted.rows] == sorted(row["metric"] for row in posted.rows)
    sold = sum(row["buyers"] for row in posted.rows)
    assert 0 < sold <= 1
    for row in posted.rows:
        assert row["price posted"] is not None or row["buyers"] == 0


def test_accuracies_must_be_a_table_of_numbers():
    with pytest.raises(UserError, match=r"accuracies\[0, 1\] is nan"):
        menu.rounded_metrics(np.array([[0.5, np.nan]]), 4)
    with pytest.raises(UserError, match="size at least 2"):
        menu.rounded_metrics(np.array([[0.5, 0.6]]), 1)


def test_a_menu_needs_buyers_and_a_market_a_period():
    with pytest.raises(UserError, match="num_types must be at least 1"):
        menu.post_menu(np.array([[0.5, 0.6]]), num_types=0)
    for valuations in ([[2.0, 5.0], [1.0, 3.0]], [[-0.1, 0.6]], [[60.0, 70.0]]):
        with pytest.raises(UserError, match=r"accuracies of searches lie in \[0, 1\].*valuations of buyers go"):
            menu.post_menu(np.array(valuations))
    with pytest.raises(UserError, match="horizon must be at least 1"):
        scenarios.climbing_market(2, 3, 0)


def test_arguments_of_the_portfolio_are_checked():
    with pytest.raises(UserError, match="starts must be 8 or more"):
        portfolio.price_curve(scenarios.random_instance(2, 2, 1), starts=2)
    with pytest.raises(UserError, match="sets that are not empty"):
        scenarios.random_instance(2, 2, 5)
