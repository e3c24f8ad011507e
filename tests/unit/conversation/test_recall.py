"""Recall through a manager: what is found, what it comes to, and what an application brings."""

from __future__ import annotations

import asyncio
import gc
import sys
from array import array
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from weakref import ref

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager import SessionManager, TokenUsage
from chuk_ai_session_manager.conversation.recall import keeping
from chuk_ai_session_manager.conversation.recall.hooks import _cosines
from chuk_ai_session_manager.exceptions import InvalidInput, SessionNotFound
from chuk_ai_session_manager.models import EventSource, SessionEvent
from chuk_ai_session_manager.stores import MemoryStore

MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)


def manager(session_id: str = "talk", **settings: Any) -> SessionManager:
    settings.setdefault("store", MemoryStore())
    return SessionManager(session_id, infinite_context=True, model="gpt-4o", **settings)


async def say(sm: SessionManager, *texts: str) -> None:
    for text in texts:
        await sm.user_says(text)
        await sm.ai_responds("I see.", model="gpt-4o")


async def texts(sm: SessionManager, question: str, **options: Any) -> list[str]:
    return [turn.text for turn in await sm.recall(question, **options)]


async def test_a_recalled_turn_has_its_speaker_time_and_segment() -> None:
    sm = manager()
    await sm.user_says("Rex loves carrots.", name="Ann")
    await say(sm, *(f"Filler number {n}" for n in range(40)))
    found = await sm.recall("What does Rex love?")
    best = found.turns[0]
    row = (await sm.get_conversation(with_ids=True))[0]
    assert (best.event_id, best.session_id) == (row["event_id"], "talk")
    assert (best.time.isoformat(), best.speaker, best.text) == (row["timestamp"], "Ann", "Rex loves carrots.")
    assert best.score == max(turn.score for turn in found)
    assert found.tokens == await TokenUsage.count_tokens(found.text, "gpt-4o") <= 2_000
    assert len(found) == len(found.turns)
    assert "carrots" not in repr(found) + repr(best)  # logs stay clean of what people said


async def test_excerpts_are_dated_and_in_the_order_in_which_they_were_said() -> None:
    sm = manager()
    with time_machine.travel(MONDAY, tick=False) as clock:
        await say(sm, "The boat is blue.")
        clock.shift(timedelta(days=2))
        await say(sm, "Now the boat is red.", "The weather is fine.")
    found = await sm.recall("Which colour has the boat?")
    lines = found.text.splitlines()
    assert lines[:2] == ["[Mon 2 Mar 2026]", "user: The boat is blue."]
    assert lines.index("[Wed 4 Mar 2026]") < lines.index("user: Now the boat is red.")


async def test_dates_count_from_the_time_of_the_question() -> None:
    sm = manager()
    with time_machine.travel(MONDAY, tick=False) as clock:
        for day in range(14):
            clock.move_to(MONDAY + timedelta(days=day))
            await say(sm, f"Today I ran {day + 3} miles.")
        clock.move_to(MONDAY + timedelta(days=14))
        assert await texts(sm, "How many miles did I run last Tuesday?", limit=1) == ["Today I ran 11 miles."]
        assert await texts(sm, "What did I run on 2 March?", limit=1) == ["Today I ran 3 miles."]


async def broken(*_: Any) -> Any:
    raise ValueError("secret words")


@pytest.mark.parametrize("max_tokens", [1, 15, 30, 60, 300])
async def test_no_more_tokens_than_asked_for_and_no_more_turns(max_tokens: int) -> None:
    sm = manager()
    await say(sm, *(f"Boat {n} is in the harbour of town {n}, {'very ' * n}far away." for n in range(30)))
    found = await sm.recall("Which boat is in the harbour?", max_tokens=max_tokens)
    assert found.tokens == await TokenUsage.count_tokens(found.text, "gpt-4o") <= max_tokens
    assert len(await sm.recall("boat", limit=2)) == 2


