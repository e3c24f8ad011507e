"""State on OpenAI's server: a request that contains only what is new since a response.

https://developers.openai.com/api/docs/guides/conversation-state
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from .common import field_of
from .context_rows import Origin
from .fingerprints import Chain, is_same
from .messages import ChatMessage
from .responses_messages import responses_input


def responses_request(
    rows: Sequence[ChatMessage], chain: Chain, tools: str, lost: Collection[str] = ()
) -> dict[str, Any]:
    """Convert messages to the argument `input` and a reference to those that the server holds.

    A response holds its input and its output. So everything before the newest response whose input equals
    these messages is left out. If there is no such response, because something was changed or
    another provider answered, all messages are included.

    Args:
        rows: chat messages, each call followed by its results.
        chain: gets the items.
        tools: the fingerprint of the tools that are sent too; empty if they are not known.
        lost: the events of answers whose state the server no longer has.
    """
    held: dict[str, Any] = {}
    since = 0

    def on_own(origin: Origin, length: int) -> None:
        nonlocal held, since
        if "conversation" in held:  # it contains this answer too, after what was changed
            held, since = {}, 0
        state = {} if origin.event_id in lost else _state_of(origin.response)
        if state and origin.context is not None and is_same(origin.context, chain.value(), tools):
            held, since = state, len(chain.rows) + length

    items = responses_input(rows, lambda _: True, chain, on_own)
    return held | {"input": items[since:]}


def _state_of(response: Any) -> dict[str, Any]:
    """The reference to the state that a response left on the server; empty if it left none."""
    if not isinstance(response, Mapping) or response.get("store") is False:
        return {}
    conversation = response.get("conversation")
    conversation_id = conversation.get("id") if isinstance(conversation, Mapping) else conversation
    if isinstance(conversation_id, str) and conversation_id:
        return {"conversation": conversation_id}
    response_id = response.get("id")
    return {"previous_response_id": response_id} if isinstance(response_id, str) and response_id else {}


# The API's error codes for a response that it does not have; the second comes with status 400.
_FORGOTTEN = {"previous_response_not_found", "conversation_not_found"}


def is_forgotten(problem: object) -> bool:
    """Whether a call failed because the server no longer has the state that the call refers to.

    This is not an outage: the same call would fail again, but a call with all messages would not.

    Args:
        problem: the exception of the OpenAI SDK.
    """
    body = field_of(problem, "body")
    code = field_of(problem, "code") or field_of(body, "code")
    if code in _FORGOTTEN:
        return True
    said = f"{field_of(problem, 'message') or ''}".lower()
    names_state = "previous response" in said or "conversation with id" in said
    return field_of(problem, "status_code") in {400, 404} and names_state and "not found" in said
