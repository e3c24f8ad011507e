"""The contexts that were handed out: an answer's event keeps the fingerprint of the context it answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextvars import ContextVar
from itertools import count
from typing import Any

from ...models import EventSource
from ...models.amounts import fields_of
from ...providers import anthropic, anthropic_messages, bedrock, langchain, openai_chat, responses_messages
from ...providers.context_rows import ORIGIN, Origin, context_rows, native_of
from ...providers.fingerprints import Chain, Chained, Sent, is_same
from ...providers.formats import MaySign
from ...providers.messages import ChatMessage
from ...stores.base import AnyEvent
from ..drafts import Draft
from ..recall.shown import Shown, shown_in

# The contexts that were handed out last in this task, or in its parent task: their owner, and for each kind
# the context and its number.
_newest: ContextVar[tuple[object, dict[str, tuple[int, Sent]]] | None] = ContextVar(
    "chuk_ai_session_manager_handed_out", default=None
)


# How long that context is, by our count; `None` once an answer to it was recorded.
_newest_count: ContextVar[tuple[object, int | None] | None] = ContextVar(
    "chuk_ai_session_manager_counted", default=None
)


class Contexts:
    """The contexts that one manager handed out: the last one of each kind.

    Where several tasks use a manager at the same time, each task goes by the contexts that it was given
    itself. An answer recorded by a task that asked for no context goes by the manager's last one.
    """

    def __init__(self) -> None:
        self.recalled: dict[str, Shown] = {}
        """The excerpts shown beside questions that have no answer yet, by the question's id."""
        self._known: dict[str, Chained] = {}
        self._last: dict[str, tuple[int, Sent]] = {}
        self._counted: int | None = None
        self._number = count()
        self._mark = object()

    def chain(self, kind: str) -> Chain:
        """A chain for the next context of a kind; nothing that the last one hashed is hashed again."""
        return Chain(kind, self._known.get(kind))

    def hand_out(self, kind: str, chain: Chain, tools: str) -> None:
        """Remember the context that is handed out now, and the fingerprint of its tools."""
        sent = next(self._number), chain.sent(tools)
        self._known[kind] = chain.remembered()
        self._last[kind] = sent
        here = _newest.get()
        mine = here[1] if here is not None and here[0] is self._mark else {}
        _newest.set((self._mark, mine | {kind: sent}))

    def count_out(self, tokens: int) -> None:
        """Note how long, by our count, the context is that is handed out now."""
        self._counted = tokens
        _newest_count.set((self._mark, tokens))

    def _take_count(self) -> int | None:
        """How long the context is that an answer was given; what is recorded after it was given another."""
        here = _newest_count.get()
        found = here[1] if here is not None and here[0] is self._mark else self._counted
        if here is not None and here[0] is self._mark:
            _newest_count.set((self._mark, None))
        self._counted = None
        return found

    def with_shown(self, drafts: Sequence[Draft], model: str) -> Sequence[Draft]:
        """What is recorded, and right after an answer, what was recalled for questions that waited for it.

        After it, because an answer may open a new segment: what was shown is to be in the same one.
        """
        at = next((at for at, draft in enumerate(drafts, 1) if draft.is_call), 0)
        if not at:
            return drafts
        shown = [Draft(each.as_event(), None, model) for each in self.recalled.values()]
        return [*drafts[:at], *shown, *drafts[at:]]

    def were_recorded(self, drafts: Sequence[Draft]) -> None:
        """Forget the excerpts that are recorded now."""
        for draft in drafts if self.recalled else ():
            if (shown := shown_in(draft.event)) is not None:
                self.recalled.pop(shown.question_id, None)

    def mark(self, drafts: Sequence[Draft]) -> None:
        """Put on an answer the fingerprint of the context that it answers.

        Of several events that are recorded together, only the first one answers the context; the model saw
        more before each of the others.
        """
        draft = drafts[0] if drafts else None
        if draft is None or not draft.is_call:
            return
        draft.counted = self._take_count()
        fields = fields_of(draft.event)
        if fields["context"] is not None or (fields["native"] is None and type(fields["message"]) is str):
            return
        native_format, native = native_of(draft.event)
        # Chat messages can go to any provider: LiteLLM and `for_anthropic` translate them. LangChain does not
        # translate thinking in them.
        through = (fields["native"] or {}).get("format")
        kinds = {native_format} if through == langchain.FORMAT else {native_format, openai_chat.FORMAT}
        if native_format and (sent := self._sent(kinds)) is not None:
            draft.event.context = fingerprint_for(native_format, native, sent)

    def _sent(self, kinds: Collection[str]) -> Sent | None:
        """The newest context of these kinds."""
        here = _newest.get()
        last = here[1] if here is not None and here[0] is self._mark else self._last
        found = [last[kind] for kind in kinds if kind in last]
        return max(found, key=lambda each: each[0])[1] if found else None


