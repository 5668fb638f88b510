"""The Python client against a real server, and what it does with a busy one; the reward example of docs/server.md."""

import asyncio
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from heads import picture
from PIL import Image
from serving import httpx, photo, running

from roc.server import client as clients
from roc.server.client import AsyncClient, Client, ServerError

KEY = "0123456789abcdef"
DOCS = Path(__file__).parents[2] / "docs" / "server.md"


@pytest.fixture(scope="module")
def server(checkpoint):
    with running(checkpoint, keys=(KEY,), max_new_tokens=16) as server:
        yield server


@pytest.fixture
def client(server):
    with Client(server.url, api_key=KEY) as client:
        yield client


@pytest.fixture(scope="module")
def values(assessment):
    return [one.scores["overall"].value for one in assessment.score([picture(i) for i in range(5)])]


def test_paths_bytes_and_pictures(client, tmp_path, values):
    path = tmp_path / "a.png"
    path.write_bytes(photo(0))
    answer = client.score([path, str(path), photo(1), picture(2)], ["overall"], distribution=True)
    assert [result["name"] for result in answer["results"]] == ["a.png", "a.png", "image 2", "image 3"]
    found = [result["scores"]["overall"]["value"] for result in answer["results"]]
    assert found == pytest.approx([values[i] for i in (0, 0, 1, 2)], abs=1e-5)
    assert len(answer["results"][0]["scores"]["overall"]["distribution"]) == 10
    assert len(client.score(path)["results"]) == 1
    with pytest.raises(TypeError, match="got int"):
        client.score([3])
    with pytest.raises(ValueError, match="no image came"):
        client.score([])


def turned():
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    picture(0, (60, 20)).save(file, "JPEG", exif=exif)
    return Image.open(file)


PALETTE = picture(1).convert("P")
PALETTE.info["transparency"] = bytes(range(0, 256, 8))
ODD = {
    "turned": turned(),
    "cmyk": picture(2).convert("CMYK"),
    "sixteen_bit": Image.fromarray((np.arange(1200, dtype=np.uint16) * 50).reshape(30, 40)),
    "float": Image.fromarray(np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40)),
    "palette_with_alpha": PALETTE,
    "transparent": Image.merge("RGBA", [*picture(3).split(), picture(4).convert("L")]),
}


@pytest.mark.parametrize("name", ODD)
def test_pictures_are_what_assessment_sees(client, assessment, name):
    known = assessment.score(ODD[name])[0].scores["overall"].value
    assert client.score(ODD[name])["results"][0]["scores"]["overall"]["value"] == pytest.approx(known, abs=1e-5)
    assert client.reward([ODD[name]], scale="native") == pytest.approx([known], abs=1e-5)


def test_the_other_routes(client, values):
    pictures = [picture(i) for i in range(5)]
    assert client.rank(pictures)["order"] == sorted(range(5), key=lambda i: -values[i])
    rewards = client.reward([*pictures, b"no image"], batch=2)
    assert rewards == pytest.approx([(value - 1) / 9 for value in values] + [None], abs=1e-5)
    assert client.reward(pictures[:1], scale="native") == pytest.approx(values[:1], abs=1e-5)
    assert client.models()[0]["id"] == "tiny"
    assert "text" in client.describe(pictures[0])["results"][0]


def test_errors(server, client):
    with pytest.raises(ServerError, match="image 0: not an image") as error:
        client.score(b"no image")
    assert (error.value.status, error.value.code, len(error.value.details)) == (422, "unreadable_image", 1)
    with Client(server.url) as stranger, pytest.raises(ServerError, match="401 unauthorized"):
        stranger.models()


def test_asynchronously(server, values):
    async def all_of_it():
        async with AsyncClient(server.url, api_key=KEY) as client:
            answers = await asyncio.gather(*[client.score(picture(i % 5)) for i in range(20)])
            found = [answer["results"][0]["scores"]["overall"]["value"] for answer in answers]
            assert found == pytest.approx([values[i % 5] for i in range(20)], abs=1e-5)
            assert (await client.rank([picture(0), picture(1)]))["attribute"] == "overall"
            assert await client.reward([picture(0)]) == pytest.approx([(values[0] - 1) / 9], abs=1e-5)
            assert (await client.models())[0]["limits"]["images"] == 64
            assert (await client.describe(picture(0)))["results"][0]["text"] is not None
            with pytest.raises(ServerError, match="unknown_attribute"):
                await client.score(picture(0), "beauty")

    asyncio.run(all_of_it())


LIMITS = {"images": 4, "bytes_per_image": 3000, "bytes_per_request": 10_000}


