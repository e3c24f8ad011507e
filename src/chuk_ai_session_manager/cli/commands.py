"""Commands that show conversations, their cost, and their store."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing, suppress
from functools import partial
from typing import Annotated

import typer

from ..conversation.following import Placed, follow, last_events
from ..conversation.looking_back import off_path
from ..conversation.pins import pinned_ids
from ..conversation.segments import read_all, segment_ids_of, segments_of
from ..exceptions import SessionManagerError, StorageError
from ..models import EventSource
from ..models.record import utc_text
from ..stores import EventStore
from .checkup import check_up
from .figures import Tally, sums_as_json
from .files import output_to
from .findings import show_checkup, show_stats
from .listing import HEADINGS, MOST_LISTED, cells_for_people, cells_for_programs, rows_of
from .newest import Newest, newest_of, off_path_among
from .options import AsJson, Last, Output, Sandbox, SessionId, StoreUrl
from .program import app, run_command, say_done
from .report import report_of
from .running import NOT_THERE, Where, run
from .screen import Screen, tell
from .searching import Around, events_around, is_note
from .token_counts import count_file
from .transcript import Transcript, moment
from .usage import BY, Asked, tell_usage

__all__ = ["run_command"]


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
    around: Annotated[
        str | None,
        typer.Option(
            metavar="EVENT",
            help="Show only the messages around this event, whose id `find` shows.",
            show_default=False,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show everything: ids too, and endings and annotations of answers.")
    ] = False,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Show a whole conversation.

    All segments, with their summaries, tool calls, tokens and cost. --all also shows messages that were
    undone, edited or replaced, marked "off the path".
    """
    if last is not None and around is not None:
        raise typer.BadParameter("give --last or --around, not both")

    async def work(opened: EventStore) -> None:
        screen = Screen()
        ids = await segment_ids_of(session, opened)
        off = await off_path(ids, opened) if last is None or everything else set()
        live = await opened.head(ids[-1])
        transcript = Transcript(
            screen,
            pinned=set() if live is None else pinned_ids(live.metadata.properties),
            unfold_tools=tools or everything,
            unfold_system=system or everything,
            shows_details=everything,
            off_path=off,
        )
        if last is not None:
            newest = await newest_of(session, opened, last, everything=everything)
            _show_newest(screen, transcript, newest, as_json=as_json)
            return
        if around is not None:
            there = await events_around(session, around, opened, everything=everything, off=off)
            _show_around(screen, transcript, there, as_json=as_json)
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
                if everything or not (event.id in off or is_note(event)):
                    transcript.event(event)
        transcript.end_turn()

    run(Where(store, sandbox), work)


def _show_around(screen: Screen, transcript: Transcript, around: Around, *, as_json: bool) -> None:
    if as_json:
        events = [
            {"session_id": segment.id} | event.model_dump(mode="json", warnings=False)
            for segment, event in around.events
        ]
        screen.json({"events": events, "events_left_out": around.before})
        return
    transcript.begin(around.root, len(around.chain))
    transcript.left_out(around.before)
    for segment, event in around.events:
        transcript.look_on(segment, event)


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

    With -f, also every event that any process adds, in new segments too. Messages that were undone, edited or
    replaced by then are marked "off the path".
    """

    async def work(opened: EventStore) -> None:
        screen = Screen()
        off: set[str] = set()
        transcript = Transcript(screen, unfold_tools=tools, off_path=off)

        def write(placed: Placed) -> None:
            segment, event = placed
            if as_json:
                row = {"session_id": segment.id, **event.model_dump(mode="json", warnings=False)}
                screen.json(row | ({"off_path": True} if event.id in off else {}), indent=None)
            else:
                transcript.look_on(segment, event)
                screen.flush()

        last = await last_events(session, opened, lines)
        off |= await off_path_among(last, session, opened)
        if not follow_on:
            for placed in last:
                write(placed)
            return
        known = {event.id for _, event in last}
        async with aclosing(follow(session, opened, last=lines, on_outage=_TellOnce())) as events:
            async for placed in events:
                if placed[1].id not in known and placed[1].source != EventSource.USER:
                    with suppress(SessionManagerError):  # an answer that came late
                        off |= await off_path_among([placed], session, opened)
                write(placed)

    run(Where(store, sandbox), work)


class _TellOnce:
    """Reports an outage once, not at every attempt."""

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
            models = {model: sums_as_json(sums) for model, sums in tally.models()}
            dates = {"created_at": utc_text(created[0]), "last_update": utc_text(max(updated))}
            screen.json(
                {"segments": list(ids), "user_id": users[-1]}
                | dates
                | sums_as_json(tally.all)
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
        raise typer.BadParameter("the page is for a browser: name a file with -o, or use a pipe")

    async def work(opened: EventStore) -> None:
        left_out = 0
        if last is None:
            segments = [each async for each in segments_of(session, opened)]
            off = await off_path([segment.id for segment in segments], opened)
        else:
            newest = await newest_of(session, opened, last, everything=True)
            segments, left_out = newest.as_sessions(), newest.left_out
            placed = [(segment, event) for segment in segments for event in segment.events]
            off = await off_path_among(placed, session, opened)
        page = await asyncio.to_thread(report_of, segments, left_out, off)
        with output_to(output) as write:
            write(page)
        if output is not None:
            say_done({"file": str(output), "bytes": len(page.encode())}, f"Wrote {output}.", as_json=as_json)

    run(Where(store, sandbox), work)


# At the end, so that the help shows these commands after those above.
from . import moving  # noqa: E402, F401  (this registers its commands)
