"""The whole server over real sockets: every route, every refusal, and malicious uploads.

Its two kinds of processes run as threads here; tests/server/test_listen.py has them as processes.
"""

import asyncio
import base64
import contextlib
import dataclasses
import io
import json
import math
import shutil
import socket
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from heads import picture
from PIL import Image
from serving import Limits, files, httpx, photo, png, running, wait_for

from roc.checkpoint.declared import write_declaration
from roc.checkpoint.head_file import read_declaration
from roc.model.scales import DataScale
from roc.server.client import Client
from roc.server.errors import Refusal

KEY = "0123456789abcdef"
LIMITS = Limits(images=8, queue=16, bytes_per_image=2 * 2**20, bytes_per_request=3 * 2**20, idle_seconds=0.5)


@pytest.fixture(scope="module")
def server(checkpoint):
    with pytest.MonkeyPatch.context() as patch, running(checkpoint, limits=LIMITS, max_new_tokens=24) as server:
        patch.setattr("roc.server.bodies.DRAIN_SECONDS", 0.3)
        yield server


@pytest.fixture
def http(server):
    return server.http


@pytest.fixture
def good(server, assessment):
    """Checks after a test that a good request is answered and nothing of the others is left in memory."""
    yield
    answer = server.http.post("/v1/score", files=files(photo(0)))
    assert answer.status_code == 200
    expected = assessment.score(picture(0))[0].scores["overall"].value
    assert answer.json()["results"][0]["scores"]["overall"]["value"] == pytest.approx(expected, abs=1e-5)
    wait_for(lambda: server.service.bodies.bytes == 0 and server.service._images.total == 0, 5)


def refused(response, status, code=None):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message", "details"} and error["message"]
    assert code is None or error["code"] == code, error
    return error


def encoded(*contents):
    return [base64.b64encode(content).decode() for content in contents]


def json_images(*contents):
    return [{"name": f"{i}.png", "data": data} for i, data in enumerate(encoded(*contents))]


# --- answers ----------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_assessment(http, assessment):
    pictures = [picture(i, (30 + i, 40)) for i in range(5)]
    answer = http.post(
        "/v1/score", files=files(*[photo(i, (30 + i, 40)) for i in range(5)]), data={"distribution": "true"}
    ).json()
    assert (answer["model"], answer["min_score"], answer["max_score"]) == ("tiny", 1, 10)
    assert answer["levels"] == list(range(1, 11)) and answer["calibrated"] is False
    assert answer["attributes"] == list(assessment.attributes)
    assert [result["name"] for result in answer["results"]] == [f"{i}.png" for i in range(5)]
    for result, known in zip(answer["results"], assessment.score(pictures), strict=True):
        assert result["error"] is None
        for name, score in known.scores.items():
            assert result["scores"][name]["value"] == pytest.approx(score.value, abs=1e-5)
            assert result["scores"][name]["std"] == pytest.approx(score.std, abs=1e-5)
            assert result["scores"][name]["distribution"] == pytest.approx(score.distribution, abs=1e-5)


def test_json_and_multipart_are_the_same(http):
    one = http.post("/v1/score", files=files(photo(1)), data={"attributes": "light"}).json()
    other = http.post("/v1/score", json={"images": json_images(photo(1)), "attributes": ["light"]}).json()
    assert one == other
    assert list(one["results"][0]["scores"]) == one["attributes"] == ["light"]
    assert set(one["results"][0]["scores"]["light"]) == {"value", "std"}


def test_an_unreadable_image_among_others(http):
    answer = http.post("/v1/score", files=files(photo(0), b"no image", names=["a.png", "b.jpg"]))
    assert answer.status_code == 200
    first, second = answer.json()["results"]
    assert first["error"] is None and first["scores"]
    assert (second["name"], second["scores"], second["error"]["code"]) == ("b.jpg", None, "unreadable_image")
    error = refused(http.post("/v1/score", files=files(b"no image", b"")), 422, "unreadable_image")
    assert error["message"].startswith("0.png: ") and [detail["index"] for detail in error["details"]] == [0, 1]


