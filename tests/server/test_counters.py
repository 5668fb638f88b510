"""The counters, as Prometheus reads them."""

from serving import httpx  # noqa: F401  (skips where the server's libraries are missing)

from roc.server.counters import Counters


def test_the_text():
    counters = Counters()
    counters.requests.labels("/v1/score", "200").inc()
    counters.batches.observe(3)
    text = counters.text().decode()
    assert 'roc_requests_total{route="/v1/score",status="200"} 1.0' in text
    assert 'roc_batch_images_bucket{le="2.0"} 0.0' in text and 'roc_batch_images_bucket{le="4.0"} 1.0' in text
    assert 'roc_restarts_total{process="worker"} 0.0' in text
    assert "roc_queue_images 0.0" in text


def test_two_servers_do_not_share_them():
    one, other = Counters(), Counters()
    one.images.labels("scored").inc(5)
    assert 'roc_images_total{outcome="scored"} 0.0' in other.text().decode()
