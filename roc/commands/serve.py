"""`roc serve --checkpoint MODEL`: scores for other programs over HTTP, and a web page for people."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from roc.commands.line import Parser, run
from roc.server.keys import find_keys
from roc.server.options import ServeOptions

DESCRIPTION = """Answers requests for scores over HTTP, and shows a page at / to drop photos on:

  POST /v1/score /v1/describe /v1/rank /v1/reward     GET /v1/models /healthz /readyz /metrics /openapi.json

The server listens at once; /readyz answers 200 when the model is loaded. SIGTERM and Ctrl-C stop it after it has
answered what it accepted. API keys are read from --api_key_file, one a line, and from the variable ROC_API_KEYS,
separated by commas; without any, everybody who reaches the port may ask. docs/server.md shows clients, systemd, a proxy
and scaling out."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc serve`.

    Args:
        argv: Words after `roc serve`; None takes those of the process.

    Returns:
        Exit status: 0 stopped, 2 bad input or a model that cannot be loaded (the reason is on stderr).
    """
    example = "roc serve --checkpoint checkpoints/mine --port 8000"
    return run(Parser("roc serve", DESCRIPTION, example), ServeOptions, argv, _serve)


def _serve(options: ServeOptions) -> None:
    keys = find_keys(options.api_key_file, os.environ)

    from roc.checkpoint.names import check_exists

    check_exists(options.checkpoint)
    try:
        from roc.server.listen import listen, serve
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}; the server needs: pip install 'roc-mllm[server]'") from error
    # Threads of the tokenizers package do not survive the forks that start processes here.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with listen(options.host, options.port) as listener:
        _log_with_times()
        serve(options, listener, keys)


def _log_with_times() -> None:
    """Logs with time and level, as a service should, in place of the notes of other commands."""
    logging.getLogger("roc").handlers.clear()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
