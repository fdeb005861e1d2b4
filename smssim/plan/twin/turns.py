"""Senders whose requests are played one by one, because the first one to ask gets the retries that wait.

A sender whose attempts end in waves asks for messages before it settles what has ended. Its retries then wait for the
next request, from whichever sender that is. Knows senders. Must not know messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from smssim.plan.scenario import PlannedSender
from smssim.plan.twin.member import Member

TURNS: Final = 8  # senders whose requests are played; with more, chance decides well enough who asks next ...
WAVES_MAX: Final = 2000  # ... as with more waves in all: a play would take long
APART: Final = 0.2  # of the time that a process takes to start: how far apart several are ready that start together


def in_turn(members: Sequence[Member], time_s: float) -> list[Member]:
    """Return which of these senders ask early, if each request can be played: none if there are too many in `time_s`.

    `time_s`: how long the run takes.
    """
    turns = [member for member in members if member.asks_early and member.is_in_waves and member.takes_directly]
    waves = sum(time_s / member.sender.model.mean_s for member in turns)
    return turns if len(turns) <= TURNS and waves <= WAVES_MAX else []


def starts_s(
    senders: Sequence[PlannedSender], start_s: float, random: np.random.Generator, *, exact: bool
) -> list[float]:
    """Return when each sender takes part.

    `start_s`: from when a process is started, late, to when it takes part. Those that start with the run are ready at
    times that chance decides, unless `exact`. That matters if attempts all take the same time: their waves stay as far
    apart.
    """
    late = [sender.joins_s > 0 for sender in senders]
    exact |= not start_s or all(late) or all(sender.model.distribution != "fixed" for sender in senders)
    if exact:
        return [max(0.0, sender.joins_s + start_s * is_late) for sender, is_late in zip(senders, late, strict=True)]
    ready_s = random.uniform(0.0, APART * start_s, len(senders))
    ready_s -= ready_s[~np.array(late)].min()  # the run begins with the first one
    return [
        sender.joins_s + start_s if is_late else its_s
        for sender, is_late, its_s in zip(senders, late, ready_s.tolist(), strict=True)
    ]
