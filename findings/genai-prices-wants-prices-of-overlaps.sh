#!/usr/bin/env bash
# genai-prices 0.2.3: a price that lacks an overlap of two of its parts prices nothing, not even what has neither part.
#
# Behaviour: a `ModelPrice` of one's own with prices of cached input and of audio input, and none of cached audio, raises
# ValueError for every usage: for plain text with neither cached nor audio tokens too. The error comes with the first call
# that is priced, not when the `ModelPrice` is made.
# Why it matters here: an application that sets its own price from a provider's page, where no price of cached audio stands,
# would have all its calls unpriced. `set_price` fills in such overlaps: cached audio then costs what audio costs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check genai-prices==0.2.3
"$folder/venv/bin/python" - <<'PYTHON'
from decimal import Decimal
from importlib.metadata import version

from genai_prices import Usage
from genai_prices.types import ModelPrice

print("genai-prices", version("genai-prices"))
parts = {name: Decimal(price) for name, price in (("input_mtok", 1), ("output_mtok", 2), ("cache_read_mtok", 1))}
plain = Usage(input_tokens=1000, output_tokens=10)
print("without a price of audio:", ModelPrice(**parts).calc_price(plain)["total_price"])
try:
    print("with one:", ModelPrice(**parts, input_audio_mtok=Decimal(5)).calc_price(plain)["total_price"])
except ValueError as problem:
    print("with one:", problem)
else:
    raise SystemExit("it prices what needs no overlap now")
PYTHON
