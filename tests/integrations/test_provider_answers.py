"""Answers of the newest SDKs over the local server: kept whole, recorded once, never in the caller's way."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from google.genai import types as google_types
from openai import AsyncOpenAI
from places import Place, in_another_process, in_memory_too
from program import answer

from chuk_ai_session_manager import SessionManager, stream_llm_call, track_client, track_llm_call
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.models import EventType, SessionEvent
from chuk_ai_session_manager.stores import MemoryStore

GPT, CLAUDE, GEMINI = "gpt-5-mini", "claude-sonnet-4-6", "gemini-2.5-flash"


# google-genai makes a class of aiohttp's in a way that aiohttp warns of.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")


def exactly(answer: Any) -> str:
    """What to ask the local server for, so that it answers with this."""
    return f"exactly {json.dumps(answer)}"


async def events_of(sm: SessionManager) -> list[SessionEvent[Any]]:
    (_, session) = await sm.writer._conversation.current()
    return list(session.events)


async def answers_of(sm: SessionManager) -> list[SessionEvent[Any]]:
    return [event for event in await events_of(sm) if event.source == "llm"]


def response(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    common = {"id": "resp_1", "object": "response", "created_at": 1, "model": GPT, "status": "completed"}
    usage = {
        "input_tokens": 10, "output_tokens": 5, "total_tokens": 15,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    options = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return common | options | {"output": list(output), "usage": usage} | more


def said(text: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    common = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    return common | {"content": content} | more


SHELL = {"type": "shell_call", "id": "sh_1", "call_id": "call_1", "status": "completed",
         "action": {"commands": ["ls"], "timeout_ms": None, "max_output_length": None}}  # fmt: skip


# -- each SDK, whole and streaming ----------------------------------------------------------------


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("kind", ["chat", "responses", "anthropic", "google", "interactions"])
async def test_every_sdk(
    kind: str, streams: bool, gpt: AsyncOpenAI, claude: AsyncAnthropic, gemini: Any
) -> None:
    sm = SessionManager()

    async def ask(prompt: str) -> Any:
        messages: Any = [{"role": "user", "content": prompt}]
        match kind:
            case "chat":
                options: Any = {"stream_options": {"include_usage": True}} if streams else {}
                return await gpt.chat.completions.create(
                    model=GPT, messages=messages, stream=streams, **options
                )
            case "responses":
                return await gpt.responses.create(model=GPT, input=prompt, stream=streams)
            case "anthropic":
                return await claude.messages.create(
                    model=CLAUDE, max_tokens=9, messages=messages, stream=streams
                )
            case "google" if streams:
                return await gemini.models.generate_content_stream(model=GEMINI, contents=prompt)
            case "google":
                return await gemini.models.generate_content(model=GEMINI, contents=prompt)
            case _:
                return await gemini.interactions.create(model=GEMINI, input=prompt, stream=streams)

    if streams:
        async for _ in stream_llm_call("hello", ask, session_manager=sm):
            pass
    else:
        await track_llm_call("hello", ask, session_manager=sm)
    (answer,) = await answers_of(sm)
    formats = {
        "chat": "openai", "responses": "openai-responses", "interactions": "google-interactions",
    }  # fmt: skip
    assert answer.message == "You said: hello"
    assert answer.native is not None
    assert answer.native["format"] == formats.get(kind, kind)
    assert "cut" not in answer.native
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (1000, 3)
    assert answer.usage.estimated is False
    assert answer.native["response"].get("id") or answer.native["response"]["responseId"]


async def test_a_shell_call_waits_and_phases_are_told_apart(gpt: AsyncOpenAI) -> None:
    sm = SessionManager()
    whole = response(said("I look.", phase="commentary"), SHELL)
    await track_client(gpt, sm).responses.create(model=GPT, input=exactly(whole))
    (answer,) = await answers_of(sm)
    assert [call["id"] for call in answer.message["tool_calls"]] == ["call_1"]
    assert answer.native is not None
    assert answer.native["message"] == whole["output"]


async def test_google_s_automatic_function_calling(gemini: Any) -> None:
    def tide(day: int) -> str:
        """When high water is."""
        return f"noon of day {day}"

    call = {"functionCall": {"name": "tide", "args": {"day": 1}}, "thoughtSignature": "AAAA"}
    first = {"candidates": [{"content": {"role": "model", "parts": [call]}}], "modelVersion": GEMINI,
             "usageMetadata": {"promptTokenCount": 500, "candidatesTokenCount": 7, "totalTokenCount": 507}}  # fmt: skip
    config = google_types.GenerateContentConfig(tools=[tide])
    sm = SessionManager()
    await track_llm_call(
        exactly(first),
        lambda prompt: gemini.models.generate_content(model=GEMINI, contents=prompt, config=config),
        session_manager=sm,
    )
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "assistant"]
    assert rows[2]["content"] == "noon of day 1"
    assert (await sm.get_stats())["usage_source"] == "mixed"  # no response has what the first call used

    async def stream(prompt: str) -> Any:
        return await gemini.models.generate_content_stream(model=GEMINI, contents=prompt, config=config)

    streamed = SessionManager()
    async for _ in stream_llm_call(exactly([first]), stream, session_manager=streamed):
        pass
    rows = await streamed.get_messages_for_llm(include_tools=True)
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "assistant"]
    stats = await streamed.get_stats()
    assert (stats["input_tokens"], stats["usage_source"]) == (1500, "reported")  # its chunks say it


async def test_a_stream_of_boto3_s() -> None:
    events = [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "At noon."}}},
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": {"usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}}},
    ]
    sm = SessionManager()
    stream = stream_llm_call("When?", lambda _: {"stream": iter(events)}, session_manager=sm)
    assert [event async for event in stream] == events
    (answer,) = await answers_of(sm)
    assert (answer.message, answer.metadata["finish_reason"]) == ("At noon.", "end_turn")
    assert (await sm.get_stats())["usage_source"] == "reported"


# -- once -----------------------------------------------------------------------------------------


async def test_a_background_response_is_recorded_when_it_is_done_and_once(gpt: AsyncOpenAI) -> None:
    sm = SessionManager()
    client = track_client(gpt, sm)
    begun = await client.responses.create(model=GPT, input="hello", background=True)
    assert begun.status == "queued"
    assert [event.message for event in await events_of(sm)] == ["hello"]
    states = [(await client.responses.retrieve(begun.id)).status for _ in range(3)]
    assert states == ["in_progress", "completed", "completed"]
    assert [event.message for event in await events_of(sm)] == ["hello", "You said: hello"]
    await sm.ai_responds(await gpt.responses.retrieve(begun.id))
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["usage_source"]) == (1, "reported")


async def test_a_response_that_is_retrieved_after_its_stream_was_stopped_is_one_answer(
    gpt: AsyncOpenAI,
) -> None:
    begun = await gpt.responses.create(model=GPT, input="hello", background=True)
    place = {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
    events: list[Any] = [
        {
            "type": "response.created",
            "response": response(status="in_progress", usage=None) | {"id": begun.id},
        },
        {"type": "response.output_text.delta", "delta": "You", "logprobs": []} | place,
        {"type": "response.output_text.delta", "delta": " said", "logprobs": []} | place,
    ]
    sm = SessionManager()
    client = track_client(gpt, sm)
    stream = await client.responses.create(model=GPT, input=exactly(events), stream=True)
    async with stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
    assert (await events_of(sm))[-1].message == "You"
    for _ in range(3):
        await client.responses.retrieve(begun.id)
    rows = await sm.get_conversation()
    assert [row["content"] for row in rows[1:]] == ["You said: hello"]
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["usage_source"]) == (1, "reported")


async def test_an_answer_of_which_a_part_was_stored_is_known_when_it_is_given_again() -> None:
    """The part was stored because the user went on while the stream was read."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 3, "total_tokens": 1003}
    common = {"id": "chatcmpl-1", "created": 1, "model": GPT}
    chunk = common | {"object": "chat.completion.chunk"}
    chunks = [
        chunk | {"choices": [{"index": 0, "delta": {"content": "At "}, "finish_reason": None}]},
        chunk | {"choices": [{"index": 0, "delta": {"content": "noon."}, "finish_reason": "stop"}]},
        chunk | {"choices": [], "usage": usage},
    ]

    async def answer(_: Any) -> Any:
        for each in chunks:
            yield each

    sm = SessionManager()
    stream = stream_llm_call("When?", answer, session_manager=sm)
    pieces = aiter(stream)
    await anext(pieces)
    await sm.user_says("And the day after?")
    async for _ in pieces:
        pass
    message = {"role": "assistant", "content": "At noon."}
    whole = common | {"object": "chat.completion", "usage": usage}
    await sm.ai_responds(whole | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["input_tokens"], stats["ai_messages"]) == (1, 1000, 1)


