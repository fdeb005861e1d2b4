"""`smssim watch`: shows the runs of a monitor on any machine until the monitor ends.

Moves snapshots from gRPC to the outputs. Must not know other nodes.
"""

from __future__ import annotations

import asyncio

from grpc import aio

from smssim.core.course import Course
from smssim.core.event import Event, Kind
from smssim.core.limits import LIMITS, WATCH_INTERVAL_MIN_S, Limits
from smssim.core.snapshot import Snapshot
from smssim.core.watched import WatchedCourse, WatchedRuns
from smssim.errors import SmssimError
from smssim.net import access, rpc, watching
from smssim.net.connecting import Channels
from smssim.net.reconnecting import Peer
from smssim.outputs.opening import Outputs, open_outputs, wants_course
from smssim.process import program, terminal, waiting
from smssim.process.logs import Log, node_log
from smssim.settings import WatchSettings
from smssim.v1 import monitor_pb2, monitor_pb2_grpc


class WatchClient:
    """A client that shows the runs of one monitor, at one address or several."""

    def __init__(self, settings: WatchSettings, log: Log, met: bool = False, limits: Limits = LIMITS) -> None:
        """Connect to nothing yet; raises UsageError if the token may not be sent to the monitor."""
        self._settings = settings
        self._limits = limits
        self._log = log
        self._channels = Channels(access.load(settings), limits)
        self._monitor = Peer(
            "monitor", settings.monitor, self._channels.access, settings.give_up_s, log, limits, met=met
        )
        self._outputs = Outputs()  # replaced by `serve`
        self._detailed = wants_course(settings)
        self._courses: dict[str, WatchedCourse] = {}  # by run id, of the runs in progress
        self._runs = WatchedRuns()
        self._clock = asyncio.get_running_loop().time

    async def serve(self, stop: asyncio.Event) -> int:
        """Show runs until the monitor ends or this watcher is stopped, and return the worst of their exit codes.

        Raises GoneError, RefusedError or PeerError.
        """
        self._outputs = await open_outputs(self._settings, self._log, limits=self._limits, access=self._channels.access)
        try:
            await waiting.first_of(self._follow(), stop.wait())
        finally:
            await self._outputs.close()
            await self._channels.close()
        if not self._runs.are_over:
            self._log.info("Stopped before the run ended" if self._runs.any_in_progress else "No run seen")
        return self._runs.exit_code

    def say_stopping(self) -> None:
        """Show that the run is being stopped."""
        self._outputs.event(Event(self._runs.elapsed_s, Kind.STOPPING, "stopping the run"))

    async def _follow(self) -> None:
        interval_s = max(self._settings.interval_s, WATCH_INTERVAL_MIN_S)
        if self._detailed:
            interval_s = min(interval_s, self._limits.beat_max_s)
        while True:
            request = monitor_pb2.WatchProgressRequest(interval_s=interval_s, detailed=self._detailed)
            stub = monitor_pb2_grpc.MonitorServiceStub(self._channels.to(self._monitor))
            call = stub.WatchProgress(request, metadata=self._channels.access.metadata)
            try:
                await call.wait_for_connection()
                self._monitor.found()
                async for response in call:
                    if not terminal.has_reader():  # as with `| head` after its last line
                        return
                    with rpc.naming(self._monitor.name):
                        snapshot, course = watching.response_from_proto(rpc.decoded(response, "response"))
                    self._show(snapshot, course)
                self._runs.monitor_left()
                self._show_dropped()
                return
            except aio.AioRpcError as error:
                if self._runs.are_over:
                    return  # nothing more is expected
                await self._monitor.lost(error)
            finally:
                call.cancel()

    def _show(self, snapshot: Snapshot, course: Course | None) -> None:
        if not self._runs.see(snapshot):
            return
        run_id = snapshot.figures.run_id
        watched = self._courses.setdefault(run_id, WatchedCourse(self._settings.interval_s, self._limits))
        watched.see(snapshot, course)
        for event in self._runs.new_events():
            self._outputs.event(event)
        self._show_dropped()
        if snapshot.summary is not None:
            self._outputs.end(snapshot, self._courses.pop(run_id).course)
            return
        self._outputs.noted(snapshot, watched.course)
        shown = watched.to_show(snapshot, self._clock()) if self._detailed else snapshot
        if shown is not None:
            self._outputs.moment(shown)

    def _show_dropped(self) -> None:
        for run_id in self._runs.dropped():
            self._courses.pop(run_id, None)
            self._outputs.dropped(run_id)


def serve(settings: WatchSettings) -> int:
    """Watch a monitor to its end, and return the exit code."""

    async def main(stop: asyncio.Event) -> int:
        log = node_log("watch")
        try:
            return await WatchClient(settings, log).serve(stop)
        except SmssimError as error:
            log.error("%s", error)
            return error.exit_code

    return program.run(main, settings)
