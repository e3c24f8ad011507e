"""The path through a log: the messages of the current version, after all second thoughts.

A log only grows. A new message continues the current path; a choice (`models.choice`) lets the conversation
continue from another place. So all messages form a tree, and the path leads through it from the beginning to
the place where the next message will stand. The last choice in the log decides, so every reader of the log
sees the same path.

Everything here is a function of the events alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..exceptions import InvalidInput
from ..models import EventSource, EventType
from ..models.choice import Choice, choice_in
from ..models.event_page import tokens_of
from ..models.session_event import REPLACES
from ..models.session_totals import COUNTED_ON_PATH, SessionTotals
from ..providers.messages import call_id_of, calls_of, turns_of
from ..stores.base import AnyEvent

# What the first of the given events follows, if there are earlier ones. No event has this id.
_EARLIER = "\0earlier"


class EarlierNeededError(Exception):
    """The answer depends on events before those that were given."""


def on_path(events: Sequence[AnyEvent]) -> Sequence[AnyEvent]:
    """The events of a session that are on the path; notes and summaries stay, choices are left out.

    A choice of a place in an earlier segment leaves out all events before it.
    """
    if not any(choice_in(event) for event in events):
        return events
    return Paths(events).held()


def is_said(event: AnyEvent) -> bool:
    """Whether an event is a message or a tool's result."""
    return event.type in {EventType.MESSAGE, EventType.TOOL_CALL}


def is_question(event: AnyEvent) -> bool:
    """Whether an event is a message of the user."""
    return event.type == EventType.MESSAGE and event.source == EventSource.USER


def replaced_by(event: AnyEvent) -> str | None:
    """The id of the part that an answer replaces; `None` of any other event."""
    replaced = event.metadata.get(REPLACES) if event.source == EventSource.LLM else None
    return replaced if isinstance(replaced, str) else None


