"""The words and dates by which earlier turns are found."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager.conversation.recall.dates import days_in
from chuk_ai_session_manager.conversation.recall.english import english_stem
from chuk_ai_session_manager.conversation.recall.languages import language_named
from chuk_ai_session_manager.conversation.recall.related import compounds_of, spellings_of
from chuk_ai_session_manager.conversation.recall.turns import passages_of
from chuk_ai_session_manager.conversation.recall.words import MOST_WORDS, Words, pairs, searched_part

SUNDAY = date(2026, 11, 29)


def broken_stem(word: str) -> str:
    raise ValueError(word)


def terms(text: str, **settings: Any) -> list[str]:
    return Words(**settings).terms_and_language(text)[0]


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("We have been painting sunrises", "Who painted the sunrise?"),
        ("Caroline's dogs", "the dog of Caroline"),
        ("call get_user_details(7)", "user details"),
        ("call get_user_details(7)", "What does get_user_details do?"),
        ("flight HAT083 at nine", "hat083"),
        ("flight HAT083 at nine", "HAT 083"),
        ("it calls getUserName", "user name"),
        ("1,200 people", "1200"),
        ("version 5.3.0 of it", "5.3.0"),
        ("Ich habe die Rechnungen gestern bezahlt", "Wann habe ich die Rechnung bezahlt?"),
        ("J'ai mangé des cerises dans la maison", "Où est-ce que tu as mangé la cerise?"),
        ("La canción es muy bonita", "¿Cuál es la cancion?"),
        ("Мы были в Москве", "Когда я был в Москву?"),
        ("我昨天去了北京饭店吃烤鸭", "在北京饭店吃了什么？"),
        ("東京タワーに行きました", "東京タワー"),
        ("ฉันไปกรุงเทพเมื่อวาน", "กรุงเทพ"),
        ("서울에서 만났어요", "서울"),
        ("\uff28\uff21\uff34\uff10\uff18\uff13", "hat083"),  # full width
        ("السيارة في الورشة", "أين سيارتي؟"),
        ("عندي حساسية من المكسرات", "ما هي حساسيتي؟"),
        ("मेरे कुत्ते को गाजर पसंद है", "कुत्ता क्या खाता है, गाजर?"),
        ("Plan B is to fly", "what was plan b?"),
        ("We write it in C++", "C++"),
        ("the party \U0001f389 was great", "\U0001f389?"),
        ("I \u2764\ufe0f carrots", "\u2764"),
        ("\U0001f44d\U0001f3fd", "\U0001f44d"),  # of another shade
        ("we flew to \U0001f1eb\U0001f1f7", "\U0001f1eb\U0001f1f7"),
    ],
)
def test_what_is_said_and_what_is_asked_have_words_in_common(said: str, asked: str) -> None:
    words = Words()
    told, language = words.terms_and_language(said)
    assert set(told) & set(words.question_terms(asked, [language]))


@pytest.mark.parametrize(
    "text", ["What is it that you have?", "Wer hat das gesagt und wann?", "¿Qué es eso?", "…", ""]
)
def test_words_that_say_nothing_are_not_searched(text: str) -> None:
    assert Words().question_terms(text, ["english"]) in ([], ["gesagt"])


def test_a_stemmer_or_a_language_may_be_given_and_one_that_fails_is_left() -> None:
    assert Words(lambda word: word[:3]).terms_and_language("carrots")[0] == ["car"]
    assert terms("Rechnungen", language="german") == ["rechnung"]
    stems: list[Any] = [broken_stem, lambda _: None, lambda _: "", lambda word: [word]]
    for stem in stems:
        assert Words(stem).terms_and_language("carrots")[0] == [english_stem("carrots")]
    assert [language_named(name) for name in ("de", "German", "de-AT", "klingon", "")] == ["german"] * 3 + [
        None
    ] * 2


def test_a_stemmer_that_fails_for_one_word_is_used_for_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def stem(word: str) -> str:
        return word[: 3 if word.isascii() else 1 // 0]

    words = Words(stem)
    assert words.terms_and_language("carrots café carrots")[0] == ["car", "cafe", "car"]
    assert words.question_terms("carrots", ["english"]) == ["car"]
    assert words.terms_and_language("cafés")[0] == ["cafe"]
    assert len(caplog.records) == 1


def test_the_language_of_a_short_text_is_that_of_the_text_before_it() -> None:
    words = Words()
    assert words.terms_and_language("ich habe die Rechnungen nicht gesehen")[1] == "german"
    assert words.terms_and_language("Rechnungen", "german") == (["rechnung"], "german")
    assert words.terms_and_language("where are the bills that you have", "german")[1] == "english"


def test_of_a_long_text_the_beginning_is_searched() -> None:
    long = " ".join(f"word{number}" for number in range(2_000))
    assert len(searched_part(long).split()) <= MOST_WORDS
    assert searched_part("short") == "short"
    assert len(searched_part("字" * 100_000)) < 5_000


@given(st.text(max_size=3_000), st.booleans())
def test_passages_are_all_of_a_text_in_order(text: str, is_result: bool) -> None:
    spans = passages_of(text, is_result=is_result)
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(end > start for start, end in spans) or not text


@given(st.text(max_size=300))
def test_any_text_has_terms_and_any_question_days(text: str) -> None:
    words = Words()
    told, _ = words.terms_and_language(text)
    assert all(told)
    assert isinstance(days_in(text, SUNDAY), list)


@given(
    st.dates(),
    st.sampled_from(["last", "999", "a", "three"]),
    st.sampled_from(["day", "week", "fortnight", "month", "year", "tuesday"]),
)
def test_a_question_of_any_time_may_name_earlier_days(today: date, number: str, unit: str) -> None:
    questions = [
        f"{number} {unit}",
        f"{number} {unit}s ago",
        f"last {number} {unit}s",
        "yesterday, last night",
    ]
    for question in questions:
        assert isinstance(days_in(question, today), list)


def test_flags_are_not_their_halves() -> None:
    assert not set(terms("\U0001f1eb\U0001f1f7")) & set(terms("\U0001f1eb\U0001f1ee"))


COMPOUNDS = [
    "zahnarzttermin",
    "sommerferi",
    "nuss",
    "allergi",
    "somm",
    "termin",
    "zahnarzt",
    "hausnumm",
    "haus",
]


@pytest.mark.parametrize(
    ("term", "related"),
    [
        ("zahnarzttermin", ["zahnarzt", "termin"]),
        ("termin", ["zahnarzttermin"]),
        ("somm", ["sommerferi"]),
        ("nussallergi", ["nuss", "allergi"]),
        ("haus", ["hausnumm"]),
        ("ferien", []),
        ("arzt", ["zahnarzt"]),
        ("haush", []),
        ("3000", []),
    ],
)
def test_compounds_and_their_parts_are_related(term: str, related: list[str]) -> None:
    joined = "\n".join(["", *COMPOUNDS, ""])
    assert sorted(compounds_of(term, COMPOUNDS, joined)) == sorted(related)


@pytest.mark.parametrize(
    ("term", "spellings"),
    [
        ("fesetiv", ["festiv"]),  # a letter too many
        ("festv", ["festiv"]),
        ("fesitv", ["festiv"]),
        ("festib", ["festiv"]),
        ("festivsx", ["festiv"]),  # derived: it begins with the other
        ("mentorship", ["mentor"]),
        ("подорки", ["подарки"]),
        ("parrot", []),  # the first letter is another
        ("hat084", []),
        ("fest", []),
        ("zeppelin", []),
    ],
)
def test_words_that_nobody_said_stand_for_words_that_are_spelled_alike(
    term: str, spellings: list[str]
) -> None:
    assert spellings_of(term, {"festiv", "mentor", "подарки", "carrot", "hat083", "fast"}) == spellings


def test_pairs_of_characters() -> None:
    assert pairs("北京饭店") == ("北京", "京饭", "饭店")
    assert pairs("北") == ("北",)


@pytest.mark.parametrize(
    ("question", "day"),
    [
        ("What did we say on 8 May 2023?", date(2023, 5, 8)),
        ("on May 8th, 2023", date(2023, 5, 8)),
        ("on the 8th of May", date(2022, 5, 8)),
        ("2023-05-08", date(2023, 5, 8)),
        ("8.5.2023", date(2023, 5, 8)),
        ("5/8/2023", date(2023, 5, 8)),
        ("5/8/2023", date(2023, 8, 5)),
        ("in May", date(2023, 5, 30)),
        ("May 2023", date(2023, 5, 30)),
        ("in 2023", date(2023, 1, 30)),
        ("during August", date(2020, 8, 1)),
        ("am 3. März", date(2020, 3, 3)),
        ("le 8 mai 2023", date(2023, 5, 8)),
        ("2023年5月8日", date(2023, 5, 8)),
        ("yesterday", date(2026, 11, 28)),
        ("the day before yesterday", date(2026, 11, 27)),
        ("gestern", date(2026, 11, 28)),
        ("昨天", date(2026, 11, 28)),
        ("last Tuesday", date(2026, 11, 24)),
        ("on Sunday", date(2026, 11, 29)),
        ("last Sunday", date(2026, 11, 22)),
        ("am letzten Dienstag", date(2026, 11, 24)),
        ("last week", date(2026, 11, 18)),
        ("last month", date(2026, 10, 31)),
        ("last year", date(2025, 1, 1)),
        ("this week", date(2026, 11, 23)),
        ("in the last 3 weeks", date(2026, 11, 9)),
        ("3 days ago", date(2026, 11, 26)),
        ("two weeks ago", date(2026, 11, 16)),
        ("this morning", date(2026, 11, 29)),
        ("last weekend", date(2026, 11, 21)),
        ("a few days ago", date(2026, 11, 25)),
        ("2026/05/03", date(2026, 5, 3)),
        ("im Mai", date(2020, 5, 30)),
        ("letzte Woche", date(2026, 11, 18)),
        ("vor zwei Wochen", date(2026, 11, 15)),
        ("la semaine dernière", date(2026, 11, 18)),
        ("il y a 3 jours", date(2026, 11, 26)),
        ("hier soir", date(2026, 11, 28)),
        ("la semana pasada", date(2026, 11, 18)),
        ("hace dos semanas", date(2026, 11, 15)),
        ("semana passada", date(2026, 11, 18)),
        ("settimana scorsa", date(2026, 11, 18)),
        ("twee weken geleden", date(2026, 11, 15)),
        ("förra veckan", date(2026, 11, 18)),
        ("i går", date(2026, 11, 28)),
        ("w zeszłym roku", date(2025, 7, 1)),
        ("dwa tygodnie temu", date(2026, 11, 15)),
        ("geçen hafta", date(2026, 11, 18)),
        ("на прошлой неделе", date(2026, 11, 18)),
        ("две недели назад", date(2026, 11, 15)),
        ("в прошлый вторник", date(2026, 11, 24)),
        ("我上周说了什么？", date(2026, 11, 18)),
        ("上个月", date(2026, 10, 31)),
        ("三天前", date(2026, 11, 26)),
        ("上周二", date(2026, 11, 17)),
        ("去年", date(2025, 7, 1)),
        ("先週の火曜日", date(2026, 11, 17)),
        ("3日前", date(2026, 11, 26)),
        ("二週間前に", date(2026, 11, 15)),
        ("เดือนที่แล้ว", date(2026, 10, 31)),
        ("3 วันก่อน", date(2026, 11, 26)),
        ("지난주에", date(2026, 11, 18)),
        ("2026년 5월 3일", date(2026, 5, 3)),
        ("ماذا قلت أمس؟", date(2026, 11, 28)),
        ("الأسبوع الماضي", date(2026, 11, 18)),
        ("قبل أسبوعين", date(2026, 11, 15)),
        ("3 مايو", date(2020, 5, 3)),
        ("पिछले हफ्ते", date(2026, 11, 18)),
        ("3 मई 2026", date(2026, 5, 3)),
    ],
)
def test_days_that_questions_name(question: str, day: date) -> None:
    assert any(days.has(day) for days in days_in(question, SUNDAY))
    assert not any(days.has(date(1999, 12, 31)) for days in days_in(question, SUNDAY))


@pytest.mark.parametrize(
    "question",
    [
        "What may I do?",
        "May I ask?",
        "It may be",
        "march on",
        "I may have said so",
        "did it last an hour?",
        "at 8:30",
        "the weekend before last",
        "Was steht hier?",
        "每周二",
        "It costs $2023",
        "room 2023a",
        "the sun",
        "",
        "mar",
    ],
)
def test_what_names_no_days(question: str) -> None:
    assert days_in(question, SUNDAY) == []


@pytest.mark.parametrize(
    ("word", "stem"),
    [("caresses", "caress"), ("ponies", "poni"), ("cats", "cat"), ("agreed", "agre"),
     ("plastered", "plaster"), ("bled", "bled"), ("motoring", "motor"),
     ("sing", "sing"), ("conflated", "conflat"), ("hopping", "hop"),
     ("falling", "fall"), ("filing", "file"), ("happy", "happi"), ("sky", "sky"), ("relational", "relat"),
     ("decisiveness", "decis"), ("electrical", "electr"), ("hopefulness", "hope"), ("revival", "reviv"),
     ("adjustment", "adjust"), ("adoption", "adopt"), ("cease", "ceas"), ("rate", "rate"),
     ("controll", "control"), ("an", "an"), ("ing", "ing"), ("eed", "eed")],
)  # fmt: skip
def test_english_stems_are_those_of_the_paper(word: str, stem: str) -> None:
    assert english_stem(word) == stem


@given(st.text("abeisytngl", min_size=1, max_size=12))
def test_every_word_has_a_stem(word: str) -> None:
    assert english_stem(word)
