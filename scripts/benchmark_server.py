"""`roc serve` under load: does every photo get its own scores, how long does it take, how fast beside `roc score`?

python scripts/benchmark_server.py --checkpoint checkpoints/demo
python scripts/benchmark_server.py --checkpoint checkpoints/demo --photos photos --clients 32 --seconds 60

Each client sends one photo after the other over its own connection and waits for each answer. Every answer is compared,
attribute by attribute, with what `Assessment` gives for that photo. "Nearest other" is the smallest distance between
the scores of two photos: a mixed-up answer would be off by at least that much. Before and after the load, the engine of
`roc score` (`roc.scoring.local.score_images`, with its own choice of workers and batches) scores the same files on the
same machine; its rate leaves out the start. Requests are built beforehand, so that the clients take little of the
machine they share with the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_models import machine
from PIL import Image

from roc.demo.scenes import render_scene
from roc.files import write_json
from roc.model.device import best_device
from roc.scoring.assessment import Assessment
from roc.scoring.batches import Scorer, Wanted
from roc.scoring.local import score_images
from roc.scoring.sources import Source, find_sources


def draw_photos(folder: Path, count: int, size: tuple[int, int], seed: int) -> None:
    """Writes JPEG files with the grain of photos; a few scenes many times, since drawing is slower than decoding."""
    rng = np.random.default_rng(seed)
    scenes = [
        np.asarray(render_scene(i, seed=seed, size=256).image.resize(size), dtype=np.float32)
        for i in range(min(12, count))
    ]
    for i in range(count):
        shift = np.roll(scenes[i % len(scenes)], int(rng.integers(size[0])), axis=1) * rng.uniform(0.5, 1)
        grain = shift + rng.normal(0, 5, (size[1], size[0], 3))
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(folder / f"{i:06d}.jpg", quality=90)


def own_scores(assessment: Assessment, sources: Sequence[Source]) -> np.ndarray:
    """Scores the photos with `Assessment`: (photos, attributes)."""
    found = assessment.score([source.path for source in sources])
    return np.array([[score.value for score in one.scores.values()] for one in found])


def engine_rate(assessment: Assessment, checkpoint: str, sources: Sequence[Source], seconds: float) -> float:
    """Measures the images per second of `roc score` after its start."""
    scorer = Scorer(assessment, Wanted(assessment.attributes))
    endless = sources * max(1, round(200_000 / len(sources)))
    began, count = None, 0
    for _ in score_images(scorer, endless, checkpoint):
        now = time.perf_counter()
        if began is None:
            # The first rows: workers have started, but the batch size is still being found.
            began = now + seconds / 4
        elif now >= began:
            count += 1
            if now >= began + seconds:
                return count / (now - began)
    raise RuntimeError("all images were scored before the time was up")


class Server:
    """`roc serve` in its own process.

    Args:
        words: Flags of the command.
    """

    def __init__(self, words: Sequence[str]) -> None:
        command = [sys.executable, "-m", "roc.cli", "serve", "--port", "0", *words]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.host, self.port = "", 0
        for line in self.process.stderr:
            if found := re.search(r"Listening at http://(\S+):(\d+);", line):
                self.host, self.port = found[1], int(found[2])
            if "Ready:" in line:
                break
            if self.process.poll() is not None:
                raise RuntimeError(f"roc serve ended: {line.strip()}")

    def stop(self) -> int:
        """Stops the server; returns its exit status."""
        self.process.terminate()
        self.process.stderr.close()
        return self.process.wait(60)


def request(name: str, content: bytes) -> bytes:
    """Builds a complete request."""
    head = f'--B\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    body = head + content + b"\r\n--B--\r\n"
    return (
        b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    ) + body


async def ask(server: Server, requests: Sequence[bytes], first: int, end: float, log: list) -> None:
    """Runs one client; logs (photo, seconds, time of the answer, status, body) of each request."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    photo = first
    while time.perf_counter() < end:
        began = time.perf_counter()
        writer.write(requests[photo])
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])
        body = await reader.readexactly(length)
        now = time.perf_counter()
        log.append((photo, now - began, now, int(head.split()[1]), body))
        photo = (photo + 1) % len(requests)
    writer.close()


async def load(server: Server, requests: Sequence[bytes], clients: int, seconds: float) -> list:
    """Runs all clients at once; returns their common log."""
    log: list = []
    end = time.perf_counter() + seconds
    starts = [round(i * len(requests) / clients) % len(requests) for i in range(clients)]
    await asyncio.gather(*[ask(server, requests, start, end, log) for start in starts])
    return log


