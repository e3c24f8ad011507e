"""What a conversation was about, noted without a model: the built-in summary."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from .messages import ChatMessage, text_of

# The original's wording and measures, which applications match on.
_SHORTEST_TOPIC = 10
_LONGEST_TOPIC = 80
_TOPICS = 3

# Of each segment, so that a talkative one does not push out all that was noted before it.
_DETAILS = 24
_DECISIONS = 6
_LONGEST_DETAIL = 60
_LONGEST_SENTENCE = 160
_LONGEST_REQUEST = 240
_SHORT_ANSWER = 3
_AROUND = ".,;:!?…'’-–—。，！？、；：/\\"

# Of a message: a bound to what reading it costs. What matters in a longer one is seldom in its middle.
_BEGINNING, _END = 6_000, 2_000

_SENTENCE = re.compile(r"[^.!?。！？\n]+(?:[.!?。！？]+(?!\s|$)[^.!?。！？\n]+)*[.!?。！？]*")
_WORD = re.compile(r"[^\s\"“”«»()\[\]{}<>|`*，、；：]+")
_LIST_MARK = re.compile(r"^\s*(?:[-*•#]+|\d{1,2}[.)])\s+")
_NAMED = re.compile(r"\b[Nn]ame(?:'s| is)\s+([\w'-]+(?:\s+[A-Z][\w'-]+){0,2})")
_THANKS = re.compile(r"\bthank", re.IGNORECASE)
_ASKING = re.compile(r"^\W*please\b|\b(?:would|do) you (?:like|want)\b|\?$|？$", re.IGNORECASE)
_DECISION = re.compile(
    r"\b(?:decid|decision|agree[ds]?\b|let'?s\b|we(?:'ll| will)\b|go(?:ing)? with\b|cho[os]e|chosen"
    r"|settled? on|confirm|approve|book(?:ed|ing) (?:is|was|has)|has been|have been|instead of\b"
    r"|rather than\b|prefer|deadline|entschied|einverstanden|décid|d'accord|decidi|de acuerdo)"
    r"|决定|同意|确认|就这样|決め",
    re.IGNORECASE,
)
# Words that begin sentences, and others that are capitalised without naming anything; none of them says
# what a number beside it is of.
_COMMON_WORDS = """
    a about above after all also am an and any are as at be because been before but by can could dear
    did do does done either else every for from further good got great had has have he hello her here
    hey hi his how however i i'd i'll i'm i've if in into is it it's its just let let's like maybe me
    might more most mr mrs ms must my need next no not nothing now of oh ok okay on once one only or our
    please perhaps put regarding same see she should since so some sorry such sure than thank thanks
    that that's the their them then there there's these they they're this those to today tomorrow too
    unfortunately unless until up upon us very want was we we'll we're we've well were what what's when
    where whether which while who whom whose why will with within without would yes yesterday yet you
    you're your yours
