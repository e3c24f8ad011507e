"""The command that finds messages, and the messages around a hit."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Annotated

import typer

from ..accounts.tokens import DEFAULT_MODEL
from ..conversation.recall.excerpts import RecalledTurn
from ..conversation.recall.finding import Finder
from ..conversation.recall.hooks import Hooks
from ..conversation.recall.shown import shown_in
from ..conversation.segments import segments_of
from ..exceptions import InvalidInput
from ..models.choice import choice_in
from ..stores import EventStore
from ..stores.base import AnyEvent, AnySession
from .options import AsJson, Sandbox, StoreUrl, UserId
from .program import app
from .running import Where, run
from .safe_text import cut
from .screen import Screen, tell
from .transcript import moment

# How many messages are shown on each side of a hit.
_AROUND = 5
# How many tokens the hits of one search have together. Of long messages, only the matching passages are
# shown.
_TOKENS = 20_000
# For each hit to be shown, so many messages are looked at: some are found only because they are beside a hit.
_LOOKED_AT = 8
_CUT = 300


@app.command()
def find(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="What to find: words, names, a date.", show_default=False)
    ],
    user: UserId = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="NUMBER", help="Show at most this many hits.")
    ] = 10,
    store: StoreUrl = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Find messages in all conversations, the best hit first.

    Words are compared by their stems. Each hit names the command that shows the messages around it.
    """
    if not text.strip():
        raise typer.BadParameter("TEXT is empty: give the words to find")

    async def work(opened: EventStore) -> None:
        finder = Finder(Hooks())
        async with finder.index_of_user(user, opened) as index:
            most = _LOOKED_AT * limit
            found = await finder.recalled(index, text, max_tokens=_TOKENS, model=DEFAULT_MODEL, limit=most)
            terms = set(index.with_related(index.words.question_terms(text, index.languages)))
            hits = [
                _Hit(turn, index.words.places_of(turn.text, terms, index.languages)) for turn in found.turns
            ]
        # Messages beside a hit are found too, as they may answer a question. Here, `show` gives these.
        hits = [hit for hit in hits if hit.places] or hits
        _show(Screen(), hits[:limit], as_json=as_json)

    run(Where(store, sandbox), work)


@dataclass(frozen=True, slots=True)
class _Hit:
    """A message that was found, and the positions of the words in its text."""

    turn: RecalledTurn
    places: list[tuple[int, int]]

    @property
    def way(self) -> str:
        """The command that shows the messages around the hit, with ids quoted for a shell."""
        return shlex.join(["chuk-ai-sessions", "show", self.turn.session_id, "--around", self.turn.event_id])

    def pieces(self) -> list[tuple[str, str]]:
        """The text, cut around the first word that was found; the words are highlighted."""
        text, shift = self.turn.text, 0
        if len(text) > _CUT and self.places:
            shift = max(0, min(self.places[0][0] - _CUT // 3, len(text) - _CUT))
        end = min(len(text), shift + _CUT)
        pieces = [("… ", "dim")] if shift else []
        at = shift
        for start, stop in self.places:
            if at <= start and stop <= end:
                pieces += [(text[at:start], ""), (text[start:stop], "bold yellow")]
                at = stop
        pieces.append((text[at:end], ""))
        return [*pieces, (" …", "dim")] if end < len(text) else pieces


def _show(screen: Screen, hits: list[_Hit], *, as_json: bool) -> None:
    if as_json:
        screen.json({"hits": [_as_json(hit) for hit in hits]})
        return
    for hit in hits:
        turn = hit.turn
        if screen.is_terminal:
            screen.line()
            screen.line((turn.speaker, "bold cyan"), (f"  {moment(turn.time)}", "dim"))
            screen.line("  ", *hit.pieces())
            screen.line((f"  {hit.way}", "dim"))
        else:
            row = (turn.session_id, turn.event_id, moment(turn.time), turn.speaker)
            screen.rows([(*row, cut(turn.text, _CUT))])
    if not hits:
        tell("No message matches.")


def _as_json(hit: _Hit) -> dict[str, object]:
    turn = hit.turn
    return {
        "session_id": turn.session_id,
        "event_id": turn.event_id,
        "time": turn.time.isoformat(),
        "speaker": turn.speaker,
        "text": turn.text,
        "hits": [list(place) for place in hit.places],
        "score": round(turn.score, 4),
        "show": hit.way,
    }


@dataclass(slots=True)
class Around:
    """The events around one event, each with its segment, and how many events come before them."""

    root: AnySession
    """The conversation's first segment."""
    chain: list[str]
    """The ids of all segments."""
    events: list[tuple[AnySession, AnyEvent]]
    before: int


async def events_around(
    session_id: str, event_id: str, store: EventStore, *, everything: bool, off: set[str]
) -> Around:
    """The events around one event of a conversation: five on each side.

    Raises:
        InvalidInput: the conversation has no such event.
        SessionNotFound: the session does not exist.
        StorageError: the store failed.
    """
    placed: list[tuple[AnySession, AnyEvent]] = []
    chain: list[AnySession] = []
    async for segment in segments_of(session_id, store):
        chain.append(segment)
        placed += (
            (segment, event)
            for event in segment.events
            if everything or not (event.id in off or is_note(event)) or event.id == event_id
        )
    at = next((at for at, (_, event) in enumerate(placed) if event.id == event_id), None)
    if at is None:
        raise InvalidInput("show", f"the conversation has no event {event_id}")
    first = max(0, at - _AROUND)
    return Around(chain[0], [segment.id for segment in chain], placed[first : at + _AROUND + 1], first)


def is_note(event: AnyEvent) -> bool:
    """Whether an event is only a note on others: a choice between them, or the excerpts shown beside them."""
    return choice_in(event) is not None or shown_in(event) is not None
