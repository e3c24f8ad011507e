"""The command line: export and import."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from command import Ended, seed
from places import Place, everywhere, run
from running import PATIENCE

from chuk_ai_session_manager import Session, SessionEvent
from chuk_ai_session_manager.api.transfer import export_conversation
from chuk_ai_session_manager.models import EventSource, EventType


async def lines_of(place: Place, session_id: str) -> list[str]:
    async with place.store() as store:
        return [line async for line in export_conversation(session_id, store)]


# -- moving ---------------------------------------------------------------------------------------


@everywhere
def test_export_and_import_are_lossless(place: Place, cli: Callable[..., Ended], tmp_path: Path) -> None:
    chain = run(seed, place)
    file = tmp_path / "out.jsonl"
    done = cli("export", "--all", "-o", file, "--json", at=place)
    assert (done.code, done.json) == (0, {"conversations": 2, "lines": 3, "file": str(file)})
    assert cli("export", chain[1], "long", "alone", at=place).out.splitlines() == [
        *run(lines_of, place, "long"),
        *run(lines_of, place, "alone"),
    ]
    there = Place(f"sqlite:///{tmp_path / 'new.db'}")
    assert cli("import", file, at=there).err == "Stored 3 sessions.\n"
    for each in ("alone", "long"):
        assert run(lines_of, there, each) == run(lines_of, place, each)
    assert cli("list", "--live", at=there).out.split("\t")[0] == chain[1]  # in the order of last use
    again = cli("import", file, at=there)
    assert again.code == 2
    assert again.err.startswith("Error: Session already exists: ")


def test_chats_go_in_and_come_out_equal(
    tmp_path: Path, cli: Callable[..., Ended], chats: list[dict[str, Any]]
) -> None:
    place, file = Place(f"sqlite:///{tmp_path / 'a.db'}"), tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps(chat) + "\n" for chat in chats), encoding="utf-8")
    assert cli("import", file, "--format", "openai", "--json", at=place).json == {
        "sessions": [chat["id"] for chat in chats]
    }
    out = cli("export", "--all", "--format", "openai", at=place).out
    assert [json.loads(line) for line in out.splitlines()] == chats


def test_what_is_read_from_the_standard_input(
    tmp_path: Path, cli: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = {"id": "one", "messages": [{"role": "user", "content": "Hi"}]}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(chat).encode())))
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    assert cli("import", "-", "--format", "openai", "--json", at=place).json == {"sessions": ["one"]}


def test_an_imported_conversation_lives_as_long_as_was_said(
    cli: Callable[..., Ended], tmp_path: Path
) -> None:
    here, there = (Place(f"sqlite:///{tmp_path / name}") for name in ("a.db", "b.db"))
    run(seed, here)
    file = tmp_path / "out.jsonl"
    cli("export", "alone", "-o", file, at=here)
    cli("import", file, "--ttl-hours", 2, at=there)

    async def left() -> float | None:
        async with there.store() as store:
            return await store.time_to_live("alone")

    assert 7_000 < (run(left) or 0) <= 7_200


def test_a_file_is_whole_or_not_there(cli: Callable[..., Ended], tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    run(seed, place)
    file = tmp_path / "out.jsonl"
    file.write_text("before")
    assert cli("export", "alone", "nobody", "-o", file, at=place).code == 1
    assert file.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir() if "part" in each.name] == []
    nowhere = cli("export", "alone", "-o", tmp_path / "no" / "where", at=place)
    assert (nowhere.code, nowhere.out) == (3, "")
    assert "cannot be written: No such file or directory" in nowhere.err


def test_what_a_file_name_stands_for_stays(cli: Callable[..., Ended], tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    run(seed, place)
    expected = run(lines_of, place, "alone")
    target, link, pipe = tmp_path / "target", tmp_path / "link", tmp_path / "pipe"
    target.write_text("before")
    link.symlink_to(target)
    assert cli("export", "alone", "-o", link, at=place).code == 0
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8").splitlines() == expected

    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_text, encoding="utf-8")
        assert cli("export", "alone", "-o", pipe, at=place).code == 0
        assert read.result(PATIENCE).splitlines() == expected
    assert pipe.is_fifo()


@everywhere
def test_segments_with_ids_of_their_own_are_all_exported(
    place: Place, cli: Callable[..., Ended], tmp_path: Path
) -> None:
    async def fill() -> None:
        """A session that was summed up, and two that go on with it."""
        async with place.store() as store:
            first = await Session.create("one", store=store)
            await first.add_event_and_save(SessionEvent(message="Hi", source=EventSource.USER))
            await first.add_event_and_save(SessionEvent(message="They met.", type=EventType.SUMMARY))
            for each in ("two", "three"):
                following = await Session.create(each, parent_id="one", store=store)
                await following.add_event_and_save(SessionEvent(message=each, source=EventSource.USER))

    run(fill)
    file = tmp_path / "out.jsonl"
    done = cli("export", "--all", "-o", file, "--json", at=place).json
    assert (done["conversations"], done["lines"]) == (2, 3)
    there = Place(f"sqlite:///{tmp_path / 'new.db'}")
    assert sorted(cli("import", file, "--json", at=there).json["sessions"]) == ["one", "three", "two"]
    for each in ("two", "three"):
        assert run(lines_of, there, each) == run(lines_of, place, each)
    named = [json.loads(line) for line in cli("export", "one", "two", at=place).out.splitlines()]
    assert [line["session"]["id"] for line in named] == ["one", "two"]

    chats = cli("export", "--all", "--format", "openai", at=place).out
    said = {
        chat["id"]: [row["content"] for row in chat["messages"]]
        for chat in map(json.loads, chats.splitlines())
    }
    assert said == {"one": ["Hi", "two"], "three": ["Hi", "three"]}