WHOLE = response(said("At noon."))


@in_memory_too
async def test_a_response_that_is_seen_twice_is_one_answer(place: Place) -> None:
    async with place.store() as store:
        managers = [SessionManager("root", store=store) for _ in range(3)]
        await managers[0].user_says("When?")
        await asyncio.gather(*(sm.ai_responds(WHOLE) for sm in managers))
        if not isinstance(store, MemoryStore):
            in_another_process(answer, place, "root", WHOLE)
        await managers[0].user_says("And then?")
        await managers[1].ai_responds(WHOLE)
        assert [row["content"] for row in await managers[2].get_conversation()] == [
            "When?",
            "At noon.",
            "And then?",
        ]
        assert (await managers[0].get_stats())["llm_calls"] == 1
        other = SessionManager("other", store=store)
        await other.ai_responds(WHOLE)
        assert (await other.get_stats())["llm_calls"] == 1
        (here,), (there,) = await answers_of(managers[0]), await answers_of(other)
        assert here.id != there.id


@in_memory_too
async def test_an_answer_is_recorded_once_after_a_roll_over(place: Place) -> None:
    async with place.store() as store:
        sm = SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=2)
        await sm.user_says("When?")
        await sm.ai_responds(WHOLE)
        await sm.user_says("And then?")
        for each in (sm, SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=2)):
            await each.ai_responds(WHOLE)
        assert len(await sm.get_conversation()) == 3
        assert (await sm.get_stats())["llm_calls"] == 1


