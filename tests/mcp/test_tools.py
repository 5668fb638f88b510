"""`roc mcp` asked by the official SDK's own client, in memory and over standard input and output."""

import asyncio
import os
import sys

import pytest
from pages import ROOT

pytest.importorskip("mcp")

from mcp import Client, StdioServerParameters  # noqa: E402

from roc.mcp.tools import create_server  # noqa: E402


async def converse(server, photos):
    """What a client gets: the tools, the words of introduction, and four answers."""
    async with Client(server, read_timeout_seconds=120) as client:
        tools = (await client.list_tools()).tools
        calls = [
            ("score", {"images": ["a.png", "trip/broken.png"]}),
            ("rank", {"images": [str(photos)], "attribute": "light"}),
            ("describe", {"image": "b.png"}),
            ("score", {"images": ["../secret.png"]}),
            ("score", {"images": "a.png", "colour": 1}),
        ]
        return tools, client.instructions, [await client.call_tool(name, asked) for name, asked in calls]


def check(found, assessor, photos):
    tools, told, (score, rank, describe, outside, wrong) = found
    assert [tool.name for tool in tools] == ["score", "rank", "describe"]
    assert all(tool.annotations.read_only_hint and tool.description for tool in tools)
    assert tools[0].input_schema["properties"]["images"]["description"].startswith("paths of pictures")
    assert "overall 1 to 10" in told and str(photos) in told
    assert not score.is_error and score.structured_content == assessor.score(["a.png", "trip/broken.png"], None)
    assert rank.structured_content["photos"][0]["rank"] == 1
    assert describe.structured_content["text"] == assessor.describe("b.png")["text"]
    assert outside.is_error and "outside the folders that this server may open" in outside.content[0].text
    assert wrong.is_error and "images" in wrong.content[0].text


def test_a_client_in_memory(assessor, photos):
    check(asyncio.run(converse(create_server(assessor), photos)), assessor, photos)


@pytest.mark.slow
def test_a_client_over_standard_input_and_output(assessor, checkpoint, photos):
    words = ["-m", "roc.cli", "mcp", "--checkpoint", checkpoint, "--folders", str(photos), "--max_new_tokens", "8"]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    server = StdioServerParameters(
        command=sys.executable, args=[*words, "--dtype", "float32", "--images", "3"], env=environment
    )
    check(asyncio.run(converse(server, photos)), assessor, photos)
