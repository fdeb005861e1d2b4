"""Scenario files: what they mean, what is refused in one line, and which flags win over them."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from test_flags import given_by

from smssim.cli import main
from smssim.cli.commands import COMMANDS
from smssim.core.fault import Fault, FaultKind
from smssim.core.threshold import Threshold
from smssim.errors import UsageError
from smssim.plan.scenario import PlannedSender, Scenario
from smssim.settings import MonitorSettings, PlanSettings, ProducerSettings, RunSettings, SenderSettings
from smssim.settings.faults import KINDS
from smssim.settings.scenario_file import MESSAGE_FLAGS, SENDER_FILE_KEYS, ScenarioFile, read_scenario
from smssim.settings.schema import schema
from smssim.settings.senders import RUN_COUNT, RUN_SENDERS, SENDER_FLAGS
from smssim.settings.yaml_file import FILE_BYTES_MAX

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "docs/scenarios").glob("*.yaml"))

FLOOD = """\
messages:
  count: 20_000
  seed: 7
  max-attempts: 3
  retry-delay: 2s
senders:
  city:   {mean: 50ms, fail: 10%, concurrency: 40}
  region: {mean: 0.2, fail: 0.05, concurrency: 100, copies: 3, distribution: lognormal}
  spare:  {mean: 1s, concurrency: 200, joins: 8s}
faults:
  - {at: 5s, kill: city}
  - {at: 6s, pause: region, for: 4s}
  - {at: 8s, slow: region, factor: 4, for: 10s}
  - {at: 9s, fail: region, share: 50%, for: 10s}
  - {at: 10s, kill: producer, for: 2s}
