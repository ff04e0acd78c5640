"""Tables joined by keys, batched training on chosen tables, and the searches over both."""

import functools

import numpy as np
import pytest

from jaxrl_suite.datamarket import automl, discovery, tables
from jaxrl_suite.tabular.classifiers import Logistic, Neighbours, Ridge
from jaxrl_suite.tabular.datasets import check_table, load_table

MODELS = {"ridge": Ridge(1.0), "logistic": Logistic(1.0), "neighbours": Neighbours(5)}


@pytest.fixture(scope="module")
def lake():
    return tables.make_lake(load_table("breast_cancer"), own=2, width=2, most=6, noise=6, shuffled=4)


@pytest.fixture(scope="module")
def trainer(lake):
    return automl.LakeTrainer(lake, MODELS, sizes=(150, 150, 200))


def test_a_join_finds_the_row_of_each_key_and_fills_the_rest_with_the_mean():
    task = check_table(np.arange(3.0)[:, None], [0, 1, 0])
    side = tables.check_side_table("side", [7, 5, 6], [[70.0, 1], [50, 2], [60, 6]])
    joined = tables.join(tables.Lake(task, np.array([5, 6, 99]), (side,), (True,)))
    np.testing.assert_array_equal(joined.x, [[0, 50, 2], [1, 60, 6], [2, 55, 4]])
    np.testing.assert_array_equal(joined.owner, [-1, 0, 0])
    np.testing.assert_allclose(joined.missing, [1 / 3])


@pytest.mark.parametrize(
    ("key", "columns", "message"),
    [
        ([1, 2, 1], [[1.0], [2], [3]], "row 2 repeats the key 1"),
        ([1, 2, 3], [[1.0], [np.nan], [3]], "row 1, column 0 is nan"),
        ([1, 2, 3], [[5.0, 1], [5, 2], [5, 3]], "column 0 is constant"),
        (["a", "b"], [[1.0], [2]], "keys must be whole numbers"),
        ([1, 2], [["x"], ["y"]], "encode text columns"),
        ([1, 2], [[1.0]], "a row a key"),
        ([], np.zeros((0, 1)), "keys must be|at least one"),
    ],
)
def test_a_side_table_that_cannot_be_joined_is_refused(key, columns, message):
    with pytest.raises(ValueError, match=message):
        tables.check_side_table("side", key, columns)


def test_a_lake_that_cannot_help_is_refused():
    task = load_table("iris")
    with pytest.raises(ValueError, match="holds no table"):
        tables.join(tables.Lake(task, np.arange(150), (), ()))
    foreign = tables.check_side_table("foreign", [1000, 1001], [[1.0], [2]])
    with pytest.raises(ValueError, match="'foreign' shares no key"):
        tables.join(tables.Lake(task, np.arange(150), (foreign,), (True,)))
    good = tables.check_side_table("side", np.arange(150), np.arange(150.0)[:, None])
    for change, message in (
        (dict(y=np.where(task.y == 1, "a", "b")), "labels must be whole numbers"),
        (dict(x=np.hstack([task.x[:, :3], np.ones((150, 1))])), "is 1 in every row"),
        (dict(x=np.where(np.arange(600).reshape(150, 4) == 9, np.nan, task.x)), "row 2, column"),
        (dict(y=np.zeros(150, np.int32)), "all rows have one label"),
    ):
        with pytest.raises(ValueError, match=message):
            tables.join(tables.Lake(task._replace(**change), np.arange(150), (good,), (True,)))
    with pytest.raises(ValueError, match="one for each of 150 rows"):
        tables.join(tables.Lake(task, np.arange(149), (good,), (True,)))
    with pytest.raises(ValueError, match="keep fewer"):
        tables.make_lake(task, own=4)


def test_only_true_tables_under_true_keys_correlate_with_the_target(lake, trainer):
    useful, promise = np.array(lake.useful), trainer.profiles[:, 1]
    assert len(useful) == 16
    assert useful.sum() == 6
    assert np.median(promise[useful]) > 2 * promise[~useful].max()


