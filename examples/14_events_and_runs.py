"""Under the manager: a session is a header and a log of events, which you may write yourself.

python examples/14_events_and_runs.py
"""

from __future__ import annotations

import asyncio

from chuk_ai_session_manager import EventSource, EventType, Session, SessionEvent, SessionMetadata, SessionRun
from chuk_ai_session_manager.session_storage import get_backend


async def main() -> None:
    metadata = await SessionMetadata.create({"topic": "weather"})
    session: Session[object] = await Session.create(metadata=metadata)

    # A run is one piece of work within a session; events name it as their `task_id`.
    run = await SessionRun.create()
    await run.mark_running()
    session.runs.append(run)

    question: SessionEvent[object] = await SessionEvent.create_with_tokens(
        message="Is it raining in Oslo?",
        prompt="Is it raining in Oslo?",
        model="gpt-4o-mini",
        source=EventSource.USER,
        task_id=run.id,
    )
    await session.add_event_and_save(question)
    tool: SessionEvent[object] = SessionEvent(
        message={"tool": "weather", "arguments": {"location": "Oslo"}, "result": {"condition": "rainy"}},
        type=EventType.TOOL_CALL,
        parent_event_id=question.id,
        task_id=run.id,
    )
    await session.add_event_and_save(tool)
    await session.add_event_and_save(tool)  # the same event once more: it is stored once
    await run.add_tool_call(tool.id)
    await run.mark_completed()
    await session.set_state("umbrella", True)
    await get_backend().save(session)  # what is not an event: runs, state, properties

    stored = await get_backend().get(session.id)
    assert stored is not None
    for event in stored.events:
        tokens = event.token_usage.total_tokens if event.token_usage else 0
        print(f"{event.source.value:>6} {event.type.value:9}  {tokens:2} tokens  {event.message}")
    print(f"run {stored.runs[0].status.value}, its tools: {len(await run.get_tool_calls(stored))}")
    print(f"state {stored.state}, properties {stored.metadata.properties}")
    by_run = await stored.get_token_usage_by_run()
    print(f"content tokens of the run: {by_run[run.id].total_tokens}")


if __name__ == "__main__":
    asyncio.run(main())
