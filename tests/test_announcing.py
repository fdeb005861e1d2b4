"""Events of a run that a program announces to a live monitor: recorded once, kept, and shown everywhere."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from grpc import aio
from nodes_support import BRIEF, Stage, codes, free_address, play, until

from smssim.core.event import Event, Kind
from smssim.core.snapshot import Snapshot
from smssim.net import watching
from smssim.net.announcing import announce
from smssim.nodes.producer_term import ProducerTerm
from smssim.process.logs import node_log
from smssim.v1 import monitor_pb2, monitor_pb2_grpc

pytestmark = pytest.mark.usefixtures("quiet")


def test_an_announced_event_reaches_every_output_and_watcher(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Also if it is announced before the monitor follows the run, and repeated."""
    summary = tmp_path / "summary.json"

    async def scene() -> Snapshot:
        async with Stage() as stage:
            monitor = await stage.monitor(summary_json=str(summary))
            producer = await stage.producer(300, monitor=monitor.address, linger=True)
            event = Event(0.5, Kind.KILLED, "city killed", producer.run.run_id, "city")
            log, access = node_log("run"), monitor.node.access
            early = asyncio.create_task(announce(monitor.address, access, event, log, 20.0))
            watching_from = asyncio.create_task(_snapshots(stage.channel(monitor.address)))
            sender = stage.sender(producer.address, mean_s=0.005)
            assert await early
            assert await announce(monitor.address, access, event, log, 20.0)
            assert await monitor.code() == 0
            seen = await watching_from
            assert (seen[0].events, seen[-1].events) == ((), (event,)) or seen[0].events == (event,)
            producer.stop.set()
            assert await codes(producer, sender) == [0, 0]
            return monitor.last(producer.run.run_id)

    last = play(scene())
    said = capfd.readouterr().out
    assert re.search(r"^   0.5 s  city killed$", said, re.MULTILINE)
    assert said.count("city killed") == 2  # between the rows, and in the summary
    (written,) = map(json.loads, summary.read_text().splitlines())
    assert written["events"] == [{"at_s": 0.5, "kind": "killed", "target": "city", "text": "city killed"}]
    assert [event.text for event in last.events] == ["city killed"]


async def _snapshots(channel: aio.Channel) -> list[Snapshot]:
    watch = monitor_pb2_grpc.MonitorServiceStub(channel).WatchProgress(monitor_pb2.WatchProgressRequest())
    return [watching.snapshot_from_proto(response) async for response in watch]


def test_an_event_that_the_monitor_refuses_or_never_records_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            event = Event(0.5, Kind.KILLED, "city killed", str(uuid.uuid4()), "city")
            log, access = node_log("run"), monitor.node.access
            assert not await announce(monitor.address, access, event, log, 0.2)
            assert not await announce(monitor.address, access, replace(event, text="x" * 201), log, 20.0)
            assert not await announce(free_address(), access, event, log, 0.2)

    play(scene())
    warnings = [record.getMessage() for record in caplog.records if "not recorded" in record.getMessage()]
    assert ["unreachable" in said for said in warnings] == [True, False, True]
    assert "text: expected printable text of at most 200 bytes" in warnings[1]


def test_an_event_that_is_announced_after_the_end_of_its_run_is_dropped_without_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(linger=True)
            producer = await stage.producer(20, monitor=monitor.address)
            assert await codes(stage.sender(producer.address), producer) == [0, 0]
            event = Event(0.5, Kind.KILLED, "city killed", producer.run.run_id, "city")
            await until(lambda: monitor.node.runs.followed[producer.run.run_id].final is not None)
            assert not await announce(monitor.address, monitor.node.access, event, node_log("run"), 20.0)

    play(scene())
    assert not any("not recorded" in message for message in caplog.messages)


@pytest.mark.parametrize("case", ["recorded", "stopped", "too late"])
def test_a_producer_that_has_taken_over_stays_for_a_while_until_that_is_on_record(
    monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    limits = replace(BRIEF, open_after_pause_s=0.3 if case == "too late" else 60.0)

    async def scene() -> None:
        is_on_record = asyncio.Event()
        monkeypatch.setattr(ProducerTerm, "_announce_takeover", lambda term: is_on_record.wait())
        async with Stage(limits) as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(20, monitor=monitor.address)
            assert await codes(stage.sender(producer.address), monitor) == [0, 0]
            await until(lambda: producer.node.term.core.left)
            await asyncio.sleep(0.1)
            assert not producer.ended.done()
            if case == "recorded":
                is_on_record.set()
            elif case == "stopped":
                producer.stop.set()
            assert await producer.code() == 0

    play(scene())


def test_a_monitor_knows_announced_events_after_a_restart(tmp_path: Path) -> None:
    """It answers only after the commit, so they survive even a kill; here, it is cancelled."""
    journal = str(tmp_path / "monitor.journal")

    async def scene() -> None:
        address = free_address()
        async with Stage() as stage:
            producer = await stage.producer(300, monitor=address)
            event = Event(0.5, Kind.KILLED, "monitor killed", producer.run.run_id, "monitor")
            sender = stage.sender(producer.address, mean_s=0.005)
            async with Stage() as first:
                monitor = await first.monitor(listen=address, journal=journal)
                assert await announce(address, monitor.node.access, event, node_log("run"), 20.0)
            again = await stage.monitor(listen=address, journal=journal)
            assert await codes(producer, sender, again) == [0] * 3
            assert again.last(producer.run.run_id).events == (event,)

    play(scene())
