"""Commands, and the Lua scripts of this package as commands."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, TypeAlias

Command: TypeAlias = "tuple[Any, ...]"


class Script:
    """A Lua script of this package, sent by its hash, in full where the server does not know it yet."""

    def __init__(self, name: str) -> None:
        self.text = files(__package__).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
        self.hash = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], *arguments: Any) -> Command:
        """The command that runs it."""
        return ("EVALSHA", self, len(keys), *keys, *arguments)


def as_sent(command: Command, *, in_full: bool) -> Command:
    """A command as the server takes it: a script by its hash, or in full."""
    if command[0] != "EVALSHA":
        return command
    script = command[1]
    return ("EVAL", script.text, *command[2:]) if in_full else ("EVALSHA", script.hash, *command[2:])
