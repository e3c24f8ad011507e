"""Answers that an SDK's `parse` makes objects of: recorded as they came, even if they are no such object."""

from __future__ import annotations

import json
from typing import Any

import httpx2 as httpx
import pydantic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, ContentFilterFinishReasonError, LengthFinishReasonError, OpenAI
from request_rules import check_request
from shapes import bill_of, message, response, said, the_answer, user
from turns import chat_answer

from chuk_ai_session_manager import SessionManager, sync, track_client, track_llm_call

CLAUDE = "claude-sonnet-4-6"


class City(pydantic.BaseModel):
    name: str


def chat(text: str, reason: str = "stop") -> Any:
    answer = chat_answer(text, [], model="gpt-4o")
    answer["choices"][0]["finish_reason"] = reason
    return answer | {"usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}}


async def next_call(sm: SessionManager, name: str) -> Any:
    await sm.user_says("And then?")
    request: Any = await sm.get_messages_for_llm(format=name)  # type: ignore[call-overload]
    check_request(name, request)
    return request


async def test_fields_that_the_sdk_adds_are_not_sent_back(gpt: AsyncOpenAI, claude: AsyncAnthropic) -> None:
    sm = SessionManager()
    parsed = await track_client(gpt, sm).chat.completions.parse(
        model="gpt-4o", messages=user(chat('{"name": "Rome"}')), response_format=City
    )
    assert parsed.choices[0].message.parsed == City(name="Rome")
    assert "parsed" not in json.dumps((await the_answer(sm)).native)

    sm = SessionManager()
    whole = response(said('{"name": "Rome"}'))
    answered = await track_client(gpt, sm).responses.parse(
        model="gpt-5-mini", input=user(whole), text_format=City
    )
    assert answered.output_parsed == City(name="Rome")
    assert "parsed" not in json.dumps(await next_call(sm, "openai-responses"))

    sm = SessionManager()
    text = {"type": "text", "text": '{"name": "Rome"}'}
    got = await track_client(claude, sm).messages.parse(
        model=CLAUDE, max_tokens=9, messages=user(message(text)), output_format=City
    )
    assert got.parsed_output == City(name="Rome")
    request = await next_call(sm, "anthropic")
    assert request["messages"][1]["content"] == '{"name": "Rome"}'


@pytest.mark.parametrize(
    ("text", "reason", "problem"),
    [
        ('{"name": "Ro', "length", LengthFinishReasonError),
        ("", "content_filter", ContentFilterFinishReasonError),
        ('{"town": 1}', "stop", pydantic.ValidationError),
    ],
)
async def test_a_chat_completion_that_is_no_such_object_was_paid(
    text: str, reason: str, problem: type[Exception], gpt: AsyncOpenAI
) -> None:
    sm = SessionManager()
    with pytest.raises(problem):
        await track_client(gpt, sm).chat.completions.parse(
            model="gpt-4o", messages=user(chat(text, reason)), response_format=City
        )
    answer = await the_answer(sm)
    assert (answer.message, answer.metadata["finish_reason"]) == (text, reason)
    assert (await bill_of(sm)).cost_usd == pytest.approx(0.0035)


async def test_a_response_that_is_no_such_object_was_paid(gpt: AsyncOpenAI) -> None:
    sm = SessionManager()
    with pytest.raises(pydantic.ValidationError):
        await track_client(gpt, sm).responses.parse(
            model="gpt-5-mini", input=user(response(said('{"na'))), text_format=City
        )
    assert ((await the_answer(sm)).message, (await bill_of(sm)).input_tokens) == ('{"na', 10)


async def test_a_body_that_is_no_json_is_a_failed_call() -> None:
    def broken(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "application/json"}, content=b"<html>")

    sm = SessionManager()
    async with httpx.AsyncClient(transport=httpx.MockTransport(broken)) as http:
        gpt = AsyncOpenAI(base_url="http://gateway/v1", api_key="none", max_retries=0, http_client=http)
        with pytest.raises(json.JSONDecodeError):
            await track_client(gpt, sm).chat.completions.parse(
                model="gpt-4o", messages=[{"role": "user", "content": "Which city?"}], response_format=City
            )
    _, session = await sm.writer._conversation.current()
    assert session.events[-1].metadata["failed"]
    assert session.events[-1].message == {"error": "JSONDecodeError"}


@pytest.mark.parametrize("is_beta", [False, True])
async def test_a_message_that_is_no_such_object_was_paid(is_beta: bool, claude: AsyncAnthropic) -> None:
    sm = SessionManager()
    tracked: Any = track_client(claude, sm)
    with pytest.raises(pydantic.ValidationError):
        await (tracked.beta if is_beta else tracked).messages.parse(
            model=CLAUDE,
            max_tokens=9,
            messages=user(message({"type": "text", "text": '{"na'})),
            output_format=City,
        )
    assert ((await the_answer(sm)).message, (await bill_of(sm)).input_tokens) == ('{"na', 100)


def test_blocking_clients_record_answers_for_which_parse_raises_an_error(address: str) -> None:
    sm = sync.SessionManager()
    with (
        OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as gpt,
        pytest.raises(LengthFinishReasonError),
    ):
        sync.track_client(gpt, sm).chat.completions.parse(
            model="gpt-4o", messages=user(chat('{"na', "length")), response_format=City
        )
    with Anthropic(base_url=address, api_key="none", max_retries=0) as claude:
        got = sync.track_client(claude, sm).messages.parse(
            model=CLAUDE,
            max_tokens=9,
            messages=user(message({"type": "text", "text": '{"name": "Rome"}'})),
            output_format=City,
        )
        assert got.parsed_output == City(name="Rome")
    assert sm.get_stats()["llm_calls"] == 2


async def test_an_error_with_the_last_completion_was_paid() -> None:
    """As instructor raises it after its last attempt."""

    class IncompleteOutputError(Exception):
        last_completion = chat('{"na', "length")

    async def ask(_: Any) -> Any:
        raise IncompleteOutputError

    sm = SessionManager()
    with pytest.raises(IncompleteOutputError):
        await track_llm_call("Which city?", ask, session_manager=sm)
    assert (await bill_of(sm)).cost_usd == pytest.approx(0.0035)


async def test_an_application_s_own_call_that_raises_such_an_error_was_paid(gpt: AsyncOpenAI) -> None:
    sm = SessionManager()

    async def ask(_: Any) -> Any:
        return await gpt.chat.completions.parse(
            model="gpt-4o", messages=user(chat('{"na', "length")), response_format=City
        )

    with pytest.raises(LengthFinishReasonError):
        await track_llm_call("Which city?", ask, session_manager=sm)
    assert (await the_answer(sm)).message == '{"na'
    assert (await bill_of(sm)).cost_usd == pytest.approx(0.0035)