def test_describe(http, assessment):
    answer = http.post("/v1/describe", files=files(photo(2), b"")).json()
    known = assessment.describe(picture(2), max_new_tokens=24)[0]
    assert answer["results"][0]["text"] == known.text
    assert answer["results"][1]["text"] is None and answer["results"][1]["error"]["code"] == "unreadable_image"
    for name, score in known.scores.items():
        found = answer["results"][0]["scores"][name]
        assert (found is None) == (score is None)


def test_rank(http, assessment):
    answer = http.post("/v1/rank", files=files(*[photo(i) for i in range(4)]), data={"attribute": "light"}).json()
    known = [one.scores["light"] for one in assessment.score([picture(i) for i in range(4)])]
    assert (answer["attribute"], answer["calibrated"]) == ("light", False)
    assert answer["order"] == sorted(range(4), key=lambda i: -known[i].value)
    for i in range(4):
        for j in range(4):
            apart = (known[i].value - known[j].value) / math.hypot(known[i].std, known[j].std)
            expected = 0.5 if i == j else 0.5 * (1 + math.erf(apart / math.sqrt(2)))
            assert answer["win_probability"][i][j] == pytest.approx(expected, abs=1e-4)
    assert "text" not in answer["results"][0]
    told = http.post("/v1/rank", files=files(photo(0), photo(1)), data={"describe": "true"})
    if told.status_code == 200:  # this untrained model may write no score
        assert all(isinstance(result["text"], str) for result in told.json()["results"])
    else:
        assert refused(told, 422)["code"] == "unscored"
    error = refused(http.post("/v1/rank", files=files(photo(0), b"", names=["a.png", "bad.png"])), 422)
    assert error["message"].startswith("bad.png: ")
    refused(http.post("/v1/rank", files=files(photo(0))), 422)


def test_reward(http, assessment):
    value = assessment.score(picture(0))[0].scores["overall"].value
    answer = http.post("/v1/reward", json={"images": [*encoded(photo(0), b"no image"), "%"]})
    assert answer.status_code == 200
    assert answer.json()["rewards"] == [pytest.approx((value - 1) / 9, abs=1e-5), None, None]
    codes = [error and error["code"] for error in answer.json()["errors"]]
    assert codes == [None, "unreadable_image", "invalid_base64"]
    native = http.post("/v1/reward", json={"images": encoded(photo(0)), "scale": "native", "attribute": "overall"})
    assert native.json()["rewards"] == [pytest.approx(value, abs=1e-5)]
    nothing = http.post("/v1/reward", json={"images": encoded(b"")})
    assert (nothing.status_code, nothing.json()["rewards"]) == (200, [None])


def test_scales_of_data_sets(http, checkpoint, tmp_path):
    """As the model was trained on several data sets; each route takes the scale in a form and in JSON."""
    folder = tmp_path / "mixed"
    shutil.copytree(checkpoint, folder)
    scales = (DataScale("AVA", (1, 10)), DataScale("PARA", (1, 5)))
    write_declaration(folder, dataclasses.replace(read_declaration(folder), scales=scales))
    with running(str(folder)) as server, Client(server.url) as client:
        assert [scale["name"] for scale in client.models()[0]["scales"]] == ["AVA", "PARA"]
        shared = client.score([photo(0), photo(1)])["results"]
        expected = [1 + (one["scores"]["overall"]["value"] - 1) / 9 * 4 for one in shared]
        answer = client.score([photo(0), photo(1)], scale="PARA")
        as_json = server.http.post("/v1/score", json={"images": json_images(photo(0), photo(1)), "scale": "PARA"})
        for found in (answer, as_json.json(), client.rank([photo(0), photo(1)], scale="PARA")):
            assert (found["min_score"], found["max_score"], found["scale"]) == (1, 5, "PARA")
            values = [one["scores"]["overall"]["value"] for one in found["results"]]
            assert values == pytest.approx(expected, abs=1e-4)
        assert client.reward([photo(0), photo(1)], scale="PARA") == pytest.approx(expected, abs=1e-4)
        bad = server.http.post("/v1/rank", files=files(photo(0), photo(1)), data={"scale": "PARA", "describe": "true"})
        assert "the words hold the shared score" in refused(bad, 422)["message"]
        bad = server.http.post("/v1/reward", json={"images": encoded(photo(0)), "scale": "KonIQ"})
        message = refused(bad, 422, "unknown_scale")["message"]
        assert "has no scale 'KonIQ'; it has AVA, PARA" in message and "rewards are unit, native" in message
        bad = server.http.post("/v1/reward", json={"images": encoded(photo(0)), "scale": 7})
        assert "scale: Input should be a valid string" in refused(bad, 422)["message"]
    bad = http.post("/v1/score", files=files(photo(0)), data={"scale": "PARA"})
    assert "it was not trained with --mix" in refused(bad, 422, "unknown_scale")["message"]
    assert http.get("/v1/models").json()["data"][0]["scales"] == []


