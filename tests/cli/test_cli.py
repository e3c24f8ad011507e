"""The command line on real stores: what it shows, moves and deletes, and how it ends."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import Place, everywhere, on_each, run
from servers import PATIENCE

from chuk_ai_session_manager import Session, SessionEvent, SessionManager
from chuk_ai_session_manager.api.transfer import export_conversation
from chuk_ai_session_manager.cli.commands import run_command
from chuk_ai_session_manager.cli.safe_text import shown, shown_in_line
from chuk_ai_session_manager.cli.screen import bar
from chuk_ai_session_manager.models import EventSource, EventType
from chuk_ai_session_manager.stores import open_store

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b5m \u202eback\r hidden"
CANARY = "CANARY-4711"


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """The command line, in this process."""
    for name in ("FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object, at: Place | None = None) -> Ended:
        where = ["--store", at.url, "--sandbox", at.sandbox] if at else []
        code = run_command([*map(str, arguments), *where])
        return Ended(code, *capfd.readouterr())

    return call


async def seed(place: Place) -> list[str]:
    """Three sessions: one alone, and a conversation of two segments; the ids of the latter."""
    async with place.store() as store:
        alone = SessionManager("alone", store=store, user_id="ada", system_prompt="Be brief.")
        await alone.user_says(f"Hi {HOSTILE}")
        usage = {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cached_tokens": 400},
        }
        await alone.ai_responds("Hello!", model="gpt-4o", provider="openai", usage=usage)
        await alone.tool_used("calculator", {"a": 1}, {"sum": CANARY})
        await alone.ai_responds(
            "Again", model="nobody-knows-it", usage={"input_tokens": 5, "output_tokens": 7}
        )
        long = SessionManager(
            "long", store=store, user_id="grace", infinite_context=True, max_turns_per_segment=2
        )
        for at in range(3):
            await long.user_says(f"Question {at}?")
        await long.wait_for_summaries()
        return await long.get_session_chain()


async def lines_of(place: Place, session_id: str) -> list[str]:
    async with place.store() as store:
        return [line async for line in export_conversation(session_id, store)]


# -- looking --------------------------------------------------------------------------------------


@on_each
def test_list_is_paged_and_filtered(place: Place, cli: Callable[..., Ended]) -> None:
    chain = run(seed, place)
    each_once = cli("list", "--live", at=place).out.splitlines()
    assert {line.split("\t")[0] for line in each_once} == {"alone", chain[-1]}
    listed = cli("list", at=place)
    assert (listed.code, listed.err) == (0, "")
    rows = [line.split("\t") for line in listed.out.splitlines()]
    assert {row[0] for row in rows} == {"alone", *chain}
    by_id = {row[0]: row for row in rows}
    assert by_id["alone"][1:4] == ["ada", "only", "4"]
    assert [by_id[each][2] for each in chain] == ["first", "last"]
    assert float(by_id["alone"][5]) == 0.003

    assert cli("list", "--user", "ada", at=place).out.split("\t")[0] == "alone"
    assert cli("list", "--prefix", "lo", at=place).out.split("\t")[0] == "long"
    nobody = cli("list", "--user", "nobody", at=place)
    assert (nobody.code, nobody.out, nobody.err) == (0, "", "There are no such sessions.\n")

    seen, cursor = [], None
    while True:
        on: list[str] = ["--cursor", cursor] if cursor else []
        page = cli("list", "-n", 1, "--json", *on, at=place).json
        seen += [row["id"] for row in page["sessions"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [row[0] for row in rows]
    for options, lines in (([], listed.out.splitlines()), (["--live"], each_once)):
        first = cli("list", "-n", 1, *options, at=place)
        assert first.out.splitlines() == lines[:1]
        assert first.err.startswith("There are more: --cursor ")
        after = cli("list", "--cursor", first.err.split()[-1], *options, at=place)
        assert after.out.splitlines() == lines[1:]


@on_each
def test_show_is_a_transcript(place: Place, cli: Callable[..., Ended]) -> None:
    chain = run(seed, place)
    alone = cli("show", "alone", at=place)
    assert (alone.code, alone.err) == (0, "")
    for fact in (
        "system prompt\n  Be brief.\n",
        "gpt-4o  1,000 in (400 cached), 100 out  $0.0030\n  Hello!",
        f'← calculator  {{ "sum": "{CANARY}" }}',
        "nobody-knows-it  5 in, 7 out  no known price",
        "── turn 1: 2 model calls, 1,005 in (400 cached), 107 out, $0.0030 and 1 call without a known price",
    ):
        assert fact in alone.out
    assert not set(alone.out) & set("\x1b\x07\x9b\u202e\r")
    assert "␛[31mred" in alone.out
    assert '→ calculator  { "a": 1 }\n  ← calculator' in alone.out
    unfolded = cli("show", "alone", "--tools", at=place).out
    assert f'    {{\n      "sum": "{CANARY}"\n    }}\n' in unfolded
    assert '      "a": 1\n' in unfolded

    for each in chain:  # any segment will do
        whole = cli("show", each, at=place).out
        assert [f"Question {at}?" in whole for at in range(3)] == [True] * 3
        assert whole.index("segment 1 of 2") < whole.index("summary  ") < whole.index("segment 2 of 2")
    segments = cli("show", "long", "--json", at=place).json["segments"]
    assert [segment["id"] for segment in segments] == chain


async def answer_with_details(place: Place) -> None:
    blocks = [{"type": "a_new_block", "x": 1}, {"type": "text", "text": "No."}]
    said = {"type": "message", "role": "assistant", "content": blocks, "stop_reason": "refusal"}
    async with place.store() as store:
        sm = SessionManager("detailed", store=store)
        await sm.ai_responds(said | {"id": f"msg_1{HOSTILE}", "stop_details": {"category": "bio"}})


@on_each
def test_show_all_tells_the_details_of_answers(place: Place, cli: Callable[..., Ended]) -> None:
    run(answer_with_details, place)
    assert "a_new_block" not in cli("show", "detailed", at=place).out
    out = cli("show", "detailed", "--all", at=place).out
    for told in ("format: anthropic", "response id: msg_1", "parts: a_new_block, text", "stop_details"):
        assert told in out
    assert "\x1b" not in out


def test_a_long_system_prompt_is_folded(tmp_path: Path, cli: Callable[..., Ended]) -> None:
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")

    async def fill() -> None:
        async with place.store() as store:
            sm = SessionManager("s", store=store, system_prompt="word " * 1_000 + "END")
            await sm.user_says("Hi")

    run(fill)
    assert "and 4,503 characters more: --system shows all" in cli("show", "s", at=place).out
    assert "END" in cli("show", "s", "--system", at=place).out


@on_each
def test_a_call_and_its_result_are_told_once(
    place: Place, cli: Callable[..., Ended], chats: list[Any]
) -> None:
    chat = next(chat for chat in chats if any("tool_calls" in row for row in chat["messages"]))

    async def fill() -> None:
        async with place.store() as store:
            await SessionManager("s", store=store).add_messages(chat["messages"], model="gpt-4o")

    run(fill)
    call = next(row for row in chat["messages"] if row.get("tool_calls"))["tool_calls"][0]["function"]
    value = next(iter(json.loads(call["arguments"]).values()))
    unfolded = cli("show", "s", "--tools", at=place).out
    asked = unfolded.index(f"→ {call['name']}")
    answered = unfolded.index(f"← {call['name']}")
    assert asked < unfolded.index(json.dumps(value), asked) < answered


@on_each
def test_stats_add_up_by_model(place: Place, cli: Callable[..., Ended]) -> None:
    run(seed, place)
    stats = cli("stats", "alone", "--json", at=place).json
    assert (stats["input_tokens"], stats["cache_read_tokens"], stats["cost_usd"]) == (1005, 400, 0.003)
    assert stats["usage_source"] == "reported"
    assert list(stats["models"]) == ["gpt-4o", "nobody-knows-it"]
    assert stats["models"]["nobody-knows-it"]["unpriced_calls"] == 1
    plain = cli("stats", "alone", at=place).out
    assert "Cost          $0.0030 and 1 call without a known price\n" in plain
    assert [line.split() for line in plain.splitlines()[-2:]] == [
        ["gpt-4o", "1", "1,000", "400", "100", "$0.0030"],
        ["nobody-knows-it", "1", "5", "0", "7", "unknown"],
    ]
    assert len(cli("stats", "long", "--json", at=place).json["segments"]) == 2


@on_each
def test_stats_are_those_of_the_manager(place: Place, cli: Callable[..., Ended], chats: list[Any]) -> None:
    async def fill() -> dict[str, Any]:
        async with place.store() as store:
            sm = SessionManager("s", store=store, infinite_context=True, token_threshold=500)
            for chat in chats[:4]:
                await sm.add_messages(chat["messages"], model=chat["model"])
            await sm.wait_for_summaries()
            return await sm.get_stats()

    expected = run(fill)
    stats = cli("stats", "s", "--json", at=place).json
    assert stats["segments"] == expected["session_chain"]
    assert stats["content_tokens"] == expected["total_tokens"]
    assert stats["cost_usd"] == pytest.approx(expected["estimated_cost"], abs=1e-9)
    for name in (
        "tool_calls",
        "input_tokens",
        "output_tokens",
        "llm_calls",
        "unpriced_calls",
        "usage_source",
    ):
        assert stats[name] == expected[name]
    assert stats["events"] == expected["total_events"]


@on_each
def test_show_and_report_of_the_newest_events(
    place: Place, cli: Callable[..., Ended], tmp_path: Path
) -> None:
    chain = run(seed, place)
    whole = json.loads(cli("show", "long", "--json", at=place).out)["segments"]
    events = [event["id"] for segment in whole for event in segment["events"]]
    for last in (1, 3, len(events) - 1, len(events), 1_000):
        newest = json.loads(cli("show", "long", "--last", last, "--json", at=place).out)
        shown = [event["id"] for segment in newest["segments"] for event in segment["events"]]
        assert shown == events[-last:]
        assert newest["events_left_out"] == len(events) - len(shown)
        for segment in newest["segments"]:
            (same,) = (each for each in whole if each["id"] == segment["id"])
            assert segment | {"events": []} == same | {"events": []}
    plain = cli("show", chain[-1], "--last", 2, at=place)
    assert f"… {len(events) - 2:,} earlier events are not shown" in plain.out
    page = tmp_path / "page.html"
    assert cli("report", "long", "--last", 2, "-o", page, at=place).code == 0
    text = page.read_text("utf-8")
    assert f"{len(events) - 2:,} earlier events left out" in text
    assert text.count("<article") == 2
    assert "left out" not in cli("report", "long", at=place).out
    assert cli("show", "long", "--last", 0, at=place).code == 2
    assert cli("show", "not there", "--last", 1, at=place).code == 1


@on_each
def test_tail_shows_the_last_events(place: Place, cli: Callable[..., Ended]) -> None:
    chain = run(seed, place)
    plain = cli("tail", "long", "-n", 2, at=place).out
    assert "Question 2?" in plain
    assert "Question 0?" not in plain.split("summary  ")[0]
    assert chain[1] in plain  # a new segment begins
    events = [
        json.loads(line) for line in cli("tail", chain[1], "-n", 3, "--json", at=place).out.splitlines()
    ]
    assert [event["session_id"] for event in events] == [chain[0], chain[0], chain[1]]
    assert [event["type"] for event in events] == ["message", "summary", "message"]


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


@on_each
def test_delete_takes_the_conversation_or_one_segment(place: Place, cli: Callable[..., Ended]) -> None:
    chain = run(seed, place)
    assert cli("delete", "long", at=place).code == 2  # nobody to ask
    assert cli("delete", "nobody", "--yes", at=place).code == 1
    assert cli("delete", "nobody", "--yes", "--only-this", at=place).code == 1
    assert len(cli("list", at=place).out.splitlines()) == 3
    gone = cli("delete", chain[1], "--yes", "--only-this", "--json", at=place)
    assert (gone.code, gone.json) == (0, {"deleted": [chain[1]]})
    assert {line.split("\t")[0] for line in cli("list", at=place).out.splitlines()} == {"alone", "long"}
    assert cli("delete", "long", "--yes", at=place).code == 0
    assert cli("show", "long", at=place).code == 1


@on_each
def test_a_whole_conversation_is_deleted_by_any_segment(place: Place, cli: Callable[..., Ended]) -> None:
    chain = run(seed, place)
    gone = cli("delete", chain[1], "-y", at=place)
    assert (gone.code, gone.err) == (0, f"Deleted the conversation of {chain[1]}, 2 segments.\n")
    assert cli("list", at=place).out.split("\t")[0] == "alone"


# -- checking -------------------------------------------------------------------------------------


@everywhere
def test_doctor_finds_a_healthy_store_healthy(place: Place, cli: Callable[..., Ended]) -> None:
    run(seed, place)
    well = cli("doctor", at=place)
    assert (well.code, well.err) == (0, "")
    assert "Sessions  3 with 8 events" in well.out
    assert "Damaged   none" in well.out
    assert CANARY not in well.out
    found = cli("doctor", "--json", at=place).json
    assert (found["sessions"], found["events"], found["damaged"], found["schema"]) == (3, 8, {}, 1)
    assert found["durability"]["provider"] == place.url.partition(":")[0]
    assert found["server_version"]
    assert found["packages"]["typer"]


def test_doctor_names_what_is_damaged_and_goes_on(cli: Callable[..., Ended], tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    chain = run(seed, place)
    with sqlite3.connect(tmp_path / "a.db") as db:
        keys = dict(db.execute("SELECT id, key FROM sessions"))
        db.execute("UPDATE events SET body = ? WHERE session = ?", (f'{{"x": "{CANARY}"', keys["alone"]))
        db.execute("UPDATE sessions SET header = ? WHERE key = ?", (CANARY, keys[chain[1]]))
    db.close()
    ill = cli("doctor", at=place)
    assert ill.code == 1
    # A closed segment's state is that of the live one: where this cannot be read, nor can the segment.
    assert "Sessions  3 with 0 events" in ill.out
    assert "Damaged   3" in ill.out
    assert "✗ alone  Session alone is damaged" in ill.out
    assert f"✗ {chain[1]}  Session {chain[1]} is damaged" in ill.out
    assert CANARY not in ill.out + ill.err
    assert set(cli("doctor", "--json", at=place).json["damaged"]) == {"alone", *chain}

    listed = cli("list", at=place)
    assert listed.code == 0
    assert f"{chain[1]}\t\tdamaged" in listed.out
    rows = {row["id"]: row for row in cli("list", "--json", at=place).json["sessions"]}
    assert (rows[chain[1]]["segment"], rows[chain[1]]["events"]) == ("damaged", None)
    assert len({tuple(row) for row in rows.values()}) == 1  # the same names, in the same order
    for command in ("show", "stats", "export", "tail"):
        refused = cli(command, "alone", at=place)
        assert refused.code == 1, command
        assert "Session alone is damaged" in refused.err
    everything = cli("export", "--all", at=place)
    assert everything.code == 1
    assert everything.out == ""
    told = everything.err.splitlines()
    assert len(told) == 2
    assert any(line.startswith("left out: Session alone is damaged") for line in told)
    assert cli("delete", "alone", "--yes", at=place).code == 0


async def test_doctor_goes_on_past_a_key_of_another_kind(redis_server: Any) -> None:
    from chuk_ai_session_manager.cli.checkup import check_up

    place = Place(redis_server.url)
    await seed(place)
    async with place.store() as store:
        with redis_server.client() as client:
            key = next(
                key
                for key in client.scan_iter(match=f"casm:*{place.sandbox}:*alone*")
                if client.type(key) in {"hash", b"hash"}
            )
            client.delete(key)
            client.set(key, CANARY)
        found = await check_up(store)
    assert set(found.damaged) == {"alone"}
    assert found.sessions == 3


# -- how it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "nobody"], 1, "Error: Session nobody not found in sqlite:///"),
        (["stats", "nobody"], 1, "Is it another --store or --sandbox"),
        (["tail", "nobody"], 1, "not found"),
        (["tail", "nobody", "-f"], 1, "not found"),
        (["export", "nobody"], 1, "not found"),
        (["report", "nobody"], 1, "not found"),
        (["show", "\x1b[31mnobody"], 1, "Error: Session ␛[31mnobody not found"),
        (["export"], 2, "name sessions, or say --all"),
        (["export", "--all", "one"], 2, "name sessions, or say --all"),
        (["list", "-n", "0"], 2, "--limit"),
        (["list", "-n", "99999999999999999999"], 2, "--limit"),
        (["show", "two\nlines"], 1, "Session two␊lines not found"),
        (["list", "--cursor", "x"], 2, "the cursor is none"),
        (["import", "/nowhere"], 2, "/nowhere cannot be read: No such file or directory"),
        (["import", "/nowhere", "--format", "xml"], 2, "--format"),
        (["frobnicate"], 2, "No such command 'frobnicate'"),
        (["show"], 2, "SESSION"),
    ],
)
def test_mistakes_end_in_words(
    arguments: list[str], code: int, words: str, cli: Callable[..., Ended], tmp_path: Path
) -> None:
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    run(seed, place)
    where = place if arguments[0] != "frobnicate" else None
    ended = cli(*arguments, at=where)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("store", "code", "words"),
    [
        ("sqlite:////nowhere/at/all.db", 1, "There is no file /nowhere/at/all.db"),
        ("memory://", 2, "sessions in memory are gone with their process"),
        ("mongodb://u:CANARY-4711@host/0", 2, "Unknown session provider 'mongodb'"),
        ("redis://u:CANARY-4711@host:notaport/0", 2, ""),
        ("redis://u:CANARY-4711@127.0.0.1:9/0", 3, "redis://***@127.0.0.1:9/0: Redis did not answer"),
        ("CANARY-4711", 2, "--store takes a URL. Name a store: --store sqlite:///"),
        ("", 2, "--store takes a URL"),  # as of a variable that is not set: not the environment's store
    ],
)
def test_stores_that_cannot_be_used_are_told_of(
    store: str, code: int, words: str, cli: Callable[..., Ended]
) -> None:
    ended = cli("list", "--store", store)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err
    assert "CANARY" not in ended.err
    assert "Traceback" not in ended.err


def test_another_file_is_left_alone(cli: Callable[..., Ended], tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine " * 1_000)
    ended = cli("doctor", "--store", f"sqlite:///{file}")
    assert ended.code == 1
    assert "it is no SQLite database" in ended.err
    assert file.read_text() == "mine " * 1_000


def test_the_environment_names_the_store(
    cli: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = cli("list")
    assert nowhere.code == 2
    assert "set SESSION_PROVIDER" in nowhere.err
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    run(seed, place)
    monkeypatch.setenv("SESSION_PROVIDER", "sqlite")
    assert "SESSION_SQLITE_PATH" in cli("list").err
    monkeypatch.setenv("SESSION_SQLITE_PATH", str(tmp_path / "a.db"))
    assert cli("list").out == ""
    monkeypatch.setenv("CHUK_SANDBOX_ID", place.sandbox)
    assert len(cli("list").out.splitlines()) == 3


def test_no_sandbox_is_not_the_usual_one(cli: Callable[..., Ended], tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    run(seed, place)
    ended = cli("list", "--store", place.url, "--sandbox", "")
    assert (ended.code, ended.out) == (2, "")
    assert "sandbox_id" in ended.err


def test_another_sandboxs_session_is_not_there(cli: Callable[..., Ended], tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    run(seed, place)
    for command in ("show", "stats", "tail", "export", "report"):
        assert cli(command, "alone", at=place.fresh()).code == 1
    assert cli("delete", "alone", "--yes", at=place.fresh()).code == 1
    assert cli("show", "alone", at=place).code == 0


def test_a_password_is_not_shown(cli: Callable[..., Ended], redis_server: Any) -> None:
    url = redis_server.url.replace("redis://", f"redis://default:{CANARY}@")
    ended = cli("doctor", "--store", url)
    assert ended.code in {0, 3}  # the server may take any password, having none
    assert CANARY not in ended.out + ended.err


# -- text -----------------------------------------------------------------------------------------


def test_what_a_terminal_would_act_on_is_shown() -> None:
    assert shown("a\x1b[0m\x00\x7f\x9b\u2028\ud800") == "a␛[0m␀␡\\x9b\\u2028\\ud800"
    for harmless in ("line\nline\ttab", "👩‍👩‍👧‍👦 漢字 שלום", "naïve"):
        assert shown(harmless) == harmless
    assert shown("a\r\nb\rc") == "a\nb␍c"


@given(st.text(st.characters()))
def test_no_text_does_anything(text: str) -> None:
    harmless = shown(text)
    kinds = {unicodedata.category(char) for char in harmless if char not in "\n\t"}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
    directions = {unicodedata.bidirectional(char) for char in harmless}
    assert not directions & {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert shown(harmless) == harmless
    assert "\n" not in shown_in_line(text)
    harmless.encode()


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0, ""), (1, "████"), (0.5, "██"), (0.001, "▏"), (2, "████"), (-1, ""), (0.53, "██▏")],
)
def test_bars(share: float, drawn: str) -> None:
    assert bar(share, 4) == drawn


def test_a_store_is_opened_as_anywhere(cli: Callable[..., Ended], tmp_path: Path) -> None:
    async def told() -> str:
        async with open_store(f"sqlite:///{tmp_path / 'a.db'}") as store:
            await SessionManager("s", store=store).user_says("Hi")
            return str(await store.server_version())

    version = run(told)
    assert (
        cli("doctor", "--json", "--store", f"sqlite:///{tmp_path / 'a.db'}").json["server_version"] == version
    )
    assert cli("--version").out.strip()
