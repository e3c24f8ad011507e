"""The commands, each by its name."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..about import get_version
from ..exceptions import InvalidInput, SessionNotFound, StorageError, UnreadableData, session_not_found
from ..following import Placed, follow, last_events
from ..segments import read_all, segments_of, whole_chain_of
from ..stores import DEFAULT_TTL_HOURS, EventStore
from ..transfer import export_chat, export_conversation, import_chats, import_sessions
from .checkup import check_up
from .figures import Tally
from .findings import show_checkup, show_stats
from .listing import HEADINGS, cells_for_people, cells_for_programs, live_ids, row_of
from .report import report_of
from .running import NOT_THERE, Where, result_of, run
from .safe_text import shown
from .screen import Screen, tell
from .transcript import Transcript, moment

app = typer.Typer(
    name="chuk-ai-sessions",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help is plain text, in a pipe too
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 not there, damaged, or declined; 2 the call cannot be right, nothing was "
    "done; 3 the store cannot be used; 130 interrupted.",
)


def run_command(arguments: list[str]) -> int:
    """Do what these arguments say; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # what it cannot show
    try:
        app(arguments, prog_name="chuk-ai-sessions")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else bool(end.code)
    return 0


# -- what commands have in common -----------------------------------------------------------------

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


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Say which release this is.")] = False,
) -> None:
    """Look at recorded AI conversations, move them, and check where they live."""
    if version:
        typer.echo(get_version())
        raise typer.Exit


# -- looking --------------------------------------------------------------------------------------


