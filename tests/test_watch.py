"""`smssim watch` with a fake monitor: which runs it shows, and when it drops one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from grpc import aio
from nodes_support import play, serving
from view_support import OTHER, RUN_ID, ended, idle

from smssim.core.history import History
from smssim.core.snapshot import Snapshot
from smssim.errors import ExitCode
from smssim.net import watching
from smssim.nodes import watch
from smssim.outputs.opening import Outputs
from smssim.outputs.protocol import Output
from smssim.process.logs import node_log
from smssim.settings import WatchSettings
from smssim.v1 import monitor_pb2, monitor_pb2_grpc


class Monitor(monitor_pb2_grpc.MonitorServiceServicer):
    """A fake monitor that sends these snapshots to each watcher and ends in order."""

    def __init__(self, *snapshots: Snapshot) -> None:
        self._snapshots = snapshots

    async def WatchProgress(
        self, request: monitor_pb2.WatchProgressRequest, context: object
    ) -> AsyncIterator[monitor_pb2.WatchProgressResponse]:
        for each in self._snapshots:
            yield watching.snapshot_to_proto(each)


class Shown(Output):
    """An output that notes the runs that are shown."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def moment(self, snapshot: Snapshot, history: History) -> None:
        self.said.append(("moment", snapshot.figures.run_id))

    def dropped(self, run_id: str) -> None:
        self.said.append(("dropped", run_id))

    def end(self, snapshot: Snapshot, history: History) -> None:
        self.said.append(("end", snapshot.figures.run_id))


def test_a_dropped_run_is_no_longer_shown_even_if_the_monitor_leaves_right_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Shown()

    async def open_outputs(*_: object, **_more: object) -> Outputs:
        return Outputs([shown])

    async def scene() -> int:
        server = aio.server()
        monitor = Monitor(idle(OTHER), ended())  # type: ignore[abstract]  # no sender reports here
        monitor_pb2_grpc.add_MonitorServiceServicer_to_server(monitor, server)
        async with serving(server) as address:
            return await watch.WatchClient(WatchSettings(monitor=address), node_log("watch")).serve(asyncio.Event())

    monkeypatch.setattr(watch, "open_outputs", open_outputs)
    assert play(scene()) == ExitCode.OK
    assert shown.said == [("moment", OTHER), ("end", RUN_ID), ("dropped", OTHER)]
