"""The commands: the description, the settings and the entry function of each.

A command's flags are those of its settings. The code of a command is imported only when it runs, so that the help is
fast. May import every package. Must not know how the words of a command line become settings.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from smssim.settings import (
    BenchSettings,
    CertsSettings,
    Checked,
    Flag,
    HistorySettings,
    MonitorSettings,
    PlanSettings,
    PresetsSettings,
    ProducerSettings,
    ReportSettings,
    RunSettings,
    ScenarioSettings,
    SenderSettings,
    TraceSettings,
    WatchSettings,
)

Settings = TypeVar("Settings", bound=Checked)


@dataclass(frozen=True)
class Command:
    """One command of `smssim`."""

    name: str
    purpose: str  # what it does, in a sentence or two
    examples: tuple[str, ...]
    settings: type[Checked]
    serve: Callable[[Any], int]  # runs the command with these settings and returns the exit code

    @property
    def flags(self) -> Mapping[str, Flag]:
        """The flags of the command, by setting."""
        return self.settings.flags()


COMMANDS: Final[dict[str, Command]] = {}  # in the order of the help


def _command(settings: type[Settings], *examples: str) -> Callable[[Callable[[Settings], int]], None]:
    """Register the decorated function as a command; its docstring becomes the description."""

    def add(serve: Callable[[Settings], int]) -> None:
        name = serve.__name__
        COMMANDS[name] = Command(name, serve.__doc__ or "", examples, settings, serve)

    return add


@_command(
    ProducerSettings,
    "smssim producer --count 1000",
    "smssim producer --count 1e6 --seed 7 --max-attempts 3 --rate 50000",
)
def producer(settings: ProducerSettings) -> int:
    """Generate the messages of a run and deliver them to senders."""
    from smssim.nodes.producer import serve

    return serve(settings)


@_command(
    SenderSettings,
    "smssim sender --mean 0.5 --fail 0.1",
    "smssim sender --concurrency 1000 --producer 10.0.0.5:50051 --name big",
)
def sender(settings: SenderSettings) -> int:
    """Receive messages, simulate sending them and report the outcomes."""
    from smssim.nodes.sender import serve

    return serve(settings)


@_command(MonitorSettings, "smssim monitor --interval 5", "smssim monitor --interval 1 --json --linger")
def monitor(settings: MonitorSettings) -> int:
    """Count sent and failed messages and show the progress of the run."""
    from smssim.nodes.monitor import serve

    return serve(settings)


@_command(
    RunSettings,
    "smssim run",
    "smssim run --count 2000 --sender mean=0.05,fail=0.1,concurrency=4 --seed 7",
    "smssim run --sender mean=0.1 --sender mean=1,copies=50 --max-attempts 3",
    "smssim run --threshold 'failed<15%' --threshold 't80<20s' --summary-json summary.json",
    "smssim run docs/scenarios/bad-day.yaml --seed 7",
)
def run(settings: RunSettings) -> int:
    """Run everything on this machine: a producer, a monitor and senders, each in its own process."""
    from smssim.launch.cluster import serve

    return serve(replace(settings, monitor=replace(settings.monitor, command=_command_line())))


@_command(
    PlanSettings,
    "smssim plan --count 1e6 --sender name=city,mean=0.2,concurrency=100,copies=5 --goal 't95<20m'",
    "smssim plan docs/scenarios/bad-day.yaml --json --csv course.csv",
    "smssim plan docs/scenarios/calm.yaml --goal 't99<8s' --find city.concurrency=1..200",
)
def plan(settings: PlanSettings) -> int:
    """Predict in seconds what a run will show, by playing it in virtual time with many seeds."""
    from smssim.planner import serve

    return serve(replace(settings, command=_command_line()))


@_command(ScenarioSettings, "smssim scenario docs/scenarios/bad-day.yaml", "smssim scenario --schema")
def scenario(settings: ScenarioSettings) -> int:
    """Check a scenario file, or print the JSON schema of scenario files."""
    from smssim.cli.scenario import serve

    return serve(settings)


@_command(PresetsSettings, "smssim presets", "smssim presets us-shortcode", "smssim presets --json")
def presets(settings: PresetsSettings) -> int:
    """Show the presets of senders: limits, lanes, times and prices as providers publish them, with their sources."""
    from smssim.cli.presets import serve

    return serve(settings)


@_command(WatchSettings, "smssim watch", "smssim watch 10.0.0.5:50052 --interval 0.5", "smssim watch --json")
def watch(settings: WatchSettings) -> int:
    """Show the progress of a running monitor in another terminal. Several can watch at once."""
    from smssim.nodes.watch import serve

    return serve(settings)


@_command(
    ReportSettings,
    "smssim report summary.json",
    "smssim report before.json after.json --output comparison.html",
    "smssim report plan.json summary.json -o planned-and-actual.html",
    "smssim report 3f2a9c1e 7d3f1a52 --history runs",
)
def report(settings: ReportSettings) -> int:
    """Write a report of a run or a plan, or one that compares up to eight of them: one HTML file."""
    from smssim.outputs.report.command import serve

    return serve(settings)


@_command(HistorySettings, "smssim history runs", "smssim history runs --json")
def history(settings: HistorySettings) -> int:
    """List the runs that --history has kept, the latest first."""
    from smssim.outputs.kept.command import serve

    return serve(settings)


@_command(TraceSettings, "smssim trace outcomes.parquet 42", "smssim trace /tmp/outcomes.parquet 123456")
def trace(settings: TraceSettings) -> int:
    """Show all recorded attempts of one message."""
    from smssim.outputs.trace import serve

    return serve(settings)


@_command(BenchSettings, "smssim bench --quick", "smssim bench --case saturation --case idle --repeat 5 --json")
def bench(settings: BenchSettings) -> int:
    """Measure how fast smssim is on this machine, next to a plain asyncio program. Missing a target is not an error."""
    from smssim.bench.main import serve

    return serve(settings)


@_command(CertsSettings, "smssim certs pki", "smssim certs pki --host alpha --host 10.0.0.5")
def certs(settings: CertsSettings) -> int:
    """Create a test CA and certificates, to try out TLS."""
    from smssim.net.certs import serve

    return serve(settings)


def _command_line() -> str:
    """Return the command that started this program, as one types it."""
    return shlex.join(["smssim", *sys.argv[1:]])
