"""The command line: what it shows of sessions, and deleting them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import CANARY, HOSTILE, Ended, seed
from places import Place, on_each, run

from chuk_ai_session_manager import SessionManager

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
def test_stats_equal_the_manager_s(place: Place, cli: Callable[..., Ended], chats: list[Any]) -> None:
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