async def test_of_a_long_turn_the_passages_that_matter_are_recalled() -> None:
    sm = manager()
    filler = "Nothing of note was seen in the north that day by anyone at all. " * 12
    await sm.user_says("Tell me of your journey.")
    await sm.ai_responds(f"{filler}The zeppelin burnt in Ulm. {filler}", model="gpt-4o")
    [text] = [turn.text for turn in await sm.recall("zeppelin", limit=1, max_tokens=200)]
    assert "The zeppelin burnt in Ulm." in text
    assert text.startswith("… ")
    assert text.endswith(" …")
    assert len(text) < 600


async def test_tool_results_are_recalled_by_the_part_that_matters() -> None:
    sm = manager()
    await sm.user_says("Find me a flight.")
    flights = [
        {"flight": f"HAT{n:03}", "price": 100 + n, "seats": ["economy", "business"]} for n in range(100)
    ]
    await sm.tool_used("search_flights", {"from": "JFK"}, flights)
    found = (await sm.recall("Which price has HAT083?", max_tokens=4_000)).turns
    results = [turn for turn in found if turn.speaker.startswith("search_flights(")]
    assert len(results) == 1
    assert len(results[0].text) < 600


async def test_the_part_of_an_answer_is_not_recalled_beside_the_whole() -> None:
    store = MemoryStore()
    sm = manager(store=store)
    await sm.user_says("Go on.")
    part = SessionEvent(message="The zeppelin", source=EventSource.LLM)
    session = await store.get("talk")
    assert session is not None
    await store.append(session, [part])
    whole = SessionEvent(message="The zeppelin is in Ulm.", source=EventSource.LLM)
    whole.metadata["replaces_event_id"] = part.id
    await store.append(session, [whole])
    assert [text for text in await texts(sm, "zeppelin") if "zepp" in text] == ["The zeppelin is in Ulm."]


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("Wann ist der Termin beim Zahnarzt?", 0),
        ("Wohin fahren wir in den Sommerferien?", 1),
        ("Welche Nussallergie habe ich?", 2),
        ("Wo sind die Schlüssel?", 3),
    ],
)
async def test_compound_words_are_found_by_their_parts_and_parts_by_compounds(
    question: str, found: int
) -> None:
    said = [
        "Die Zahnarzttermine sind am Montag um neun.",
        "Wir fahren im Sommer nach Kroatien.",
        "Ich habe eine Allergie gegen Nüsse.",
        "Der Haustürschlüssel liegt unter der Matte.",
    ]
    sm = manager()
    for text in said:
        await sm.user_says(text)
    assert (await sm.recall(question, limit=1)).turns[0].text == said[found]


async def test_a_mistyped_question_finds_what_was_said_also_if_it_is_recorded() -> None:
    sm = manager()
    await say(sm, "We went to the festival in June.", "My dog is called Rex.")
    assert (await sm.recall("Which fesetival?", limit=1)).turns[0].text == "We went to the festival in June."
    for number in range(20):
        await say(sm, f"It rains in town {number}.")
    await sm.user_says("Which fesetival?")
    context = await sm.get_messages_for_llm(recall=True, max_tokens=200)
    assert "town 3" not in str(context)
    assert "We went to the festival in June." in str(context)


async def test_a_name_by_which_people_call_each_other_counts_less_than_what_they_say() -> None:
    sm = manager()
    for number in range(20):
        await sm.user_says(f"Ann, Ann! How are you, on day {number}?", name="Bob")
        await sm.user_says("Fine, thanks.", name="Ann")
    await sm.user_says("My new bicycle is green.", name="Ann")
    assert (await sm.recall("Which bicycle does Ann have?", limit=1)).turns[
        0
    ].text == "My new bicycle is green."


