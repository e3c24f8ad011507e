"""Export and import of conversations: lossless, or as chats in OpenAI's format.

Both forms are JSONL. A line of the lossless form is a session with everything that is stored of it. A line
of the other form is a whole conversation: `{"id": ..., "model": ..., "messages": [...]}`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from pydantic import ValidationError

from ..conversation.order import as_told
from ..conversation.segments import read_all, segments_of
from ..exceptions import InvalidInput, SessionAlreadyExists, StorageError
from ..exceptions.validation import check_name, check_session_id
from ..models import Session
from ..models.record import new_id
from ..providers.bedrock_rows import without_bedrock
from ..providers.messages import ChatMessage, check_chat_messages, full_messages, text_of
from ..session_manager import SessionManager
from ..stores import EventStore
from ..stores.base import AnySession
from ..stores.codec import encode_events, encode_header, join_header
from ..stores.counting import counters_of, summary_in
from ..stores.stored_data import dump

SCHEMA = 1
"""The version of the lossless form; a newer version is refused."""

OPERATION = "import"

T = TypeVar("T")


# -- lossless -------------------------------------------------------------------------------------


async def export_conversation(session_id: str, store: EventStore) -> AsyncIterator[str]:
    """Yield a conversation's segments, the first one first, each as a line of JSON with all its data.

    Args:
        session_id: the id of any segment.
        store: the store that the conversation is in.

    Raises:
        SessionNotFound: the session does not exist.
        UnreadableData: a segment is damaged.
        InvalidInput: a value in a session is not JSON, which only a store in memory accepts.
    """
    async for segment in segments_of(session_id, store):
        yield await asyncio.to_thread(line_of, segment)


def line_of(session: AnySession) -> str:
    """Return a session as a line of JSON with all its data.

    Raises:
        InvalidInput: a value in the session is not JSON, which only a store in memory accepts.
    """
    events = ",".join(event.body for event in encode_events(session.events, complete=True))
    # As stored: without the rounding errors of added floats, which differ from reader to reader.
    summary = summary_in(counters_of(session.totals, session.token_summary, None))
    fields = encode_header(session) | {
        "token_summary": summary.model_dump_json(),
        "events": f"[{events}]",
    }
    return f'{{"schema":{SCHEMA},"session":{join_header({"id": dump(session.id)} | fields)}}}'


async def import_sessions(lines: Iterable[str | bytes], store: EventStore) -> list[str]:
    """Store exported sessions, equal to the original ones, under their own ids.

    Returns:
        Their ids in the order in which they were stored: the order of the lines, except that a parent
        comes before its children.

    Raises:
        InvalidInput: a line is not an exported session, or a session is there twice; the error says which.
        SessionAlreadyExists: one of the ids is taken.
        StorageError: the store failed. After any of these errors, none of the sessions stays stored; but if
            the store cannot even delete, the first ones may stay, and the error says how many.
    """
    sessions = await asyncio.to_thread(_sessions_in, lines)
    return await all_or_none(sessions, store.create, store)


def _sessions_in(lines: Iterable[str | bytes]) -> dict[str, AnySession]:
    sessions: dict[str, AnySession] = {}
    for place, record in _records_in(lines):
        session = session_in(place, record)
        if session.id in sessions:
            raise InvalidInput(OPERATION, f"{place}: session {session.id} is there twice")
        sessions[session.id] = session
    return parents_first(sessions)


def session_in(place: str, record: dict[str, Any]) -> AnySession:
    """The session of a line that `line_of` wrote.

    Raises:
        InvalidInput: it is none; the error says which, by its place, and why.
    """
    if "session" not in record and "messages" in record:
        raise InvalidInput(OPERATION, f"{place} is a chat in OpenAI's format, not an exported session")
    schema, fields = record.get("schema"), record.get("session")
    if isinstance(schema, int) and schema > SCHEMA:
        raise InvalidInput(OPERATION, f"{place} was written by a newer release (schema {schema}): upgrade")
    is_one = schema == SCHEMA and isinstance(fields, dict) and fields.get("id")  # else it gets a new id
    try:
        session: AnySession = Session.model_validate(fields if is_one else None)
    except ValidationError:  # whose text quotes the line's content
        raise InvalidInput(OPERATION, f"{place} is not an exported session") from None
    with placed(place):
        check_session_id(session.id, OPERATION)
        line_of(session)  # a value that no store accepts is refused before any line is written
    return session


def parents_first(sessions: dict[str, AnySession]) -> dict[str, AnySession]:
    """The sessions in their order, but each after its parent."""
    ordered: dict[str, AnySession] = {}
    for session in sessions.values():
        line = [session]
        while (parent := sessions.get(line[-1].parent_id or "")) and parent.id not in ordered:
            if any(each is parent for each in line):  # a circle, which only a manual change can cause
                break
            line.append(parent)
        ordered |= {each.id: each for each in reversed(line)}
    return ordered


# -- chats ----------------------------------------------------------------------------------------


async def export_chat(session_id: str, store: EventStore) -> dict[str, Any]:
    """Return a whole conversation as one chat in OpenAI's format: its first id, last model and all messages.

    Summaries, timestamps, usage and state are left out.

    Raises:
        SessionNotFound: the session does not exist.
        UnreadableData: a segment is damaged.
    """
    segments = [segment async for segment in segments_of(session_id, store)]
    events = [event for segment in segments for event in segment.events]
    prompt = segments[-1].metadata.properties.get("system_prompt")
    rows: list[ChatMessage] = []
    if isinstance(prompt, str) and prompt.strip():
        rows.append({"role": "system", "content": prompt})
    models = [event.usage.model for event in events if event.usage is not None]
    return {
        "id": segments[0].id,
        "model": models[-1] if models else "unknown",
        "messages": rows + full_messages(as_told(events)),
    }


async def import_chats(lines: Iterable[str | bytes], store: EventStore) -> list[str]:
    """Record chats in OpenAI's format, each in a new session, as `SessionManager.add_messages` does.

    A line without an "id" gets one. The bills of the calls are estimated, at the price of "model".

    Returns:
        The sessions' ids, in the order of the lines.

    Raises:
        InvalidInput: a line is not such a chat, or an id is there twice; the error says which.
        SessionAlreadyExists: one of the ids is taken.
        StorageError: the store failed. After any of these errors, none of the sessions stays stored; but if
            the store cannot even delete, the first ones may stay, and the error says how many.
    """
    chats = await asyncio.to_thread(_chats_in, lines)
    return await all_or_none(chats, partial(record_chat, store=store), store)


async def record_chat(chat: dict[str, Any], store: EventStore) -> None:
    """Record a chat as `chat_in` gives it."""
    await SessionManager(chat["id"], store=store).add_messages(chat["messages"], model=chat["model"])


def _chats_in(lines: Iterable[str | bytes]) -> dict[str, dict[str, Any]]:
    chats: dict[str, dict[str, Any]] = {}
    for place, record in _records_in(lines):
        if "messages" not in record:
            raise InvalidInput(OPERATION, f'{place}: not a JSON object with a list of "messages"')
        chat = chat_in(place, record)
        if chat["id"] in chats:
            raise InvalidInput(OPERATION, f"{place}: session {chat['id']} is there twice")
        chats[chat["id"]] = chat
    return chats


def chat_in(place: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """A chat with its `id`, `model` and `messages`; one in Anthropic's format begins with its `system`.

    Raises:
        InvalidInput: it is no chat; the error says which, by its place, and why.
    """
    chat_id, model, system = record.get("id"), record.get("model", "unknown"), record.get("system")
    with placed(place):
        rows = check_chat_messages(without_bedrock(record["messages"]), OPERATION)
        if system:
            rows = [
                *check_chat_messages([{"role": "system", "content": _prompt_of(system)}], OPERATION),
                *rows,
            ]
        check_name(model, "model", OPERATION)
        if chat_id is None:
            chat_id = new_id()
        check_session_id(chat_id, OPERATION)
    return {"id": chat_id, "model": model, "messages": rows}


def _prompt_of(system: Any) -> Any:
    """Anthropic's system prompt, a text or a list of blocks, as a text."""
    return text_of({"role": "system", "content": system}) if isinstance(system, list) else system


