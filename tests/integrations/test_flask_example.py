"""The chat service of the examples with Flask, over HTTP, in a server of many threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import httpx
import pytest

pytest.importorskip("flask")
from werkzeug.serving import make_server

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
flask_chat = import_module("21_flask_chat")


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    server = make_server("127.0.0.1", 0, flask_chat.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}") as client:
            yield client
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def contents(client: httpx.Client, session_id: str) -> list[str]:
    return [row["content"] for row in client.get(f"/sessions/{session_id}").json()["messages"]]


def test_a_conversation_goes_on_by_its_id(client: httpx.Client) -> None:
    first = client.post("/chat", json={"message": "one"}).json()
    assert first["message"] == "You said: one"
    client.post("/chat", json={"message": "two", "session_id": first["session_id"]})
    assert contents(client, first["session_id"]) == ["one", "You said: one", "two", "You said: two"]


def test_many_requests_at_once(client: httpx.Client) -> None:
    session_id = client.post("/chat", json={"message": "one"}).json()["session_id"]

    def ask(number: int) -> None:
        client.post("/chat", json={"message": str(number), "session_id": session_id}).raise_for_status()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(16)))
    rows = contents(client, session_id)
    assert sorted(rows[2::2], key=int) == [str(number) for number in range(16)]
    assert rows[3::2] == [f"You said: {row}" for row in rows[2::2]]


def test_streaming(client: httpx.Client) -> None:
    response = client.post("/chat/stream", json={"message": "hello"})
    assert response.text == "You said: hello "
    assert contents(client, response.headers["session-id"]) == ["hello", "You said: hello "]


def test_another_answer_and_back(client: httpx.Client) -> None:
    session_id = client.post("/chat", json={"message": "one"}).json()["session_id"]
    first = client.get(f"/sessions/{session_id}").json()["messages"][1]
    for _ in range(2):
        rows = client.post(f"/sessions/{session_id}/regenerate/{first['event_id']}").json()["messages"]
    assert [row["variants"] for row in rows] == ["1 of 1", "3 of 3"]
    assert rows[1]["content"] == "You said: one (once more)"
    rows = client.post(f"/sessions/{session_id}/choose/{first['event_id']}").json()["messages"]
    assert [(row["content"], row["variants"]) for row in rows][1] == ("You said: one", "1 of 3")


def test_what_goes_wrong_is_said(client: httpx.Client) -> None:
    assert client.get("/sessions/nobody").status_code == 404
    session_id = client.post("/chat", json={"message": "one"}).json()["session_id"]
    assert client.post(f"/sessions/{session_id}/choose/nothing").status_code == 422
