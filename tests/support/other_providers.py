"""A server that speaks the wire formats of Cohere, Ollama and Amazon Bedrock, with fixed answers."""

from __future__ import annotations

import json
import struct
import sys
import threading
from binascii import crc32
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CALL: dict[str, Any] = {"name": "tide", "arguments": {"day": 1}}
TEXT, THOUGHT = "At noon.", "Hm."

COHERE: dict[str, Any] = {
    "id": "co-1",
    "finish_reason": "TOOL_CALL",
    "message": {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": TEXT}],
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "tide", "arguments": '{"day": 1}'}}
        ],
    },
    "usage": {
        "billed_units": {"input_tokens": 10, "output_tokens": 5},
        "tokens": {"input_tokens": 700, "output_tokens": 40},
        "cached_tokens": 0,
    },
}


def cohere_events() -> list[dict[str, Any]]:
    content = [
        {"type": "content-start", "index": at, "delta": {"message": {"content": {"type": kind, kind: ""}}}}
        for at, kind in enumerate(("thinking", "text"))
    ]
    deltas = [
        {"type": "content-delta", "index": at, "delta": {"message": {"content": {kind: piece}}}}
        for at, kind, text in ((0, "thinking", THOUGHT), (1, "text", TEXT))
        for piece in (text[:2], text[2:])
    ]
    start = COHERE["message"]["tool_calls"][0]
    begun = start | {"function": {"name": "tide", "arguments": ""}}
    calls = [
        {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": begun}}},
        *(
            {
                "type": "tool-call-delta",
                "index": 0,
                "delta": {"message": {"tool_calls": {"function": {"arguments": piece}}}},
            }
            for piece in ('{"day"', ": 1}")
        ),
        {"type": "tool-call-end", "index": 0},
    ]
    end = {name: COHERE[name] for name in ("finish_reason", "usage")}
    return [
        {"type": "message-start", "id": COHERE["id"], "delta": {"message": {"role": "assistant"}}},
        content[0],
        *deltas[:2],
        {"type": "content-end", "index": 0},
        content[1],
        *deltas[2:],
        {"type": "content-end", "index": 1},
        *calls,
        {"type": "message-end", "delta": end},
    ]


OLLAMA: dict[str, Any] = {
    "model": "llama3.3",
    "created_at": "2026-11-01T00:00:00Z",
    "message": {
        "role": "assistant",
        "content": TEXT,
        "thinking": THOUGHT,
        "tool_calls": [{"function": CALL}],
    },
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 26,
    "eval_count": 9,
}


def ollama_lines() -> list[dict[str, Any]]:
    common = {name: OLLAMA[name] for name in ("model", "created_at")} | {"done": False}
    pieces: list[dict[str, Any]] = [
        {"thinking": THOUGHT, "content": ""},
        {"content": TEXT[:3]},
        {"content": TEXT[3:]},
        {"content": "", "tool_calls": [{"function": CALL}]},
    ]
    lines = [common | {"message": {"role": "assistant"} | piece} for piece in pieces]
    return [*lines, OLLAMA | {"message": {"role": "assistant", "content": ""}}]


BEDROCK: dict[str, Any] = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": THOUGHT, "signature": "AAAA"}}},
                {"text": TEXT},
                {"toolUse": {"toolUseId": "call_1", "name": "tide", "input": {"day": 1}}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": {
        "inputTokens": 100,
        "outputTokens": 20,
        "totalTokens": 570,
        "cacheReadInputTokens": 400,
        "cacheWriteInputTokens": 50,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 30}, {"ttl": "5m", "inputTokens": 20}],
    },
    "metrics": {"latencyMs": 1},
}


def bedrock_events() -> list[tuple[str, dict[str, Any]]]:
    deltas: list[tuple[int, dict[str, Any]]] = [
        (0, {"reasoningContent": {"text": THOUGHT}}),
        (0, {"reasoningContent": {"signature": "AAAA"}}),
        (1, {"text": TEXT[:3]}),
        (1, {"text": TEXT[3:]}),
        (2, {"toolUse": {"input": '{"day"'}}),
        (2, {"toolUse": {"input": ": 1}"}}),
    ]
    start = {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "call_1", "name": "tide"}}}
    pieces = [("contentBlockDelta", {"contentBlockIndex": at, "delta": delta}) for at, delta in deltas]
    return [
        ("messageStart", {"role": "assistant"}),
        *pieces[:4],
        ("contentBlockStart", start),
        *pieces[4:],
        ("contentBlockStop", {"contentBlockIndex": 2}),
        ("messageStop", {"stopReason": "tool_use"}),
        ("metadata", {name: BEDROCK[name] for name in ("usage", "metrics")}),
    ]


def event_stream_message(kind: str, payload: bytes) -> bytes:
    """A message as Amazon's event streams have it: lengths and checksums around headers and payload.

    https://smithy.io/2.0/aws/amazon-eventstream.html
    """
    headers = b"".join(
        struct.pack(f"!B{len(name)}sBH{len(value)}s", len(name), name, 7, len(value), value)
        for name, value in (
            (b":event-type", kind.encode()),
            (b":content-type", b"application/json"),
            (b":message-type", b"event"),
        )
    )
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", crc32(prelude)) + headers + payload
    return message + struct.pack("!I", crc32(message))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v2/chat":
            lines = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in cohere_events()]
            streamed = [line.encode() for line in lines]
            self._answer(COHERE, streamed, "text/event-stream", streams=body.get("stream"))
        elif self.path == "/api/chat":
            streamed = [f"{json.dumps(line)}\n".encode() for line in ollama_lines()]
            self._answer(OLLAMA, streamed, "application/x-ndjson", streams=body.get("stream"))
        else:
            streamed = [
                event_stream_message(kind, json.dumps(each).encode()) for kind, each in bedrock_events()
            ]
            kind = "application/vnd.amazon.eventstream"
            self._answer(BEDROCK, streamed, kind, streams=self.path.endswith("/converse-stream"))

    def _answer(self, whole: Any, pieces: Sequence[bytes], kind: str, *, streams: bool) -> None:
        data = json.dumps(whole).encode()
        self.send_response(200)
        self.send_header("Content-Type", kind if streams else "application/json")
        self.send_header("x-amzn-RequestId", "request-1")
        if streams:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        for piece in pieces if streams else [data]:
            self.wfile.write(piece)
            self.wfile.flush()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing of each request."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may hang up
            super().handle_error(request, client_address)


@contextmanager
def running() -> Iterator[str]:
    """The server's address, while it runs."""
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
