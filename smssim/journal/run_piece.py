"""The run of a producer: a new one, or the one that a piece of the state identifies, whose flags must match.

Knows settings, and one piece. Must not know the other pieces, or when anything is written.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from smssim.core.pieces import DAMAGE, Pieces, pack, unpack
from smssim.errors import bad_value
from smssim.settings import ProducerSettings, flags_of

OF_THE_RUN: Final = ("count", "seed", "max_attempts", "min_length", "max_length")  # settings that are fixed for a run
SEED_BITS: Final = 32  # of a random seed: short enough to type again


def new_run(settings: ProducerSettings) -> tuple[str, ProducerSettings]:
    """Return the id of a new run, and the settings with its seed, which is random if none is given."""
    seed = secrets.randbits(SEED_BITS) if settings.seed is None else settings.seed
    return str(uuid.uuid4()), replace(settings, seed=seed)


def run_piece(run_id: str, settings: ProducerSettings) -> bytes:
    """Return a piece with the id of a run, and the settings that determine its messages."""
    return pack({"run_id": run_id, **_of_the_run(settings)})


def about_run(settings: ProducerSettings) -> str:
    """Return the settings that determine the messages of a run, for `check_about`."""
    return json.dumps(_of_the_run(settings))


def run_from(pieces: Pieces, log: str, settings: ProducerSettings) -> tuple[str, ProducerSettings]:
    """Return the id of the run on record, and the settings with the run's seed.

    `log`: the name of the log, for errors. Raises UsageError if a flag differs from the one that the run was started
    with, or DAMAGE.
    """
    run, _ = unpack(pieces["run"])
    _check(run, log, settings)
    return run["run_id"], replace(settings, seed=run["seed"])


def check_about(about: str, log: str, settings: ProducerSettings) -> None:
    """Raise UsageError if a flag differs from what the owner of the run says about it."""
    with suppress(*DAMAGE):  # of another version: the check follows when this node takes the run
        _check(json.loads(about), log, settings)


def _of_the_run(settings: ProducerSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in OF_THE_RUN}


def _check(run: Mapping[str, Any], log: str, settings: ProducerSettings) -> None:
    for name in OF_THE_RUN:
        given = getattr(settings, name)
        if given is not None and given != run[name]:
            expected = f"{run[name]}, the value in {log}"
            raise bad_value(flags_of(ProducerSettings)[name].name, given, expected)
