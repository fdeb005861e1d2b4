"""Addresses of nodes, as `host:port` or `[v6]:port`.

Knows only text. The same functions check addresses from flags and addresses that peers send.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from smssim.errors import bad_value

PRODUCER_ADDRESS: Final = "127.0.0.1:50051"
MONITOR_ADDRESS: Final = "127.0.0.1:50052"
FREE_ADDRESS: Final = "127.0.0.1:0"  # a free port

PORT_MAX: Final = 65535
ADDRESSES_MAX: Final = 8  # of one peer


def is_address(text: str, port_min: int) -> bool:
    """Return whether this is an address with a port of at least `port_min`."""
    host_port = _host_port(text)
    return host_port is not None and host_port[1] >= port_min


def address_words(port_min: int) -> str:
    """Return what `is_address` accepts, in words."""
    return f"host:port with a port from {port_min} to {PORT_MAX}"


def are_addresses(text: str, port_min: int) -> bool:
    """Return whether this is one address, or up to `ADDRESSES_MAX` different ones separated by commas."""
    each = each_address(text)
    is_sound = len(each) <= ADDRESSES_MAX and len(set(each)) == len(each)
    return is_sound and all(is_address(one, port_min) for one in each)


def addresses_words(port_min: int) -> str:
    """Return what `are_addresses` accepts, in words."""
    return f"{address_words(port_min)}, or up to {ADDRESSES_MAX} different ones separated by commas"


def each_address(text: str) -> tuple[str, ...]:
    """Return the addresses that are separated by commas, at least one."""
    return tuple(text.split(","))


def is_host(text: str) -> bool:
    """Return whether this is the name or the IP address of a host, without a port and without brackets."""
    return _host_port(f"[{text}]:0") is not None


def split_address(flag: str, address: str) -> tuple[str, int]:
    """Return the host (without brackets) and the port of an address. Raises UsageError if it is malformed."""
    host_port = _host_port(address)
    if host_port is None:
        raise bad_value(flag, address, address_words(0))
    return host_port


def is_loopback(address: str) -> bool:
    """Return whether this is an address of the loopback interface, which other machines can't reach."""
    host, _ = split_address("address", address)
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a host name
        return False


def _host_port(address: str) -> tuple[str, int] | None:
    """Return the host and the port of `host:port` or `[v6]:port`; None if it is neither."""
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    plain = bare.isprintable() and not any(c in " []/@" for c in bare) and (bracketed or ":" not in bare)
    if not (bare and plain and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= PORT_MAX):
        return None
    return bare, int(port)
