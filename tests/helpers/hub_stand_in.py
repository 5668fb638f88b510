"""A model hub in memory, with as much of the HTTP interface as uploading and loading a checkpoint needs.

It declares every file "regular", so contents come with the commit; large-file storage is not imitated. Start programs
that use it with the environment of `HubStandIn.environment`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class HubStandIn:
    """Serves inside the `with` block.

    Attributes:
        repos: repository id -> path -> content.
        private: ids that were created as private.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()

    def __enter__(self) -> HubStandIn:
        hub = self

        class Handler(_Handler):
            repos, private = hub.repos, hub.private

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: os.PathLike) -> dict[str, str]:
        """Returns the environment of this process with this hub and an empty cache in `home`."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_TOKEN": "hf_test", "HF_HUB_DISABLE_XET": "1"}
        return {**kept, **own, "NO_PROXY": "127.0.0.1"}


class _Handler(BaseHTTPRequestHandler):
    repos: dict[str, dict[str, bytes]]
    private: set[str]

    def do_POST(self) -> None:
        lines = [json.loads(line) for line in self.rfile.read(int(self.headers["Content-Length"])).splitlines()]
        path = urlsplit(self.path).path.strip("/").split("/")
        if path == ["api", "validate-yaml"]:
            self._json({})
        elif path == ["api", "repos", "create"]:
            repo = f"{lines[0]['organization']}/{lines[0]['name']}"
            self.repos.setdefault(repo, {})
            if lines[0].get("visibility") == "private" or lines[0].get("private"):  # by version of huggingface_hub
                self.private.add(repo)
            self._json({"url": f"http://{self.headers['Host']}/{repo}"})
        elif path[4] == "preupload":
            files = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in lines[0]["files"]]
            self._json({"files": files})
        elif path[4] == "commit":
            files = self.repos["/".join(path[2:4])]
            for line in lines:
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"http://{self.headers['Host']}/{path[2]}/{path[3]}/commit/{_revision(files)}"
            self._json({"commitUrl": url, "commitOid": _revision(files)})
        else:
            self._missing("EntryNotFound")

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.strip("/").split("/")
        api = path[:2] == ["api", "models"]
        repo = "/".join(path[2:4] if api else path[:2])
        if repo not in self.repos:
            self._missing("RepoNotFound")
        elif api and (len(path) == 4 or path[4] == "revision"):
            self._json({"id": repo, "sha": _revision(self.repos[repo]), "tags": [], "siblings": []})
        elif not api and path[2] == "resolve" and (name := "/".join(path[4:])) in self.repos[repo]:
            self._send(200, self.repos[repo][name], "application/octet-stream", _revision(self.repos[repo]))
        else:
            self._missing("EntryNotFound", _revision(self.repos[repo]))

    do_HEAD = do_GET

    def _json(self, content: dict) -> None:
        self._send(200, json.dumps(content).encode(), "application/json")

    def _missing(self, code: str, revision: str = "") -> None:
        self._send(404, b"{}", "application/json", revision, {"X-Error-Code": code})

    def _send(self, status: int, body: bytes, kind: str, revision: str = "", more: dict | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": len(body), "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}
        for name, value in {**headers, "X-Repo-Commit": revision, **(more or {})}.items():
            if value != "":
                self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _revision(files: dict[str, bytes]) -> str:
    """Computes 40 hexadecimal digits that identify this content."""
    digest = hashlib.sha1()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name])
    return digest.hexdigest()
