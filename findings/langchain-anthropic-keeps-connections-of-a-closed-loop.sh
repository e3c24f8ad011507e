#!/usr/bin/env bash
# langchain-anthropic 1.7.10 fails in the second event loop of a process, also with a new model object.
#
# Behaviour: all `ChatAnthropic` objects of a process share one async HTTP client, whatever event loop they are used in. A second
# `asyncio.run` gets a pooled connection of the first, which is closed with its loop, and the call ends with a connection error
# (`Event loop is closed`), although the server is there.
# Why it matters here: workers and scripts that record each conversation in an `asyncio.run` of its own see failed calls,
# which a conversation has as failures of the model. Our own clients belong to an event loop, and are closed when it ends.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check langchain-anthropic==1.7.10 anthropic==2.14.0
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from langchain_anthropic import ChatAnthropic

ANSWER = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "Hello."}], "usage": {"input_tokens": 1, "output_tokens": 1},
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        data = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()


async def ask() -> str:
    address = f"http://127.0.0.1:{server.server_port}"
    model = ChatAnthropic(model="claude-sonnet-4-6", base_url=address, api_key="none", max_retries=0)
    try:
        return (await model.ainvoke("Hello")).content
    except Exception as problem:
        return type(problem).__name__


print("langchain-anthropic", version("langchain-anthropic"))
answers = [asyncio.run(ask()) for _ in range(2)]
print("in the first event loop:", answers[0])
print("in the second event loop:", answers[1])
assert answers[0] == "Hello."
assert answers[1] != "Hello.", "each event loop has connections of its own now"
PYTHON
