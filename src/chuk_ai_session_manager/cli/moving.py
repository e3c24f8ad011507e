"""Commands that export, import, copy and delete conversations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..api.importing import import_conversations
from ..api.transfer import export_chat, import_chats, import_sessions, line_of
from ..conversation.segments import read_all, segment_ids_of
from ..exceptions import SessionManagerError, SessionNotFound, UnreadableData
from ..stores import DEFAULT_TTL_HOURS, EventStore
from .figures import counted
from .files import content_of, output_to
from .listing import all_ids, chains_of
from .options import AsJson, Format, FormatOption, Output, Sandbox, SessionId, StoreUrl, UserId, Yes
from .program import app, say_done
from .running import NOT_THERE, Where, ask_or_end, check_confirmable, result_of, run
from .screen import tell


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
    user: UserId = None,
    output: Output = None,
    form: FormatOption = Format.NATIVE,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Write conversations as JSONL.

    Nothing is lost: ids, times, usage, summaries, runs, state and properties are exported. With --user,
    everything that is stored of a user is exported.
    """
    _check_named(sessions, user, everything=everything)

    async def work(opened: EventStore) -> int:
        told: set[str] = set()

        def leave_out(problem: SessionManagerError) -> None:
            if sessions:
                raise problem
            if str(problem) not in told:
                told.add(str(problem))
                tell(f"left out: {problem}")

        newest_first = sessions or [each async for each in all_ids(opened, user)]
        chains = await chains_of(newest_first, opened, leave_out)
        written: set[str] = set()
        conversations = lines = 0
        with output_to(output) as write:
            for chain in chains if sessions else reversed(chains):
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
            say_done(result, words, as_json=as_json)
        if user is not None and not chains:
            tell("The user has no conversations.")
        return NOT_THERE if told or not (chains or everything) else 0

    run(Where(store, sandbox), work)


def _check_named(sessions: Sequence[str] | None, user: str | None, *, everything: bool) -> None:
    """Refuse an export of nothing, and an export of several kinds of things."""
    if sum((bool(sessions), everything, user is not None)) != 1:
        raise typer.BadParameter("name sessions, or a user with --user, or use --all")
    if user == "":
        raise typer.BadParameter("--user must not be empty")


async def _exported(chain: Sequence[str], form: Format, store: EventStore, written: set[str]) -> list[str]:
    """A conversation's lines, without those of shared segments that were written for another conversation."""
    if form is Format.OPENAI:
        chat = await export_chat(chain[-1], store)
        if chat["id"] in written:  # two conversations began as the same one
            chat["id"] = chain[-1]
        return [json.dumps(chat, ensure_ascii=False)]
    segments = read_all([each for each in chain if each not in written], store.get)
    return [await asyncio.to_thread(line_of, segment) async for segment in segments]


@app.command("import")
def import_file(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A file that export wrote, chats in OpenAI's or Anthropic's format, or a data export from "
            "ChatGPT or Claude (conversations.json, or the ZIP file); - for the standard input.",
        ),
    ],
    form: Annotated[
        Format | None,
        typer.Option(
            "--format", help="Take only this form. By default the form is recognised.", show_default=False
        ),
    ] = None,
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
    """Store exported conversations, in whatever form they are.

    They keep their ids. If one of the ids is taken, nothing is stored.
    """
    where = Where(store, sandbox, DEFAULT_TTL_HOURS if ttl_hours is None else ttl_hours, may_be_new=True)
    content = content_of(file)

    async def work(opened: EventStore) -> None:
        if form is None:
            ids = await import_conversations(content, opened)
        else:
            import_lines = import_chats if form is Format.OPENAI else import_sessions
            ids = await import_lines(content.split(b"\n"), opened)
        say_done({"sessions": ids}, f"Stored {counted(len(ids), 'session')}.", as_json=as_json)

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
        say_done({"file": str(path)}, f"Wrote the whole store to {path}.", as_json=as_json)

    run(Where(store, sandbox), work)


@app.command()
def delete(
    session: SessionId,
    only_this: Annotated[
        bool, typer.Option("--only-this", help="Delete only this segment, not the conversation.")
    ] = False,
    yes: Yes = False,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Delete a conversation, after asking for confirmation."""
    check_confirmable(yes=yes)
    where = Where(store, sandbox)
    ids = result_of(where, partial(_to_delete, session, only_this=only_this))
    what = f"session {session}" if len(ids) == 1 else f"the conversation of {session}, {len(ids)} segments"
    # Asked between two uses of the store: while a store is in use, Ctrl-C would not end the question.
    if not yes:
        ask_or_end(f"Delete {what}?", "Nothing was deleted.")

    async def work(opened: EventStore) -> None:
        if not only_this:
            await opened.delete_conversation(session)
        for each in ids:  # some of them may have ids of the application's own
            await opened.delete(each)
        say_done({"deleted": ids}, f"Deleted {what}.", as_json=as_json)

    run(where, work)


async def _to_delete(session_id: str, store: EventStore, *, only_this: bool) -> list[str]:
    """The segments to be deleted, as far as they can be found if one is damaged."""
    try:
        ids = await segment_ids_of(session_id, store)
    except UnreadableData:
        ids = await store.segment_ids(session_id) or [session_id]
    return [session_id] if only_this else ids


# At the end, so that the help shows these commands after those above.
from . import erasing, repairing  # noqa: E402, F401  (this registers their commands)
