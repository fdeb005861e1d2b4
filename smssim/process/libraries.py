"""Environment variables that configure gRPC and numpy.

Knows only variables. Must stay cheap to import.
"""

from __future__ import annotations

import os
from typing import Final

_WANTED: Final = {
    "GRPC_VERBOSITY": "NONE",  # we report a busy port ourselves
    "GLOG_minloglevel": "2",
    # Our child processes run another program at once. The fork handlers of gRPC start threads in the child before that,
    # which crash it if a connection was open: github.com/grpc/grpc/issues/43055.
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    "OPENBLAS_NUM_THREADS": "1",  # for numpy, whose threads would have no work but spin for 0.15 s at the start
}


def configure() -> None:
    """Set the variables that the user has not set. Call it before anything imports gRPC or numpy."""
    for name, value in _WANTED.items():
        os.environ.setdefault(name, value)
