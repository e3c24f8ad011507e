"""Commands, including the package's Lua scripts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Self, TypeAlias

Command: TypeAlias = "tuple[Any, ...]"

_NAMES_AT_ONCE = 1_000


class Script(str):
    """A Lua script of this package. As a text it is its hash, by which the server knows it."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, name: str) -> Self:
        """Read a script from this package."""
        text = files(__package__).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
        script = super().__new__(cls, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
        script.text = text
        return script

    def __call__(self, keys: Sequence[str], *arguments: Any) -> Command:
        """The command that runs the script."""
        return ("EVALSHA", self, len(keys), *keys, *arguments)


_ASK = Script("ask")


def ask_hash(key: str, *words: Any) -> Command:
    """Asks about a hash; only a server that accepts writes answers. `words` are a command without its key."""
    return _ASK([key], "HDEL", *words)


def ask_set(key: str, *words: Any) -> Command:
    """Asks about a set in the same way."""
    return _ASK([key], "SREM", *words)


def ask_sorted_set(key: str, *words: Any) -> Command:
    """Asks about a sorted set in the same way."""
    return _ASK([key], "ZREM", *words)


def in_parts(names: Sequence[str]) -> list[Sequence[str]]:
    """Names in parts that one command in a script can take: Lua unpacks a few thousand at most."""
    return [names[at : at + _NAMES_AT_ONCE] for at in range(0, len(names), _NAMES_AT_ONCE)]


def in_full(command: Command) -> Command:
    """A command with its script's text, for a server that does not know the script yet."""
    script = command[1] if len(command) > 1 else None
    return ("EVAL", script.text, *command[2:]) if isinstance(script, Script) else command
