"""The record of a run: a Parquet file with a row for each outcome, written in row groups during the run.

A separate thread writes the rows from a bounded queue. Knows pyarrow, which is imported only if a record is requested.
Must not know how outcomes arrive. A file whose process was killed before closing it has no footer and can't be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import queue
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.lanes import Finished, pick
from smssim.core.limits import LIMITS, Limits
from smssim.core.message import PHONE_BYTES, Phones
from smssim.core.model import Outcome, RunFacts
from smssim.errors import UsageError, bad_file
from smssim.outputs.files import try_out
from smssim.outputs.protocol import Output
from smssim.process.logs import Log

FLAG: Final = "--record"

COLUMNS: Final = (
    *("run_id", "message_id", "phone_number", "sender", "attempt", "outcome", "duration_s", "latency_s", "at_s"),
)
OUTCOMES: Final = ("sent", "failed", "retry", "duplicate")  # in the order of Outcome, then what does not count
_DUPLICATE: Final = 3


def pyarrow(flag: str) -> Any:
    """Return pyarrow. Raises UsageError, which names the flag that needs it, if it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(f"{flag}: pyarrow is not installed: run pip install 'smssim[record]'") from error
    return pyarrow


def place(path: str, resumes: bool) -> str:
    """Return the path of the next part of a record.

    Parquet files can't be appended to. A run that resumes after a restart therefore writes `record.2.parquet` beside
    `record.parquet`, then `record.3.parquet`: the first path that does not exist or is an empty file.
    """
    root, extension = os.path.splitext(path)
    parts = (path if number == 1 else f"{root}.{number}{extension}" for number in itertools.count(1))
    return next(part for part in parts if not resumes or _is_free(part))


def _is_free(path: str) -> bool:
    return not Path(path).exists() or Path(path).stat().st_size == 0


def _new(path: str) -> BinaryIO:
    """Open a file that does not exist or is empty. Raises UsageError."""
    try:
        return open(path, "wb" if _is_free(path) else "xb")
    except (OSError, ValueError) as error:
        raise bad_file(FLAG, path, "a file that does not exist yet and can be written", error) from error


@dataclass(frozen=True, slots=True)
class _Rows:
    """The outcomes of one report."""

    run: RunFacts
    sender: str
    finished: Finished
    outcomes: NDArray[np.uint8]  # indices into OUTCOMES
    at_s: float

    def __len__(self) -> int:
        return len(self.finished)


