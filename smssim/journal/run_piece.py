"""The piece of a producer's journal that identifies its run, and the check that the flags match that run.

Knows settings, and one piece of the journal. Must not know the other pieces, or when anything is written.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from smssim.core.pieces import pack, unpack
from smssim.errors import bad_value
from smssim.journal.sqlite import Journal
from smssim.settings import ProducerSettings, flags_of

OF_THE_RUN: Final = ("count", "seed", "max_attempts", "min_length", "max_length")  # settings that are fixed for a run


def run_piece(run_id: str, settings: ProducerSettings) -> bytes:
    """Return a piece with the id of a run, and the settings that determine its messages."""
    return pack({"run_id": run_id, **{name: getattr(settings, name) for name in OF_THE_RUN}})


def run_from(journal: Journal, settings: ProducerSettings) -> tuple[str, ProducerSettings]:
    """Return the id of the run in a journal, and the settings with the run's seed.

    Raises UsageError if a flag differs from the one that the run was started with, or DAMAGE.
    """
    run, _ = unpack(journal.pieces["run"])
    for name in OF_THE_RUN:
        given = getattr(settings, name)
        if given is not None and given != run[name]:
            raise bad_value(
                flags_of(ProducerSettings)[name].name,
                given,
                f"{run[name]}, the value of the run in journal {journal.path}",
            )
    return run["run_id"], replace(settings, seed=run["seed"])
