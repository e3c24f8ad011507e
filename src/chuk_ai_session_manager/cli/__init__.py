"""The command line, `chuk-ai-sessions`: look at conversations, move them, check where they live."""

from __future__ import annotations

import sys

_NEEDED = {"typer", "click", "rich", "jinja2"}


def main() -> int:
    """Do what the command line says; the exit code."""
    try:
        from .commands import run_command  # noqa: PLC0415  (what it is built on is an extra)
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] not in _NEEDED:
            raise
        sys.stderr.write(
            f"Error: the command line needs {problem.name}: pip install chuk-ai-session-manager[cli]\n"
        )
        return 2
    return run_command(sys.argv[1:])
