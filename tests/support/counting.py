"""Exact counts without this library, whether or not the machine has a network."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest


@cache
def _tokenizer() -> Any:
    return pytest.importorskip("splintr").Tokenizer.from_pretrained("o200k_base")


def o200k_tokens(text: str) -> int:
    """How many tokens the models from gpt-4o on make of a text, special tokens as ordinary text."""
    return len(_tokenizer().encode_ordinary(text))
