"""A preset gives a sender the values of a real way to send, each with its source; what stands beside it wins."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from test_flags import given_by

from smssim.cli import presets as shown
from smssim.cli.commands import COMMANDS
from smssim.errors import UsageError
from smssim.settings import PresetsSettings, RunSettings, SenderSettings, command_line
from smssim.settings.presets import FILE, SETTINGS, Preset, presets, read_presets
from smssim.settings.scenario_file import read_scenario
from smssim.settings.schema import schema
from smssim.settings.sender import with_preset
from smssim.settings.senders import parse_sender

NAMES = (
    *("us-10dlc-low", "us-10dlc-mid", "us-10dlc-top", "us-tollfree", "us-tollfree-high", "us-shortcode"),
    *("us-shortcode-max", "smpp-bind", "smpp-account", "intl-longcode", "gov-gateway", "national-operator"),
)
SHORTCODE = {"mean_s": 0.15, "fail": 0.02, "concurrency": 30, "limit_per_s": 100.0, "burst": 1}
SHORTCODE |= {"price": 0.0125, "price_failed": 0.001}


def values(sender: SenderSettings) -> Mapping[str, Any]:
    return {setting: getattr(sender, setting) for setting in SHORTCODE}


# ---- The file


def test_the_file_has_the_presets_and_a_source_or_the_mark_assumed_for_each_value() -> None:
    assert tuple(presets()) == NAMES
    for preset in presets().values():
        assert preset.settings.keys() >= {"limit_per_s", "concurrency", "mean_s", "distribution", "fail"}
        assert all(one.source or one.is_assumed for one in preset.values.values())
        assert preset.values["limit_per_s"].source is not None
        assert bool(preset.currency) == ("price" in preset.values)
    addresses = {one.source.address for preset in presets().values() for one in preset.values.values() if one.source}
    assert all(address.startswith("https://") for address in addresses)


def test_assumed_lanes_are_twice_those_that_the_limit_needs() -> None:
    for preset in presets().values():
        lanes, limit, mean = (preset.values[name] for name in ("concurrency", "limit_per_s", "mean_s"))
        assert (
            lanes.value == math.ceil(2 * limit.value * mean.value) if lanes.is_assumed else preset.name == "smpp-bind"
        )


GOOD = """
sources:
  a: {name: A, address: "https://a.example", date: 2026-11}
shared:
  fail: {value: 2%, assumed: true}
