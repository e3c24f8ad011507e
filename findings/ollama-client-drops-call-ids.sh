#!/usr/bin/env bash
# ollama 0.6.3 drops the ids of tool calls.
#
# Behaviour: an Ollama server gives each tool call an id, and an index in its function. The Python client's response objects
# have neither: `model_dump()` of an answer with two calls of one tool shows two calls that only their arguments tell apart.
# Why it matters here: a result names the call that it belongs to. Whoever records the client's objects cannot use the
# server's ids, so we give such calls ids of our own. An application that reads the server's JSON itself has the server's.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ollama==0.6.3
"$folder/venv/bin/python" - <<'PYTHON'
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from threading import Thread

from ollama import Client

CALLS = [
    {"id": f"call_{at}", "function": {"index": at, "name": "get_weather", "arguments": {"city": city}}}
    for at, city in enumerate(("Lisbon", "Rome"))
]
ANSWER = {
    "model": "llama3.3",
    "created_at": "2026-11-01T10:00:00Z",
    "message": {"role": "assistant", "content": "", "tool_calls": CALLS},
    "done": True,
    "done_reason": "stop",
}


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Server)
Thread(target=server.serve_forever, daemon=True).start()
client = Client(host=f"http://127.0.0.1:{server.server_port}")
answer = client.chat(model="llama3.3", messages=[{"role": "user", "content": "How is the weather in Lisbon and Rome?"}])
given = answer.model_dump(exclude_none=True)["message"]["tool_calls"]
print("ollama", version("ollama"))
print("the server sent:", CALLS)
print("the client gives:", given)
assert [sorted(call) for call in given] == [["function"], ["function"]], "the client keeps the calls' ids now"
assert all("index" not in call["function"] for call in given), "the client keeps the calls' indexes now"
PYTHON
