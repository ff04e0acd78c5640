"""The tokenizer in a GGUF file: byte-level BPE that splits text as SmolLM2, Llama 3 or Qwen2 do, and the end tokens.

Reference: the `pre` of llama.cpp names how text is split before merging; SentencePiece vocabularies are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.transformer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import tokenizers

_CONTROL, _USER = 3, 4  # token_type
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")
# Contractions, a word with what stands before it, numbers of at most so many digits, signs, line ends, other spaces.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {
    "llama-bpe": _WORDS % r"\p{N}{1,3}",
    "llama3": _WORDS % r"\p{N}{1,3}",
    "qwen2": _WORDS % r"\p{N}",
    "smollm": None,
}
_COMPOSED = ("qwen2",)  # whose characters are composed first (NFC)


def eos_ids(fields: Mapping[str, Any]) -> tuple[int, ...]:
    """Ids that end a reply, the file's own eos first; also where the tokenizer is not known."""
    found = [fields.get(f"tokenizer.ggml.{name}") for name in _ENDS]
    return tuple(dict.fromkeys(int(index) for index in found if index is not None))


def read_tokenizer(fields: Mapping[str, Any], source: str) -> Tokenizer | None:
    """The file's own tokenizer; None for kinds whose way of splitting text is not known here.

    Args:
      fields: of the file.
      source: for error messages.

    Raises:
      UserError: if its lists do not fit together.
    """
    pre = fields.get("tokenizer.ggml.pre")
    if fields.get("tokenizer.ggml.model") != "gpt2" or pre not in _SPLITS:
        return None
    try:
        tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
        known = set(tokens)
        pairs = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
        merges = [pair for pair in pairs if known.issuperset(pair) and "".join(pair) in known]  # others never happen
        special = [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
        shown = [token for token, kind in zip(tokens, types, strict=True) if kind == _USER]
        backend = _backend(tokens, merges, pre, special, shown)
    except KeyError as missing:
        raise UserError(f"{source} has no {missing}: the file is not whole") from None
    except Exception as error:  # the library raises plain Exception
        raise UserError(f"the tokenizer of {source} does not fit together ({error}): download it again") from None
    begin, bos = (
        fields.get("tokenizer.ggml.add_bos_token", pre.startswith("llama")),
        fields.get("tokenizer.ggml.bos_token_id"),
    )
    named = {
        f"{name}_token": tokens[index]
        for name, key in (("bos", "bos_token_id"), ("pad", "padding_token_id"), ("unk", "unknown_token_id"))
        if (index := fields.get(f"tokenizer.ggml.{key}")) is not None and 0 <= index < len(tokens)
    }
    template = fields.get("tokenizer.chat_template")
    return Tokenizer(backend, eos_ids(fields), bos if begin else None, template, named)


def _backend(
    tokens: list[str], merges: list[Any], pre: str, special: list[str], shown: list[str]
) -> tokenizers.Tokenizer:
    from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    model: Any = models.BPE(
        vocab={token: index for index, token in enumerate(tokens)}, merges=merges, ignore_merges=pre.startswith("llama")
    )
    backend: Any = Backend(model)
    pattern = _SPLITS[pre]
    if pattern is None:
        split = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    else:
        split = [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    backend.pre_tokenizer = pre_tokenizers.Sequence(split)
    if pre in _COMPOSED:
        backend.normalizer = normalizers.NFC()
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in shown])
    return backend
