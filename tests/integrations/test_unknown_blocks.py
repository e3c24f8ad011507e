"""What SDKs make of blocks that they do not know, and that the conversation goes on with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import boto3
import pytest
from google import genai
from ollama import Client as Ollama

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.providers.formats import FORMATS

QUESTION = "How is the weather in Lisbon and Rome?"
CITIES = ("Lisbon", "Rome")


@contextmanager
def serving(answer: dict[str, Any]) -> Iterator[str]:
    """A server that answers each request with the same JSON; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def from_bedrock() -> Any:
    tools = [{"toolUse": {"toolUseId": city, "name": "weather", "input": {"city": city}}} for city in CITIES]
    answer = {
        "output": {
            "message": {"role": "assistant", "content": [{"text": "Hm."}, {"plan": {"steps": 2}}, *tools]}
        },
        "stopReason": "tool_use",
        "usage": {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30},
        "metrics": {"latencyMs": 1},
    }
    with serving(answer) as address:
        client = boto3.client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=address,
            aws_access_key_id="none",
            aws_secret_access_key="none",
        )
        response = client.converse(
            modelId="amazon.nova-pro-v1:0", messages=[{"role": "user", "content": [{"text": QUESTION}]}]
        )
    assert response["output"]["message"]["content"][1] == {"SDK_UNKNOWN_MEMBER": {"name": "plan"}}
    return response


def from_google() -> Any:
    calls = [{"functionCall": {"id": city, "name": "weather", "args": {"city": city}}} for city in CITIES]
    answer = {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "Hm."}, {"plan": {"steps": 2}}, *calls]},
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 20, "totalTokenCount": 30},
    }
    with serving(answer) as address:
        client = genai.Client(api_key="none", http_options={"base_url": address})
        response = client.models.generate_content(model="gemini-2.5-flash", contents=QUESTION)
    assert response.candidates
    content = response.candidates[0].content
    assert content is not None
    assert content.parts is not None
    assert content.parts[1].model_dump(exclude_none=True) == {}
    return response


def from_ollama() -> Any:
    calls = [
        {"id": city, "function": {"index": at, "name": "weather", "arguments": {"city": city}}}
        for at, city in enumerate(CITIES)
    ]
    answer = {
        "model": "llama3.3",
        "created_at": "2026-11-01T10:00:00Z",
        "message": {"role": "assistant", "content": "Hm.", "tool_calls": calls},
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 10,
        "eval_count": 20,
    }
    with serving(answer) as address:
        messages = [{"role": "user", "content": QUESTION}]
        response = Ollama(host=address).chat(model="llama3.3", messages=messages)
    assert response.message.tool_calls is not None
    assert [call.model_dump() for call in response.message.tool_calls] == [
        {"function": {"name": "weather", "arguments": {"city": city}}} for city in CITIES
    ]
    return response


@pytest.mark.parametrize("asked", [from_bedrock, from_google, from_ollama])
async def test_the_conversation_goes_on_in_every_format(asked: Callable[[], Any]) -> None:
    sm = SessionManager()
    await sm.user_says(QUESTION)
    await sm.ai_responds(asked())
    rows = await sm.get_messages_for_llm(include_tools=True)
    ids = [call["id"] for row in rows for call in row.get("tool_calls", ())]
    assert len(set(ids)) == len(CITIES)
    results = dict(zip(ids, ("sunny", "windy"), strict=True))
    await sm.add_messages(
        [{"role": "tool", "tool_call_id": call_id, "content": said} for call_id, said in results.items()]
    )
    for name in FORMATS:
        context: Any = await sm.get_messages_for_llm(format=name, include_tools=True)
        text = json.dumps(context)
        assert "SDK_UNKNOWN_MEMBER" not in text
        assert "{}" not in text
        assert text.index("sunny") < text.index("windy")
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["tool_calls"]) == (1, 2)