class Paths:
    """All messages as a tree, and the current path through it.

    Args:
        events: a conversation's events, or the newest of them, in the order in which they were stored.
        is_whole: whether there are no earlier events. If there are, questions that depend on them raise
            `EarlierNeededError`.
    """

    def __init__(self, events: Sequence[AnyEvent] = (), *, is_whole: bool = True) -> None:
        self.is_whole = is_whole
        self.root: str | None = None if is_whole else _EARLIER
        """What the path begins after: `None` for the beginning, or an event that was not given."""
        self._events: list[AnyEvent] = []
        self._said: dict[str, AnyEvent] = {}
        self._follows: dict[str, str | None] = {}
        self._path: list[str] = []
        self._is_on_path: set[str] = set()
        # The ends of paths before choices, and the places of late answers that are not on the path.
        self._ends: list[str | None] = []
        self._changed: dict[str, bool] = {}  # whether a message was retracted, or restored
        self._calls: dict[str, list[str]] = {}
        self._linked: dict[str, str] = {}
        self._replacing: dict[str, str] = {}
        # For retracted messages: the others that were retracted too, and the path's earlier end if it moved.
        self._retracted_by: dict[str, tuple[Sequence[str], str | None]] = {}
        for event in events:
            self.take(event)

    # -- growing --------------------------------------------------------------------------------

    def take(self, event: AnyEvent) -> None:
        """Add the next event of the log."""
        choice = choice_in(event)
        if choice is not None:
            self._take_choice(choice)
            return
        self._events.append(event)
        if is_said(event) and event.id not in self._said:
            self._say(event)

    def _take_choice(self, choice: Choice) -> None:
        for event_id in choice.retracted:
            self._changed[event_id] = True
            self._retracted_by[event_id] = choice.retracted, self.end if choice.moves else None
        for event_id in choice.restored:
            if self._changed.pop(event_id, None) is None:
                self._changed[event_id] = False  # it was retracted before these events
        if not choice.moves:
            return
        self._ends.append(self.end)
        self._go_to(choice.after)

    def _go_to(self, place: str | None) -> None:
        if place in self._is_on_path:
            while self._path[-1] != place:
                self._is_on_path.discard(self._path.pop())
            return
        self.root, self._path = self._way_to(place)
        self._is_on_path = set(self._path)

    def _say(self, event: AnyEvent) -> None:
        self._said[event.id] = event
        if (replaced := replaced_by(event)) is not None:
            self._replacing[replaced] = event.id
        link = self._link_of(event)
        if link is not None:
            self._linked[event.id] = link
        if link in self._said and link not in self._is_on_path:  # a late answer, of another path
            self._follows[event.id] = self._last_end_after(link)
            self._ends.append(event.id)
        else:
            self._follows[event.id] = self.end
            self._path.append(event.id)
            self._is_on_path.add(event.id)
        for call in calls_of(event.message) if event.source == EventSource.LLM else ():
            self._calls.setdefault(str(call.get("id")), []).append(event.id)

    def _link_of(self, event: AnyEvent) -> str | None:
        """What an event belongs to, wherever it stands in the log: its question, or its call."""
        if event.type == EventType.TOOL_CALL:
            calls = self._calls.get(call_id_of(event) or "", [])
            asked = next((each for each in reversed(calls) if each in self._is_on_path), None)
            asked = asked or (calls[-1] if calls else None)
            if asked is not None:
                calls.remove(asked)
            return asked
        if event.source != EventSource.LLM:
            return None
        return replaced_by(event) or event.parent_event_id

    # -- the path -------------------------------------------------------------------------------

    @property
    def end(self) -> str | None:
        """The event that the next message will follow."""
        return self._path[-1] if self._path else self.root

    def _way_to(self, place: str | None) -> tuple[str | None, list[str]]:
        """What the path to a place begins after, and the events on the path."""
        way: list[str] = []
        while place in self._said:
            way.append(place)
            place = self._follows[place]
        if place is not None and place != _EARLIER and self.is_whole:
            place = None  # the application removed that event
        return place, way[::-1]

    def way_to(self, event_id: str) -> list[str]:
        """The ids of a message and of the messages on the path to it, without retracted ones."""
        return [each for each in self._way_to(event_id)[1] if not self._changed.get(each, False)]

    def _last_end_after(self, event_id: str) -> str:
        """The last end of a path that an event was on."""
        for end in [self.end, *reversed(self._ends)]:
            if end is not None and event_id in self._way_to(end)[1]:
                return end
        return event_id

    def held(self) -> list[AnyEvent]:
        """The events on the path, as far as these events tell, including notes and summaries."""
        return [event for event in self._events if not is_said(event) or self.holds(event.id)]

    def passed(self) -> list[AnyEvent]:
        """The same, including retracted messages."""
        return [event for event in self._events if not is_said(event) or event.id in self._is_on_path]

    def __contains__(self, event_id: object) -> bool:
        return event_id in self._said

    def said(self, event_id: str, operation: str) -> AnyEvent:
        """A message, or a tool's result, once it is known whether it holds.

        Raises:
            InvalidInput: the conversation has no such message.
            EarlierNeededError: earlier events decide on it.
        """
        event = self._known(event_id, operation)
        self.chosen()
        return event

    def holds(self, event_id: str) -> bool:
        """Whether a message is on the path, and was not retracted."""
        return event_id in self._is_on_path and not self._changed.get(event_id, False)

    def off(self) -> set[str]:
        """The ids of the messages and results that are not on the path."""
        return {event_id for event_id in self._said if not self.holds(event_id)}

    def off_way_to(self, event_id: str) -> set[str]:
        """The ids of the messages and results that are not on the path to a message."""
        return self._said.keys() - self.way_to(event_id)

    def all_said(self) -> Iterable[str]:
        """The ids of all messages and results."""
        return self._said.keys()

    def passes(self, place: str | None) -> bool:
        """Whether the path leads through a place, even if the message there was retracted."""
        return place == self.root or place in self._is_on_path

    def chosen(self) -> list[AnyEvent]:
        """The events on the path.

        Raises:
            EarlierNeededError: it depends on earlier events.
        """
        if not self.is_whole:
            if self.root not in {None, _EARLIER} or not self._changed.keys() <= self._said.keys():
                raise EarlierNeededError
            if not {self._linked[each] for each in self._path if each in self._linked} <= self._said.keys():
                raise EarlierNeededError  # whether that question is on the path, and so its answer
        return self.held()

    # -- second thoughts ------------------------------------------------------------------------

    def before_last_question(self) -> tuple[str, Choice]:
        """The user's last message on the path, and the choice of the place before it.

        Answers to earlier questions stay, even if they came after that message.

        Raises:
            InvalidInput: there is no such message.
            EarlierNeededError: it depends on earlier events.
        """
        held = [event for event in self.chosen() if is_said(event)]
        asked = next((at for at in reversed(range(len(held))) if is_question(held[at])), None)
        if asked is None:
            if self.root is not None:
                raise EarlierNeededError
            raise InvalidInput("undo", "no message of the user is left to take back")
        gone = {held[asked].id}
        for event in held[asked + 1 :]:
            if self._linked.get(event.id, held[asked].id) in gone:
                gone.add(event.id)
        kept = [event.id for event in held if event.id not in gone]
        return held[asked].id, self._choice_of(kept[-1] if kept else self.root, gone)

    def beginning(self) -> Choice | None:
        """The choice of the conversation's beginning, after which no message is on the path.

        `None` if the path is empty already.

        Raises:
            EarlierNeededError: it depends on earlier events what this takes away.
        """
        if self.root is not None:
            raise EarlierNeededError
        return self._choice_of(None, set()) if self._path else None

    def without(self, event_id: str, operation: str = "retract") -> Choice:
        """The choice that takes one message off the path; the results of a call go with it.

        Raises:
            InvalidInput: the event is not a message on the path.
            EarlierNeededError: it depends on earlier events.
        """
        self._known(event_id, operation)
        held = self.chosen()
        if not self.holds(event_id):
            raise InvalidInput(operation, "the message is not on the path: it was taken back before")
        gone = dict.fromkeys(self.parts_of(event_id))
        for turn in turns_of(held):
            if turn.event.id in gone:
                gone |= dict.fromkeys(each.event.id for each in turn.results if each.event is not None)
        return self._counted(Choice(retracted=list(gone)), held)

    def before(self, event_id: str, operation: str) -> Choice | None:
        """The choice of a message's place; `None` if the path ends there already.

        Raises:
            InvalidInput: the conversation has no such message.
            EarlierNeededError: it depends on earlier events.
        """
        self._known(event_id, operation)
        self.chosen()
        return self.to(self._place_of(self.parts_of(event_id)[0]))

    def to(self, place: str | None) -> Choice | None:
        """The choice of a place; `None` where the path ends there already.

        Raises:
            EarlierNeededError: earlier events decide on it.
        """
        return None if place == self.end else self._choice_of(place, set())

    def fork(self, event_id: str | None) -> tuple[AnyEvent, Choice]:
        """A message on the path, by default the last one, and the choice of the place after it.

        Raises:
            InvalidInput: the event is not a message on the path.
            EarlierNeededError: it depends on earlier events.
        """
        held = [event for event in self.chosen() if is_said(event)]
        if event_id is None:
            if held:
                event_id = held[-1].id
            elif self.root is not None:
                raise EarlierNeededError
            else:
                raise InvalidInput("fork", "there is no message with which a new conversation could begin")
        self._known(event_id, "fork")
        if not self.holds(event_id):
            raise InvalidInput("fork", "the message is not on the path: choose it first")
        last = self.parts_of(event_id)[-1]
        out = [each for each, is_out in self._changed.items() if is_out]
        return self._said[last], Choice(moves=True, after=last, retracted=out)

    def variants(self, event_id: str, operation: str = "variants") -> list[AnyEvent]:
        """The messages of the same role at the same place, in the order in which they were recorded.

        Raises:
            InvalidInput: the conversation has no such message.
            EarlierNeededError: it depends on earlier events.
        """
        said = self._known(event_id, operation)
        place = self._place_of(self.parts_of(event_id)[0])
        if place not in self._said and not self.is_whole:
            raise EarlierNeededError
        whole = {self.parts_of(each)[0]: self._said[each] for each in self._said}
        return [
            event
            for first, event in whole.items()
            if self._place_of(first) == place and (event.type, event.source) == (said.type, said.source)
        ]

    def back_to(self, event_id: str) -> Choice | None:
        """The choice of the path that a variant was last on; `None` if it is on the path.

        Raises:
            InvalidInput: the message is not a variant of one on the path.
            EarlierNeededError: it depends on earlier events.
        """
        has_variants = len(self.variants(event_id, "choose")) > 1
        first, held = self.parts_of(event_id)[0], self.chosen()
        place, is_on_path = self._place_of(first), first in self._is_on_path
        if self._changed.get(first, False):  # it was retracted, or an undo had to leave it out
            together, end = self._retracted_by.get(first, ([first], None))
            moves = is_on_path and end is not None
            end = end if moves or is_on_path else self._last_end_after(first)
            choice = Choice(moves or not is_on_path, end, restored=together)
            return self._counted(choice, held)
        if is_on_path:
            if has_variants:
                return None
            raise InvalidInput("choose", "the message has no variants: it is the only one at its place")
        if not self.passes(place):
            reason = "the message is not a variant of one on the path: first choose the one that it follows"
            raise InvalidInput("choose", reason)
        return self._counted(Choice(moves=True, after=self._last_end_after(first)), held)

    def _known(self, event_id: str, operation: str) -> AnyEvent:
        """A message, or a tool's result, by its id."""
        if event_id in self._said:
            return self._said[event_id]
        if not self.is_whole:
            raise EarlierNeededError
        raise InvalidInput(operation, "the conversation has no message with this event id")

    def parts_of(self, event_id: str) -> list[str]:
        """The parts of an answer that was stored in part, and then whole, the first one first."""
        first, seen = event_id, {event_id}
        while (part := replaced_by(self._said[first])) is not None and part not in seen:
            if part not in self._said:
                if not self.is_whole:
                    raise EarlierNeededError
                break
            first = part
            seen.add(part)
        parts = [first]
        while (later := self._replacing.get(parts[-1])) is not None and later not in parts:
            parts.append(later)
        return parts

    def _place_of(self, event_id: str) -> str | None:
        """What a message follows; for a late answer, its question."""
        place, link = self._follows[event_id], self._linked.get(event_id)
        if link not in self._said or not is_question(self._said[link]):
            return place
        asked = place
        while asked in self._said and not is_question(self._said[asked]):
            asked = self._follows[asked]
        return place if asked == link else link

    def _choice_of(self, place: str | None, gone: set[str]) -> Choice:
        """The choice of a place, from the path to which some events are left out."""
        if place == _EARLIER:
            raise EarlierNeededError
        out = [each for each in self._way_to(place)[1] if each in gone]
        return self._counted(Choice(moves=True, after=place, retracted=out), self.held())

    def _counted(self, choice: Choice, held: Sequence[AnyEvent]) -> Choice:
        """A choice with the changes of the path's totals."""
        then = self._after(choice)
        adds = sums_of(then)
        for name, count in sums_of(held).items():
            adds[name] -= count
        return Choice(
            choice.moves,
            choice.after,
            choice.retracted,
            choice.restored,
            {name: count for name, count in adds.items() if count},
        )

    def _after(self, choice: Choice) -> list[AnyEvent]:
        """The events on the path after a choice."""
        place = choice.after if choice.moves else self.end
        root, way = self._way_to(place)
        if root != self.root and not self.is_whole:
            raise EarlierNeededError  # one of the two paths has events before these
        kept = {each for each in way if not self._changed.get(each, False)}
        kept = (kept - set(choice.retracted)) | (set(choice.restored) & set(way))
        return [event for event in self._events if event.id in kept]


def sums_of(events: Sequence[AnyEvent]) -> dict[str, int]:
    """What messages add to the totals of the path: content tokens, and counts by name."""
    totals, said = SessionTotals(), [event for event in events if is_said(event)]
    for event in said:
        totals.count(event)
    return {"tokens": tokens_of(said)} | {name: getattr(totals, name) for name in COUNTED_ON_PATH}
