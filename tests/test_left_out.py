"""What pytest says where network namespaces are forbidden."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

PR_CAPBSET_DROP = 24  # linux/prctl.h
CAP_SYS_ADMIN = 21  # linux/capability.h

_prctl = getattr(ctypes.CDLL(None), "prctl", None)


def forbid_namespaces() -> None:
    """Take the right to make namespaces from this process. Without root, it does not have it anyway."""
    if _prctl is not None:
        _prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_summary_names_the_tests_that_are_left_out(workers: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"--numprocesses={workers}", "tests/test_hosts.py", "tests/test_event.py"],
        cwd=Path(__file__).parent.parent,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        preexec_fn=forbid_namespaces,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    left_out = [line for line in done.stdout.splitlines() if line.startswith("left out: ")]
    assert len(left_out) == 1, done.stdout
    assert left_out[0].startswith("left out: tests/test_hosts.py (no network namespaces here: ")
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
