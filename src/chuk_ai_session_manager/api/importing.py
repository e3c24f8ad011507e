"""Imports of conversations in whatever known form: the form is recognised, nobody has to name it."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from ..conversation.billing import count
from ..conversation.drafts import draft_rows, tell
from ..conversation.path import Paths
from ..exceptions import InvalidInput
from ..exceptions.validation import check_event_id
from ..models import Session, SessionMetadata
from ..models.record import utc_now
from ..providers.messages import ChatMessage
from ..stores import EventStore
from ..stores.base import AnyEvent, AnySession
from .chat_exports import Talk, chatgpt_talk, claude_talk
from .transfer import OPERATION, all_or_none, chat_in, parents_first, placed, record_chat, session_in

_Item: TypeAlias = "AnySession | Talk | dict[str, Any]"
_Records: TypeAlias = "list[tuple[str, dict[str, Any]]]"

KNOWN_FORMS = (
    "exported sessions, chats in OpenAI's or Anthropic's format, and the conversations.json of a data export "
    "from ChatGPT or Claude"
)


async def import_conversations(content: bytes | str, store: EventStore) -> list[str]:
    """Store conversations, whatever known form they have.

    The form is recognised for each conversation:

    * sessions as `export_conversation` writes them, which become what they were;
    * chats in OpenAI's format (`{"messages": [...]}`, also a bare list of messages) or in Anthropic's (with
      `system` and content blocks); the bills of their calls are estimated, at the price of `model`;
    * `conversations.json` of ChatGPT's and Claude's data exports, or the whole ZIP file. Each message keeps
      its id and its time. Edited questions and other answers become variants, and the branch that the user
      saw last is chosen. These conversations have no bill: a subscription paid for them. Images and files
      are only named. `title` and `imported_from` are properties of the session.

    Args:
        content: the content of a file: JSON, JSONL, or such a ZIP file.
        store: the store to import into.

    Returns:
        The sessions' ids. They are those of the conversations; a chat without an id gets one.

    Raises:
        InvalidInput: a conversation has no known form, or is invalid, or an id is there twice; the error says
            which conversation.
        SessionAlreadyExists: one of the ids is taken.
        StorageError: the store failed. After any of these errors, none of the conversations stays stored; but
            if the store cannot even delete, the first ones may stay, and the error says how many.
    """
    items = await asyncio.to_thread(_items_in, content)

    async def write(item: _Item) -> None:
        if isinstance(item, dict):
            await record_chat(item, store)
        else:
            await store.create(await _session_of(item) if isinstance(item, Talk) else item)

    return await all_or_none(items, write, store)


# -- recognising ----------------------------------------------------------------------------------


def _items_in(content: bytes | str) -> dict[str, _Item]:
    items: dict[str, _Item] = {}
    for place, record in _records_in(content):
        item = _item_of(place, record)
        item_id = item["id"] if isinstance(item, dict) else item.id
        if item_id in items:
            raise InvalidInput(OPERATION, f"{place}: session {item_id} is there twice")
        items[item_id] = item
    sessions = parents_first({each: item for each, item in items.items() if isinstance(item, Session)})
    return {**sessions, **{each: item for each, item in items.items() if each not in sessions}}


def _item_of(place: str, record: dict[str, Any]) -> _Item:
    if isinstance(record.get("mapping"), Mapping):
        return _checked(place, chatgpt_talk(record))
    if isinstance(record.get("chat_messages"), list):
        return _checked(place, claude_talk(record))
    if "session" in record:
        return session_in(place, record)
    if "messages" in record:
        return chat_in(place, record)
    raise InvalidInput(OPERATION, f"{place} has no known form. Known are {KNOWN_FORMS}")


def _checked(place: str, talk: Talk) -> Talk:
    with placed(place):
        if not talk.id:
            raise InvalidInput(OPERATION, "the conversation has no id")
        for told in talk.told:
            check_event_id(told.id, OPERATION)
    return talk


def _records_in(content: bytes | str) -> _Records:
    """The conversations in a file, each with words for its place."""
    if isinstance(content, bytes) and content.startswith(b"PK\x03\x04"):
        return [each for text in _conversations_in_zip(content) for each in _records_in(text)]
    text = content.encode() if isinstance(content, str) else content
    lines = text.split(b"\n")
    first = next((line for line in lines if line.strip()), b"")
    begins_with, whole = _json(first), _json(text)
    is_in_lines = whole is None and isinstance(begins_with, list)
    is_in_lines |= isinstance(begins_with, dict) and not isinstance(begins_with.get("conversations"), list)
    if is_in_lines:
        records = [(f"line {number}", _json(line)) for number, line in enumerate(lines, 1) if line.strip()]
    else:
        listed = whole.get("conversations") if isinstance(whole, dict) else whole
        if isinstance(listed, list):
            records = [(f"conversation {number}", each) for number, each in enumerate(listed, 1)]
        else:
            records = [("the file", whole)] if text.strip() else []
    found: _Records = []
    for place, read in records:
        record = {"messages": read} if isinstance(read, list) else read  # a chat without a name
        if not isinstance(record, dict):
            raise InvalidInput(OPERATION, f"{place} is not a JSON object")
        found.append((place, record))
    is_one_chat = found and all("role" in record for _, record in found)
    return [("the file", {"messages": [record for _, record in found]})] if is_one_chat else found


def _conversations_in_zip(content: bytes) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if _is_of_conversations(name)]
            if not names:
                raise InvalidInput(OPERATION, "the ZIP file has no conversations.json")
            for name in names:
                yield archive.read(name)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as problem:
        raise InvalidInput(OPERATION, f"the ZIP file cannot be read: {problem}") from None


def _is_of_conversations(name: str) -> bool:
    """Whether a file of an export has conversations: large ones are cut into several files with numbers."""
    file = name.rpartition("/")[2]
    return file == "conversations.json" or (file.startswith("conversations-") and file.endswith(".json"))


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# -- trees ----------------------------------------------------------------------------------------


async def _session_of(talk: Talk) -> AnySession:
    """The session of an exported conversation: its branches are variants."""
    properties: dict[str, Any] = {"imported_from": talk.origin}
    if talk.title:
        properties["title"] = talk.title
    created_at = talk.created_at or utc_now()
    metadata = SessionMetadata(created_at=created_at, properties=properties)
    session: AnySession = Session(id=talk.id, metadata=metadata)
    for event in await _events_of(talk):
        await session.add_event(event)
    return session


async def _events_of(talk: Talk) -> list[AnyEvent]:
    """The messages of a tree as a log, with choices where one follows another place than the end."""
    paths, events = Paths(), list[AnyEvent]()

    def take(event: AnyEvent) -> None:
        events.append(event)
        paths.take(event)

    def go_to(place: str | None) -> None:
        choice = paths.to(place)
        if choice is not None:
            take(choice.as_event())

    ends: dict[str | None, str | None] = {}
    calls: dict[str, ChatMessage] = {}
    said_at = talk.created_at
    for told in talk.told:
        ends[told.id] = ends.get(told.parent)
        said_at = told.said_at or said_at
        drafts = draft_rows(told.rows, told.model, talk.provider, calls)
        if drafts:
            go_to(ends[told.id])
            tell(drafts, told.id, said_at)
            await count(drafts)
            for draft in drafts:
                take(draft.event)
            ends[told.id] = drafts[-1].event.id
    if talk.told:
        go_to(ends[talk.leaf or talk.told[-1].id])
    return events
