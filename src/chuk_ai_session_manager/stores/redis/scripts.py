"""Commands, including the package's Lua scripts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, TypeAlias

Command: TypeAlias = "tuple[Any, ...]"

_NAMES_AT_ONCE = 1_000


class Script:
    """A Lua script of this package. It is sent by its hash, or in full if the server does not know it yet."""

    def __init__(self, name: str) -> None:
        self.text: str = files(__package__).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
        self.hash: str = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

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


def as_sent(command: Command, *, in_full: bool) -> Command:
    """A command as the server gets it: a script by its hash, or in full."""
    if command[0] != "EVALSHA":
        return command
    script = command[1]
    return ("EVAL", script.text, *command[2:]) if in_full else ("EVALSHA", script.hash, *command[2:])
