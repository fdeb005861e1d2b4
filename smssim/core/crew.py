"""The senders that take part in a run at a moment, as columns, and what follows from them: speed, failures, spread.

Knows what senders declare and report. Must not know the course of the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.fleet import Others, SenderRow
from smssim.core.progress import Figures
from smssim.core.session import State

Floats = NDArray[np.float64]

MEAN_LEAST_S: Final = 1e-6
RATE_LEAST_PER_S: Final = 1e-9
# What a sender declares counts like so many attempts of each of its lanes, and like so many attempts. Of the first
# attempts, the short ones end first, so that their mean is too low.
DECLARED_WAVES: Final = 6.0
DECLARED_ATTEMPTS: Final = 20.0
FULL: Final = 0.95  # share of its lanes that a sender with enough messages uses, at least
SPREAD: Final = 0.4  # coefficient of variation before anything is known about it ...
SPREAD_ERROR: Final = 0.35  # ... and the standard deviation of its square

_COLUMNS: Final = attrgetter(
    *("concurrency", "mean_s", "failure_rate", "in_flight", "sent", "failed", "attempts"),
    *("rate_per_s", "declared_per_s"),
)


@dataclass(frozen=True, slots=True)
class Crew:
    """The senders that take part: columns of shape (senders,), at least one."""

    lanes: Floats
    in_flight: Floats  # in their lanes, without those that are not reported yet
    mean_s: Floats  # of their attempts
    fail: Floats  # probability that an attempt at a message that can be reached fails
    there_s: Floats  # since they joined; 0 if unknown
    done_s: Floats  # the time of all attempts that have ended
    has_lost: bool  # whether senders are lost that had messages
    gone: float = 0.0  # share of the attempts that are at unreachable messages

    def filled(self, in_flight: float) -> Crew:
        """Return the same senders with at least this many messages in their lanes, if they have as many lanes.

        Reports are up to a second old. If attempts end in waves, many lanes may seem to be idle that no longer are.
        """
        idle = self.lanes - self.in_flight
        more = min(in_flight - float(self.in_flight.sum()), float(idle.sum()))
        if more <= 0:
            return self
        return replace(self, in_flight=self.in_flight + idle * (more / float(idle.sum())))

    @property
    def flow(self) -> Floats:
        """Attempts per second of each sender, if as many lanes as now are in use. Never all 0."""
        return np.maximum(self.in_flight, 0.05 * self.lanes) / self.mean_s

    @property
    def sent_per_s(self) -> float:
        """Messages that are sent per second if as many lanes as now are in use."""
        return (1 - self.gone) * float((self.in_flight * (1 - self.fail) / self.mean_s).sum())

    def wave_s(self) -> float:
        """Return the mean time of the attempts that end."""
        return float(np.average(self.mean_s, weights=self.flow))

    def spread(self, excess: float, lag_s: float) -> tuple[float, float]:
        """Return the squared coefficient of variation of the times of attempts, and the standard deviation of that.

        Lane time is the time of the attempts that have ended and of those under way, and these have been under way for
        (1 + cv^2) / 2 means on average (Cox 1962). `excess`: how much more than the course at this moment a smooth
        course shows, as a share. `lag_s`: from the end of an attempt to its record.
        """
        known = (self.there_s > 0) & (self.in_flight >= FULL * self.lanes)
        size_s = float((self.lanes * self.mean_s)[known].sum())
        if not size_s:
            return SPREAD**2, SPREAD_ERROR
        lanes = float(self.lanes[known].sum())
        there_s = float((self.lanes * self.there_s)[known].sum())
        ages_s = there_s - (1 + excess) * float(self.done_s[known].sum()) - lanes * lag_s
        seen, waves, lag = 2 * ages_s / size_s - 1, there_s / size_s, 2 * lanes * lag_s / size_s
        # Its error: of that many lanes; because early attempts are in step; of the lag; of idle time; of the means.
        error = 0.5 / lanes + (0.3 / max(waves, 0.5)) ** 2 + lag**2 + 0.01 + (0.01 * waves) ** 2
        trust = 1 / SPREAD_ERROR**2 + 1 / error
        square = (SPREAD**2 / SPREAD_ERROR**2 + seen / error) / trust
        return min(max(square, 0.02), 2.0), math.sqrt(1 / trust)


def crew_of(rows: Sequence[SenderRow], others: Others, figures: Figures) -> Crew | None:
    """Return the senders that take part; None if none does. `others` count as one sender with the usual times."""
    there = [row for row in rows if row.state is State.SENDING or row.state is State.WAITING]
    columns = np.fromiter(chain.from_iterable(map(_COLUMNS, there)), np.float64, 9 * len(there)).reshape(-1, 9)
    averages = [row.avg_time_s for row in there]
    if others.sending + others.waiting:
        columns = np.append(columns, [_usual(others, figures)], axis=0)
        averages.append(figures.avg_time_s)
    if not len(columns):
        return None
    lanes, declared_s, fail, in_flight, sent, failed, attempts, per_s, declared_per_s = columns.T
    fed = np.maximum(declared_per_s * np.maximum(declared_s, MEAN_LEAST_S), 1.0)  # lanes that a limit keeps busy
    lanes = np.where(declared_per_s > 0, np.minimum(lanes, np.maximum(fed, in_flight)), lanes)
    avg_s = np.array(averages, np.float64)  # None becomes NaN
    avg_s = np.where(np.isnan(avg_s), declared_s, avg_s)
    away = rows if len(there) < len(rows) else ()
    weight = DECLARED_WAVES * lanes + 1
    gone = figures.unreachable / figures.attempts if figures.attempts else 0.0
    reachable = (1 - gone) * attempts
    return Crew(
        lanes=lanes,
        in_flight=np.minimum(in_flight, lanes),
        mean_s=np.maximum((avg_s * attempts + declared_s * weight) / (attempts + weight), MEAN_LEAST_S),
        fail=np.clip(
            (np.maximum(0.0, reachable - sent) + DECLARED_ATTEMPTS * fail) / (reachable + DECLARED_ATTEMPTS), 0.0, 1.0
        ),
        there_s=np.minimum((sent + failed) / np.maximum(per_s, RATE_LEAST_PER_S), figures.elapsed_s) * (per_s > 0),
        done_s=avg_s * attempts,
        has_lost=others.lost > 0 or any(row.state is State.LOST and row.attempts for row in away),
        gone=gone,
    )


def _usual(others: Others, figures: Figures) -> tuple[float, ...]:
    """Return the columns of the other senders, which declare nothing here."""
    share = figures.attempts / figures.done if figures.done else 1.0
    reachable = figures.attempts - figures.unreachable
    fail = 1 - figures.sent / reachable if reachable else 0.0
    mean_s, lanes = figures.avg_time_s or 1.0, float(max(1, others.in_flight))
    attempts = share * (others.sent + others.failed)
    sent = attempts * figures.sent / figures.attempts if figures.attempts else 0.0
    return lanes, mean_s, fail, float(others.in_flight), sent, 0.0, attempts, 0.0, 0.0
