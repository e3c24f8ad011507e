"""What the providers' servers check and hold, for the local server: signatures, compaction, state, caches.

Each rule has its source. Tokens are counted as a quarter of the characters of the JSON.
"""

from __future__ import annotations

import json
from hashlib import sha256
from itertools import count
from typing import Any

Row = dict[str, Any]


def digest(value: object) -> str:
    """A short hash of a JSON value."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def tokens_of(value: object) -> int:
    """About how many tokens a JSON value is."""
    return len(json.dumps(value)) // 4


def unmarked(value: Any) -> Any:
    """A value without cache marks: they change nothing that a model sees."""
    if isinstance(value, dict):
        return {name: unmarked(each) for name, each in value.items() if name != "cache_control"}
    return [unmarked(each) for each in value] if isinstance(value, list) else value


# -- Anthropic: thinking is bound to what stood before it ----------------------------------------------
# https://platform.claude.com/docs/en/build-with-claude/preserved-thinking: a signature binds a block to
# `system`, `tools` and every earlier message. What the refusal says: anomalyco/opencode issue 48637, and
# kirodotdev/KiroCrew pull request 11513 of a block that is missing.

THINKING = {"thinking", "redacted_thinking"}
COMPACTION = "compaction"
_SIGNED_HERE = "local-signature"
_BOUND = "Invalid `signature` in `thinking` block. The block is bound to a different conversation."


def blocks_of(body: Row) -> list[tuple[str, Row]]:
    """The blocks of a request, each with its role; turns that follow each other in one role are one.

    https://platform.claude.com/docs/en/build-with-claude/compaction: what stands before the newest compaction
    block is ignored; one whose content is null does nothing.
    """
    blocks: list[tuple[str, Row]] = []
    for message in body["messages"]:
        content = message["content"]
        listed = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for block in unmarked(listed):
            if block["type"] == COMPACTION and block.get("content") is not None:
                blocks = []
            blocks.append((message["role"], block))
    return blocks


def system_of(body: Row) -> list[str]:
    """The texts of a request's system prompt."""
    system = body.get("system") or []
    return [system] if isinstance(system, str) else [block["text"] for block in system]


def signature_after(body: Row, before: list[tuple[str, Row]], block: Row) -> str:
    """The signature of a thinking block that is made after these blocks of a request."""
    said = [each for each in before if each[1]["type"] not in THINKING]
    thought = [each for each in before if each[1]["type"] in THINKING]
    own = {name: value for name, value in block.items() if name not in {"signature", "data"}}
    parts = [system_of(body), unmarked(body.get("tools") or []), said, thought, own]
    return ".".join([_SIGNED_HERE, *map(digest, parts)])


def signed(body: Row, content: list[Row]) -> list[Row]:
    """An answer's blocks, with signatures where thinking has none yet."""
    before = blocks_of(body)
    made: list[Row] = []
    for block in content:
        if block["type"] == COMPACTION and block.get("content") is not None:
            before = []
        name = {"thinking": "signature", "redacted_thinking": "data"}.get(block["type"])
        if name is not None:
            made.append(block | {name: block.get(name) or signature_after(body, before, block)})
        else:
            made.append(block)
        before.append(("assistant", made[-1]))
    return made


def refusal_of_message(body: Row) -> str | None:
    """Why a request is refused; `None` where it is not."""
    thinking = body.get("thinking") or {}
    drops = (thinking.get("block_binding") or {}).get("prefix_mismatch_behavior") == "drop_block"
    before: list[tuple[str, Row]] = []
    for role, block in blocks_of(body):
        given = block.get("signature") or block.get("data") or ""
        if block["type"] in THINKING and given.startswith(_SIGNED_HERE) and not drops:
            reasons = ("system prompt", "tools", "earlier messages", "", "block itself")
            right = signature_after(body, before, block).split(".")[1:]
            wrong = [at for at, each in enumerate(given.split(".")[1:]) if each != right[at]]
            if 3 in wrong:
                missing = "The `thinking` block that preceded this one when it was created is missing"
                return f"{_BOUND} {missing} from this request."
            if wrong:
                return f"{_BOUND} The {reasons[wrong[0]]} differ from those that it was created with."
        before.append((role, block))
    return None


