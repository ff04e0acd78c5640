"""The part of `lm` that shows a real model: parity with `transformers`, speed, and three completions."""

from __future__ import annotations

import jax
import numpy as np

from jaxrl_suite.core.run import Run
from jaxrl_suite.errors import UserError
from jaxrl_suite.experiments.bench import lm as _bench_lm
from jaxrl_suite.llm.ledger import Ledger
from jaxrl_suite.llm.protocol import Decoding, Message, Prefix, Request
from jaxrl_suite.llm.transformer import model, weights
from jaxrl_suite.llm.transformer.sampler import TransformerSampler

PROMPTS = (
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "1 + 1 = 2, 2 + 2 = 4, 3 + 3 =",
    "Once upon a time, in a land far away,",
    "日本の首都は",
    "SELECT name, COUNT(*) FROM users WHERE",
)
QUESTIONS = (
    "What is the capital of France?",
    "Write a Python function that adds two numbers.",
    "Name three animals that live in the sea.",
)


def show(where: str, run: Run) -> None:
    """Writes parity, speed and completions of a model to a run.

    Args:
      where: what `weights.load` takes.
      run: the open run.

    Raises:
      UserError: if there is no such model, or it has no tokenizer.
    """
    loaded = weights.load(where)
    run.say(f"{loaded.name}: {loaded.config.num_params / 1e6:.1f} million weights")
    if loaded.tokenizer is None:
        raise UserError(f"{where} has no tokenizer beside its weights: put a tokenizer.json into its folder")
    sampler = TransformerSampler(loaded.name, loaded.config, loaded.params, tokenizer=loaded.tokenizer)
    _complete(sampler, run)
    _compare(loaded, run)
    for row in _bench_lm.compare_speed(loaded):  # seconds stand in no table: a run is compared by its tables
        run.text(", ".join(f"{name} {value}" for name, value in row.items() if value), title="Speed")


def _complete(sampler: TransformerSampler, run: Run) -> None:
    decoding = Decoding(max_tokens=64, temperature=0.7, top_p=0.95)
    prefixes: list[Prefix] = [(Message("user", question),) for question in QUESTIONS]
    if not sampler.tokenizer or not sampler.tokenizer.has_chat:
        prefixes = list(QUESTIONS)
    requests = [Request(prefix, decoding=decoding, path=(i,)) for i, prefix in enumerate(prefixes)]
    ledger = Ledger()
    for question, reply in zip(QUESTIONS, sampler.sample(requests), strict=True):
        ledger.charge(reply.usage)
        text = (reply.completions[0].text or "").strip()
        run.say(f"> {question}\n{text}")
        run.text(text, title=question)
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in ledger.rows()]
    run.table("ledger", rows, caption="What the completions cost.")


def _compare(loaded: weights.Model, run: Run) -> None:
    """The largest difference of logits on a few prompts."""
    theirs = _bench_lm.in_transformers(loaded)
    if theirs is None:
        run.text("Not compared: `transformers` is not installed (pip install 'jaxrl-suite[hub]').", "Parity")
        return
    import torch  # pyright: ignore[reportMissingImports]

    assert loaded.tokenizer is not None
    rows, forward = [], jax.jit(model.forward, static_argnums=0)
    for prompt in PROMPTS:
        ids = loaded.tokenizer.encode(prompt)
        padded = np.zeros((1, 32), np.int32)
        padded[0, : len(ids)] = ids
        ours = np.asarray(forward(loaded.config, loaded.params, padded))[0, : len(ids)]
        with torch.no_grad():
            exact = theirs(torch.tensor([ids])).logits[0].numpy()
        rows.append(
            {
                "prompt": prompt.strip(),
                "tokens": len(ids),
                "largest difference": float(np.abs(ours - exact).max()),
                "largest logit": float(np.abs(exact).max()),
                "same likeliest tokens": f"{(ours.argmax(-1) == exact.argmax(-1)).sum()} of {len(ids)}",
            }
        )
    run.table("parity", rows, caption="Logits beside those of `transformers`, float32.")
    worst = max(row["largest difference"] for row in rows)
    run.text(f"The largest difference of logits from `transformers` is {worst:.1e} on {len(rows)} prompts.", "Parity")