@app.command("list")
def list_sessions(
    user: Annotated[str | None, typer.Option(help="Only this user's.", show_default=False)] = None,
    prefix: Annotated[str, typer.Option(help="Only ids that begin so.", show_default=False)] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on where a page ended.", show_default=False)] = None,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """List sessions, the latest first.

    Without reading their messages.
    """

    async def work(opened: EventStore) -> None:
        page = await opened.list_sessions(prefix, user_id=user, limit=limit, cursor=cursor)
        rows = await asyncio.gather(*(row_of(each, opened) for each in page))
        screen = Screen()
        if as_json:
            screen.json({"sessions": rows, "next_cursor": page.next_cursor})
            return
        if screen.is_terminal:
            screen.table(HEADINGS, map(cells_for_people, rows))
        else:
            screen.rows(map(cells_for_programs, rows))
        if page.next_cursor:
            tell(f"There are more: --cursor {page.next_cursor}")
        elif not rows:
            tell("There are no such sessions.")

    run(Where(store, sandbox), work)


@app.command()
def show(
    session: SessionId,
    tools: Annotated[bool, typer.Option("--tools", help="Show tool calls and results in full.")] = False,
    system: Annotated[bool, typer.Option("--system", help="Show a long system prompt in full.")] = False,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Show a whole conversation.

    All segments, with their summaries, tool calls, tokens and cost.
    """

    async def work(opened: EventStore) -> None:
        screen = Screen()
        if as_json:
            segments = [each async for each in segments_of(session, opened)]
            screen.json({"segments": [each.model_dump(mode="json", warnings=False) for each in segments]})
            return
        ids = await _chain(session, opened)
        transcript = Transcript(screen, unfold_tools=tools, unfold_system=system)
        number = 0
        async for segment in read_all(ids, opened.get):
            number += 1
            if number == 1:
                transcript.begin(segment, len(ids))
            transcript.segment(number, len(ids), segment)
            for event in segment.events:
                transcript.event(event)
        transcript.end_turn()

    run(Where(store, sandbox), work)


async def _chain(session_id: str, store: EventStore) -> list[str]:
    session = await store.head(session_id)
    if session is None:
        raise session_not_found(session_id)
    return await whole_chain_of(session, store)


@app.command()
def tail(
    session: SessionId,
    follow_on: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is added, by any process.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="So many of the last events.")] = 10,
    tools: Annotated[bool, typer.Option("--tools", help="Show tool calls and results in full.")] = False,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Show the last events, and those to come.

    With -f, what any process adds, in new segments too.
    """

    async def work(opened: EventStore) -> None:
        screen = Screen()
        transcript = Transcript(screen, unfold_tools=tools)

        def write(placed: Placed) -> None:
            segment, event = placed
            if as_json:
                row = {"session_id": segment.id, **event.model_dump(mode="json", warnings=False)}
                screen.json(row, indent=None)
            else:
                transcript.look_on(segment, event)
                screen.flush()

        if not follow_on:
            for placed in await last_events(session, opened, lines):
                write(placed)
            return
        async with aclosing(follow(session, opened, last=lines, on_outage=_TellOnce())) as events:
            async for placed in events:
                write(placed)

    run(Where(store, sandbox), work)


class _TellOnce:
    """Says of an outage that it is there, and not at every look."""

    def __init__(self) -> None:
        self._told: str | None = None

    def __call__(self, problem: StorageError) -> None:
        if self._told != str(problem):
            self._told = str(problem)
            tell(f"waiting: {problem}")


@app.command()
def stats(
    session: SessionId, store: StoreUrl = None, sandbox: Sandbox = None, as_json: AsJson = False
) -> None:
    """Add a whole conversation up.

    Messages, tokens and cost, by model.
    """

    async def work(opened: EventStore) -> None:
        tally, segments = Tally(), []
        async for segment in segments_of(session, opened):
            for event in segment.events:
                tally.count(event)
            segments.append(
                (segment.id, segment.user_id, segment.metadata.created_at, segment.last_update_time)
            )
        ids, users, created, updated = zip(*segments, strict=True)
        screen = Screen()
        if as_json:
            models = {model: figures.as_json() for model, figures in tally.models()}
            dates = {"created_at": created[0].isoformat(), "last_update": max(updated).isoformat()}
            screen.json(
                {"segments": list(ids), "user_id": users[-1]}
                | dates
                | tally.all.as_json()
                | {"models": models}
            )
            return
        show_stats(screen, ids, users[-1] or "", f"{moment(created[0])} to {moment(max(updated))}", tally)

    run(Where(store, sandbox), work)


# -- moving ---------------------------------------------------------------------------------------


@contextmanager
def _output(path: Path | None) -> Iterator[Callable[[str], object]]:
    """What writes lines: to the file, which is there whole or not at all, or to the standard output."""
    if path is None:
        is_terminal = sys.stdout.isatty()
        # Not sys.stdout itself: unbuffered (PYTHONUNBUFFERED), it may write a part and say nothing.
        with open(sys.stdout.fileno(), "wb", closefd=False) as file:
            yield lambda line: file.write((shown(line) if is_terminal else line).encode() + b"\n")
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            yield lambda line: file.write(line.encode() + b"\n")
        beside.replace(path)
    except OSError as problem:
        raise InvalidInput("write", f"{path} cannot be written: {problem.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)


@app.command("export")
def export_sessions(
    sessions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SESSION]...", help="The id of any segment of each conversation.", show_default=False
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All conversations of the sandbox.")] = False,
    output: Output = None,
    form: FormatOption = Format.NATIVE,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Write conversations as JSONL.

    Lossless: ids, times, usage, summaries, runs, state, properties.
    """
    if bool(sessions) == everything:
        raise typer.BadParameter("name sessions, or say --all")

    async def work(opened: EventStore) -> int:
        code, count, done = 0, 0, set[str]()
        with _output(output) as write:
            for each in await live_ids(opened) if everything else sessions or []:
                try:
                    first, lines = await _exported(each, form, opened, done)
                except (UnreadableData, SessionNotFound) as problem:
                    if not everything:
                        raise
                    tell(f"left out: {problem}")
                    code = NOT_THERE
                    continue
                done.add(first)
                count += len(lines)
                for line in lines:
                    write(line)
        if output is not None:
            words = f"Wrote {len(done):,} conversations in {count:,} lines to {output}."
            _say_done(
                {"conversations": len(done), "lines": count, "file": str(output)}, words, as_json=as_json
            )
        return code

    run(Where(store, sandbox), work)


async def _exported(
    session_id: str, form: Format, store: EventStore, done: set[str]
) -> tuple[str, list[str]]:
    """A conversation's first id and its lines; no lines if it is done already, by another segment."""
    first = (await _chain(session_id, store))[0]
    if first in done:
        return first, []
    if form is Format.OPENAI:
        return first, [json.dumps(await export_chat(session_id, store), ensure_ascii=False)]
    return first, [line async for line in export_conversation(session_id, store)]


