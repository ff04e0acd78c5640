"""The same command twice, the second time beside a load on every core: the same tables and metrics, byte for byte."""

import multiprocessing
import os

import pytest

from jaxrl_suite.core.run import Run
from jaxrl_suite.experiments.automl_market import experiment as automl_market
from jaxrl_suite.experiments.avalon_bots import experiment as avalon_bots
from jaxrl_suite.experiments.data_values import experiment as data_values
from jaxrl_suite.experiments.disc import experiment as disc
from jaxrl_suite.experiments.gops_search import experiment as gops_search
from jaxrl_suite.experiments.lm import experiment as lm
from jaxrl_suite.experiments.sfs import experiment as sfs

MARKET = automl_market.Config(
    seeds=(0, 1), sizes=("5x5x1", "6x4x9"), types=6, samples=(2,), perturbation_restarts=1, batches=(100,), rounds=30,
    datasets=("wine",), noise=2, shuffled=1, periods=6, trajectories=3, discovery_periods=4,
)  # fmt: skip
BOTS = avalon_bots.Config(
    seeds=(0,), players=(5,), bot_games=64, search_players=(5,), search_games=8, simulations=2, belief_games=8
)
VALUES = data_values.Config(
    seeds=(0,), datasets=("wine",), exact_points=5, per_class=2, train=12, valid=12, test=20, budget=40, games=3
)
EXPERIMENTS = {
    "automl_market": (automl_market, MARKET),
    "avalon_bots": (avalon_bots, BOTS),
    "data_values": (data_values, VALUES),
    "disc": (disc, disc.Config(seeds=(0,), problems=2, samples=8, chains=("run",), methods=("best_of_n", "Z"))),
    "gops_search": (
        gops_search,
        gops_search.Config(seeds=(0, 1), num_cards=3, simulations=(4,), rival_simulations=4, games=8, policy_samples=1),
    ),
    "sfs": (
        sfs,
        sfs.Config(seeds=(0,), problems=2, requests=6, models=("early",), methods=("best_of_n", "sfs"), graphs=4),
    ),
    "lm": (lm, lm.Config(seeds=(0,), train_steps=4, chunk=2, batch=8, problems=4, temperatures=(0.0, 1.0))),
}


def _burn():
    while True:
        pass


def compared(folder):
    """What a reader compares; seconds stand in results.json and the report alone."""
    files = [folder / "metrics.jsonl", *folder.glob("tables/*.csv")]
    assert len(files) > 1
    return {path.relative_to(folder): path.read_bytes() for path in files if path.exists()}


@pytest.mark.tier2
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_load_changes_nothing(name, tmp_path):
    experiment, config = EXPERIMENTS[name]
    context = multiprocessing.get_context("spawn")
    burners = [context.Process(target=_burn, daemon=True) for _ in range(os.cpu_count() or 1)]
    try:
        for folder in ("idle", "loaded"):
            with Run.start(tmp_path / folder, name=name, config=config) as run:
                experiment.main(config, run)
            if folder == "idle":
                for burner in burners:
                    burner.start()
    finally:
        for burner in burners:
            if burner.pid is not None:
                burner.kill()
                burner.join()
    assert compared(tmp_path / "idle") == compared(tmp_path / "loaded")