goals: [t95<60s, failed<1%]
"""
SENDERS = (
    SenderSettings(0.05, fail=0.1, concurrency=40, name="city"),
    SenderSettings(0.2, fail=0.05, concurrency=100, copies=3, distribution="lognormal", name="region"),
    SenderSettings(1.0, concurrency=200, joins_s=8.0, name="spare"),
)
FAULTS = (
    Fault(5.0, FaultKind.KILL, "city"),
    Fault(6.0, FaultKind.PAUSE, "region", 4.0),
    Fault(8.0, FaultKind.SLOW, "region", 10.0, factor=4.0),
    Fault(9.0, FaultKind.FAIL, "region", 10.0, share=0.5),
    Fault(10.0, FaultKind.KILL, "producer", 2.0),
)
GOALS = (Threshold.parse("t95<60s"), Threshold.parse("failed<1%"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(text: str | bytes, name: str = "f.yaml") -> str:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def run_of(text: str | bytes, *flags: str) -> RunSettings:
    settings = given_by(COMMANDS["run"], [written(text), *flags])
    assert isinstance(settings, RunSettings)
    return settings


def plan_of(text: str | bytes, *flags: str) -> PlanSettings:
    settings = given_by(COMMANDS["plan"], [written(text), *flags])
    assert isinstance(settings, PlanSettings)
    return settings


def refused(text: str | bytes, *flags: str) -> str:
    with pytest.raises(UsageError) as caught:
        run_of(text, *flags)
    line = str(caught.value)
    assert line.isprintable()
    return line


# ---- What a file means


def test_a_file_sets_what_its_flags_set() -> None:
    run = run_of(FLOOD)
    assert (run.senders, run.faults, run.monitor.threshold) == (SENDERS, FAULTS, GOALS)
    assert run.scenario == "f.yaml"
    producer = run.producer
    assert (producer.count, producer.seed, producer.max_attempts, producer.retry_delay_s) == (20_000, 7, 3, 2.0)


def test_a_run_needs_journals_if_the_producer_or_the_monitor_is_killed() -> None:
    assert run_of(FLOOD).needs_journals
    assert not run_of("faults: [{at: 1, pause: monitor, for: 1}, {at: 1, kill: quick}]").needs_journals


def test_run_and_plan_play_the_same_scenario() -> None:
    senders = tuple(
        PlannedSender(one.name, one.attempt_model, one.concurrency, one.copies, one.joins_s) for one in SENDERS
    )
    expected = Scenario(20_000, senders, max_attempts=3, retry_delay_s=2.0, faults=FAULTS)
    assert run_of(FLOOD).planned() == plan_of(FLOOD).planned() == expected
    assert plan_of(FLOOD).producer.seed == 7
    assert plan_of(FLOOD).goals == GOALS


def test_senders_without_a_name_are_planned_by_their_number() -> None:
    plan = given_by(COMMANDS["plan"], ["--sender", "mean=1", "--sender", "mean=2", "--rate", "5", "--give-up", "9"])
    assert [sender.name for sender in plan.planned().senders] == ["sender-1", "sender-2"]
    assert (plan.planned().total, plan.planned().rate_per_s, plan.planned().give_up_s) == (1000, 5.0, 9.0)


def test_a_plan_without_a_file_is_that_of_a_run_without_one() -> None:
    plan, run = given_by(COMMANDS["plan"], []), given_by(COMMANDS["run"], [])
    assert plan.planned() == run.planned()
    assert (plan.planned().total, plan.senders) == (RUN_COUNT, RUN_SENDERS)


def test_sections_that_are_missing_mean_what_missing_flags_mean() -> None:
    for text, count, senders in (
        ("goals: [failed<1%]", RUN_COUNT, RUN_SENDERS),
        ("messages: {seed: 1}", RUN_COUNT, RUN_SENDERS),
        ("messages: {count: 7}", 7, RUN_SENDERS),
        ("senders: {a: {}}", ProducerSettings.count, (SenderSettings(name="a"),)),
    ):
        run = run_of(text)
        assert (run.producer.count, run.senders) == (count, senders), text


def test_a_value_means_what_it_means_on_the_command_line() -> None:
    for text, setting, value in (
        ("count: 1e3", "count", 1000),
        ("count: '1_000'", "count", 1000),
        ('count: "5"', "count", 5),
        ("count: 010", "count", 10),
        ("count: >\n    12", "count", 12),
        ("rate: .5", "rate_per_s", 0.5),
        ("lease-timeout: 2", "lease_timeout_s", 2.0),
        ("lease_timeout: 2500ms", "lease_timeout_s", 2.5),
        ("give-up: 1m", "give_up_s", 60.0),
        ("min-length: 5\n  max_length: 6", "max_length", 6),
    ):
        producer = run_of(f"messages:\n  {text}\n").producer
        assert getattr(producer, setting) == value, text


def test_every_key_of_a_section_sets_its_setting() -> None:
    values = {
        **dict.fromkeys(("mean_s", "std_s", "max_time_s", "joins_s"), "125ms"),
        "distribution": "uniform",
        "fail": "5%",
        "concurrency": "3",
        "copies": "2",
        "limit_per_s": "2.5",
        "burst": "3",
        "price": "0.01",
        "price_failed": ".001",
    }
    settings = {key: setting for key, setting in SENDER_FILE_KEYS.items() if setting != "preset"}
    assert values.keys() == set(settings.values())
    for key, setting in settings.items():
        extra = {"std_s": ", mean: 1", "burst": ", limit: 1"}.get(setting, "")
        sender = run_of(f"senders: {{x: {{{key}: {values[setting]}{extra}}}, y: {{}}}}").senders[0]
        assert getattr(sender, setting) == SENDER_FLAGS[setting].read(values[setting]), key


def test_the_settings_of_all_nodes_reach_the_senders_of_a_file() -> None:
    run = run_of("messages: {give-up: 9}\nsenders: {x: {}}", "--log-level", "error")
    assert [(node.give_up_s, node.log_level) for node in (run.producer, run.monitor, *run.senders)] == [
        (9, "error")
    ] * 3


def test_any_text_that_yaml_allows_can_name_a_sender() -> None:
    names = ("a b", "1", "true", "null", "a.b", "\u00e9", "'", "[x]", "a: b")
    text = "senders:\n" + "".join(f"  {json.dumps(name)}: {{}}\n" for name in names)
    assert [sender.name for sender in run_of(text).senders] == list(names)


def test_a_file_may_begin_with_a_byte_order_mark_and_end_lines_as_windows_does() -> None:
    assert run_of(b"\xef\xbb\xbf" + FLOOD.replace("\n", "\r\n").encode()).faults == FAULTS


# ---- Flags beside a file


def test_a_flag_or_variable_wins_over_the_file_even_with_the_value_of_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "messages: {count: 7, max-attempts: 3, give-up: 9}"
    run = run_of(text, "--max-attempts=1", "--give-up=60")
    assert (run.producer.count, run.producer.max_attempts, run.producer.give_up_s) == (7, 1, 60.0)
    assert all(sender.give_up_s == 60 for sender in run.senders)
    monkeypatch.setenv("SMSSIM_RUN_COUNT", "1000")
    assert run_of(text).producer.count == 1000
    monkeypatch.setenv("SMSSIM_PLAN_MAX_ATTEMPTS", "1")
    assert plan_of(text).producer.max_attempts == 1


def test_flags_beside_a_file_change_nothing_else() -> None:
    plain = run_of(FLOOD)
    assert replace(run_of(FLOOD, "--count=9").producer, count=20_000) == plain.producer
    assert run_of(FLOOD, "--count=9").senders == plain.senders


def test_a_variable_can_name_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSSIM_RUN_SCENARIO", written(FLOOD))
    assert given_by(COMMANDS["run"], []).faults == FAULTS


def test_senders_beside_a_file_replace_its_senders() -> None:
    text = "messages: {seed: 3}\nsenders: {city: {}, region: {}}\n"
    run = run_of(text, "--sender", "mean=1")
    assert (run.senders, run.producer.seed) == ((SenderSettings(1.0),), 3)
    assert run_of(text + "faults: [{at: 1, kill: city}]", "--sender", "name=city").faults


def test_a_fault_of_a_sender_that_was_replaced_is_refused() -> None:
    text = "senders: {city: {}}\nfaults:\n- {at: 1, kill: city}\n"
    expected = "f.yaml: line 3: faults[0].kill: got city; expected a sender (sender-1), producer or monitor"
    assert refused(text, "--sender", "mean=1") == expected


def test_goals_and_thresholds_add_up() -> None:
    more = Threshold.parse("t50<9s")
    flags = ("--threshold", "failed<1%", "--threshold", "t50<9s")
    assert run_of(FLOOD, *flags).monitor.threshold == (*GOALS, more)
    assert plan_of(FLOOD, "--goal", "t50<9s").goals == (*GOALS, more)


def test_what_to_find_is_a_sender_of_the_file() -> None:
    find = plan_of(FLOOD, "--find", "city.copies=1..200").find
    assert find is not None
    assert (find.name, find.setting, find.low, find.high) == ("city", "copies", 1, 200)
    with pytest.raises(
        UsageError, match=r"^--find: got citty; expected a sender \(city, region, spare\); did you mean"
    ):
        plan_of(FLOOD, "--find", "citty.copies=1..200")


def test_copies_are_a_range_only_for_the_cheapest_mix() -> None:
    text = "senders: {a: {copies: 0..200}, b: {}}\ngoals: [t95<9m]"
    plan = plan_of(text, "--cheapest")
    assert [(name, span.low, span.high) for name, span in plan.spans.items()] == [("a", 0, 200)]
    assert [sender.copies for sender in plan.planned().senders] == [200, 1]
    said = "copies of a: got 0..200; expected a whole number; only smssim plan --cheapest takes a range"
    assert refused(text) == said
    with pytest.raises(UsageError, match=f"^{re.escape(said)}$"):
        plan_of(text)
    jsonschema.Draft202012Validator(SCHEMA).validate(loaded(text))
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(loaded(text.replace("0..200", "0-200")))


# ---- What is refused

MEAN, COUNT, SHARE = SENDER_FLAGS["mean_s"].rule, MESSAGE_FLAGS["count"].rule, SENDER_FLAGS["fail"].rule
SECTIONS = "a map of messages, senders, faults or goals"
KEYS = ", ".join(SENDER_FILE_KEYS)
AB = "senders:\n  city: {}\n  late: {joins: 8s}\nfaults:\n"  # lines 1 to 4
SIGNALLED = "a sender (city, late), producer or monitor"

# Text, what the error says after "f.yaml: ", and whether the schema refuses the file too.
BAD: dict[str, tuple[str | bytes, str, bool | None]] = {
    # -- the file
    "empty": ("", f"got an empty file; expected {SECTIONS}", None),
    "only a comment": ("# nothing\n\n", f"got an empty file; expected {SECTIONS}", None),
    "only a document start": ("---\n", f"line 2: got nothing; expected {SECTIONS}", None),
    "a text": ("hello", f"line 1: got hello; expected {SECTIONS}", True),
    "a list": ("- a\n", f"line 1: got a list; expected {SECTIONS}", True),
    "an empty map": ("{}", f"line 1: got an empty map; expected {SECTIONS}", True),
    "latin-1": (b"senders:\n  caf\xe9: {}\n", "line 2: got bytes that are not UTF-8; expected a scenario file", None),
    "utf-16": ("goals: []".encode("utf-16"), "line 1: got bytes that are not UTF-8; expected a scenario file", None),
    "too large": ("#" * (FILE_BYTES_MAX + 1), "got more than 262,144 bytes; expected a scenario file", None),
    "no YAML": ("a: b: c\n", "line 1: not YAML: mapping values are not allowed here", None),
    "a tab": ("senders:\n\tcity: {}\n", "line 2: not YAML: found character", None),
    "unclosed": ("goals: [t95<60s\n", "line 2: not YAML: expected ',' or ']'", None),
    "a control character": ("goals: [\x1b]", "line 1: not YAML: special characters are not allowed", None),
    "a large escape": ('goals: ["\\UFFFFFFFF"]', "line 1: not YAML: ", None),
    "another version": ("%YAML 3.0\n---\ngoals: []", "line 1: not YAML: found incompatible YAML document", None),
    "two documents": ("goals: []\n---\ngoals: []\n", "line 2: got a second document; expected only one", None),
    "deep": ("goals: " + "[" * 99999, "line 1: goals[0][0]", None),
    "deep maps": ("{a: " * 9999, "line 1: a.a.a.a.a.a.a.a: got too many lists and maps within each other", None),
    # -- what hides or multiplies values
    "an anchor": ("senders: {a: &x {}}", "line 1: senders.a: got an anchor or an alias (& or *)", None),
    "an alias": ("a: &x [b]\nb: *x", "line 1: a: got an anchor or an alias", None),
    "laughs": ("goals: [&a [x,x], &b [*a,*a]]", "line 1: goals[0]: got an anchor or an alias", None),
    "a merge": ("senders:\n  <<: {a: {}}\n  b: 3", "line 2: senders.<<.a: unknown key; expected one of", None),
    "a tag": ("goals: !!python/object:os.system [x]", "line 1: goals: got a tag (!)", None),
    "a tagged text": ("messages: {count: !!str 5}", "line 1: messages.count: got a tag (!)", None),
    "a tagged key": ("!!str goals: []", "line 1: goals: got an anchor or a tag; expected a plain key", None),
    "a key that is a list": ("? [a]\n: b", "line 1: got a list, a map or an alias as a key", None),
    "a key twice": ("goals: []\nsenders:\n  a: {}\n  b: {}\n  a: {}\n", "line 5: senders.a: got this key again", None),
    "a section twice": (
        "goals: []\ngoals: []\n",
        "line 2: goals: got this key again; expected it once (see line 1)",
        None,
    ),
    "a key in both spellings": (
        "messages:\n  max-attempts: 2\n  max_attempts: 2\n",
        "line 3: messages.max_attempts: got this key again; expected either max-attempts or max_attempts",
        False,
    ),
    # -- keys
    "a misspelt section": (
        "goals: []\nsender: {}\n",
        "line 2: sender: unknown key; expected one of messages, senders, faults, goals; did you mean senders?",
        True,
    ),
    "a misspelt key of a sender": (
        "senders:\n  city: {mean: 1,\n    fial: 3}\n",
        f"line 3: senders.city.fial: unknown key; expected one of {KEYS}; did you mean fail?",
        True,
    ),
    "a name as a key": ("senders: {city: {name: x}}", "line 1: senders.city.name: unknown key; expected one of", True),
    "a misspelt key of messages": (
        "messages: {Max_Atempts: 3}",
        (
            "line 1: messages.Max_Atempts: unknown key; expected one of count, seed, min-length, max-length, text, "
            "unreachable, max-attempts, retry-delay, rate, lease-timeout, give-up; did you mean max-attempts?"
        ),
        True,
    ),
    "a flag of outputs": ("messages: {csv: x.csv}", "line 1: messages.csv: unknown key; expected one of count", True),
    "a key that is no text": ("messages: {~: 3}", "line 1: messages.~: unknown key; expected one of", None),
    "a strange key": ("'a\\nb c': 3", r"line 1: 'a\\nb c': unknown key; expected one of", None),
    # -- values
    "no section": ("senders:\ngoals: []", "line 1: senders: got nothing; expected a map of senders by name", True),
    "no senders": ("senders: {}", "line 1: senders: got an empty map; expected a map of senders by name", True),
    "a list of senders": ("senders: [a]", "line 1: senders: got a list; expected a map of senders by name", True),
    "a sender without settings": (
        "senders:\n  city:\n",
        "line 2: senders.city: got nothing; expected a map with",
        True,
    ),
    "no number": ("messages: {count: many}", f"line 1: messages.count: got many; expected {COUNT.expected}", True),
    "a fraction": ("messages: {count: 1.5}", f"line 1: messages.count: got 1.5; expected {COUNT.expected}", True),
    "a negative number": ("messages: {count: -1}", f"line 1: messages.count: got -1; expected {COUNT.expected}", True),
    "a truth": ("messages: {count: true}", f"line 1: messages.count: got true; expected {COUNT.expected}", True),
    "a null": ("messages: {count: ~}", f"line 1: messages.count: got ~; expected {COUNT.expected}", True),
    "no value": ("messages:\n  count:\n", f"line 2: messages.count: got nothing; expected {COUNT.expected}", True),
    "an empty text": ("messages: {count: ''}", f"line 1: messages.count: got ''; expected {COUNT.expected}", True),
    "a list as a value": (
        "messages: {count: [5]}",
        f"line 1: messages.count: got a list; expected {COUNT.expected}",
        True,
    ),
    "a map as a value": (
        "messages: {count: {a: 5}}",
        f"line 1: messages.count: got a map; expected {COUNT.expected}",
        True,
    ),
    "a share above 1": (
        "senders: {c: {fail: 150%}}",
        f"line 1: senders.c.fail: got 150%; expected {SHARE.expected}",
        True,
    ),
    "another unit": ("senders: {c: {mean: 5d}}", f"line 1: senders.c.mean: got 5d; expected {MEAN.expected}", True),
    "nan": ("senders: {c: {mean: .nan}}", f"line 1: senders.c.mean: got .nan; expected {MEAN.expected}", None),
    "no distribution": (
        "senders: {c: {distribution: no}}",
        "line 1: senders.c.distribution: got no; expected one of",
        True,
    ),
    "lengths": (
        "messages:\n  max-length: 8\n  min-length: 9\n",
        "line 3: messages.min-length: got 9; expected at most 8, the value of max-length",
        False,
    ),
    "a std": (
        "senders:\n  city:\n    mean: 1\n    distribution: fixed\n    std: 9\n",
        "line 5: senders.city.std: got 9; expected 0, or no std, with distribution fixed and mean 1",
        False,
    ),
    "lanes of a sender": (
        "senders:\n  city: {concurrency: 1e7, copies: 2}\n",
        "line 2: senders.city.copies: got 2; expected at most 1 with concurrency 10,000,000",
        False,
    ),
    "lanes of all": (
        "senders:\n" + "".join(f"  s{i}: {{concurrency: 1e7}}\n" for i in range(3)),
        "line 1: senders: got 30,000,000; expected at most 20,000,000 lanes (concurrency x copies) in total",
        False,
    ),
    "nobody at the start": ("senders:\n  a: {joins: 1}", "line 1: senders: got only senders that join later", False),
    # -- names
    "a sender called producer": (
        "senders: {producer: {}}",
        "line 1: senders.producer: got producer; expected a name other than producer and monitor",
        True,
    ),
    "a sender called monitor": (
        "senders: {monitor: {}}",
        "line 1: senders.monitor: got monitor; expected a name",
        True,
    ),
    "a sender without a name": ("senders: {'': {}}", "line 1: senders.'': got ''; expected a name other than", True),
    "a long name": (
        f"senders: {{{'x' * 59}: {{}}}}",
        f"line 1: senders.{'x' * 59}: got {'x' * 59}; expected a name",
        True,
    ),
    "a strange name": ('senders: {"a\\nb": {}}', r"line 1: senders.'a\nb': got 'a\nb'; expected a name", False),
    # -- goals
    "no list of goals": ("goals: t95<60s", "line 1: goals: got t95<60s; expected a list of goals", True),
    "a misspelt figure": (
        "goals:\n- t95<60s\n- faild<1%\n",
        "line 3: goals[1]: got faild<1%; expected a comparison",
        True,
    ),
    "a unit of another figure": ("goals: [rate_per_s>5%]", "line 1: goals[0]: got rate_per_s>5%; expected", True),
    "a goal that is a map": ("goals: [t95: 60s]", "line 1: goals[0]: got a map; expected a comparison", True),
    # -- faults
    "no list of faults": ("faults: {at: 5s}", "line 1: faults: got a map; expected a list of faults, such as", True),
    "no fault": (AB + "- kill\n", "line 5: faults[0]: got kill; expected a map, such as {at: 5s, kill: NAME", True),
    "a fault without a time": (AB + "- {kill: city}", "line 5: faults[0].at: got no value; expected 0 to", True),
    "a fault without a kind": (
        AB + "- {at: 1}",
        "line 5: faults[0]: got no kind of fault; expected one of kill, pause, slow or fail",
        True,
    ),
    "a fault of two kinds": (AB + "- {at: 1, kill: city, pause: city}", "line 5: faults[0]: got kill and pause;", True),
    "a misspelt kind": (
        AB + "- {at: 1, kil: city}",
        (
            "line 5: faults[0].kil: unknown key; expected one of at, for, kill, pause, factor, slow, share, fail; did "
            "you mean kill?"
        ),
        True,
    ),
    "a key of another kind": (
        AB + "- {at: 1, kill: city, factor: 3}",
        "line 5: faults[0].factor: unknown key; expected one of at, for, kill",
        True,
    ),
    "no factor": (
        AB + "- {at: 1, slow: city}",
        "line 5: faults[0].factor: got no value; expected a number from 1",
        True,
    ),
    "no share": (AB + "- {at: 1, fail: city}", "line 5: faults[0].share: got no value; expected a number from 0", True),
    "a factor below 1": (
        AB + "- {at: 1, slow: city, factor: 0.5}",
        "line 5: faults[0].factor: got 0.5; expected",
        True,
    ),
    "a factor above 100": (AB + "- {at: 1, slow: city, factor: 101}", "line 5: faults[0].factor: got 101;", True),
    "a share as a number of percents": (
        AB + "- {at: 1, fail: city, share: 50}",
        "line 5: faults[0].share: got 50;",
        True,
    ),
    "no time": (AB + "- {at: 1, pause: city, for: 0}", "line 5: faults[0].for: got 0; expected 0.001 to", True),
    "a negative time": (AB + "- {at: -1s, pause: city, for: 1}", "line 5: faults[0].at: got -1s; expected 0 to", True),
    "a target that is a list": (AB + "- {at: 9, kill: [city]}", "line 5: faults[0].kill: got a list; expected", True),
    "an unknown target": (
        AB + "- {at: 1, pause: city, for: 1}\n- {at: 9, kill: citty}",
        f"line 6: faults[1].kill: got citty; expected {SIGNALLED}; did you mean city?",
        False,
    ),
    "an unknown default sender": (
        "faults: [{at: 9, kill: qick}]",
        (
            "line 1: faults[0].kill: got qick; expected a sender (quick, steady, shaky, slow), producer or monitor; "
            "did you mean quick?"
        ),
        False,
    ),
    "a slow producer": (
        AB + "- {at: 1, slow: producer, factor: 2}",
        "line 5: faults[0].slow: got producer; expected a sender (city, late)",
        True,
    ),
    "a producer killed for good": (
        AB + "- {at: 1, kill: producer}",
        "line 5: faults[0].for: got no value; expected the time after which the producer is started again",
        True,
    ),
    "a monitor paused for good": (
        AB + "- {at: 1, pause: monitor}",
        "line 5: faults[0].for: got no value; expected the time after which the monitor is continued",
        True,
    ),
    "a fault before its sender joins": (
        AB + "- {at: 7s, kill: late}",
        "line 5: faults[0].at: got 7s; expected at least 8 seconds, when late joins",
        False,
    ),
    "overlapping kills": (
        AB + "- {at: 1, kill: city, for: 4}\n- {at: 2, kill: city, for: 1}",
        (
            "line 6: faults[1].at: got 2; expected a time in which no other kill or pause of city lasts (faults[0]: "
            "from 1 to 5 seconds)"
        ),
        False,
    ),
    "overlapping pauses": (
        AB + "- {at: 4, pause: city, for: 4}\n- {at: 1, pause: city}",
        "line 6: faults[1].at: got 1; expected a time in which no other kill or pause of city lasts (faults[0]: from 4",
        False,
    ),
    "a kill in a pause": (
        AB + "- {at: 1, pause: city}\n- {at: 9, kill: city}",
        "line 6: faults[1].at: got 9; expected a time in which no other kill or pause of city lasts (faults[0]: from 1",
        False,
    ),
    "a fault of a dead sender": (
        AB + "- {at: 5, kill: city}\n- {at: 6, fail: city, share: 1}",
        (
            "line 6: faults[1].at: got 6; expected no fault of city from 5 seconds on, because a kill without for ends "
            "it (see faults[0])"
        ),
        False,
    ),
    "a kill after which a sender is faulted": (
        AB + "- {at: 6, slow: city, factor: 2}\n- {at: 5, kill: city}",
        "line 6: faults[1].at: got 5; expected no fault of city from 5 seconds on",
        False,
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line_that_says_where_and_what(case: str) -> None:
    text, said, _ = BAD[case]
    line = refused(text)
    assert line.startswith(f"f.yaml: {said}"), line


def test_a_long_list_of_senders_is_cut_in_an_error() -> None:
    senders = "".join(f"  s{i}: {{}}\n" for i in range(1000))
    line = refused(f"senders:\n{senders}faults: [{{at: 1, kill: x}}]")
    assert line.endswith(
        "expected a sender (s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, ...), producer or monitor"
    )


def test_every_command_with_a_file_refuses_a_bad_one_with_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    written("senders: {a: {fial: 1}}")
    for command in ("run", "plan", "scenario"):
        with pytest.raises(SystemExit) as caught:
            main([command, "f.yaml"])
        assert caught.value.code == 2
        start = f"smssim {command}: f.yaml: line 1: senders.a.fial: unknown key; expected one of "
        out, err = capsys.readouterr()
        assert (out, err.startswith(start), err.count("\n")) == ("", True, 1), command


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    for name, reason in (
        ("dir", "is a directory"),
        ("no.yaml", "no such file or directory"),
        ("a\0b", "embedded null"),
    ):
        with pytest.raises(UsageError) as caught:
            read_scenario(name)
        assert re.match(r"SCENARIO: got \S+; expected a scenario file \(YAML\) \(" + reason, str(caught.value)), name


def test_the_name_of_a_file_is_made_printable() -> None:
    with pytest.raises(UsageError, match=r"^a\\nb: got an empty file; "):
        read_scenario(written("", "a\nb"))


def test_faults_that_may_overlap_are_accepted() -> None:
    for faults in (
        "- {at: 1, kill: city, for: 4}\n- {at: 5, kill: city, for: 1}",
        "- {at: 5, kill: city, for: 1}\n- {at: 1, kill: city, for: 4}",
        "- {at: 1, kill: city, for: 4}\n- {at: 2, kill: late, for: 4}".replace("at: 2", "at: 8"),
        "- {at: 1, slow: city, factor: 4}\n- {at: 2, slow: city, factor: 1}",
        "- {at: 1, fail: city, share: 0, for: 9}\n- {at: 2, fail: city, share: 100%}",
        "- {at: 1, slow: city, factor: 4}\n- {at: 2, kill: city}",
        "- {at: 1, slow: late, factor: 4}",
        "- {at: 1, pause: city}",
        "- {at: 1, kill: producer, for: 1}\n- {at: 1, kill: monitor, for: 1}",
    ):
        assert run_of(AB + faults).faults, faults


def test_faults_made_in_code_follow_the_same_rules() -> None:
    city, a = SenderSettings(name="city"), SenderSettings(name="a")
    for senders, fault, said in (
        ((city,), Fault(5.0, FaultKind.KILL, "citty"), "faults[0].kill: got citty; expected a sender (city), producer"),
        ((city,), Fault(-1.0, FaultKind.KILL, "city"), "faults[0].at: got -1; expected 0 to "),
        ((city,), Fault(1.0, FaultKind.SLOW, "city", factor=math.nan), "faults[0].factor: got nan; expected"),
        ((city,), Fault(1.0, FaultKind.KILL, "monitor"), "faults[0].for: got no value; expected the time after which"),
        ((a, a), Fault(1.0, FaultKind.KILL, "a"), "faults[0].kill: got a; expected a name that only one node has"),
    ):
        with pytest.raises(UsageError) as caught:
            RunSettings(ProducerSettings(), MonitorSettings(), senders, faults=(fault,))
        assert str(caught.value).startswith(said)


def test_a_sender_called_like_a_server_can_not_be_confused_with_it() -> None:
    text = "faults: [{at: 1, kill: producer, for: 1}]"
    expected = "f.yaml: line 1: faults[0].kill: got producer; expected a name that only one node has"
    assert refused(text, "--sender", "name=producer") == expected


PIECES = st.sampled_from(
    [
        *("messages", "senders", "faults", "goals", "count", "city", "kill", "at", "5s", "10%", ":", ": ", ", ", "- "),
        *("\n", "\n  ", "{", "}", "[", "]", "&a ", "*a", "!x ", "'", '"', "#", "|", ">", "?", "\t", "~", "---\n", "%"),
        *("t95<60s", "\\U", "\x00", "\u2028", "<<", "@", "`", "0x10"),
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=50), st.binary(max_size=3))
def test_any_file_is_either_read_or_refused_in_one_line(text: str, end: bytes) -> None:
    data = text.encode("utf-8", "surrogatepass") + end
    line = "one line"
    try:
        run_of(data)
    except UsageError as error:
        line = str(error)
    assert line.isprintable()


# ---- A file and flags say the same

TIMES = st.one_of(
    st.integers(2, 10**6).map(str), st.floats(2, 1e6).map(repr), st.integers(2000, 10**6).map("{}ms".format)
)
SHARES = st.floats(0, 1).map(repr) | st.integers(0, 100).map("{}%".format)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "count": st.integers(0, 10**10).map(str) | st.just("1e6") | st.just("20_000"),
        "seed": st.integers(0, 2**63 - 1).map(str),
        "max-attempts": st.integers(1, 255).map(str),
        "retry-delay": TIMES,
        "rate": st.floats(1e-6, 1e12).map(repr),
        "lease-timeout": TIMES,
        "give-up": TIMES,
        "unreachable": SHARES,
        "min-length": st.integers(1, 50).map(str),
        "max-length": st.integers(50, 100).map(str),
    },
)
SENDER = st.fixed_dictionaries(
    {},
    optional={
        "mean": TIMES,
        "max-time": TIMES,
        "fail": SHARES,
        "concurrency": st.integers(1, 1000).map(str),
        "copies": st.integers(1, 10).map(str),
        "limit": st.floats(1e-3, 1e12).map(repr),
        "price": st.floats(0, 1e6).map(repr),
        "distribution": st.sampled_from(["gamma", "Fixed", "lognormal"]),
    },
)
NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=20).filter(
    lambda name: name.isprintable() and "," not in name and name.strip() == name
)
STYLES = st.sampled_from(["{}", "'{}'", '"{}"'])


@given(MESSAGES, st.dictionaries(NAMES, SENDER, max_size=4), st.booleans(), STYLES)
def test_a_file_reads_back_to_the_settings_of_the_same_flags(
    messages: dict[str, str], senders: dict[str, dict[str, str]], low_lines: bool, style: str
) -> None:
    def lines(values: dict[str, str]) -> list[str]:
        return [f"{key.replace('-', '_') if low_lines else key}: {style.format(text)}" for key, text in values.items()]

    text = "goals: []\n"
    if messages:
        text += "messages:\n" + "".join(f"  {line}\n" for line in lines(messages))
    if senders:
        text += "senders:\n"
        text += "".join(f"  {json.dumps(name)}: {{{', '.join(lines(one))}}}\n" for name, one in senders.items())
    flags = [f"--{key}={text}" for key, text in messages.items()]
    for name, one in senders.items():
        flags.append("--sender=" + ",".join([*(f"{key}={text}" for key, text in one.items()), f"name={name}"]))
    for command in ("run", "plan"):
        said = [flag for flag in flags if command == "run" or "-length" not in flag]
        from_file, from_flags = given_by(COMMANDS[command], [written(text)]), given_by(COMMANDS[command], said)
        if command == "plan":
            undone = {"min_length": 1, "max_length": 100}
            from_file = replace(from_file, producer=replace(from_file.producer, **undone))
        assert replace(from_file, scenario=None) == from_flags


# ---- The schema

SCHEMA = schema()


def loaded(text: str | bytes) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]


def test_good_files_obey_the_schema() -> None:
    texts = [
        FLOOD,
        *(path.read_text(encoding="utf-8") for path in EXAMPLES),
        "messages: {max_attempts: 3, count: 1e6, rate: '5', retry_delay: 1.5 m}",
        "senders: {1: {fail: 0.5%, std: 0}}\nfaults: [{at: 0, pause: '1', for: .5h}]\ngoals: [sent>=5, failed < 1.5 %]",
    ]
    for text in texts:
        assert read_scenario(written(text)) != ScenarioFile()
        document = json.loads(json.dumps(loaded(text)))  # keys as texts, as JSON has them
        jsonschema.Draft202012Validator(SCHEMA).validate(document)


@pytest.mark.parametrize("case", [case for case, (_, _, by_schema) in BAD.items() if by_schema is not None])
def test_bad_files_break_the_schema_unless_several_values_are_wrong_together(case: str) -> None:
    text, _, by_schema = BAD[case]
    document = json.loads(json.dumps(loaded(text)))
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(document) != by_schema


def test_the_schema_describes_every_key_in_the_words_of_the_help() -> None:
    sections = SCHEMA["properties"]
    for flags, place in (
        (MESSAGE_FLAGS, sections["messages"]),
        (
            {setting: SENDER_FLAGS[setting] for setting in SENDER_FILE_KEYS.values()},
            sections["senders"]["additionalProperties"],
        ),
    ):
        for flag in flags.values():
            assert place["properties"][flag.word]["description"] == flag.help
    assert len(sections["faults"]["items"]["oneOf"]) == len(KINDS) == len(FaultKind)


# ---- smssim scenario


def test_the_command_says_what_a_file_contains(capsys: pytest.CaptureFixture[str]) -> None:
    for text, said in (
        (FLOOD, "20,000 messages, 5 senders, 5 faults, 2 goals"),
        ("messages: {count: 1}\nsenders: {a: {}}\ngoals: [failed<1]", "1 message, 1 sender, 0 faults, 1 goal"),
        (
            "senders: {a: {copies: 0..200}, b: {copies: 2..3}, c: {}}",
            "1,000 messages, 3 to 204 senders, 0 faults, 0 goals",
        ),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["scenario", written(text)])
        assert (caught.value.code, *capsys.readouterr()) == (0, f"f.yaml: {said}\n", "")


def test_the_command_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["scenario", "--schema"])
    assert caught.value.code == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA


def test_the_examples_show_every_kind_of_fault_and_a_late_sender() -> None:
    runs = [RunSettings.from_flags({"scenario": str(path)}, None, spans=True) for path in EXAMPLES]
    assert {fault.kind for run in runs for fault in run.faults} == set(FaultKind)
    assert {"producer", "monitor"} < {fault.target for run in runs for fault in run.faults}
    assert any(sender.joins_s for run in runs for sender in run.senders)
    assert any(run.producer.rate_per_s for run in runs)
