"""File descriptors, one for each connection: raises the limit of this process, and warns when they run out.

Knows this process. Must not know which peers are connected.
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
    """Raise the limit on open descriptors as far as permitted and useful, and return the limit that applies now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.descriptors_max
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):  # some systems have further limits
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            return most
    return wanted if soft == resource.RLIM_INFINITY else soft


def connections_max(limit: int, limits: Limits = LIMITS) -> int:
    """Return how many connections a server may accept with this limit on descriptors."""
    return min(limits.connections_max, max(limit - limits.descriptors_reserved, limit // 2))


class Shortage:
    """Detects when no more connections are accepted, and reports it once each time."""

    def __init__(self, limit: int, limits: Limits = LIMITS) -> None:
        self._limit = limit
        self._most = connections_max(limit, limits)
        self._is_own = self._most == limits.connections_max  # our own bound applies, not the system's
        self._over_below = limits.shortage_over_share * self._most
        self._said = False

    def news(self, opened: int) -> str | None:
        """Return the warning to log when this many descriptors are open; None if there is nothing new."""
        if opened < self._over_below:
            self._said = False
        if opened < self._most or self._said:
            return None
        self._said = True
        if self._is_own:
            return f"{self._most:,} connections are open and no more are accepted: find the clients that hold them"
        return (
            f"{opened:,} of {self._limit:,} file descriptors are open and no more connections are accepted: raise the "
            "limit (ulimit -n), or find the clients that hold them"
        )


def opened(limit: int) -> int:
    """Return how many descriptors are open; `limit` if none is left to count them with, and 0 if it is unknown."""
    try:
        return len(os.listdir("/dev/fd"))
    except OSError as error:
        return limit if error.errno in (errno.EMFILE, errno.ENFILE) else 0


async def watch(serving: aio.Server, log: Log, limits: Limits = LIMITS) -> None:
    """Log a warning each time that no more connections are accepted, until the server stops."""
    limit = raise_limit(limits)
    shortage = Shortage(limit, limits)
    while await serving.wait_for_termination(limits.descriptors_check_s):
        news = shortage.news(opened(limit))
        if news is not None:
            log.warning("%s", news)
