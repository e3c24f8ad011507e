"""Notes on a conversation, made without a model: the built-in summary."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from typing import Any, NamedTuple, Self

from ..providers.messages import INTERRUPTED, ChatMessage, calls_of, text_of

# The original's wording and limits, which applications match on.
_SHORTEST_TOPIC = 10
_LONGEST_TOPIC = 80
_TOPICS = 3

# For each segment, so that a talkative one does not displace everything that was noted before it.
_DETAILS = 24
_DECISIONS = 6
_FACTS = 8
_FOUND = 24
_FOUND_IN_A_RESULT = 12
_INSTRUCTIONS = 3
_LONGEST_DETAIL = 60
_LONGEST_SENTENCE = 160
_LONGEST_REQUEST = 240
_SHORT_ANSWER = 3
_ENDS = ",;:，；："
_AROUND = ".,;:!?…'’-–—。，！？、；：/\\"

# How much of a message is read: a limit to the cost. The middle of a longer message seldom matters.
_BEGINNING, _END = 6_000, 2_000

# Texts, which `re` compiles when they are first used: compiling them here would cost every import 18 ms.
_SENTENCE = r"[^.!?。！？\n]+(?:[.!?。！？]+(?!\s|$)[^.!?。！？\n]+)*[.!?。！？]*"
_WORD = r"[^\s\"“”«»()\[\]{}<>|`*，、；：]+"
_MAY_HAVE_DIGITS = r"[0-9]|[^\x00-\x7f]"
_LIST_MARK = r"^\s*(?:[-*•#]+|\d{1,2}[.)])\s+"
_NAMED = r"\b[Nn]ame(?:'s| is)\s+(\w[\w'-]{0,30}(?:\s+[A-Z][\w'-]{0,30}){0,2})"
_THANKS = r"(?i)\bthank"
_ASKING = r"(?i)\bplease\b|\b(?:once|if|would|do|could|can) you\b|\?$|？$"
_FACT = (
    r"(?i)\b(?:my|our) (?:\w+[ -]){1,4}(?:is|are|was)\b|\bcall me\b|\bI live\b"
    r"|\bI(?:'m| am) (?!not\b|sorry|afraid|here|glad|happy|sure)\w"
)
_ONESELF = r"\b(?:I|me|mine|[Mm]y|we|us|[Oo]ur|ours)\b"
_OF_ONESELF = (
    (r"^I(?:'m| am)\b", " is"),
    (r"^I live\b", " lives"),
    (r"^(?:[Mm]y|[Oo]ur)\b", "'s"),
)
_DECISION = (
    r"(?i)\b(?:decided|decision|agreed"
    r"|let'?s (?:book|choose|do|go|keep|make|move|pick|plan|stick|switch|take|use)\b"
    r"|we(?:'ll| will) (?!need|see|have to)|(?:i'll|we'll|i will|we will|going to|let's) go with\b"
    r"|chose\b|chosen|settled on|confirmed\b|i confirm\b|approved\b|has been|have been|instead of\b"
    r"|rather than\b|prefers?\b|deadline|entschieden|einverstanden|décidé|d'accord|decidido|de acuerdo)"
    r"|决定|同意|确认|就这样|決め"
)
# Words that begin sentences, and others that are capitalised without naming anything; none of them says
# what a number beside it means.
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

# The parts from which something is dropped when a summary is too long, and the weight of each: what users say
# about themselves, and instructions, stay longest.
_WEIGHTS = {
    "earlier": 1.0,
    "topics": 1.0,
    "names": 1.0,
    "figures": 1.0,
    "found": 0.8,
    "decisions": 0.7,
    "request": 0.5,
    "goal": 0.5,
    "facts": 0.3,
    "people": 0.3,
    "instructions": 0.3,
}


@dataclass(frozen=True, slots=True)
class Notes:
    """What is known of a conversation up to some point; `str` of it is the summary.

    Notes are cumulative: `after` adds the next messages, so that notes cover a conversation of any
    length. All contents are JSON.
    """

    earlier: str = ""
    """Another summary, of everything before these notes."""
    instructions: tuple[str, ...] = ()
    """What the application told the model in the middle of the conversation."""
    goal: str = ""
    """The user's first request."""
    topics: tuple[str, ...] = ()
    other_topics: int = 0
    asked: int = 0
    answered: int = 0
    facts: tuple[str, ...] = ()
    """What the user said about themselves."""
    people: tuple[str, ...] = ()
    """What users with names said about themselves, each with the user's name."""
    names: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    """Details from tools' results: numbers, ids and names, each with its meaning."""
    decisions: tuple[str, ...] = ()
    request: str = ""
    is_open: bool = False
    """Whether nobody answered the request."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The notes that `as_json` returned; anything else is left out."""
        known: dict[str, Any] = {}
        for field in fields(cls):
            part = value.get(field.name)
            if isinstance(field.default, tuple):
                known[field.name] = tuple(map(str, part)) if isinstance(part, list) else ()
            elif isinstance(part, type(field.default)):
                known[field.name] = part
        return cls(**known)

    def as_json(self) -> dict[str, Any]:
        """Return the notes as JSON, without empty parts."""
        values = {name: value for name, value in asdict(self).items() if value}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def followed_by(self, summary: str) -> Self:
        """These notes, followed by another summary of what came next."""
        return type(self)(earlier=f"{self} {summary}" if self else summary)

    def after(self, messages: Sequence[ChatMessage]) -> Self:
        """The notes after the next messages of user and assistant, and the next results of tools."""
        said = [
            _Said(row["role"], _readable(row), _name_in(row))
            for row in messages
            if row["role"] != "tool" and (row.get("content") or not calls_of(row))
        ]
        results = [_readable(row) for row in messages if row["role"] == "tool"]
        by_user, by_model, instructions = (
            [each.text for each in said if each.role == wanted] for wanted in ("user", "assistant", "system")
        )
        questions = [topic for text in by_user if (topic := _topic(text))]
        request, is_open = _request(said)
        goal = self.goal or ("" if self.asked else _goal(said))
        texts = [*by_model, *by_user]  # the user's own words come last, as the newest, so they stay longer
        told = [
            each.by_name(fact) for each in said if each.role != "system" for fact in _decisions(each.text)
        ]
        unnamed = [each.text for each in said if each.role == "user" and not each.name]
        people = [_fact_of(each.name, fact) for each in said if each.name for fact in _facts(each.text)]
        return replace(
            self,
            instructions=_newest_of(self.instructions, map(_short, instructions))[-_INSTRUCTIONS:],
            goal=goal,
            topics=self.topics + tuple(questions[:_TOPICS]),
            other_topics=self.other_topics + len(questions[_TOPICS:]),
            asked=self.asked + len(by_user),
            answered=self.answered + len(by_model),
            facts=_newest_of(self.facts, _all(_facts, unnamed))[-_FACTS:],
            people=_newest_of(self.people, people)[-_FACTS:],
            names=_newest_of(self.names, _last(_DETAILS, _names, texts)),
            figures=_newest_of(self.figures, _last(_DETAILS, _figures, texts), _number_in),
            found=_newest_of(self.found, _last(_FOUND, _found, results)),
            decisions=_newest_of(self.decisions, told[-_DECISIONS:]),
            request=request or self.request,
            is_open=is_open if request else self.is_open,
        )

    def shorter(self) -> Self:
        """Shorter notes: the longest part loses its oldest entry; at last, nothing is left."""
        longest = max(_WEIGHTS, key=lambda name: _WEIGHTS[name] * len("".join(getattr(self, name))))
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
        return self is not NO_NOTES and self != NO_NOTES

    def __str__(self) -> str:
        """The summary, a few lines of text; no line repeats what a line above says."""
        lines = [self.earlier, self._discussed()]
        goal = "" if self.goal == self.request else self.goal
        requests = {"First request": goal, f"{'Open' if self.is_open else 'Last'} request": self.request}
        for title, text in requests.items():
            if text and not any(text.startswith(topic.removesuffix("…")) for topic in self.topics):
                lines.append(f"{title}: {text}")
        details = {
            "Instructions": self.instructions,
            "About the user": self.facts,
            "About the users": self.people,
            "Decided": self.decisions,
            "Names": self.names,
            "Figures": self.figures,
            "Tools found": self.found,
        }
        for title, part in details.items():
            told = "\n".join(lines).casefold()
            if untold := [text for text in part if not _is_told(text.casefold(), told)]:
                lines.append(f"{title}: {'; '.join(untold)}")
        return "\n".join(filter(None, lines))

    def _discussed(self) -> str:
        if self.topics:
            more = f" and {self.other_topics} other topics" if self.other_topics else ""
            return f"User discussed: {'; '.join(self.topics)}{more}"
        if self.asked or self.answered or not self.earlier:
            return f"Conversation with {self.asked} user messages and {self.answered} responses"
        return ""


