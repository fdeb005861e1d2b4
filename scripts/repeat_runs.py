"""Runs a short alert many times; each run must exit with code 0, count every message and log no warnings.

scripts/repeat_runs.py [--runs 500] [--busy 1]: 500 runs, with one process that keeps a core busy. Stops at the first
failed run, shows its output and exits with code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

COUNT: Final = 200
RUN: Final = (sys.executable, "-m", "smssim", "run", f"--count={COUNT}", "--seed=7", "--log-level=warning", "--json")
SENDERS: Final = ("mean=0.02,concurrency=2", "mean=0.05,concurrency=4", "mean=0.1,concurrency=4")
RUN_S_MAX: Final = 120.0


def one_run() -> str:
    """Execute one run. Return what went wrong, or an empty string."""
    words = [*RUN, *(f"--sender={sender}" for sender in SENDERS)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=RUN_S_MAX, check=False)
    if done.returncode == 0 and not done.stderr and done.stdout:
        last = json.loads(done.stdout.splitlines()[-1])
        if last["final"] and last["complete"] and last["sent"] + last["failed"] == COUNT:
            return ""
    return f"exit code {done.returncode}\n{done.stderr}{done.stdout}"


@contextlib.contextmanager
def busy_cores(number: int) -> Iterator[None]:
    """Keep this many cores busy while the context is open."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> int:
    """Execute the runs and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--busy", type=int, default=1)
    wanted = parser.parse_args()
    began_at = time.monotonic()
    with busy_cores(wanted.busy):
        for number in range(1, wanted.runs + 1):
            fault = one_run()
            if fault:
                print(f"run {number} of {wanted.runs}: {fault}")
                return 1
            print(
                f"\r{number} of {wanted.runs} runs passed, {time.monotonic() - began_at:.0f} s",
                end="",
                flush=True,
            )
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
