"""Parents and children: a conversation that hands parts of its work to others.

python examples/15_session_hierarchy.py
"""

from __future__ import annotations

import asyncio

from chuk_ai_session_manager import (
    EventType,
    Session,
    SessionEvent,
    SessionManager,
    build_prompt_from_session,
)
from chuk_ai_session_manager.session_storage import get_backend


async def show(session: Session[object], depth: int = 0) -> None:
    print(f"{'    ' * depth}{session.id}")
    for child_id in session.child_ids:
        child = await get_backend().get(child_id)
        if child is not None:
            await show(child, depth + 1)


async def main() -> None:
    await SessionManager("trip").user_says("Plan a trip to Norway.")
    for child in ("flights", "hotels"):
        await SessionManager(child, parent_id="trip").user_says(f"Look for {child}.")
    await SessionManager("seats", parent_id="flights").user_says("At the window.")

    store = get_backend()
    trip, seats = await store.get("trip"), await store.get("seats")
    assert trip is not None
    assert seats is not None
    await show(trip)
    print("ancestors of seats: ", [each.id for each in await seats.ancestors()])
    print("descendants of trip:", [each.id for each in await trip.descendants()])
    print("children of trip:   ", sorted(await store.store.list_sessions(parent_id="trip")))

    # What the parents came to goes along into the child's prompt.
    summary: SessionEvent[object] = SessionEvent(
        message={"note": "Two people, in May."}, type=EventType.SUMMARY
    )
    await trip.add_event_and_save(summary)
    for row in await build_prompt_from_session(seats, "hierarchical", include_parent_context=True):
        print(f"{row['role']:>10}  {row['content']}")


if __name__ == "__main__":
    asyncio.run(main())