class Recorder(Output):
    """The file of `--record`: every outcome that counts, and duplicates, which are marked.

    The file must not exist yet, or must be empty; with `resumes`, see `place`.
    """

    wants_outcomes = True
    ends_slowly = True

    def __init__(self, path: str, log: Log, resumes: bool = False, limits: Limits = LIMITS) -> None:
        self._given = path
        self._log = log
        self._resumes = resumes
        self._limits = limits
        self._path = ""  # set by `open`
        self._error: Exception | None = None  # what stopped the writer thread early
        self._queue: queue.SimpleQueue[_Rows | None] = queue.SimpleQueue()
        self._queued = 0
        self._written = 0  # set by the thread only
        self._thread: threading.Thread | None = None

    def check(self) -> None:
        """See Output."""
        pyarrow(FLAG)
        path = place(self._given, self._resumes)
        try_out(path, lambda: _new(path))

    def open(self) -> None:
        """See Output."""
        self._pa = pyarrow(FLAG)
        self._path = place(self._given, self._resumes)
        self._file = _new(self._path)
        if self._path != self._given:
            self._log.info(
                "%s: %s holds the outcomes before the restart; new outcomes go to %s", FLAG, self._given, self._path
            )
        self._thread = threading.Thread(target=self._write, name="record", daemon=True)
        self._thread.start()

    def outcomes(self, run: RunFacts, sender: str, finished: Finished, counts: NDArray[np.bool_], at_s: float) -> None:
        """See Output. A late retry of a message with a final outcome is not counted, and not recorded here."""
        outcomes = finished.outcomes - np.uint8(1)
        if not counts.all():
            final = finished.outcomes != Outcome.RETRY
            outcomes = np.where(counts, outcomes, np.uint8(_DUPLICATE))
            finished, outcomes = pick(finished, counts | final), outcomes[counts | final]
        if len(finished) and self._error is None:
            self._queued += len(finished)
            self._queue.put(_Rows(run, sender, finished, outcomes, at_s))

    async def ready(self) -> None:
        """See Output."""
        most = self._limits.record_queued_max
        while self._queued - self._written > most and self._error is None:  # noqa: ASYNC110 - the writer is a thread
            await asyncio.sleep(self._limits.record_poll_s)

    async def close(self) -> bool:
        """Write the queued rows and the footer, or remove an empty record. Return whether everything was written."""
        if self._thread is None:
            return True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        if self._error is None and not self._written:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        return self._error is None

    # -- in the thread

    def _write(self) -> None:
        try:
            with self._file, self._writer() as writer:
                group: list[_Rows] = []
                while (rows := self._queue.get()) is not None:
                    group.append(rows)
                    if sum(map(len, group)) >= self._limits.record_group_rows:
                        self._write_group(writer, group)
                if group:
                    self._write_group(writer, group)
        except (OSError, self._pa.ArrowException) as error:
            self._error = error
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            self._log.error("%s: stopped writing to %s, which is incomplete: %s", FLAG, self._path, reason)

    def _writer(self) -> Any:
        pa = self._pa
        word = pa.dictionary(pa.int32(), pa.string())
        kinds = (word, pa.int64(), pa.string(), word, pa.uint8(), word, pa.float32(), pa.float32(), pa.float64())
        few = ["run_id", "sender", "attempt", "outcome", "at_s"]
        return pa.parquet.ParquetWriter(
            self._file,
            pa.schema(list(zip(COLUMNS, kinds, strict=True))),
            compression="zstd",
            use_dictionary=few,
            column_encoding={"message_id": "DELTA_BINARY_PACKED"},
            write_statistics=["run_id", "message_id", "at_s"],
        )

    def _write_group(self, writer: Any, group: list[_Rows]) -> None:
        """Write these rows as one row group, and clear the list."""
        pa = self._pa
        sizes = [len(rows) for rows in group]
        ids = np.concatenate([rows.finished.ids for rows in group])
        columns = (
            self._words([rows.run.run_id for rows in group], sizes),
            ids,
            self._phones(group, ids),
            self._words([rows.sender for rows in group], sizes),
            np.concatenate([rows.finished.attempts for rows in group]),
            pa.DictionaryArray.from_arrays(
                np.concatenate([rows.outcomes for rows in group]).astype(np.int32), list(OUTCOMES)
            ),
            np.concatenate([rows.finished.durations_s for rows in group]),
            np.concatenate([rows.finished.latencies_s for rows in group]),
            np.repeat([rows.at_s for rows in group], sizes),
        )
        writer.write_table(pa.table(dict(zip(COLUMNS, columns, strict=True))), row_group_size=len(ids))
        group.clear()
        self._written += len(ids)

    def _words(self, words: list[str], sizes: list[int]) -> Any:
        """Return a column with each of these words repeated as often as `sizes` says."""
        places = {word: place for place, word in enumerate(dict.fromkeys(words))}
        indices = np.repeat(np.array([places[word] for word in words], np.int32), sizes)
        return self._pa.DictionaryArray.from_arrays(indices, list(places))

    def _phones(self, group: list[_Rows], ids: NDArray[np.int64]) -> Any:
        """Return the phone numbers of these messages as a string column."""
        seeds = np.repeat([rows.run.seed for rows in group], [len(rows) for rows in group])
        phones = np.empty(len(ids), f"V{PHONE_BYTES}")
        for seed in np.unique(seeds):
            of_run = seeds == seed
            phones[of_run] = _phones_of(int(seed)).column(ids[of_run])
        ends = np.arange(0, PHONE_BYTES * len(ids) + 1, PHONE_BYTES, dtype=np.int32)
        return self._pa.StringArray.from_buffers(len(ids), self._pa.py_buffer(ends), self._pa.py_buffer(phones))


_phones_of = lru_cache(4)(Phones)