NO_NOTES = Notes()
"""Notes without any content."""


class _Said(NamedTuple):
    """A message, and the name of its speaker."""

    role: str
    text: str
    name: str
    """The speaker's name; empty if the users have no names."""

    def by_name(self, text: str) -> str:
        """A text with the speaker's name."""
        return f"{self.name}: {text}" if self.name else text


def _name_in(row: ChatMessage) -> str:
    name = row.get("name") if row["role"] == "user" else None
    return " ".join(name.split())[:_LONGEST_DETAIL] if isinstance(name, str) else ""


def _all(find: Callable[[str], list[str]], texts: Iterable[str]) -> list[str]:
    return [found for text in texts for found in find(text)]


def _last(number: int, find: Callable[[str], list[str]], texts: Sequence[str]) -> list[str]:
    """The last ones of all that is found; no earlier text is searched than is needed for that."""
    found: list[str] = []
    for text in reversed(texts):
        if len(found) >= number:
            break
        found = find(text) + found
    return found[-number:]


def _readable(row: ChatMessage) -> str:
    text = text_of({"content": row.get("content")})  # without its tool calls
    return text if len(text) <= _BEGINNING + _END else f"{text[:_BEGINNING]}\n{text[-_END:]}"


def _topic(text: str) -> str | None:
    question, mark, _ = text.partition("?")
    question = question.strip()
    return _cut(question, _LONGEST_TOPIC) if mark and len(question) > _SHORTEST_TOPIC else None


