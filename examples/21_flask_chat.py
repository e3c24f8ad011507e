"""A chat service with Flask, with the API without `await`: history, streaming, another answer ("2 of 3").

pip install flask
SESSION_PROVIDER=sqlite SESSION_SQLITE_PATH=chats.db flask --app examples/21_flask_chat.py run
curl -s localhost:5000/chat -H 'content-type: application/json' -d '{"message": "Hello"}'
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, request

from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.sync import (
    SessionManager,
    SessionNotFound,
    StorageError,
    stream_llm_call,
    track_llm_call,
)

app = Flask(__name__)


def ask_model(prompt: Any) -> str:
    """Stand in for a model: put your own call here, and give its response as it is."""
    return f"You said: {prompt}"


def stream_model(prompt: Any) -> Iterator[str]:
    """Stand in for a model that streams."""
    for word in f"You said: {prompt}".split():
        yield f"{word} "


def manager(session_id: str | None) -> SessionManager:
    return SessionManager(session_id, infinite_context=True, create=session_id is None)


def asked() -> tuple[str, SessionManager]:
    body = request.get_json()
    return str(body["message"]), manager(body.get("session_id"))


@app.post("/chat")
def chat() -> dict[str, Any]:
    message, sm = asked()
    answer, session_id = track_llm_call(message, ask_model, session_manager=sm)
    return {"message": answer, "session_id": session_id}


@app.post("/chat/stream")
def chat_stream() -> Response:
    message, sm = asked()
    stream = stream_llm_call(message, stream_model, session_manager=sm)
    response = Response(iter(stream), mimetype="text/plain", headers={"session-id": sm.session_id})
    response.call_on_close(stream.close)  # if the browser leaves, the text so far is recorded
    return response


@app.get("/sessions/<session_id>")
def history(session_id: str) -> dict[str, Any]:
    sm = manager(session_id)
    rows = sm.get_conversation(with_ids=True)
    return {"messages": [row | {"variants": variants(sm, row["event_id"])} for row in rows]}


def variants(sm: SessionManager, event_id: str) -> str:
    """The position of a message among its variants: "2 of 3"."""
    rows = sm.variants(event_id)
    number = next(at for at, row in enumerate(rows, 1) if row["is_chosen"])
    return f"{number} of {len(rows)}"


@app.post("/sessions/<session_id>/regenerate/<event_id>")
def regenerate(session_id: str, event_id: str) -> dict[str, Any]:
    sm = manager(session_id)
    sm.regenerate(event_id)
    question = sm.get_messages_for_llm()[-1]["content"]
    sm.ai_responds(ask_model(f"{question} (once more)"), model="gpt-4o-mini")
    return history(session_id)


@app.post("/sessions/<session_id>/choose/<event_id>")
def choose(session_id: str, event_id: str) -> dict[str, Any]:
    manager(session_id).choose(event_id)
    return history(session_id)


@app.errorhandler(SessionNotFound)
def not_found(_: SessionNotFound) -> tuple[dict[str, str], int]:
    return {"detail": "there is no such session"}, 404


@app.errorhandler(InvalidInput)
def invalid(problem: InvalidInput) -> tuple[dict[str, str], int]:
    return {"detail": str(problem)}, 422


@app.errorhandler(StorageError)
def unavailable(_: StorageError) -> tuple[dict[str, str], int]:
    return {"detail": "conversations cannot be stored or read now"}, 503