def compaction_for(body: Row) -> tuple[Row, Row] | None:
    """The compaction block that a request asks for, and its iteration in the usage, if it asks for one.

    https://platform.claude.com/docs/en/build-with-claude/compaction: `context_management` with an edit of the
    kind `compact_20260112`; the tokens of the compaction are not in the top-level counts.
    """
    edits = (body.get("context_management") or {}).get("edits") or []
    edit = next((each for each in edits if each["type"].startswith("compact_")), None)
    if edit is None or tokens_of(body["messages"]) < (edit.get("trigger") or {}).get("value", 150_000):
        return None
    summary = f"A summary of {len(blocks_of(body))} blocks."
    block = {"type": COMPACTION, "content": summary, "encrypted_content": digest(blocks_of(body))}
    usage = {"type": "compaction", "input_tokens": tokens_of(body["messages"]), "output_tokens": 20}
    return block, usage


# -- OpenAI's Responses: state, and compaction ----------------------------------------------------------


class RefusedError(Exception):
    """A request that a server refuses."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "invalid_request_error", "code": code}}


class Servers:
    """What the servers remember: responses, and the beginnings of prompts."""

    def __init__(self) -> None:
        self._responses: dict[str, list[Row]] = {}
        self._prefixes: set[str] = set()
        self._numbers = count(1)

    def items_of(self, body: Row) -> list[Row]:
        """All items that a request stands for: those that the server holds, and its own.

        https://developers.openai.com/api/docs/guides/conversation-state. The code is what the API gives for a
        response that it does not have.

        Raises:
            RefusedError: the server forgot the response, or a result has no call.
        """
        given = body.get("input") or []
        items = [{"role": "user", "content": given}] if isinstance(given, str) else list(given)
        previous = body.get("previous_response_id")
        if previous is not None:
            if previous not in self._responses:
                message = f"Previous response with id '{previous}' not found."
                raise RefusedError(404, message, "previous_response_not_found")
            items = [*self._responses[previous], *items]
        _check_items(items)
        return items

    def hold(self, body: Row, response: Row) -> None:
        """Keep a response, unless its request says `store=False`."""
        if body.get("store") is not False:
            self._responses[response["id"]] = [*self.items_of(body), *response["output"]]

    def forget(self, response_id: str) -> bool:
        """Delete a response; whether it was there."""
        return self._responses.pop(response_id, None) is not None

    def compacted(self, body: Row, items: list[Row]) -> list[Row]:
        """The item in which the server compacts what it was given, where the request asks for it.

        https://developers.openai.com/api/docs/guides/compaction: `context_management` with a
        `compact_threshold`; what stands before the newest such item need not be sent any more.
        """
        asks = [each for each in body.get("context_management") or [] if each["type"] == "compaction"]
        if not asks or tokens_of(live_items(items)) < asks[0].get("compact_threshold", 200_000):
            return []
        return [
            {"type": "compaction", "id": f"cmp_{next(self._numbers)}", "encrypted_content": digest(items)}
        ]

    def cached_tokens(self, rows: list[Any]) -> int:
        """How many tokens of a prompt are the beginning of one that came before; notes this one.

        https://platform.claude.com/docs/en/build-with-claude/prompt-caching,
        https://developers.openai.com/api/docs/guides/prompt-caching: only an exact beginning is found.
        """
        value, known = "", 0
        for at, row in enumerate(rows):
            value = digest([value, unmarked(row)])
            if value in self._prefixes:
                known = tokens_of(rows[: at + 1])
            self._prefixes.add(value)
        return known


def live_items(items: list[Row]) -> list[Row]:
    """The items from the newest compaction on."""
    at = max((at for at, item in enumerate(items) if item.get("type") == "compaction"), default=0)
    return items[at:]


def _asked_by(item: Row) -> object:
    """The call that an item is, or that it answers; a local shell's output names it by its own id."""
    return item.get("call_id") or item.get("id")


def _check_items(items: list[Row]) -> None:
    calls = {_asked_by(item) for item in items if str(item.get("type")).endswith("_call")}
    for at, item in enumerate(items):
        if str(item.get("type")).endswith("_call_output") and _asked_by(item) not in calls:
            # The API says so, naming the call.
            raise RefusedError(
                400, f"No tool call found for function call output with call_id {_asked_by(item)}."
            )
        follows = items[at + 1] if at + 1 < len(items) else {}
        if item.get("type") == "reasoning" and follows.get("role", "assistant") != "assistant":
            # https://community.openai.com/t/1235841
            raise RefusedError(400, f"Item '{item['id']}' was provided without its required following item.")


# -- prompts as rows, for the caches -------------------------------------------------------------------


def rows_of_message(body: Row) -> list[Any]:
    """A request of Anthropic's as rows in the order in which they are cached."""
    return [body.get("tools") or [], system_of(body), *blocks_of(body)]
