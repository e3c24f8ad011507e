"""The commands, each by its name."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..api.installed import get_version
from ..api.transfer import export_chat, import_chats, import_sessions, line_of
from ..conversation.following import Placed, follow, last_events
from ..conversation.looking_back import off_path
from ..conversation.segments import read_all, segment_ids_of, segments_of
from ..exceptions import SessionManagerError, SessionNotFound, StorageError, UnreadableData
from ..models.choice import choice_in
from ..stores import DEFAULT_TTL_HOURS, EventStore
from .checkup import check_up
from .figures import Tally, counted
from .files import lines_in, output_to
from .findings import show_checkup, show_stats
from .listing import HEADINGS, MOST_LISTED, all_ids, cells_for_people, cells_for_programs, chains_of, rows_of
from .newest import Newest, newest_of
from .options import AsJson, Format, FormatOption, Last, Output, Sandbox, SessionId, StoreUrl
from .report import report_of
from .running import NOT_THERE, OUTAGE, Where, no_output, result_of, run
from .safe_text import shown_in_line
from .screen import Screen, stand_in_for_closed, tell
from .token_counts import count_file
from .transcript import Transcript, moment
from .usage import BY, Asked, tell_usage

app: typer.Typer = typer.Typer(
    name="chuk-ai-sessions",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help is plain text, in a pipe too
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done; 1 not there, damaged, or declined; 2 the call cannot be right, nothing was "
    "done; 3 the store, or the output, cannot be used; 130 interrupted.",
)


def run_command(arguments: list[str]) -> int:
    """Run the command of these arguments, and return the exit code."""
    stand_in_for_closed()
    if sys.stdout is None:
        tell("Error: the standard output is closed; nothing was done")
        return OUTAGE
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # what it cannot show
    try:
        app(arguments, prog_name="chuk-ai-sessions")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else bool(end.code)
    except OSError as problem:  # of --version and --help; commands handle their own
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


# -- looking --------------------------------------------------------------------------------------


@app.command("list")
def list_sessions(
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only sessions of this user.", show_default=False)
    ] = None,
    prefix: Annotated[
        str, typer.Option(metavar="TEXT", help="Only ids that begin with this text.", show_default=False)
    ] = "",
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", min=1, max=MOST_LISTED, metavar="NUMBER", help="Show at most this many sessions."
        ),
    ] = 20,
    cursor: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="Continue where the last page ended.", show_default=False),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Leave out closed segments: show each conversation once.")
    ] = False,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """List sessions, the latest first.

    Their messages are not read.
    """

    async def work(opened: EventStore) -> None:
        rows, next_cursor = await rows_of(
            opened, prefix, user_id=user, limit=limit, cursor=cursor, only_live=live
        )
        screen = Screen()
        if as_json:
            screen.json({"sessions": rows, "next_cursor": next_cursor})
            return
        if screen.is_terminal:
            screen.table(HEADINGS, map(cells_for_people, rows))
        else:
            screen.rows(map(cells_for_programs, rows))
        if next_cursor:
            tell(f"There are more: --cursor {next_cursor}")
        elif not rows:
            tell("There are no such sessions.")

    run(Where(store, sandbox), work)


@app.command()
def show(
    session: SessionId,
    tools: Annotated[bool, typer.Option("--tools", help="Show tool calls and results in full.")] = False,
    system: Annotated[bool, typer.Option("--system", help="Show a long system prompt in full.")] = False,
    last: Last = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show everything: ids too, and endings and annotations of answers.")
    ] = False,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Show a whole conversation.

    All segments, with their summaries, tool calls, tokens and cost. What was taken back, or said anew in
    other words, comes with --all, marked "off the path".
    """

    async def work(opened: EventStore) -> None:
        screen = Screen()
        ids = await segment_ids_of(session, opened)
        off = await off_path(ids, opened) if last is None or everything else set()
        transcript = Transcript(
            screen,
            unfold_tools=tools or everything,
            unfold_system=system or everything,
            shows_details=everything,
            off_path=off,
        )
        if last is not None:
            newest = await newest_of(session, opened, last, everything=everything)
            _show_newest(screen, transcript, newest, as_json=as_json)
            return
        if as_json:
            segments = [each async for each in segments_of(session, opened)]
            rows = [each.model_dump(mode="json", warnings=False) for each in segments]
            screen.json({"segments": rows} | ({"off_path": sorted(off)} if off else {}))
            return
        number = 0
        async for segment in read_all(ids, opened.get):
            number += 1
            if number == 1:
                transcript.begin(segment, len(ids))
            transcript.segment(number, len(ids), segment)
            for event in segment.events:
                if everything or not (event.id in off or choice_in(event)):
                    transcript.event(event)
        transcript.end_turn()

    run(Where(store, sandbox), work)


