"""The machine on which figures were measured; without it, they mean little."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from smssim import __version__


def machine() -> dict[str, Any]:
    """Return the facts about this machine and its software that affect figures."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "smssim": __version__,
        "grpcio": version("grpcio"),
        "numpy": version("numpy"),
        "date": time.strftime("%Y-%m-%d"),
    }


def in_words(facts: dict[str, Any]) -> str:
    """Return the facts as one line."""
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gb']:.0f} GB; {facts['system']}, "
        f"Python {facts['python']}, grpcio {facts['grpcio']}, numpy {facts['numpy']}; {facts['date']}"
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
