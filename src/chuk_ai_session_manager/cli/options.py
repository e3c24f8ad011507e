"""What several commands can be told."""

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
        "SESSION_PROVIDER, SESSION_SQLITE_PATH and SESSION_REDIS_URL say; keep passwords there, where no "
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
        help="Only so many of the newest events; older ones are not read.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write there, not to the standard output.", show_default=False
    ),
]


class Format(str, Enum):
    """How conversations are written down."""

    NATIVE = "native"
    OPENAI = "openai"


FormatOption = Annotated[
    Format,
    typer.Option(
        "--format",
        help="native: everything, a session a line. openai: a conversation a line, "
        '{"id", "model", "messages"}, the messages as OpenAI\'s chat format has them.',
    ),
]