def busy(times, log):
    """Answers a few times as a busy server."""

    def answer(request):
        log.append(request.url.path)
        if request.url.path == "/v1/models" and len(log) > times:
            log.pop()
            return httpx.Response(200, json={"data": [{"id": "tiny", "limits": LIMITS}]})
        if len(log) <= times:
            error = {"code": "busy", "message": "full", "details": []}
            return httpx.Response(503, headers={"Retry-After": "7"}, json={"error": error})
        return httpx.Response(200, json={"rewards": [0.5]})

    return httpx.MockTransport(answer)


def test_a_busy_server_is_asked_again_at_its_pace(monkeypatch):
    pauses, log = [], []
    monkeypatch.setattr(clients, "time", SimpleNamespace(sleep=pauses.append))
    with Client(transport=busy(2, log)) as client:
        assert client.reward([b"x"]) == [0.5]
    assert pauses == [7.0, 7.0] and log == ["/v1/models"] * 2 + ["/v1/reward"]
    log.clear()
    with Client(transport=busy(9, log), retries=1) as client, pytest.raises(ServerError, match="503 busy: full"):
        client.reward([b"x"])
    assert len(log) == 2


def test_asynchronous_patience(monkeypatch):
    pauses, log = [], []

    async def sleep(seconds):
        pauses.append(seconds)

    # Patched here and not in the module: the event loop of a server in another thread sleeps too.
    monkeypatch.setattr(clients, "asyncio", SimpleNamespace(sleep=sleep))

    async def all_of_it():
        async with AsyncClient(transport=busy(1, log)) as client:
            return await client.reward([b"x"])

    assert asyncio.run(all_of_it()) == [0.5] and pauses == [7.0]


def test_the_model_is_asked_for_again_too(monkeypatch):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(clients, "time", SimpleNamespace(sleep=pauses.append))
    monkeypatch.setattr(clients, "asyncio", SimpleNamespace(sleep=sleep))
    with Client(transport=busy(2, [])) as client:
        assert client.models()[0]["id"] == "tiny"

    async def all_of_it():
        async with AsyncClient(transport=busy(2, [])) as client:
            return (await client.models())[0]["id"]

    assert asyncio.run(all_of_it()) == "tiny" and pauses == [7.0] * 4


def test_rewards_go_in_requests_that_the_server_takes():
    sizes, counts = [], []

    def answer(request):
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"limits": LIMITS}]})
        sizes.append(len(request.content))
        counts.append(len(json.loads(request.content)["images"]))
        return httpx.Response(200, json={"rewards": [0.5] * counts[-1]})

    contents = [*[bytes(2990)] * 5, *[b"x"] * 9]
    with Client(transport=httpx.MockTransport(answer)) as client:
        assert client.reward(contents) == [0.5] * 14
        assert counts == [2, 2, 4, 4, 2] and max(sizes) <= LIMITS["bytes_per_request"]
        assert client.reward([]) == []
        counts.clear()
        assert client.reward([b"x"] * 5, batch=2) == [0.5] * 5 and counts == [2, 2, 1]
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
        with pytest.raises(ValueError, match="image 1 takes .* the server accepts 3000"):
            client.reward([b"x", noise])


def test_an_answer_that_is_no_json():
    transport = httpx.MockTransport(lambda request: httpx.Response(502, text="<html>Bad Gateway</html>"))
    with Client(transport=transport) as client, pytest.raises(ServerError, match="502 no_json: <html>Bad"):
        client.models()


def python_blocks():
    return re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_python_of_the_docs(server, tmp_path, monkeypatch, values):
    """Runs its code blocks with this server's address, then calls the reward as the trainer of TRL does."""
    for name in ("a.jpg", "b.jpg"):
        picture(0, (64, 48)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROC_API_KEY", KEY)
    namespace = {"__name__": "docs"}
    blocks = python_blocks()
    assert len(blocks) >= 3
    for block in blocks:
        exec(compile(block.replace("http://127.0.0.1:8000", server.url), "server.md", "exec"), namespace)

    # trl.GRPOTrainer passes every column of the data set by name, and more, and accepts floats or None.
    pictures = [[picture(i)] for i in range(3)]
    completions = [[{"role": "assistant", "content": text}] for text in ("I give it 5.5.", "Nice!", "10")]
    found = namespace["agreement_reward"](
        prompts=[[{"role": "user", "content": "Rate it."}]] * 3,
        completions=completions,
        completion_ids=[[1, 2], [3], [4]],
        images=pictures,
        trainer_state=None,
        log_extra=None,
    )
    expected = [1 - abs((5.5 - 1) / 9 - (values[0] - 1) / 9), 0.0, 1 - abs(1 - (values[2] - 1) / 9)]
    assert found == pytest.approx(expected, abs=1e-5)
    assert all(one is None or type(one) is float for one in found)
    broken = namespace["agreement_reward"](prompts=[""], completions=completions[:1], images=[[b"no image"]])
    assert broken == [None]
