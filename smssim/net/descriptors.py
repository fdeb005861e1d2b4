"""File descriptors, of which each connection takes one: as many as this process may have, and a word when they run out.

Knows this process. Must not know who is connected.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource

from grpc import aio

from smssim.core.limits import LIMITS, Limits
from smssim.process.logs import Log


def raise_limit(limits: Limits = LIMITS) -> int:
    """Lets this process have as many descriptors as it may and could use; how many it may have now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.descriptors_max
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):  # a system that counts otherwise
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            return most
    return wanted if soft == resource.RLIM_INFINITY else soft


def connections_max(limit: int, limits: Limits = LIMITS) -> int:
    """How many connections a server may take that may have so many descriptors."""
    return min(limits.connections_max, max(limit - limits.descriptors_reserved, limit // 2))


class Shortage:
    """Whether new connections are turned away, said once each time that it begins."""

    def __init__(self, limit: int, limits: Limits = LIMITS) -> None:
        self._limit = limit
        self._most = connections_max(limit, limits)
        self._is_own = self._most == limits.connections_max  # a bound of ours, not of the system's
        self._over_below = limits.shortage_over_share * self._most
        self._said = False

    def news(self, opened: int) -> str | None:
        """What to say when so many descriptors are open."""
        if opened < self._over_below:
            self._said = False
        if opened < self._most or self._said:
            return None
        self._said = True
        if self._is_own:
            return f"{self._most:,} connections are open, and no more are taken: find out who holds them"
        return (
            f"{opened:,} of {self._limit:,} file descriptors are open, and no more connections are taken: raise the "
            "limit (ulimit -n), or find out who holds them"
        )


def opened(limit: int) -> int:
    """How many descriptors are open; all of them if there is none left to count with, and 0 if nobody knows."""
    try:
        return len(os.listdir("/dev/fd"))
    except OSError as error:
        return limit if error.errno in (errno.EMFILE, errno.ENFILE) else 0


async def watch(serving: aio.Server, log: Log, limits: Limits = LIMITS) -> None:
    """Says when descriptors run out, for as long as the server serves."""
    limit = raise_limit(limits)
    shortage = Shortage(limit, limits)
    while await serving.wait_for_termination(limits.descriptors_check_s):
        news = shortage.news(opened(limit))
        if news is not None:
            log.warning("%s", news)
