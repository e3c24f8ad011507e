"""A small server that speaks the wire formats of OpenAI's and Anthropic's APIs, streaming too.

It lets the examples and tests run the real SDKs offline. Its model repeats what the user said last.

    python examples/local_llm.py        # then use base_url="http://127.0.0.1:8123/v1"
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8123


def last_words(body: dict[str, Any]) -> str:
    """What the user said last, in a request of any of the formats."""
    messages = body.get("messages", body.get("input", ""))
    content = messages if isinstance(messages, str) else messages[-1].get("content", "")
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def answer_to(body: dict[str, Any]) -> list[str]:
    """The model's answer, in the pieces in which it streams."""
    words = f"You said: {last_words(body)}".split(" ")
    return [word if at == 0 else f" {word}" for at, word in enumerate(words)]


class Server(ThreadingHTTPServer):
    """Answers many at once, and says nothing of clients that hang up."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave it at that: who reads a stream may go away."""


class Handler(BaseHTTPRequestHandler):
    """Answers by the path that is asked for."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "fail" in last_words(body):
            self.send_json({"error": {"message": "the model is down", "type": "server_error"}}, 500)
        elif self.path.endswith("/chat/completions"):
            self.answer(chat_completion(body), chat_chunks(body), body)
        elif self.path.endswith("/responses"):
            self.answer(response(body), response_events(body), body)
        elif self.path.endswith("/messages"):
            self.answer(message(body), message_events(body), body)
        else:
            self.send_json({"error": {"message": f"there is no {self.path} here"}}, 404)

    def answer(self, whole: dict[str, Any], pieces: Iterator[tuple[str, Any]], body: dict[str, Any]) -> None:
        if not body.get("stream"):
            self.send_json(whole)
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
    common = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": body["model"]}
    return common | {"choices": choices, "usage": chat_usage(body)}


def chat_chunks(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    for piece in answer_to(body):
        yield "", common | {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
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
        "id": "resp_1",
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


def response_events(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    whole = response(body)
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    events += [{"type": "response.output_text.delta", "delta": piece} | place for piece in answer_to(body)]
    events.append({"type": "response.completed", "response": whole})
    for number, event in enumerate(events):
        yield event["type"], event | {"sequence_number": number}


# -- Anthropic ------------------------------------------------------------------------------------


def message(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [{"type": "text", "text": "".join(answer_to(body))}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 100,
            "output_tokens": len(answer_to(body)),
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 600,
        },
    }


def message_events(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    whole = message(body)
    begun = whole | {"content": [], "stop_reason": None, "usage": whole["usage"] | {"output_tokens": 1}}
    yield "message_start", {"type": "message_start", "message": begun}
    block = {"type": "text", "text": ""}
    yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}
    for piece in answer_to(body):
        delta = {"type": "text_delta", "text": piece}
        yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
    yield "cut", ""
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    usage = {"output_tokens": whole["usage"]["output_tokens"]}
    yield "message_delta", {"type": "message_delta", "delta": end, "usage": usage}
    yield "message_stop", {"type": "message_stop"}


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
    print(f"Speaking OpenAI's and Anthropic's formats at http://127.0.0.1:{PORT}; Ctrl-C ends it.")
    with suppress(KeyboardInterrupt):
        Server(("127.0.0.1", PORT), Handler).serve_forever()
