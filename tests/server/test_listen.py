"""`roc serve` as a process: signals, a killed worker, memory under decompression bombs."""

import base64
import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from heads import picture
from serving import files, httpx, photo, png, wait_for

JSON = {"Content-Type": "application/json"}
ROOT = Path(__file__).parents[2]


FORMAT = ("--device", "cpu", "--dtype", "float32")


class Process:
    """`roc serve` in a process of its own."""

    def __init__(self, *words, env=None):
        self.process = subprocess.Popen(
            # In float32, as the tests compute, whatever the processor multiplies.
            [*(sys.executable, "-m", "roc.cli", "serve", "--port", "0"), *FORMAT, *map(str, words)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = []
        threading.Thread(target=self._read, daemon=True).start()
        wait_for(lambda: self.said("Listening at") or self.process.poll() is not None)
        found = self.said(r"Listening at (http://\S+);")
        self.http = httpx.Client(base_url=found[1], timeout=60) if found else None

    def _read(self):
        for line in self.process.stderr:
            self.log.append(line)

    def said(self, pattern):
        return re.search(pattern, "".join(self.log))

    def wait_until_ready(self):
        wait_for(lambda: self.http.get("/readyz").status_code == 200 or self.process.poll() is not None, 120)
        assert self.process.poll() is None, "".join(self.log)

    def children(self):
        """Process ids of its worker, its decoders and the helpers of multiprocessing."""
        found, front = [], [self.process.pid]
        while front:
            parent = front.pop()
            path = Path(f"/proc/{parent}/task/{parent}/children")
            front += [
                int(word) for task in path.parent.parent.iterdir() for word in (task / "children").read_text().split()
            ]
            found.append(parent)
        return found[1:]

    def resident(self):
        """Resident memory of the process that talks to the network now, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def memory(self):
        """Peak resident memory of each of its processes, in MiB."""
        peaks = {}
        for pid in [self.process.pid, *self.children()]:
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            peaks[pid] = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
        return peaks


linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")


@pytest.fixture(scope="module")
def server(checkpoint):
    server = Process(
        "--checkpoint", checkpoint, "--readers", 1, "--batch_size", 1, "--max_new_tokens", 64, "--log_requests"
    )
    server.wait_until_ready()
    yield server
    if server.process.poll() is None:
        server.process.kill()


def value_of(response):
    assert response.status_code == 200, response.text
    return response.json()["results"][0]["scores"]["overall"]["value"]


def worker_of(server):
    """Process id of the newest worker, from the log."""
    return int(re.findall(r"in process (\d+)\.", "".join(server.log))[-1])


@linux
def test_processes_answer_as_assessment_does(server, assessment):
    for i in range(3):
        known = assessment.score(picture(i))[0].scores["overall"].value
        assert value_of(server.http.post("/v1/score", files=files(photo(i)))) == pytest.approx(known, abs=1e-5)
    assert 'POST /v1/score HTTP/1.1" 200' in "".join(server.log)


@linux
def test_this_process_has_no_torch(server):
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "libtorch" not in maps and "libtorch" in Path(f"/proc/{worker_of(server)}/maps").read_text()


@linux
def test_a_killed_worker_is_replaced(server, assessment):
    """Its images go to the new one: all requests, before, meanwhile and after, get their own scores."""
    known = [one.scores["overall"].value for one in assessment.score([picture(i) for i in range(6)])]
    first = worker_of(server)
    stop = threading.Event()
    answers = []

    def ask(client):
        with httpx.Client(base_url=server.http.base_url, timeout=60) as http:
            count = client
            while not stop.is_set():
                answers.append((count % 6, http.post("/v1/score", files=files(photo(count % 6)))))
                count += 1

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(ask, client) for client in range(4)]
        wait_for(lambda: len(answers) > 20)
        os.kill(first, signal.SIGSTOP)  # so that it surely has requests in its hands
        time.sleep(0.3)
        os.kill(first, signal.SIGKILL)
        before = len(answers)
        wait_for(lambda: len(answers) > before + 20, 90)
        stop.set()
        for one in done:
            one.result()
    for i, response in answers:
        assert value_of(response) == pytest.approx(known[i], abs=1e-5)
    assert worker_of(server) != first
    assert 'roc_restarts_total{process="worker"} 1.0' in server.http.get("/metrics").text


def test_a_signal_lets_it_finish_what_was_accepted(server):
    """Also if the signal goes to the whole process group, as with Ctrl-C and systemd."""
    host, port = server.http.base_url.host, server.http.base_url.port
    with ThreadPoolExecutor(1) as pool, socket.create_connection((host, port), timeout=30) as late:
        part = (
            b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
            + photo(0)
            + b"\r\n--B--\r\n"
        )
        late.sendall(
            b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=B\r\n"
            b"Content-Length: %d\r\n\r\n" % len(part) + part[:50]
        )
        described = pool.submit(server.http.post, "/v1/describe", files=files(*[photo(i) for i in range(8)]))
        wait_for(lambda: "roc_queue_images 8.0" in httpx.get(f"http://{host}:{port}/metrics").text)
        for pid in server.children():
            os.kill(pid, signal.SIGTERM)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        late.sendall(part[50:])
        assert described.result().status_code == 200
        assert late.recv(100).startswith(b"HTTP/1.1 200")
    assert server.process.wait(30) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://{host}:{port}/healthz")


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_loaded(tmp_path):
    server = Process("--checkpoint", tmp_path)
    assert server.process.wait(60) == 2
    wait_for(lambda: server.said("roc serve: "), 5)
    assert server.said("Traceback") is None


@pytest.mark.slow
@linux
def test_processes_that_are_killed_at_any_moment(checkpoint, assessment):
    """Kills of readers and of the model under six clients; every photo gets its score."""
    server = Process("--checkpoint", checkpoint, "--readers", 2)
    server.wait_until_ready()
    known = [one.scores["overall"].value for one in assessment.score([picture(i) for i in range(6)])]
    end = time.monotonic() + 40
    answers = []

    def ask(client):
        with httpx.Client(base_url=server.http.base_url, timeout=120) as http:
            for count in itertools.count(client):
                if time.monotonic() > end:
                    return
                answers.append((count % 6, http.post("/v1/score", files=files(photo(count % 6)))))

    def grandchildren():
        """The readers and the model: they are forked from the fork server, which is left alone."""
        own = Path(f"/proc/{server.process.pid}/task")
        first = {word for task in own.iterdir() for word in (task / "children").read_text().split()}
        return [pid for pid in server.children() if str(pid) not in first]

    kills = 0
    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(ask, client) for client in range(6)]
        while time.monotonic() < end:
            time.sleep(random.uniform(0.2, 1.0))
            with contextlib.suppress(OSError, IndexError):
                pids = grandchildren()
                model = worker_of(server)
                readers = [pid for pid in pids if pid != model]
                os.kill(random.choice(readers if kills % 8 else [model]), signal.SIGKILL)
                kills += 1
        for one in done:
            one.result()
    assert kills > 20 and len(answers) > 50
    for i, response in answers:
        assert value_of(response) == pytest.approx(known[i], abs=1e-5)
    server.process.terminate()
    assert server.process.wait(30) == 0


@pytest.mark.slow
@linux
@pytest.mark.parametrize("wide", ["", "\u4e2d"], ids=["base64", "wide"])
def test_memory_of_large_json_bodies(checkpoint, wide):
    """Eight bodies near the limit at once; -s shows the memory."""
    server = Process("--checkpoint", checkpoint, "--readers", 1, "--max_new_tokens", 8)
    server.wait_until_ready()
    good = base64.b64encode(photo(0)).decode()
    server.http.post("/v1/reward", json={"images": [good]})
    before = server.memory()[server.process.pid]
    # Three files of 20 MB, or one string that can be no file.
    images = ["A" * 66_000_000 + wide] if wide else ["A" * 4 * 5_000_000] * 3
    body = json.dumps({"images": images}, ensure_ascii=False).encode()

    def ask(_):
        return httpx.post(f"{server.http.base_url}/v1/reward", content=body, timeout=120, headers=JSON).status_code

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(ask, range(8)))
    peak = server.memory()[server.process.pid]
    answer = server.http.post("/v1/reward", json={"images": [good]})
    wait_for(lambda: "roc_queue_images 0.0" in server.http.get("/metrics").text, 30)
    after = server.resident()
    print(f"\nMiB: before {before:.0f}, peak {peak:.0f}, after {after:.0f}; {codes}")
    server.process.terminate()
    assert server.process.wait(30) == 0
    assert set(codes) <= {200, 503} and 200 in codes and answer.json()["rewards"][0] is not None
    assert peak < before + 512 and after < before + 100


@pytest.mark.slow
@linux
def test_memory_stays_bounded(checkpoint):
    """Decompression bombs and the largest allowed images from eight clients at once; -s shows the memory."""
    server = Process("--checkpoint", checkpoint, "--readers", 2, "--pixels", 40_000_000)
    server.wait_until_ready()
    good = files(photo(0))
    value = value_of(server.http.post("/v1/score", files=good))
    before = server.memory()
    row = b"\0" + bytes(3 * 6000)
    large = png(6000, 6000, zlib.compress(row * 6000, 9))
    lying = png(60_000, 60_000, zlib.compress(bytes(50_000_000), 9))
    text = zlib.compress(bytes(500_000_000), 9)
    chunk = (
        struct.pack(">I", len(text) + 6)
        + b"zTXtnote\0\0"
        + text
        + struct.pack(">I", zlib.crc32(b"zTXtnote\0\0" + text))
    )
    bombs = [lying, png(100_000, 100_000, b""), png(10, 10, zlib.compress(bytes(310)), chunk)]

    def ask(i):
        with httpx.Client(base_url=server.http.base_url, timeout=120) as http:
            several = [bombs[(i + k) % 3] for k in range(6)]
            codes = [http.post("/v1/score", files=files(*several)).status_code]
            return codes + [http.post("/v1/score", files=files(large)).status_code]

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(ask, range(8)))
    after = server.memory()
    print("\nMiB before and after:", sorted(before.values()), sorted(after.values()))
    assert all(one == [422, 200] for one in codes), codes
    assert max(after.values()) < max(before.values()) + 1500
    assert after[server.process.pid] < before[server.process.pid] + 400
    assert value_of(server.http.post("/v1/score", files=good)) == pytest.approx(value, abs=1e-5)
    server.process.terminate()
    assert server.process.wait(30) == 0


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("schemathesis") is None, reason="pip install schemathesis, in an environment of its own"
)
def test_schemathesis_finds_nothing(checkpoint, tmp_path):
    """Requests are made from the OpenAPI description, which cannot say that base64 has to hold an image."""
    (tmp_path / "schemathesis.toml").write_text(
        '[checks.positive_data_acceptance]\nexpected-statuses = ["2xx", 413, 422]\n'
    )
    server = Process("--checkpoint", checkpoint, "--max_new_tokens", 8)
    server.wait_until_ready()
    command = [
        "schemathesis",
        "--config-file",
        "schemathesis.toml",
        "run",
        str(server.http.base_url.join("/openapi.json")),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(
        [*command, "--max-examples", "50", "--continue-on-failure", "--no-color"],
        **{"cwd": tmp_path, "env": environment, "capture_output": True, "text": True},
    )
    server.process.terminate()
    assert found.returncode == 0, found.stdout
    assert server.process.wait(30) == 0
