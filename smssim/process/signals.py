"""Handling of the signals that end or suspend this process: one thread receives them all.

All other threads block them, because a thread inherits the blocked signals of the one that starts it. Therefore no
signal interrupts a library or reaches a thread of gRPC. Nor does one arrive while Python shuts down and restores the
default actions: after `ignore`, no signal changes how the process ends. Knows signals. Must not know what a node does
with them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from smssim.errors import ExitCode

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SUSPENDING: Final = signal.SIGTSTP  # Ctrl-Z

Handler = Callable[[signal.Signals], None]


def _nothing() -> None:
    """Do nothing."""


def _end(number: signal.Signals) -> None:
    """End a process that has not started its work, so that there is nothing to clean up."""
    if number == signal.SIGINT:
        with contextlib.suppress(OSError):
            os.write(2, b"smssim: interrupted\n")
        os._exit(ExitCode.INCOMPLETE)
    _take_default_action(number)


@dataclass
class _Actions:
    """What the signal thread does for each signal. Process-wide, like signals."""

    thread: threading.Thread | None = None
    end: Handler = _end
    suspend: Callable[[], None] = _nothing
    resume: Callable[[], None] = _nothing


_actions: Final = _Actions()


def take() -> None:
    """Receive the signals from now on. Call it in the main thread, before any other thread starts.

    SIGHUP and SIGTSTP stay ignored if they are, as under nohup.
    """
    if _actions.thread is not None:
        return
    able = [n for n in (signal.SIGHUP, _SUSPENDING) if signal.getsignal(n) != signal.SIG_IGN]
    taken = {signal.SIGINT, signal.SIGTERM, *able}
    signal.pthread_sigmask(signal.SIG_BLOCK, taken)
    _actions.thread = threading.Thread(target=_wait_for, args=(taken,), name="signals", daemon=True)
    _actions.thread.start()


def handle(end: Handler) -> None:
    """Set the function that the signal thread calls for each SIGINT, SIGTERM and SIGHUP."""
    _actions.end = end


def around_suspension(suspend: Callable[[], None], resume: Callable[[], None]) -> None:
    """Set the functions that it calls before Ctrl-Z suspends the process, and after the process continues."""
    _actions.suspend, _actions.resume = suspend, resume


def ignore() -> None:
    """Ignore the signals that end this process, because it is ending already. Call it in the main thread."""
    _actions.end = _ignored
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)  # for threads that started before `take`


def _ignored(number: signal.Signals) -> None:
    """Do nothing."""


def _wait_for(taken: set[signal.Signals]) -> None:
    while True:
        number = signal.Signals(signal.sigwait(taken))
        if number == _SUSPENDING:
            _actions.suspend()
            _take_default_action(number)  # returns when the process is continued
            _actions.resume()
        else:
            _actions.end(number)


def _take_default_action(number: signal.Signals) -> None:
    """Let this signal have its default effect on the process."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
