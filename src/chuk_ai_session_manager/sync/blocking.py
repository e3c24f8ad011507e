"""Blocking stand-ins for parts of the async API: for functions, iterators, and objects with their methods."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextvars import copy_context
from functools import cache, cached_property, wraps
from types import FunctionType
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from ..conversation.callbacks import call
from ..models.guard import guard
from ..stores.base import AnySession
from .background import is_read, run

T = TypeVar("T")

_PACKAGE = __name__.partition(".")[0]
_END = object()
# The methods that `async with` and `async for` call, and those that `with` and `for` call instead.
NAMES = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "aclose": "close",
}


def blocking(value: Any) -> Any:
    """Make a function or class of the async API usable without `await`; return anything else as it is."""
    if isinstance(value, type):
        return blocking_class(value) if is_async_class(value) else value
    return _blocking_function(value) if isinstance(value, FunctionType) else value


def is_async_class(kind: type) -> bool:
    """Whether a class of this package has async methods.

    Records are not counted among these classes: sessions and events are the same objects in both APIs.
    """
    if not kind.__module__.startswith(f"{_PACKAGE}.") or kind.__module__.startswith(f"{_PACKAGE}.models"):
        return False
    return any(_is_async(member) for each in kind.__mro__ for member in vars(each).values())


def _is_async(member: object) -> bool:
    function = getattr(member, "__func__", member)
    return (
        inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
        or getattr(function, "__name__", None) == "__aiter__"
    )


class Blocking:
    """A stand-in for an object of the async API: it waits for the results of the object's methods.

    Its attributes are those of the object. Passed as an argument, it is replaced with the object.
    """

    _stands_for: Any

    def __getattr__(self, name: str) -> Any:
        if name == "_stands_for":  # not set yet, for example during a copy
            raise AttributeError(name)
        return _outward(getattr(self._stands_for, name))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._stands_for, name, inward(value))

    def __repr__(self) -> str:
        return repr(self._stands_for)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blocking) and bool(self._stands_for == other._stands_for)

    def __hash__(self) -> int:
        return hash(self._stands_for)


def _stand_in(made: Any) -> Blocking:
    """The stand-in for an object."""
    new: Blocking = object.__new__(blocking_class(_async_class_of(made)))
    object.__setattr__(new, "_stands_for", made)
    return new


@cache
def blocking_class(kind: type) -> type[Blocking]:
    """The class of the stand-ins for an async class: it has the same methods, and none is async."""
    bases = [blocking_class(base) for base in kind.__bases__ if is_async_class(base)]
    members: dict[str, Any] = {"__module__": f"{_PACKAGE}.sync", "__doc__": kind.__doc__, "_kind": kind}
    if "__init__" in vars(kind):
        members["__init__"] = _constructor(kind)
    for name, member in vars(kind).items():
        name_here = NAMES.get(name, name)
        if name_here.startswith("_") and name not in NAMES:
            continue
        if isinstance(member, property | cached_property):
            members[name_here] = _property(name, member)
        elif isinstance(member, classmethod):
            members[name_here] = classmethod(_class_method(name, member.__func__))
        elif isinstance(member, FunctionType):
            members[name_here] = _method(name, member)
    return type(kind.__name__, tuple(bases) or (Blocking,), members)


def _constructor(kind: Any) -> Callable[..., None]:
    @wraps(kind.__init__)
    def constructor(self: Any, *given: Any, **named: Any) -> None:
        made = type(self)._kind(*map(inward, given), **_all_inward(named))  # noqa: SLF001
        object.__setattr__(self, "_stands_for", made)

    return constructor


def _method(name: str, function: FunctionType) -> Callable[..., Any]:
    @wraps(function)
    def method(self: Blocking, *given: Any, **named: Any) -> Any:
        target = getattr(self._stands_for, name)
        return _waited_for(target(*map(inward, given), **_all_inward(named)))

    method.__name__ = NAMES.get(name, name)
    return method


def _class_method(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def method(cls: Any, *given: Any, **named: Any) -> Any:
        target = getattr(cls._kind, name)
        return _waited_for(target(*map(inward, given), **_all_inward(named)))

    return method


def _property(name: str, member: property | cached_property[Any]) -> property:
    return property(lambda self: _outward(getattr(self._stands_for, name)), doc=member.__doc__)


def _blocking_function(function: FunctionType) -> Callable[..., Any]:
    @wraps(function)
    def waiting(*given: Any, **named: Any) -> Any:
        return _waited_for(function(*map(inward, given), **_all_inward(named)))

    return waiting


class BlockingIterator(Iterator[T]):
    """An async iterator, read with `for`: each step waits for the next item."""

    def __init__(self, source: AsyncIterator[T]) -> None:
        self._source = source
        if isinstance(source, AsyncGenerator):
            is_read(source)
        self._context = copy_context()  # one for all steps, as a task that reads the iterator would have

    def __next__(self) -> T:
        async def step() -> Any:
            return await anext(self._source, _END)

        item = run(step(), self._context)
        if item is _END:
            raise StopIteration
        return item  # type: ignore[no-any-return]

    def close(self) -> None:
        """Stop reading, and release the source of the items."""
        close = getattr(self._source, "aclose", None)
        if close is not None:
            run(close(), self._context)


def _waited_for(value: Any) -> Any:
    """The result of a call, awaited if necessary."""
    if isinstance(value, AsyncIterator):
        return BlockingIterator(value)
    if inspect.iscoroutine(value):
        return _outward(run(value))
    if isinstance(value, Awaitable):
        return _outward(run(_awaited(value)))
    return _outward(value)


async def _awaited(value: Awaitable[T]) -> T:
    return await value


def _all_inward(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: inward(value) for name, value in arguments.items()}


def inward(value: Any) -> Any:
    """An argument as the async API takes it."""
    if isinstance(value, Blocking):
        return value._stands_for  # noqa: SLF001
    return _in_threads(value) if _is_blocking_store(value) else value


def _is_blocking_store(value: Any) -> bool:
    """Whether an object is a store of the application whose methods are not async."""
    methods = getattr(value, "get", None), getattr(value, "save", None)
    return all(inspect.ismethod(each) and not inspect.iscoroutinefunction(each) for each in methods)


class BlockingStore(Protocol):
    """A store of an application: any object with these two methods, which may block."""

    def get(self, session_id: str) -> AnySession | None:
        """Return the stored session, or `None` if there is none."""

    def save(self, session: AnySession) -> None:
        """Store the whole session as it is now."""


class _InThreads:
    """A store of an application as one of the async API: its methods run in threads."""

    def __init__(self, store: BlockingStore) -> None:
        self._store = store

    async def get(self, session_id: str) -> AnySession | None:
        found: AnySession | None = await call(self._store.get, session_id)
        return found

    async def save(self, session: AnySession) -> None:
        await call(self._store.save, session)


# One for each store: managers of the same store take turns.
_stores: WeakValueDictionary[int, _InThreads] = WeakValueDictionary()


def _in_threads(store: BlockingStore) -> _InThreads:
    with guard:
        known = _stores.get(id(store))
        if known is None:
            known = _stores[id(store)] = _InThreads(store)
    return known


def _outward(value: Any) -> Any:
    """A result in the form that the blocking API returns."""
    return value if _async_class_of(value) is None else _stand_in(value)


def _async_class_of(value: Any) -> Any:
    """The async class of this package that an object belongs to; `None` if it belongs to none."""
    kind: Any = type(value)
    return _first_async_class(kind)


@cache
def _first_async_class(kind: Any) -> Any:
    return next((each for each in kind.__mro__ if is_async_class(each)), None)
