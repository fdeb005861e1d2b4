"""The messages of `--verbose`: a log line for each message, or for a sample and a count if there are too many to read.

Receives batches, outcomes and the time, and writes lines to the given logs. One instance serves all senders of a
process. It costs a fast sender a few nanoseconds per message: only the messages that were chosen on arrival are
handled one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from smssim.core.bucket import Bucket
from smssim.core.lanes import Finished
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Ids, Outcome, StartLimit
from smssim.escaping import escape
from smssim.process.logs import Log
from smssim.words import plural, seconds

TEXT_MAX: Final = 40  # characters of the text shown in a log line
LINES: Final = {
    Outcome.SENT: 'Message %d to %s: sent after %s: "%s"',
    Outcome.FAILED: 'Message %d to %s: failed after %s: "%s"',
    Outcome.RETRY: 'Message %d to %s: failed after %s, will be retried: "%s"',
}
_SLOTS: Final = 1 << 16

Texts = Callable[[int], dict[int, tuple[str, str]]]  # phone number and text by id, of the first n messages of a batch


def _bucket(per_s: float, at_once: float) -> Bucket:
    """Return a token bucket that fills at `per_s` messages per second and holds `at_once`."""
    return Bucket(StartLimit(interval_s=1 / per_s, slack_s=(at_once - 1) / per_s))


class EachMessage:
    """The lines that `--verbose` shows."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._keep = _bucket(limits.shown_kept_per_s, limits.shown_kept_max)
        self._lines = _bucket(limits.shown_per_s, limits.shown_at_once)
        self._kept: dict[tuple[str, int], tuple[str, str]] = {}  # phone number and text by sender and id
        self._slots = np.zeros(_SLOTS, np.uint16)  # a filter: how many messages are kept, by the low bits of their ids
        self._left_out = 0
        self._said_at = 0.0

    def arrived(self, sender: str, ids: Ids, texts: Texts, now: float) -> None:
        """Keep the contents of some or all messages of a batch that has arrived."""
        count = min(len(ids), self._keep.starts_by(now, now))
        if not count:
            return
        while len(self._kept) + count > self._limits.shown_kept_max:
            # Drop the oldest: handed-back and lost messages never get an outcome here.
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._slots[oldest[1] % _SLOTS] -= 1
        for message_id, content in texts(count).items():
            self._keep.start(now)
            if (sender, message_id) not in self._kept:
                self._slots[message_id % _SLOTS] += 1
            self._kept[sender, message_id] = content

    def finished(self, sender: str, some: Finished, log: Log, now: float) -> None:
        """Log some or all of these finished attempts."""
        where = np.flatnonzero(self._slots[some.ids % _SLOTS]).tolist()
        self._left_out += len(some)
        room = self._lines.starts_by(now, now)
        for i in where:
            content = self._kept.pop((sender, int(some.ids[i])), None)
            if content is None:
                continue
            self._slots[int(some.ids[i]) % _SLOTS] -= 1
            if room > 0:
                room -= 1
                self._lines.start(now)
                self._left_out -= 1
                self._log(some, i, content, log)
        self.log_left_out(log, now)

    def log_left_out(self, log: Log, now: float, at_last: bool = False) -> None:
        """Log how many messages were left out, at most once every `left_out_s` seconds unless `at_last`."""
        if self._left_out and (at_last or now - self._said_at >= self._limits.left_out_s):
            log.info("%s, too many to show", plural(self._left_out, "more message"))
            self._left_out, self._said_at = 0, now

    def _log(self, some: Finished, i: int, content: tuple[str, str], log: Log) -> None:
        outcome, time_s = Outcome(int(some.outcomes[i])), float(some.durations_s[i])
        phone, text = escape(content[0]), escape(content[1])
        short = text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 3] + "..."
        fields = {"message_id": int(some.ids[i]), "phone_number": phone, "text": text, "outcome": outcome.name.lower()}
        fields |= {"attempt": int(some.attempts[i]), "duration_s": time_s}
        log.info(LINES[outcome], some.ids[i], phone, seconds(time_s), short, fields=fields)
