"""The events of a run: each once, in order of time, at the monitor and after its restart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smssim.core.ending import Ending
from smssim.core.event import Event, Events, Kind
from smssim.core.exchange import RunEnd
from smssim.core.limits import EVENTS_MAX
from smssim.core.model import RunFacts
from smssim.core.pieces import DAMAGE, pack
from smssim.core.tally import Tally
from smssim.errors import ExitCode, TooLargeError

RUN = RunFacts("a run", seed=1, total=4, max_attempts=2)
KILLED = Event(5.0, Kind.KILLED, "city killed", RUN.run_id, "city")
RESTARTED = Event(7.0, Kind.RESTARTED, "city restarted", RUN.run_id, "city")

some_events = st.lists(
    st.builds(
        Event,
        st.sampled_from([0.0, 0.1, 2.5, 1e9]),
        st.sampled_from(Kind),
        st.sampled_from(["a", "b"]),
        st.just(RUN.run_id),
    )
)


@given(some_events)
def test_each_event_is_kept_once_in_order_of_time(given: list[Event]) -> None:
    events = Events(RUN.run_id)
    assert [events.add(event) for event in given] == [event not in given[:i] for i, event in enumerate(given)]
    assert set(events.all) == set(given)
    assert [event.at_s for event in events.all] == sorted(event.at_s for event in set(given))
    assert not any(map(events.add, given))


def test_a_run_has_a_largest_number_of_events() -> None:
    events = Events(RUN.run_id)
    for second in range(EVENTS_MAX):
        assert events.add(replace(KILLED, at_s=float(second)))
    with pytest.raises(TooLargeError, match="more than 500 events in one run"):
        events.add(RESTARTED)
    assert not events.add(replace(KILLED, at_s=0.0))  # on record
    assert len(events.all) == EVENTS_MAX


def test_saved_events_are_restored_and_written_only_when_they_have_changed() -> None:
    tally = Tally(RUN, 0.0)
    pieces = {name: piece for name, piece in tally.changes(1.0).items() if piece is not None}
    assert not any(name.startswith("events") for name in pieces)
    assert Tally.restored(pieces, 0.0).events.all == ()  # as from a journal that has none
    tally.events.add(RESTARTED)
    tally.events.add(KILLED)
    pieces |= {name: piece for name, piece in tally.changes(2.0).items() if piece is not None}
    assert "events/all" not in tally.changes(3.0)
    again = Tally.restored(pieces, 100.0)
    assert again.events.all == (KILLED, RESTARTED)
    assert not again.events.add(KILLED)
    assert "events/all" in tally.erased(4.0)


def test_damaged_events_are_damage() -> None:
    for piece in (
        b"",
        pack({}),
        pack({"events": [{"at_s": 1.0}]}),
        pack({"events": [{**KILLED.as_dict(), "kind": "?"}]}),
    ):
        with pytest.raises(DAMAGE):
            Events(RUN.run_id).restore({"all": piece})


def test_the_last_object_and_the_summary_of_a_run_have_its_events() -> None:
    tally = Tally(RUN, 0.0)
    tally.events.add(KILLED)
    figures = tally.figures(9.0)
    shown = tally.snapshot(figures, 9.0)
    said = [{"at_s": 5.0, "kind": "killed", "target": "city", "text": "city killed"}]
    never = dict.fromkeys(("50", "80", "95", "99"))
    assert shown.last_object() == {
        **figures.as_dict(),
        "events": said,
        "plan_reached_s": None,
        "reached_reachable_s": never,
    }
    tally.end = RunEnd(False, 0, 0)
    summary = tally.summary(figures, Ending(ExitCode.INCOMPLETE, ""), ())
    assert replace(shown, summary=summary).as_dict()["events"] == said