presets:
  one:
    title: One
    scope: a number
    values:
      limit: {value: 10, source: a}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title: One", "titel: One", "line 8: presets.one.titel: unknown key; expected one of title, scope, values, "),
        ("    title: One\n", "", "presets.one.title: got no value; expected a value"),
        ("limit:", "lanes:", "line 11: presets.one.values.lanes: unknown key; expected one of limit, burst, "),
        ("value: 10", "value: 0", "presets.one.values.limit.value: got 0; expected 0.001 to 10^12 segments per second"),
        ("source: a}", "source: b}", "presets.one.values.limit.source: got b; expected one of a"),
        (", source: a}", "}", "presets.one.values.limit.source: got no value; expected a source, or assumed: true"),
        ("assumed: true", "assumed: no", "shared.fail.assumed: got no; expected true, or no such key"),
        ("date: 2026-11", "date: 11/2026", "sources.a.date: got 11/2026; expected text like "),
        ("limit: {value: 10,", "burst: {value: 5,", "line 10: presets.one.values: --limit is required with --burst"),
        (
            "scope: a number",
            "scope: a number\n    currency: USD",
            "currency: got USD; expected a currency with a price",
        ),
        ("  one:", "  One:", "presets.One: got a map; expected a name like "),
        (", source: a}", ", assumed: true}", "sources.a: got a map; expected a source that a value names"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(old: str, new: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "presets.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert read_presets(str(path))["one"].settings == {"limit_per_s": 10.0, "fail": 0.02}
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_presets(str(path))
    assert said in str(caught.value)


# ---- Its use


def test_a_preset_works_as_a_flag_a_key_of_sender_and_a_key_of_a_scenario(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("senders: {main: {preset: us-shortcode, copies: 16}}", encoding="utf-8")
    (from_file,) = read_scenario(str(file)).senders
    for sender in (
        given_by(COMMANDS["sender"], ["--preset=us-shortcode", "--copies=16"]),
        parse_sender("copies=16,preset=us-shortcode"),
        from_file,
    ):
        assert values(sender) == SHORTCODE
        assert (sender.copies, sender.distribution, sender.std_s) == (16, "gamma", pytest.approx(0.045))


def test_flags_keys_and_variables_beside_a_preset_win(monkeypatch: pytest.MonkeyPatch) -> None:
    for part, changed in (
        ("fail=0.1", {"fail": 0.1}),  # the default of the flag
        ("limit=200", {"limit_per_s": 200.0}),  # the lanes stay: 30
        ("price=0", {"price": 0.0}),
        ("concurrency=1", {"concurrency": 1}),
    ):
        assert values(parse_sender(f"preset=us-shortcode,{part}")) == SHORTCODE | changed
    monkeypatch.setenv("SMSSIM_SENDER_PRESET", "us-shortcode")
    monkeypatch.setenv("SMSSIM_SENDER_FAIL", "7%")
    assert values(given_by(COMMANDS["sender"], ["--burst=5"])) == SHORTCODE | {"fail": 0.07, "burst": 5}
    assert values(given_by(COMMANDS["sender"], ["--preset=smpp-bind"]))["limit_per_s"] == 10


def test_another_mean_or_distribution_has_its_usual_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_sender("preset=us-shortcode,mean=1").std_s == pytest.approx(0.3)
    assert parse_sender("preset=us-shortcode,mean=1,std=0.5").std_s == 0.5
    assert parse_sender("preset=us-shortcode,distribution=exponential").std_s == pytest.approx(0.15)
    wide = Preset("wide", "", "", "", (), {"std_s": presets()["us-shortcode"].values["mean_s"]})
    monkeypatch.setattr("smssim.settings.presets.presets", lambda: {"wide": wide})
    assert with_preset({"preset": "wide", "fail": 0.5}) == {"std_s": 0.15, "fail": 0.5}
    assert with_preset({"preset": "wide", "mean_s": 9.0}) == {"mean_s": 9.0}


def test_a_child_process_gets_the_values_and_not_the_preset() -> None:
    run = RunSettings.from_flags({"senders": (parse_sender("preset=gov-gateway,fail=0.1,burst=1"),)}, None)
    words = command_line(run.senders[0])
    assert not any("preset" in word for word in words)
    child = given_by(COMMANDS["sender"], words)
    assert child == run.senders[0]
    assert (child.fail, child.burst, child.limit_per_s, child.concurrency) == (0.1, 1, 50.0, 15)


def test_an_unknown_preset_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("senders:\n  x: {preset: us-shortcod}\n", encoding="utf-8")
    said = ": got us-shortcod; expected the name of a preset (smssim presets lists them); did you mean us-shortcode?"
    for use, label in (
        (lambda: parse_sender("preset=us-shortcod"), "--sender: preset"),
        (lambda: given_by(COMMANDS["sender"], ["--preset=us-shortcod"]), "--preset"),
        (lambda: given_by(COMMANDS["presets"], ["us-shortcod"]), "NAME"),
        (lambda: read_scenario(str(file)), f"{file}: line 2: senders.x.preset"),
    ):
        with pytest.raises(UsageError) as caught:
            use()
        assert str(caught.value) == label + said


def test_the_schema_knows_the_names() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    assert validator.is_valid({"senders": {"x": {"preset": "smpp-bind", "fail": 0.1}}})
    assert not validator.is_valid({"senders": {"x": {"preset": "smpp"}}})


# ---- smssim presets


def test_the_table_has_every_preset_and_marks_what_is_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown.serve(PresetsSettings()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:13]] == list(NAMES)
    (gov,) = (line for line in lines[:13] if line.startswith("gov-gateway"))
    assert gov.split()[:6] == ["gov-gateway", "50/s", "1,001", "15*", "150", "ms*"]
    assert gov.split()[6:9] == ["2%*", "0.0197", "GBP"]
    assert any(line.startswith("* assumed") for line in lines)
    said = " ".join(" ".join(lines[13:]).split())
    for preset in presets().values():
        assert f"{preset.name}: {preset.title}. The limit is for {preset.scope}." in said
        assert all(one in said for one in preset.also)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_the_table_and_the_notes_fit_the_screen(width: int) -> None:
    lines = shown.overview([*presets().values()], width)
    assert max(map(len, lines)) <= width
    assert all(word in lines[0] for word in ("preset", "limit", "price"))
    assert ("source" in lines[0], "date" in lines[0]) == (width >= 100, width >= 100)


def test_the_details_and_the_json_have_each_value_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown.serve(PresetsSettings(name="us-shortcode")) == 0
    text = capsys.readouterr().out
    assert shown.serve(PresetsSettings(name="us-shortcode", json=True)) == 0
    one = json.loads(capsys.readouterr().out)
    preset = presets()["us-shortcode"]
    assert {name: one[name] for name in ("name", "title", "scope", "currency", "also")} == {
        "name": "us-shortcode",
        "title": preset.title,
        "scope": preset.scope,
        "currency": "USD",
        "also": list(preset.also),
    }
    assert one["values"].keys() == {"limit", "concurrency", "mean", "distribution", "fail", "price", "price-failed"}
    limit = one["values"]["limit"]
    assert (limit["value"], limit["assumed"], limit["date"]) == (100, False, "2026-11")
    assert one["values"]["fail"] == {"value": 0.02, "source": None, "address": None, "date": None, "assumed": True}
    for key, value in one["values"].items():
        assert f"\n{key} " in text
        assert value["source"] is None or (value["source"] in text and value["address"] in text)
    assert shown.serve(PresetsSettings(json=True)) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == list(NAMES)


def test_every_setting_of_presets_can_be_shown_and_the_file_is_beside_the_package() -> None:
    assert set(SETTINGS) == set(shown._SHOWN)
    assert FILE.parent.name == "smssim"
