"""Options of `roc serve`: the model, the address, and what requests may cost. Light, so `--help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from roc.settings import REQUIRED, Fault, Settings, option

MEBIBYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits(Settings):
    """What requests may cost in images, bytes, pixels and seconds."""

    images: int = option(64, "images in one request", low=1)
    bytes_per_image: int = option(20 * MEBIBYTE, "bytes of one image file", low=1)
    bytes_per_request: int = option(64 * MEBIBYTE, "bytes of the body of one request", low=1)
    bytes_in_house: int = option(
        512 * MEBIBYTE, "bytes of all request bodies in memory, of one client at most 3/4; beyond it: 503", low=1
    )
    pixels: int = option(60_000_000, "width x height of one image", low=1)
    pixels_per_request: int = option(1_000_000_000, "width x height of all images of one request together", low=1)
    queue: int = option(512, "images being processed or waiting, one client's at most 3/4 of it; beyond it: 503", low=1)
    body_seconds: float = option(60.0, "seconds that a request body may take to arrive", above=0)
    idle_seconds: float = option(10.0, "seconds without a single byte of the headers or the body", above=0)
    timeout: float = option(60.0, "seconds from the complete body to the answer; beyond it: 504", above=0)
    image_seconds: float = option(20.0, "seconds that decoding one image may take; beyond it: 422", above=0)
    max_connections: int = option(1000, "open connections; beyond it: 503", low=1)

    def faults(self) -> list[Fault]:
        """Compares the limits of one request with those of all requests."""
        pairs = [("queue", "images"), ("bytes_in_house", "bytes_per_request"), ("pixels_per_request", "pixels")]
        return [
            (total, f"{total} is {getattr(self, total)}, expected at least {one}, which is {getattr(self, one)}")
            for total, one in pairs
            if getattr(self, total) < getattr(self, one)
        ]


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Settings):
    """The model and how it is kept busy."""

    checkpoint: str = option(REQUIRED, "folder or hub id of a model that carries the score head")
    device: str | None = option(None, "cuda, cuda:1, mps, cpu", unset="the fastest there is")
    dtype: Literal["float32", "bfloat16", "float16", "float8", "int8"] | None = option(
        None, "number format of the model", unset="bfloat16 where hardware multiplies it, else float32"
    )
    batch_size: int | None = option(None, "images per forward pass", low=1, unset="found while scoring")
    batch_wait_ms: float = option(5.0, "milliseconds that an image waits for others to share its batch", low=0)
    readers: int | None = option(
        None,
        "processes that decode and resize images; up to twice as many while some images take long",
        low=1,
        unset="as many as fit the machine",
    )
    threads: int | None = option(None, "threads of PyTorch in the model's process", low=1, unset="PyTorch's choice")
    max_new_tokens: int = option(512, "longest answer of /v1/describe, in tokens", low=1)


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Settings):
    """Where the server listens, and who may ask."""

    host: str = option("127.0.0.1", "address to listen at; 127.0.0.1 is reachable from this machine alone")
    port: int = option(8000, "port; 0 takes any free one", low=0, high=65535)
    api_key_file: str | None = option(None, "file of API keys, one a line; see above", metavar="FILE")
    cors_origin: tuple[str, ...] = option(
        (), "sites whose pages may ask too, such as https://photos.example; * for all", metavar="URL"
    )
    allowed_host: tuple[str, ...] = option(
        (),
        "further names under which the server may be asked, such as scores.example; * for all",
        metavar="NAME",
        unset="localhost, the addresses of this machine and --host; with API keys, all",
    )
    log_requests: bool = option(False, "log a line for each request")

    def faults(self) -> list[Fault]:
        """Checks the form of the origins."""
        return [
            ("cors_origin", f"cors_origin is {origin!r}, expected an origin such as https://photos.example")
            for origin in self.cors_origin
            if origin != "*" and not origin.startswith(("http://", "https://"))
        ]


@dataclass(frozen=True, kw_only=True)
class ServeOptions(ModelOptions, NetworkOptions, Limits):
    """All options of `roc serve`."""
