#!/usr/bin/env bash
# toktok-rs 0.3.0 makes other tokens than tiktoken of texts with letters that Unicode 17 added.
#
# Behaviour: toktok-rs promises ids that are "byte-identical" to those of tiktoken. Its tables of letters are those of Unicode 17,
# and tiktoken 0.14.0's are older: after a new letter such as U+0CDC, tiktoken splits "'T" off, toktok takes the two as one
# word. splintr-rs 0.22.0, which contains the vocabularies, stands in for tiktoken here, which would download them; where
# TIKTOKEN_CACHE_DIR has them, tiktoken is asked too.
# Why it matters here: a count that is marked exact would be wrong. ASCII has no such letters: only ASCII is counted with toktok.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check toktok-rs==0.3.0 splintr-rs==0.22.0 tiktoken==0.14.0
"$folder/venv/bin/python" - <<'PYTHON'
import os
from importlib.metadata import version

import splintr
import tiktoken
import toktok

print(*(f"{name} {version(name)}" for name in ("toktok-rs", "splintr-rs", "tiktoken")))
for name in ("cl100k_base", "o200k_base"):
    reference = splintr.Tokenizer.from_pretrained(name)
    wrong = 0
    for text in ("don't", "\u0c9c'T", "\u0cdc'T", "\U000323b0'T"):
        here, expected = toktok.truncate(text, 1_000_000, name)[1], len(reference.encode_ordinary(text))
        if os.environ.get("TIKTOKEN_CACHE_DIR"):
            assert expected == len(tiktoken.get_encoding(name).encode_ordinary(text))
        print(f"{name} {ascii(text)}: toktok {here} tokens, splintr {expected}")
        wrong += here != expected
    assert wrong, "the counts agree now"
PYTHON
