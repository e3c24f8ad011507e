"""Prompts cut to a token limit: any prompt, and any limit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_rows import (
    NO_CONTENT,
    assert_pairs_intact,
    call_row,
    events_of,
    result_row,
    row,
    session_with,
    tool_row,
    words,
)

from chuk_ai_session_manager.exceptions import InvalidInput, TokenLimitExceeded
from chuk_ai_session_manager.models import EventType, TokenUsage
from chuk_ai_session_manager.providers.messages import ChatMessage, text_of
from chuk_ai_session_manager.providers.sendable import says_nothing
from chuk_ai_session_manager.session_prompt_builder import (
    build_prompt_from_session,
    truncate_prompt_to_token_limit,
)


@contextmanager
def counted_in_words() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TokenUsage, "count_tokens", staticmethod(words))
        yield


@pytest.fixture
def in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the patches of the test itself, so that they are undone in their order."""
    monkeypatch.setattr(TokenUsage, "count_tokens", staticmethod(words))


# -- truncation: examples ------------------------------------------------------------------------


@pytest.mark.usefixtures("in_words")
class TestTruncation:
    async def test_nothing_stays_nothing(self) -> None:
        assert await truncate_prompt_to_token_limit([], 5) == []

    async def test_what_fits_is_given_back_itself(self) -> None:
        prompt = [row("user", "one two three")]
        assert await truncate_prompt_to_token_limit(prompt, 3) is prompt

    async def test_the_prompt_given_is_not_changed(self) -> None:
        prompt = [row("user", "q"), row("assistant", "a b c"), row("user", "q")]
        before = json.dumps(prompt)
        assert await truncate_prompt_to_token_limit(prompt, 2) == [row("user", "q")]
        assert json.dumps(prompt) == before

    @pytest.mark.parametrize("limit", [0, -5])
    async def test_a_limit_below_one_is_refused(self, limit: int) -> None:
        with pytest.raises(InvalidInput, match="max_tokens"):
            await truncate_prompt_to_token_limit([], limit)

    async def test_whole_exchanges_go_first(self) -> None:
        prompt = [
            row("system", "be kind"),
            row("assistant", "welcome"),
            row("user", "one"),
            row("assistant", "two"),
            row("user", "three"),
            row("assistant", "four"),
        ]
        assert await truncate_prompt_to_token_limit(prompt, 6) == [prompt[0], *prompt[2:]]
        assert await truncate_prompt_to_token_limit(prompt, 5) == [prompt[0], *prompt[4:]]

    async def test_then_the_newest_exchanges_older_answers(self) -> None:
        prompt = [
            row("user", "question"),
            call_row("c1"),
            result_row("c1", "r r r"),
            row("system", "note"),
            call_row("c2", "c3"),
            result_row("c2", "r"),
            result_row("c3", "r"),
        ]
        # A call of the helper is two words: its name and its arguments.
        assert await truncate_prompt_to_token_limit(prompt, 12) == [prompt[0], *prompt[3:]]
        assert await truncate_prompt_to_token_limit(prompt, 7) == [prompt[0], *prompt[4:]]
        with pytest.raises(TokenLimitExceeded) as caught:
            await truncate_prompt_to_token_limit(prompt, 6)
        assert (caught.value.limit, caught.value.actual) == (6, 7)

    async def test_a_question_that_waits_for_its_answer_is_kept_alone(self) -> None:
        prompt = [row("user", "one"), row("assistant", "two"), row("user", "three four")]
        assert await truncate_prompt_to_token_limit(prompt, 2) == [row("user", "three four")]
        with pytest.raises(TokenLimitExceeded) as caught:
            await truncate_prompt_to_token_limit(prompt, 1)
        assert (caught.value.limit, caught.value.actual) == (1, 2)
        assert "three" not in str(caught.value)

    async def test_system_rows_alone_that_do_not_fit(self) -> None:
        with pytest.raises(TokenLimitExceeded) as caught:
            await truncate_prompt_to_token_limit([row("system", "a b"), row("developer", "c")], 2)
        assert (caught.value.limit, caught.value.actual) == (2, 3)

    async def test_without_a_user_the_last_answer_is_kept(self) -> None:
        prompt = [row("assistant", "a b"), call_row("c1"), result_row("c1", "r")]
        assert await truncate_prompt_to_token_limit(prompt, 3) == prompt[1:]

    async def test_results_without_a_call_go_one_by_one(self) -> None:
        prompt = [row("user", "q"), NO_CONTENT, *(tool_row("t", f"{n} {n}") for n in range(4))]
        assert await truncate_prompt_to_token_limit(prompt, 5) == [*prompt[:2], *prompt[4:]]
        assert await truncate_prompt_to_token_limit(prompt, 3) == [*prompt[:2], prompt[5]]
        assert await truncate_prompt_to_token_limit(prompt, 1) == prompt[:2]

    async def test_an_answer_in_words_takes_room_from_its_results(self) -> None:
        prompt = [row("user", "q"), row("assistant", "a a"), tool_row("t", "x x"), tool_row("t", "y y")]
        assert await truncate_prompt_to_token_limit(prompt, 6) == [*prompt[:2], prompt[3]]
        assert await truncate_prompt_to_token_limit(prompt, 4) == prompt[:2]
        with pytest.raises(TokenLimitExceeded):
            await truncate_prompt_to_token_limit(prompt, 2)

    async def test_results_behind_no_answer_go_one_by_one_too(self) -> None:
        prompt = [row("user", "q"), tool_row("t", "old"), tool_row("t", "new")]
        assert await truncate_prompt_to_token_limit(prompt, 2) == [prompt[0], prompt[2]]

    @pytest.mark.parametrize("limit", range(2, 40))
    async def test_what_the_original_promised_of_an_aggressive_cut(self, limit: int) -> None:
        tools = [tool_row("t", "result " * 20) for _ in range(5)]
        prompt = [row("user", "a question"), NO_CONTENT, *tools]
        roles = [r["role"] for r in await truncate_prompt_to_token_limit(prompt, limit)]
        assert roles[:2] == ["user", "assistant"]
        assert roles[2:] == ["tool"] * (limit >= 22)

    async def test_what_the_original_promised_of_a_basic_cut(self) -> None:
        prompt = [row(role, f"{role} " * 10) for role in ("user", "assistant") * 3]
        cut = await truncate_prompt_to_token_limit(prompt, 30)
        assert cut == prompt[4:]

    async def test_the_default_model(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def model_length(text: str, model: str) -> int:
            return len(model)

        monkeypatch.setattr(TokenUsage, "count_tokens", model_length)
        prompt = [row("user", "q")]
        with pytest.raises(TokenLimitExceeded) as caught:
            await truncate_prompt_to_token_limit(prompt, 1)
        assert caught.value.actual == len("gpt-3.5-turbo")
        with pytest.raises(TokenLimitExceeded) as caught:
            await truncate_prompt_to_token_limit(prompt, 1, "gpt-4")
        assert caught.value.actual == len("gpt-4")


# -- truncation: properties ----------------------------------------------------------------------


TEXTS = st.integers(0, 12).map(lambda count: " ".join(["word"] * count))


@st.composite
def an_answer(draw: st.DrawFn, legacy: bool = False) -> list[ChatMessage]:
    kind = draw(st.sampled_from(["text", "system", "legacy"] if legacy else ["text", "system", "calls"]))
    if kind in {"text", "system"}:
        return [row("assistant" if kind == "text" else "system", draw(TEXTS))]
    results = draw(st.lists(TEXTS, min_size=1, max_size=3))
    if kind == "legacy":
        return [row("assistant", draw(st.none() | TEXTS)), *(tool_row("t", text) for text in results)]
    ids = [draw(st.uuids()).hex for _ in results]
    content = draw(st.none() | TEXTS)
    return [call_row(*ids, content=content), *map(result_row, ids, results)]


@st.composite
def prompts(draw: st.DrawFn, legacy: bool = False) -> list[ChatMessage]:
    """System rows, what the assistant says unasked, and exchanges."""
    answers = st.lists(an_answer(legacy), max_size=4)
    rows = [
        row(draw(st.sampled_from(["system", "developer"])), text)
        for text in draw(st.lists(TEXTS, max_size=2))
    ]
    # What comes before the first question must not begin like one of the leading system rows.
    unasked = [part for part in draw(answers) if part[0]["role"] == "assistant"]
    rows += [r for part in unasked for r in part]
    for question in draw(st.lists(TEXTS, max_size=4)):
        rows += [row("user", question), *(r for part in draw(answers) for r in part)]
    return rows


LIMITS = st.integers(1, 120)


def tokens(rows: Sequence[ChatMessage]) -> int:
    return sum(len(text_of(r).split()) for r in rows)


def leading_system(rows: Sequence[ChatMessage]) -> list[ChatMessage]:
    return list(takewhile(lambda r: r["role"] in {"system", "developer"}, rows))


def newest_exchange(rows: Sequence[ChatMessage]) -> list[ChatMessage]:
    after = list(rows[len(leading_system(rows)) :])
    last = max((at for at, r in enumerate(after) if r["role"] == "user"), default=0)
    return after[last:]


def the_least(rows: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The rows that no truncation may drop: written as the rule reads, apart from how it is built."""
    exchange = newest_exchange(rows)
    question = exchange[:1] if exchange and exchange[0]["role"] == "user" else []
    answers = exchange[len(question) :]
    begins = max((at for at, r in enumerate(answers) if r["role"] != "tool"), default=0)
    last = [r for r in answers[begins:] if r["role"] != "tool" or "tool_call_id" in r]
    return [*leading_system(rows), *question, *last]


def positions(part: Sequence[ChatMessage], whole: Sequence[ChatMessage]) -> list[int]:
    where = {id(r): at for at, r in enumerate(whole)}
    return [where[id(r)] for r in part]


async def cut(rows: list[ChatMessage], limit: int) -> list[ChatMessage] | None:
    """What fits, or `None` where the least does not."""
    with counted_in_words():
        try:
            return await truncate_prompt_to_token_limit(rows, limit, "any")
        except TokenLimitExceeded as error:
            numbers = error.limit, error.actual
    assert numbers == (limit, tokens(the_least(rows)))
    return None


@given(prompts() | prompts(legacy=True), LIMITS)
async def test_a_cut_prompt_fits_or_is_refused(rows: list[ChatMessage], limit: int) -> None:
    kept = await cut(rows, limit)
    if kept is None:
        assert tokens(the_least(rows)) > limit
    else:
        assert tokens(kept) <= limit


@given(prompts() | prompts(legacy=True), LIMITS)
async def test_cutting_again_changes_nothing(rows: list[ChatMessage], limit: int) -> None:
    kept = await cut(rows, limit)
    if kept is not None:
        assert await cut(kept, limit) is kept


@given(prompts(), LIMITS)
async def test_calls_and_results_stay_together(rows: list[ChatMessage], limit: int) -> None:
    assert_pairs_intact(await cut(rows, limit) or [])


@given(prompts() | prompts(legacy=True), LIMITS)
async def test_the_least_is_kept_and_nothing_moves(rows: list[ChatMessage], limit: int) -> None:
    kept = await cut(rows, limit)
    if kept is None:
        return
    at = positions(kept, rows)
    assert at == sorted(at)
    assert set(positions(the_least(rows), rows)) <= set(at)


@given(prompts(), LIMITS)
async def test_what_is_dropped_is_the_oldest(rows: list[ChatMessage], limit: int) -> None:
    """Behind the system rows and the last question, what is left is the end of the prompt."""
    kept = await cut(rows, limit)
    if kept is None:
        return
    system = leading_system(rows)
    assert kept[: len(system)] == system
    rest = kept[len(system) :]
    whole_exchanges = positions(rest, rows) == list(range(len(rows) - len(rest), len(rows)))
    assert whole_exchanges or positions(rest[1:], rows) == list(range(len(rows) - len(rest) + 1, len(rows)))
    assert whole_exchanges or rest[0] is newest_exchange(rows)[0]


@given(prompts(), LIMITS)
async def test_older_exchanges_stay_or_go_as_wholes(rows: list[ChatMessage], limit: int) -> None:
    kept = await cut(rows, limit)
    if kept is None or kept is rows:
        return
    rest = kept[len(leading_system(rows)) :]
    has_user = any(r["role"] == "user" for r in rows)
    assert not has_user or rest[0]["role"] == "user"


@given(prompts() | prompts(legacy=True), LIMITS, LIMITS)
async def test_more_room_never_keeps_less(rows: list[ChatMessage], one: int, other: int) -> None:
    small, large = await cut(rows, min(one, other)), await cut(rows, max(one, other))
    if small is not None:
        assert large is not None
        assert set(map(id, small)) <= set(map(id, large))


@given(prompts(), st.integers(0, 60), st.integers(1, 12))
async def test_a_chat_of_any_length_keeps_its_pairs(
    rows: list[ChatMessage], late: int, max_history: int
) -> None:
    events = events_of(rows)
    results = [event for event in events if event.type is EventType.TOOL_CALL]
    if results:  # a result may be recorded at any time after its call
        events.remove(moved := results[late % len(results)])
        events.append(moved)
    chat = await build_prompt_from_session(session_with(*events), "chat", max_history=max_history)
    assert_pairs_intact(chat)
    spoken = [r for r in rows if r["role"] != "tool" and not says_nothing(r)][-max_history:]
    assert [r for r in chat if r["role"] != "tool"] == spoken


# -- real conversations --------------------------------------------------------------------------


@pytest.mark.usefixtures("exact_counting")
async def test_real_conversations_fit(chats: list[dict[str, Any]]) -> None:
    assert chats
    for conversation in chats:
        session, model = session_with(*events_of(conversation["messages"])), conversation["model"]
        whole = await build_prompt_from_session(session, "chat", max_history=10_000)
        assert whole == conversation["messages"]
        sizes = {id(r): await TokenUsage.count_tokens(text_of(r), model) for r in whole}
        least = sum(sizes[id(r)] for r in the_least(whole))
        assert least < 8000  # else nothing below would ever be kept
        for limit in range(200, 8001, 400):
            if least > limit:
                with pytest.raises(TokenLimitExceeded, match=f"{least} > {limit}"):
                    await truncate_prompt_to_token_limit(whole, limit, model)
                continue
            kept = await truncate_prompt_to_token_limit(whole, limit, model)
            assert sum(sizes[id(r)] for r in kept) <= limit
            assert_pairs_intact(kept)
            assert (kept[0], kept[-1]) == (whole[0], whole[-1])
            assert newest_exchange(kept)[0] == newest_exchange(whole)[0]
