"""Conversion of columns to protobuf and back, and all validation of what a peer sends.

Values that leave this module are safe for the core: columns agree in length, ids are below the total, enumerations and
times are in range. Anything else raises PeerError before any of it is applied.
"""

from __future__ import annotations

import uuid
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.exchange import Answer, Delivery, Report, Request, RunEnd, RunOffer, Settlements
from smssim.core.fault import slowdown_max
from smssim.core.lanes import Finished
from smssim.core.limits import (
    ATTEMPTS_MAX,
    BURST_MAX,
    CONCURRENCY_MAX,
    COUNT_MAX,
    NAME_BYTES_MAX,
    PRICE_MAX,
    RATE_MAX_PER_S,
    RATE_MIN_PER_S,
    SEED_MAX,
    SEGMENTS_MAX,
    SLOWDOWN_MAX,
    TIME_MAX_S,
)
from smssim.core.message import Content
from smssim.core.model import Outcome, RunFacts, SenderFacts
from smssim.core.queue import Batch
from smssim.core.segments import CHARACTERS_MAX, segments_of
from smssim.errors import PeerError, VersionError
from smssim.escaping import escape, quote
from smssim.settings import SenderSettings, addresses_words, are_addresses
from smssim.v1 import monitor_pb2, producer_pb2, run_pb2

PROTOCOL: Final = 1
ELAPSED_MAX_S: Final = 1e12  # longer than any run; small enough that latencies fit in float32

_U8: Final = np.dtype("u1")
_I64: Final = np.dtype("<i8")  # ids travel as u64 and stay below 2^63
_F32: Final = np.dtype("<f4")


def _column(name: str, data: bytes, kind: np.dtype[Any], count: int | None = None) -> NDArray[Any]:
    """Return a read-only view of a column; raises PeerError unless it has `count` elements (if given)."""
    if len(data) % kind.itemsize or (count is not None and len(data) != count * kind.itemsize):
        wanted = "a whole number of" if count is None else f"{count}"
        raise PeerError(f"{name}: got {len(data)} bytes; expected {wanted} elements of {kind.itemsize} bytes")
    return np.frombuffer(data, kind)


def _ids(name: str, data: bytes, total: int) -> NDArray[np.int64]:
    ids = _column(name, data, _I64)
    if len(ids) and (ids.min() < 0 or ids.max() >= total):
        raise PeerError(f"{name}: an id is not below the total of {total}")
    return ids


