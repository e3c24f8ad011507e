"""A chat service: `session_id` in and out, history, listing, deletion.

pip install fastapi uvicorn
SESSION_PROVIDER=sqlite SESSION_SQLITE_PATH=chats.db uvicorn --app-dir examples 04_fastapi_chat:app
curl -s localhost:8000/chat -H 'content-type: application/json' -d '{"message": "Hello"}'
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from chuk_ai_session_manager import (
    SessionManager,
    SessionNotFound,
    StorageError,
    stream_llm_call,
    track_llm_call,
)
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.session_storage import get_backend

app = FastAPI(title="Chat")


class Question(BaseModel):
    message: str = Field(min_length=1)
    session_id: str | None = None
    user_id: str | None = None


class Reply(BaseModel):
    message: str
    session_id: str


async def ask_model(prompt: str) -> str:
    """Stand in for a model: put your own call here, and give its response as it is."""
    return f"You said: {prompt}"


async def stream_model(prompt: str) -> AsyncIterator[str]:
    """Stand in for a model that streams."""
    for word in f"You said: {prompt}".split():
        yield f"{word} "


def manager(question: Question) -> SessionManager:
    return SessionManager(
        question.session_id,
        user_id=question.user_id,
        create=question.session_id is None,
        infinite_context=True,
    )


@app.post("/chat")
async def chat(question: Question) -> Reply:
    answer, session_id = await track_llm_call(question.message, ask_model, session_manager=manager(question))
    return Reply(message=answer, session_id=session_id)


@app.post("/chat/stream")
async def chat_stream(question: Question) -> StreamingResponse:
    sm = manager(question)
    if question.session_id is not None:
        await sm.get_session_chain()  # a session that is not there is a 404, not a broken stream
    stream = stream_llm_call(question.message, stream_model, session_manager=sm)
    return StreamingResponse(aiter(stream), media_type="text/plain", headers={"session-id": sm.session_id})


@app.get("/sessions")
async def sessions(
    user_id: str | None = None, limit: int = Query(default=20, ge=1, le=100), cursor: str | None = None
) -> dict[str, Any]:
    page = await get_backend().store.list_sessions(user_id=user_id, limit=limit, cursor=cursor)
    return {"sessions": list(page), "next_cursor": page.next_cursor}


@app.get("/sessions/{session_id}")
async def history(session_id: str) -> dict[str, Any]:
    sm = SessionManager(session_id, infinite_context=True, create=False)
    return {"messages": await sm.get_conversation(), "stats": await sm.get_stats()}


@app.delete("/sessions/{session_id}", status_code=204)
async def delete(session_id: str) -> None:
    if not await get_backend().store.delete_conversation(session_id):
        raise HTTPException(404, "there is no such session")


@app.exception_handler(SessionNotFound)
async def not_found(_: Request, __: SessionNotFound) -> JSONResponse:
    return JSONResponse({"detail": "there is no such session"}, 404)


@app.exception_handler(InvalidInput)
async def invalid(_: Request, problem: InvalidInput) -> JSONResponse:
    return JSONResponse({"detail": str(problem)}, 422)


@app.exception_handler(StorageError)
async def unavailable(_: Request, __: StorageError) -> JSONResponse:
    return JSONResponse({"detail": "conversations cannot be stored or read now"}, 503)
