"""The plan beside a run: on the wire, at a live monitor, in every output, and made by `smssim run`."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from nodes_support import Stage, codes, play
from processes_support import Node, Nodes
from view_support import figures, planned, snapshot

from smssim.core.history import History
from smssim.core.planned import POINTS_MAX, PlannedTime
from smssim.core.snapshot import Snapshot
from smssim.errors import ExitCode, PeerError
from smssim.launch.beside import _in_thread
from smssim.net import watching
from smssim.net.announcing import announce_plan
from smssim.net.planning import plan_from_proto, plan_to_proto
from smssim.outputs.terminal import plan_lines, summary
from smssim.outputs.terminal.display import Rows
from smssim.outputs.terminal.screen import RunView
from smssim.process.logs import node_log
from smssim.v1 import monitor_pb2, monitor_pb2_grpc


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as started:
        yield started


# -- on the wire


def test_a_plan_survives_the_wire() -> None:
    never = replace(planned(), reached_s={**planned().reached_s, 99: PlannedTime()}, complete_s=PlannedTime(9.5))
    for plan in (planned(), never):
        assert plan_from_proto(plan_to_proto(plan)) == plan


SPOILED: Final[tuple[Callable[[monitor_pb2.Plan], object], ...]] = (
    lambda plan: plan.ClearField("times_s"),
    lambda plan: plan.times_s.extend([11.0 + i for i in range(POINTS_MAX)]),
    lambda plan: plan.times_s.__setitem__(0, 0.1),
    lambda plan: plan.times_s.__setitem__(1, 9.5),
    lambda plan: plan.times_s.__setitem__(3, float("inf")),
    lambda plan: plan.sent.pop(),
    lambda plan: plan.sent.__setitem__(1, 901),
    lambda plan: plan.sent_low.__setitem__(1, 101),
    lambda plan: plan.sent_high.__setitem__(3, 2**63),
    lambda plan: plan.reached.pop(),
    lambda plan: plan.reached.add(percent=50),
    lambda plan: plan.reached[0].time.ClearField("low_s"),
    lambda plan: setattr(plan.complete, "median_s", 11.0),
    lambda plan: setattr(plan.complete, "low_s", -1.0),
    lambda plan: setattr(plan, "slack_s", float("nan")),
    lambda plan: setattr(plan, "seeds", 0),
)


@pytest.mark.parametrize("spoil", SPOILED, ids=map(str, range(len(SPOILED))))
def test_a_plan_that_makes_no_sense_is_refused(spoil: Callable[[monitor_pb2.Plan], object]) -> None:
    plan = plan_to_proto(planned())
    spoil(plan)
    with pytest.raises(PeerError):
        plan_from_proto(plan)


# -- at a live monitor


def test_an_announced_plan_reaches_watchers_and_outputs_and_the_first_one_stands(tmp_path: Path) -> None:
    written = tmp_path / "summary.json"

    async def scene() -> list[Snapshot]:
        async with Stage() as stage:
            monitor = await stage.monitor(summary_json=str(written))
            producer = await stage.producer(300, monitor=monitor.address)
            log, access, run_id = node_log("run"), monitor.node.access, producer.run.run_id
            stub = monitor_pb2_grpc.MonitorServiceStub(stage.channel(monitor.address))
            watch = stub.WatchProgress(monitor_pb2.WatchProgressRequest(interval_s=0.05))
            sender = stage.sender(producer.address, mean_s=0.005)
            for plan in (planned(), replace(planned(), seeds=7)):
                await announce_plan(monitor.address, access, run_id, plan, log, 20.0)
            seen = [watching.snapshot_from_proto(response) async for response in watch]
            assert await codes(producer, sender, monitor) == [0, 0, 0]
            return seen

    seen = play(scene())
    assert seen[-1].plan == planned()
    (last,) = map(json.loads, written.read_text().splitlines())
    assert last["plan_reached_s"] == {"50": 5.0, "80": 8.0, "95": 9.5, "99": 9.9}


# -- in the outputs


def test_plain_lines_say_when_a_run_leaves_its_plan_and_when_it_returns(capsys: pytest.CaptureFixture[str]) -> None:
    rows = Rows(several_runs=False)
    for at_s, behind_s in ((1.0, 0.0), (2.0, 0.8), (3.0, 1.1), (4.0, 0.0), (5.0, -2.0)):
        rows.moment(replace(snapshot(), figures=figures(100, 0, 1000, at_s), behind_s=behind_s), History())
    said = [line for line in capsys.readouterr().out.splitlines() if "plan" in line]
    assert said == [
        "   2.0 s  behind the plan by 0.8 s, more than chance explains",
        "   4.0 s  as planned again",
        "   5.0 s  ahead of the plan by 2.0 s, more than chance explains",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_view_shows_the_plan_beside_what_happened(width: int) -> None:
    seen = replace(snapshot(), plan=planned(), reached_s={50: 5.2}, behind_s=1.5)
    lines = [line.plain.rstrip() for line in RunView(seen, History()).lines(width, 40)]
    (plan,) = (line for line in lines if line.startswith("plan"))
    (actual,) = (line for line in lines if line.startswith("actual"))
    assert "50%  5.0 s" in plan
    assert "50%  5.2 s" in actual
    assert "Behind the plan by 1.5 s" in lines
    assert max(map(len, lines)) <= width


def test_a_run_without_a_plan_shows_none() -> None:
    assert plan_lines.beside(snapshot(), 80) == []
    assert not any("plan" in line for line in summary.page(snapshot(), 80))


# -- made by `smssim run`


def test_a_run_makes_its_plan_and_ends_about_as_planned(nodes: Nodes) -> None:
    run = nodes.start(
        "run",
        "--count=1500",
        "--seed=7",
        "--sender=mean=0.1,concurrency=20,fail=0.01",
        "--json",
        SMSSIM_RUN_NO_PLAN="false",
    )
    assert run.code() == ExitCode.OK
    plan = run.figures()[-1]["plan_reached_s"]
    assert plan["50"] == pytest.approx(3.8, rel=0.1)  # 750 of 200 a second, 1% of which fail
    assert plan["50"] < plan["80"] < plan["95"]
    assert all("plan_reached_s" not in one for one in run.figures()[:-1])


def test_work_in_a_thread_that_fails_after_it_was_cancelled_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise asyncio would log a traceback once the failure is collected."""
    began, cancelled = threading.Event(), threading.Event()

    def work(is_wanted: Callable[[], bool]) -> None:
        began.set()
        cancelled.wait()
        raise RuntimeError("a planted bug")

    async def scene() -> None:
        doing = asyncio.create_task(_in_thread(work))
        await asyncio.to_thread(began.wait)
        doing.cancel()
        asyncio.get_running_loop().call_soon(cancelled.set)
        with pytest.raises(asyncio.CancelledError):
            await doing

    play(scene())
    gc.collect()
    assert caplog.messages == []


def test_a_run_without_a_plan_says_null(nodes: Nodes) -> None:
    run = nodes.start("run", "--count=50", "--sender=mean=0.01", "--json", "--no-plan", SMSSIM_RUN_NO_PLAN="false")
    assert run.code() == ExitCode.OK
    assert run.figures()[-1]["plan_reached_s"] is None


def test_a_run_whose_sender_is_stopped_says_that_it_is_behind(nodes: Nodes) -> None:
    run = nodes.start(
        "run",
        "--count=1000",
        "--seed=7",
        "--interval=0.2",
        "--sender=mean=0.1,concurrency=20,name=it",
        SMSSIM_RUN_NO_PLAN="false",
    )
    plain(run, r"^ +\d\.\d s +[1-9]")  # a row with messages that are done
    (sender,) = (pid for pid in nodes.left() if b"\0sender\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(sender, signal.SIGSTOP)
    plain(run, r"behind the plan by .* more than chance explains")
    os.kill(sender, signal.SIGCONT)
    assert run.code() == ExitCode.OK


def plain(run: Node, pattern: str) -> None:
    """Wait until a line of the output matches."""
    run.until(lambda: any(re.search(pattern, line) for line in run.out), repr(pattern))
