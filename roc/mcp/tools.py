"""The server of the official SDK (package `mcp`): three tools around an `Assessor`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

import roc
from roc.mcp.assessor import Assessor

Images = Annotated[
    list[str],
    Field(description="paths of pictures, or of folders, which stand for the pictures that lie directly in them"),
]
Attributes = Annotated[list[str] | None, Field(description="names of the scores to give; null gives all")]
Attribute = Annotated[str | None, Field(description="name of the score to rank by; null takes the first of the model")]

READS_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


def create_server(assessor: Assessor) -> MCPServer:
    """Builds the server; `server.run()` serves standard input and output until the input ends.

    Args:
        assessor: Does the work.
    """
    declared = assessor.assessment.model.declaration
    trained = "learned from people's votes" if declared.distribution_supervised else "untrained and means nothing"
    server = MCPServer(
        "roc",
        version=roc.__version__,
        instructions=(
            f"Scores pictures with a model trained on people's ratings. Higher is better: {assessor.scale}. std is the "
            f"spread of a score; here it is {trained}. Pictures may lie in {assessor.folders}; paths are absolute, or "
            "relative to one of these."
        ),
    )

    @server.tool(annotations=READS_ONLY)
    def score(images: Images, attributes: Attributes = None) -> dict[str, Any]:
        """Scores local pictures on the scale of human ratings that the model learned; higher is better.

        Each result has prediction and std of the model's first score, prediction.NAME of the others, and the scale. A
        picture that cannot be read has an error instead. Fast: one forward pass per batch, no text.
        """
        return _told(lambda: assessor.score(images, attributes))

    @server.tool(annotations=READS_ONLY)
    def rank(images: Images, attribute: Attribute = None) -> dict[str, Any]:
        """Puts two or more local pictures in order, best first.

        Each of photos has beats_next, the probability that it beats the one behind it; win_probability has it for each
        pair. Near 0.5 the model cannot tell which is better.
        """
        return _told(lambda: assessor.rank(images, attribute))

    @server.tool(annotations=READS_ONLY)
    def describe(image: Annotated[str, Field(description="path of one picture")]) -> dict[str, Any]:
        """Has the model say in words what it thinks of one local picture, with its scores; slower than score."""
        return _told(lambda: assessor.describe(image))

    return server


def _told(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Does the work of a tool; what the assistant can mend reaches it as the answer's text.

    Raises:
        ToolError: The request cannot be met.
    """
    try:
        return work()
    except (ValueError, OSError) as error:
        raise ToolError(str(error)) from error
