"""Dates in a question, as people write them: the days of the conversation that the question asks about.

Dates in digits are found by patterns. Words are looked up one by one (`calendar_words`): a pattern of words
of all languages would take long to compile and to match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import NamedTuple, TypeVar

from . import calendar_words as words
from .languages import ENGLISH, language_of
from .words import LETTER, PAIRED

T = TypeVar("T")


def _table(names_of: Mapping[T, str]) -> dict[str, T]:
    return {name: value for value, names in names_of.items() for name in names.split()}


_MONTH = _table(dict(enumerate(words.MONTHS, 1)))
_WEEKDAY = _table(dict(enumerate(words.WEEKDAYS)))
_AGO = _table(words.DAYS_AGO)
_NUMBER = _table(words.NUMBERS)
_UNIT = _table(words.UNITS)
_DAYS_OF = {"day": 1, "week": 7, "month": 30, "year": 365}
# "999 years ago" is the farthest; such days exist only for a question of a later year than this one.
_MOST_YEARS = 1000
_MOST_DIGITS = 3
# Between the parts of a date in words: "3rd of May", "3 de mayo", "den 3. maj".
_FILLERS = {"st", "nd", "rd", "th", "er", "of", "de", "del", "d", "º", "the", "den"}

# Patterns are texts: `re` compiles them at their first use and keeps them, so importing this stays cheap.
_YEAR = r"(?:19|20)\d\d"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_ISO = rf"(?<!\w)({_YEAR})[-/](0?[1-9]|1[0-2])(?:[-/]({_DAY}))?(?!\w)"
_DIGITS = rf"\b({_DAY})([./-])({_DAY})\2({_YEAR}|\d\d)\b"
_EASTERN = (
    rf"(?:({_YEAR}) ?[年년] ?)?(?:(1[0-2]|0?[1-9]) ?[月월] ?)?(?:({_DAY}) ?[日号號일](?! ?[前间間전]))?"
)
_YEAR_ALONE = rf"(?<![\w.,:/$€£-])({_YEAR})(?![\w:/%€-])"
_CLOCK = r"\b\d{1,2}:\d\d\b"
_TOKEN = rf"\d+|(?:(?!\d)[{LETTER}{PAIRED}])+"


@dataclass(frozen=True, slots=True)
class Days:
    """Days: from a first to a last day, or a whole year, a month of any year, or a day of any month."""

    first: date | None = None
    last: date | None = None
    year: int | None = None
    month: int | None = None
    day: int | None = None

    def has(self, when: date) -> bool:
        """Whether a day is one of these days."""
        if self.first is not None and self.last is not None:
            return self.first <= when <= self.last
        return (
            (self.year is None or self.year == when.year)
            and (self.month is None or self.month == when.month)
            and (self.day is None or self.day == when.day)
        )


def days_in(question: str, today: date) -> list[Days]:
    """The days that a question names, with one entry for each expression.

    Args:
        question: a text as a person writes it, in any of the languages of `calendar_words`.
        today: the day of the question: "last Tuesday" is before this day.
    """
    text, found = _without_digits(" ".join(question.lower().split()))
    text = _with_single_words(text)
    tokens = [_Token(word[0], word.start()) for word in re.finditer(_TOKEN, text)]
    years: set[int] = set()
    found += _of_months(tokens, years)
    found += [Days(year=int(year[1])) for year in re.finditer(_YEAR_ALONE, text) if year.start() not in years]
    if today.year > _MOST_YEARS:
        plain = [token for token, _ in tokens]
        if "hier" in plain and language_of(plain, ENGLISH) in {"german", "dutch"}:
            plain = ["" if word == "hier" else word for word in plain]  # "here", not "yesterday"
        for at in range(len(plain)):
            found += _relative(plain, at, today)
    return found


class _Token(NamedTuple):
    """A word or a number of a text, and where it begins."""

    text: str
    start: int


def _with_single_words(text: str) -> str:
    """A text in which phrases are one word, and words without spaces between them have spaces."""
    for phrase, word in words.JOINED.items():
        text = text.replace(phrase, word)
    return text if text.isascii() else re.sub(_unspaced(), r" \g<0> ", text)


@cache
def _unspaced() -> str:
    """A pattern for the words of scripts in which words stand without spaces."""
    tables: Sequence[Iterable[str]] = (
        _MONTH, _WEEKDAY, _AGO, _NUMBER, _UNIT, words.YEARS, words.AFTER_AGO, words.LAST, words.AFTER_LAST,
        words.THIS, words.AFTER_THIS, words.HABIT,
    )  # fmt: skip
    found = {word for table in tables for word in table if re.match(f"[{PAIRED}]", word)}
    return "|".join(sorted(found, key=len, reverse=True))


# -- dates in digits ------------------------------------------------------------------------------


def _without_digits(text: str) -> tuple[str, list[Days]]:
    """A text with blanks in place of its dates in digits, and these dates."""
    found: list[Days] = []

    def take(match: re.Match[str], days: Iterable[Days]) -> str:
        found.extend(days)
        return " " * len(match[0])

    text = re.sub(_ISO, lambda match: take(match, [_of_parts(*match.groups())]), text)
    text = re.sub(_DIGITS, lambda match: take(match, _of_digits(match)), text)
    if not text.isascii():
        text = re.sub(
            _EASTERN, lambda match: take(match, [_of_parts(*match.groups())]) if match[0] else "", text
        )
    return re.sub(_CLOCK, lambda match: " " * len(match[0]), text), found


def _of_parts(year: str | None, month: str | None, day: str | None) -> Days:
    return Days(year=_number(year), month=_number(month), day=_number(day))


def _of_digits(found: re.Match[str]) -> Iterator[Days]:
    """8/5/2023: the day may stand before or after the month. In dates with dots, it stands before."""
    one, other, year = int(found[1]), int(found[3]), int(found[4])
    year += 2000 if year < 100 else 0  # noqa: PLR2004
    orders = [(one, other)] if found[2] == "." else [(one, other), (other, one)]
    for day, month in dict.fromkeys(orders):  # both readings are searched
        if month <= 12:  # noqa: PLR2004
            yield Days(year=year, month=month, day=day)


# -- dates with the name of a month ---------------------------------------------------------------


def _of_months(tokens: Sequence[_Token], years: set[int]) -> Iterator[Days]:
    """Days whose month is named; the positions of their years are added to `years`."""
    for at, (name, _) in enumerate(tokens):
        month = _MONTH.get(name)
        if month is None:
            continue
        before = _next(tokens, at, -1)
        day, after = _day(tokens, before), _next(tokens, at, 1)
        if day is None and (day := _day(tokens, after)) is not None:
            after = _next(tokens, after, 1)
        year = tokens[after] if 0 <= after < len(tokens) and re.fullmatch(_YEAR, tokens[after].text) else None
        if year is not None:
            years.add(year.start)
        if day is not None or year is not None or not _is_doubtful(name, tokens[at - 1].text if at else ""):
            yield Days(year=None if year is None else int(year.text), month=month, day=day)


def _next(tokens: Sequence[_Token], at: int, step: int) -> int:
    """The position of the next token that is no filler."""
    at += step
    while 0 <= at < len(tokens) and tokens[at].text in _FILLERS:
        at += step
    return at


def _day(tokens: Sequence[_Token], at: int) -> int | None:
    """The day of a month that a token is; `None` if it is none."""
    text = tokens[at].text if 0 <= at < len(tokens) else ""
    return int(text) if text.isdecimal() and len(text) <= 2 and 1 <= int(text) <= 31 else None  # noqa: PLR2004


def _is_doubtful(month: str, before: str) -> bool:
    if month in words.DOUBTFUL_MONTHS:
        return before not in words.BEFORE_MONTHS
    return month in words.OTHER_DOUBTFUL_MONTHS and before not in words.BEFORE_OTHER_MONTHS


# -- days at a distance from today ----------------------------------------------------------------


def _relative(tokens: Sequence[str], at: int, today: date) -> Iterator[Days]:
    """The days that a word names by their distance from today, with the words around it."""
    word = tokens[at]
    if word in _AGO:
        yield _around(today - timedelta(_AGO[word]), 0)
    elif word in words.YEARS:
        yield Days(year=today.year - words.YEARS[word])
    elif word in _UNIT or word in words.TWO_UNITS:
        yield from _of_unit(tokens, at, today)
    elif word in _WEEKDAY or word.removesuffix("s") in _WEEKDAY:
        yield from _of_weekday(tokens, at, today)
    elif word in {"weekend", "wochenende"} and _at(tokens, at - 1) in words.LAST | words.THIS:
        saturday = today - timedelta((today.weekday() - 5) % 7)
        is_before = _at(tokens, at - 1) in words.LAST and today.weekday() >= 5  # noqa: PLR2004
        saturday -= timedelta(7 * is_before)
        yield Days(saturday, saturday + timedelta(1))
    elif word == "night" and _at(tokens, at - 1) in words.LAST:
        yield Days(today - timedelta(1), today)


def _at(tokens: Sequence[str], at: int) -> str:
    return tokens[at] if 0 <= at < len(tokens) else ""


def _of_unit(tokens: Sequence[str], at: int, today: date) -> Iterator[Days]:
    word, after = tokens[at], _at(tokens, at + 1)
    number = _at(tokens, at - 1)
    count = 2 if word in words.TWO_UNITS else _count(number)
    unit = words.TWO_UNITS.get(word) or _UNIT[word]
    before = number if word in words.TWO_UNITS or count is None else _at(tokens, at - 2)
    if count is None and after in words.AFTER_AGO_OF_ONE:
        count = 1
    if count is not None and (before in words.BEFORE_AGO or after in words.AFTER_AGO):
        slack = _slack(count, unit) + (2 if number in words.VAGUE else 0)
        yield _around(today - timedelta(count * _DAYS_OF[unit]), slack)
    elif (before in words.LAST and word != "an") or after in words.AFTER_LAST:  # "did it last an hour?"
        if unit != "day" or before.isascii():  # not "先日"
            yield _last(unit, count, today)
    elif unit != "day" and (before in words.THIS or after in words.AFTER_THIS):
        yield _current(unit, today)


def _of_weekday(tokens: Sequence[str], at: int, today: date) -> Iterator[Days]:
    word, before, after = tokens[at], _at(tokens, at - 1), _at(tokens, at + 1)
    weekday = _WEEKDAY[word] if word in _WEEKDAY else _WEEKDAY[word.removesuffix("s")]
    ago = (today.weekday() - weekday) % 7
    is_of_last_week = _UNIT.get(before) == "week" and _at(tokens, at - 2) in words.LAST
    if is_of_last_week or before in words.OF_LAST_WEEK:
        yield _around(today - timedelta(today.weekday() + 7 - weekday), 0)
    elif before in words.LAST or after in words.AFTER_LAST:
        yield _around(today - timedelta(ago or 7), 0)
    elif before in words.ON_WEEKDAY or after in words.AFTER_WEEKDAY or _is_named_alone(word, before):
        yield _around(today - timedelta(ago), 0)


def _is_named_alone(weekday: str, before: str) -> bool:
    """Whether a weekday without "on" is meant as a day: in Chinese, Japanese and Korean, there is no "on"."""
    return re.match(f"[{PAIRED}]", weekday) is not None and before not in words.HABIT


def _last(unit: str, count: int | None, today: date) -> Days:
    """Days named with "last": "last week" is the calendar week, "the last 3 weeks" end today."""
    if count is not None or unit == "day":
        return Days(today - timedelta((count or 1) * _DAYS_OF[unit]), today)
    first = _current(unit, today).first
    assert first is not None  # noqa: S101  (a week, a month or a year)
    last = first - timedelta(1)
    return Days(_current(unit, last).first, last)


def _current(unit: str, today: date) -> Days:
    begin: dict[str, Callable[[], date]] = {
        "week": lambda: today - timedelta(today.weekday()),
        "month": lambda: today.replace(day=1),
        "year": lambda: today.replace(month=1, day=1),
    }
    return Days(begin[unit](), today)


def _around(when: date, slack: int) -> Days:
    return Days(when - timedelta(slack), when + timedelta(slack))


def _slack(count: int, unit: str) -> int:
    """How many days "three weeks ago" may be off: half a week; with months and years, about half of one."""
    return 0 if unit == "day" and count < 7 else max(1, _DAYS_OF[unit] // 2)  # noqa: PLR2004


def _count(word: str) -> int | None:
    if word.isdecimal() and len(word) <= _MOST_DIGITS:
        return int(word)
    return _NUMBER.get(word)


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)
