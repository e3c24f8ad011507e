"""Dates in a question, as people write them: the days of the conversation that the question asks about."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

_MONTHS = (
    ("january", "jan", "januar", "jänner", "janvier", "enero", "janeiro", "gennaio", "января", "январе"),
    ("february", "feb", "februar", "février", "febrero", "fevereiro", "febbraio", "февраля", "феврале"),
    ("march", "mar", "märz", "mars", "marzo", "março", "maart", "марта", "марте"),
    ("april", "apr", "avril", "abril", "aprile", "апреля", "апреле"),
    ("may", "mai", "mayo", "maio", "maggio", "mei", "maj", "мая", "мае"),
    ("june", "jun", "juni", "juin", "junio", "junho", "giugno", "июня", "июне"),
    ("july", "jul", "juli", "juillet", "julio", "julho", "luglio", "июля", "июле"),
    ("august", "aug", "août", "agosto", "augustus", "augusti", "августа", "августе"),
    ("september", "sept", "sep", "septembre", "septiembre", "setembro", "settembre", "сентября", "сентябре"),
    ("october", "oct", "oktober", "octobre", "octubre", "outubro", "ottobre", "октября", "октябре"),
    ("november", "nov", "novembre", "noviembre", "novembro", "ноября", "ноябре"),
    ("december", "dec", "dezember", "décembre", "diciembre", "dezembro", "dicembre", "декабря", "декабре"),
)  # fmt: skip
_MONTH = {name: number for number, names in enumerate(_MONTHS, 1) for name in names}
# Month names that are also other words; they count as months only beside a day or a year.
_DOUBTFUL = {"may", "march", "mar", "mars", "mai", "mei", "jan", "sep", "dec", "nov", "jun", "jul"}
_WEEKDAYS = (
    ("monday", "montag", "lundi", "lunes", "segunda-feira", "lunedì", "maandag", "понедельник"),
    ("tuesday", "dienstag", "mardi", "martes", "terça-feira", "martedì", "dinsdag", "вторник"),
    ("wednesday", "mittwoch", "mercredi", "miércoles", "quarta-feira", "mercoledì", "woensdag", "среду"),
    ("thursday", "donnerstag", "jeudi", "jueves", "quinta-feira", "giovedì", "donderdag", "четверг"),
    ("friday", "freitag", "vendredi", "viernes", "sexta-feira", "venerdì", "vrijdag", "пятницу"),
    ("saturday", "samstag", "sonnabend", "samedi", "sábado", "sabato", "zaterdag", "субботу"),
    ("sunday", "sonntag", "dimanche", "domingo", "domenica", "zondag", "воскресенье"),
)
_WEEKDAY = {name: number for number, names in enumerate(_WEEKDAYS) for name in names}
_AGO = {
    "today": 0, "heute": 0, "aujourd'hui": 0, "hoy": 0, "hoje": 0, "oggi": 0, "vandaag": 0, "сегодня": 0,
    "tonight": 0, "yesterday": 1, "gestern": 1, "hier": 1, "ayer": 1, "ontem": 1, "ieri": 1, "gisteren": 1,
    "вчера": 1, "vorgestern": 2, "anteayer": 2, "anteontem": 2, "eergisteren": 2, "позавчера": 2,
    "今天": 0, "昨天": 1, "前天": 2, "今日": 0, "昨日": 1, "一昨日": 2, "วันนี้": 0, "เมื่อวาน": 1,
}  # fmt: skip
_NUMBERS = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "couple of": 2, "few": 3,
}  # fmt: skip
_UNITS = {"day": 1, "week": 7, "fortnight": 14, "month": 30, "year": 365}
# "999 years ago" is the farthest; such days exist only for a question of a later year than this one.
_MOST_YEARS = 1000
_LAST = (
    r"(?:last|past|previous|letzten?|vorigen?|vergangenen?|dernière?|pasad[ao]|passad[ao]|scors[ao]|vorige)"
)


class _Pattern:
    """A pattern that is compiled at its first use, so that importing this module stays cheap."""

    def __init__(self, text: str) -> None:
        self._text = text

    def found_in(self, text: str) -> Iterator[re.Match[str]]:
        """The matches in a text."""
        return re.finditer(self._text, text)  # `re` keeps compiled patterns


_YEAR = r"(?:19|20)\d\d"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_NAMED = "|".join(sorted(map(re.escape, _MONTH), key=len, reverse=True))
_ISO = _Pattern(rf"\b({_YEAR})-(0[1-9]|1[0-2])(?:-({_DAY}))?\b")
_DIGITS = _Pattern(rf"\b({_DAY})([./-])({_DAY})\2({_YEAR}|\d\d)\b")
_CHINESE = _Pattern(rf"(?:({_YEAR})年)?(?:(1[0-2]|0?[1-9])月)?(?:({_DAY})日)?")
_DAY_MONTH = _Pattern(
    rf"\b({_DAY})(?:st|nd|rd|th|\.|º|er)?[ ]+(?:of |de |d')?({_NAMED})\b\.?(?:,?[ ]+(?:of |de )?({_YEAR}))?"
)
_MONTH_DAY = _Pattern(rf"\b({_NAMED})\.?[ ]+({_DAY})(?:st|nd|rd|th)?\b(?!:)(?:,?[ ]+({_YEAR}))?")
_MONTH_YEAR = _Pattern(rf"\b({_NAMED})\b\.?,?[ ]+(?:of |de |del )?({_YEAR})\b")
_MONTH_ALONE = _Pattern(rf"\b(?:(in|of|since|during|until|by|early|late|mid|im|en|em|w|в)[ -]+)?({_NAMED})\b")
_YEAR_ALONE = _Pattern(rf"(?<![\w.,:/$€£-])({_YEAR})(?![\w:/%€-])")
_SOME_AGO = _Pattern(rf"\b(\d{{1,3}}|{'|'.join(_NUMBERS)}) ({'|'.join(_UNITS)})s? (?:ago|before now|back)\b")
_LAST_SPAN = _Pattern(rf"\b{_LAST} (?:(\d{{1,3}}|{'|'.join(_NUMBERS)}) )?({'|'.join(_UNITS)})s?\b")
_THIS_SPAN = _Pattern(r"\bthis (week|month|year)\b")
_ON_WEEKDAY = _Pattern(
    rf"\b(?:(on|last|past|this|previous|am|letzten|vorigen|le|el|na|il|op|vorige|в|во) )?"
    rf"({'|'.join(_WEEKDAY)})s?\b"
    r"(?: (dernier|pasado|passada|scorso))?"
)
_AGO_WORD = _Pattern(
    "|".join(rf"\b{re.escape(word)}\b" if word.isascii() or "а" <= word[0] <= "я" else word for word in _AGO)
)
_DAY_BEFORE = _Pattern(r"\bthe day before yesterday\b")
_TODAY = _Pattern(r"\bthis (?:morning|afternoon|evening)\b|\blast night\b")


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
        question: a text as a person writes it, in English. Months, weekdays, and words such as "yesterday"
            are known in some other languages too.
        today: the day of the question: "last Tuesday" is before this day.
    """
    text = " ".join(question.lower().split())
    found: list[Days] = []
    for reader in (_absolute, _relative) if today.year > _MOST_YEARS else (_absolute,):
        pieces: list[tuple[int, int]] = []
        for start, end, days in reader(text, today):
            if all(end <= other_start or start >= other_end for other_start, other_end in pieces):
                pieces.append((start, end))
                found.append(days)
    return found