def _goal(said: Sequence[_Said]) -> str:
    asked = (each for each in said if each.role == "user" and _asks_for_something(each.text))
    return next((_short(each.by_name(each.text)) for each in asked), "")


def _request(said: Sequence[_Said]) -> tuple[str, bool]:
    """The user's last request, and whether nobody answered it; a mere "yes" or a number is not a request."""
    for at in range(len(said) - 1, -1, -1):
        if said[at].role == "user" and _asks_for_something(said[at].text):
            is_open = not any(each.role == "assistant" for each in said[at:])
            return _short(said[at].by_name(said[at].text)), is_open
    return "", False


def _asks_for_something(text: str) -> bool:
    if "?" in text:
        return True
    return not re.search(_THANKS, text) and (len(text.split()) > _SHORT_ANSWER or len(text) > _LONGEST_TOPIC)


def _facts(text: str) -> list[str]:
    return [sentence for sentence in _statements(text) if re.search(_FACT, sentence)]


def _fact_of(name: str, fact: str) -> str:
    """What a user said about themselves, with the user's name: "I am a vegan" becomes "ada is a vegan"."""
    for pattern, words in _OF_ONESELF:
        told, count = re.subn(pattern, lambda _: f"{name}{words}", fact)  # noqa: B023  (called at once)
        if count and not re.search(_ONESELF, told):
            return told
    return f"{name}: {fact}"


def _decisions(text: str) -> list[str]:
    return [sentence for sentence in _statements(text) if re.search(_DECISION, sentence)]


def _statements(text: str) -> list[str]:
    """The sentences that are not requests."""
    sentences = (re.sub(_LIST_MARK, "", sentence) for sentence in re.findall(_SENTENCE, text))
    stated = [sentence for sentence in sentences if not re.search(_ASKING, sentence)]
    return [_cut(sentence, _LONGEST_SENTENCE).rstrip(" .。") for sentence in stated]


