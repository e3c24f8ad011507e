"""Conversations with models whose servers check what they are sent: every request is judged, and signed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from request_rules import check_request
from turns import Call, chat_answer, google_answer, responses_answer

from chuk_ai_session_manager.exceptions import TokenLimitExceeded
from chuk_ai_session_manager.session_manager import SessionManager
from chuk_ai_session_manager.stores import MemoryStore

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import provider_rules as rules

Row = dict[str, Any]

TOOLS = [{"name": "tide", "description": "When is high water?", "input_schema": {"type": "object"}}]


class Talk:
    """A conversation, the models that answer in it, and the judge of what they are sent.

    Args:
        open_store: opens the store, for each manager anew; a store in memory without it.
        **options: of the managers.
    """

    def __init__(self, open_store: Callable[[], Any] | None = None, **options: Any) -> None:
        memory = MemoryStore()
        self._opening = open_store or (lambda: memory)
        self._stores: list[Any] = []
        self._options = options
        self.sm = SessionManager(store=self._open_store(), system_prompt="Be brief.", **options)
        self.servers = rules.Servers()
        self.number = 0
        self.is_stored = False
        self.waiting: list[str] = []
        """Calls whose results are not there yet."""
        self.has_asked = False
        self.tools = TOOLS
        self.loop: Row | None = None
        """Of a tool loop of Anthropic's that goes on: with which options its contexts are asked for."""

    def _open_store(self) -> Any:
        self._stores.append(self._opening())
        return self._stores[-1]

    async def close(self) -> None:
        """Let go of what the stores hold."""
        for store in self._stores:
            await store.close()

    async def play(self, steps: Iterable[tuple[Any, ...]]) -> None:
        """Take steps, each of which is a name with its arguments."""
        for step in steps:
            match step:
                case ("answer", provider, calls, options):
                    await self.answer(provider, calls, **options)
                case ("pin" | "unpin" as what, int(at)):
                    await self.pin(what, at)
                case (str(what), int(at)):
                    await self.second_thought(what, at)
                case ("user",):
                    await self.user()
                case ("results",):
                    await self.results()
                case ("reopen",):
                    self.reopen()
                case ("prompt",):
                    await self.prompt()
                case ("stopped",):
                    await self.stopped()
                case _:
                    raise ValueError(f"no such step: {step}")

    async def user(self) -> None:
        self.number += 1
        await self.sm.user_says(f"Question {self.number}: when is high water {'there ' * (self.number % 5)}?")
        self.has_asked, self.loop, self.is_stored = True, None, True

    async def results(self) -> None:
        rows = [
            {"role": "tool", "tool_call_id": each, "content": f'{{"at": "{each}"}}'} for each in self.waiting
        ]
        if rows:
            await self.sm.add_messages(rows)
        self.waiting, self.has_asked = [], self.has_asked or bool(rows)

    def reopen(self) -> None:
        """Go on in a manager that knows nothing, as another process does."""
        if self.is_stored:  # else another process would not know the session
            self.sm = SessionManager(self.sm.session_id, store=self._open_store(), **self._options)

    async def stopped(self) -> None:
        """An answer of which only the beginning came, as text."""
        if self.has_asked:
            await self.sm.ai_responds("High water is", model="claude-sonnet-4-5", interrupted=True)
            self.has_asked, self.loop = False, None

    async def prompt(self) -> None:
        """Change the system prompt."""
        self.number += 1
        await self.sm.update_system_prompt(f"Be brief, {self.number}.")
        self.loop = None

    async def second_thought(self, what: str, at: int) -> None:
        """Change the path: take something back, edit it, or go on in a fork."""
        rows = await self.sm.get_conversation(with_ids=True) if self.is_stored else []
        if not rows:
            return
        row = rows[at % len(rows)]
        match what:
            case "undo" if any(each["role"] == "user" for each in rows):
                await self.sm.undo()
            case "edit" if row["role"] == "user":
                await self.sm.edit(row["event_id"], "Another question?")
            case "retract":
                await self.sm.retract(row["event_id"])
            case "clear":
                await self.sm.clear()
            case "fork":
                self.sm = await self.sm.fork(at=row["event_id"])
        self.waiting, self.has_asked, self.loop = [], False, None

    async def pin(self, what: str, at: int) -> None:
        """Pin a message or a tool's result, or let it be like others."""
        rows = await self.sm.get_conversation(with_ids=True, include_tools=True) if self.is_stored else []
        if rows:
            change = self.sm.pin if what == "pin" else self.sm.unpin
            await change(rows[at % len(rows)]["event_id"])

    async def answer(self, provider: str, calls: int = 0, **options: Any) -> None:
        """Have a provider answer; nothing where nobody asked."""
        if not self.has_asked:
            await self.user()
        self.number += 1
        options = self.loop if self.loop is not None else options
        request = await self.context(provider, **options)
        asked: list[Call] = [(f"call_{self.number}_{at}", "tide", {"day": at}) for at in range(calls)]
        answer = await self.respond(provider, request, asked)
        await self.sm.ai_responds(answer)
        self.waiting, self.has_asked = [call[0] for call in asked], False
        self.loop = options if calls and provider == "anthropic" else None

    async def context(self, provider: str, **options: Any) -> Any:
        """What a provider is sent: judged by what it refuses, and counted."""
        get: Any = self.sm.get_messages_for_llm
        if provider == "openai":
            options["include_tools"] = True
        try:
            request = await get(format=provider, **options)
        except TokenLimitExceeded:  # not even the newest exchange fits
            options = {name: value for name, value in options.items() if name != "max_tokens"}
            request = await get(format=provider, **options)
        check_request(provider, strip(request) if provider == "anthropic" else request)
        if provider == "anthropic":
            body = self.body(request)
            reason = rules.refusal_of_message(body)
            assert reason is None, reason
            given = thinking_in(request)
            allowed = self.allowed(await self.with_all_thinking(options))
            assert given == allowed, "as much thinking as the rules allow"
            if self.loop is not None:  # the newest answer of a loop goes back unchanged, whatever happens
                newest = [each for each in request["messages"] if each["role"] == "assistant"][-1]
                assert [block["type"] for block in newest["content"]][:2] == ["thinking", "redacted_thinking"]
        return request

    async def with_all_thinking(self, options: Row) -> Row:
        """The same context with all thinking that there is, whether it may go back or not."""
        another = SessionManager(self.sm.session_id, store=self._open_store(), **self._options)
        signs_all = patch(
            "chuk_ai_session_manager.conversation.context.asking.signing", lambda *_: lambda _: True
        )
        with signs_all:
            request: Any = await another.get_messages_for_llm(format="anthropic", **options)
        return dict(request)

    def allowed(self, request: Row) -> list[str]:
        """The thinking that the server would take, from the first on, given what it takes before."""
        kept: list[Row] = []
        for message in request["messages"]:
            content = message["content"]
            listed = [{"type": "text", "text": content}] if isinstance(content, str) else content
            kept.append(message | {"content": []})
            for block in listed:
                kept[-1]["content"].append(block)
                is_thinking = block["type"] in rules.THINKING
                if is_thinking and rules.refusal_of_message(self.body(request | {"messages": kept})):
                    kept[-1]["content"].pop()
            if not kept[-1]["content"]:
                kept.pop()
        return thinking_in({"messages": kept})

    def body(self, request: Row) -> Row:
        return {"model": "claude-sonnet-4-5", "tools": self.tools, **request}

    async def respond(self, provider: str, request: Any, calls: list[Call]) -> Row:
        text = f"Answer {self.number}."
        match provider:
            case "anthropic":
                return self.anthropic(request, text, calls)
            case "google":
                return google_answer(text, calls)
            case "openai":
                return chat_answer(text, calls) | {"id": f"chatcmpl-{self.number}"}
            case _:
                return responses_answer(text, calls, number=self.number) | {"id": f"resp_{self.number}"}

    def anthropic(self, request: Row, text: str, calls: list[Call]) -> Row:
        content: list[Row] = [
            {"type": "thinking", "thinking": f"Thought {self.number}."},
            {"type": "redacted_thinking"},
            {"type": "text", "text": text},
        ]
        content += [{"type": "tool_use", "id": each[0], "name": each[1], "input": each[2]} for each in calls]
        return {
            "id": f"msg_{self.number}",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": rules.signed(self.body(request), content),
            "stop_reason": "tool_use" if calls else "end_turn",
            "usage": {"input_tokens": 10, "output_tokens": 5},
        }


def signed(body: Row, content: list[Row]) -> list[Row]:
    """An answer's blocks as the server signs them."""
    return rules.signed(body, content)


def thinking_in(request: Any) -> list[str]:
    """The signed blocks of a request, each as JSON."""
    contents = [message["content"] for message in request["messages"]]
    blocks = [block for content in contents if not isinstance(content, str) for block in content]
    return [json.dumps(block) for block in blocks if block["type"] in rules.THINKING]


def strip(request: Row) -> Row:
    """A request as the ordinary rules want it: with a user's row before a compaction."""
    messages = request["messages"]
    first = messages[0]["content"][0]
    if isinstance(first, str) or first["type"] != rules.COMPACTION:
        return request
    return request | {"messages": [{"role": "user", "content": "What is replaced."}, *messages]}
