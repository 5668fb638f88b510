"""A stand-in for an endpoint: a server on this machine, inside a `with` block."""

import threading
from http.server import ThreadingHTTPServer


class LocalServer:
    """Serves inside the `with` block.

    Attributes:
        handler: Class of the requests; it finds this object as `stand_in`.
        url: Address of the endpoint.
    """

    handler = None

    def __enter__(self):
        handler = type("Handler", (self.handler,), {"stand_in": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
