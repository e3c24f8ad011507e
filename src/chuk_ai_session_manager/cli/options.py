"""Options of several commands."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Where the sessions are: sqlite:///file.db, redis://host:6379/0. By default as "
        "SESSION_PROVIDER, SESSION_SQLITE_PATH and SESSION_REDIS_URL say; put passwords there, where no "
        "process list shows them.",
        show_default=False,
    ),
]
Sandbox = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Whose sessions: by default as CHUK_SANDBOX_ID says.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Results as JSON, for programs.")]
SessionId = Annotated[
    str,
    typer.Argument(metavar="SESSION", help="The id of any segment of the conversation.", show_default=False),
]
UserId = Annotated[
    str | None,
    typer.Option(
        "--user", metavar="NAME", help="All conversations of this user, and no others.", show_default=False
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
Last = Annotated[
    int | None,
    typer.Option(
        "--last",
        min=1,
        metavar="NUMBER",
        help="Only this many of the newest events; earlier ones are not read.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write to this file, not to the standard output.",
        show_default=False,
    ),
]


class Format(str, Enum):
    """The form of exported conversations."""

    NATIVE = "native"
    OPENAI = "openai"


FormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        help="native: everything, a session on each line. openai: a conversation on each line, "
        '{"id", "model", "messages"}, with the messages in OpenAI\'s chat format.',
    ),
]
