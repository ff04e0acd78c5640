"""The real model beside `transformers`: logits, tokens and text.

pip install 'jaxrl-suite[dev,hub]' && jaxrl-suite fetch smollm2 && pytest -m hub
"""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrl_suite.llm.protocol import Decoding, Message, Request
from jaxrl_suite.llm.transformer import fetch, model, weights
from jaxrl_suite.llm.transformer.sampler import TransformerSampler

transformers = pytest.importorskip("transformers", reason="needs the extra hub")
torch = pytest.importorskip("torch", reason="needs the extra hub")
FILE = fetch.folder() / "SmolLM2-135M-Instruct.Q4_1.gguf"
pytestmark = [
    pytest.mark.hub,
    pytest.mark.skipif(not FILE.exists(), reason="needs `jaxrl-suite fetch smollm2`"),
    pytest.mark.filterwarnings("ignore"),  # those of the other library
]
PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "Once upon a time, in a land far away,",
    "1 + 1 = 2, 2 + 2 = 4, 12345 * 678 =",
    "日本の首都は",
    "Привет, как дела?",
    "The quick brown fox jumps over the lazy dog. " * 12,
    "<|im_start|>user\nWhat is 7 times 8?<|im_end|>\n<|im_start|>assistant\n",
    "{\"name\": \"Ada\", \"born\": 18",
    "SELECT name, COUNT(*) FROM users WHERE",
    "a",
    " ",
    "\n\n\n",
    "🙂🙃 emoji 🎉",
    "E = mc^2 means that",
    "Roses are red,\nViolets are blue,\n",
    "if (x > 0) { return x; } else {",
    "¿Dónde está la biblioteca?",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "0123456789" * 9,
]  # fmt: skip


@pytest.fixture(scope="module")
def ours():
    return weights.load(FILE)


@pytest.fixture(scope="module")
def theirs():
    """Their own reading of the same file, so that the order of rows is checked too."""
    load = dict(pretrained_model_name_or_path=str(FILE.parent), gguf_file=FILE.name)
    tokenizer = transformers.AutoTokenizer.from_pretrained(**load)
    return transformers.AutoModelForCausalLM.from_pretrained(**load, dtype=torch.float32).eval(), tokenizer


def test_logits_are_theirs(ours, theirs):
    forward = jax.jit(model.forward, static_argnums=0)
    worst = 0.0
    for prompt in PROMPTS:
        ids = ours.tokenizer.encode(prompt)
        with torch.no_grad():
            expected = theirs[0](torch.tensor([ids])).logits[0].numpy()
        padded = np.zeros((1, 128), np.int32)
        padded[0, : len(ids)] = ids
        got = np.asarray(forward(ours.config, ours.params, padded))[0, : len(ids)]
        worst = max(worst, np.abs(got - expected).max())
        assert (got.argmax(-1) == expected.argmax(-1)).mean() > 0.99
    print(f"largest difference of logits over {len(PROMPTS)} prompts: {worst:.2e}")
    assert worst < 1e-3


def random_text(rng):
    """Words, digits, code, spaces and characters of 1 to 4 bytes."""
    alphabets = ["abcdefghij ", "0123456789", " \t\n\r", "éàüßñøçÅ", "日本語漢字かな", "Привет", "{}[]()<>;:'\"/"]
    alphabets += ["🙂🎉👩\u200d👧", "\u200b\u00a0\ufeff\u0301"]
    words = [
        "the",
        " The",
        "don't",
        "it's",
        "I'LL",
        "http://x.y",
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        "3.14",
        "  ",
    ]
    parts = []
    for _ in range(rng.randint(1, 12)):
        if rng.random() < 0.4:
            parts.append(rng.choice(words))
        else:
            parts.append("".join(rng.choices(rng.choice(alphabets), k=rng.randint(1, 9))))
        if rng.random() < 0.1:
            parts.append(chr(rng.choice([rng.randint(1, 0xD7FF), rng.randint(0xE000, 0x10FFFF)])))
    return "".join(parts)


def test_tokens_are_theirs_on_a_thousand_strings(ours, theirs):
    """Their reading of GGUF files leaves out how the model splits text before merging: digits one by one."""
    from tokenizers import pre_tokenizers

    digits, rest = pre_tokenizers.Digits(individual_digits=True), theirs[1].backend_tokenizer.pre_tokenizer
    theirs[1].backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, rest])
    rng = random.Random(0)
    for _ in range(1000):
        text = random_text(rng)
        expected = theirs[1](text, add_special_tokens=False)["input_ids"]
        assert list(ours.tokenizer.encode(text)) == expected, repr(text)
        assert ours.tokenizer.decode(expected) == theirs[1].decode(expected, skip_special_tokens=True), repr(text)


def test_tokens_are_those_of_llama_cpp_on_a_thousand_strings(ours):
    """It reads that rule from the file. Needs `pip install llama-cpp-python`, which compiles for minutes."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="needs llama-cpp-python")
    theirs = llama_cpp.Llama(str(FILE), vocab_only=True, verbose=False)
    rng = random.Random(1)
    for _ in range(1000):
        text = random_text(rng)
        assert list(ours.tokenizer.encode(text)) == theirs.tokenize(text.encode(), add_bos=False, special=True), repr(
            text
        )


def test_chats_are_theirs(ours, theirs):
    chats = [
        [("user", "Hi")],
        [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")],
    ]
    for chat in chats:
        expected = theirs[1].apply_chat_template(
            [{"role": role, "content": text} for role, text in chat], add_generation_prompt=True, tokenize=False
        )
        assert ours.tokenizer.render([Message(role, text) for role, text in chat]) == expected


def test_greedy_text_is_theirs(ours, theirs):
    sampler = TransformerSampler(ours.name, ours.config, ours.params, tokenizer=ours.tokenizer)
    requests = [Request(prompt, decoding=Decoding(max_tokens=24, temperature=0.0)) for prompt in PROMPTS[:10]]
    same = 0
    for request, reply in zip(requests, sampler.sample(requests), strict=True):
        ids = torch.tensor([ours.tokenizer.encode(request.prefix)])
        expected = theirs[0].generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :].tolist()
        same += reply.completions[0].tokens.tolist() == expected
    assert same >= 9  # a near tie may fall either way


def test_a_saved_model_is_read_by_them(ours, tmp_path):
    weights.save_safetensors(tmp_path, ours.config, ours.params)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ids = ours.tokenizer.encode(PROMPTS[1])
    with torch.no_grad():
        expected = again(torch.tensor([ids])).logits[0].numpy()
    got = jax.jit(model.forward, static_argnums=0)(ours.config, ours.params, jnp.asarray([ids], jnp.int32))[0]
    np.testing.assert_allclose(got, expected, atol=1e-3)
