"""Makes lm_llama, lm_qwen2 and lm_qwen3.safetensors: tiny random models of `transformers` with the logits they give.

    pip install 'jaxrl-suite[hub]' && python tests/data/make_lm_golden.py

Each holds its weights under their names on the hub, `golden.tokens` and `golden.logits`; its metadata is its config.
"""

import json
from pathlib import Path

import torch  # pyright: ignore[reportMissingImports]
from safetensors.torch import save_file
from transformers import (  # pyright: ignore[reportMissingImports]
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

SIZES = dict(
    vocab_size=61,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=40,
    max_position_embeddings=64,
    attn_implementation="eager",
)
ROPE = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def main() -> None:
    torch.manual_seed(0)
    models = {
        "llama": LlamaForCausalLM(LlamaConfig(**SIZES, rope_parameters=ROPE, tie_word_embeddings=True)),
        "qwen2": Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=False)),
        "qwen3": Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=12, tie_word_embeddings=True)),
    }
    for name, model in models.items():
        with torch.no_grad():
            for parameter in model.parameters():  # norms and biases away from one and zero
                parameter.copy_(torch.randn_like(parameter) * 0.25 + (parameter.ndim == 1) * 0.5)
            tokens = torch.randint(0, SIZES["vocab_size"], (3, 24))
            logits = model(tokens).logits
        tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
        if model.config.tie_word_embeddings:
            del tensors["lm_head.weight"]
        tensors |= {"golden.tokens": tokens, "golden.logits": logits}
        metadata = {"config": json.dumps(json.loads(model.config.to_json_string(use_diff=False)))}
        save_file(tensors, Path(__file__).parent / f"lm_{name}.safetensors", metadata=metadata)


if __name__ == "__main__":
    main()