def _range(name: str, column: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """Return the column; raises PeerError unless all its elements are from `low` to `high`. NaN never is."""
    if len(column) and not (column.min() >= low and column.max() <= high):
        raise PeerError(f"{name}: an element is out of range; expected {low:g} to {high:g}")
    return column


def _times(name: str, data: bytes, count: int) -> NDArray[np.float32]:
    """Return a column of times in seconds; raises PeerError unless they are 0 or more and finite. -0 becomes 0."""
    return _range(name, _column(name, data, _F32, count), 0, 1e38) + np.float32(0)


def number(name: str, got: float, low: float, high: float) -> None:
    """Raise PeerError unless this number is from `low` to `high`."""
    if not low <= got <= high:
        raise PeerError(f"{name}: got {got:g}; expected {low:g} to {high:g}")


def uuid_of(name: str, text: str) -> str:
    """Return the text; raises PeerError unless it is a UUID."""
    try:
        if len(text) == 36 and str(uuid.UUID(text)) == text:
            return text
    except ValueError:
        pass
    raise PeerError(f"{name}: expected a UUID in its 36-character form")


# -- runs and senders


def run_to_proto(run: RunFacts) -> run_pb2.Run:
    """Return the run as a message."""
    return run_pb2.Run(
        run_id=run.run_id,
        seed=run.seed,
        total=run.total,
        max_attempts=run.max_attempts,
        unreachable=run.unreachable,
        segments=0 if run.segments == 1 else run.segments,
    )


def run_from_proto(run: run_pb2.Run) -> RunFacts:
    """Return the run that a message describes; raises PeerError."""
    number("total", run.total, 0, COUNT_MAX)
    number("seed", run.seed, 0, SEED_MAX)
    number("max_attempts", run.max_attempts, 1, ATTEMPTS_MAX)
    number("unreachable", run.unreachable, 0, 1)
    number("segments", run.segments, 0, SEGMENTS_MAX)
    return RunFacts(
        uuid_of("run_id", run.run_id), run.seed, run.total, run.max_attempts, run.unreachable, run.segments or 1
    )


def offer_to_proto(offer: RunOffer) -> producer_pb2.RunOffer:
    """Return the offer of a run as a message."""
    return producer_pb2.RunOffer(run=run_to_proto(offer.run), monitor=offer.monitor, text=offer.text)


def offer_from_proto(message: producer_pb2.RunOffer) -> RunOffer:
    """Return what a producer offers; raises PeerError."""
    if not are_addresses(message.monitor, port_min=1):
        raise PeerError(f"monitor: got {quote(message.monitor)}; expected {addresses_words(port_min=1)}")
    run, text = run_from_proto(message.run), message.text
    if len(text) > CHARACTERS_MAX:
        raise PeerError(f"text: got {len(text):,} characters; expected at most {CHARACTERS_MAX:,}")
    if text and (found := segments_of(text).segments) != run.segments:
        raise PeerError(f"text: got {found} segments; expected {run.segments}, as the run has")
    return RunOffer(run, message.monitor, text)


def sender_to_proto(session_id: str, name: str, settings: SenderSettings) -> run_pb2.Sender:
    """Return a sender as it introduces itself to its peers."""
    return run_pb2.Sender(
        session_id=session_id,
        name=name,
        mean_s=settings.mean_s,
        std_s=settings.std_s or 0.0,
        distribution=settings.distribution,
        failure_rate=settings.fail,
        concurrency=settings.concurrency,
        slowdown=slowdown_max(settings.faults),
        limit_per_s=settings.limit_per_s or 0.0,
        burst=0 if settings.limit_per_s is None else settings.burst,
        price=settings.price,
        price_failed=settings.price_failed,
    )


def sender_from_proto(sender: run_pb2.Sender) -> SenderFacts:
    """Return how a sender introduces itself, with its name in printable characters; raises PeerError."""
    check_sender(sender)
    return SenderFacts(
        sender.session_id,
        escape(sender.name),
        sender.mean_s,
        sender.failure_rate,
        sender.concurrency,
        sender.slowdown or 1.0,
        sender.limit_per_s or None,
        sender.burst or 1,
        sender.price,
        sender.price_failed,
    )


def check_sender(sender: run_pb2.Sender) -> None:
    """Raise PeerError unless a sender may introduce itself like this."""
    uuid_of("session_id", sender.session_id)
    if len(sender.name.encode()) > NAME_BYTES_MAX:
        raise PeerError(f"name: expected at most {NAME_BYTES_MAX} bytes")
    if len(sender.distribution.encode()) > NAME_BYTES_MAX:
        raise PeerError(f"distribution: expected at most {NAME_BYTES_MAX} bytes")
    number("mean_s", sender.mean_s, 0, TIME_MAX_S)
    number("std_s", sender.std_s, 0, TIME_MAX_S)
    number("failure_rate", sender.failure_rate, 0, 1)
    number("concurrency", sender.concurrency, 1, CONCURRENCY_MAX)
    if sender.slowdown:
        number("slowdown", sender.slowdown, 1, SLOWDOWN_MAX)
    if sender.limit_per_s:
        number("limit_per_s", sender.limit_per_s, RATE_MIN_PER_S, RATE_MAX_PER_S)
    number("burst", sender.burst, 0, BURST_MAX)
    number("price", sender.price, 0, PRICE_MAX)
    number("price_failed", sender.price_failed, 0, PRICE_MAX)


def check_hello(hello: producer_pb2.Hello) -> None:
    """Raise VersionError unless the sender uses this version of the protocol, and PeerError if it is invalid."""
    if hello.protocol != PROTOCOL:
        raise VersionError(f"unsupported protocol version {hello.protocol}; this producer supports version {PROTOCOL}")
    check_sender(hello.sender)


# -- the producer's stream


def request_to_proto(request: Request) -> producer_pb2.FetchMessageRequest:
    """Return a sender's request as a message."""
    message = producer_pb2.FetchMessageRequest(
        credit=request.credit,
        idle_lanes=request.idle_lanes,
        received=request.received,
        leaving=request.leaving,
        held=request.held,
    )
    if request.settlements is not None:
        message.settlements.message_ids = request.settlements.ids.tobytes()
        message.settlements.outcomes = request.settlements.outcomes.tobytes()
        message.settlements.attempts = request.settlements.attempts.tobytes()
    if request.handed_back is not None:
        message.handed_back_ids = request.handed_back.tobytes()
    return message


def request_from_proto(message: producer_pb2.FetchMessageRequest, run: RunFacts) -> Request:
    """Return a sender's request; raises PeerError."""
    settlements = handed_back = None
    if message.HasField("settlements"):
        ids = _ids("settlements.message_ids", message.settlements.message_ids, run.total)
        outcomes = _column("settlements.outcomes", message.settlements.outcomes, _U8, len(ids))
        attempts = _column("settlements.attempts", message.settlements.attempts, _U8, len(ids))
        _range("settlements.outcomes", outcomes, Outcome.SENT, Outcome.RETRY)
        settlements = Settlements(ids, outcomes, _range("settlements.attempts", attempts, 1, run.max_attempts))
    if message.handed_back_ids:
        handed_back = _ids("handed_back_ids", message.handed_back_ids, run.total)
    idle_lanes = message.idle_lanes if message.HasField("idle_lanes") else None
    held = message.held if message.HasField("held") else None
    return Request(message.credit, idle_lanes, message.received, settlements, handed_back, message.leaving, held)


def batch_to_bytes(
    batch: Batch, content: Content, queued_s: NDArray[np.float32], elapsed_s: float, settled: int
) -> bytes:
    """Return an encoded FetchMessageResponse that carries these messages; `queued_s` is f32 of shape (n,).

    Protobuf would copy each column into a message, that message into another, and all of it into bytes, which takes
    18 ns per message; this function takes 2. It relies on two guarantees of the encoding: fields may come in any order,
    and the bytes of a message are the bytes of its fields, one after another.
    """
    columns = (
        (producer_pb2.Batch.MESSAGE_IDS_FIELD_NUMBER, batch.ids.data),
        (producer_pb2.Batch.PHONE_NUMBERS_FIELD_NUMBER, content.phone_numbers),
        (producer_pb2.Batch.TEXT_LENGTHS_FIELD_NUMBER, content.text_lengths),
        (producer_pb2.Batch.TEXTS_FIELD_NUMBER, content.texts),
        (producer_pb2.Batch.QUEUED_S_FIELD_NUMBER, queued_s.data),
    )
    scalars = producer_pb2.Batch(attempt=batch.attempt, elapsed_s=elapsed_s).SerializeToString()
    parts = [memoryview(scalars)]
    for number, column in columns:
        view = memoryview(column)
        parts += (memoryview(_prefix(number, view.nbytes)), view)
    head = _prefix(producer_pb2.FetchMessageResponse.BATCH_FIELD_NUMBER, sum(part.nbytes for part in parts))
    return b"".join((producer_pb2.FetchMessageResponse(settled=settled).SerializeToString(), head, *parts))


def _prefix(number: int, length: int) -> bytes:
    """Return what precedes the bytes of a field of this length: https://protobuf.dev/programming-guides/encoding."""
    return _varint(number << 3 | 2) + _varint(length)


def _varint(value: int) -> bytes:
    """Encode a number with seven bits per byte, the lowest first; all bytes except the last have the high bit set."""
    more = bytearray()
    while value > 0x7F:
        more.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*more, value])


