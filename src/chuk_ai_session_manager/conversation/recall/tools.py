"""Tools with which a model searches the earlier conversation: definitions for each provider, and results.

If a model's call is wrong, the result says so in words, because an error would end the application's loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import accumulate
from typing import Any

from ...exceptions import InvalidInput
from ...models.home import HomeStore
from ...providers.common import data_of, parsed
from ...providers.formats import Format, check_format
from ...providers.messages import tool_text
from ...stores.base import AnyEvent
from .excerpts import day_line, indented, shown, told
from .finding import Finder
from .index import Index
from .turns import HISTORY_TOOLS, words_of

SEARCH, READ = HISTORY_TOOLS
_OPERATION = "run a tool"

NOTE = f"\n\nThe tool {SEARCH} finds earlier messages, word for word."
"""The end of a summary in contexts with these tools."""

# Limits of results: tokens of a search, characters of a page, turns around a turn and characters of each.
_SEARCH_TOKENS = 4_000
_PAGE = 6_000
_MOST_AROUND, _SHORT = 10, 600
# How many tokens an event's id has, with the marks around it.
_ID_TOKENS = 28
# How many characters before a found text its page begins.
_BEFORE = 1_000

_DEFINITIONS: tuple[dict[str, Any], ...] = (
    {
        "name": SEARCH,
        "description": (
            "Search everything that was said earlier in this conversation, also the parts that are no "
            "longer in your context. Returns the passages that match best, each with its date, speaker and "
            "event_id. Use it whenever a question is about something that was said, decided or looked up "
            "before. If passages disagree, the later one holds."
        ),
        "parameters": {
            "type": "object",
            "properties": {
                "query": {
                    "type": "string",
                    "description": "The words to find: names, things, numbers, a date, as they may have been "
                    "said.",
                }
            },
            "required": ["query"],
        },
    },
    {
        "name": READ,
        "description": (
            "Read one message or tool result of this conversation in full, by its event_id. "
            "search_history and the lines about cleared results name event_ids. Long texts have pages."
        ),
        "parameters": {
            "type": "object",
            "properties": {
                "event_id": {
                    "type": "string",
                    "description": 'The event_id; for a further page of a long text, add "#" and the page\'s '
                    'number, as in "…#2".',
                },
                "around": {
                    "type": "integer",
                    "description": "How many messages before and after it to show (at most 10).",
                },
                "find": {"type": "string", "description": "Show the page that contains this text."},
            },
            "required": ["event_id"],
        },
    },
)


def definitions(format_name: Format | None) -> list[dict[str, Any]]:
    """The definitions of the tools in a provider's format; they are the same at every call.

    Raises:
        InvalidInput: the format is unknown.
    """
    if format_name is not None:
        check_format(format_name, "tools")
    tools = [deepcopy(each) for each in _DEFINITIONS]
    match format_name:
        case "anthropic":
            return [
                {
                    "name": each["name"],
                    "description": each["description"],
                    "input_schema": each["parameters"],
                }
                for each in tools
            ]
        case "openai-responses":
            return [{"type": "function", **each, "strict": False} for each in tools]
        case "google":
            return [{"function_declarations": tools}]
        case "bedrock":
            return [
                {
                    "toolSpec": {
                        "name": each["name"],
                        "description": each["description"],
                        "inputSchema": {"json": each["parameters"]},
                    }
                }
                for each in tools
            ]
        case _:
            return [{"type": "function", "function": each} for each in tools]


def are_offered(tools: Sequence[Any]) -> bool:
    """Whether the tools that are sent with a context, in any provider's format, include `search_history`."""
    return any(_defines_search(data_of(tool)) for tool in tools)


def _defines_search(tool: Any) -> bool:
    if not isinstance(tool, Mapping):
        return False
    inner = [
        tool.get("function"),
        tool.get("toolSpec"),
        *(tool.get("function_declarations") or tool.get("functionDeclarations") or ()),
    ]
    return tool.get("name") == SEARCH or any(map(_defines_search, inner))


def asked_by(call: object) -> tuple[str, Any]:
    """The tool that a call names, and its arguments; the call may have any provider's form.

    Raises:
        InvalidInput: the value is no call, or calls another tool.
    """
    data = data_of(call)
    if not isinstance(data, Mapping):
        data = {
            name: getattr(call, name, None)
            for name in ("function", "name", "tool", "arguments", "input", "args")
        }
    for key in ("function", "functionCall", "function_call", "toolUse", "custom"):
        if isinstance(inner := data.get(key), Mapping):
            data = inner
    name = data.get("name") or data.get("tool")  # chuk-tool-processor's calls have a `tool`
    if name not in HISTORY_TOOLS:
        known = " and ".join(HISTORY_TOOLS)
        raise InvalidInput(_OPERATION, f"the call must name one of the tools of `tools()`: {known}")
    given: Any = next((data[key] for key in ("arguments", "input", "args") if data.get(key) is not None), {})
    return str(name), parsed(given) if isinstance(given, str) else given


