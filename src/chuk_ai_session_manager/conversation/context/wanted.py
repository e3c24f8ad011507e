"""The arguments with which a context is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ...accounts.tokens import DEFAULT_MODEL
from ...exceptions import InvalidInput
from ...exceptions.validation import check_count, check_flag, check_name
from ...providers.cache_marks import DEFAULT_TTL, CacheTtl
from ...providers.formats import Format, check_format
from ..billing import TOKENS_OF_A_BEGINNING
from .lengths import Known, Length, content_length, definitions_length, sent_length
from .room import AUTO, Room, window_of

_OPERATION = "get_messages_for_llm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The arguments of `SessionManager.get_messages_for_llm`; they are explained there."""

    format_name: Format | None
    include_system: bool
    include_tools: bool
    max_tokens: int | Literal["auto"] | None
    reserve: int
    steady: bool
    model: str | None
    tools: Sequence[Any] | None
    response_format: Any
    cache: bool | CacheTtl
    keep_tool_results: int | None
    server_state: bool
    recall: str | bool | None = None
    recall_tokens: int | None = None
    """The manager's setting: with it, turns are recalled for each question."""
    counted: Known = field(default_factory=Known, compare=False, repr=False)
    """How long the texts and rows are that were counted so far."""

    def check(self) -> None:
        """Refuse arguments that are wrong or do not go together.

        Raises:
            InvalidInput: the message names the argument.
        """
        if self.format_name is not None:
            check_format(self.format_name, _OPERATION)
        if isinstance(self.max_tokens, str) and self.max_tokens != AUTO:
            raise InvalidInput(_OPERATION, f'max_tokens must be a whole number, or "{AUTO}"')
        if self.max_tokens is not None and not isinstance(self.max_tokens, str):
            check_count(self.max_tokens, 1, "max_tokens", _OPERATION)
        check_count(self.reserve, 0, "reserve", _OPERATION)
        if self.reserve and self.max_tokens is None:
            raise InvalidInput(_OPERATION, "reserve is taken from max_tokens: give both")
        if self.keep_tool_results is not None:
            check_count(self.keep_tool_results, 1, "keep_tool_results", _OPERATION)
        for name in ("include_tools", "steady", "server_state"):
            check_flag(getattr(self, name), name, _OPERATION)
        if not isinstance(self.cache, bool) and self.cache not in get_args(CacheTtl):
            raise InvalidInput(_OPERATION, 'cache must be True, False, "5m" or "1h"')
        if self.server_state and self.format_name != "openai-responses":
            raise InvalidInput(_OPERATION, 'server_state works only with format="openai-responses"')
        self._check_model_and_tools()
        self._check_recall()

    def _check_model_and_tools(self) -> None:
        if self.model is not None:
            check_name(self.model, "model", _OPERATION)
        if self.tools is not None and (
            isinstance(self.tools, str | bytes) or not isinstance(self.tools, Sequence)
        ):
            raise InvalidInput(_OPERATION, "tools must be a list of definitions, as you send them")

    def _check_recall(self) -> None:
        if isinstance(self.recall, str):
            check_name(self.recall.strip(), "recall", _OPERATION)
        elif self.recall is not None and not isinstance(self.recall, bool):
            raise InvalidInput(
                _OPERATION, "recall must be a question, or True to search with the user's last message"
            )

    @property
    def recalls(self) -> bool:
        """Whether earlier turns are recalled."""
        if self.recall is None:
            return self.recall_tokens is not None
        return self.recall is not False

    @property
    def cache_ttl(self) -> CacheTtl | None:
        """How long the provider is to cache the context; `None` where no cache is asked for."""
        return DEFAULT_TTL if self.cache is True else self.cache or None

    @property
    def has_tools(self) -> bool:
        """Whether calls and results become rows too."""
        return self.include_tools or self.format_name not in {None, "openai"}

    @property
    def kind(self) -> str:
        """The form in which the rows are written."""
        return self.format_name or "openai"

    @property
    def counts_all(self) -> bool:
        """Whether `max_tokens` counts everything that is sent; the original counts only the messages."""
        return self.format_name is not None or self.max_tokens == AUTO or bool(self.reserve or self._defined)

    @property
    def _defined(self) -> bool:
        return bool(self.tools) or self.response_format is not None

    @property
    def counted_model(self) -> str:
        """The model whose tokenizer counts."""
        return self.model or DEFAULT_MODEL

    def length(self) -> Length:
        """The function that counts a row of the context."""
        count = sent_length if self.counts_all else content_length
        return count(self.counted_model, self.counted, self.model or "")

    async def room(self, correction: float = 1.0) -> Room | None:
        """The room for messages; `None` without a limit.

        Args:
            correction: how many tokens the provider counts for each one that we count.

        Raises:
            InvalidInput: `max_tokens` is "auto", and the model's window is unknown.
        """
        if self.max_tokens is None:
            return None
        limit = (
            self.max_tokens if isinstance(self.max_tokens, int) else await window_of(self.model, _OPERATION)
        )
        if not self.counts_all:
            return Room(limit, correction=correction)
        defined = 0
        if self._defined:
            defined = await definitions_length(
                self.tools or (), self.response_format, self.counted_model, self.format_name
            )
        parts = {"definitions": defined, "beginning_of_the_answer": TOKENS_OF_A_BEGINNING}
        return Room(limit, self.reserve, parts, correction)
