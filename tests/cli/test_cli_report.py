"""The HTML page of a conversation: complete, harmless, of a bearable size."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager import Session, SessionManager
from chuk_ai_session_manager.cli.charts import BOTTOM, HEIGHT, TOP, chart_of, short, spans_of
from chuk_ai_session_manager.cli.figures import Turn, turns_of
from chuk_ai_session_manager.cli.report import report_of
from chuk_ai_session_manager.conversation.segments import segments_of
from chuk_ai_session_manager.conversation.sums import Sums
from chuk_ai_session_manager.models.session import next_segment_id
from chuk_ai_session_manager.stores import MemoryStore

HOSTILE = """</pre></title><script>alert(1)</script><img src=x onerror=a()> " onload="x" '{{7*7}}{% if %}"""
VOID = {"meta", "rect", "line", "img", "br"}


class Page(HTMLParser):
    """What is in a page; raises where tags do not close as they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []
        self.text = "\n".join(self.texts)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def values(self, name: str) -> list[str | None]:
        return [value for key, value in self.attributes if key == name]


async def page_of(session_id: str, store: MemoryStore) -> Page:
    return Page(report_of([segment async for segment in segments_of(session_id, store)]))


async def test_strangers_text_is_text_wherever_it_stands() -> None:
    store = MemoryStore()
    sm = SessionManager(HOSTILE, store=store, user_id=HOSTILE, system_prompt=HOSTILE)
    await sm.user_says(f"{HOSTILE} \x1b[31m \u202e")
    usage = {"input_tokens": 5, "output_tokens": 7}
    await sm.ai_responds(HOSTILE, model=HOSTILE, provider=HOSTILE, usage=usage)
    await sm.tool_used(HOSTILE, {HOSTILE: HOSTILE}, HOSTILE)
    await sm.tool_used(HOSTILE, HOSTILE, None, error=HOSTILE)
    call = {"id": HOSTILE, "type": "function", "function": {"name": HOSTILE, "arguments": HOSTILE}}
    await sm.add_messages(
        [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": HOSTILE, "content": HOSTILE},
            {"role": "user", "content": [{"type": "text", "text": HOSTILE}, {"type": HOSTILE}]},
        ],
        model="gpt-4o",
    )
    page = await page_of(HOSTILE, store)
    assert not {"script", "img", "iframe", "object", "link", "base", "form"} & set(page.tags)
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    assert not page.values("src")
    assert {str(value)[0] for value in page.values("href")} == {"#"}
    assert page.text.count(HOSTILE) >= 15
    assert not set(page.text) & {"\x1b", "\u202e"}


@pytest.mark.parametrize("infinite", [False, True])
async def test_real_conversations_are_all_there(chats: list[dict[str, Any]], infinite: bool) -> None:
    for chat in chats[:5]:
        store = MemoryStore()
        sm = SessionManager(
            chat["id"], store=store, infinite_context=infinite, token_threshold=1_000, user_id="ada"
        )
        await sm.add_messages(chat["messages"], model=chat["model"])
        await sm.wait_for_summaries()
        stats = await sm.get_stats()
        page = await page_of(chat["id"], store)
        for row in chat["messages"]:
            if isinstance(row["content"], str) and row["role"] != "tool":
                assert row["content"].replace("\r\n", "\n") in page.text
        turns = sum(row["role"] == "user" for row in chat["messages"])
        assert page.tags.count("h3") == turns
        assert page.values("class").count("segment") == stats["session_segments"]
        assert page.values("class").count("summary") == stats["session_segments"] - 1
        assert f"{stats['input_tokens']:,}" in page.texts
        assert f"${stats['estimated_cost']:,.4f}" in page.texts
        assert chat["model"] in page.texts


async def test_a_long_conversation_is_a_page_that_loads() -> None:
    store = MemoryStore()
    sm = SessionManager("long", store=store)
    rows = []
    for at in range(2_500):
        rows.append({"role": "user", "content": f"Question {at}? " + "word " * 50})
        rows.append({"role": "assistant", "content": f"Answer {at}. " + "word " * 2_000})
    await sm.add_messages(rows, model="gpt-4o")
    session = await store.get("long")
    assert session is not None
    text = report_of([session])
    assert len(text) < 8_000_000
    page = Page(text)
    assert page.tags.count("h3") == 2_500
    assert "Answer 2499. word" in page.text
    assert "characters more]" in page.text
    assert page.tags.count("rect") < 600
    assert [key for key, _ in page.attributes].count("open") == 1  # the last part
    links = {str(value)[1:] for value in page.values("href")}
    assert links <= set(page.values("id"))


async def test_a_huge_message_is_cut_and_says_so() -> None:
    store = MemoryStore()
    await SessionManager("s", store=store).user_says("x" * 1_000_000)
    page = await page_of("s", store)
    assert len(page.text) < 60_000
    assert "[… 980,000 characters more]" in page.text


async def test_pages_of_next_to_nothing() -> None:
    empty = Page(report_of([Session(id="empty")]))
    assert empty.tags.count("svg") == empty.tags.count("h3") == 0
    store = MemoryStore()
    sm = SessionManager("s", store=store)
    await sm.ai_responds("Welcome!", model="nobody-knows-it", usage={"input_tokens": 3, "output_tokens": 4})
    page = await page_of("s", store)
    assert page.tags.count("svg") == 1  # tokens are known, cost is not
    assert "unknown" in page.texts
    assert "no known price" in page.text


# -- figures and charts ---------------------------------------------------------------------------


async def test_turns_begin_with_what_the_user_says() -> None:
    store = MemoryStore()
    sm = SessionManager("s", store=store, infinite_context=True, max_turns_per_segment=3)
    await sm.ai_responds("Welcome!", model="gpt-4o")
    for at in range(3):
        await sm.user_says(f"Question {at}?")
        await sm.ai_responds(f"Answer {at}.", model="gpt-4o")
    await sm.wait_for_summaries()
    segments = [segment async for segment in segments_of("s", store)]
    turns = turns_of(segments)
    assert [turn.number for turn in turns] == [1, 2, 3]
    assert turns[0].events[0].message == "Welcome!"
    assert [turn.segment for turn in turns] == [1, 2, 2]
    assert sum(len(turn.events) for turn in turns) == sum(len(segment.events) for segment in segments)
    assert segments[1].id == next_segment_id("s")


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=400))
def test_bars_are_as_tall_as_their_values(costs: list[int]) -> None:
    turns = [Turn(at, 1, sums=Sums(cost=cost)) for at, cost in enumerate(costs, 1)]
    spans = spans_of(turns)
    assert len(spans) <= 90
    assert [spans[0].first, spans[-1].last] == [1, len(costs)]
    assert sum(span.sums.cost for span in spans) == sum(costs)
    chart = chart_of(spans, lambda of: [("cost", of.cost)], lambda of: f"{of.cost}", short)
    if not any(costs):
        assert chart is None
        return
    assert chart is not None
    room = HEIGHT - TOP - BOTTOM
    tallest = max(part.height for bar in chart.bars for part in bar.parts)
    assert room / 2 <= tallest <= room + 0.001
    for span, bar in zip(spans, chart.bars, strict=True):
        height = sum(part.height for part in bar.parts)
        exact = tallest * span.sums.cost / max(each.sums.cost for each in spans)
        assert height == pytest.approx(exact, abs=0.51)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (950, "950"), (1_500, "1.5k"), (20_000_000, "20M"), (0.5, "0.5")]
)
def test_short_numbers(count: float, text: str) -> None:
    assert short(count) == text
