"""A small server that speaks the wire formats of OpenAI's, Anthropic's and Google's APIs, streaming too.

It lets the examples and tests run the real SDKs offline. Its model repeats what the user said last. Where
that is "exactly " and JSON, the server answers with this JSON itself: an object is the whole response, a
list is the events of a stream. So a test can have whatever a provider sends.

Where a request asks for thinking, the server signs it, as Anthropic does, and refuses a request in which
anything before it was changed. It compacts, holds responses, and counts what it has cached, where a request
asks for that (thinking, `prompt_cache_key`). `provider_rules.py` has these rules, each with its source.

    python examples/local_llm.py        # then use base_url="http://127.0.0.1:8123/v1"
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import provider_rules as rules

PORT = 8123
_EXACTLY = "exactly "


def last_words(body: dict[str, Any]) -> str:
    """What the user said last, in a request of any of the formats."""
    messages = body.get("messages") or body.get("input") or body.get("contents") or ""
    content = messages if isinstance(messages, str) else messages[-1]
    if isinstance(content, dict):
        content = content.get("content") or content.get("parts") or content.get("text") or ""
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def exactly(body: dict[str, Any]) -> Any:
    """What the server is asked to answer with, as JSON; `None` where it is to make an answer itself."""
    words = last_words(body)
    return json.loads(words.removeprefix(_EXACTLY)) if words.startswith(_EXACTLY) else None


def new_id(prefix: str) -> str:
    """An id that no other response has, as those of the providers."""
    return f"{prefix}{uuid4().hex}"


def answer_to(body: dict[str, Any]) -> list[str]:
    """The model's answer, in the pieces in which it streams."""
    words = f"You said: {last_words(body)}".split(" ")
    return [word if at == 0 else f" {word}" for at, word in enumerate(words)]


# What a model does before it says anything, where the user's words ask for it.
THOUGHTS = ["Let me", " think", " about", " that."]
ARGUMENTS = ['{"city": ', '"Lis', 'bon"}']


def thoughts_in(body: dict[str, Any]) -> list[str]:
    """What the model thinks first, in pieces: where the user said "think"."""
    return THOUGHTS if "think" in last_words(body) else []


def arguments_in(body: dict[str, Any]) -> list[str]:
    """The arguments of the model's call of a tool, in pieces: where the user said "weather"."""
    return ARGUMENTS if "weather" in last_words(body) else []


class Server(ThreadingHTTPServer):
    """Answers many at once, and says nothing of clients that hang up."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.background: dict[str, list[dict[str, Any]]] = {}
        """What is given, one after the other, for responses that are made in the background, by their ids."""
        self.memory = rules.Servers()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave it at that: who reads a stream may go away."""


