"""Who asks, and by which name of this server: addresses of clients, and the `Host` header."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence


def network_of(address: str) -> str:
    """Returns the part of an address by which clients are told apart: all of IPv4, the first half of IPv6."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address if parsed is None else str(parsed)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Reads an address, which may name an interface or be an IPv4 address in the clothes of IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def name_of(host: str) -> str:
    """Returns the name in a `Host` header, without port, brackets and a final dot, in small letters."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".") if host.count(":") < 2 else host


class Hosts:
    """The names under which the server may be asked.

    A page elsewhere can have its own name point to this machine and read the answers from the browser of a visitor
    (DNS rebinding). It cannot choose the `Host` header, which still holds that name.

    Args:
        names: Further names, such as the value of `--host`; `*` allows every name.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.everything = "*" in names
        self._names = {name_of(name) for name in names} | {"localhost"}

    def allow(self, host: str | None, own_address: str | None) -> bool:
        """Tells whether a request may be answered.

        Args:
            host: Its `Host` header; None if it has none, which no browser leaves out.
            own_address: The address of this machine that it came to.
        """
        if self.everything or host is None:
            return True
        name = name_of(host)
        if name in self._names or name.endswith(".localhost"):
            return True
        address = _parsed(name)
        return address is not None and (address.is_loopback or address == _parsed(own_address or ""))