def test_models_and_probes(http):
    (model,) = http.get("/v1/models").json()["data"]
    assert (model["id"], model["num_levels"], model["describe"]) == ("tiny", 10, True)
    assert model["limits"] == {
        **{"images": 8, "bytes_per_image": 2 * 2**20, "bytes_per_request": 3 * 2**20, "pixels": 60_000_000},
        "pixels_per_request": 10**9,
    }
    assert http.get("/healthz").json() == {"status": "ok"} and http.get("/readyz").json() == {"status": "ready"}


def test_metrics(http):
    def values():
        lines = http.get("/metrics").text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}

    before = values()
    http.post("/v1/score", files=files(photo(0), photo(1), b""))
    http.get("/nothing/here")
    after = values()

    def more(name):
        return after[name] - before.get(name, 0)

    assert more('roc_requests_total{route="/v1/score",status="200"}') == 1
    assert more('roc_request_seconds_count{route="/v1/score"}') == 1
    assert more('roc_images_total{outcome="scored"}') == 2 and more('roc_images_total{outcome="refused"}') == 1
    assert more("roc_batch_images_sum") == 2
    assert more('roc_requests_total{route="other",status="404"}') == 1
    assert after["roc_ready"] == 1 and after["roc_queue_images"] == 0
    assert not any("nothing/here" in name for name in after)


def test_openapi(http):
    told = http.get("/openapi.json").json()
    assert set(told["paths"]) == {
        *("/v1/score", "/v1/describe", "/v1/rank", "/v1/reward", "/v1/models", "/v1/systemone", "/v1/decisions"),
        *("/healthz", "/readyz", "/metrics", "/v1/features", "/v1/personalize"),
    }
    known = told["components"]["schemas"]
    for path in ("score", "describe", "rank", "reward"):
        content = told["paths"][f"/v1/{path}"]["post"]["requestBody"]["content"]
        model = known[content["application/json"]["schema"]["$ref"].rpartition("/")[2]]
        assert model["examples"] and model["properties"]["images"]["maxItems"] == 8
        # The examples are valid requests.
        assert http.post(f"/v1/{path}", json=model["examples"][0]).status_code == 200
        assert ("multipart/form-data" in content) == (path != "reward")
    named = set(__import__("re").findall(r"#/components/schemas/(\w+)", json.dumps(told)))
    assert named <= set(known)


# --- the page and its headers -----------------------------------------------------------------------------------------


def test_headers_of_every_answer(http):
    for response in (http.get("/healthz"), http.get("/nix"), http.post("/v1/score"), http.delete("/v1/score")):
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in response.headers and "server" not in response.headers


def test_head(http):
    for path in ("/", "/healthz", "/readyz"):
        known, asked = http.get(path), http.head(path)
        assert (asked.status_code, asked.content) == (known.status_code, b"") == (200, b"")
        assert asked.headers["content-length"] == known.headers["content-length"]
        assert asked.headers["content-type"] == known.headers["content-type"]


def test_nothing_but_the_page_is_served(http):
    for path in ("/page/..%2fapp.py", "/page/../app.py", "/page/%2e%2e/app.py", "/page/nix.js", "/page/", "/app.py"):
        refused(http.get(path), 404, "not_found")


def test_errors_have_one_form(http):
    refused(http.get("/nix"), 404, "not_found")
    error = refused(http.get("/v1/score"), 405, "method_not_allowed")
    assert "GET" in error["message"] and http.get("/v1/score").headers["allow"] == "POST"
    refused(http.post("/v1/score/", files=files(photo(0))), 404, "not_found")
    refused(http.post("/v1/score", content=b"x"), 415, "unsupported_media_type")
    for charset in ("undefined", "punycode"):
        kind = {"Content-Type": f"multipart/form-data; boundary=B; charset={charset}"}
        refused(http.post("/v1/score", content=b"--B--", headers=kind), 415, "unsupported_media_type")
    error = refused(http.post("/v1/score", files=files(photo(0)), data={"attributes": "beauty"}), 422)
    assert "'beauty'" in error["message"] and "overall" in error["message"]