def batch_from_proto(batch: producer_pb2.Batch, run: RunFacts, has_texts: bool = True) -> Delivery:
    """Return the messages that the producer delivers; raises PeerError. `has_texts`: unless the offer has the text."""
    ids = _ids("message_ids", batch.message_ids, run.total)
    _column("phone_numbers", batch.phone_numbers, np.dtype("V12"), len(ids))
    lengths = _column("text_lengths", batch.text_lengths, _U8, len(ids) if has_texts else 0)
    if int(lengths.sum(dtype=np.int64)) != len(batch.texts):
        raise PeerError("texts: their length is not the sum of text_lengths")
    queued_s = _column("queued_s", batch.queued_s, _F32, len(ids))
    number("attempt", batch.attempt, 1, run.max_attempts)
    number("elapsed_s", batch.elapsed_s, 0, ELAPSED_MAX_S)
    return Delivery(ids, batch.attempt, _range("queued_s", queued_s, 0, ELAPSED_MAX_S), batch.elapsed_s)


def texts_of(batch: producer_pb2.Batch, count: int, text: str = "") -> dict[int, tuple[str, str]]:
    """Return phone number and text of the first `count` messages of a batch, by id.

    `text`: that of the offer. Assumes that `batch_from_proto` has accepted the batch.
    """
    numbers = batch.phone_numbers[: 12 * count].decode("ascii", "replace")
    ids = np.frombuffer(batch.message_ids[: 8 * count], _I64).tolist()
    if text:
        texts = [text] * len(ids)
    else:
        ends = np.cumsum(np.frombuffer(batch.text_lengths[:count], _U8), dtype=np.int64).tolist()
        given = batch.texts[: ends[-1] if ends else 0].decode("ascii", "replace")
        texts = [given[begin:end] for begin, end in pairwise([0, *ends])]
    return {number: (numbers[12 * i : 12 * i + 12], texts[i]) for i, number in enumerate(ids)}


