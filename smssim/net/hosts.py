"""Which names a request over HTTP may give for this machine in its Host header.

A web page anywhere can make a browser send requests to this machine under a name that its author controls (DNS
rebinding), and then read the answers. So a server answers only to names that no stranger can point at it. Knows names
and addresses. Must not know what is served.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from smssim.errors import UsageError
from smssim.settings import is_loopback, split_address


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts that a server answers to, whatever the port: always `localhost` and the loopback addresses.

    A server that other machines can reach also answers to the host that it listens on, to this machine's own name and
    to all IP addresses. With an address instead of a name, no rebinding is possible, and behind a port that is
    forwarded, the address is another machine's.
    """

    names: frozenset[str]  # in lower case
    addresses: bool  # whether it answers to all IP addresses

    @classmethod
    def of(cls, listen: str) -> Hosts:
        """Return the hosts of a server that listens on this host."""
        if is_loopback(f"[{listen}]:0"):
            return cls(frozenset(), addresses=False)
        own = socket.gethostname().lower()
        return cls(frozenset({listen.lower(), own, own.partition(".")[0]}), addresses=True)

    def includes(self, header: str) -> bool:
        """Return whether a Host header, with or without a port, names one of them."""
        address = _with_port(header)
        try:
            host, _ = split_address("host", address)
            return is_loopback(address) or host in self.names or (self.addresses and _is_ip(host))
        except UsageError:
            return False


def is_here(header: str) -> bool:
    """Return whether a Host header, with or without a port, names a loopback address."""
    return Hosts(frozenset(), addresses=False).includes(header)


def _with_port(header: str) -> str:
    has_port = ":" in header.rpartition("]")[2]
    return (header if has_port else f"{header}:0").lower()


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
