#!/usr/bin/env bash
# transformers 5.24.0 with tokenizers 0.23.1: `add_bos_token` in tokenizer_config.json has no effect beside a tokenizer.json.
# Guess it contradicts: the setting says whether texts begin with the BOS token, as its name and older versions have it.
# Seen: the post-processor of tokenizer.json decides alone, in both directions; loading takes the setting out.
# Source: tokenization_utils_base.py, which drops the key where a tokenizer.json is found.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.24.0 tokenizers==0.23.1 jinja2==3.1.6
cd "$work"
venv/bin/python - <<'PYTHON' 2>/dev/null
import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer

for begins, setting in ((False, True), (True, False)):
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "hi": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if begins:
        backend.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    folder = Path(f"m{begins}")
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "add_bos_token": setting}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    ids = AutoTokenizer.from_pretrained(str(folder))("hi").input_ids
    print(f"post-processor begins texts: {begins}, add_bos_token: {setting}, ids: {ids}")
    assert ids == ([1, 2] if begins else [2]), "the setting counts now"
PYTHON
echo "as recorded: the setting has no effect"