def test_cors_is_off_and_can_be_allowed(server, checkpoint):
    asked = {"Origin": "https://photos.example", "Access-Control-Request-Method": "POST"}
    refused(server.http.options("/v1/score", headers=asked), 405)
    with running(checkpoint, cors_origins=["https://photos.example"], keys=(KEY,)) as other:
        allowed = other.http.options("/v1/score", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == "https://photos.example"
        stranger = other.http.options("/v1/score", headers={**asked, "Origin": "https://elsewhere.example"})
        assert "access-control-allow-origin" not in stranger.headers
        refused(stranger, 400, "cors_refused")
        assert "default-src 'none'" in stranger.headers["content-security-policy"]
        assert allowed.headers["x-content-type-options"] == "nosniff"

        # Keys are checked for everything below /v1, before a byte of the body is read.
        error = refused(other.http.post("/v1/score", content=b"{}"), 401, "unauthorized")
        assert KEY not in json.dumps(error)
        refused(other.http.get("/v1/models", headers={"Authorization": "Bearer wrong"}), 401)
        bearer = {"Authorization": f"Bearer {KEY}"}
        assert other.http.post("/v1/score", files=files(photo(0)), headers=bearer).status_code == 200
        assert other.http.get("/readyz").status_code == 200
        told = other.http.get("/openapi.json").json()
        assert told["paths"]["/v1/score"]["post"]["security"] == [{"key": []}]
        assert "security" not in told["paths"]["/healthz"]["get"]


def test_names_of_other_machines(server, checkpoint):
    """A page elsewhere whose name was made to point here: its browser still sends that name."""
    for path in ("/", "/metrics", "/v1/models", "/nix"):
        error = refused(server.http.get(path, headers={"Host": "evil.example"}), 421, "unknown_host")
        assert "--allowed_host" in error["message"] and "'evil.example'" in error["message"]
    refused(server.http.post("/v1/score", files=files(photo(0)), headers={"Host": "evil.example:80"}), 421)
    for name in ("localhost:8000", "[::1]:80", "127.0.0.1"):
        assert server.http.get("/", headers={"Host": name}).status_code == 200
    with running(checkpoint, keys=(KEY,)) as other:
        assert other.http.get("/healthz", headers={"Host": "scores.example"}).status_code == 200


def test_base64_as_people_send_it(http):
    content = photo(1, (300, 200))
    text = encoded(content)[0]
    lines = "\n".join(text[i : i + 76] for i in range(0, len(text), 76)) + "\n"
    safe = text.replace("+", "-").replace("/", "_").rstrip("=")
    answer = http.post("/v1/reward", json={"images": [text, lines, text.rstrip("="), safe]}).json()
    assert answer["errors"] == [None] * 4 and len(set(answer["rewards"])) == 1
    body = ('{"images": [{"data": "' + lines + '"}]}').encode()
    scored = http.post("/v1/score", content=body, headers={"Content-Type": "application/json"})
    assert scored.status_code == 200, scored.text
    error = refused(http.post("/v1/score", json={"images": [{"data": text[:-3]}]}), 422, "invalid_base64")
    assert "it may have been cut" in error["message"]


# --- busy, late, broken -----------------------------------------------------------------------------------------------


def on_loop(server, function):
    async def call():
        return function()

    return asyncio.run_coroutine_threadsafe(call(), server.loops[0]).result(10)


def test_a_full_queue(server, good):
    service = server.service
    entered = service.admit(12)
    on_loop(server, entered.__enter__)
    try:
        response = server.http.post("/v1/score", files=files(*[photo(i) for i in range(5)]))
        refused(response, 503, "busy")
        assert 1 <= int(response.headers["retry-after"]) <= 60
        assert server.http.post("/v1/score", files=files(photo(0))).status_code == 200
    finally:
        on_loop(server, lambda: entered.__exit__(None, None, None))


def test_more_answers_than_the_queue_will_ever_hold_are_no_matter_of_waiting(server, good):
    most = server.service.limits.queue
    with pytest.raises(Refusal) as refusal:
        server.service.admit(most + 1).__enter__()
    assert (refusal.value.status, refusal.value.code) == (413, "too_many_images")
    assert f"{most + 1} answers" in refusal.value.message and f"at most {most}" in refusal.value.message


def test_before_the_model_is_there_and_when_it_takes_too_long(server, good, monkeypatch):
    monkeypatch.setattr(server.service._batching, "ready", False)
    monkeypatch.setattr(server.service, "facts", None)
    assert server.http.get("/healthz").status_code == 200
    response = server.http.get("/readyz")
    assert (response.status_code, response.json()) == (503, {"status": "loading"})
    response = server.http.post("/v1/score", files=files(photo(0)))
    refused(response, 503, "not_ready")
    assert response.headers["retry-after"]
    monkeypatch.undo()

    async def never(*arguments):
        await asyncio.sleep(60)

    monkeypatch.setattr(server.service._batching, "score", never)
    monkeypatch.setattr(server.service, "limits", Limits(timeout=0.1))
    refused(server.http.post("/v1/score", files=files(photo(0))), 504, "timeout")


def test_without_a_process_that_decodes_images(server, good, monkeypatch):
    monkeypatch.setattr("roc.server.decoders.PAUSE", 0.02)

    def none(*arguments):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(server.service._decoders, "_starter", none)
    # As if its only decoding process had been killed.
    monkeypatch.setattr("roc.server.decoders.Child.alive", False)
    asked = {"score": {"files": files(photo(0))}, "reward": {"json": {"images": encoded(photo(0))}}}
    for path, body in asked.items():
        response = server.http.post(f"/v1/{path}", **body)
        refused(response, 503, "no_reader")
        assert response.headers["retry-after"]
    assert server.http.get("/readyz").status_code == 503
    monkeypatch.undo()
    wait_for(lambda: server.http.get("/readyz").status_code == 200, 5)


def test_pixels_of_a_request_together(checkpoint):
    with running(checkpoint, limits=Limits(pixels=1200, pixels_per_request=4000)) as server:
        several = [photo(i) for i in range(3)]
        assert server.http.post("/v1/score", files=files(*several)).status_code == 200
        # An image refused by its header costs nothing; one that fails while being decoded costs as much as a good one.
        assert server.http.post("/v1/score", files=files(*several, *[photo(0, (400, 40))] * 4)).status_code == 200
        cut = photo(0)[:-30]
        for many in ([*several, photo(3)], [photo(0), cut, cut, cut]):
            error = refused(server.http.post("/v1/score", files=files(*many)), 413, "too_many_pixels")
            assert "more than 4000 pixels together" in error["message"]
        refused(server.http.post("/v1/reward", json={"images": encoded(*[photo(0)] * 4)}), 413, "too_many_pixels")
        wait_for(lambda: server.service._images.total == 0 and server.service._decoders.turns.held == 0, 5)


def test_a_large_request_does_not_hold_up_a_small_one(server, good, monkeypatch):
    ask, order = server.service._decoders._ask, []

    def slow(child, job):
        order.append(len(job.files[0]))
        time.sleep(0.1)
        return ask(child, job)

    monkeypatch.setattr(server.service._decoders, "_ask", slow)
    small = photo(0)
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(httpx.post, f"{server.url}/v1/score", files=files(*[photo(0, (90, 80))] * 8))
        wait_for(lambda: order)
        assert server.http.post("/v1/score", files=files(small)).status_code == 200
        assert not large.done() and large.result().status_code == 200
    assert order.index(len(small)) <= 4


def test_a_fault_of_the_server(server, good, monkeypatch):
    async def broken(*arguments):
        raise KeyError("secret")

    monkeypatch.setattr(server.service, "assess", broken)
    response = server.http.post("/v1/score", files=files(photo(0)))
    refused(response, 500, "internal_error")
    assert "secret" not in response.text and response.headers["x-content-type-options"] == "nosniff"


def test_a_checkpoint_that_cannot_be_loaded(tmp_path):
    with running(tmp_path) as server:
        assert len(server.failures) == 1 and server.http.get("/readyz").status_code == 503


# --- malicious uploads ------------------------------------------------------------------------------------------------


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def png_text(size):
    content = b"note\0\0" + zlib.compress(bytes(size))
    return struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))


