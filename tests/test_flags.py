"""Flags are defined once, at their settings; help, variables, --sender, child processes and docs/flags.md follow."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from smssim.cli import options, typer_quirks
from smssim.cli.commands import COMMANDS, Command
from smssim.core.fault import Fault, FaultKind
from smssim.core.threshold import Threshold
from smssim.errors import UsageError
from smssim.settings import (
    Checked,
    EngineSettings,
    MonitorSettings,
    ProducerSettings,
    RunSettings,
    SenderSettings,
    command_line,
    flags_of,
)
from smssim.settings.flags import flag, like
from smssim.settings.rules import whole
from smssim.settings.senders import SENDER_KEYS

ROOT = Path(__file__).parent.parent
PAGE = runpy.run_path(str(ROOT / "scripts" / "gen_flags.py"))
ARGUMENTS = {  # positional
    "report": ["summary.json", "plan.json", "--output=report.html"],
    "history": ["runs"],
    "trace": ["outcomes.parquet", "42"],
    "scenario": ["flood.yaml"],
    "certs": ["pki"],
}

# Settings that --sender can't change: where a sender connects to, what only a separate sender has ...
NO_KEYS = {
    "producer",
    "monitor",
    "verbose",
    "linger",
    "metrics_port",
    "tls_cert",
    "tls_key",
    "tls_ca",
    "insecure",
    "faults",
}
OF_ALL = {"give_up_s", "log_level", "log_format", "token_file"}  # ... and what a run sets for all its nodes


def given_by(command: Command, words: Sequence[str]) -> Any:
    """Return the settings that a command gets from these words."""
    taken: list[Any] = []

    def serve(settings: Checked) -> int:
        taken.append(settings)
        return 0

    stand_in = Command(command.name, command.purpose, command.examples, command.settings, serve)
    options.program([stand_in])([command.name, *words], standalone_mode=False)
    (settings,) = taken
    return settings


def help_of(command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "400")  # one line per flag
    options.program([command])([command.name, "--help"], standalone_mode=False)
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


# ---- Each flag everywhere


def test_every_setting_except_secrets_has_a_flag() -> None:
    for command in COMMANDS.values():
        without = {setting.name for setting in fields(command.settings)} - flags_of(command.settings).keys()
        secrets = {"token", *command.settings.variables}
        expected = ({"producer", "monitor", "faults", "joins_s", "copies_span"} | secrets) & without
        assert without == expected, command.name


def test_every_flag_is_in_the_help_of_its_command_and_in_the_page_of_flags(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = (ROOT / "docs" / "flags.md").read_text(encoding="utf-8").split("\n## smssim ")
    pages = {section.split("\n", 1)[0]: section for section in sections[1:]}
    assert pages.keys() == COMMANDS.keys()
    for command in COMMANDS.values():
        shown = " ".join(help_of(command, capsys, monkeypatch).replace("│", " ").split())
        rows = [line for line in pages[command.name].splitlines() if line.startswith("| `")]
        assert len(rows) == len(command.flags), command.name
        for said in command.flags.values():
            variable = said.variable(command.name)
            assert " ".join(said.help.split()) in shown, (command.name, said.name)
            assert variable is None or f"[env var: {variable}]" in shown, (command.name, said.name)
            assert PAGE["row"](said, variable) in rows, (command.name, said.name)


def test_the_page_of_flags_is_up_to_date() -> None:
    assert (ROOT / "docs" / "flags.md").read_text(encoding="utf-8") == PAGE["page"](COMMANDS.values())


def test_flags_with_the_same_name_have_the_same_rule_and_one_variable_per_command() -> None:
    rules: dict[str, str] = {}
    variables: list[str] = []
    for command in COMMANDS.values():
        for said in command.flags.values():
            assert rules.setdefault(said.name, said.rule.expected) == said.rule.expected, (command.name, said.name)
            variables += filter(None, [said.variable(command.name)])
    assert len(set(variables)) == len(variables) > 90


def test_every_setting_of_a_sender_is_a_key_or_is_listed_as_an_exception() -> None:
    settings = set(flags_of(SenderSettings))
    assert set(SENDER_KEYS.values()) == (settings - NO_KEYS - OF_ALL) | {"joins_s", "preset"}
    assert settings >= NO_KEYS | OF_ALL
    assert RunSettings.flags().keys() >= OF_ALL
    assert not (NO_KEYS - {"metrics_port", "insecure"}) & RunSettings.flags().keys()  # they belong to the run's monitor


def test_every_producer_or_monitor_flag_is_also_a_run_flag_or_listed_as_an_exception() -> None:
    alone = {"listen", "monitor", "linger", "tls_cert", "tls_key", "tls_ca"}
    alone |= {setting for setting, flag in flags_of(EngineSettings).items() if flag.panel == "Engine"}
    of_both = flags_of(ProducerSettings).keys() | flags_of(MonitorSettings).keys()
    assert RunSettings.flags().keys() - {"senders", "scenario", "no_plan"} == of_both - alone


def test_a_command_line_gives_back_the_settings_that_it_was_made_from() -> None:
    access: dict[str, Any] = {
        "tls_cert": "a b.pem",
        "tls_key": "-k",
        "tls_ca": "ca",
        "token_file": "--t",
        "insecure": True,
    }
    threshold = (Threshold.parse("failed<5%"), Threshold.parse("t95 < 10m"))
    slow = Fault(1e-7, FaultKind.SLOW, "", for_s=1 / 3, factor=4.1)
    fail = Fault(100.0, FaultKind.FAIL, "", share=0.1 + 0.2)
    samples: tuple[tuple[str, Checked], ...] = (
        ("producer", ProducerSettings()),
        ("producer", ProducerSettings(seed=2**63 - 1, rate_per_s=1 / 3, retry_delay_s=1e-7, linger=True, **access)),
        ("producer", ProducerSettings(engine="tls://a:1,b", run_name="x-1", engine_replicas=5, engine_tls_ca="c")),
        ("sender", SenderSettings()),
        ("sender", SenderSettings(0.1 + 0.2, 1e-3, "lognormal", name="a=b c", verbose=True, metrics_port=0, **access)),
        ("sender", SenderSettings(faults=(slow, fail))),
        ("monitor", MonitorSettings()),
        ("monitor", MonitorSettings(json=True, csv="a b", threshold=threshold, listen="[::1]:0", **access)),
    )
    for name, settings in samples:
        assert given_by(COMMANDS[name], command_line(settings)) == settings, name
    for name, words in ARGUMENTS.items():
        assert command_line(given_by(COMMANDS[name], words)) == words


# ---- One more flag


@dataclass(frozen=True, kw_only=True)
class Louder(ProducerSettings):
    """A producer with one more flag, and with another default and help text for an inherited one."""

    volume_db: int | None = flag(None, whole(0, 11), "DB", "Sound", "How loud", unset="silent", word="volume")
    count: int = like(ProducerSettings, "count", default=7, purpose="How many, loudly")


LOUDER = Command("producer", "Shout.", ("smssim producer --volume 3",), Louder, lambda settings: 0)


def test_a_new_setting_has_an_option_variable_error_help_and_command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert given_by(LOUDER, []) == Louder()
    assert given_by(LOUDER, ["--volume", "3"]) == Louder(volume_db=3)
    with pytest.raises(UsageError, match=r"^--volume: got 12; expected a whole number from 0 to 11$"):
        given_by(LOUDER, ["--volume=12"])
    assert command_line(Louder(volume_db=3))[:2] == ["--volume=3", "--count=7"]
    shown = " ".join(help_of(LOUDER, capsys, monkeypatch).split())
    assert (
        "--volume DB How loud: a whole number from 0 to 11. [env var: SMSSIM_PRODUCER_VOLUME] [default: (silent)]"
        in shown
    )
    monkeypatch.setenv("SMSSIM_PRODUCER_VOLUME", "11")
    assert given_by(LOUDER, []).volume_db == 11


def test_a_new_setting_has_a_row_in_the_page_of_flags() -> None:
    lines = list(PAGE["section"](LOUDER))
    row = "| `--volume DB` | `SMSSIM_PRODUCER_VOLUME` | silent | How loud: a whole number from 0 to 11. |"
    assert lines[lines.index("### Sound") + 4] == row
    assert "| `--count N` | `SMSSIM_PRODUCER_COUNT` | 7 | How many, loudly: a whole number from 0 to 10^10. |" in lines


def test_own_settings_come_first_and_redefined_ones_stay_among_the_inherited() -> None:
    assert list(flags_of(Louder))[:3] == ["volume_db", "count", "seed"]
    assert list(flags_of(MonitorSettings))[-8:] == [
        *("give_up_s", "tls_cert", "tls_key", "tls_ca", "token_file", "insecure", "log_level", "log_format"),
    ]


# ---- typer


def test_the_quirks_are_those_of_the_installed_typer() -> None:
    pinned = re.search(r"^typer==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned
    for what, found in (("constraints.txt", pinned[1]), ("this environment", version("typer"))):
        assert found == typer_quirks.WRITTEN_FOR, (
            f"{what} has typer {found}: check each function of smssim/cli/typer_quirks.py again (the signature that "
            "typer reads, the help option and the conversion that it keeps, the source of a value, the attributes of "
            "its errors), run tests/test_cli.py, then set WRITTEN_FOR in typer_quirks.py to this version"
        )


def test_a_command_line_is_read_without_loading_pydantic() -> None:
    code = "import sys; from smssim.cli import main\ntry: main(sys.argv[1:])\nfinally: print('pydantic' in sys.modules)"
    words = ("producer", "--count=1e3", "--seed=7", "--linger", "--rate=fast")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=False)
    expected = "smssim producer: --rate: got fast; expected 0.000001 to 10^12 messages per second"
    assert (done.returncode, done.stdout, done.stderr) == (2, "False\n", expected + "\n")
