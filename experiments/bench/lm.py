"""Decoding beside `transformers`: SmolLM2-135M, the same float32 weights, the same machine, one run.

Each step must read all weights once and multiply each of them with every row: the limit is the larger of the two times,
from the memory speed and the multiplication speed measured here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrl_suite.core import devices
from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Decoding, Request
from jaxrl_suite.llm.transformer import hf_config, weights
from jaxrl_suite.llm.transformer.sampler import SamplerConfig, TransformerSampler

Row = dict[str, Any]
NEW, PROMPT = 64, 16  # tokens
MISSING = "not installed: pip install 'jaxrl-suite[hub]'"


def lm_decode() -> list[Row]:
    """Tokens per second at batch 1, 8 and 32, the time to the first token, and what compilation took."""
    try:
        model = weights.load("smollm2")
    except UserError as error:
        return [{"what": f"tokens, {NEW} new ones a row", "by": "jaxrl_suite", "per second": str(error)}]
    return compare_speed(model)


def compare_speed(model: weights.Model) -> list[Row]:
    """The rows of `lm_decode`, for any model in float32."""
    generate = _generate(model)
    size, flops = 4 * model.config.num_params, model.config.flops_per_token
    read, multiply = _speeds()
    rows = []
    for batch in (1, 8, 32):
        prompts = np.random.default_rng(batch).integers(20, model.config.vocab_size, (batch, PROMPT)).tolist()
        best, first, compiled = _ours(model, prompts)
        theirs = generate(prompts) if generate else None
        limit = batch / max(size / read, batch * flops / multiply)
        rows.append(
            {
                "what": f"tokens, batch {batch}, {NEW} new ones a row",
                "by": "jaxrl_suite",
                "per second": f"{batch * NEW / best:,.1f}",
                "limit": f"{limit:,.0f}",
                "first token": f"{first * 1e3:.0f} ms",
                "compiled in": f"{compiled:.1f} s",
                "times transformers": f"{theirs[0] / best:.2f}" if theirs else "",
            }
        )
        cells = (f"{batch * NEW / theirs[0]:,.1f}", f"{theirs[1] * 1e3:.0f} ms") if theirs else (MISSING, "")
        line = {
            "what": rows[-1]["what"],
            "by": "transformers.generate",
            "per second": cells[0],
            "first token": cells[1],
        }
        rows.append({name: line.get(name, "") for name in rows[-1]})
    rows[0]["limit"] += f" ({devices.format_bytes(size)} a step at {devices.format_bytes(read)}/s)"
    rows[4]["limit"] += f" ({flops / 1e9:.2f} GFLOP a token at {multiply / 1e9:,.0f} GFLOP/s)"
    return rows


def _ours(model: weights.Model, prompts: list[list[int]]) -> tuple[float, float, float]:
    """Seconds for all tokens, for the first one, and for compilation."""

    def run(new: int, repeat: int) -> float:
        how = Decoding(max_tokens=new, temperature=0.0)
        requests = [Request(tuple(prompt), decoding=how) for prompt in prompts]
        times = []
        for _ in range(repeat):  # each time with an empty prefix store
            options = SamplerConfig(chunk=NEW, max_rows=len(prompts), cache_bytes=len(prompts) * 10**7)
            sampler = TransformerSampler("bench", model.config, model.params, eos=(), options=options)
            start = time.perf_counter()
            sampler.sample(requests)
            times.append(time.perf_counter() - start)
        return min(times)

    cold = run(NEW, 1)
    run(1, 1)
    best = run(NEW, 3)
    return best, run(1, 3), cold - best


def in_transformers(model: weights.Model) -> Any:
    """The same weights as a model of `transformers`; None if that is not installed."""
    try:
        import torch  # pyright: ignore[reportMissingImports]
        from transformers import (  # pyright: ignore[reportMissingImports]
            LlamaConfig,
            LlamaForCausalLM,
            Qwen2Config,
            Qwen2ForCausalLM,
        )
    except ImportError:
        return None
    torch.set_num_threads(devices.cpu_count())
    settings = hf_config.to_hf(model.config)
    if model.config.qkv_bias:
        theirs = Qwen2ForCausalLM(Qwen2Config(**settings)).eval()
    else:
        theirs = LlamaForCausalLM(LlamaConfig(**settings)).eval()
    tensors = {name: torch.from_numpy(np.array(x)) for name, x in weights.to_tensors(model.config, model.params)}
    theirs.load_state_dict(tensors, strict=False)
    theirs.tie_weights()
    return theirs


def _generate(model: weights.Model) -> Callable[[list[list[int]]], tuple[float, float]] | None:
    """Seconds that `transformers` takes for all tokens of a batch, and for the first one."""
    theirs = in_transformers(model)
    if theirs is None:
        return None
    import torch  # pyright: ignore[reportMissingImports]

    def run(prompts: list[list[int]], new: int) -> float:
        ids = torch.tensor(prompts)
        settings = dict(max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            with torch.no_grad():
                out = theirs.generate(ids, attention_mask=torch.ones_like(ids), **settings)
            times.append(time.perf_counter() - start)
            assert out.shape[1] == PROMPT + new
        return min(times)

    return lambda prompts: (run(prompts, NEW), run(prompts, 1))


def _speeds() -> tuple[float, float]:
    """Bytes read per second, and floating-point operations per second, as this machine reaches them in one program."""

    def best(work: Callable[..., jax.Array], *args: jax.Array) -> float:
        work(*args).block_until_ready()
        times = []
        for _ in range(5):
            start = time.perf_counter()
            work(*args).block_until_ready()
            times.append(time.perf_counter() - start)
        return min(times)

    matrix, vector = jnp.ones((16_384, 8192)), jnp.ones((1, 16_384))
    read = matrix.nbytes / best(jax.jit(jnp.matmul), vector, matrix)
    square = jnp.ones((2048, 2048))
    return read, 2 * 2048**3 / best(jax.jit(jnp.matmul), square, square)
