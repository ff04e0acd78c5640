"""Tokenizers of 24 kinds give the ids, chats and texts of `transformers` (tests/data/tokenizers.json)."""

import json
from pathlib import Path

import pytest
from fixtures.tokenizer_cases import CASES, CHAT, TEXTS, write

from jaxrl_suite.errors import UserError
from jaxrl_suite.llm.protocol import Message
from jaxrl_suite.llm.transformer import chat_template, tokenizer

GOLDEN = json.loads((Path(__file__).parent.parent / "data" / "tokenizers.json").read_text("utf-8"))["cases"]
ASKED = tuple(Message(role, content) for role, content in CHAT)


@pytest.mark.parametrize("name", CASES)
def test_ids_and_chats_are_theirs(tmp_path, name):
    ours, theirs = tokenizer.from_folder(write(name, tmp_path / "m")), GOLDEN[name]
    assert [list(ours.encode(text)) for text in TEXTS] == theirs["ids"]
    assert [ours.decode(ids) for ids in theirs["ids"]] == theirs["decoded"]
    if theirs["chat"] is None:
        assert not ours.has_chat
    else:
        assert ours.render(ASKED) == theirs["chat"]
        assert list(ours.prefix_ids(ASKED)) == theirs["chat_ids"]


def test_the_golden_file_is_of_these_cases():
    assert list(GOLDEN) == list(CASES)
    assert len(CASES) >= 20


@pytest.mark.parametrize("name", ["sentence pieces", "byte level", "unigram", "llama 3 words"])
def test_a_text_goes_on_as_it_was_written(tmp_path, name):
    """Text added by further ids is what decoding all of them adds: the space before a word is not lost."""
    ours = tokenizer.from_folder(write(name, tmp_path / "m"))
    ids = ours.encode("the theory of the 123 things")
    whole = ours.decode(ids)
    for cut in range(2, len(ids)):
        before = ours.decode(ids[:cut])
        assert before + ours.decode_after(ids[:cut], ids[cut:]) == whole, cut


def test_what_a_template_may_not_do_and_what_it_cannot():
    def refused(source, word):
        with pytest.raises(UserError, match=word) as caught:
            chat_template.render(source, ASKED, {})
        assert "\n" not in str(caught.value)

    refused("{{ raise_exception('no\nsystem') }}", "refuses this chat: no system")
    refused("{% for m in messages %}", "refuses this chat")
    refused("{{ messages.__class__.__mro__[1].__subclasses__() }}", "refuses this chat")
    refused("{{ messages[0].content + 1 }}", "cannot write this chat")
    refused("{{ 1 / 0 }}", "cannot write this chat")


def test_templates_without_a_default_are_refused(tmp_path):
    settings = {"chat_template": [{"name": "rag", "template": "x"}, {"name": "tool_use", "template": "y"}]}
    with pytest.raises(UserError, match="rag, tool_use and no default"):
        chat_template.find(tmp_path, settings)
    with pytest.raises(UserError, match="no text"):
        chat_template.find(tmp_path, {"chat_template": {"default": "x"}})
    assert chat_template.find(tmp_path, {}) is None
