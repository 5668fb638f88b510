"""An image-edit endpoint on this machine: it speaks the protocol of OpenAI, and misbehaves as it is told."""

from __future__ import annotations

import base64
import email.parser
import email.policy
import io
import json
from http.server import BaseHTTPRequestHandler

from local_server import LocalServer
from PIL import Image, ImageEnhance


class ImageStandIn(LocalServer):
    """Serves inside the `with` block; it darkens what it gets.

    Attributes:
        faults: What goes wrong, a request each, before answers are good again: a status, "url", "empty", "broken",
            "unchanged", "larger" (of the same shape), "square".
        asked: The fields of each request, the picture opened.
    """

    def __init__(self, *faults):
        self.faults, self.asked = list(faults), []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: ImageStandIn

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + content).iter_parts()
        fields = {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts}
        picture = Image.open(io.BytesIO(fields.pop("image")))
        self.stand_in.asked.append({name: value.decode() for name, value in fields.items()} | {"image": picture})
        fault = self.stand_in.faults.pop(0) if self.stand_in.faults else None
        if isinstance(fault, int):
            return self._send(fault, {"error": {"message": f"fault {fault}"}})
        answers = {"url": [{"url": "http://127.0.0.1/a.png"}], "empty": [], "broken": [{"b64_json": "bm9uZQ=="}]}
        return self._send(200, {"created": 0, "data": answers.get(fault) or self._edited(picture, fault)})

    def _edited(self, picture, fault):
        if fault == "empty":
            return []
        made = picture if fault == "unchanged" else ImageEnhance.Brightness(picture).enhance(0.6)
        sizes = {"larger": (picture.width * 2, picture.height * 2), "square": (50, 50)}
        buffer = io.BytesIO()
        made.resize(sizes.get(fault, picture.size)).save(buffer, "PNG")
        return [{"b64_json": base64.b64encode(buffer.getvalue()).decode()}]

    def _send(self, status, answer):
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status >= 400:
            self.send_header("retry-after-ms", "10")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


ImageStandIn.handler = _Handler
