"""Names under which the server may be asked, and addresses of clients."""

import pytest

from roc.server.hosts import Hosts, network_of


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LocalHost.:8000", True),
        ("roc.localhost:8000", True),
        ("127.0.0.1:8000", True),
        ("127.1.2.3", True),
        ("[::1]:8000", True),
        ("[::ffff:127.0.0.1]", True),
        ("192.168.0.7:80", True),
        ("Given.example:8000", True),
        (None, True),
        ("192.168.0.8", False),
        ("evil.example:8000", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example:127.0.0.1", False),
        ("[evil.example]", False),
        ("given.example.evil", False),
        ("", False),
        ("*", False),
    ],
)
def test_names(host, allowed):
    assert Hosts(("given.example",)).allow(host, "192.168.0.7") == allowed
    assert Hosts(("*",)).allow(host, None)


def test_addresses():
    assert network_of("10.0.0.1") == network_of("::ffff:10.0.0.1") == "10.0.0.1"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == "fe80::/64" and network_of("testclient") == "testclient"
