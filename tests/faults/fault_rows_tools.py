"""Rows of the fault matrix: workers that are killed while they make tool calls, and started again."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from breakage import RANDOM
from chuk_tool_processor import register_tool
from chuk_tool_processor.models import contract
from journal import intact
from places import FORKED, Place
from rig import OnRedis, Trial, judging, row
from running import PATIENCE, in_time
from servers import RedisServer

from chuk_ai_session_manager import Session, SessionAwareToolProcessor
from chuk_ai_session_manager.conversation.tool_calls import UNDECIDED
from chuk_ai_session_manager.models import EventType


async def _pay(witness: str) -> str:
    """Leave a mark outside the store, and take a moment for the answer."""
    file = os.open(witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, b"paid\n")
    os.close(file)
    await asyncio.sleep(RANDOM.uniform(0, 0.02))
    return "paid"


@register_tool(name="fault_pay")
class Pay:
    async def execute(self, witness: str) -> str:
        return await _pay(witness)


@register_tool(name="fault_pay_again")
@contract(idempotent=True)
class PayAgain:
    async def execute(self, witness: str) -> str:
        return await _pay(witness)


def _response(number: int, tool: str, witness: Path) -> dict[str, Any]:
    """A model's response whose ids of calls count from 0, as many servers' do."""
    use = {"type": "tool_use", "id": "call_0", "name": tool, "input": {"witness": str(witness)}}
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [use],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 10, "output_tokens": 10},
    }


async def _process(place: Place, message: dict[str, Any]) -> str | None:
    async with place.store() as store:
        processor = await SessionAwareToolProcessor.create("s", store=store)
        (result,) = await processor.process_llm_message(message)
    return result.error


def _work(place: Place, message: dict[str, Any]) -> None:
    asyncio.run(_process(place, message))


def _runs(witness: Path) -> int:
    return witness.read_bytes().count(b"\n") if witness.exists() else 0


async def _kill_in_a_round(
    place: Place, message: dict[str, Any], witness: Path, *, in_the_tool: bool
) -> None:
    """Start a worker, and kill it: while its tool runs, or at any moment of its life."""
    before = _runs(witness)
    worker = FORKED.Process(target=_work, args=(place, message), daemon=True)
    worker.start()
    if in_the_tool:
        async with asyncio.timeout(PATIENCE):
            while _runs(witness) == before and worker.is_alive():  # noqa: ASYNC110  (another process's file)
                await asyncio.sleep(0.001)
    await asyncio.sleep(RANDOM.uniform(0, 0.01 if in_the_tool else 0.1))
    worker.kill()
    await asyncio.to_thread(worker.join)


async def _rounds(trial: Trial, place: Place, rounds: int) -> None:
    tool = "fault_pay_again" if trial.is_control else "fault_pay"
    async with place.store() as store:
        await Session.create("s", store=store)
    for number in range(rounds):
        witness = trial.folder / f"{place.sandbox}-{number}"
        message = _response(number, tool, witness)
        for kill in range(RANDOM.randint(1, 2)):
            in_the_tool = trial.is_control or (number % 2 == 0 and kill == 0)
            await _kill_in_a_round(place, message, witness, in_the_tool=in_the_tool)
        with trial.succeeds():
            error = await in_time(_process(place, message))
        runs = _runs(witness)
        trial.outcome.doubled += max(0, runs - 1)
        with judging():
            assert error in {None, UNDECIDED}
            assert runs or error == UNDECIDED, "a call that nobody made has a result"
    async with place.store() as store:
        with judging():
            events = await intact(store, "s")
            messages = [event for event in events if event.type == EventType.MESSAGE]
            assert len(messages) == rounds, "a message is there twice, or not at all"
            results = [event.id for event in events if event.type == EventType.TOOL_CALL]
            assert len(results) == len(set(results)) <= rounds


@row("a worker SIGKILLed in a tool call, and started again", control="a tool that may be called again is")
async def a_worker_is_killed_in_a_tool_call(trial: Trial) -> None:
    with RedisServer() as server:
        for place in (OnRedis(server.url), trial.on_sqlite()):
            await _rounds(trial, place, trial.size(6, 100))