@in_memory_too
async def test_an_answer_is_recorded_once_after_another_process_closed_the_segment(place: Place) -> None:
    async with place.store() as store, place.store() as other_store:
        late, other = (
            SessionManager("root", store=each, infinite_context=True, max_turns_per_segment=2)
            for each in (store, other_store)
        )
        await late.user_says("When?")
        await other.ai_responds(WHOLE)
        await other.user_says("And then?")
        await late.ai_responds(WHOLE)
        assert [row["content"] for row in await late.get_conversation()] == ["When?", "At noon.", "And then?"]


@in_memory_too
async def test_an_answer_is_recorded_once_after_many_segments(place: Place) -> None:
    async with place.store() as store:
        sm = SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=2)
        await sm.user_says("When?")
        await sm.ai_responds(WHOLE)
        for number in range(10):
            await sm.user_says(f"Question {number}")
            await sm.ai_responds(f"Answer {number}")
        await sm.user_says("And then?")
        for each in (sm, SessionManager("root", store=store), SessionManager(sm.session_id, store=store)):
            await each.ai_responds(WHOLE)
        if not isinstance(store, MemoryStore):
            in_another_process(answer, place, "root", WHOLE, infinite_context=True)
        told = [row["content"] for row in await sm.get_conversation(include_all_segments=True)]
        assert (told.count("At noon."), len(told), told[-1]) == (1, 23, "And then?")


@in_memory_too
@pytest.mark.parametrize("infinite", [False, True])
async def test_a_server_that_gives_all_responses_one_id(place: Place, infinite: bool) -> None:
    def said(prompt_tokens: int, created: int = 1) -> dict[str, Any]:
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 1, "total_tokens": prompt_tokens + 1}
        choices = [{"index": 0, "message": {"role": "assistant", "content": "Yes."}}]
        return {
            "id": "chatcmpl-123", "object": "chat.completion", "model": "local", "created": created,
            "choices": choices, "usage": usage if prompt_tokens else None,
        }  # fmt: skip

    later = int(time.time()) + 100
    async with place.store() as store:
        for turns in (20, 2):
            options: Any = {"infinite_context": infinite, "max_turns_per_segment": turns}
            sm = SessionManager(f"of {turns}", store=store, **options)
            for answer in (
                said(10),
                said(30),
                said(0, created=later),
            ):  # a longer input; made at another time
                await sm.user_says("Really?")
                for each in (sm, SessionManager(f"of {turns}", store=store)):  # and seen twice
                    await each.ai_responds(answer)
            told = await sm.get_conversation(include_all_segments=True)
            assert [row["content"] for row in told] == ["Really?", "Yes."] * 3
            assert (await sm.get_stats())["llm_calls"] == 3


