"""What tools declare with chuk-tool-processor's decorators, and error messages for their failures."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Declaration:
    """How a tool's calls may be handled; by default, as for a tool without declarations."""

    is_idempotent: bool = False
    """Whether a call that may have run may be run again."""
    most_retries: int | None = None
    """How many times a failed call may be tried again; `None` if the tool does not declare it."""
    is_cacheable: bool = True
    """Whether an equal call may get an earlier call's result."""


def declaration_of(tool: Any) -> Declaration:
    """What a tool declares with `@contract`, `@retryable`, `@cacheable` and its capabilities.

    A contract says `idempotent=False` and `Determinism.IMPURE` unless its author says otherwise, and is
    taken literally: `is_safe_to_retry` of chuk-tool-processor is true for nearly every contract, because "no
    side effects" is a default too.

    Args:
        tool: a class, an object, or a function that was registered as a tool; `None` if it is unknown.
    """
    tool = _function_in(tool)
    contract, retries = getattr(tool, "_tool_contract", None), getattr(tool, "_retry_config", None)
    capabilities = {
        str(getattr(each, "value", each)) for each in getattr(tool, "_tool_spec_capabilities", ())
    }
    is_pure = str(getattr(contract, "determinism", "")) == "pure" and _changes_nothing(contract)
    is_idempotent = bool(getattr(contract, "idempotent", False)) or is_pure or "idempotent" in capabilities
    most_retries = getattr(retries, "max_retries", None)
    if contract is not None and not is_idempotent:
        most_retries = 0
    is_cacheable = contract is None and most_retries != 0
    is_cacheable = is_cacheable or is_pure or bool(getattr(tool, "_cacheable", False))
    return Declaration(is_idempotent, most_retries, is_cacheable or "cacheable" in capabilities)


def _changes_nothing(contract: Any) -> bool:
    return str(getattr(contract, "side_effects", "none")) == "none"


def _function_in(tool: Any) -> Any:
    """The function that chuk-tool-processor made a tool from: the tool itself lacks its declarations."""
    kind: Any = tool if inspect.isclass(tool) else type(tool)
    if kind.__name__ != "_Tool" or not inspect.isfunction(getattr(kind, "execute", None)):
        return tool
    return inspect.getclosurevars(kind.execute).nonlocals.get("func", tool)


async def tool_named(registry: Any, name: str) -> Any:
    """A tool by the name that a model uses, found as in chuk-tool-processor; `None` if there is none."""
    if not hasattr(registry, "get_tool") or not hasattr(registry, "list_namespaces"):
        return None
    namespace, dot, short = name.partition(".")
    if dot:
        return await registry.get_tool(short, namespace)
    for each in ("default", *await registry.list_namespaces()):
        if (tool := await registry.get_tool(name, each)) is not None:
            return tool
    return None


class FailuresNamed:
    """A registry whose tools always give an error message: the processor keeps only an exception's text.

    `ValueError()` and a bare `assert` would leave no message, and a tool's own `TimeoutError` would look like
    the processor's.

    Args:
        registry: a registry of chuk-tool-processor.
    """

    def __init__(self, registry: Any) -> None:
        self._registry = registry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    async def get_tool(self, name: str, namespace: str = "default") -> Any:
        """Return the tool, whose exceptions all have a message."""
        tool = await self._registry.get_tool(name, namespace)
        if tool is None:
            return None
        tool = tool() if inspect.isclass(tool) else tool
        return _Named(tool) if inspect.iscoroutinefunction(_entry_of(tool)) else tool


def _entry_of(tool: Any) -> Any:
    """The method of a tool that chuk-tool-processor calls."""
    own = getattr(tool, "_aexecute", None)
    return own if inspect.iscoroutinefunction(own) else getattr(tool, "execute", None)


class _Named:
    """A tool whose exceptions have a message."""

    def __init__(self, tool: Any) -> None:
        self._tool = tool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tool, name)

    async def execute(self, **arguments: Any) -> Any:
        try:
            return await _entry_of(self._tool)(**arguments)
        except Exception as problem:  # a tool may raise anything
            if str(problem) and not isinstance(problem, TimeoutError):
                raise
            kind = type(problem).__name__
            raise ToolFailed(f"{kind}: {problem}" if str(problem) else kind) from problem


class ToolFailed(Exception):  # noqa: N818  (it stands for a tool's own exception)
    """A tool's exception without a message, reported by its name."""
