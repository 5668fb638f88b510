"""A server that gives the answers of `roc serve` without a model, for tests of the web page.

It serves the page of the package with the headers of the real server. Scores are computed from the bytes of the file.
Files with "broken" in their name are refused, "numberless" ones get no score, and for "slammed" ones the connection is
closed. The first `busy` requests get 503, `key` is the API key it asks for, and a request takes `seconds`.
"""

import contextlib
import hashlib
import json
import math
import mimetypes
import threading
import time
from collections import Counter
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import roc

PAGE = Path(roc.__file__).parent / "server" / "page"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
LEVELS = list(range(1, 11))
UNREADABLE = "not an image, or one whose beginning is damaged"
COMMENT = "The subject sits on a third, the light is soft, and nothing at the edges asks for attention. " * 2


class StandIn(ThreadingHTTPServer):
    """Its behaviour can be changed while it runs; `seen` counts paths, `names` files, `most` parallel requests."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, attributes=("overall", "composition", "light"), calibrated=False, **limits):
        super().__init__(("127.0.0.1", 0), Handler)
        self.model = {
            "id": "stand-in",
            "min_score": 1.0,
            "max_score": 10.0,
            "num_levels": len(LEVELS),
            "levels": LEVELS,
            "attributes": list(attributes),
            "calibrated": calibrated,
            "limits": {"images": 64, "bytes_per_image": 20_000_000, "bytes_per_request": 60_000_000, "pixels": 10**8}
            | limits,
            "describe": True,
            "reasons": False,
            "personal": True,
        }
        self.busy, self.key, self.seconds, self.fault = 0, None, 0.0, None
        self.seen, self.names, self.running, self.most, self.lock = Counter(), Counter(), 0, 0, threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def score(self, content, attribute):
        digest = hashlib.sha256(content + attribute.encode()).digest()
        middle, width = 2.5 + 6.5 * digest[0] / 255, 0.7 + 1.2 * digest[1] / 255
        weights = [math.exp(-(((level - middle) / width) ** 2) / 2) for level in LEVELS]
        distribution = [weight / sum(weights) for weight in weights]
        value = sum(p * level for p, level in zip(distribution, LEVELS, strict=True))
        variance = sum(p * (level - value) ** 2 for p, level in zip(distribution, LEVELS, strict=True))
        return {"value": value, "std": math.sqrt(variance), "distribution": distribution}

    def result(self, name, content):
        if "broken" in name:
            return {"name": name, "scores": None, "error": {"code": "unreadable_image", "message": UNREADABLE}}
        scores = {attribute: self.score(content, attribute) for attribute in self.model["attributes"]}
        if "numberless" in name:
            scores = dict.fromkeys(scores)
        return {"name": name, "scores": scores, "error": None}


@contextlib.contextmanager
def serving(**settings):
    """Runs a stand-in until the end of the block."""
    server = StandIn(**settings)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/v1/models":
            if self.allowed():
                self.answer(200, {"data": [self.server.model]})
            return
        file = PAGE / ("index.html" if path == "/" else path.removeprefix("/page/"))
        if file.parent == PAGE and file.is_file():
            self.send(200, file.read_bytes(), mimetypes.guess_type(file.name)[0])
        else:
            self.refuse(404, "not_found", f"there is no {path}")

    def do_POST(self):
        server = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with server.lock:
            server.seen[self.path] += 1
            server.running += 1
            server.most = max(server.most, server.running)
            turned_away, server.busy = server.busy > 0, max(0, server.busy - 1)
        try:
            time.sleep(server.seconds)
            if not self.allowed():
                return
            if turned_away:
                self.refuse(503, "queue_full", "64 images are waiting; come again in a second", {"Retry-After": "1"})
            elif server.fault:
                self.send(*server.fault)
            else:
                self.work(*self.parts(body))
        finally:
            with server.lock:
                server.running -= 1

    def work(self, files, fields):
        server = self.server
        server.names.update(name for name, _ in files)
        if any("slammed" in name for name, _ in files):
            self.close_connection = True
            self.connection.close()
            return
        results = [server.result(name, content) for name, content in files]
        unread = [{"index": i, "name": one["name"], **one["error"]} for i, one in enumerate(results) if one["error"]]
        if len(unread) == len(results):
            message = f"{unread[0]['name']}: {unread[0]['message']}"
            self.refuse(422, unread[0]["code"], message, details=unread)
            return
        about = {key: server.model[key] for key in ("min_score", "max_score", "levels", "calibrated", "attributes")}
        if self.path == "/v1/describe":
            results = [result | {"text": COMMENT.strip()} for result in results]
        if self.path == "/v1/rank":
            scores = [result["scores"][fields["attribute"]] for result in results]
            if None in scores:
                self.refuse(422, "unscored", f"{results[scores.index(None)]['name']}: the model gave no score")
                return
            results = [
                result | {"scores": {fields["attribute"]: bare(score)}}
                for result, score in zip(results, scores, strict=True)
            ]
            share = [[win(one, other) for other in scores] for one in scores]
            order = sorted(range(len(scores)), key=lambda i: -scores[i]["value"])
            about |= {"attribute": fields["attribute"], "order": order, "win_probability": share}
        self.answer(200, {"model": server.model["id"], **about, "results": results})

    def parts(self, body):
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        files, fields = [], {}
        for part in message_from_bytes(head + body).get_payload():
            content = part.get_payload(decode=True)
            name = part.get_param("name", header="content-disposition")
            if part.get_filename() is None:
                fields[name] = content.decode()
            else:
                files.append((part.get_filename(), content))
        return files, fields

    def allowed(self):
        key = self.server.key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        self.refuse(401, "unauthorized", "an API key is needed", {"WWW-Authenticate": "Bearer"})
        return False

    def refuse(self, status, code, message, headers=(), details=()):
        content = json.dumps({"error": {"code": code, "message": message, "details": list(details)}}).encode()
        self.send(status, content, "application/json", headers)

    def answer(self, status, body):
        self.send(status, json.dumps(body).encode(), "application/json")

    def send(self, status, content, kind, headers=()):
        self.send_response(status)
        about = {"Content-Type": kind, "Content-Length": str(len(content)), "Content-Security-Policy": CSP}
        for name, value in (about | {"X-Content-Type-Options": "nosniff", **dict(headers)}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def bare(score):
    return {"value": score["value"], "std": score["std"]}


def win(one, other):
    apart = (one["value"] - other["value"]) / math.hypot(one["std"], other["std"])
    return (1 + math.erf(apart / math.sqrt(2))) / 2