@pytest.mark.parametrize("name", ["ridge", "logistic"])
def test_a_masked_fit_is_scikit_learns_on_the_columns_that_are_left(trainer, name):
    from sklearn.linear_model import LogisticRegression, RidgeClassifier

    choice = np.zeros(trainer.num_tables, bool)
    choice[[0, 3, 9]] = True
    columns = np.append(choice, True)[trainer.joined.owner]
    model = RidgeClassifier(1.0) if name == "ridge" else LogisticRegression(C=1.0, max_iter=500)
    split = trainer.split
    model.fit(split.x[:, columns], split.y)
    expected = [
        model.score(x[:, columns], y) for x, y in ((split.valid_x, split.valid_y), (split.test_x, split.test_y))
    ]
    (found,) = trainer.scores([(trainer.names.index(name), choice)])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_sweep_is_its_fits_one_by_one_and_none_is_made_twice(lake):
    trainer = automl.LakeTrainer(lake, {"ridge": Ridge(1.0), "neighbours": Neighbours(5)}, sizes=(150, 150, 200))
    choices = np.random.default_rng(0).random((11, trainer.num_tables)) < 0.3
    swept = automl.sweep(trainer, choices)
    assert swept.valid.shape == (2, 11)
    made = trainer.trained
    assert made == 2 * len(np.unique(choices, axis=0))
    for model in range(2):
        for row in (0, 7, 10):
            (alone,) = automl.LakeTrainer(lake, {"one": tuple(trainer.models)[model]}, sizes=(150, 150, 200)).scores(
                [(0, choices[row])]
            )
            np.testing.assert_allclose(alone, (swept.valid[model, row], swept.test[model, row]), atol=1e-6)
    automl.sweep(trainer, choices)
    assert trainer.trained == made
    vmapped = automl.LakeTrainer(
        lake, dict(zip(trainer.names, trainer.models, strict=True)), sizes=(150, 150, 200), batch=4
    )
    np.testing.assert_allclose(automl.sweep(vmapped, choices).valid, swept.valid, atol=0.01)


@pytest.mark.parametrize("request_", [(0, np.ones(2, bool)), (0, np.ones(99, bool)), (9, np.ones(16, bool))])
def test_a_choice_must_have_a_flag_for_each_table(trainer, request_):
    with pytest.raises(ValueError, match=r"request 1 is for model .* a flag for each of 16 tables"):
        trainer.scores([(0, np.ones(16, bool)), request_])


def test_exp3_comes_to_play_the_best_arm_and_never_stops_exploring():
    rng, bandit = np.random.default_rng(0), discovery.Exp3(4)
    counts = np.zeros(4)
    for _ in range(3000):
        law = bandit.probabilities()
        assert law.sum() == pytest.approx(1)
        assert law.min() >= bandit.rate / 4
        arm = rng.choice(4, p=law)
        counts[arm] += 1
        bandit.update(arm, float(rng.random() < (0.3, 0.4, 0.9, 0.5)[arm]))
    assert counts.argmax() == 2
    assert counts[2] > 0.6 * counts.sum()


def test_thompson_sampling_turns_to_the_cluster_that_helps():
    rng = np.random.default_rng(0)
    profiles = np.repeat([[0.1, 0.1, 0.1, 0.1], [0.9, 0.5, 0.2, 0.3]], 20, 0) + rng.normal(0, 0.01, (40, 4))
    chooser = discovery.TableChooser(profiles, rng, clusters=2)
    assert len(set(chooser.label[:20])) == len(set(chooser.label[20:])) == 1
    picks = []
    for _ in range(24):
        table = chooser.pick(np.zeros(40, bool))
        assert table is not None
        chooser.tell(table, helped=table < 20)
        picks.append(table)
    assert len(set(picks)) == 24  # nothing is tried twice while something is new
    assert sum(table < 20 for table in picks) >= 16


@functools.cache
def logs(trainer, search):
    return discovery.run(trainer, search, range(5), 28)


@pytest.mark.parametrize("search", discovery.SEARCHES)
def test_a_search_trains_one_model_a_period_and_repeats_itself(trainer, search):
    runs = logs(trainer, search)
    assert all(log.valid.shape == log.test.shape == log.models.shape == (28,) for log in runs)
    assert all(log.choices.shape == (28, trainer.num_tables) for log in runs)
    (alone,) = discovery.run(trainer, search, [3], 28)
    np.testing.assert_array_equal(alone.choices, runs[3].choices)
    np.testing.assert_array_equal(alone.valid, runs[3].valid)
    best, test = runs[0].best_so_far()
    assert (np.diff(best) >= 0).all()
    assert test[-1] == runs[0].test[np.argmax(runs[0].valid)]


def test_augmentation_helps_and_distractors_are_left_out(lake, trainer):
    useful = np.array(lake.useful)
    plain = np.mean([log.best_so_far()[0][-1] for log in logs(trainer, "automl")])
    found = [log.best_so_far()[0][-1] for log in logs(trainer, "data bandit")]
    assert np.mean(found) > plain + 0.02
    assert np.mean([log.best_so_far()[1][-1] for log in logs(trainer, "data bandit")]) > 0.88
    kept = np.array([log.choices[np.argmax(log.valid)] for log in logs(trainer, "data bandit")])
    assert kept[:, useful].mean() > 2 * kept[:, ~useful].mean()


def test_an_unknown_search_gets_a_remedy(trainer):
    with pytest.raises(ValueError, match="search must be one of data bandit"):
        discovery.run(trainer, "bandit", [0], 3)
    with pytest.raises(ValueError, match="no seed"):
        discovery.run(trainer, "automl", [], 3)
    with pytest.raises(ValueError, match="no model"):
        automl.LakeTrainer(tables.make_lake(load_table("iris"), own=1, width=1, noise=1, shuffled=0), {})