@app.command("import")
def import_file(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What export wrote; - for the standard input.")
    ],
    form: FormatOption = Format.NATIVE,
    ttl_hours: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="HOURS",
            help="So long they live: by default 24 hours in Redis, for ever in a file.",
        ),
    ] = None,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Store exported conversations.

    Under their own ids: all of them, or, where an id is taken, none.
    """
    where = Where(store, sandbox, DEFAULT_TTL_HOURS if ttl_hours is None else ttl_hours, may_be_new=True)
    lines = _lines_in(file)

    async def work(opened: EventStore) -> None:
        ids = await (import_chats if form is Format.OPENAI else import_sessions)(lines, opened)
        _say_done({"sessions": ids}, f"Stored {len(ids):,} sessions.", as_json=as_json)

    run(where, work)


def _lines_in(path: Path) -> list[bytes]:
    try:
        return (sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()).split(b"\n")
    except OSError as problem:
        raise typer.BadParameter(f"{path} cannot be read: {problem.strerror}") from None


@app.command()
def delete(
    session: SessionId,
    only_this: Annotated[
        bool, typer.Option("--only-this", help="Only this segment, not the conversation.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Delete a conversation, after asking."""
    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter("there is nobody to ask here: say --yes")

    where = Where(store, sandbox)
    ids = result_of(where, partial(_to_delete, session, only_this=only_this))
    what = f"session {session}" if len(ids) == 1 else f"the conversation of {session}, {len(ids)} segments"
    # Asked between two uses of the store: while one waits, Ctrl-C would not end it.
    if not yes and not typer.confirm(shown(f"Delete {what}?"), err=True):
        tell("Nothing was deleted.")
        raise typer.Exit(NOT_THERE)

    async def work(opened: EventStore) -> None:
        if not only_this:
            await opened.delete_conversation(session)
        for each in ids:  # some of which may have ids of their own
            await opened.delete(each)
        _say_done({"deleted": ids}, f"Deleted {what}.", as_json=as_json)

    run(where, work)


async def _to_delete(session_id: str, store: EventStore, *, only_this: bool) -> list[str]:
    """The segments to be deleted, as far as they can be made out where one is damaged."""
    try:
        ids = await _chain(session_id, store)
    except UnreadableData:
        ids = await store.segment_ids(session_id) or [session_id]
    return [session_id] if only_this else ids


# -- checking -------------------------------------------------------------------------------------


@app.command()
def doctor(store: StoreUrl = None, sandbox: Sandbox = None, as_json: AsJson = False) -> None:
    """Check a store, and what is installed.

    What it may lose, and whether every session can be read. Nothing that anybody said is shown.
    """
    where = Where(store, sandbox)

    async def work(opened: EventStore) -> int:
        found = await check_up(opened)
        screen = Screen()
        if as_json:
            about = {"store": str(where), "sandbox": _sandbox_of(opened)}
            screen.json(about | found.as_json())
        else:
            show_checkup(screen, str(where), _sandbox_of(opened), found)
        return NOT_THERE if found.damaged else 0

    run(where, work)


def _sandbox_of(store: EventStore) -> str:
    return str(store.get_stats().get("sandbox_id", ""))


# -- reporting ------------------------------------------------------------------------------------


@app.command()
def report(
    session: SessionId,
    output: Output = None,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Write a conversation as an HTML page.

    A timeline, with tokens and cost by turn and by model; it needs no network.
    """
    if output is None and sys.stdout.isatty():
        raise typer.BadParameter("a page is for a browser: name a file with -o, or use a pipe")

    async def work(opened: EventStore) -> None:
        page = await asyncio.to_thread(report_of, [each async for each in segments_of(session, opened)])
        with _output(output) as write:
            write(page)
        if output is not None:
            _say_done({"file": str(output), "bytes": len(page.encode())}, f"Wrote {output}.", as_json=as_json)

    run(Where(store, sandbox), work)


def _say_done(result: dict[str, Any], words: str, *, as_json: bool) -> None:
    if as_json:
        Screen().json(result)
    else:
        tell(words)
