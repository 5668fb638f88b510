"""`roc mcp --checkpoint MODEL --folders DIR`: an MCP server on standard input and output."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from roc.commands.line import Parser, run
from roc.mcp.options import McpOptions

DESCRIPTION = """Serves the Model Context Protocol on standard input and output, so that an assistant can look at photos
through a checkpoint. Its tools:

  score     scores and spreads of local pictures        rank   the order of several, and how sure it is
  describe  what the model says of one picture

Only pictures below --folders are opened; other paths and URLs are refused. An assistant starts the command itself; in
its settings give the whole path of roc. The model is loaded before the first request is answered. docs/server.md shows
an entry of such settings. Needs: pip install 'roc-mllm[mcp]'"""

EXAMPLE = "roc mcp --checkpoint checkpoints/mine --folders photos"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `roc mcp`.

    Args:
        argv: Words after `roc mcp`; None takes those of the process.

    Returns:
        Exit status: 0 the input ended, 2 bad input (the reason is on stderr), 130 stopped by Ctrl-C.
    """
    return run(Parser("roc mcp", DESCRIPTION, EXAMPLE), McpOptions, argv, _serve)


def _serve(options: McpOptions) -> None:
    from roc.mcp.folders import Folders

    Folders(options.folders)

    from roc.checkpoint.names import check_exists

    check_exists(options.checkpoint)
    try:
        import mcp  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}; this command needs: pip install 'roc-mllm[mcp]'") from error

    from roc.mcp.assessor import Assessor
    from roc.mcp.tools import create_server

    server = create_server(Assessor(options))
    print(f"roc mcp: ready; pictures may lie in {', '.join(options.folders)}", file=sys.stderr)
    server.run()
