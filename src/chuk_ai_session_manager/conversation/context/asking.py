"""What a model's next call is to see of a conversation, in the format of the provider that is asked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ...accounts.tokens import DEFAULT_MODEL
from ...exceptions.validation import check_count
from ...providers.context_rows import context_rows
from ...providers.earlier import with_earlier
from ...providers.formats import Format, check_format, written
from ...providers.messages import ChatMessage, plain_messages
from ...stores.base import AnyEvent
from ..log_end import LogEnd
from ..opening import Conversation
from ..order import as_told, late_questions
from .beginning import Beginning
from .fitting import RowsOf, fitted


async def asked(
    conversation: Conversation,
    beginning: Beginning,
    format_name: Format | None,
    *,
    include_system: bool,
    include_tools: bool,
    max_tokens: int | None,
    model: str | None,
) -> Any:
    """What `SessionManager.get_messages_for_llm` gives; see there."""
    operation = "get_messages_for_llm"
    if format_name is not None:
        check_format(format_name, operation)
    if max_tokens is not None:
        check_count(max_tokens, 1, "max_tokens", operation)
    home, session = await conversation.current(with_events=max_tokens is None)
    background = await beginning.background_of(home, session)
    rows = beginning.rows if include_system else []
    summary = str(background.notes) if background.notes and include_system else None
    has_tools = include_tools or format_name not in {None, "openai"}
    in_format: RowsOf = partial(context_rows, include_system=include_system) if has_tools else plain_messages

    def rows_of(events: Sequence[AnyEvent]) -> list[ChatMessage]:
        return in_format(as_told(events))

    if max_tokens is None:
        late = await late_questions(session.events, home)
        rows = [*rows, *rows_of([*late, *background.start, *session.events])]
        rows = rows if summary is None else with_earlier(rows, summary)
    else:
        rows = await fitted(
            LogEnd(session, home),
            rows,
            summary,
            background.start,
            rows_of,
            may_begin_with_system=has_tools and include_system,
            max_tokens=max_tokens,
            model=model or DEFAULT_MODEL,
        )
    return written(rows, format_name, model=model)