_Found = Iterator[tuple[int, int, Days]]


def _absolute(text: str, today: date) -> _Found:  # noqa: ARG001  (as the other)
    """Days that a date names; the more exact expressions come first."""
    for pattern, days_of in _NAMED_DAYS:
        for found in pattern.found_in(text):
            if found[0]:
                yield from days_of(found)


def _of_year_month_day(found: re.Match[str]) -> _Found:
    if found[1] or found[2]:
        yield *found.span(), Days(year=_number(found[1]), month=_number(found[2]), day=_number(found[3]))


def _of_day_month(found: re.Match[str]) -> _Found:
    yield *found.span(), Days(year=_number(found[3]), month=_MONTH[found[2]], day=int(found[1]))


def _of_month_year(found: re.Match[str]) -> _Found:
    yield *found.span(), Days(year=int(found[2]), month=_MONTH[found[1]])


def _of_month_day(found: re.Match[str]) -> _Found:
    yield *found.span(), Days(year=_number(found[3]), month=_MONTH[found[1]], day=int(found[2]))


def _of_month(found: re.Match[str]) -> _Found:
    if found[2] not in _DOUBTFUL or (found[1] is not None and found[2] in {"may", "march"}):
        yield *found.span(), Days(month=_MONTH[found[2]])


def _of_year(found: re.Match[str]) -> _Found:
    yield *found.span(), Days(year=int(found[1]))


