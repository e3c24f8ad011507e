#!/usr/bin/env bash
# genai-prices 0.2.3 gives an open model that runs on one's own machine the price of a hosted one.
#
# Behaviour: `deepseek-r1:8b` and `deepseek-r1:1.5b` are tags of Ollama for small models. Without a provider they are found as
# DeepSeek's hosted model `deepseek-reasoner`, since names are compared by their beginning, and a million input tokens
# cost 0.55 USD. Other tags (`llama3.3:70b`, `gpt-oss:20b`) are not found.
# Why it matters here: a bill would name money that nobody pays. We look a name up only if what follows a listed name is a date, a
# version or a word known to change nothing; calls of a local provider cost 0, and all others stay unpriced.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check genai-prices==0.2.3
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from genai_prices import Usage, calc_price

print("genai-prices", version("genai-prices"))
billed = 0
for name in ("deepseek-r1:8b", "deepseek-r1:1.5b", "llama3.3:70b", "gpt-oss:20b"):
    try:
        found = calc_price(Usage(input_tokens=1_000_000), name)
    except LookupError:
        print(f"{name}: not found")
        continue
    billed += found.total_price > 0
    print(f"{name}: {found.model.id} of {found.provider.id}, {found.total_price} USD")
assert billed == 2, "it knows these from the hosted model now"
PYTHON