class Handler(BaseHTTPRequestHandler):
    """Answers by the path that is asked for."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = urlsplit(self.path).path
        if "fail" in last_words(body):
            self.send_json({"error": {"message": "the model is down", "type": "server_error"}}, 500)
        elif path.endswith("/chat/completions"):
            whole = chat_completion(body)
            self.answer(whole, chat_chunks(body, whole["id"]), body)
        elif path.endswith("/responses"):
            self.answer_response(body)
        elif path.endswith("/messages"):
            self.answer_message(body)
        elif path.endswith(":generateContent"):
            self.answer(gemini_response(body, path), iter(()), body)
        elif path.endswith(":streamGenerateContent"):
            self.answer({}, gemini_chunks(body, path), body | {"stream": True})
        elif path.endswith("/interactions"):
            whole = interaction(body)
            self.answer(whole, interaction_events(whole, body), body)
        else:
            self.send_json({"error": {"message": f"there is no {self.path} here"}}, 404)

    def do_GET(self) -> None:
        """Give a response that is made in the background: each time it is asked for, it is further on."""
        given = self.server.background.get(urlsplit(self.path).path.rpartition("/")[2], [])
        if given:
            self.send_json(given.pop(0) if len(given) > 1 else given[0])
        else:
            self.send_json({"error": {"message": f"there is no {self.path} here"}}, 404)

    def do_DELETE(self) -> None:
        """Forget a response."""
        response_id = urlsplit(self.path).path.rpartition("/")[2]
        deleted = self.server.memory.forget(response_id)
        self.send_json({"id": response_id, "object": "response", "deleted": deleted}, 200 if deleted else 404)

    def answer_message(self, body: dict[str, Any]) -> None:
        """Answer with a message of Anthropic's, or refuse to."""
        reason = rules.refusal_of_message(body)
        if reason is not None:
            error = {"type": "invalid_request_error", "message": reason}
            self.send_json({"type": "error", "error": error}, 400)
            return
        whole = message(body)
        cached = self.server.memory.cached_tokens(rules.rows_of_message(body))
        if body.get("thinking"):
            whole["usage"] |= {"cache_creation_input_tokens": 0, "cache_read_input_tokens": cached}
        given = exactly(body)
        if isinstance(given, dict) and isinstance(given.get("content"), list):
            whole = given | {"content": rules.signed(body, given["content"])}
        self.answer(whole, message_events(whole, body), body, whole if isinstance(given, dict) else given)

    def answer_response(self, body: dict[str, Any]) -> None:
        """Answer with a response of OpenAI's, which may be one that is still to be made."""
        try:
            items = self.server.memory.items_of(body)
        except rules.RefusedError as problem:
            self.send_json(problem.body, problem.status)
            return
        whole = response(body)
        whole["output"] = [*self.server.memory.compacted(body, items), *whole["output"]]
        cached = self.server.memory.cached_tokens(items)
        if body.get("prompt_cache_key"):
            whole["usage"]["input_tokens_details"]["cached_tokens"] = cached
        given = exactly(body)
        self.server.memory.hold(body, given if isinstance(given, dict) and "id" in given else whole)
        if not body.get("background"):
            self.answer(whole, response_events(body, whole), body)
            return
        done = exactly(body) or whole
        waiting = done | {"output": [], "usage": None, "background": True}
        self.server.background[done["id"]] = [waiting | {"status": "in_progress"}, done]
        self.send_json(waiting | {"status": "queued"})

    def answer(
        self,
        whole: dict[str, Any],
        pieces: Iterator[tuple[str, Any]],
        body: dict[str, Any],
        given: Any = None,
    ) -> None:
        given = exactly(body) if given is None else given
        if isinstance(given, list):
            pieces = ((each.get("type") or each.get("event_type") or "", each) for each in given)
        elif not body.get("stream"):
            self.send_json(whole if given is None else given)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event, data in pieces:
            if data == "cut" or (event == "cut" and "cut" in last_words(body)):
                return  # as where the connection is lost
            if event != "cut":
                name = f"event: {event}\n" if event else ""
                self.wfile.write(
                    f"{name}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()
                )
                self.wfile.flush()

    def send_json(self, value: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing of each request."""


# -- OpenAI ---------------------------------------------------------------------------------------


def chat_usage(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "prompt_tokens": 1000,
        "completion_tokens": len(answer_to(body)),
        "total_tokens": 1000 + len(answer_to(body)),
        "prompt_tokens_details": {"cached_tokens": 400},
    }


def chat_completion(body: dict[str, Any]) -> dict[str, Any]:
    said = {"role": "assistant", "content": "".join(answer_to(body)), "refusal": None}
    choices = [{"index": 0, "message": said, "finish_reason": "stop"}]
    common = {"id": new_id("chatcmpl-"), "object": "chat.completion", "created": 1, "model": body["model"]}
    return common | {"choices": choices, "usage": chat_usage(body)}


def chat_chunks(body: dict[str, Any], response_id: str) -> Iterator[tuple[str, Any]]:
    common = {"id": response_id, "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    deltas: list[dict[str, Any]] = [{"reasoning_content": piece} for piece in thoughts_in(body)]
    deltas = [{"role": "assistant", "content": ""}, *deltas] if deltas else deltas
    deltas += [{"content": piece} for piece in answer_to(body)]
    for number, piece in enumerate(arguments_in(body)):
        begun = {"id": "call_1", "type": "function"} if number == 0 else {}
        function = {"arguments": piece} | ({"name": "weather"} if number == 0 else {})
        deltas.append({"tool_calls": [{"index": 0, "function": function} | begun]})
    for delta in deltas:
        yield "", common | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield "cut", ""
    yield "", common | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield "", common | {"choices": [], "usage": chat_usage(body)}
    yield "", "[DONE]"


def response(body: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "output_text", "text": "".join(answer_to(body)), "annotations": []}
    said = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    usage = {
        "input_tokens": 1000,
        "output_tokens": len(answer_to(body)),
        "total_tokens": 1000 + len(answer_to(body)),
        "input_tokens_details": {"cached_tokens": 400, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": 1,
        "model": body["model"],
        "status": "completed",
        "output": [said],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }


def response_events(body: dict[str, Any], whole: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    if thoughts_in(body):
        item = {"type": "reasoning", "id": "rs_1", "summary": []}
        place = {"item_id": "rs_1", "output_index": 1, "summary_index": 0}
        events.append({"type": "response.output_item.added", "output_index": 1, "item": item})
        events += [
            {"type": "response.reasoning_summary_text.delta", "delta": piece} | place
            for piece in thoughts_in(body)
        ]
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    events += [{"type": "response.output_text.delta", "delta": piece} | place for piece in answer_to(body)]
    if arguments_in(body):
        item = {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "weather",
            "arguments": "",
        }
        place = {"item_id": "fc_1", "output_index": 2}
        events.append({"type": "response.output_item.added", "output_index": 2, "item": item})
        events += [
            {"type": "response.function_call_arguments.delta", "delta": piece} | place
            for piece in arguments_in(body)
        ]
    events.append({"type": "response.completed", "response": whole})
    for number, event in enumerate(events):
        yield event["type"], event | {"sequence_number": number}


# -- Anthropic ------------------------------------------------------------------------------------


def message(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content_of_message(body),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 100,
            "output_tokens": len(answer_to(body)),
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 600,
            **usage_of_compaction(body),
        },
    }


def content_of_message(body: dict[str, Any]) -> list[dict[str, Any]]:
    """What is said; before it a compaction, and signed thinking, where the request asks for these."""
    content: list[dict[str, Any]] = [{"type": "text", "text": "".join(answer_to(body))}]
    if (body.get("thinking") or {}).get("type") in {"enabled", "adaptive"}:
        content.insert(0, {"type": "thinking", "thinking": "What did they say?"})
    compaction = rules.compaction_for(body)
    return rules.signed(body, [compaction[0], *content] if compaction else content)


def usage_of_compaction(body: dict[str, Any]) -> dict[str, Any]:
    compaction = rules.compaction_for(body)
    return {"iterations": [compaction[1]]} if compaction else {}


def message_events(whole: dict[str, Any], body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    begun = whole | {"content": [], "stop_reason": None, "usage": whole["usage"] | {"output_tokens": 1}}
    yield "message_start", {"type": "message_start", "message": begun}
    thinking = {"type": "thinking", "thinking": "", "signature": ""}
    calling = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    blocks = [
        *(begun_block(block) for block in whole["content"] if block["type"] in {"thinking", "compaction"}),
        (thinking, [{"type": "thinking_delta", "thinking": piece} for piece in thoughts_in(body)]),
        ({"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in answer_to(body)]),
        (calling, [{"type": "input_json_delta", "partial_json": piece} for piece in arguments_in(body)]),
    ]
    for index, (block, deltas) in enumerate(each for each in blocks if each[1]):
        if index:
            yield "content_block_stop", {"type": "content_block_stop", "index": index - 1}
        yield "content_block_start", {"type": "content_block_start", "index": index, "content_block": block}
        for delta in deltas:
            yield "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}
    yield "cut", ""
    yield "content_block_stop", {"type": "content_block_stop", "index": index}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    usage = {"output_tokens": whole["usage"]["output_tokens"]}
    yield "message_delta", {"type": "message_delta", "delta": end, "usage": usage}
    yield "message_stop", {"type": "message_stop"}


def begun_block(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How a block of signed thinking, or of a compaction, begins in a stream, and what comes of it then."""
    if block["type"] == "compaction":
        return block | {"content": None}, [{"type": "compaction_delta", "content": block["content"]}]
    thought = {"type": "thinking_delta", "thinking": block["thinking"]}
    signature = {"type": "signature_delta", "signature": block["signature"]}
    return block | {"thinking": "", "signature": ""}, [thought, signature]


# -- Google ---------------------------------------------------------------------------------------


def gemini_response(body: dict[str, Any], path: str, pieces: list[str] | None = None) -> dict[str, Any]:
    parts = [{"text": "".join(answer_to(body) if pieces is None else pieces)}]
    usage = {
        "promptTokenCount": 1000,
        "candidatesTokenCount": len(answer_to(body)),
        "totalTokenCount": 1000 + len(answer_to(body)),
        "cachedContentTokenCount": 400,
    }
    return {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": usage,
        "modelVersion": path.rpartition("/")[2].partition(":")[0],
        "responseId": new_id(""),
    }


def gemini_chunks(body: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    whole = gemini_response(body, path)
    for piece in answer_to(body):
        content = {"role": "model", "parts": [{"text": piece}]}
        yield (
            "",
            {name: whole[name] for name in ("modelVersion", "responseId")}
            | {"candidates": [{"content": content, "index": 0}]},
        )
    yield "cut", ""
    end = {"content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": "STOP", "index": 0}
    yield "", whole | {"candidates": [end]}


def interaction(body: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "text", "text": "".join(answer_to(body))}
    return {
        "id": new_id("int_"),
        "object": "interaction",
        "status": "completed",
        "model": body.get("model"),
        "created": "2026-11-29T12:00:00Z",
        "updated": "2026-11-29T12:00:00Z",
        "steps": [{"type": "model_output", "content": [text]}],
        "usage": {
            "total_input_tokens": 1000,
            "total_output_tokens": len(answer_to(body)),
            "total_tokens": 1000 + len(answer_to(body)),
        },
    }


def interaction_events(whole: dict[str, Any], body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    begun = {name: whole[name] for name in ("id", "object", "model", "created", "updated")}
    events: list[dict[str, Any]] = [
        {"event_type": "interaction.created", "interaction": begun | {"status": "in_progress"}},
        {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
    ]
    events += [
        {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": piece}}
        for piece in answer_to(body)
    ]
    end = begun | {"status": "completed", "usage": whole["usage"]}
    events += [
        {"event_type": "step.stop", "index": 0},
        {"event_type": "interaction.completed", "interaction": end},
    ]
    for event in events:
        yield event["event_type"], event


# -- running it -----------------------------------------------------------------------------------


@contextmanager
def running(port: int = 0) -> Iterator[str]:
    """Run the server in the background; gives its address, without a path."""
    server = Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    print(f"Speaking OpenAI's, Anthropic's and Google's formats at http://127.0.0.1:{PORT}; Ctrl-C ends it.")
    with suppress(KeyboardInterrupt):
        Server(("127.0.0.1", PORT), Handler).serve_forever()