async def test_what_only_looks_the_same_is_recorded() -> None:
    sm = SessionManager()
    without_id = {"choices": [{"message": {"role": "assistant", "content": "Yes."}}]}
    for _ in range(2):
        await sm.ai_responds(without_id)
    for text in ("Yes.", "No."):  # a server that gives every response the same id
        await sm.ai_responds(without_id | {"id": "chatcmpl-1", "choices": [{"message": {"role": "assistant", "content": text}}]})  # fmt: skip
    assert len(await answers_of(sm)) == 4
    for _ in range(2):  # and says the same to another question
        await track_llm_call("Really?", lambda _: without_id | {"id": "chatcmpl-2"}, session_manager=sm)
    assert len(await answers_of(sm)) == 6


# -- never in the caller's way --------------------------------------------------------------------

ODD: list[dict[str, Any]] = [
    {"id": None, "choices": None, "created": None, "model": None, "object": None, "usage": None,
     "error": {"message": "Provider returned error", "code": 429}},
    {"id": "c", "object": "chat.completion", "created": 1, "model": GPT, "choices": []},
    {},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=["an error", "no choices", "nothing"])
async def test_an_answer_that_cannot_be_read_is_given_and_recorded_as_such(
    odd: dict[str, Any], gpt: AsyncOpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    messages: Any = [{"role": "user", "content": exactly(odd)}]
    sm = SessionManager()
    plain = await gpt.chat.completions.create(model=GPT, messages=messages)
    with caplog.at_level(logging.WARNING):
        tracked = await track_client(gpt, sm).chat.completions.create(model=GPT, messages=messages)
    assert tracked == plain
    assert "cannot be read: a ChatCompletion" in caplog.text
    assert "Provider returned" not in caplog.text
    question, failure = await events_of(sm)
    assert failure.type == EventType.REFERENCE
    assert failure.message == {"error": "UnreadableAnswer"}
    assert (failure.native or {})["message"] == plain.to_dict()
    assert failure.parent_event_id == question.id
    text, _ = await track_llm_call("again", lambda _: odd, session_manager=sm)
    assert text == ""
    assert sm.writer.is_asked == set()
    await sm.ai_responds("Fine.")
    assert [row["role"] for row in await sm.get_messages_for_llm(include_tools=True)][-1] == "assistant"


async def test_a_stream_of_what_cannot_be_read_arrives(gpt: AsyncOpenAI) -> None:
    sm = SessionManager()
    error = {"type": "error", "code": "x", "message": "m", "sequence_number": 1}
    stream = await track_client(gpt, sm).responses.create(model=GPT, input=exactly([error]), stream=True)
    assert [event.type async for event in stream] == ["error"]
    assert [event.message for event in await events_of(sm)][1:] == [{"error": "UnreadableAnswer"}]


async def test_a_reader_that_fails_costs_nobody_the_response(gpt: AsyncOpenAI) -> None:
    from chuk_ai_session_manager.providers import Reader, register_reader, unregister_reader

    def read(_: Any) -> None:
        raise ZeroDivisionError

    register_reader(Reader("broken", read))
    try:
        sm = SessionManager()
        messages: Any = [{"role": "user", "content": "hello"}]
        whole = await track_client(gpt, sm).chat.completions.create(model=GPT, messages=messages)
    finally:
        unregister_reader("broken")
    assert whole.choices[0].message.content == "You said: hello"
    assert [event.message for event in await events_of(sm)] == ["hello", {"error": "UnreadableAnswer"}]


async def test_the_beta_of_anthropic_is_tracked_too(claude: AsyncAnthropic) -> None:
    sm = SessionManager()
    client = track_client(claude, sm)
    answer = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE, "stop_reason": "end_turn",
        "stop_sequence": None, "usage": {"input_tokens": 100, "output_tokens": 50},
        "content": [{"type": "compaction", "content": "All of it."}, {"type": "text", "text": "ok"}],
    }  # fmt: skip
    question: Any = {"role": "user", "content": exactly(answer)}
    await client.beta.messages.create(model=CLAUDE, max_tokens=9, messages=[question])
    (event,) = await answers_of(sm)
    assert event.message == "ok"
    assert "All of it." in json.dumps(await sm.get_messages_for_llm(format="anthropic"))

    question = {"role": "user", "content": "Go on."}
    stream = await client.beta.messages.create(model=CLAUDE, max_tokens=9, messages=[question], stream=True)
    assert [event async for event in stream]
    assert [event.message for event in await answers_of(sm)] == ["ok", "You said: Go on."]
    with pytest.raises(InvalidInput, match="create"):
        _ = client.beta.messages.stream
