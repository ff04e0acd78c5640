"""Makes tokenizers.json: what `transformers` gives for the tokenizers of `fixtures.tokenizer_cases`.

    pip install 'jaxrl-suite[hub]' && PYTHONPATH=tests python tests/data/make_tokenizer_golden.py

For each case: `ids` of each text, the text and ids of the chat (null without a template), and what ids decode to.
"""

import json
import tempfile
from pathlib import Path

import transformers  # pyright: ignore[reportMissingImports]
from fixtures.tokenizer_cases import CASES, CHAT, TEXTS, write


def main() -> None:
    found = {}
    for name in CASES:
        with tempfile.TemporaryDirectory() as top:
            theirs = transformers.AutoTokenizer.from_pretrained(str(write(name, Path(top) / "m")))
        chat = [dict(role=role, content=content) for role, content in CHAT]
        entry = {"ids": [theirs(text).input_ids for text in TEXTS], "chat": None, "chat_ids": None}
        if theirs.chat_template is not None:
            entry["chat"] = theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
            entry["chat_ids"] = theirs.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
        entry["decoded"] = [theirs.decode(ids, skip_special_tokens=True) for ids in entry["ids"]]
        found[name] = entry
    path = Path(__file__).parent / "tokenizers.json"
    path.write_text(json.dumps({"transformers": transformers.__version__, "cases": found}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
