"""Text to tokens and back, and chats to text, on the `tokenizers` library and the model's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Message, Prefix
from jaxrl_suite.llm.transformer.config import read_json

if TYPE_CHECKING:
    import tokenizers


class Tokenizer:
    """A tokenizer with the ids that begin and end a text.

    Args:
      backend: of the `tokenizers` library.
      eos: ids that end a reply; the first is the `eos_token` of the template.
      bos: id put before every text, if the model wants one.
      chat_template: Jinja source that writes a chat as one text, if the model knows chats.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        eos: Sequence[int],
        bos: int | None = None,
        chat_template: str | None = None,
    ):
        self.backend, self.eos, self.bos, self._chat_template = backend, tuple(eos), bos, chat_template

    @property
    def special(self) -> frozenset[str]:
        """Names of the tokens that no decoded text shows."""
        added = self.backend.get_added_tokens_decoder().values()
        return frozenset(token.content for token in added if token.special)

    @property
    def vocab_size(self) -> int:
        return self.backend.get_vocab_size()

    @property
    def has_chat(self) -> bool:
        """True if the model knows chats."""
        return self._chat_template is not None

    def encode(self, text: str) -> tuple[int, ...]:
        """The ids of a text; the names of special tokens in it become those tokens."""
        ids = self.backend.encode(text, add_special_tokens=False).ids
        return tuple(ids) if self.bos is None else (self.bos, *ids)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of ids without special tokens; bytes that are not whole characters become U+FFFD."""
        return self.backend.decode([int(token) for token in ids], skip_special_tokens=True)

    def prefix_ids(self, prefix: Prefix) -> tuple[int, ...]:
        """The ids of any prefix: token ids as they are, text encoded, a chat through the model's template.

        A chat that ends with a message of the assistant is continued in that message.

        Raises:
          UserError: for a chat, if the model has no template or its template refuses it.
        """
        if isinstance(prefix, str):
            return self.encode(prefix)
        if isinstance(prefix[0], int):
            return prefix  # pyright: ignore[reportReturnType]
        return self.encode(self.render(prefix))  # pyright: ignore[reportArgumentType]

    def render(self, chat: Sequence[Message]) -> str:
        """A chat as the text that the model continues."""
        if self._chat_template is None:
            raise UserError("this model has no chat template: give a text or token ids")
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def raise_exception(message: str) -> None:
            raise TemplateError(message)

        opened = chat[-1].content if chat[-1].role == "assistant" else ""
        asked = chat[:-1] if chat[-1].role == "assistant" else chat
        world = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        world.globals["raise_exception"] = raise_exception
        bos = "" if self.bos is None else self.backend.id_to_token(self.bos) or ""
        eos = self.backend.id_to_token(self.eos[0]) or "" if self.eos else ""
        try:
            messages = [message._asdict() for message in asked]
            text = world.from_string(self._chat_template).render(
                messages=messages, add_generation_prompt=True, bos_token=bos, eos_token=eos
            )
        except TemplateError as error:
            raise UserError(f"the model's chat template refuses this chat: {error}") from None
        return text.removeprefix(bos) + opened  # `encode` puts it there


def byte_level_bpe(
    tokens: Sequence[str],
    merges: Sequence[str],
    *,
    special: Sequence[str],
    eos: Sequence[int],
    bos: int | None,
    chat_template: str | None,
) -> Tokenizer:
    """A byte-level BPE tokenizer that splits off every digit, as SmolLM2's does.

    Args:
      tokens: the vocabulary, in order of ids.
      merges: pairs "left right", the earliest first.
      special: tokens that are never split and never shown.
      eos: ids that end a reply.
      bos: id put before every text, or None.
      chat_template: Jinja source, or None.
    """
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    vocabulary = {token: index for index, token in enumerate(tokens)}
    pairs: list[Any] = [tuple(merge.split(" ", 1)) for merge in merges]
    backend = Backend(models.BPE(vocab=vocabulary, merges=pairs))
    split = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    backend.pre_tokenizer = pre_tokenizers.Sequence(split)  # pyright: ignore[reportAttributeAccessIssue]
    backend.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return Tokenizer(backend, eos, bos, chat_template)


def from_folder(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder: tokenizer.json, with what tokenizer_config.json and generation_config.json add.

    Raises:
      UserError: if a file is damaged, or nothing says which token ends a reply.
    """
    from tokenizers import Tokenizer as Backend

    folder = Path(folder)
    try:
        backend = Backend.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises plain Exception
        raise UserError(f"cannot read {folder / 'tokenizer.json'}: {error}".replace("\n", " ")) from None
    settings: dict[str, Any] = {}
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        if (folder / name).exists():
            settings |= read_json(folder / name)
    named = backend.token_to_id(_content(settings["eos_token"])) if settings.get("eos_token") else None
    ids = settings.get("eos_token_id")
    eos: list[int] = [i for i in (ids if isinstance(ids, list) else [named if ids is None else ids]) if i is not None]
    if not eos:
        raise UserError(f"nothing in {folder} says which token ends a reply: add eos_token_id to config.json")
    eos.sort(key=lambda index: index != named)  # the template's own comes first
    if settings.get("add_bos_token") and settings.get("bos_token"):
        bos = backend.token_to_id(_content(settings["bos_token"]))
    else:  # a tokenizer may put it there by itself
        own = backend.encode("").ids if "add_bos_token" not in settings else []
        bos = own[0] if own and own[0] not in eos else None
    template = settings.get("chat_template")
    if template is None and (folder / "chat_template.jinja").exists():
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    return Tokenizer(backend, eos, bos, template)


def _content(token: Any) -> str:
    return token["content"] if isinstance(token, dict) else token
