"""Reading the bytes of images, audio and files that were left out when events were read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from ..exceptions import StorageError
from ..models import SessionEvent
from ..models.absent_text import AbsentText
from ..models.home import HomeStore
from ..providers.context_rows import Origin

T = TypeVar("T")

# How often something is read again if bytes were deleted while it was read.
_TRIES = 10


class BytesGoneError(StorageError):
    """An event was edited or erased, with its bytes, after it was read: read the event again."""


async def with_all_bytes(read: Callable[[], Awaitable[T]]) -> T:
    """Return what `read` returns; if it raises `BytesGoneError`, read again.

    Raises:
        StorageError: others deleted bytes each time.
    """
    for _ in range(_TRIES):
        with suppress(BytesGoneError):
            return await read()
    raise StorageError("Others deleted images or files each time while the conversation was read. Try again")


async def fill(values: Iterable[Any], home: HomeStore, kind: str | None = None) -> None:
    """Put the bytes into events, or rows of a context, in which an `AbsentText` stands for them.

    Args:
        values: the events or rows, which are changed.
        home: the store that the events came from.
        kind: the format of a context; native forms of other formats are never sent, and not read.

    Raises:
        BytesGoneError: some bytes were deleted meanwhile.
        StorageError: the store failed.
    """
    places = list(_places(values, kind))
    if not places:
        return
    texts = await home.texts_of({holder[at] for holder, at in places})
    for holder, at in places:
        try:
            holder[at] = texts[holder[at]]
        except KeyError:
            raise BytesGoneError(
                "An image, audio or a file was deleted while the conversation was read. Try again"
            ) from None


def _places(values: Iterable[Any], kind: str | None) -> Iterator[tuple[Any, Any]]:
    """Where an `AbsentText` stands: the dict or list, and the key or number in it."""
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, SessionEvent):
            waiting += (value.message, value.native, value.metadata)
        elif isinstance(value, Origin):
            waiting += [value.native] if value.native_format == kind else []
        elif isinstance(value, dict | list):
            for at, item in value.items() if isinstance(value, dict) else enumerate(value):
                if isinstance(item, AbsentText):
                    yield value, at
                elif not isinstance(item, str):
                    waiting.append(item)
