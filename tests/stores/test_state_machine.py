"""Any sequence of what one does to a store, against lists and dicts that do the same: on each store alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from places import InMemory, Place, in_memory_too
from talks import Talk

from chuk_ai_session_manager import Session, SessionEvent, SessionManager, stream_llm_call
from chuk_ai_session_manager.exceptions import (
    EventConflict,
    InvalidInput,
    InvalidSessionOperation,
    SessionAlreadyExists,
    SessionNotFound,
)
from chuk_ai_session_manager.models import EventSource, EventType, TokenUsage
from chuk_ai_session_manager.stores import EventStore, MemoryStore
from chuk_ai_session_manager.testing.bodies import picture

T = TypeVar("T")

IDS = st.sampled_from(["a", "b", "ü{}:*"])
PIECES = st.sampled_from(["one ", "two ", "three"])
REDACTED = "[redacted]"
TEXTS = st.sampled_from(["hello", "", "好的 ✓", "{}", "\n"])


def picture_part(number: int) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture(number, 50)}"}}


class Telling:
    """A conversation whose answers stream: each question with what has come of its answer."""

    def __init__(self) -> None:
        self.exchanges: list[list[str]] = []

    def ask(self, text: str) -> list[str]:
        self.exchanges.append([text])
        return self.exchanges[-1]

    @property
    def told(self) -> list[str]:
        return [text for exchange in self.exchanges for text in exchange]


class Streaming:
    """A stream that is being read, by a manager and store of its own, and what was stored of its answer."""

    def __init__(self, store: EventStore, exchange: list[str], pieces: list[str]) -> None:
        self.store = store
        self.sm = SessionManager("streams", store=store, infinite_context=True, max_turns_per_segment=3)
        self.exchange, self.pieces, self.came = exchange, pieces, 0
        self.stream = stream_llm_call(exchange[0], self.model, session_manager=self.sm)
        self._reading = aiter(self.stream)

    async def model(self, _: Any) -> AsyncIterator[str]:
        for piece in self.pieces:
            yield piece

    async def read(self) -> bool:
        """Read a piece; whether there was one, or the answer is whole now."""
        piece = await anext(self._reading, None)
        self.came += piece is not None
        if piece is None:
            self.exchange[1:] = ["".join(self.pieces)]
        return piece is not None

    async def close(self) -> None:
        await self.stream.aclose()
        await self.store.close()

    def is_stored(self) -> None:
        """What came so far stands beside its question."""
        if self.came:
            self.exchange[1:] = ["".join(self.pieces[: self.came])]


class StoreMachine(RuleBasedStateMachine):
    """Two openings of one place, used in turn, as two processes would."""

    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.here = self.place.fresh()
        self.stores: list[EventStore] = [self.here.store(), self.here.store()]
        self.model: dict[str, list[SessionEvent[Any]]] = {}
        self.talks: dict[str, Talk] = {}
        self.states: dict[str, dict[str, int]] = {}
        self.owners: dict[str, str] = {}
        self.telling = Telling()
        self.streams: list[Streaming] = []

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    def teardown(self) -> None:
        for streaming in self.streams:
            self.do(streaming.close())
        for store in self.stores:
            self.do(store.close())
        self.loop.close()

    @rule(session_id=IDS, which=st.integers(0, 1))
    def create(self, session_id: str, which: int) -> None:
        work = self.stores[which].create(Session(id=session_id))
        if session_id in self.model:
            with pytest.raises(SessionAlreadyExists):
                self.do(work)
        else:
            self.do(work)
            self.model[session_id] = []

    @rule(session_id=IDS, which=st.integers(0, 1), texts=st.lists(TEXTS, min_size=1, max_size=3))
    def append(self, session_id: str, which: int, texts: list[str]) -> None:
        events: list[SessionEvent[Any]] = [
            SessionEvent(message=text, source=EventSource.USER) for text in texts
        ]
        store = self.stores[which]
        if session_id not in self.model:
            with pytest.raises(SessionNotFound):
                self.do(store.append(Session(id=session_id), events))
            return
        session = self.do(store.head(session_id))
        assert session is not None
        assert self.do(store.append(session, events))
        self.model[session_id] += events

    @precondition(lambda self: any(self.model.values()))
    @rule(which=st.integers(0, 1), data=st.data())
    def append_again(self, which: int, data: st.DataObject) -> None:
        """A retry changes nothing; the same id with other content is refused."""
        session_id = data.draw(st.sampled_from(sorted(key for key, events in self.model.items() if events)))
        event = data.draw(st.sampled_from(self.model[session_id]))
        session = self.do(self.stores[which].head(session_id))
        assert session is not None
        assert self.do(self.stores[which].append(session, [event.model_copy(deep=True)]))
        other = event.model_copy(update={"message": f"{event.message} changed"})
        with pytest.raises(EventConflict):
            self.do(self.stores[which].append(session, [other]))

    @rule(session_id=IDS, which=st.integers(0, 1))
    def delete(self, session_id: str, which: int) -> None:
        self.do(self.stores[which].delete(session_id))
        self.model.pop(session_id, None)

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.do(self.stores[which].close())
        self.stores[which] = self.here.store()

    @rule(talk=st.sampled_from(["talk1", "talk2"]), which=st.integers(0, 1), text=TEXTS)
    def say(self, talk: str, which: int, text: str) -> None:
        sm = SessionManager(talk, store=self.stores[which], infinite_context=True, max_turns_per_segment=2)
        self.do(sm.user_says(text))
        self.talks.setdefault(talk, Talk()).say(text)

    @precondition(lambda self: bool(self.talks))
    @rule(which=st.integers(0, 1), text=TEXTS, data=st.data())
    def say_by_an_old_id(self, which: int, text: str, data: st.DataObject) -> None:
        """Whichever segment's id it is, and without saying how the conversation was made."""
        talk = data.draw(st.sampled_from(sorted(self.talks)))
        session_id = data.draw(st.sampled_from(self.do(self.stores[which].segment_ids(talk))))
        self.do(SessionManager(session_id, store=self.stores[which]).user_says(text))
        self.talks[talk].say(text)

    @precondition(lambda self: bool(self.talks))
    @rule(which=st.integers(0, 1), own_id=st.sampled_from(["k", "ü#1"]), text=TEXTS, data=st.data())
    def say_with_an_id_of_ones_own(self, which: int, own_id: str, text: str, data: st.DataObject) -> None:
        """The same again is there already, however long ago and on the path or off it; else is refused."""
        talk = data.draw(st.sampled_from(sorted(self.talks)))
        session_id = data.draw(st.sampled_from(self.do(self.stores[which].segment_ids(talk))))
        work = SessionManager(session_id, store=self.stores[which]).user_says(text, event_id=own_id)
        known = self.talks[talk].by_own_id
        if known.get(own_id, text) not in {text, None}:
            with pytest.raises(EventConflict):
                self.do(work)
            return
        self.do(work)
        if own_id not in known:
            known[own_id] = text
            self.talks[talk].say(text)
            self.talks[talk].at_own_id[own_id] = len(self.talks[talk].texts) - 1

    @precondition(lambda self: bool(self.talks))
    @rule(which=st.integers(0, 1), text=TEXTS, data=st.data())
    def have_second_thoughts(self, which: int, text: str, data: st.DataObject) -> None:
        """By any segment's id: what holds is then another path through the same log."""
        talk = data.draw(st.sampled_from(sorted(self.talks)))
        model = self.talks[talk]
        session_id = data.draw(st.sampled_from(self.do(self.stores[which].segment_ids(talk))))
        sm = SessionManager(session_id, store=self.stores[which])
        rows = self.do(sm.get_conversation(with_ids=True))
        at = data.draw(st.integers(0, len(model.texts) - 1))
        match data.draw(st.sampled_from(["undo", "retract", "clear", "edit", "choose"])):
            case "clear":
                self.do(sm.clear())
                model.go_to(None)
            case "edit":
                model.go_to(model.follows[at])
                model.say(text)
                edited = self.do(sm.edit(self.id_of(talk, at), text))
                assert edited == self.id_of(talk, len(model.texts) - 1)
            case "choose":
                self.choose(sm, talk, at)
            case "undo" if not model.path:
                with pytest.raises(InvalidInput):
                    self.do(sm.undo())
            case "undo":
                assert self.do(sm.undo()) == rows[-1]["event_id"]
                model.undo()
            case "retract" if at in model.path:
                self.do(sm.retract(self.id_of(talk, at)))
                model.out.add(at)
                with pytest.raises(InvalidInput):
                    self.do(sm.retract(self.id_of(talk, at)))
        model.has_choices = True

    def choose(self, sm: SessionManager, talk: str, at: int) -> None:
        model = self.talks[talk]
        alike = [each for each, before in enumerate(model.follows) if before == model.follows[at]]
        variants = self.do(sm.variants(self.id_of(talk, at)))
        assert [row["content"] for row in variants] == [model.texts[each] for each in alike]
        assert [row["is_chosen"] for row in variants] == [each in model.path for each in alike]
        before, way = model.follows[at], model.way_to(model.place)
        is_open = at in model.out or (before is None or before in way if at not in way else len(alike) > 1)
        if not is_open:
            with pytest.raises(InvalidInput):
                self.do(sm.choose(self.id_of(talk, at)))
            return
        self.do(sm.choose(self.id_of(talk, at)))
        model.out.discard(at)
        model.go_to(next(end for end in [model.place, *reversed(model.ends)] if at in model.way_to(end)))

    def id_of(self, talk: str, at: int) -> str:
        """The event's id of a message, by the log."""
        return self.do(self.event_ids(talk))[at]

    async def event_ids(self, talk: str) -> list[str]:
        found: list[str] = []
        for session_id in await self.stores[0].segment_ids(talk):
            session = await self.stores[0].get(session_id)
            assert session is not None
            found += [event.id for event in session.events if event.type == EventType.MESSAGE]
        return found

    @precondition(lambda self: bool(self.talks))
    @rule(which=st.integers(0, 1), key=st.sampled_from("xy"), data=st.data())
    def change_state(self, which: int, key: str, data: st.DataObject) -> None:
        """By `update_state`, or by saving an object of any segment."""
        talk = data.draw(st.sampled_from(sorted(self.talks)))
        session_id = data.draw(st.sampled_from(self.do(self.stores[which].segment_ids(talk))))
        state = self.states.setdefault(talk, {})
        if data.draw(st.booleans()):
            sm = SessionManager(session_id, store=self.stores[which])
            self.do(sm.update_state(lambda stored: stored.update({key: stored.get(key, 0) + 1})))
            state[key] = state.get(key, 0) + 1
            return
        session = self.do(self.stores[which].get(session_id))
        assert session is not None
        if data.draw(st.booleans()):
            session.state.pop(key, None)
            state.pop(key, None)
        else:
            session.state[key] = state[key] = 7
        self.do(self.stores[which].save(session))

    @precondition(lambda self: bool(self.talks))
    @rule(which=st.integers(0, 1), user=st.sampled_from(["ada", "bob"]), data=st.data())
    def claim(self, which: int, user: str, data: st.DataObject) -> None:
        talk = data.draw(st.sampled_from(sorted(self.talks)))
        session_id = data.draw(st.sampled_from(self.do(self.stores[which].segment_ids(talk))))
        work = SessionManager(session_id, store=self.stores[which]).claim(user)
        if self.owners.setdefault(talk, user) == user:
            self.do(work)
        else:
            with pytest.raises(InvalidSessionOperation):
                self.do(work)

    @rule(pieces=st.lists(PIECES, min_size=1, max_size=3))
    def begin_a_stream(self, pieces: list[str]) -> None:
        exchange = self.telling.ask(f"Question {len(self.telling.exchanges)}")
        streaming = Streaming(self.here.store(), exchange, pieces)
        self.do(streaming.read())
        self.streams.append(streaming)

    @precondition(lambda self: bool(self.streams))
    @rule(data=st.data())
    def read_on(self, data: st.DataObject) -> None:
        streaming = data.draw(st.sampled_from(self.streams))
        if not self.do(streaming.read()):
            self.streams.remove(streaming)
            self.do(streaming.close())

    @precondition(lambda self: bool(self.streams))
    @rule(data=st.data())
    def leave_a_stream(self, data: st.DataObject) -> None:
        streaming = data.draw(st.sampled_from(self.streams))
        self.streams.remove(streaming)
        self.do(streaming.close())
        streaming.is_stored()

    @precondition(lambda self: bool(self.streams))
    @rule(data=st.data())
    def ask_beside_a_stream(self, data: st.DataObject) -> None:
        """By the manager that is reading: what came is in the next question's context."""
        streaming = data.draw(st.sampled_from(self.streams))
        streaming.is_stored()
        text = self.telling.ask(f"Question {len(self.telling.exchanges)}")[0]
        self.do(streaming.sm.user_says(text))

    @rule(which=st.integers(0, 1))
    def ask_elsewhere(self, which: int) -> None:
        """By a manager that knows of no stream."""
        text = self.telling.ask(f"Question {len(self.telling.exchanges)}")[0]
        sm = SessionManager("streams", store=self.stores[which], infinite_context=True)
        self.do(sm.user_says(text))

    @precondition(lambda self: bool(self.talks))
    @rule(which=st.integers(0, 1), data=st.data())
    def redact(self, which: int, data: st.DataObject) -> None:
        """The words go, on the path or off it; the tokens and the path stay."""
        talk = data.draw(st.sampled_from(sorted(self.talks)))
        model = self.talks[talk]
        at = data.draw(st.integers(0, len(model.texts) - 1))
        session_id = data.draw(st.sampled_from(self.do(self.stores[which].segment_ids(talk))))
        sm = SessionManager(session_id, store=self.stores[which])
        event_id = self.id_of(talk, at)
        assert self.do(sm.redact(event_id)).events == 1
        model.texts[at] = REDACTED
        for own_id in [own_id for own_id in model.by_own_id if model.at_own_id[own_id] == at]:
            model.by_own_id[own_id] = None  # nobody knows any more which words these were

    @rule(talk=st.sampled_from(["talk1", "talk2"]), which=st.integers(0, 1), erases=st.booleans())
    def forget(self, talk: str, which: int, *, erases: bool) -> None:
        store = self.stores[which]
        if erases:
            deleted = len(self.do(store.erase_conversation(talk)).sessions)
        else:
            deleted = self.do(store.delete_conversation(talk))
        said = self.talks.pop(talk, Talk())
        self.states.pop(talk, None)
        self.owners.pop(talk, None)
        assert said.has_choices or deleted == (len(said.texts) + 1) // 2

    @rule(user=st.sampled_from(["ada", "bob"]), which=st.integers(0, 1))
    def erase_user(self, user: str, which: int) -> None:
        receipt = self.do(self.stores[which].erase_user(user))
        gone = {talk for talk, owner in self.owners.items() if owner == user}
        assert set(receipt.conversations) == gone
        for talk in gone:
            del self.talks[talk], self.owners[talk]
            self.states.pop(talk, None)

    @rule(session_id=IDS, which=st.integers(0, 1), number=st.integers(0, 2))
    def append_picture(self, session_id: str, which: int, number: int) -> None:
        """One of three, so that events of several sessions have the same; some are edited away."""
        store = self.stores[which]
        session = self.do(store.get(session_id))
        if session is None:
            return
        event: SessionEvent[Any] = SessionEvent(
            message={"role": "user", "content": [picture_part(number)]}, source=EventSource.USER
        )
        assert self.do(store.append(session, [event]))
        self.model[session_id].append(event.model_copy(deep=True))
        if number == 2:
            session.events[-1] = self.model[session_id][-1] = event.model_copy(update={"message": "edited"})
            self.do(store.save(session))

    @invariant()
    def all_is_as_it_was_said(self) -> None:
        for number, store in enumerate(self.stores):
            for session_id in ("a", "b", "ü{}:*"):
                session = self.do(store.get(session_id))
                assert (session is None) == (session_id not in self.model), number
                if session is not None:
                    assert [(event.id, event.message) for event in session.events] == [
                        (event.id, event.message) for event in self.model[session_id]
                    ]
                    assert session.totals.user_messages == len(session.events)
            if self.telling.exchanges:
                sm = SessionManager("streams", store=store)
                rows = self.do(sm.get_conversation(include_all_segments=True))
                assert [row["content"] for row in rows] == self.telling.told
            for talk, said in self.talks.items():
                self.do(self.check_talk(store, talk, said))
                self.do(self.check_shared(store, talk))

    async def check_shared(self, store: EventStore, talk: str) -> None:
        """State and owner are the same by every segment's id."""
        owner = self.owners.get(talk)
        for session_id in await store.segment_ids(talk):
            session = await store.get(session_id)
            assert session is not None
            assert (session.state, session.user_id) == (self.states.get(talk, {}), owner)
            stranger = SessionManager(session_id, store=store, user_id="eve")
            with pytest.raises(SessionNotFound):
                await stranger.get_state()
            if owner is not None:
                mine = SessionManager(session_id, store=store, user_id=owner)
                assert await mine.get_state() == session.state

    @staticmethod
    async def check_talk(store: EventStore, talk: str, said: Talk) -> None:
        sm = SessionManager(talk, store=store, infinite_context=True, create=False)
        held, counted = ([texts[at] for at in said.path] for texts in (said.texts, said.counted))
        assert [row["content"] for row in await sm.get_conversation()] == held
        newest = await sm.get_conversation(limit=2)
        assert [row["content"] for row in newest] == held[-2:]
        stats = await sm.get_stats()
        assert stats["total_messages"] == len(held)
        assert stats["total_tokens"] == sum(
            [await TokenUsage.count_tokens(text, sm.model) for text in counted]
        )
        assert said.has_choices or stats["session_segments"] == (len(said.texts) + 1) // 2
        for session_id in stats["session_chain"][:-1]:
            segment = await store.get(session_id)
            assert segment is not None
            assert len(segment.child_ids) == 1
            assert sum(event.type == EventType.SUMMARY for event in segment.events) == 1


def try_out(machine: type[StoreMachine], *, examples: int = 25, explain: bool = True) -> None:
    phases = settings().phases if explain else [Phase.generate]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


@in_memory_too
def test_any_sequence(place: Place) -> None:
    try_out(type("Machine", (StoreMachine,), {"place": place}))


class BlindStore(MemoryStore):
    """Known to be bad: it appends whatever it gets, however often."""

    async def append(
        self, session: Session[Any], events: Sequence[SessionEvent[Any]], *, only_if_current: bool = False
    ) -> bool:
        live = self._live(session)
        live.events.extend(event.model_copy() for event in events)
        return True


class InBlindMemory(InMemory):
    def __init__(self) -> None:
        super().__init__()
        self._memory = BlindStore()


class BlindMachine(StoreMachine):
    place = InBlindMemory()


def test_a_store_that_retries_blindly_is_caught() -> None:
    with pytest.raises((AssertionError, EventConflict, pytest.fail.Exception)):
        try_out(BlindMachine, examples=1_000, explain=False)
