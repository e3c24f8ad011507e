"""The program: its own options, and how it ends."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from ..api.installed import get_version
from .running import OUTAGE, no_output
from .screen import Screen, stand_in_for_closed, tell

app: typer.Typer = typer.Typer(
    name="chuk-ai-sessions",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help is plain text, also in a pipe
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 the session does not exist or is damaged, or you declined; 2 the command "
    "was refused, nothing was done; 3 the store or the output cannot be used; 130 interrupted.",
)


def run_command(arguments: list[str]) -> int:
    """Run the command of these arguments, and return the exit code."""
    stand_in_for_closed()
    if sys.stdout is None:
        tell("Error: the standard output is closed; nothing was done")
        return OUTAGE
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # for other encodings
    try:
        app(arguments, prog_name="chuk-ai-sessions")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else bool(end.code)
    except OSError as problem:  # from --version and --help; commands handle their own
        return no_output(problem)
    return 0


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Show recorded AI conversations, copy them, delete them, and check their store."""
    if version:
        typer.echo(get_version())
        raise typer.Exit


def say_done(result: dict[str, Any], words: str, *, as_json: bool) -> None:
    """Report the result: in words, or as JSON."""
    if as_json:
        Screen().json(result)
    else:
        tell(words)
