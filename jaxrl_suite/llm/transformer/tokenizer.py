"""Text to tokens and back, and chats to text, on the `tokenizers` library and the model's own chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Message, Prefix
from jaxrl_suite.llm.transformer import chat_template
from jaxrl_suite.llm.transformer.hf_config import read_json

if TYPE_CHECKING:
    import tokenizers


_NEAR = 4  # ids that tell how a text goes on


class Tokenizer:
    """A tokenizer with the ids that begin and end a text.

    Args:
      backend: of the `tokenizers` library; its truncation and padding, left over from training, are switched off.
      eos: ids that end a reply; the first is the `eos_token` of the template.
      bos: id put before every plain text; without it, what the backend's own post-processor adds.
      chat_template: Jinja source that writes a chat as one text, if the model knows chats.
      special: what a template may call by name, such as `pad_token`; bos_token and eos_token follow from the ids.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        eos: Sequence[int],
        bos: int | None = None,
        chat_template: str | None = None,
        special: Mapping[str, str] | None = None,
    ):
        backend.no_truncation()
        backend.no_padding()
        self.backend, self.eos, self._bos, self._chat_template = backend, tuple(eos), bos, chat_template
        named = {"bos_token": bos, "eos_token": self.eos[0] if self.eos else None}
        ids = {name: backend.id_to_token(index) for name, index in named.items() if index is not None}
        self._named = {name: token for name, token in ids.items() if token} | dict(special or {})

    @property
    def bos(self) -> int | None:
        """The id that plain texts begin with, if any."""
        if self._bos is not None:
            return self._bos
        own = self.backend.encode("").ids
        return own[0] if own and own[0] not in self.eos else None

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
        """The ids of a plain text; the names of special tokens in it become those tokens."""
        if self._bos is None:
            return tuple(self.backend.encode(text).ids)
        return (self._bos, *self.backend.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of ids without special tokens; bytes that are not whole characters become U+FFFD."""
        return self.backend.decode([int(token) for token in ids], skip_special_tokens=True)

    def decode_after(self, prefix: Sequence[int], ids: Sequence[int] | np.ndarray) -> str:
        """The text that ids add to a prefix: at the start of a text some tokenizers strip the space of a word.

        Args:
          prefix: ids that came before.
          ids: the new ones.
        """
        near = prefix[-_NEAR:]
        before, whole = self.decode(near), self.decode([*near, *ids])
        if not before or "\ufffd" in before or not whole.startswith(before):
            return self.decode(ids)
        return whole[len(before) :]

    def prefix_ids(self, prefix: Prefix) -> tuple[int, ...]:
        """The ids of any prefix: token ids as they are, text encoded, a chat as its template writes it.

        A chat that ends with a message of the assistant is continued in that message. Nothing is put before a chat but
        what its template writes.

        Raises:
          UserError: for a chat, if the model has no template or its template refuses it.
        """
        if isinstance(prefix, str):
            return self.encode(prefix)
        if isinstance(prefix[0], int):
            return prefix  # pyright: ignore[reportReturnType]
        text = self.render(prefix)  # pyright: ignore[reportArgumentType]
        return tuple(self.backend.encode(text, add_special_tokens=False).ids)

    def render(self, chat: Sequence[Message]) -> str:
        """A chat as the text that the model continues."""
        if self._chat_template is None:
            raise UserError("this model has no chat template: give a text or token ids")
        opened = chat[-1].content if chat[-1].role == "assistant" else ""
        asked = chat[:-1] if chat[-1].role == "assistant" else chat
        return chat_template.render(self._chat_template, asked, self._named) + opened


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
    files = ("config.json", "tokenizer_config.json", "generation_config.json")
    config, settings, generation = (read_json(folder / name) if (folder / name).exists() else {} for name in files)
    named = {
        name: _content(settings[name])
        for name in ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
        if settings.get(name)
    }
    own = backend.token_to_id(named["eos_token"]) if "eos_token" in named else None
    eos = [] if own is None else [own]  # the template's own comes first
    for source in (generation, config):
        ids = source.get("eos_token_id")
        eos += [index for index in (ids if isinstance(ids, list) else [ids]) if index is not None and index not in eos]
    if not eos:
        raise UserError(f"nothing in {folder} says which token ends a reply: add eos_token_id to config.json")
    return Tokenizer(backend, eos, None, chat_template.find(folder, settings), named)


def _content(token: Any) -> str:
    return token["content"] if isinstance(token, dict) else token