def _of_digits(found: re.Match[str]) -> _Found:
    """8/5/2023: the day may stand before or after the month. In dates with dots, it stands before."""
    one, other, year = int(found[1]), int(found[3]), int(found[4])
    year += 2000 if year < 100 else 0  # noqa: PLR2004
    orders = [(one, other)] if found[2] == "." else [(one, other), (other, one)]
    spans = iter([found.span(), (-1, -1)])  # both readings are searched
    for day, month in dict.fromkeys(orders):
        if month <= 12:  # noqa: PLR2004
            yield *next(spans), Days(year=year, month=month, day=day)


_NAMED_DAYS: tuple[tuple[_Pattern, Callable[[re.Match[str]], _Found]], ...] = (
    (_ISO, _of_year_month_day),
    (_DIGITS, _of_digits),
    (_CHINESE, _of_year_month_day),
    (_DAY_MONTH, _of_day_month),
    (_MONTH_YEAR, _of_month_year),  # "May 2023" has no day, so the year is tried first
    (_MONTH_DAY, _of_month_day),
    (_MONTH_ALONE, _of_month),
    (_YEAR_ALONE, _of_year),
)


def _relative(text: str, today: date) -> _Found:
    """Days that are named by their distance from today."""
    for found in _DAY_BEFORE.found_in(text):
        yield *found.span(), _around(today - timedelta(2), 0)
    for found in _AGO_WORD.found_in(text):
        yield *found.span(), _around(today - timedelta(_AGO[found[0]]), 0)
    for found in _TODAY.found_in(text):
        yield *found.span(), Days(today - timedelta("night" in found[0]), today)
    for found in _SOME_AGO.found_in(text):
        count, unit = _count(found[1]), _UNITS[found[2]]
        yield *found.span(), _around(today - timedelta(count * unit), _slack(count, unit))
    for found in _LAST_SPAN.found_in(text):
        yield *found.span(), _last(found[2], _count(found[1]) if found[1] else None, today)
    for found in _THIS_SPAN.found_in(text):
        yield *found.span(), _current(found[1], today)
    for found in _ON_WEEKDAY.found_in(text):
        if found[1] or found[3]:
            ago = (today.weekday() - _WEEKDAY[found[2]]) % 7
            is_before = ago == 0 and found[1] not in {"this", "on"}
            yield *found.span(), _around(today - timedelta(7 if is_before else ago), 0)


def _last(unit: str, count: int | None, today: date) -> Days:
    """Days named with "last": "last week" is the calendar week, "the last 3 weeks" end today."""
    if count is not None or unit in {"day", "fortnight"}:
        return Days(today - timedelta((count or 1) * _UNITS[unit]), today)
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


def _slack(count: int, unit: int) -> int:
    """How many days "three weeks ago" may be off: half a week; with months and years, about half of one."""
    return 0 if unit == 1 and count < 7 else max(1, unit // 2)  # noqa: PLR2004


def _count(word: str) -> int:
    return _NUMBERS.get(word) or int(word)


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits)