def check(log: list, own: np.ndarray) -> dict[str, Any]:
    """Counts failed and mixed-up answers, and measures how far the others are from the scores of `Assessment`."""
    failed, wrong, worst = 0, 0, 0.0
    statuses: dict[int, int] = {}
    for photo, _, _, status, body in log:
        statuses[status] = statuses.get(status, 0) + 1
        if status != 200:
            failed += 1
            continue
        scores = json.loads(body)["results"][0]["scores"]
        found = np.array([score["value"] for score in scores.values()])
        wrong += int(np.abs(own - found).max(1).argmin() != photo)
        worst = max(worst, float(np.abs(own[photo] - found).max()))
    return {"failed": failed, "mixed_up": wrong, "largest_difference": worst, "statuses": statuses}


def nearest_other(own: np.ndarray) -> float:
    """Smallest distance between the scores of two photos, over all attributes."""
    distances = np.abs(own[:, None] - own[None]).max(2)
    np.fill_diagonal(distances, np.inf)
    return float(distances.min())


def parser() -> argparse.ArgumentParser:
    """Builds the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--checkpoint", default="checkpoints/demo")
    parser.add_argument("--photos", help="folder (default: drawn photos)")
    parser.add_argument("--count", type=int, default=200, help="photos, drawn or of the folder (200)")
    parser.add_argument("--photo-size", type=int, nargs=2, default=[1024, 768], metavar=("W", "H"), help="if drawn")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the load (60)")
    parser.add_argument("--engine-seconds", type=float, help="of each run of roc score (half of --seconds)")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch, in both (1)")
    parser.add_argument("--device", default=best_device())
    parser.add_argument("--dtype", default="float32", help="number format, in both; a half one blurs similar photos")
    parser.add_argument("--serve", default="", help="more flags for roc serve, in one string")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the numbers")
    return parser


def measure(given: argparse.Namespace, sources: Sequence[Source]) -> dict[str, Any]:
    """Runs `roc score`, the server under load, and `roc score` again.

    Args:
        given: Flags of the command line.
        sources: The photos.
    """
    checkpoint = os.path.abspath(given.checkpoint)
    requests = [request(source.name, Path(source.path).read_bytes()) for source in sources]
    assessment = Assessment(checkpoint, device=given.device, dtype=given.dtype)
    own = own_scores(assessment, sources)
    seconds = given.engine_seconds or given.seconds / 2
    rates = [engine_rate(assessment, checkpoint, sources, seconds)]
    words = ["--checkpoint", checkpoint, "--device", given.device, "--dtype", given.dtype]
    server = Server([*words, "--threads", str(given.threads), *given.serve.split()])
    try:
        asyncio.run(load(server, requests, given.clients, given.seconds / 6))
        log = asyncio.run(load(server, requests, given.clients, given.seconds))
    finally:
        stopped = server.stop()
    rates.append(engine_rate(assessment, checkpoint, sources, seconds))
    times = sorted(seconds for _, seconds, _, _, _ in log)
    done = sorted(now for _, _, now, _, _ in log)
    rate = (len(done) - 1) / (done[-1] - done[0])
    return {
        "photos": len(sources),
        "mean_bytes": round(statistics.mean(map(len, requests))),
        "requests": len(log),
        **check(log, own),
        "nearest_other": nearest_other(own),
        "images_per_second": rate,
        "roc_score_per_second": rates,
        "of_roc_score": rate / statistics.mean(rates),
        "p50": times[len(times) // 2],
        "p95": times[int(0.95 * len(times))],
        "p99": times[int(0.99 * len(times))],
        "stopped_with": stopped,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns 0, or 1 if an answer failed or was mixed up."""
    given = parser().parse_args(argv)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(given.threads)
    facts = machine(given.device)
    print(", ".join(f"{name} {value}" for name, value in facts.items() if value is not None))
    with tempfile.TemporaryDirectory() as folder:
        if given.photos is None:
            draw_photos(Path(folder), given.count, tuple(given.photo_size), given.seed)
        found = measure(given, find_sources([given.photos or folder]).sources[: given.count])
    print(
        f"{given.clients} clients, {given.seconds:g} s: {found['requests']} requests, {found['failed']} failed, "
        f"{found['mixed_up']} mixed up; scores differ from Assessment's by {found['largest_difference']:.1e} at "
        f"most, the nearest other photo by {found['nearest_other']:.1e}\n"
        f"{found['images_per_second']:.1f} images/s, {100 * found['of_roc_score']:.0f}% of roc score's "
        f"{' and '.join(f'{one:.1f}' for one in found['roc_score_per_second'])} before and after\n"
        f"p50 {1000 * found['p50']:.0f} ms, p95 {1000 * found['p95']:.0f} ms, p99 {1000 * found['p99']:.0f} ms"
    )
    if given.json is not None:
        write_json(given.json, {"machine": facts, **found})
    return int(found["failed"] + found["mixed_up"] > 0)


if __name__ == "__main__":
    sys.exit(main())