# -- both -----------------------------------------------------------------------------------------


@contextmanager
def placed(place: str) -> Iterator[None]:
    """Say in an error which line it is about."""
    try:
        yield
    except InvalidInput as problem:
        raise InvalidInput(OPERATION, f"{place}: {problem.reason}") from None


def _records_in(lines: Iterable[str | bytes]) -> Iterable[tuple[str, dict[str, Any]]]:
    """The JSON objects of the lines, each with the name of its line; blank lines are skipped."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise InvalidInput(OPERATION, f"line {number} is not a JSON object")
        yield f"line {number}", record


async def all_or_none(
    items: Mapping[str, T], write: Callable[[T], Awaitable[object]], store: EventStore
) -> list[str]:
    """Write the sessions one after the other. If one fails, delete the others again, the last one first."""
    async for session in read_all(list(items), store.head):
        raise SessionAlreadyExists(session.id)
    written: list[str] = []
    try:
        for session_id, item in items.items():
            written.append(session_id)  # before the write: a write that is cancelled may have been done
            await write(item)
    except BaseException as problem:
        if isinstance(problem, SessionAlreadyExists):
            written.pop()  # another writer created it meanwhile
        with suppress(StorageError):  # if the store is down, each deletion would wait for it
            while written:
                await store.delete(written[-1])
                written.pop()
        if written and isinstance(problem, StorageError):
            raise StorageError(f"{problem}. The first {len(written):,} of them may stay stored") from problem
        raise
    return written
