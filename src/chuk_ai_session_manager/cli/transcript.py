"""Conversations for people at a terminal."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime

from ..conversation.path import is_question
from ..conversation.recall.shown import shown_in
from ..conversation.sums import Sums
from ..models.session_metadata import FORKED_FROM
from ..models.token_usage import CallUsage
from ..providers.details import details_of
from ..stores.base import AnyEvent, AnySession
from .contents import ToolUse, calls_in, kind_of, outcome_in, text_in
from .figures import billed_text, cost_text, counted
from .safe_text import cut
from .screen import Screen

_STYLES = {
    "user": "bold cyan",
    "assistant": "bold green",
    "system": "bold yellow",
    "tool": "magenta",
    "summary": "bold blue",
}
_OFF_PATH, _PINNED = "off the path", "pinned"
# How many characters of a folded tool call's arguments and result are shown in a pipe.
_FOLDED_WIDTH = 100
# How many characters of a long system prompt are shown: those of agents fill screens.
_PROMPT_SHOWN = 500


class Transcript:
    """Writes a conversation, event by event.

    Args:
        screen: the output.
        unfold_tools: whether to show tool calls in full, not on one line each.
        unfold_system: whether to show a long system prompt in full.
        shows_details: whether to show the other contents of an answer's native form.
        off_path: the ids of events that are not on the path; they are marked.
        pinned: the ids of events that are pinned; they are marked.
    """

    def __init__(
        self,
        screen: Screen,
        *,
        unfold_tools: bool,
        unfold_system: bool = False,
        shows_details: bool = False,
        off_path: Container[str] = (),
        pinned: Container[str] = (),
    ) -> None:
        self._off_path = off_path
        self._pinned = pinned
        self._shows_details = shows_details
        self._screen = screen
        self._unfold_system = unfold_system
        self._unfold_tools = unfold_tools
        self._segment_id: str | None = None
        self._turn: Sums | None = None
        self._turns = 0
        self._asked: set[str | None] = set()
        self._day = ""

    def begin(self, first: AnySession, segments: int) -> None:
        """Write the head of a whole conversation."""
        self._screen.facts(
            [
                ("Conversation", first.id),
                ("User", first.user_id or ""),
                ("Created", moment(first.metadata.created_at)),
                ("Forked from", _origin_of(first)),
                ("Segments", str(segments) if segments > 1 else ""),
            ]
        )
        prompt = first.metadata.properties.get("system_prompt")
        if isinstance(prompt, str) and prompt:
            self._screen.line()
            self._screen.line(("system prompt", "bold yellow"))
            begun = prompt if self._unfold_system else prompt[:_PROMPT_SHOWN]
            self._screen.text(begun, style="dim")
            if begun != prompt:
                rest = len(prompt) - len(begun)
                self._screen.line((f"  … and {rest:,} characters more: --system shows all", "dim italic"))

    def left_out(self, events: int) -> None:
        """Write how many earlier events are not shown, if there are any."""
        if events:
            self._screen.line()
            self._screen.line((f"… {events:,} earlier events are not shown", "dim italic"))

    def segment(self, number: int, segments: int, segment: AnySession) -> None:
        """Write that a segment begins, if there are several."""
        if segments > 1:
            self._screen.line()
            self._screen.line((f"━━ segment {number} of {segments} ━━ ", "bold blue"), (segment.id, "blue"))
        self._segment_id = segment.id

    def event(self, event: AnyEvent) -> None:
        """Write an event, and before it the totals of the turn that it ends."""
        if is_question(event):
            self.end_turn()
            self._turn = Sums()
        if self._turn is not None:
            self._turn.count(event)
        self._write(event)

    def look_on(self, segment: AnySession, event: AnyEvent) -> None:
        """Write a single event, with its segment if that is another one than before."""
        if self._segment_id not in {None, segment.id}:
            self._screen.line()
            self._screen.line(("━━ segment ━━ ", "bold blue"), (segment.id, "blue"))
        self._segment_id = segment.id
        self._write(event)

    def end_turn(self) -> None:
        """Write the totals of a turn, if a model was called in it."""
        if self._turn is None:
            return
        self._turns += 1
        totals = self._turn.totals
        if totals.llm_calls:
            calls = counted(totals.llm_calls, "model call")
            about = f"{calls}, {billed_text(totals)}, {cost_text(self._turn)}"
            self._screen.line()
            self._screen.line((f"── turn {self._turns}: {about}", "dim"))

    def _write(self, event: AnyEvent) -> None:
        if shown_in(event) is not None and not self._shows_details:
            return
        outcome = outcome_in(event, self._asked)
        if outcome is not None:
            self._write_outcome(event, outcome)
            return
        kind, details = kind_of(event), [self._time_of(event)]
        if event.usage is not None:
            details += _call_details(event, event.usage)
        elif event.token_usage is not None and event.token_usage.total_tokens:
            details.append(f"{event.token_usage.total_tokens:,} tokens")
        if kind == "summary":
            made_by = event.metadata.get("made_by")
            details.append(f"made by {made_by}, of all before" if made_by else "of all before")
        details += self._marks(event)
        self._screen.line()
        self._screen.line((kind, _STYLES.get(kind, "bold")), ("  " + "  ".join(details), "dim"))
        text = text_in(event)
        if text:
            self._screen.text(text, style="italic" if kind == "summary" else "")
        for call in calls_in(event):
            self._asked.add(call.call_id)
            self._write_call(call)
        if self._shows_details and event.native is not None:
            for name, value in details_of(event.native):
                self._screen.line((f"  {name}: ", "dim"), (value, "dim"))

    def _marks(self, event: AnyEvent) -> list[str]:
        """What is marked of an event."""
        marks = {_OFF_PATH: self._off_path, _PINNED: self._pinned}
        return [name for name, ids in marks.items() if event.id in ids]

    def _time_of(self, event: AnyEvent) -> str:
        """The time of an event, with the day if it is another one than before."""
        day, time = moment(event.timestamp).split()
        is_same, self._day = day == self._day, day
        return time if is_same else f"{day} {time}"

    def _write_call(self, call: ToolUse) -> None:
        """Write a tool call and its arguments."""
        if not self._unfold_tools:
            self._folded(f"→ {call.name}", call.arguments or "")
            return
        self._screen.line(("  → ", "magenta"), (call.name, "magenta bold"))
        self._screen.text(call.arguments or "", style="dim", indent=4)

    def _write_outcome(self, event: AnyEvent, outcome: ToolUse) -> None:
        if outcome.arguments is not None:
            self._write_call(outcome)
        took = "" if outcome.seconds is None else f" in {outcome.seconds:.2f} s"
        took += "".join(f"  {mark}" for mark in self._marks(event))
        mark = "✗" if outcome.failed else "←"
        if not self._unfold_tools:
            self._folded(f"{mark} {outcome.name}{took}", outcome.result or "", failed=outcome.failed)
            return
        style = "red" if outcome.failed else "magenta"
        self._screen.line(
            (f"  {mark} {outcome.name}", f"{style} bold"), (f"{took}  {self._time_of(event)}", "dim")
        )
        self._screen.text(outcome.result or "", style="dim", indent=4)

    def _folded(self, head: str, body: str, *, failed: bool = False) -> None:
        most = self._screen.width if self._screen.is_terminal else _FOLDED_WIDTH
        style = "red" if failed else "magenta"
        self._screen.line((f"  {head}  ", style), (cut(body, most), "dim"), fold=False)


def _call_details(event: AnyEvent, usage: CallUsage) -> list[str]:
    sums = Sums()
    sums.count(event)
    about = " (estimated)" if usage.estimated else ""
    return [usage.model, f"{billed_text(sums.totals)}{about}", cost_text(sums)]


def _origin_of(first: AnySession) -> str:
    """The conversation from which this one was forked."""
    origin = first.metadata.properties.get(FORKED_FROM)
    return str(origin.get("conversation_id", "")) if isinstance(origin, dict) else ""


def moment(time: datetime) -> str:
    """A time in this machine's time zone."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
