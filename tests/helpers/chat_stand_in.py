"""A chat endpoint on this machine: it speaks the protocol of OpenAI, and misbehaves as it is told."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler

from local_server import LocalServer

JUDGEMENTS = {
    "critical": "All in all the photo is weak and does not succeed.",
    "balanced": "All in all the photo is decent but unremarkable.",
    "appreciative": "All in all the photo is strong and succeeds.",
}
CRITIQUE = (
    "The light is soft and the shadow gentle. The mood is quiet, with a story that is easy to follow. The composition "
    "leaves the subject room. The colour is held back. The exposure keeps all detail. "
)


def answer(prompt: str) -> str:
    """What a well-behaved author says: a critique in the tone asked for, its tone, or NONE."""
    for tone, judgement in JUDGEMENTS.items():
        if f"The tone is {tone}" in prompt:
            return CRITIQUE + judgement
    if "bad, fair or good" in prompt:
        return "bad" if " weak" in prompt else "fair" if "decent" in prompt else "Good."
    return "NONE"


class ChatStandIn(LocalServer):
    """Serves inside the `with` block.

    Attributes:
        faults: What goes wrong, a request each, before answers are good again: a status, "slow", "html", "no json",
            "no choices", "empty", "cut".
        bodies: Requests as they came.
        keys: Their `Authorization` headers.
        answer: Prompt -> answer.
        pause: Seconds before every answer.
    """

    def __init__(self, *faults, answer=answer, pause=0.0):
        self.faults, self.answer, self.pause = list(faults), answer, pause
        self.bodies, self.keys = [], []
        self.lock = threading.Lock()


def prompt_of(body):
    """The words of a request."""
    return "".join(part.get("text", "") for part in body["messages"][-1]["content"])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: ChatStandIn

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.stand_in.lock:
            self.stand_in.bodies.append(body)
            self.stand_in.keys.append(self.headers.get("Authorization"))
            fault = self.stand_in.faults.pop(0) if self.stand_in.faults else None
        time.sleep(self.stand_in.pause)
        if fault == "slow":
            time.sleep(1.0)
        if isinstance(fault, int):
            error = {"error": {"message": f"fault {fault}", "type": "stand_in"}}
            self._send(fault, json.dumps(error), "application/json")
        elif fault == "html":
            self._send(200, "<html>a proxy says hello</html>", "text/html")
        elif fault == "no json":
            self._send(200, '{"choices": [', "application/json")
        else:
            self._send(200, json.dumps(self._completion(body, fault)), "application/json")

    def _completion(self, body, fault):
        text = "" if fault == "empty" else self.stand_in.answer(prompt_of(body))
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "length" if fault == "cut" else "stop"}
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [] if fault == "no choices" else [choice],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
        }

    def _send(self, status, text, kind):
        content = text.encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if status >= 400:
                self.send_header("retry-after-ms", "10")
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):  # whoever asked has given up
            self.close_connection = True

    def log_message(self, *_):
        pass


ChatStandIn.handler = _Handler
