"""The counters that `/metrics` shows, in the format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Counters:
    """The counters of one server, in their own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = {"registry": self.registry}
        self.requests = Counter("roc_requests", "Requests answered", ["route", "status"], **own)
        self.seconds = Histogram("roc_request_seconds", "From request to answer", ["route"], buckets=SECONDS, **own)
        self.queue = Gauge("roc_queue_images", "Images accepted and not yet answered", **own)
        self.batches = Histogram("roc_batch_images", "Images in a batch sent to the model", buckets=SIZES, **own)
        self.images = Counter("roc_images", "Images by outcome", ["outcome"], **own)
        self.restarts = Counter("roc_restarts", "Processes that ended and were started again", ["process"], **own)
        self.bytes = Gauge("roc_body_bytes", "Bytes of request bodies in memory", **own)
        self.ready = Gauge("roc_ready", "1 while the model is loaded", **own)
        self.pairs = Counter("roc_pairs", "Pairs of images that were compared, by outcome", ["outcome"], **own)
        for outcome in ("scored", "unscored", "refused", "lost"):
            self.images.labels(outcome)
        for outcome in ("compared", "refused", "lost"):
            self.pairs.labels(outcome)
        for process in ("worker", "reader"):
            self.restarts.labels(process)

    def text(self) -> bytes:
        """Returns the body of `/metrics`."""
        return generate_latest(self.registry)
