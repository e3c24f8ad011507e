"""Turns over threads and event loops: in order, one at a time, and nobody waits for those who are gone."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from running import PATIENCE

from chuk_ai_session_manager.models import turns as turns_module
from chuk_ai_session_manager.models.turns import Turns, pulse_of


class Visitors:
    """Sees who has a turn, and that nobody else has one at the same time."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.seen: list[tuple[int, int]] = []
        self._inside = 0
        self.most_inside = 0

    async def come(self, thread: int, number: int, pause: float = 0.0) -> None:
        async with self.turns.turn():
            self._inside += 1
            try:
                self.most_inside = max(self.most_inside, self._inside)
                await asyncio.sleep(pause)
                self.seen.append((thread, number))
            finally:
                self._inside -= 1

    def of_thread(self, thread: int) -> list[int]:
        return [number for each, number in self.seen if each == thread]


def in_threads(*works: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Each in a thread with an event loop of its own; all come to their end."""
    failures: list[BaseException] = []

    def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            asyncio.run(asyncio.wait_for(work(), PATIENCE))
        except BaseException as problem:  # noqa: BLE001  (told below)
            failures.append(problem)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)


async def has_turn(turns: Turns) -> None:
    async with turns.turn():
        await asyncio.sleep(PATIENCE)


async def line_is(turns: Turns, length: int) -> None:
    while len(turns._line) != length:  # noqa: ASYNC110  (threads fill it)
        await asyncio.sleep(0.001)


def left_holding(turns: Turns) -> tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]:
    """An event loop that was stopped while one of its tasks has the turn."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(has_turn(turns))
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(line_is(turns, 1))
    return loop, task


def end(loop: asyncio.AbstractEventLoop, *tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
    loop.close()


class TestOneLoop:
    async def test_tasks_go_in_the_order_of_their_calls(self) -> None:
        visitors = Visitors()
        await asyncio.gather(*(visitors.come(0, number) for number in range(100)))
        assert visitors.of_thread(0) == list(range(100))
        assert visitors.most_inside == 1

    async def test_later_writers_do_not_overtake_a_writer_that_was_woken(self) -> None:
        visitors = Visitors()
        first = asyncio.create_task(visitors.come(0, 0))
        second = asyncio.create_task(visitors.come(0, 1))
        await first
        await visitors.come(0, 2)
        await second
        assert visitors.of_thread(0) == [0, 1, 2]

    @pytest.mark.parametrize("victim", range(4))
    async def test_a_cancelled_task_leaves_the_line(self, victim: int) -> None:
        visitors = Visitors()
        tasks = [asyncio.create_task(visitors.come(0, number, 0.001)) for number in range(4)]
        await asyncio.sleep(0)
        tasks[victim].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert visitors.of_thread(0) == [number for number in range(4) if number != victim]

    async def test_a_writer_that_is_cancelled_when_woken_hands_the_turn_on(self) -> None:
        visitors = Visitors()
        tasks = [asyncio.create_task(visitors.come(0, number)) for number in range(3)]
        tasks[0].add_done_callback(lambda _: tasks[1].cancel())
        await asyncio.gather(*tasks, return_exceptions=True)
        assert 2 in visitors.of_thread(0)

    async def test_an_error_inside_ends_the_turn(self) -> None:
        turns = Turns()
        with pytest.raises(ZeroDivisionError):
            async with turns.turn():
                raise ZeroDivisionError
        async with asyncio.timeout(PATIENCE), turns.turn():
            pass

    async def test_a_coroutine_that_is_thrown_away_ends_its_turn(self) -> None:
        turns = Turns()
        holder = has_turn(turns)
        holder.send(None)
        holder.close()
        async with asyncio.timeout(PATIENCE), turns.turn():
            pass


class TestThreads:
    def test_one_at_a_time_in_each_threads_order(self) -> None:
        visitors = Visitors()

        def work(thread: int) -> Callable[[], Coroutine[Any, Any, None]]:
            async def come_often() -> None:
                await asyncio.gather(*(visitors.come(thread, number) for number in range(50)))

            return come_often

        in_threads(*map(work, range(8)))
        assert visitors.most_inside == 1
        assert [visitors.of_thread(thread) for thread in range(8)] == [list(range(50))] * 8

    def test_threads_go_in_the_order_in_which_they_came(self) -> None:
        visitors = Visitors()

        def work(place: int) -> Callable[[], Coroutine[Any, Any, None]]:
            async def come() -> None:
                await line_is(visitors.turns, place)
                if place:
                    await visitors.come(place, 0)
                    return
                async with visitors.turns.turn():
                    await line_is(visitors.turns, 5)

            return come

        in_threads(*map(work, range(5)))
        assert [thread for thread, _ in visitors.seen] == [1, 2, 3, 4]

    def test_cancelled_tasks_and_cut_off_loops_hold_nobody_up(self) -> None:
        visitors = Visitors()
        chance = random.Random(7)  # noqa: S311

        def steady(thread: int) -> Callable[[], Coroutine[Any, Any, None]]:
            async def come_often() -> None:
                await asyncio.gather(*(visitors.come(thread, number) for number in range(30)))

            return come_often

        async def hasty() -> None:
            for number in range(30):
                task = asyncio.create_task(visitors.come(8, number, 0.001))
                await asyncio.sleep(chance.random() * 0.002)
                task.cancel()
                await asyncio.wait([task])

        async def cut_off() -> None:
            for _ in range(3):
                await asyncio.to_thread(lambda: left_in_the_middle(visitors.turns))

        in_threads(steady(0), hasty, steady(1), cut_off, steady(2))
        for thread in range(3):
            assert visitors.of_thread(thread) == list(range(30))


def keep_quiet(task: Any) -> None:
    """Have asyncio not log that a task was left in the middle, as is meant here."""
    task._log_destroy_pending = False


def left_in_the_middle(turns: Turns) -> None:
    """An event loop that is closed with one task in its turn, or in the line, and another one behind."""
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(has_turn(turns)) for _ in range(2)]
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    for task in tasks:
        keep_quiet(task)


class TestLoopsThatEnd:
    def test_a_closed_loop_gives_its_turn_up(self) -> None:
        visitors = Visitors()
        loop, task = left_holding(visitors.turns)
        loop.close()
        in_threads(lambda: visitors.come(1, 0))
        assert visitors.of_thread(1) == [0]
        assert not task.done()
        keep_quiet(task)

    def test_a_loop_that_runs_afterwards_in_the_same_thread_gets_it(self) -> None:
        visitors = Visitors()
        left_in_the_middle(visitors.turns)
        asyncio.run(asyncio.wait_for(visitors.come(0, 0), PATIENCE))
        asyncio.run(asyncio.wait_for(visitors.come(0, 1), PATIENCE))
        assert visitors.of_thread(0) == [0, 1]

    def test_a_skipped_writer_that_goes_on_takes_no_turn_from_others(self) -> None:
        visitors = Visitors()
        loop, task = left_holding(visitors.turns)
        in_threads(lambda: visitors.come(1, 0))  # while the loop does not run
        end(loop, task)  # it goes on, and leaves

        async def come_often() -> None:
            await asyncio.gather(*(visitors.come(2, number) for number in range(10)))

        in_threads(come_often, lambda: visitors.come(3, 0))
        assert visitors.of_thread(1) == [0]
        assert visitors.of_thread(2) == list(range(10))
        assert visitors.most_inside == 1
        assert not visitors.turns._line

    def test_a_skipped_writer_in_the_line_goes_on_too(self) -> None:
        visitors = Visitors()
        outer, holder = left_holding(visitors.turns)
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(visitors.come(1, 0))
        loop.run_until_complete(asyncio.sleep(0))
        in_threads(lambda: visitors.come(2, 0))
        assert visitors.of_thread(2) == [0]
        loop.run_until_complete(asyncio.wait_for(waiting, PATIENCE))
        assert visitors.of_thread(1) == [0]
        loop.close()
        end(outer, holder)

    def test_a_loop_that_waits_for_a_thread_of_its_own_stops_nobody(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(turns_module, "SILENCE", 0.2)
        visitors = Visitors()

        async def blocks() -> None:
            holder = asyncio.create_task(has_turn(visitors.turns))
            await line_is(visitors.turns, 1)
            in_threads(lambda: visitors.come(1, 0))  # as an application should not: the loop stands still
            holder.cancel()
            await asyncio.wait([holder])

        in_threads(blocks)
        assert visitors.of_thread(1) == [0]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
    def test_a_child_process_does_not_wait_for_its_parents_tasks(self) -> None:
        turns = Turns()

        async def held() -> int:
            holder = asyncio.create_task(has_turn(turns))
            await line_is(turns, 1)
            child = os.fork()
            if child == 0:
                thread = threading.Thread(target=lambda: asyncio.run(taken(turns)), daemon=True)
                thread.start()
                thread.join(PATIENCE)
                os._exit(int(thread.is_alive()))
            status = os.waitpid(child, 0)[1]  # noqa: ASYNC222  (the child is what is tested)
            holder.cancel()
            return status

        assert asyncio.run(held()) == 0


async def taken(turns: Turns) -> None:
    async with turns.turn():
        pass


class TestPulse:
    async def test_a_running_loop_has_one(self) -> None:
        pulse = pulse_of(asyncio.get_running_loop())
        assert pulse.is_felt()
        await asyncio.sleep(0)
        assert pulse.is_felt()

    def test_a_stopped_loop_has_none(self) -> None:
        loop = asyncio.new_event_loop()
        assert not pulse_of(loop).is_felt()
        loop.close()
        assert not pulse_of(loop).is_felt()

    async def test_a_loop_that_owes_its_answer_for_too_long_has_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(turns_module, "SILENCE", 0.0)
        pulse = pulse_of(asyncio.get_running_loop())
        assert pulse.is_felt()  # asked now, and it cannot answer before this function awaits something
        assert not pulse.is_felt()
        await asyncio.sleep(0)
        assert pulse.is_felt()


def test_a_turn_that_is_over_is_used_again_only_in_its_own_event_loop() -> None:
    turns = Turns()

    async def take() -> object:
        turn = turns.turn()
        assert turn.loop is asyncio.get_running_loop()
        async with turn:
            waiting = asyncio.ensure_future(take_inside())
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting
        return turn

    async def take_inside() -> None:
        async with turns.turn():
            pass

    first = asyncio.run(take())
    assert asyncio.run(take()) is not first
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(take())))
    thread.start()
    thread.join()
    assert found
    assert found[0] is not first
