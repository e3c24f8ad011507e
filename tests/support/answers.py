"""Providers' answers, whole and in pieces, as tests read them."""

from __future__ import annotations

from typing import Any

from chuk_ai_session_manager.providers import Answer
from chuk_ai_session_manager.providers.streamed_answers import AnswerInPieces


def in_pieces(pieces: list[Any]) -> Answer:
    taken = AnswerInPieces()
    for piece in pieces:
        taken.add(piece)
    assert taken.unknown is None
    return taken.end()


def asked(answer: Answer) -> list[tuple[str, str]]:
    return [(call["function"]["name"], call["function"]["arguments"]) for call in answer.tool_calls]


def ids(answer: Answer) -> list[str]:
    return [call["id"] for call in answer.tool_calls]


def native(answer: Answer) -> Any:
    assert answer.native is not None
    return answer.native