async def test_a_short_question_of_people_counts_less_and_one_to_a_model_as_much_as_any_text() -> None:
    scores = []
    for end in ("?", "!"):
        for speaker in ("Bob", None):
            sm = manager()
            await sm.user_says(f"And what is the zeppelin called{end}", name=speaker)
            scores.append((await sm.recall("zeppelin")).turns[0].score)
    asked, asked_of_model, said, said_to_model = scores
    assert asked < said
    assert asked_of_model == said_to_model == said


async def test_words_that_are_in_every_message_do_not_count_beside_others() -> None:
    sm = manager()
    for number in range(300):
        await sm.user_says(f"[bridge] {'the zeppelin landed' if number == 7 else 'all quiet'}")
    assert (await sm.recall("bridge zeppelin", limit=1)).turns[0].text == "[bridge] the zeppelin landed"
    assert len(await sm.recall("bridge", limit=3)) == 3


async def test_a_question_of_words_that_say_nothing_finds_nothing() -> None:
    sm = manager()
    await say(sm, "My dog is called Rex.")
    for question in ("What is it?", "and so on", "…", "zeppelin", '* OR dog:" ('):
        found = await sm.recall(question)
        assert bool(found) == ("dog" in question)
        assert found.tokens <= 2_000


@pytest.mark.parametrize(
    "options", [{"query": ""}, {"query": 7}, {"max_tokens": 0}, {"limit": 0}, {"max_tokens": "many"}]
)
async def test_bad_input_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        await manager().recall(**{"query": "dog"} | options)


@pytest.mark.parametrize(
    "settings",
    [{"embedder": 7}, {"reranker": "x"}, {"stemmer": "klingon"}, {"stemmer": 7}, {"stemmer": broken}],
)
def test_hooks_that_cannot_be_called_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        manager(**settings)


async def test_of_a_session_that_is_not_there_nothing_is_recalled() -> None:
    with pytest.raises(SessionNotFound):
        await SessionManager("nobody", store=MemoryStore(), create=False).recall("dog")
    assert not await SessionManager(store=MemoryStore()).recall("dog")


def by_letter(texts: list[str]) -> list[list[float]]:
    """Vectors that put "feline" and "cat" together."""
    return [[float("cat" in text or "feline" in text), float("dog" in text), 0.1] for text in texts]


async def test_an_embedder_finds_what_no_word_of_the_question_is_in_and_embeds_each_turn_once() -> None:
    seen: list[str] = []

    async def embedder(texts: list[str]) -> list[list[float]]:
        seen.extend(texts)
        return by_letter(texts)

    store = MemoryStore()
    await say(manager(store=store), "My cat is called Tom.", "My dog is called Rex.")
    assert await texts(manager(store=store), "feline") == []
    for hook in (embedder, embedder, by_letter):
        sm = manager(store=store, embedder=hook)
        assert await texts(sm, "feline", limit=1) == ["My cat is called Tom."]
    assert len(seen) == 4 + 2  # the turns, and two questions


@given(st.lists(st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3), max_size=9), st.booleans())
def test_cosines_are_the_same_with_numpy_and_without(vectors: list[list[float]], is_zero: bool) -> None:
    pytest.importorskip("numpy")
    asked = array("f", [0.0] * 3 if is_zero else [0.6, 0.0, -0.8])
    rows = {number: array("f", vector) for number, vector in enumerate(vectors)}
    fast = _cosines(rows, asked)
    with patch.dict(sys.modules, {"numpy": None}):
        assert fast == pytest.approx(_cosines(rows, asked), abs=1e-6)
    assert _cosines({0: array("f")}, array("f")) == {0: 0}


async def test_a_reranker_puts_passages_in_order() -> None:
    def reranker(question: str, texts: list[str]) -> list[float]:
        assert question == "Which boat?"
        return [float("blue" in text) for text in texts]

    store = MemoryStore()
    await say(manager(store=store), "The blue boat, the boat.", "The red boat.")
    assert await texts(manager(store=store), "Which boat?", limit=1) == ["The red boat."]
    sm = manager(store=store, reranker=reranker)
    assert await texts(sm, "Which boat?", limit=1) == ["The blue boat, the boat."]