JPEG = photo(0, (64, 48), "JPEG")
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
HOSTILE = {
    "empty": b"",
    "truncated": JPEG[: len(JPEG) // 2],
    "zeros_at_the_end": JPEG[:-200] + bytes(5000),
    "header_alone": JPEG[:20],
    "text": b"hello " * 100,
    "html_as_jpeg": b"<!DOCTYPE html><script>alert(1)</script>",
    "svg_as_jpeg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
    "zip": b"PK\x03\x04" + bytes(100),
    "bomb": png(50_000, 50_000, zlib.compress(bytes(1_000_000))),
    "bomb_within_the_side": png(20_000, 8_000, zlib.compress(bytes(1_000_000))),
    "bomb_of_text": png(10, 10, zlib.compress(bytes(310)), png_text(200_000_000)),
    "side_of_zero": png(0, 10),
    "line": saved(Image.new("L", (100_000, 1)), "PNG"),
    "column": saved(Image.new("L", (1, 100_000)), "PNG"),
    "claims_more_than_it_has": png(1000, 1000, zlib.compress(bytes(100))),
    "damaged_in_the_middle": saved(NOISE, "PNG")[:300] + b"\0" * 50 + saved(NOISE, "PNG")[350:],
    "gif_without_pictures": b"GIF89a\x0a\x00\x0a\x00\x00\x00\x00;",
    "tiff_that_points_to_itself": b"II*\0\x08\0\0\0\x01\0\x00\x01\x03\0\x01\0\0\0\x0a\0\0\0\x08\0\0\0",
    "huge_bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0),
    "too_many_bytes": JPEG + bytes(2 * 2**20),
}
ODD_BUT_GOOD = {
    "wrong_extension": saved(picture(0), "WEBP"),
    "sixteen_bit": saved(Image.fromarray(np.full((30, 40), 40_000, np.uint16)), "PNG"),
    "cmyk": saved(picture(0).convert("CMYK"), "JPEG"),
    "animated": saved(picture(0), "GIF", save_all=True, append_images=[picture(i) for i in range(1, 9)]),
    "palette": saved(picture(0).convert("P"), "PNG", transparency=0),
    "one_pixel": saved(Image.new("RGB", (1, 1)), "PNG"),
    "large_exif": saved(picture(0), "JPEG", exif=b"Exif\0\0" + b"MM\0*\0\0\0\x08" + bytes(60_000)),
    "broken_profile": saved(picture(0), "PNG", icc_profile=bytes(5000)),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore:Truncated File Read")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(http, good, name):
    start = time.monotonic()
    status = 413 if name == "too_many_bytes" else 422
    error = refused(http.post("/v1/score", files=files(HOSTILE[name], names=["photo.jpg"])), status)
    assert error["message"].startswith("photo.jpg: ") and "<script>" not in error["message"]
    assert time.monotonic() - start < 5
    if len(HOSTILE[name]) < 2 * 2**20:
        answer = http.post("/v1/reward", json={"images": encoded(HOSTILE[name], photo(0))})
        assert answer.json()["rewards"][0] is None and answer.json()["rewards"][1] is not None


@pytest.mark.parametrize("name", ODD_BUT_GOOD)
def test_odd_files_that_are_fine(http, assessment, name):
    response = http.post("/v1/score", files=files(ODD_BUT_GOOD[name], names=["photo.jpg"]))
    assert response.status_code == 200, response.text
    from roc.data.images import open_image

    known = assessment.score(open_image(ODD_BUT_GOOD[name]))[0].scores["overall"].value
    assert response.json()["results"][0]["scores"]["overall"]["value"] == pytest.approx(known, abs=1e-5)


def talk(server, *pieces, pause=0.0, seconds=10):
    """Sends raw bytes; returns all that comes back."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        got = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
        except OSError:
            pass
        try:
            while more := connection.recv(65536):
                got += more
        except OSError:
            pass
    return got


def head(path="/v1/score", kind="application/json", **headers):
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", "Connection: close"]
    return "\r\n".join(
        lines + [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()] + ["", ""]
    ).encode()


def status_of(answer):
    top, _, body = answer.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(body)["error"]["code"]


CHUNKED = {"Transfer_Encoding": "chunked"}


def test_a_body_without_end(server, good):
    """Chunked, so that no header gives the length."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer = talk(server, head(**CHUNKED), *[chunk] * 60)
    assert status_of(answer) == (413, "too_large")


def test_a_length_that_is_far_too_much(server, good):
    assert status_of(talk(server, head(Content_Length=10 * 2**30), b"{}")) == (413, "too_large")


@pytest.mark.parametrize("length", ["-1", "abc", "1e9", "99999999999999999999999", "5, 6"])
def test_lengths_that_are_none(server, good, length):
    status, code = status_of(talk(server, head(Content_Length=length), b'{"images": []}'))
    assert status in (400, 413)


def test_a_length_that_is_too_small(server, good):
    body = json.dumps({"images": json_images(photo(0))}).encode()
    assert status_of(talk(server, head(Content_Length=20), body)) == (422, "invalid_request")


def test_a_length_that_is_too_large(server, good):
    assert status_of(talk(server, head(Content_Length=5000), b'{"images": []}')) == (408, "too_slow")


def test_a_slow_sender(server, good):
    """It is never idle for long and never done."""
    start = time.monotonic()
    answer = talk(server, head(Content_Length=5000), *[b"x"] * 3, pause=0.1)
    assert status_of(answer) == (408, "too_slow") and time.monotonic() - start < 5


def test_headers_that_never_end(server, good):
    start = time.monotonic()
    assert talk(server, b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\n") == b""
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("seconds", [0.1, 1.0], ids=["at_once", "later"])
def test_later_headers_that_never_end(server, good, seconds):
    """The second and the third request of a connection send a byte of their headers now and then."""
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for _ in range(2):
            connection.sendall(whole)
            answer = b""
            while not answer.endswith(b'{"status":"ok"}'):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(seconds)
        start = time.monotonic()
        with pytest.raises(OSError):
            for sign in whole:
                connection.sendall(bytes([sign]))
                time.sleep(0.1)
            raise AssertionError("the server waited for the whole request")
        assert time.monotonic() - start < 2.5


def test_connections_beyond_the_limit(checkpoint):
    with running(checkpoint, limits=Limits(max_connections=5)) as server, contextlib.ExitStack() as stack:
        host, port = server.url.removeprefix("http://").split(":")
        server.http.close()
        alone = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        wait_for(lambda: talk(server, alone)[9:12] == b"200")

        def connect():
            return stack.enter_context(socket.create_connection((host, int(port)), timeout=10))

        held = [connect() for _ in range(5)]
        held[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert held[0].recv(65536).startswith(b"HTTP/1.1 200")
        with httpx.Client(base_url=server.url) as other:
            response = other.post("/v1/score", files=files(photo(0)))
            refused(response, 503, "busy")
            assert response.headers["retry-after"] and response.headers["x-content-type-options"] == "nosniff"
        held[1].close()
        held[2].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert held[2].recv(65536).startswith(b"HTTP/1.1 200")
        with httpx.Client(base_url=server.url) as other:
            assert other.get("/healthz").status_code == 200


def test_headers_that_are_too_long(server, good):
    status, code = status_of(talk(server, head(X="x" * 200_000)))
    assert (status, code) == (400, "bad_request")


def test_no_http_at_all(server, good):
    assert status_of(talk(server, b"\x16\x03\x01\x02\x00 hello\r\n\r\n")) == (400, "bad_request")


def test_ten_thousand_parts(server, good):
    part = b'--B\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nx\r\n'
    body = part * 10_000 + b"--B--\r\n"
    answer = talk(server, head(kind="multipart/form-data; boundary=B", Content_Length=len(body)), body)
    assert status_of(answer) == (413, "too_many_images")


def test_many_senders_that_leave(server, good):
    for _ in range(20):
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head(Content_Length=5000) + b"{")


def test_names_are_not_markup_and_not_paths(http):
    name = '<img src=x onerror=alert(1)>/../../etc/passwd"\u202e.jpg'
    answer = http.post("/v1/score", json={"images": [{"name": name, "data": encoded(photo(0))[0]}]})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["results"][0]["name"] == name.replace("\u202e", "\ufffd")
