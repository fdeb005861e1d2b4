"""The state that the records of a log add up to: incomplete commits, gaps, and owners that were fenced off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smssim.core.log_record import Kind, Record, check_of, in_parts, packed
from smssim.core.log_store import Entry
from smssim.core.pieces import Changes
from smssim.core.replay import Replay


def chain(*commits: tuple[Kind, int, Changes, int]) -> list[Record]:
    """Return the records of commits, each with its kind, epoch, changes and the number of its parts that are kept."""
    records: list[Record] = []
    for kind, epoch, changes, kept in commits:
        for part, is_first, left in list(in_parts(packed(changes), 20))[:kept]:
            before = check_of(records[-1].encoded()) if records else 0
            number = len(records) + 1
            records.append(Record(kind, "a", f"w{epoch}", epoch, number, before, 0.0, left, is_first, body=part))
    return records


def read(records: list[Record]) -> Replay:
    replay = Replay()
    for sequence, record in enumerate(records, 1):
        replay.read(Entry(sequence, record.encoded()))
    return replay


ALL = 1000
TAKE_1: tuple[Kind, int, Changes, int] = (Kind.TAKE, 1, {}, ALL)
TAKE_2: tuple[Kind, int, Changes, int] = (Kind.TAKE, 2, {}, ALL)
CHANGES = st.dictionaries(st.sampled_from("abcd"), st.none() | st.binary(max_size=60), max_size=4)


@given(st.lists(CHANGES, max_size=8), CHANGES, st.lists(CHANGES, max_size=4))
def test_a_commit_without_its_last_part_never_counts(
    before: list[Changes], torn: Changes, after: list[Changes]
) -> None:
    parts = len(list(in_parts(packed(torn), 20)))
    wanted: dict[str, bytes] = {}
    for changes in before + after:
        wanted = {name: piece for name, piece in (wanted | changes).items() if piece is not None}
    records = chain(
        TAKE_1,
        *((Kind.CHANGES, 1, changes, ALL) for changes in before),
        (Kind.CHANGES, 1, torn, parts - 1),
        TAKE_2,
        *((Kind.CHANGES, 2, changes, ALL) for changes in after),
    )
    replay = read(records)
    assert (replay.broken, replay.pieces) == ("", wanted)


def test_a_gap_breaks_the_state_until_a_checkpoint_replaces_it() -> None:
    records = chain(
        TAKE_1,
        (Kind.CHANGES, 1, {"a": b"1"}, ALL),
        (Kind.CHANGES, 1, {"b": b"2"}, ALL),
        (Kind.STATE, 1, {"c": b"3"}, ALL),
    )
    torn = [records[0], *records[2:]]
    assert "is missing" in read(torn[:2]).broken
    replay = read(torn)
    assert (replay.broken, replay.pieces) == ("", {"c": b"3"})


def test_a_record_of_an_owner_that_was_fenced_off_never_counts() -> None:
    records = chain(TAKE_1, (Kind.CHANGES, 1, {"a": b"1"}, ALL), TAKE_2)
    late = Record(
        Kind.CHANGES, "a", "w1", 1, len(records) + 1, check_of(records[-1].encoded()), 0.0, body=packed({"a": b"2"})
    )
    replay = read([*records, late])
    assert "did not own the log" in replay.broken
    assert replay.pieces == {"a": b"1"}


def test_a_record_with_changed_bytes_breaks_the_state() -> None:
    data = bytearray(chain(TAKE_1)[0].encoded())
    data[-2] ^= 1
    replay = Replay()
    replay.read(Entry(1, bytes(data)))
    assert "checksum" in replay.broken
