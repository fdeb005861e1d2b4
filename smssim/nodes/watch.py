"""The watcher: shows what a monitor on any machine shows, for as long as that runs.

Moves snapshots from gRPC to the view. Must not know other nodes.
"""

from __future__ import annotations

import asyncio

from grpc import aio

from smssim.core.event import Event, Kind
from smssim.core.snapshot import Snapshot
from smssim.errors import ExitCode, SmssimError, worst
from smssim.net import access, rpc, watching
from smssim.net.reconnecting import Peer
from smssim.outputs.opening import Outputs, open_outputs
from smssim.process import program, terminal, waiting
from smssim.process.logs import Log, node_log
from smssim.settings import WatchSettings
from smssim.v1 import monitor_pb2, monitor_pb2_grpc


class WatchClient:
    """Follows the runs of one monitor."""

    def __init__(self, settings: WatchSettings, log: Log, met: bool = False) -> None:
        self._settings = settings
        self._log = log
        self._access = access.load(settings)
        self._monitor = Peer("monitor", settings.monitor, self._access, settings.give_up_s, log, met=met)
        self._outputs = Outputs()  # until it serves
        self._elapsed_s = 0.0  # of the run that was shown last
        self._codes: list[int] = []  # of the runs that are over
        self._open: set[str] = set()  # ids of those that go on
        self._said: set[str] = set()  # ids of those whose end was shown

    async def serve(self, stop: asyncio.Event) -> int:
        """Shows runs until the monitor ends or this watcher is stopped; the worst of their exit codes.

        Raises GoneError, RefusedError or PeerError.
        """
        self._outputs = await open_outputs(self._settings, self._log)
        channel = rpc.channel(self._settings.monitor, self._access)
        try:
            await waiting.first_of(self._follow(channel), stop.wait())
        finally:
            await self._outputs.close()
            await channel.close()
        if self._open or not self._codes:
            self._log.info("stopped before the run was complete" if self._open else "no run was seen")
            return ExitCode.INCOMPLETE
        return worst(self._codes)

    def say_stopping(self) -> None:
        """Shows that the run is being stopped."""
        self._outputs.event(Event(self._elapsed_s, Kind.STOPPING, "the run is being stopped"))

    async def _follow(self, channel: aio.Channel) -> None:
        stub = monitor_pb2_grpc.MonitorServiceStub(channel)
        interval_s = max(self._settings.interval_s, watching.INTERVAL_MIN_S)
        while True:
            request = monitor_pb2.WatchProgressRequest(interval_s=interval_s)
            call = stub.WatchProgress(request, metadata=self._access.metadata)
            try:
                await call.wait_for_connection()
                self._monitor.found()
                async for response in call:
                    if not terminal.has_reader():  # as behind `| head`: whom else should it serve?
                        return
                    with rpc.naming(self._monitor.name):
                        snapshot = watching.snapshot_from_proto(rpc.decoded(response, "response"))
                    self._show(snapshot)
                return
            except aio.AioRpcError as error:
                if self._codes and not self._open:
                    return  # it has said all there was to say
                await self._monitor.lost(error)
            finally:
                call.cancel()

    def _show(self, snapshot: Snapshot) -> None:
        run_id, summary = snapshot.figures.run_id, snapshot.summary
        if run_id in self._said:
            return
        self._elapsed_s = snapshot.figures.elapsed_s
        self._open.add(run_id)
        if summary is None:
            self._outputs.moment(snapshot)
        else:
            self._open.discard(run_id)
            self._said.add(run_id)
            self._codes.append(summary.exit_code)
            self._outputs.end(snapshot)


def serve(settings: WatchSettings) -> int:
    """Watches a monitor to its end; the exit code."""

    async def main(stop: asyncio.Event) -> int:
        log = node_log("watch")
        try:
            return await WatchClient(settings, log).serve(stop)
        except SmssimError as error:
            log.error("%s", error)
            return error.exit_code

    return program.run(main, settings)