@pytest.mark.parametrize(
    "hook",
    [
        broken,
        lambda *_: 1 / 0,
        lambda *_: [1],
        lambda *_: None,
        lambda *_: [float("nan")] * 4,
        lambda *_: [["x"]] * 4,
        lambda *_: [10**400] * 2,
        lambda *_: [[10**400]] * 2,
        lambda *_: {"data": [[1.0]]},
        lambda texts, *_: [[1.0] * len(texts) for _ in texts],  # of other lengths for the question
    ],
)
async def test_where_a_hook_fails_words_decide(hook: Any, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    await say(manager(store=store), "My cat is called Tom.", "My dog is called Rex.")
    plain = await texts(manager(store=store), "Which dog is called Rex?")
    for name in ("embedder", "reranker"):
        assert await texts(manager(store=store, **{name: hook}), "Which dog is called Rex?") == plain
    assert "secret" not in caplog.text


async def test_many_recalls_at_once_see_each_message_once() -> None:
    sm = manager()
    await say(sm, "My dog is called Rex.")

    async def write() -> None:
        for number in range(20):
            await sm.user_says(f"Parrot {number} bites.")

    async def read() -> list[int]:
        return [len(await sm.recall("Which parrot bites?")) for _ in range(20)]

    counts, again, _ = await asyncio.gather(read(), read(), write())
    assert counts == sorted(counts)
    assert again == sorted(again)
    assert len([text for text in await texts(sm, "Which parrot bites?") if "Parrot" in text]) == 20


def test_threads_with_loops_of_their_own_recall_at_once() -> None:
    store = MemoryStore()

    async def talk() -> None:
        await say(manager(store=store), "My dog is called Rex.", *(f"Filler {n}" for n in range(30)))

    async def recall() -> list[str]:
        return await texts(manager(store=store), "dog", limit=1)

    async def all_at_once() -> list[list[str]]:
        return await asyncio.gather(*(asyncio.to_thread(asyncio.run, recall()) for _ in range(6)))

    asyncio.run(talk())
    assert asyncio.run(all_at_once()) == [["My dog is called Rex."]] * 6


async def test_a_recall_that_is_cancelled_leaves_the_index_whole() -> None:
    sm = manager()
    await say(sm, *(f"Boat {n} of town {n}" for n in range(120)))
    for _ in range(5):
        recall = asyncio.create_task(sm.recall("boat"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        recall.cancel()
        await asyncio.gather(recall, return_exceptions=True)
    found = await texts(sm, "boat", max_tokens=8_000)
    assert len([text for text in found if "Boat" in text]) == 120


async def test_indexes_take_no_more_memory_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_BYTES", 200_000)
    store = MemoryStore()
    for number in range(20):
        sm = manager(f"talk-{number}", store=store)
        await say(sm, *(f"Boat {number} {n} {'word ' * 30}" for n in range(20)))
        assert len(await sm.recall("boat", limit=3)) == 3
        assert keeping.kept.bytes <= keeping.MOST_BYTES
    assert len(keeping.kept._by_key) < 20
    assert len(await manager("talk-0", store=store).recall("boat", limit=3)) == 3


async def test_indexes_of_stores_that_are_gone_are_let_go() -> None:
    stores: list[ref[MemoryStore]] = []
    for number in range(5):
        store = MemoryStore()
        stores.append(ref(store))
        sm = manager(f"gone-{number}", store=store)
        await say(sm, "Boats.")
        await sm.recall("boat")
        del sm, store
    gc.collect()
    assert not any(store() for store in stores)  # no index holds its store
    other = manager()
    await say(other, "Boats.")
    await other.recall("boat")
    assert not [key for key in keeping.kept._by_key if str(key[1]).startswith("gone-")]