def _show_newest(screen: Screen, transcript: Transcript, newest: Newest, *, as_json: bool) -> None:
    if as_json:
        screen.json({"segments": newest.as_json(), "events_left_out": newest.left_out})
        return
    transcript.begin(newest.root, len(newest.chain))
    transcript.left_out(newest.left_out)
    for segment, events in newest.segments:
        transcript.segment(newest.chain.index(segment.id) + 1, len(newest.chain), segment)
        for event in events:
            transcript.look_on(segment, event)


@app.command()
def tail(
    session: SessionId,
    follow_on: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for new events, of any process.")
    ] = False,
    lines: Annotated[
        int,
        typer.Option("--lines", "-n", min=0, metavar="NUMBER", help="How many of the last events to show."),
    ] = 10,
    tools: Annotated[bool, typer.Option("--tools", help="Show tool calls and results in full.")] = False,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Show the last events of a conversation.

    With -f, also every event that any process adds, in new segments too.
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
    """Reports an outage once, not at every try."""

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
    """Show the totals of a whole conversation.

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


@app.command()
def usage(
    by: Annotated[
        str, typer.Option(metavar="GROUPS", help="What to group by, separated by commas: " + ", ".join(BY))
    ] = "day,model",
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only calls since this time: 2026-11-01.", show_default=False),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only calls before this time, in UTC.", show_default=False),
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only sessions of this user.", show_default=False)
    ] = None,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with a header line.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the bills of model calls, over all sessions.

    Calls, tokens and cost, by day and model, or by the groups of --by. Days are in UTC.
    """
    how = "json" if as_json else "csv" if as_csv else "table"
    run(Where(store, sandbox), partial(tell_usage, Asked(by, since, until, user), how))


# -- moving ---------------------------------------------------------------------------------------


@app.command("export")
def export_sessions(
    sessions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SESSION", help="The id of any segment of each conversation.", show_default=False
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Export all conversations of the sandbox.")
    ] = False,
    output: Output = None,
    form: FormatOption = Format.NATIVE,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Write conversations as JSONL.

    Nothing is lost: ids, times, usage, summaries, runs, state and properties are exported.
    """
    if bool(sessions) == everything:
        raise typer.BadParameter("name sessions, or say --all")

    async def work(opened: EventStore) -> int:
        told: set[str] = set()

        def leave_out(problem: SessionManagerError) -> None:
            if not everything:
                raise problem
            if str(problem) not in told:
                told.add(str(problem))
                tell(f"left out: {problem}")

        newest_first = [each async for each in all_ids(opened)] if everything else sessions or []
        chains = await chains_of(newest_first, opened, leave_out)
        written: set[str] = set()
        conversations = lines = 0
        with output_to(output) as write:
            for chain in reversed(chains) if everything else chains:
                try:
                    texts = await _exported(chain, form, opened, written)
                except (SessionNotFound, UnreadableData) as problem:
                    leave_out(problem)
                    continue
                written.update(chain)
                conversations += 1
                lines += len(texts)
                for text in texts:
                    write(text)
        if output is not None:
            words = f"Wrote {counted(conversations, 'conversation')} in {counted(lines, 'line')} to {output}."
            result = {"conversations": conversations, "lines": lines, "file": str(output)}
            _say_done(result, words, as_json=as_json)
        return NOT_THERE if told else 0

    run(Where(store, sandbox), work)


async def _exported(chain: Sequence[str], form: Format, store: EventStore, written: set[str]) -> list[str]:
    """A conversation's lines, but those of segments that it shares with another one and that were written."""
    if form is Format.OPENAI:
        chat = await export_chat(chain[-1], store)
        if chat["id"] in written:  # two conversations began as one
            chat["id"] = chain[-1]
        return [json.dumps(chat, ensure_ascii=False)]
    segments = read_all([each for each in chain if each not in written], store.get)
    return [await asyncio.to_thread(line_of, segment) async for segment in segments]


