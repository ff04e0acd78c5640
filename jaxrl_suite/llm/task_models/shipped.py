"""The models that come with the package, two a family: an early one, which is often wrong, and a late one.

    model = load_task_model("countdown-early")
    sampler = model.sampler()

Each is a folder of config.json, model.safetensors and card.json: data, steps, accuracy, and the command that made it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from jaxrl_suite.errors import UserError, suggest
from jaxrl_suite.llm.task_models.families import TaskFamily, family
from jaxrl_suite.llm.transformer.config import LMConfig
from jaxrl_suite.llm.transformer.model import Params
from jaxrl_suite.llm.transformer.sampler import SamplerConfig, TransformerSampler
from jaxrl_suite.llm.transformer.weights import load_safetensors, save_safetensors

FOLDER = Path(__file__).parent / "weights"
CARD = "card.json"


class TaskModel(NamedTuple):
    """A small model of a family of problems."""

    name: str
    family: TaskFamily
    config: LMConfig
    params: Params
    card: dict[str, Any]  # what is known of it, see `experiments/pretrain`

    def sampler(self, options: SamplerConfig = SamplerConfig()) -> TransformerSampler:  # noqa: B008 (it is frozen)
        """The model as a `Sampler`, which ends an answer at the task's end of sequence."""
        name = f"{self.name}-{options.seed}"
        return TransformerSampler(name, self.config, self.params, eos=(self.family.task.eos,), options=options)


def task_models() -> tuple[str, ...]:
    """The names that `load_task_model` knows, sorted."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob(f"*/{CARD}")))


def load_task_model(name: str | Path) -> TaskModel:
    """A model by its name, or by the folder that `save_task_model` wrote.

    Raises:
      UserError: if there is none, or it is damaged.
    """
    folder = Path(name) if Path(name).is_absolute() else FOLDER / name
    if not (folder / CARD).exists():
        raise UserError(f"no task model called {str(name)!r}{suggest(str(name), task_models())}")
    try:
        card = json.loads((folder / CARD).read_text())
        kind = family(card["family"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / CARD} cannot be read: {error}; install the package again") from None
    loaded = load_safetensors(folder)
    return TaskModel(folder.name, kind, loaded.config, loaded.params, card)


def save_task_model(folder: Path, config: LMConfig, params: Params, card: dict[str, Any]) -> None:
    """Writes a model that `load_task_model` reads.

    Raises:
      UserError: if the folder cannot be written.
    """
    save_safetensors(folder, config, params)
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")
