"""The signals that ask this process to end or to stop: one thread takes them all.

Every other thread blocks them: a thread inherits this from the one that starts it. So no signal interrupts a library,
reaches a thread of gRPC, or strikes while Python shuts down and restores the default actions: once `ignore` was called,
no signal changes how the process ends. Knows signals. Must not know what a node does with them.
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
    """Does nothing."""


def _end(number: signal.Signals) -> None:
    """Ends a process that has not begun its work: there is nothing to end in order."""
    if number == signal.SIGINT:
        with contextlib.suppress(OSError):
            os.write(2, b"smssim: interrupted\n")
        os._exit(ExitCode.INCOMPLETE)
    _take_default_action(number)


@dataclass
class _Actions:
    """What is done for a signal, in the thread that takes them. Process-wide, as signals are."""

    thread: threading.Thread | None = None
    end: Handler = _end
    suspend: Callable[[], None] = _nothing
    resume: Callable[[], None] = _nothing


_actions: Final = _Actions()


def take() -> None:
    """Takes the signals from now on. Call it in the main thread, before any other thread is started.

    SIGHUP and SIGTSTP stay ignored where they are, as under nohup.
    """
    if _actions.thread is not None:
        return
    able = [n for n in (signal.SIGHUP, _SUSPENDING) if signal.getsignal(n) != signal.SIG_IGN]
    taken = {signal.SIGINT, signal.SIGTERM, *able}
    signal.pthread_sigmask(signal.SIG_BLOCK, taken)
    _actions.thread = threading.Thread(target=_wait_for, args=(taken,), name="signals", daemon=True)
    _actions.thread.start()


def handle(end: Handler) -> None:
    """Has this called for each of SIGINT, SIGTERM and SIGHUP, in the thread that takes them."""
    _actions.end = end


def around_suspension(suspend: Callable[[], None], resume: Callable[[], None]) -> None:
    """Has these called before the process is stopped by Ctrl-Z, and after it goes on."""
    _actions.suspend, _actions.resume = suspend, resume


def ignore() -> None:
    """Ignores whatever asks this process to end: how it ends is decided. Call it in the main thread."""
    _actions.end = _ignored
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)  # for threads that were started before `take`


def _ignored(number: signal.Signals) -> None:
    """Does nothing."""


def _wait_for(taken: set[signal.Signals]) -> None:
    while True:
        number = signal.Signals(signal.sigwait(taken))
        if number == _SUSPENDING:
            _actions.suspend()
            _take_default_action(number)  # returns once the process is continued
            _actions.resume()
        else:
            _actions.end(number)


def _take_default_action(number: signal.Signals) -> None:
    """Does to the process what this signal does by default."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])
