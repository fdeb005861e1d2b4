"""The run of a producer: a new one, or the one that a piece of the state identifies, whose flags must match.

Knows settings, and one piece. Must not know the other pieces, or when anything is written.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from smssim.core.model import RunFacts
from smssim.core.pieces import DAMAGE, Pieces, pack, unpack
from smssim.errors import bad_value
from smssim.settings import ProducerSettings, flags_of

OF_THE_RUN: Final = (  # settings that are fixed for a run
    *("count", "seed", "max_attempts", "min_length", "max_length", "unreachable"),
)
SEED_BITS: Final = 32  # of a random seed: short enough to type again


def new_run(settings: ProducerSettings) -> tuple[str, ProducerSettings]:
    """Return the id of a new run, and the settings with its seed, which is random if none is given."""
    seed = secrets.randbits(SEED_BITS) if settings.seed is None else settings.seed
    return str(uuid.uuid4()), replace(settings, seed=seed)


def run_facts(run_id: str, settings: ProducerSettings) -> RunFacts:
    """Return what identifies a run with these settings. Assumes that they have a seed."""
    assert settings.seed is not None
    return RunFacts(
        run_id, settings.seed, settings.count, settings.max_attempts, settings.unreachable, settings.segments
    )


def run_piece(run_id: str, settings: ProducerSettings) -> bytes:
    """Return a piece with the id of a run, and the settings that determine its messages."""
    return pack({"run_id": run_id, **_of_the_run(settings), "text": settings.text})


def about_run(settings: ProducerSettings) -> str:
    """Return the settings that determine the messages of a run, for `check_about`."""
    return json.dumps(_of_the_run(settings))


def run_from(pieces: Pieces, log: str, settings: ProducerSettings) -> tuple[str, ProducerSettings]:
    """Return the id of the run on record, and the settings with the run's seed and text.

    `log`: the name of the log, for errors. Raises UsageError if a flag differs from the one that the run was started
    with, or DAMAGE.
    """
    run, _ = unpack(pieces["run"])
    _check(run, log, settings)
    return run["run_id"], replace(settings, seed=run["seed"], text=run.get("text"))


def check_about(about: str, log: str, settings: ProducerSettings) -> None:
    """Raise UsageError if a flag differs from what the owner of the run says about it."""
    with suppress(*DAMAGE):  # of another version: the check follows when this node takes the run
        _check(json.loads(about), log, settings)


def _of_the_run(settings: ProducerSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in OF_THE_RUN} | {"text_digest": _digest(settings.text)}


def _digest(text: str | None) -> str | None:
    """Return what stands for a text, which is too long for each record of a log."""
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()[:32]


def _check(run: Mapping[str, Any], log: str, settings: ProducerSettings) -> None:
    for name in OF_THE_RUN:
        given, flag = getattr(settings, name), flags_of(ProducerSettings)[name]
        on_record = run.get(name, flag.default)  # a run of an earlier version may lack it
        if given is not None and given != on_record:
            raise bad_value(flag.name, given, f"{on_record}, the value in {log}")
    digest = run.get("text_digest")  # a run of an earlier version has none: its texts are random
    if settings.text is not None and _digest(settings.text) != digest:
        expected = f"no --text: the texts in {log} are random" if digest is None else f"the text in {log}, or no --text"
        raise bad_value("--text", settings.text, expected)
