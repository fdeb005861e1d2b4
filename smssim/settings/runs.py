"""The settings of the commands that have a whole run: `smssim run`, and `smssim plan`, which plays it in virtual time.

Knows which flags of nodes these commands have, to which nodes their values go, and what a scenario file and the flags
beside it say together. Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

from smssim.core.fault import Fault, FaultKind
from smssim.core.threshold import Threshold
from smssim.errors import UsageError, bad_value
from smssim.settings.addresses import FREE_ADDRESS
from smssim.settings.faults import SERVERS, check_faults, targets
from smssim.settings.find import FIND, Find
from smssim.settings.flags import Checked, Flag, argument, flag, flags_of, like, switch
from smssim.settings.monitor import FAILED_PURPOSE, MonitorSettings, check_different
from smssim.settings.page import COMMAND_VARIABLE, TITLE_CHARACTERS_MAX
from smssim.settings.producer import ProducerSettings
from smssim.settings.rules import Rule, text, whole
from smssim.settings.scenario_file import MESSAGE_FLAGS, SCENARIO_EXPECTED, ScenarioFile, read_scenario
from smssim.settings.sender import SenderSettings
from smssim.settings.senders import (
    RUN_COUNT,
    RUN_SENDERS,
    SENDER_EXPECTED,
    about_keys,
    check_no_spans,
    check_senders,
    parse_sender,
    sender_names,
    spans_of,
)
from smssim.settings.shared import NodeSettings
from smssim.settings.span import Span

if TYPE_CHECKING:
    from smssim.plan.scenario import Scenario

SEEDS_MAX: Final = 10_000
SPANS_MAX: Final = 8  # senders with a range of copies: the search looks at combinations of them

_DIFFERS: Final[Mapping[str, Mapping[str, Any]]] = {  # differences from the flags of nodes
    "count": {
        "default": None,
        "unset": f"{RUN_COUNT}, or {ProducerSettings.count} with --sender or a scenario's senders",
    },
    "interval_s": {"default": 1.0},
    "failed": {"purpose": FAILED_PURPOSE},
    "log_level": {"purpose": "Lowest level to log (debug includes the full logs of all nodes)"},
}
_PANELS: Final = (  # in this order
    *("", "Messages", "Senders", "Delivery", "Plan", "Output", "Ending", "Crashes", "Security"),
)

Server = TypeVar("Server", ProducerSettings, MonitorSettings)


@dataclass(frozen=True)
class RunSettings(Checked):
    """`smssim run`: one producer, one monitor and these senders, each in its own process.

    The log settings of the run are those of the monitor.
    """

    producer: ProducerSettings
    monitor: MonitorSettings
    senders: tuple[SenderSettings, ...] = flag(
        (),
        Rule(SENDER_EXPECTED, parse_sender, lambda got: isinstance(got, SenderSettings)),
        "SPEC",
        "Senders",
        "Settings of one sender (repeatable)",
        unset="those of the scenario, or four different senders",
        word="sender",
    )
    journal: str | None = like(  # the directory of the journals of the producer and the monitor
        ProducerSettings,
        "journal",
        metavar="DIR",
        purpose="Save the run's state in this directory and resume from it after a crash",
    )
    scenario: str | None = argument(
        None,
        text(SCENARIO_EXPECTED, bool),
        "[SCENARIO]",
        "File that says what is sent, by which senders, and what goes wrong when; flags beside it take precedence",
        unset="no file",
    )
    insecure: bool = switch("Security", "Allow --web-listen to serve the page to other machines without TLS.")
    no_plan: bool = switch("Plan", "Make no plan of the run to compare it with.")
    faults: tuple[Fault, ...] = ()  # of the scenario; has no flag

    def __post_init__(self) -> None:
        super().__post_init__()
        check_senders(self.senders)
        check_faults(self.faults, self.senders)
        if self.scenario is not None:
            self.monitor.check_files(scenario=self.scenario)

    @classmethod
    def flags(cls) -> Mapping[str, Flag]:
        """Return its own flags, and the flags of nodes that a run has too."""
        of_all = flags_of(NodeSettings)
        of_one = [*flags_of(ProducerSettings).items(), *flags_of(MonitorSettings).items()]
        of_nodes = [*((setting, flag) for setting, flag in of_one if setting not in of_all), *of_all.items()]
        return _arranged({setting: flag for setting, flag in of_nodes if flag.in_run} | dict(flags_of(cls)))

    @classmethod
    def from_flags(cls, given: Mapping[str, Any], token: str | None, *, spans: bool = False) -> Self:
        """Return the settings for these values of flags: each value goes to every node that has the flag.

        `spans`: whether copies may be ranges, which can't be run. Raises UsageError.
        """
        values, senders, faults = _with_scenario(cls.flags(), given, "threshold")
        if not spans:
            check_no_spans(senders)
        producer = _node(ProducerSettings, values, token)
        monitor = _node(MonitorSettings, values, token, insecure=values["insecure"])
        of_all = {setting: value for setting, value in values.items() if setting in flags_of(NodeSettings)}
        senders = tuple(replace(sender, **of_all, token=token) for sender in senders)
        own = {setting: values[setting] for setting in ("journal", "scenario", "insecure", "no_plan")}
        return cls(producer, monitor, senders, **own, faults=faults)

    @property
    def title(self) -> str:
        """The title of its page and its report; empty if it has none."""
        return self.monitor.title or (Path(self.scenario).stem[:TITLE_CHARACTERS_MAX] if self.scenario else "")

    @property
    def needs_journals(self) -> bool:
        """Whether the producer or the monitor is killed and has to continue afterwards."""
        return any(fault.kind is FaultKind.KILL and fault.target in SERVERS for fault in self.faults)

    def planned(self) -> Scenario:
        """Return what the plan of this run plays. Loads numpy."""
        return _planned(self.producer, self.senders, self.faults)


@dataclass(frozen=True)
class PlanSettings(Checked):
    """`smssim plan`: the run that is planned, and what to find out about it.

    The seed is that of the producer, and the first one to play; None: 1, so that the same plan gives the same answer.
    """

    producer: ProducerSettings
    senders: tuple[SenderSettings, ...] = like(RunSettings, "senders")
    scenario: str | None = like(RunSettings, "scenario")
    goals: tuple[Threshold, ...] = like(
        MonitorSettings,
        "threshold",
        word="goal",
        purpose="Goal to meet with a probability of 95%, or else exit with 5 (repeatable; besides the scenario's)",
    )
    seeds: int | None = flag(
        None, whole(1, SEEDS_MAX), "N", "Plan", "Number of seeds to play", unset="20 to 400, in about two seconds"
    )
    find: Find | None = flag(  # noqa: RUF009 - it returns a field
        None,
        FIND,
        "NAME.KEY=LOW..HIGH",
        "Plan",
        "Find the smallest value of a sender's setting that meets all goals",
        unset="nothing to find",
    )
    cheapest: bool = switch(
        "Plan",
        "Find the cheapest mix that meets all goals, of the senders whose copies are a range such as copies=0..200.",
    )
    full: bool = switch("Plan", "Play every message, however long it takes, instead of scaling large runs down.")
    json: bool = like(MonitorSettings, "json", purpose="Print one JSON object.")
    csv: str | None = like(MonitorSettings, "csv", purpose="Also write the course of the run to this CSV file")
    report: str | None = like(MonitorSettings, "report", purpose="Write a report of the plan to this HTML file")
    faults: tuple[Fault, ...] = ()  # of the scenario; has no flag
    command: str = ""  # that makes this plan, for the report; has no flag

    variables: ClassVar[Mapping[str, str]] = {"command": COMMAND_VARIABLE}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_senders(self.senders)
        check_faults(self.faults, self.senders)
        names = sender_names(self.senders)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise bad_value("--sender: name", twice, "a different name for each sender")
        if self.find is not None:
            self._check_find(self.find, names)
        self._check_cheapest()
        check_different({"--csv": self.csv, "--report": self.report}, scenario=self.scenario)

    def _check_cheapest(self) -> None:
        if not self.cheapest:
            check_no_spans(self.senders)
        elif self.find is not None:
            raise UsageError("--cheapest: got --find too; expected only one of them")
        elif not self.spans:
            raise UsageError("--cheapest: no copies are a range; write one, such as copies=0..200, for a sender")
        elif len(self.spans) > SPANS_MAX:
            raise bad_value("--cheapest", len(self.spans), f"at most {SPANS_MAX} senders whose copies are a range")

    @property
    def spans(self) -> dict[str, Span]:
        """The ranges of copies, by name of the sender."""
        return spans_of(self.senders)

    def _check_find(self, find: Find, names: tuple[str, ...]) -> None:
        if find.name not in names:
            raise bad_value("--find", find.name, targets(names), *get_close_matches(find.name, names, n=1))
        try:
            if find.key != "mean":  # which changes the standard deviation with it
                changes: dict[str, Any] = {find.setting: find.high}
                replace(self.senders[names.index(find.name)], **changes)
        except UsageError as error:
            raise UsageError(f"--find: {about_keys(error)}") from error

    @classmethod
    def flags(cls) -> Mapping[str, Flag]:
        """Return its own flags, and those of the producer that determine what happens to messages."""
        of_run = {
            setting: flag for setting, flag in MESSAGE_FLAGS.items() if setting not in ("min_length", "max_length")
        }
        of_run["seed"] = replace(
            of_run["seed"], purpose="First random seed to play; the next ones follow it", unset="1"
        )
        return _arranged(of_run | dict(flags_of(cls)))

    @classmethod
    def from_flags(cls, given: Mapping[str, Any], token: str | None) -> Self:
        """Return the settings for these values of flags. Raises UsageError."""
        values, senders, faults = _with_scenario(cls.flags(), given, "goals")
        producer = _node(ProducerSettings, values, None)
        own = {setting: value for setting, value in values.items() if setting in flags_of(cls)}
        return cls(producer, **own | {"senders": senders, "faults": faults})

    def planned(self) -> Scenario:
        """Return what is played. Loads numpy."""
        return _planned(self.producer, self.senders, self.faults)


def _arranged(flags: Mapping[str, Flag]) -> Mapping[str, Flag]:
    """Return the flags of a command that has a whole run, in the order of the help."""
    changed = {setting: replace(flag, **_DIFFERS.get(setting, {})) for setting, flag in flags.items()}
    return dict(sorted(changed.items(), key=lambda pair: _PANELS.index(pair[1].panel)))


def _with_scenario(
    flags: Mapping[str, Flag], given: Mapping[str, Any], goals: str
) -> tuple[dict[str, Any], tuple[SenderSettings, ...], tuple[Fault, ...]]:
    """Return the value of each flag, the senders and the faults, which a scenario file and the given flags determine.

    A flag takes precedence over the file, except that goals add up; `goals` is their setting. Raises UsageError.
    """
    path = given.get("scenario")
    file = ScenarioFile() if path is None else read_scenario(path)
    values = {setting: flag.default for setting, flag in flags.items()} | dict(file.messages) | dict(given)
    values[goals] = tuple(dict.fromkeys((*file.goals, *given.get(goals, ()))))
    senders = given.get("senders") or file.senders
    if values["count"] is None:
        values["count"] = ProducerSettings.count if senders else RUN_COUNT
    senders = senders or RUN_SENDERS
    file.check_faults(senders)
    return values, senders, file.faults


def _node(kind: type[Server], given: Mapping[str, Any], token: str | None, *, insecure: bool = False) -> Server:
    """Return the settings of a node of a run, from those values that are for it."""
    of_it = {setting for setting, flag in flags_of(kind).items() if flag.in_run}
    its = {setting: value for setting, value in given.items() if setting in of_it}
    return kind(**its, listen=FREE_ADDRESS, token=token, insecure=insecure)


def _planned(producer: ProducerSettings, senders: tuple[SenderSettings, ...], faults: tuple[Fault, ...]) -> Scenario:
    from smssim.core.model import StartLimit  # imported late: it loads numpy
    from smssim.plan.scenario import PlannedSender, Scenario

    segments = producer.segments
    return Scenario(
        total=producer.count,
        senders=tuple(
            PlannedSender(
                name,
                sender.attempt_model,
                sender.concurrency,
                sender.copies,
                sender.joins_s,
                StartLimit.of(sender.limit_per_s, sender.burst, segments),
                sender.price,
                sender.price_failed,
            )
            for name, sender in zip(sender_names(senders), senders, strict=True)
        ),
        max_attempts=producer.max_attempts,
        retry_delay_s=producer.retry_delay_s,
        rate_per_s=producer.rate_per_s,
        lease_timeout_s=producer.lease_timeout_s,
        give_up_s=producer.give_up_s,
        faults=faults,
        unreachable=producer.unreachable,
        segments=segments,
    )