def _figures(text: str) -> list[str]:
    """Numbers, dates, prices and codes, each with the words beside it that say what it means."""
    found = []
    for line in text.splitlines():
        if not re.search(_MAY_HAVE_DIGITS, line):
            continue
        words = [word.strip(_AROUND) for word in re.findall(_WORD, re.sub(_LIST_MARK, "", line))]
        for at, word in enumerate(words):
            if not word.isalpha() and any(map(str.isdigit, word)):
                before = words[at - 1] if at and _tells(words[at - 1]) else ""
                after = words[at + 1] if at + 1 < len(words) and _tells(words[at + 1]) else ""
                found.append(" ".join(filter(None, [before, word[:_LONGEST_DETAIL], after])))
    return [figure for figure in found if len(figure) > 1]


def _found(result: str) -> list[str]:
    """The numbers, ids and names in a tool's result, each with its key if the result is JSON."""
    if result == INTERRUPTED:
        return []
    try:
        value = json.loads(result)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict | list):
        return (_figures(result) + _names(result))[:_FOUND_IN_A_RESULT]
    return list(islice(_leaves(value), _FOUND_IN_A_RESULT))


def _leaves(value: Any) -> Iterator[str]:
    """The values of a JSON object that are worth keeping, those nearest to its top first."""
    waiting = deque([("", value)])
    while waiting:
        key, value = waiting.popleft()
        if isinstance(value, dict):
            waiting.extend(value.items())
        elif isinstance(value, list):
            waiting.extend((key, each) for each in value)
        elif isinstance(value, str) and len(value) > _LONGEST_DETAIL:
            yield from _figures(value) + _names(value)
        elif _is_detail(value):
            yield f"{key} {value}".strip()


def _is_detail(value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return False
    return not isinstance(value, str) or any(map(str.isdigit, value)) or value[:1].isupper()


def _tells(word: str) -> bool:
    """Whether a word says what the number beside it means."""
    return word.isalpha() and word.lower() not in _COMMON and len(word) < _LONGEST_DETAIL // 3


def _names(text: str) -> list[str]:
    """Runs of capitalised words, unless the capital only begins a sentence or a label."""
    found = [" ".join(match.split()) for match in re.findall(_NAMED, text)]
    for sentence in re.findall(_SENTENCE, text):
        raw = re.findall(_WORD, sentence)
        words = [word.strip(_AROUND) for word in raw]
        is_capitalised = list(map(_is_capitalised, words))
        at = 0
        while True in is_capitalised[at:]:
            at = end = is_capitalised.index(True, at)
            while end < len(words) and is_capitalised[end] and (end == at or raw[end - 1][-1] not in _ENDS):
                end += 1
            following = words[end] if end < len(words) else ""
            is_name = at > 0 or end - at > 1 or following in _IS_DOING or words[at].isupper()
            if is_name and not raw[end - 1].endswith((":", "：")):
                found.append(" ".join(words[at:end])[:_LONGEST_DETAIL])
            at = end
    return found


def _is_capitalised(word: str) -> bool:
    if not word[:1].isupper() or len(word) < 2 or any(map(str.isdigit, word)):  # noqa: PLR2004  (not "I")
        return False
    return word.lower() not in _COMMON


def _newest_of(
    known: tuple[str, ...], new: Iterable[str], key: Callable[[str], str] = str.casefold
) -> tuple[str, ...]:
    """Each entry once, at its last place, and in its longest form."""
    by_key = {key(text): text for text in known}
    for text in new:
        before = by_key.pop(key(text), "")
        by_key[key(text)] = max(before, text, key=len)
    return tuple(by_key.values())


def _number_in(figure: str) -> str:
    return next((word for word in figure.split() if any(map(str.isdigit, word))), figure).casefold()


def _is_told(text: str, told: str) -> bool:
    """Whether a text is part of another one, but not merely part of a longer word or number."""
    at = told.find(text)
    while at >= 0:
        before, after = told[max(at - 1, 0) : at], told[at + len(text) : at + len(text) + 1]
        if not (before.isalnum() or after.isalnum() or before in {",", "."}):
            return True
        at = told.find(text, at + 1)
    return False


def _short(text: str) -> str:
    return _cut(text, _LONGEST_REQUEST)


def _cut(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _tail(text: str, length: int) -> str:
    """The last characters of a text, from the beginning of a word."""
    if not length:
        return ""
    tail = text[-length:]
    return re.sub(r"^\S*\s+", "", tail, count=1) or tail
