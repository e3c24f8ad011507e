"""The command line, `chuk-ai-sessions`: show conversations, move them, and check their store."""

from __future__ import annotations

import sys

_NEEDED = {"typer", "click", "rich", "jinja2"}


def main() -> int:
    """Run the command line's command; return the exit code."""
    try:
        from .commands import run_command  # noqa: PLC0415  (the packages that it needs are an extra)
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] not in _NEEDED:
            raise
        sys.stderr.write(
            f"Error: the command line needs {problem.name}: pip install chuk-ai-session-manager[cli]\n"
        )
        return 2
    return run_command(sys.argv[1:])