def end_to_proto(end: RunEnd) -> run_pb2.RunEnd:
    """Return the producer's totals as a message."""
    return run_pb2.RunEnd(complete=end.complete, sent=end.sent, failed=end.failed, redelivered=end.redelivered)


def end_from_proto(end: run_pb2.RunEnd) -> RunEnd:
    """Return the producer's totals."""
    return RunEnd(end.complete, end.sent, end.failed, end.redelivered)


# -- reports


def report_to_proto(report: Report, run: run_pb2.Run, sender: run_pb2.Sender) -> monitor_pb2.ReportResultRequest:
    """Return a sender's report as a message."""
    finished = report.finished
    message = monitor_pb2.ReportResultRequest(
        run=run,
        sender=sender,
        sequence=report.sequence,
        message_ids=finished.ids.tobytes(),
        outcomes=finished.outcomes.tobytes(),
        attempts=finished.attempts.tobytes(),
        durations_s=finished.durations_s.tobytes(),
        latencies_s=finished.latencies_s.tobytes(),
        in_flight=report.in_flight,
        held=report.held,
        elapsed_s=report.elapsed_s,
        cut_off=report.cut_off,
    )
    if report.goodbye:
        end = None if report.end is None else end_to_proto(report.end)
        message.goodbye.CopyFrom(monitor_pb2.Goodbye(end=end))
    return message


def report_from_proto(message: monitor_pb2.ReportResultRequest, run: RunFacts) -> Report:
    """Return a sender's report; raises PeerError."""
    ids = _ids("message_ids", message.message_ids, run.total)
    outcomes = _column("outcomes", message.outcomes, _U8, len(ids))
    attempts = _column("attempts", message.attempts, _U8, len(ids))
    durations_s = _times("durations_s", message.durations_s, len(ids))
    latencies_s = _times("latencies_s", message.latencies_s, len(ids))
    _range("outcomes", outcomes, Outcome.SENT, Outcome.RETRY)
    _range("attempts", attempts, 1, run.max_attempts)
    number("sequence", message.sequence, 1, 2**63)
    number("in_flight", message.in_flight, 0, COUNT_MAX)
    number("held", message.held, 0, COUNT_MAX)
    if message.HasField("elapsed_s"):
        number("elapsed_s", message.elapsed_s, 0, ELAPSED_MAX_S)
    goodbye = message.HasField("goodbye")
    return Report(
        sequence=message.sequence,
        finished=Finished(ids, attempts, outcomes, durations_s, latencies_s),
        in_flight=message.in_flight,
        held=message.held,
        elapsed_s=message.elapsed_s if message.HasField("elapsed_s") else None,
        cut_off=message.cut_off,
        goodbye=goodbye,
        end=end_from_proto(message.goodbye.end) if goodbye and message.goodbye.HasField("end") else None,
    )


def answer_to_proto(answer: Answer) -> monitor_pb2.ReportResultResponse:
    """Return the monitor's answer to a report as a message."""
    return monitor_pb2.ReportResultResponse(
        accepted=answer.accepted,
        duplicates=answer.duplicates,
        overruled_ids=answer.overruled_ids.tobytes(),
        overruled_outcomes=answer.overruled_outcomes.tobytes(),
        wait_s=answer.wait_s,
        end=None if answer.end is None else end_to_proto(answer.end),
    )


def answer_from_proto(message: monitor_pb2.ReportResultResponse, run: RunFacts) -> Answer:
    """Return the monitor's answer to a report; raises PeerError."""
    ids = _ids("overruled_ids", message.overruled_ids, run.total)
    outcomes = _column("overruled_outcomes", message.overruled_outcomes, _U8, len(ids))
    _range("overruled_outcomes", outcomes, Outcome.SENT, Outcome.FAILED)
    number("wait_s", message.wait_s, 0, 1e6)
    end = end_from_proto(message.end) if message.HasField("end") else None
    return Answer(message.accepted, message.duplicates, ids, outcomes, message.wait_s, end)
