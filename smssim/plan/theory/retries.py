"""What becomes of attempts that are under way, with the retries that follow from them while lanes are idle.

Knows distributions on a grid of times. Must not know scenarios or senders.

Each generation of retries is a convolution of the one before with the time of an attempt and the delay of a retry;
products in the Fourier domain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NODES: Final = 2**13
RARE: Final = 1e-3  # fewer messages than this are left out


def attempts_per_message(fail: float, max_attempts: int, unreachable: float = 0.0) -> float:
    """Return the expected attempts of a message that is tried again until it is sent: (1 - f^K) / (1 - f).

    Of the messages, a share `unreachable` has only one attempt.
    """
    reachable = max_attempts if fail >= 1 else (1 - fail**max_attempts) / (1 - fail)
    return unreachable + (1 - unreachable) * reachable


def attempts_variance(fail: float, max_attempts: int, unreachable: float = 0.0) -> float:
    """Return the variance of the attempts of a message: a geometric number cut at K, or 1 if it is unreachable."""
    if fail == 0.0 or (fail == 1.0 and unreachable in (0.0, 1.0)) or max_attempts == 1:
        return 0.0
    # E N = sum of f^j and E N^2 = sum of (2j + 1) f^j, over j from 0 to K - 1.
    powers = fail ** np.arange(max_attempts, dtype=np.float64)
    square, mean = float(((2 * np.arange(max_attempts) + 1) * powers).sum()), float(powers.sum())
    square, mean = (unreachable + (1 - unreachable) * one for one in (square, mean))
    return max(0.0, square - mean**2)


def numbers_under_way(fail: float, max_attempts: int, rounds: int) -> Floats:
    """Return the shares of first, second, ... attempts among those under way after this many rounds (at least 1).

    Retries go out before fresh messages. So with attempts left, each round gives each finished lane a retry with
    probability `fail`; once messages run out of attempts, the shares are those of the attempts of all messages.
    """
    powers: Floats = np.array([fail**number for number in range(min(rounds, max_attempts))], np.float64)
    if rounds >= max_attempts:
        powers /= powers.sum()
        return powers
    powers[:-1] *= 1 - fail
    return powers


def reachable_under_way(fail: float, max_attempts: int, rounds: int, unreachable: float) -> tuple[Floats, float]:
    """Return `numbers_under_way` of the attempts at reachable messages, and which share of all attempts these are.

    First attempts are at unreachable messages with this probability, and further ones never are.
    """
    if not unreachable:
        return numbers_under_way(fail, max_attempts, rounds), 1.0
    shares: Floats = np.array([fail**number for number in range(max_attempts)], np.float64)
    shares[1:] *= 1 - unreachable
    if rounds < max_attempts:
        shares[:] = 0.0
        shares[0] = 1.0
        for _ in range(rounds - 1):
            shares[1:] = fail * np.append((1 - unreachable) * shares[0], shares[1:-1])
            shares[0] = 1 - shares[1:].sum()
        shares = shares[:rounds]
    shares /= shares.sum()
    gone = unreachable * float(shares[0])
    shares[0] *= 1 - unreachable
    return shares / max(1e-9, 1 - gone), 1 - gone


def retries_to_come(fail: float, max_attempts: int) -> Floats:
    """Return the expected further attempts of a message by the number of its attempt under way; shape (K,)."""
    left = max_attempts - 1 - np.arange(max_attempts)
    if fail >= 1:
        return left.astype(np.float64)
    further: Floats = fail * (1 - np.power(fail, left.astype(np.float64))) / (1 - fail)
    return further


def generations(count: float, fail: float, max_attempts: int) -> int:
    """Return how many retries in a row happen, but for RARE ones, to `count` messages."""
    if max_attempts == 1 or fail <= 0 or count <= 0:
        return 0
    if fail >= 1:
        return max_attempts - 1
    return min(max_attempts - 1, max(0, math.ceil(math.log(RARE / count) / math.log(fail))))


def margin(generations: int) -> int:
    """Return over how many steps of a grid the longest times may extend: each generation is rounded up."""
    return NODES - 8 - 2 * generations


@dataclass(frozen=True, slots=True)
class UnderWay:
    """Messages on a grid of times: element i of a column of shape (NODES,) is at i steps."""

    failing: Floats  # when attempts that are under way fail
    retried: Floats  # when messages that wait for a retry get it
    shares: Floats  # of first, second, ... attempts among those under way


@dataclass(frozen=True, slots=True)
class Retries:
    """Expected attempts after those under way, on a grid: masses of shape (NODES,), element i at i steps."""

    started: Floats
    ended: Floats
    lost: Floats  # when messages fail for good, be it in the attempt that was under way


def retries(start: UnderWay, time: Floats, lag: Floats, fail: float, attempts: int) -> Retries:
    """Return the attempts that follow, if each finds an idle lane.

    `time`, `lag`: the distributions of the time of a retry and of the delay before it, of shape (NODES,).
    """
    size = 2 * NODES
    failing, retried, time_, lag_ = (np.fft.rfft(one, size) for one in (start.failing, start.retried, time, lag))
    shares = np.zeros(attempts)
    shares[: len(start.shares)] = start.shares
    retryable = float(shares[: attempts - 1].sum()) or 1.0
    started, lost, starting = (np.zeros_like(time_) for _ in range(3))  # starting: attempts of one number
    for number in range(attempts):
        started += starting
        fails = shares[number] * failing + fail * starting * time_
        if number == attempts - 1:
            lost += fails
            break
        starting = fails * lag_ + shares[number] / retryable * retried
        if number >= len(start.shares) and abs(starting[0]) < RARE:
            break
    return Retries(*(np.fft.irfft(one, size)[:NODES] for one in (started, started * time_, lost)))