def mark_told(drafts: Sequence[Draft], prompt: str | None) -> None:
    """Put fingerprints on the answers in a list of messages with which a conversation begins.

    The application sent these messages itself, so each answer belongs to the messages before it in the list.

    Args:
        drafts: the messages, without a leading system message that became the prompt.
        prompt: the conversation's system prompt.
    """
    if len(drafts) < 2 or not any(draft.is_call and draft.event.context is None for draft in drafts):  # noqa: PLR2004
        return
    system: list[ChatMessage] = [] if prompt is None else [{"role": "system", "content": prompt}]
    rows = [*system, *context_rows([draft.event for draft in drafts])]
    if not any(map(anthropic_messages.is_bound, rows)):
        return
    chain = Chain(anthropic.FORMAT)
    given: dict[str, str] = {}

    def may_sign(row: ChatMessage) -> bool:
        if isinstance(origin := row.get(ORIGIN), Origin):
            given[origin.event_id] = chain.value()
        return True

    anthropic_messages.anthropic_request(rows, may_sign, chain)
    for draft in drafts:
        draft.event.context = draft.event.context or given.get(draft.event.id)


def fingerprint_for(native_format: str, native: Any, sent: Sent) -> str:
    """The fingerprint that an answer keeps: a hash of everything before the answer's first signed part.

    After a compaction, only the system prompt and the compaction are left before it.
    """
    blocks = anthropic_messages.compacted(native_format, native)
    if blocks:
        return sent.after(["assistant", *anthropic_messages.before_thinking(blocks)])
    return sent.after([]) if responses_messages.compacted(native_format, native) else str(sent)


def is_compaction(event: AnyEvent) -> bool:
    """Whether an event is an answer in which the provider compacted everything before it."""
    if event.source != EventSource.LLM or event.native is None:
        return False
    native = native_of(event)
    return bool(anthropic_messages.compacted(*native) or responses_messages.compacted(*native))


def signing(kind: str, chain: Chain, tools: str, unfinished: Collection[str]) -> MaySign:
    """Decide which answers' signed parts may be sent back, while a context is written.

    The rule is the provider's: Anthropic binds a model's thinking to everything before it
    (`anthropic_messages.is_bound`); the signatures of other providers are not bound.

    Args:
        kind: the form that the context is written in.
        chain: the chain of the context.
        tools: the fingerprint of the tools that are sent with the context; empty where the tools are unknown.
        unfinished: the events of the tool loop that goes on. Among answers without a fingerprint, only these
            give their thinking back, because the API needs it to go on.
    """
    # The writers of these formats ask only about bound answers.
    is_asked_of_bound = kind in {anthropic.FORMAT, bedrock.FORMAT}

    def may_sign(row: ChatMessage) -> bool:
        origin = row.get(ORIGIN)
        if not isinstance(origin, Origin) or (not is_asked_of_bound and not anthropic_messages.is_bound(row)):
            return True
        if origin.context is None:
            return origin.event_id in unfinished
        return is_same(origin.context, chain.value(), tools)

    return may_sign
