"""`smssim report` reads what anybody may have made: each file is understood, or refused in one line that names it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_support import ASSETS, GOALS, Parsed, data_of, forecast, plan, result, run
from view_support import OTHER, RUN_ID, of_run

from smssim.errors import UsageError
from smssim.outputs.report.command import serve
from smssim.outputs.report.inputs import DOCUMENTS_MAX, FILE_BYTES_MAX, documents_in, plan_document
from smssim.outputs.report.page import report
from smssim.settings import ReportSettings

SUMMARY = result().as_dict()
SAMPLES = (SUMMARY, forecast(), run(), plan(), {"version": 1, "runs": [run()], "comparison": None})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("<script>"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def refusal(content: bytes) -> str:
    """Return the line with which a content is refused."""
    with pytest.raises(UsageError) as caught:
        documents_in(content, "a.json")
    line = str(caught.value)
    assert line.startswith("RUN: a.json ")
    assert line.isprintable()
    assert "; expected the result of a run" in line
    assert len(line) < 600
    return line


def report_or_refusal(content: bytes) -> None:
    """Check that a content has a whole report, or is refused in one line."""
    documents: list[dict[str, Any]] = []
    refused = ""
    try:
        documents = documents_in(content, "a.json")
    except UsageError as error:
        refused = str(error)
    assert refused.isprintable()
    if not documents:
        assert refused
        return
    page = report(documents, ASSETS)
    assert data_of(page)["runs"] == json.loads(json.dumps(documents))
    assert Parsed(page).text


# ---- What is understood


def test_a_result_is_the_document_of_a_run() -> None:
    (document,) = documents_in(json.dumps(SUMMARY).encode(), "s.json")
    assert document["kind"] == "run"
    assert document["verdict"] == {
        "code": "complete",
        "text": "Complete after 20.0 s: the producer and the monitor agree",
    }
    assert document["reached_s"] == {"50": 9.5, "80": 16.2, "95": None, "99": None}
    assert document["senders"]["name"] == ["sender-1", "sender-2", "sender-3", "sender-4"]
    assert document["senders"]["state"] == "4444"
    assert [event["text"] for event in document["events"]] == ["city was killed", "city is back"]
    assert document["goals"] == [{"text": "t50<1m", "percent": 50, "at_s": 60.0}]


def test_the_goals_of_a_result_are_those_of_its_document() -> None:
    (document,) = documents_in(json.dumps(SUMMARY).encode(), "s.json")
    assert document["goals"] == run(goals=GOALS)["goals"]


def test_each_line_of_a_file_is_a_run() -> None:
    both = (result(), of_run(OTHER, result()))
    content = "".join(json.dumps(one.as_dict()) + "\n" for one in both).encode()
    assert [one["progress"]["run_id"] for one in documents_in(content, "s.json")] == [RUN_ID, OTHER]


def test_a_forecast_is_the_document_of_a_plan() -> None:
    (document,) = documents_in(json.dumps(forecast(), indent=2).encode(), "p.json")
    assert document["kind"] == "plan"
    assert document["forecast"] == forecast()
    assert document["verdict"]["text"] == "Complete after about 19.8 s; every goal is met"
    unsure = forecast(goals=[{"goal": "t50<1m", "probability": 0.4, "passed": False}])
    (document,) = documents_in(json.dumps(unsure).encode(), "p.json")
    assert document["verdict"] == {"code": "missed", "text": "Likely to miss t50<1m (40%)"}


def test_a_deadline_of_a_plan_for_the_reachable_stands_at_the_share_that_they_are() -> None:
    goal = {"goal": "t80_reachable<1m", "probability": 1.0, "passed": True}
    gone = {"median": 500, "low": 480, "high": 520}
    (document,) = documents_in(json.dumps(forecast(goals=[goal], unreachable=gone)).encode(), "p.json")
    assert [one["percent"] for one in document["goals"]] == [72]
    assert [one["percent"] for one in plan_document(forecast(goals=[goal]), unreachable_share=0.25)["goals"]] == [60]


def test_a_file_from_windows_with_a_byte_order_mark_is_read() -> None:
    content = b"\xef\xbb\xbf" + json.dumps(SUMMARY).encode() + b"\r\n"
    assert len(documents_in(content, "s.json")) == 1


def test_unknown_fields_are_left_out() -> None:
    (document,) = documents_in(
        json.dumps({**run(), "later": 1, "progress": {**SUMMARY, "more": "x"}}).encode(), "s.json"
    )
    assert document == run()


# ---- What is refused


def test_files_without_a_run_are_refused_with_the_reason() -> None:
    long = json.dumps(SUMMARY)[:-5]
    for content, reason in (
        (b"", "is empty: perhaps the run did not end"),
        (b" \n", "is empty"),
        (b"\x00\xff", "can't be read"),
        (b"{", "is not JSON"),
        (long.encode(), "is not JSON"),
        (b"[]", "does not fit: the value is a list of 0 elements; expected an object"),
        (b"[1, 2]", "does not fit"),
        (b'{"a": 1}', "does not fit: the object has no run_id; expected the result"),
        (b"7", "the value is 7; expected an object"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5_000, "can't be read"),
        (b"<html></html>", "a page without the data of a report"),
        (b'<script type="application/json" id="smssim-data">{}</script>', "expected an object with runs"),
        (
            b'<script type="application/json" id="smssim-data">{"version":2,"runs":[1]}</script>',
            "in a format that this smssim, ",
        ),
        (
            b'<script type="application/json" id="smssim-data">{"version":1,"runs":[]}</script>',
            "is a report without a run",
        ),
        (json.dumps(result().figures.as_dict()).encode(), "is the output of --json; use --summary-json"),
        (b'{"a": NaN}', "NaN"),
    ):
        assert reason in refusal(content), content[:60]


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    assert_refused(str(path), "is larger than 32 MiB", tmp_path)
    assert_refused("/dev/zero", "is larger than 32 MiB", tmp_path)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    assert_refused(str(tmp_path), "(is a directory)", tmp_path)
    assert_refused(str(tmp_path / "none"), "(no such file or directory)", tmp_path)


def assert_refused(path: str, reason: str, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    with pytest.raises(UsageError) as caught:
        serve(ReportSettings(runs=(path,), output=str(output)))
    assert reason in str(caught.value)
    assert not output.exists()


def put(*place: str | int) -> Callable[[dict[str, Any], Any], None]:
    """Return a function that puts a value at this place of a document."""

    def change(document: dict[str, Any], value: Any) -> None:
        inner: Any = document
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = value

    return change


def test_a_wrong_field_is_refused_by_its_name() -> None:
    for place, value, reason in (
        (("version",), 2, "version is 2; expected 1"),
        (("progress", "sent"), -1, "progress.sent is -1; expected a whole number"),
        (("progress", "sent"), True, "progress.sent is true"),
        (("progress", "sent"), "5", "progress.sent is 5"),
        (("progress", "elapsed_s"), 1e300, "progress.elapsed_s"),
        (("progress", "run_id"), "../../etc/passwd", "progress.run_id"),
        (("progress", "reached_s"), {"__proto__": 1}, "progress.reached_s"),
        (("progress", "thresholds"), {}, "progress.thresholds"),
        (("progress", "sender_rows", 0, "state"), "gone", "progress.sender_rows[0].state"),
        (("title",), "x" * 1001, "title"),
        (("began",), "yesterday", "began is yesterday"),
        (("verdict", "code"), "fine", "verdict.code"),
        (("history", "sent"), [1], "history.sent"),
        (("history", "elapsed_s", 3), 0, "history.elapsed_s"),
        (("history", "sent", 0), None, "history.sent[0] is null"),
        (("senders", "state"), "44", "senders.state"),
        (("senders", "state"), "4449", "senders.state"),
        (("senders", "name", 0), 5, "senders.name[0] is 5"),
        (("heat", "rows"), ["9"] * 9, "heat.rows"),
        (("heat", "rows", 0), "<", "heat.rows"),
        (("latency", "counts"), [1, 2], "latency.counts"),
        (("spectrum",), [[1]], "spectrum"),
        (("plan", "sent"), [1, 2], "plan.sent"),
        (("events", 0, "text"), None, "events[0].text is null"),
        (("events",), [{"at_s": 1, "kind": "x"}], "events[0] has no text"),
        (("gaps",), [{"from_s": 1}], "gaps[0] has no to_s"),
    ):
        document = copy.deepcopy(run())
        put(*place)(document, value)
        assert reason in refusal(json.dumps(document).encode()), place


def test_more_than_eight_runs_are_refused(tmp_path: Path) -> None:
    path, one, output = tmp_path / "s.json", tmp_path / "one.json", tmp_path / "r.html"
    path.write_text((json.dumps(SUMMARY) + "\n") * DOCUMENTS_MAX)
    one.write_text(json.dumps(SUMMARY))
    assert serve(ReportSettings(runs=(str(path),), output=str(output))) == 0
    assert len(data_of(output.read_bytes())["runs"]) == DOCUMENTS_MAX
    before = output.read_bytes()
    with pytest.raises(UsageError, match=r"^RUN: got 9 runs; expected 1 to 8$"):
        serve(ReportSettings(runs=(str(path), str(one)), output=str(output)))
    assert output.read_bytes() == before


# ---- Anything


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_any_json_is_refused_or_reported(value: Any) -> None:
    report_or_refusal(json.dumps(value).encode())


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from((b"", b"<", b"{", b'<script type="application/json" id="smssim-data">'))
)
def test_any_bytes_are_refused_or_reported(content: bytes, start: bytes) -> None:
    report_or_refusal(start + content + b"</script>")


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(SAMPLES), JSON, st.data())
def test_a_field_of_any_other_value_is_refused_or_reported(sample: Any, value: Any, data: st.DataObject) -> None:
    changed = copy.deepcopy(sample)
    inner: Any = changed
    while True:
        names = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        name = data.draw(st.sampled_from(names))
        if not (isinstance(inner[name], dict | list) and inner[name] and data.draw(st.booleans())):
            break
        inner = inner[name]
    if isinstance(inner, dict) and data.draw(st.booleans()):
        del inner[name]
    else:
        inner[name] = value
    content = json.dumps(changed)
    if "runs" in sample:
        inline = content.replace("<", "\\u003c")
        content = f'<script type="application/json" id="smssim-data">{inline}</script>'
    report_or_refusal(content.encode())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_report_is_refused_or_reported(data: st.DataObject) -> None:
    page = bytearray(report([run()], ASSETS))
    for _ in range(data.draw(st.integers(1, 3))):
        page[data.draw(st.integers(0, len(page) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(page)))
    report_or_refusal(bytes(page[:cut] if data.draw(st.booleans()) else page))