"""
_COMMON = frozenset(_COMMON_WORDS.split())
_IS_DOING = frozenset({"is", "was", "has", "will", "and", "said", "says", "wants", "needs", "works", "lives"})

_SHORTENED = ("earlier", "topics", "names", "figures", "decisions", "request")


@dataclass(frozen=True, slots=True)
class Notes:
    """What is known of a conversation up to some point; `str` of it is the summary.

    Notes go on from notes: `after` adds what was said next, so that they cover a conversation of any
    length. What they hold is JSON.
    """

    earlier: str = ""
    """A summary by somebody else, of all before what is noted here."""
    topics: tuple[str, ...] = ()
    other_topics: int = 0
    asked: int = 0
    answered: int = 0
    names: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    request: str = ""
    is_open: bool = False
    """Whether nobody answered the request."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Notes as `as_json` gave them; what is none of it is left out."""
        known: dict[str, Any] = {}
        for field in fields(cls):
            part = value.get(field.name)
            if isinstance(field.default, tuple):
                known[field.name] = tuple(map(str, part)) if isinstance(part, list) else ()
            elif isinstance(part, type(field.default)):
                known[field.name] = part
        return cls(**known)

    def as_json(self) -> dict[str, Any]:
        """The notes as JSON, without what is empty."""
        values = {name: value for name, value in asdict(self).items() if value}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def followed_by(self, summary: str) -> Self:
        """These notes, and a summary by somebody else of what was next."""
        return type(self)(earlier=f"{self} {summary}" if self else summary)

    def after(self, messages: Sequence[ChatMessage]) -> Self:
        """Note what was said next, by user and assistant."""
        said = [(row["role"], _readable(row)) for row in messages]
        questions = [topic for role, text in said if role == "user" and (topic := _topic(text))]
        # The user's own words are noted last, as the newest: they stay longest.
        texts = [text for _, text in sorted(said, key=lambda one: one[0] == "user")]
        request, is_open = _request(said)
        return replace(
            self,
            topics=self.topics + tuple(questions[:_TOPICS]),
            other_topics=self.other_topics + len(questions[_TOPICS:]),
            asked=self.asked + sum(role == "user" for role, _ in said),
            answered=self.answered + sum(role == "assistant" for role, _ in said),
            names=_newest_of(self.names, _all(_names, texts)[-_DETAILS:]),
            figures=_newest_of(self.figures, _all(_figures, texts)[-_DETAILS:]),
            decisions=_newest_of(self.decisions, _all(_decisions, [text for _, text in said])[-_DECISIONS:]),
            request=request or self.request,
            is_open=is_open if request else self.is_open,
        )

    def shorter(self) -> Self:
        """With less in it: the longest part loses its oldest, down to nothing at all."""
        longest = max(_SHORTENED, key=lambda name: len("".join(getattr(self, name))))
        part = getattr(self, longest)
        if isinstance(part, str):
            changes: dict[str, Any] = {longest: _tail(part, len(part) * 3 // 4)}
        else:
            gone = max(1, len(part) // 4)
            changes = {longest: part[gone:]}
            if longest == "topics":
                changes["other_topics"] = self.other_topics + len(part[:gone])
        return replace(self, **changes)

    def __bool__(self) -> bool:
        """Whether anything is noted."""
        return self != type(self)()

    def __str__(self) -> str:
        """The summary, a few lines of text: what one of them says, those below need not."""
        lines = [self.earlier, self._discussed()]
        request = self.request
        if request and not any(request.startswith(topic) for topic in self.topics[-1:]):
            lines.append(f"{'Open' if self.is_open else 'Last'} request: {request}")
        for title, part in {"Decided": self.decisions, "Names": self.names, "Figures": self.figures}.items():
            told = "\n".join(lines).casefold()
            if untold := [text for text in part if text.casefold() not in told]:
                lines.append(f"{title}: {'; '.join(untold)}")
        return "\n".join(filter(None, lines))

    def _discussed(self) -> str:
        if self.topics:
            more = f" and {self.other_topics} other topics" if self.other_topics else ""
            return f"User discussed: {'; '.join(self.topics)}{more}"
        if self.asked or self.answered or not self.earlier:
            return f"Conversation with {self.asked} user messages and {self.answered} responses"
        return ""


def _all(find: Callable[[str], list[str]], texts: Iterable[str]) -> list[str]:
    return [found for text in texts for found in find(text)]


def _readable(row: ChatMessage) -> str:
    text = text_of(row)
    return text if len(text) <= _BEGINNING + _END else f"{text[:_BEGINNING]}\n{text[-_END:]}"


def _topic(text: str) -> str | None:
    question, mark, _ = text.partition("?")
    question = " ".join(question.split())
    if not mark or len(question) <= _SHORTEST_TOPIC:
        return None
    if len(question) > _LONGEST_TOPIC:  # then only the sentence that asks, if that says enough
        sentence = _SENTENCE.findall(question)[-1].strip()
        question = sentence if len(sentence) > _SHORTEST_TOPIC else question
    return _cut(question, _LONGEST_TOPIC)


def _request(said: Sequence[tuple[str, str]]) -> tuple[str, bool]:
    """What the user asked for last, and whether nobody answered it; not a mere "yes" or a number."""
    for at in range(len(said) - 1, -1, -1):
        role, text = said[at]
        if role != "user" or (_THANKS.search(text) and "?" not in text):
            continue
        if "?" in text or len(text.split()) > _SHORT_ANSWER or len(text) > _LONGEST_TOPIC:
            return _cut(text, _LONGEST_REQUEST), not any(role == "assistant" for role, _ in said[at:])
    return "", False


def _decisions(text: str) -> list[str]:
    return [
        _cut(sentence, _LONGEST_SENTENCE)
        for sentence in _SENTENCE.findall(text)
        if _DECISION.search(sentence) and not _ASKING.search(sentence)
    ]


def _figures(text: str) -> list[str]:
    """Numbers, dates, prices and codes, each with the words beside it that say what it is of."""
    found = []
    for line in text.splitlines():
        words = [word.strip(_AROUND) for word in _WORD.findall(_LIST_MARK.sub("", line))]
        for at, word in enumerate(words):
            if any(map(str.isdigit, word)):
                before = words[at - 1] if at and _tells(words[at - 1]) else ""
                after = words[at + 1] if at + 1 < len(words) and _tells(words[at + 1]) else ""
                found.append(" ".join(filter(None, [before, word[:_LONGEST_DETAIL], after])))
    return [figure for figure in found if len(figure) > 1]


def _tells(word: str) -> bool:
    """Whether a word says what the number beside it is of."""
    return word.isalpha() and word.lower() not in _COMMON and len(word) < _LONGEST_DETAIL // 3


def _names(text: str) -> list[str]:
    """Runs of capitalised words, where a capital is not only how a sentence begins."""
    found = [" ".join(match.split()) for match in _NAMED.findall(text)]
    for sentence in _SENTENCE.findall(text):
        words = [word.strip(_AROUND) for word in _WORD.findall(sentence)]
        at = 0
        while at < len(words):
            end = at
            while end < len(words) and _is_capitalised(words[end]):
                end += 1
            following = words[end] if end < len(words) else ""
            if end > at and (at > 0 or end - at > 1 or following in _IS_DOING or words[at].isupper()):
                found.append(" ".join(words[at:end])[:_LONGEST_DETAIL])
            at = max(end, at + 1)
    return found


def _is_capitalised(word: str) -> bool:
    if len(word) < 2 or not word[0].isupper() or any(map(str.isdigit, word)):  # noqa: PLR2004  (not "I")
        return False
    return word.lower() not in _COMMON


def _newest_of(known: tuple[str, ...], new: Iterable[str]) -> tuple[str, ...]:
    """Each once, where it was said last."""
    by_text = {text.casefold(): text for text in known}
    for text in new:
        by_text.pop(text.casefold(), None)
        by_text[text.casefold()] = text
    return tuple(by_text.values())


def _cut(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _tail(text: str, length: int) -> str:
    """The last characters of a text, from the beginning of a word."""
    if not length:
        return ""
    tail = text[-length:]
    return re.sub(r"^\S*\s+", "", tail, count=1) or tail
