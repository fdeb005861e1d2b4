"""Environment variables that configure gRPC and numpy.

Knows variables alone. Must stay cheap to import.
"""

from __future__ import annotations

import os
from typing import Final

_WANTED: Final = {
    "GRPC_VERBOSITY": "NONE",  # a busy port is reported by us
    "GLOG_minloglevel": "2",
    # A process that we start runs another program at once. With its fork handlers, gRPC starts threads in the child
    # before that, which crash it where a connection was open: github.com/grpc/grpc/issues/43055.
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    "OPENBLAS_NUM_THREADS": "1",  # of numpy: its threads would have nothing to do, and spin for 0.15 s as they start
}


def configure() -> None:
    """Sets the variables that the user has not set. Call it before anything loads gRPC or numpy."""
    for name, value in _WANTED.items():
        os.environ.setdefault(name, value)
