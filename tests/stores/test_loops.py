"""One store in one event loop after the other, also after a loop that was cut off."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from typing import Any

import pytest
from places import Place
from threads import EACH, alone, at_once, check_texts, in_all_stores, read_elsewhere

from chuk_ai_session_manager import SessionManager

Work = Callable[[], Coroutine[Any, Any, None]]


class CutOffError(Exception):
    """What ends an event loop's work in the middle."""


left_behind: list[Any] = []


def leave_behind(*things: Any) -> None:
    """Have them stay, as some list of an application's might hold them, without asyncio's telling of it."""
    for each in things:
        each._log_destroy_pending = False
    left_behind.extend(things)


@pytest.fixture
def nothing_stays(small_heap: None) -> Iterator[None]:
    """What a test leaves behind goes with it, and the warnings about it too."""
    yield
    for each in left_behind:
        if isinstance(each, asyncio.AbstractEventLoop):
            each.close()
    left_behind.clear()
    gc.collect()


def is_cancelled(write: Work) -> None:
    async def main() -> None:
        task = asyncio.create_task(write())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


def is_ended_by_an_exception(write: Work) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(write()) for _ in range(3)]
        await asyncio.sleep(0)
        assert tasks
        raise CutOffError

    with pytest.raises(CutOffError):
        asyncio.run(main())


def is_ended_by_system_exit(write: Work) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def main() -> None:
        await asyncio.gather(write(), leave(), write())

    with pytest.raises(SystemExit):
        asyncio.run(main())


def is_closed_in_the_middle(write: Work) -> None:
    """What becomes of tasks whose loop nobody runs to its end, as of a worker thread that dies."""
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(write()) for _ in range(3)]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    leave_behind(*tasks)


def is_left_standing(write: Work) -> None:
    """The same, with a loop that is not closed either."""
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(write()) for _ in range(3)]
    loop.run_until_complete(asyncio.sleep(0))
    leave_behind(loop, *tasks)


CUTS = [
    is_cancelled,
    is_ended_by_an_exception,
    is_ended_by_system_exit,
    is_closed_in_the_middle,
    is_left_standing,
]


@in_all_stores
@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
@pytest.mark.usefixtures("nothing_stays")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a loop that is left behind leaves its sockets
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestOneAfterTheOther:
    def test_a_manager_goes_on_after_a_loop_that_was_cut_off(
        self, place: Place, cut: Callable[[Work], None]
    ) -> None:
        manager = SessionManager(
            "shared", store=place.store(), infinite_context=True, max_turns_per_segment=4
        )
        acknowledged: list[str] = []
        numbers = count()

        async def write() -> None:
            text = f"cut off {next(numbers)}"
            await manager.user_says(text)
            acknowledged.append(text)

        for turn in range(3):
            cut(write)
            alone(manager.user_says(f"after {turn}"))
            acknowledged.append(f"after {turn}")
        texts = read_elsewhere(place, "shared", infinite_context=True)
        assert [text for text in texts if text.startswith("after")] == [f"after {turn}" for turn in range(3)]
        assert set(acknowledged) <= set(texts)
        assert len(texts) == len(set(texts))

    def test_other_threads_go_on_beside_it(self, place: Place, cut: Callable[[Work], None]) -> None:
        manager = SessionManager("shared", store=place.store())
        numbers = count()

        async def cut_off() -> None:
            await manager.user_says(f"cut off {next(numbers)}")

        async def write(thread: int) -> None:
            for number in range(EACH):
                if thread == 0 and number % 4 == 0:
                    await asyncio.to_thread(cut, cut_off)
                await manager.user_says(f"{thread}/{number}")

        at_once(write)
        texts = read_elsewhere(place, "shared")
        check_texts([text for text in texts if not text.startswith("cut off")])
