"""Memory: of sessions, and of conversations that go on for ever; and bytes of an answer as it is stored."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from harness import AGENTS, APPEND, DRIVERS, NEWEST, ORIGINAL, PEERS, PROJECT, Bench, Peer
from report import Report, Series, Target

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.conversation.drafts import draft_answer
from chuk_ai_session_manager.providers import read_answer
from chuk_ai_session_manager.stores import MemoryStore
from chuk_ai_session_manager.stores.codec import encode_event

sys.path.insert(0, str(DRIVERS))
from workload import ASSISTANT_LENGTH, MODEL, PROVIDER, USER_LENGTH, text


def measure(bench: Bench, report: Report) -> None:
    """Each in a fresh process; two at a time, for time is not measured."""
    with ThreadPoolExecutor(2) as pool:
        _sessions(bench, report, pool)
        _endless(bench, report, pool)
    _answers(report)
    asyncio.run(_plain_messages(report))


async def _plain_messages(report: Report) -> None:
    """What a stored question and a stored answer have beside their texts."""
    store = MemoryStore()
    manager = SessionManager(store=store)
    await manager.user_says(text(USER_LENGTH))
    await manager.ai_responds(text(ASSISTANT_LENGTH), model=MODEL, provider=PROVIDER)
    session = await store.get(manager.session_id)
    assert session is not None
    question, answer = session.events
    for name, event in (("question", question), ("answer", answer)):
        beside = len(encode_event(event).encode()) - len(event.message)
        series = Series(name, "bytes", [beside])
        report.figure(
            f"stored JSON of a plain {name}, beyond its text", series, Target(250, "figure", at_most=True)
        )


def _answers(report: Report) -> None:
    """An answer with thinking and a tool call, stored with what its provider said, and without."""
    words = "High water at the old harbour is at noon, and again a little after midnight. " * 8
    blocks = [
        {"type": "thinking", "thinking": words, "signature": "S" * 400},
        {"type": "text", "text": words},
        {"type": "tool_use", "id": "toolu_1", "name": "tide", "input": {"harbour": "the old one"}},
    ]
    usage = {"input_tokens": 1000, "output_tokens": 300}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6"}
    answer = read_answer(message | {"content": blocks, "stop_reason": "tool_use", "usage": usage})
    event = draft_answer(answer, "claude-sonnet-4-6", "anthropic").event
    forms = {
        "with its native form": encode_event(event),
        "complete, as it is exported": encode_event(event, complete=True),
        "without": encode_event(event.model_copy(update={"native": None})),
    }
    report.side_by_side["an answer of 1,200 characters and a tool call, as it is stored"] = [
        Series(name, "bytes", [len(body.encode())]) for name, body in forms.items()
    ]


def _sessions(bench: Bench, report: Report, pool: ThreadPoolExecutor) -> None:
    long = bench.scale.lengths[-1]

    def growth(peer: Peer, events: int) -> Series:
        with bench.worker(peer, "memory") as worker:
            before, after = worker("memory", events=events)
        return Series(f"{peer.name}, {events:,} events", "MB", [after - before])

    wanted = [(peer, bench.scale.session) for peer in (PROJECT, ORIGINAL, NEWEST, AGENTS)]
    wanted += [(peer, long) for peer in (PROJECT, APPEND, AGENTS)]
    grown = list(pool.map(growth, *zip(*wanted, strict=True)))
    report.side_by_side["memory, what the process grows by for a session"] = grown
    ours = grown[len(wanted) - 3]
    each = Series("SessionManager", "KB", [value / long * 1024 for value in ours.values])
    name = f"memory held for an event of a live session of {long:,}"
    report.figure(name, each, Target(1.2, "figure", at_most=True))


def _endless(bench: Bench, report: Report, pool: ThreadPoolExecutor) -> None:
    """The process after a whole conversation, against after its first tenth."""
    events, parts = bench.scale.endless, 10

    def peaks(place: str) -> list[float]:
        with bench.worker(PROJECT, place) as worker:
            marks: list[float] = worker("infinite", events=events, parts=parts)
            return marks

    name = f"peak memory of a conversation of {events:,} events in infinite mode"
    for place, marks in zip(PEERS, pool.map(peaks, PEERS), strict=True):
        first = Series(f"after {events // parts:,} events", "MB", marks[:1])
        last = Series(place, "MB", marks[-1:])
        if place == "memory":  # which keeps all that it stores, so that it grows
            report.side_by_side[f"{place}, {name}"] = [first, last]
        else:
            report.figure(f"{place}, {name}", last, Target(1.1, at_most=True), first)
