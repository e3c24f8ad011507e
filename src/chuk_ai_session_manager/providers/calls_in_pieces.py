"""Tool calls as the streams of chat completions deliver them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .common import dumped, field_of, id_in, mended, merged, parsed, text_in, without
from .messages import ChatMessage

_FIELDS = ("id", "index", "type", "function", "custom", "name", "arguments")
_STRUCTURE = re.compile(r'[{}\[\]"\\]')


@dataclass(slots=True, eq=False)
class _Call:
    id: str = ""
    kind: str = "function"
    names: list[str] = field(default_factory=list)
    """Its name, which some servers send in pieces; or the names of several calls without other fields."""
    pieces: list[str] = field(default_factory=list)
    """Its arguments, or a custom tool's input."""
    extra: dict[str, Any] = field(default_factory=dict)
    depth: int = 0
    in_text: bool = False
    is_escaped: bool = False
    is_whole: bool = False
    """Whether the arguments are a complete JSON object, so that nothing can follow."""

    @property
    def name(self) -> str:
        """The name so far."""
        return "".join(self.names)

    @property
    def arguments(self) -> str:
        """The arguments so far."""
        return "".join(self.pieces)

    def forget(self) -> None:
        """Forget the arguments so far."""
        self.pieces, self.is_whole = [], False

    def add(self, more: str) -> None:
        """Add to the arguments."""
        self.pieces.append(more)
        if self.is_escaped and more:
            self.is_escaped, more = False, more[1:]
        at = 0
        while found := _STRUCTURE.search(more, at):
            mark, at = found.group(), found.end()
            if mark == "\\":
                at += 1
                self.is_escaped = at > len(more)
            elif mark == '"':
                self.in_text = not self.in_text
            elif not self.in_text:
                self.depth += 1 if mark in "{[" else -1
                self.is_whole = self.depth == 0


class CallsInPieces:
    """Tool calls, in the order in which they arrive.

    Servers number calls by `index`, or name them by `id`, or do neither, and some repeat the name or the
    id in each chunk. A piece begins a new call if its index or id is new; if the call with its
    index has all its arguments already; or if a chunk has two pieces with one index.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[tuple[str, object], _Call] = {}

    def add_all(self, pieces: Sequence[Any]) -> None:
        """Add the pieces of one chunk."""
        seen: list[_Call] = []
        for piece in pieces:
            if piece is not None:
                seen.append(self._add(piece, seen))

    def _add(self, piece: Any, seen: Sequence[_Call]) -> _Call:
        kind = "custom" if field_of(piece, "custom") is not None else "function"
        asked = field_of(piece, kind) or piece
        given = field_of(asked, "input" if kind == "custom" else "arguments")
        name, more = text_in(field_of(asked, "name")), "" if given is None else dumped(given)
        call_id, index = id_in(field_of(piece, "id")), field_of(piece, "index")

        call = self._known(call_id, index, name)
        if call is not None and call_id and call.is_whole and (call.id, call.name, call.arguments) == (
            call_id, name, more,
        ):  # fmt: skip
            return call  # the same piece again
        if call is not None and call.arguments == "{}" and more.strip() and not call_id and not name:
            # Some servers begin with an empty object (https://github.com/ogx-ai/ogx/pull/5462).
            call.forget()
        if call is None or _is_another(call, call_id, name, more) or (name and call in seen):
            call = _Call(names=[] if name or call is None else [call.name])
            self._calls.append(call)
        for key in [("index", index)] * (index is not None) + [("id", call_id)] * bool(call_id):
            self._at[key] = call
        call.id = call.id or call_id
        if field_of(piece, kind) is not None:
            call.kind = kind
        if name != call.name and not (call.name and call.pieces):
            call.names.append(name)
        if more:
            call.add(more)
        call.extra = merged(call.extra, without(piece, *_FIELDS))
        return call

    def _known(self, call_id: str, index: object, name: str) -> _Call | None:
        if index is not None:
            return self._at.get(("index", index))
        if call_id:
            return self._at.get(("id", call_id))
        last = self._calls[-1] if self._calls else None
        return None if last is None or (name and last.pieces and name != last.name) else last

    def end(self) -> list[ChatMessage]:
        """Return the calls in OpenAI's form; the id of a call that arrived without one is empty."""
        return [_finished(call) for each in self._calls for call in _told_apart(each)]


def _is_another(call: _Call, call_id: str, name: str, more: str) -> bool:
    """Whether a piece belongs to another call than the one with its index."""
    if call_id and call.id and call_id != call.id:
        return True
    if not call_id and not call.id and call.name and not call.pieces and name not in {"", call.name}:
        # A complete call after one without arguments.
        return bool(more.strip()) and isinstance(parsed(more), dict)
    return call.kind == "function" and call.is_whole and bool(more.strip() or (name and name != call.name))


def _told_apart(call: _Call) -> list[_Call]:
    """A call; or several calls, if several names arrived with one index, without ids and arguments.

    A server that sends ids, or arguments after the name, may send a name in pieces. A server that sends
    neither sends complete calls.
    """
    if call.id or call.pieces or len(call.names) < 2:  # noqa: PLR2004  (one call has one name)
        return [call]
    return [_Call(kind=call.kind, names=[name], extra=call.extra) for name in call.names]


def _finished(call: _Call) -> ChatMessage:
    given = mended(call.arguments)
    what = {"input": given} if call.kind == "custom" else {"arguments": given or "{}"}
    asked = {"name": mended(call.name) or "unknown"} | what
    rest = {name: value for name, value in call.extra.items() if value is not None}
    return {"id": call.id, "type": call.kind, call.kind: asked} | rest
