"""Each message as it is sent, for people: all of them while they can be read, a sample and a count when they can't.

Takes batches and outcomes with the time, and writes lines to the logs that it is given. One serves all senders of a
process. It costs a fast sender some nanoseconds a message: only the messages that were chosen when they arrived are
looked at one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from smssim.core.lanes import Finished
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Ids, Outcome
from smssim.escaping import escape
from smssim.process.logs import Log
from smssim.words import plural, seconds

TEXT_MAX: Final = 40  # characters of a text in a line for people
LINES: Final = {
    Outcome.SENT: 'message %d to %s: sent after %s: "%s"',
    Outcome.FAILED: 'message %d to %s: failed after %s: "%s"',
    Outcome.RETRY: 'message %d to %s: failed after %s, to be tried again: "%s"',
}
_SLOTS: Final = 1 << 16

Texts = Callable[[int], dict[int, tuple[str, str]]]  # by id: number and text of the first n messages of a batch


class _TokenBucket:
    """A rate limit: `per_s` a second in the long run, `at_once` in a burst."""

    def __init__(self, per_s: float, at_once: float) -> None:
        self._per_s = per_s
        self._at_once = self._left = at_once
        self._at = 0.0

    def left(self, now: float) -> int:
        """Return how many may be taken now."""
        self._left = min(self._at_once, self._left + max(0.0, now - self._at) * self._per_s)
        self._at = now
        return int(self._left)

    def take(self, count: int) -> None:
        """Takes some of them."""
        self._left -= count


class EachMessage:
    """What `--verbose` shows."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._keep = _TokenBucket(limits.shown_kept_per_s, limits.shown_kept_max)
        self._lines = _TokenBucket(limits.shown_per_s, limits.shown_at_once)
        self._kept: dict[tuple[str, int], tuple[str, str]] = {}  # by sender and id: number and text
        self._slots = np.zeros(_SLOTS, np.uint16)  # how many are kept, by the end of their ids: a filter
        self._left_out = 0
        self._said_at = 0.0

    def arrived(self, sender: str, ids: Ids, texts: Texts, now: float) -> None:
        """Notes some or all messages of a batch that has arrived."""
        count = min(len(ids), self._keep.left(now))
        if not count:
            return
        self._keep.take(count)
        while len(self._kept) + count > self._limits.shown_kept_max:
            # The oldest goes: some were given up and never get an outcome.
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._slots[oldest[1] % _SLOTS] -= 1
        for message_id, content in texts(count).items():
            if (sender, message_id) not in self._kept:
                self._slots[message_id % _SLOTS] += 1
            self._kept[sender, message_id] = content

    def finished(self, sender: str, some: Finished, log: Log, now: float) -> None:
        """Logs some or all of the attempts that have ended."""
        where = np.flatnonzero(self._slots[some.ids % _SLOTS]).tolist()
        self._left_out += len(some)
        room = self._lines.left(now)
        for i in where:
            content = self._kept.pop((sender, int(some.ids[i])), None)
            if content is None:
                continue
            self._slots[int(some.ids[i]) % _SLOTS] -= 1
            if room > 0:
                room -= 1
                self._lines.take(1)
                self._left_out -= 1
                self._log(some, i, content, log)
        self.say_left_out(log, now)

    def say_left_out(self, log: Log, now: float, at_last: bool = False) -> None:
        """Logs, once a second, how many were left out."""
        if self._left_out and (at_last or now - self._said_at >= self._limits.left_out_s):
            log.info("%s more, too many to show", plural(self._left_out, "message"))
            self._left_out, self._said_at = 0, now

    def _log(self, some: Finished, i: int, content: tuple[str, str], log: Log) -> None:
        outcome, time_s = Outcome(int(some.outcomes[i])), float(some.durations_s[i])
        phone, text = escape(content[0]), escape(content[1])
        short = text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 3] + "..."
        fields = {"message_id": int(some.ids[i]), "phone_number": phone, "text": text, "outcome": outcome.name.lower()}
        fields |= {"attempt": int(some.attempts[i]), "duration_s": time_s}
        log.info(LINES[outcome], some.ids[i], phone, seconds(time_s), short, fields=fields)