class HistoryTools:
    """Runs the tools on an index.

    Args:
        finder: finds turns.
        index: the turns that can be found.
        home: the store of the conversation.
        model: the model whose tokens limit the results.
    """

    def __init__(self, finder: Finder, index: Index, home: HomeStore, model: str) -> None:
        self._finder = finder
        self._index = index
        self._home = home
        self._model = model

    async def run(self, name: str, arguments: object) -> str:
        """The result of a tool, as text for the model."""
        if not isinstance(arguments, Mapping):
            return f"{name} needs a JSON object as its arguments."
        if name == SEARCH:
            query = arguments.get("query")
            if not isinstance(query, str) or not query.strip():
                return f'{SEARCH} needs a "query": the words to find.'
            return await self._search(query)
        event_id = arguments.get("event_id")
        if not isinstance(event_id, str) or not event_id.strip():
            return f'{READ} needs an "event_id"; {SEARCH} returns them.'
        around, find = arguments.get("around"), arguments.get("find")
        return await self._read(
            event_id, min(_MOST_AROUND, _count(around)), find if isinstance(find, str) else ""
        )

    async def _search(self, query: str) -> str:
        index = self._index
        excerpts = await self._finder.excerpts(
            index, query, max_tokens=_SEARCH_TOKENS, model=self._model, around_turn=_ID_TOKENS
        )
        if not excerpts:
            return "No message matches. Try other words: names, things or numbers that it may contain."
        return told(index, excerpts, with_ids=True)

    async def _read(self, given: str, around: int, find: str) -> str:
        event_id, page = self._place(given)
        turn = self._index.number_of.get(event_id)
        if turn is None or turn in self._index.out:
            return f'No message has the event_id "{event_id}". {SEARCH} returns the event_ids of messages.'
        session_id = self._index.turn(turn).session_id
        found = await self._home.events_by_id(session_id, [event_id])
        if not found:
            return f'The message with the event_id "{event_id}" does not exist any more.'
        text = self._page_of(event_id, _whole_text(found[0]), page, find)
        before, after = self._near(turn, -around), self._near(turn, around)
        text = indented(text) if before or after else text
        return "\n".join([*before, f"> {self._heading(turn)} {text}", *after])

    def _place(self, given: str) -> tuple[str, int]:
        """The event id and the page that a model asked for. An application's event ids may contain "#"."""
        known = self._index.number_of
        for event_id in (given, given.strip()):
            if event_id in known:
                return event_id, 0
        event_id, _, page = given.strip().rpartition("#")
        while event_id not in known and event_id.endswith("#"):
            event_id = event_id[:-1]
        return (event_id, _count(page)) if event_id in known else (given.strip(), 0)

    def _heading(self, turn: int) -> str:
        time = self._index.turn(turn).time
        return f"{day_line(time.date())} {self._index.speaker_of(turn)}:"

    def _near(self, turn: int, count: int) -> list[str]:
        """Up to `count` turns of the same conversation after a turn; before it if `count` is negative."""
        index, step = self._index, 1 if count > 0 else -1
        lines: list[str] = []
        near, conversation = turn + step, index.conversation_of(turn)
        while (
            len(lines) < abs(count) and 0 <= near < len(index) and index.conversation_of(near) == conversation
        ):
            if near not in index.out:
                text = shown(index, near, [(0, _SHORT)] if _is_longer(index, near) else [index.whole(near)])
                lines.append(f"({index.ids[near]}) {self._heading(near)} {indented(text)}")
            near += step
        return lines[::step]

    def _page_of(self, event_id: str, text: str, page: int, find: str) -> str:
        """A page of a text: the page with this number, or the page that contains the text to find."""
        if len(text) <= _PAGE and not find:
            return text
        start = max(0, page - 1) * _PAGE
        note = ""
        if find:
            at = _position(text, find)
            note = f"[{find!r} does not occur in it.] " if at < 0 else ""
            start = max(0, at - _BEFORE) if len(text) > _PAGE and at >= 0 else start
        if start >= len(text) > 0:
            return f"[It has {len(text):,} characters: there is no page {page}.]"
        end = min(len(text), start + _PAGE)
        if (start, end) == (0, len(text)):
            return note + text
        following = self._id_of_page(event_id, end // _PAGE + 1)
        more = f' Next page: event_id "{following}".' if end < len(text) else ""
        return f"{note}[Characters {start:,} to {end:,} of {len(text):,}.{more}]\n{text[start:end]}"

    def _id_of_page(self, event_id: str, page: int) -> str:
        """The `event_id` with which a model reads a page. It is never the id of another event."""
        mark = "#"
        while f"{event_id}{mark}{page}" in self._index.number_of:
            mark += "#"
        return f"{event_id}{mark}{page}"


def _is_longer(index: Index, turn: int) -> bool:
    return index.whole(turn)[1] > _SHORT


def _whole_text(event: AnyEvent) -> str:
    is_result = isinstance(event.message, dict) and "result" in event.message and "tool" in event.message
    return tool_text(event.message) if is_result else words_of(event.message)


def _position(text: str, find: str) -> int:
    """The position at which a text contains another one, whatever their case; -1 if it does not."""
    at = text.casefold().find(find.casefold())
    if at <= 0:
        return at
    ends = accumulate(len(character.casefold()) for character in text)  # "ß" becomes two characters
    return next(position for position, end in enumerate(ends) if end > at)


def _count(value: object) -> int:
    """A number from a model, which may be a text; 0 if there is none."""
    if isinstance(value, str):
        value = int(value) if value.strip().isdecimal() and len(value) < 9 else 0  # noqa: PLR2004
    if not isinstance(value, int | float) or value != value:  # noqa: PLR0124  (not a number)
        return 0
    return max(0, int(min(value, 1_000_000)))
