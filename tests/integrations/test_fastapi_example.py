"""The chat service of the examples, over HTTP."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path

import httpx
import pytest

from chuk_ai_session_manager import SessionManager, StorageError
from chuk_ai_session_manager.session_storage import get_backend

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
fastapi_chat = import_module("04_fastapi_chat")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(fastapi_chat.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_a_conversation_goes_on_by_its_id(client: httpx.AsyncClient) -> None:
    first = (await client.post("/chat", json={"message": "one", "user_id": "ada"})).json()
    assert first["message"] == "You said: one"
    await client.post("/chat", json={"message": "two", "session_id": first["session_id"]})
    found = (await client.get(f"/sessions/{first['session_id']}")).json()
    assert [row["content"] for row in found["messages"]] == ["one", "You said: one", "two", "You said: two"]
    assert found["stats"]["total_messages"] == 4


async def test_a_conversation_goes_on_over_many_segments(client: httpx.AsyncClient) -> None:
    session_id = root = (await client.post("/chat", json={"message": "0"})).json()["session_id"]
    for number in range(1, 25):
        reply = await client.post("/chat", json={"message": str(number), "session_id": session_id})
        session_id = reply.json()["session_id"]
    assert session_id != root
    for each in (root, session_id):
        found = (await client.get(f"/sessions/{each}")).json()
        assert len(found["messages"]) == 50


async def test_streaming(client: httpx.AsyncClient) -> None:
    response = await client.post("/chat/stream", json={"message": "hello"})
    assert response.text == "You said: hello "
    sm = SessionManager(response.headers["session-id"], create=False)
    assert [row["content"] for row in await sm.get_conversation()] == ["hello", "You said: hello "]


async def test_listing_by_page_and_user(client: httpx.AsyncClient) -> None:
    ids = [
        (await client.post("/chat", json={"message": "hi", "user_id": f"user{number % 2}"})).json()[
            "session_id"
        ]
        for number in range(6)
    ]
    first = (await client.get("/sessions", params={"limit": 4})).json()
    rest = (await client.get("/sessions", params={"limit": 4, "cursor": first["next_cursor"]})).json()
    assert [*first["sessions"], *rest["sessions"]] == ids[::-1]
    assert rest["next_cursor"] is None
    of_one = (await client.get("/sessions", params={"user_id": "user1"})).json()
    assert of_one["sessions"] == ids[1::2][::-1]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/sessions/nobody", None),
        ("DELETE", "/sessions/nobody", None),
        ("POST", "/chat", {"message": "x", "session_id": "nobody"}),
        ("POST", "/chat/stream", {"message": "x", "session_id": "nobody"}),
    ],
)
async def test_unknown_sessions_are_not_found(
    client: httpx.AsyncClient, method: str, path: str, body: dict[str, str] | None
) -> None:
    assert (await client.request(method, path, json=body)).status_code == 404
    assert (await client.get("/sessions")).json()["sessions"] == []


async def test_deleted_is_gone(client: httpx.AsyncClient) -> None:
    session_id = (await client.post("/chat", json={"message": "hi"})).json()["session_id"]
    assert (await client.delete(f"/sessions/{session_id}")).status_code == 204
    assert (await client.get(f"/sessions/{session_id}")).status_code == 404


@pytest.mark.parametrize("body", [{}, {"message": ""}, {"message": "x", "session_id": "\u0000"}])
async def test_bad_input_is_refused(client: httpx.AsyncClient, body: dict[str, str]) -> None:
    assert (await client.post("/chat", json=body)).status_code == 422
    assert (await client.get("/sessions", params={"cursor": "nonsense"})).status_code == 422


async def test_an_outage_is_no_404(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(session_id: str) -> None:
        raise StorageError("down")

    monkeypatch.setattr(get_backend().store, "head", down)
    assert (await client.get("/sessions/s")).status_code == 503