@app.command("import")
def import_file(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file that export wrote; - for the standard input.")
    ],
    form: FormatOption = Format.NATIVE,
    ttl_hours: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="HOURS",
            help="Hours until they expire, above 0: by default 24 in Redis, and never in a file.",
        ),
    ] = None,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Store exported conversations.

    They keep their ids. If one of the ids is taken, nothing is stored.
    """
    where = Where(store, sandbox, DEFAULT_TTL_HOURS if ttl_hours is None else ttl_hours, may_be_new=True)
    lines = lines_in(file)

    async def work(opened: EventStore) -> None:
        ids = await (import_chats if form is Format.OPENAI else import_sessions)(lines, opened)
        _say_done({"sessions": ids}, f"Stored {counted(len(ids), 'session')}.", as_json=as_json)

    run(where, work)


@app.command()
def backup(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="The new file, which only its owner may read.")
    ],
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Copy a whole SQLite store, while other processes write to it.

    The copy has all sandboxes, as they are at one moment.
    """

    async def work(opened: EventStore) -> None:
        await opened.backup(path)
        _say_done({"file": str(path)}, f"Wrote the whole store to {path}.", as_json=as_json)

    run(Where(store, sandbox), work)


@app.command()
def delete(
    session: SessionId,
    only_this: Annotated[
        bool, typer.Option("--only-this", help="Delete only this segment, not the conversation.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Delete a conversation, after asking for confirmation."""
    if not yes and (sys.stdin is None or not sys.stdin.isatty()):
        raise typer.BadParameter("there is nobody to ask here: say --yes")

    where = Where(store, sandbox)
    ids = result_of(where, partial(_to_delete, session, only_this=only_this))
    what = f"session {session}" if len(ids) == 1 else f"the conversation of {session}, {len(ids)} segments"
    # Asked between two uses of the store: while one waits, Ctrl-C would not end it.
    if not yes and not typer.confirm(shown_in_line(f"Delete {what}?"), err=True):
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
    """The segments to be deleted, as far as they can be found where one is damaged."""
    try:
        ids = await segment_ids_of(session_id, store)
    except UnreadableData:
        ids = await store.segment_ids(session_id) or [session_id]
    return [session_id] if only_this else ids


# -- checking -------------------------------------------------------------------------------------


@app.command()
def doctor(store: StoreUrl = None, sandbox: Sandbox = None, as_json: AsJson = False) -> None:
    """Check a store, and show what is installed.

    Says what the store may lose, and whether every session can be read. No message is shown.
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


app.command("tokens")(count_file)


# -- reporting ------------------------------------------------------------------------------------


@app.command()
def report(
    session: SessionId,
    output: Output = None,
    last: Last = None,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Write a conversation as an HTML page.

    The page has a timeline, with tokens and cost by turn and by model. It needs no network.
    """
    if output is None and sys.stdout.isatty():
        raise typer.BadParameter("a page is for a browser: name a file with -o, or use a pipe")

    async def work(opened: EventStore) -> None:
        left_out = 0
        if last is None:
            segments = [each async for each in segments_of(session, opened)]
        else:
            newest = await newest_of(session, opened, last, everything=True)
            segments, left_out = newest.as_sessions(), newest.left_out
        page = await asyncio.to_thread(report_of, segments, left_out)
        with output_to(output) as write:
            write(page)
        if output is not None:
            _say_done({"file": str(output), "bytes": len(page.encode())}, f"Wrote {output}.", as_json=as_json)

    run(Where(store, sandbox), work)


def _say_done(result: dict[str, Any], words: str, *, as_json: bool) -> None:
    if as_json:
        Screen().json(result)
    else:
        tell(words)
