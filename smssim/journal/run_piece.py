"""The piece of a producer's state that identifies its run, and the check that the flags match that run.

Knows settings, and one piece. Must not know the other pieces, or when anything is written.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from smssim.core.pieces import Pieces, pack, unpack
from smssim.errors import bad_value
from smssim.settings import ProducerSettings, flags_of

OF_THE_RUN: Final = ("count", "seed", "max_attempts", "min_length", "max_length")  # settings that are fixed for a run


def run_piece(run_id: str, settings: ProducerSettings) -> bytes:
    """Return a piece with the id of a run, and the settings that determine its messages."""
    return pack({"run_id": run_id, **{name: getattr(settings, name) for name in OF_THE_RUN}})


def run_from(pieces: Pieces, log: str, settings: ProducerSettings) -> tuple[str, ProducerSettings]:
    """Return the id of the run on record, and the settings with the run's seed.

    `log`: the name of the log, for errors. Raises UsageError if a flag differs from the one that the run was started
    with, or DAMAGE.
    """
    run, _ = unpack(pieces["run"])
    for name in OF_THE_RUN:
        given = getattr(settings, name)
        if given is not None and given != run[name]:
            expected = f"{run[name]}, the value of the run in {log}"
            raise bad_value(flags_of(ProducerSettings)[name].name, given, expected)
    return run["run_id"], replace(settings, seed=run["seed"])
