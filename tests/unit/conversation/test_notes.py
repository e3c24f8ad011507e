"""What the built-in summary carries, and that it stays within its bound."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chuk_ai_session_manager import TokenUsage
from chuk_ai_session_manager.conversation.notes import Notes
from chuk_ai_session_manager.conversation.summaries import Summarizer


def by_user(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text} for text in texts]


def by_model(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text} for text in texts]


def noted(*texts: str) -> str:
    return str(Notes().after(by_user(*texts)))


class TestTopics:
    def test_topics_are_named_in_the_original_s_words(self) -> None:
        questions = [f"What is the number {number} good for?" for number in "abcde"]
        assert noted(*questions).splitlines()[0] == (
            "User discussed: What is the number a good for; What is the number b good for; "
            "What is the number c good for and 2 other topics"
        )

    def test_without_questions_it_is_how_much_was_said(self) -> None:
        notes = Notes().after([*by_user("Hello", "Well"), *by_model("Hi")])
        assert str(notes) == "Conversation with 2 user messages and 1 responses"

    def test_a_long_one_is_cut(self) -> None:
        question = "Could you tell me " + "really " * 30 + "what this is?"
        assert noted(question).startswith("User discussed: Could you tell me really")
        assert noted(question).splitlines()[0].endswith("…")
        assert len(noted(question).splitlines()[0]) < 100

    def test_the_notes_of_all_segments_add_up(self) -> None:
        notes = Notes()
        for letter in "abc":
            notes = notes.after(by_user(*(f"What is number {letter}{number} for?" for number in range(4))))
        topics = str(notes).splitlines()[0]
        assert topics.count("What is number") == 9
        assert topics.endswith(" and 3 other topics")


@pytest.mark.parametrize(
    "text",
    [
        "We are visiting Alice Miller in Reykjavik.",
        "Alice is my sister.",
        "The flight JFK to SEA, please.",
        "My name is ada.",
    ],
)
def test_names(text: str) -> None:
    summary = noted("Hello there, what about all of this?", text, "Thank you for that, really very kind?")
    for name in ("Alice", "Reykjavik", "JFK", "SEA", "ada"):
        assert (name in text) == (name in summary)


def test_what_begins_a_sentence_or_a_label_is_no_name() -> None:
    summary = noted("Hello there, is it right?", "Nothing helps. Departure: soon. Arrival: later.", "So?")
    assert "Names" not in summary


@pytest.mark.parametrize(
    ("text", "figure"),
    [
        ("It costs $1,250.50 in total.", "costs $1,250.50"),
        ("We need it for 3 nights.", "3 nights"),
        ("The day is 2026-05-20.", "2026-05-20"),
        ("That was on May 20th.", "May 20th"),
        ("See reservation HAT039.", "reservation HAT039"),
        ("请把预算改成5000元、然后发给王明。", "5000元"),
    ],
)
def test_figures(text: str, figure: str) -> None:
    assert figure in noted("Is it all right like that?", text, "Thanks!")


def test_a_figure_is_told_once_and_in_its_longest_form() -> None:
    summary = str(Notes().after(by_model("UM3OG5.", "The reservation UM3OG5 is there.", "UM3OG5 it is.")))
    assert summary.count("UM3OG5") == 1
    assert "reservation UM3OG5" in summary


@pytest.mark.parametrize(
    "text",
    [
        "We decided to use PostgreSQL.",
        "Let's go with the blue one instead of the red one.",
        "Your flight has been booked.",
        "I confirm.",
        "我们决定用蓝色的。",
    ],
)
def test_decisions(text: str) -> None:
    summary = str(Notes().after([*by_user("Is it so?"), *by_model(text)]))
    assert f"Decided: {text.rstrip('.。')}" in summary


@pytest.mark.parametrize(
    "text",
    ["Please confirm this.", "Once you confirm, we go on.", "Would you prefer the red one?", "Let's see."],
)
def test_what_is_no_decision(text: str) -> None:
    assert "Decided" not in str(Notes().after([*by_user("Is it so?"), *by_model(text)]))


class TestRequest:
    def test_the_last_one_is_open_until_it_is_answered(self) -> None:
        asked = by_user("Book me a table for tonight.")
        assert "Open request: Book me a table for tonight." in str(Notes().after(asked))
        assert "Last request: Book me a table for tonight." in str(
            Notes().after([*asked, *by_model("Done.")])
        )

    def test_thanks_and_short_answers_are_none(self) -> None:
        asked = by_user("Book me a table for tonight.", "Yes", "Thank you so very much for that.")
        assert "request: Book me a table for tonight." in str(Notes().after(asked))

    def test_the_first_one_stays(self) -> None:
        notes = Notes().after(by_user("I want to fly to Seattle."))
        for number in range(50):
            notes = notes.after(by_user(f"And do this thing number {number}."))
        assert "First request: I want to fly to Seattle." in str(notes)
        assert "Open request: And do this thing number 49." in str(notes)


def test_what_the_user_says_of_himself_outlives_what_is_said_later() -> None:
    notes = Notes().after(by_user("My customer number is 4711, and I'm allergic to nuts."))
    for number in range(100):
        notes = notes.after([*by_user(f"What about {number}?"), *by_model(f"It costs ${number}.50.")])
    summary = str(notes)
    assert "My customer number is 4711, and I'm allergic to nuts" in summary


def test_instructions_are_carried_over() -> None:
    notes = Notes().after([{"role": "system", "content": "Answer in French only."}, *by_user("Is it so?")])
    assert "Instructions: Answer in French only." in str(notes)


def test_what_is_told_above_is_not_told_again_unless_it_only_looks_so() -> None:
    summary = noted(
        "What about the flight to Oslo, and Oslo only?", "We met Ann in the announcement of 2012, no 12."
    )
    assert "Oslo" not in summary.split("\n", 1)[1]
    assert "Ann" in summary


def test_notes_continue_a_summary_of_an_application() -> None:
    notes = Notes("They met in Oslo.").after(by_user("What is it good for?"))
    assert str(notes) == "They met in Oslo.\nUser discussed: What is it good for"
    assert str(Notes().followed_by("One.").followed_by("Two.")) == "One. Two."
    assert not Notes()
    assert notes


TEXT = st.text(st.sampled_from("aB1$?.!, \n:;-好。\u2028"), max_size=60)
ROWS = st.lists(st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(
    ["user", "assistant", "system"]), TEXT), max_size=6)  # fmt: skip


@settings(deadline=None)
@given(st.lists(ROWS, max_size=4), st.integers(1, 60))
async def test_notes_are_json_and_fit_whatever_was_said(segments: list[Any], max_tokens: int) -> None:
    notes = Notes()
    for rows in segments:
        notes = await Summarizer(max_tokens=max_tokens).within(notes.after(rows))
        assert Notes.from_json(notes.as_json()) == notes
        assert not notes or await TokenUsage.count_tokens(str(notes), "gpt-4o-mini") <= max_tokens


@pytest.mark.parametrize("damaged", [{"topics": 5}, {"names": [1, None]}, {"asked": "x"}, {"unknown": 1}])
def test_what_was_changed_by_hand_does_no_harm(damaged: dict[str, Any]) -> None:
    assert str(Notes.from_json(damaged))


@pytest.mark.parametrize(
    "text", ["." * 50_000, "A " * 30_000, "1" * 50_000, "name is " + "-" * 50_000, "a,b" * 9_000]
)
def test_of_a_long_text_only_so_much_is_told(text: str) -> None:
    assert len(noted(text, "What is it good for?")) < 5_000


async def test_the_newest_stays_where_room_is_short() -> None:
    notes = Notes()
    for number in range(30):
        notes = notes.after(by_user(f"What is the number {number} good for?"))
    short = str(await Summarizer(max_tokens=60).within(notes))
    assert "number 29" in short
    assert "number 0 " not in short.splitlines()[0]
    assert "other topics" in short
