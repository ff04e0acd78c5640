"""The experiment `pretrain` at its smallest: killed and resumed, and the model that it writes is read again."""

import json

import jax
import numpy as np
import pytest
from fixtures.killed_run import whole_and_parts

from jaxrl_suite.errors import UserError
from jaxrl_suite.experiments.pretrain import config as pretrain_config
from jaxrl_suite.experiments.pretrain import experiment
from jaxrl_suite.llm.task_models.shipped import load_task_model

pytestmark = pytest.mark.tier2
SMALL = pretrain_config.Config(families=("listfun",), steps=6, batch=8, chunk=2, problems=8, samples=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, and beside it the same one that was killed in the middle and continued."""
    place = tmp_path_factory.mktemp("pretrain")
    whole_and_parts(place, "pretrain", experiment.main, SMALL, experiment, "check_finite", 3)
    return place


def test_killed_and_resumed_is_as_if_never_stopped(folder):
    paths = sorted(path.relative_to(folder / "whole") for path in (folder / "whole" / "tables").iterdir())
    assert [path.stem for path in paths] == ["models", "training", "transcripts"]
    paths += [folder / "whole" / "models" / "listfun-early" / name for name in ("model.safetensors", "card.json")]
    for path in paths:
        assert (folder / "whole" / path).read_bytes() == (folder / "parts" / path).read_bytes()


def test_the_model_is_read_again_with_its_card(folder):
    model = load_task_model(folder / "whole" / "models" / "listfun-early")
    assert model.family.name == "listfun"
    card = json.loads((folder / "whole" / "models" / "listfun-early" / "card.json").read_text())
    assert card == model.card
    assert card["command"].endswith("--batch 8 --steps 6")
    trainer = experiment.make_model_trainer(SMALL, "listfun", "early", experiment.FIRST)
    state, metrics = trainer.update(trainer.init(jax.random.key(0)))
    np.testing.assert_allclose(metrics.loss, card["first_losses"], rtol=1e-5)
    assert int(state.step) == experiment.FIRST


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="chunk must divide the 5 steps, got 2"):
        pretrain_config.Config(steps=5, chunk=2)
