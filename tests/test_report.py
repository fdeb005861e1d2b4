"""A report is one HTML file that holds its data, runs nothing foreign, and is readable without scripts and styles."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_support import ASSETS, Parsed, data_of, plan, renamed, result, run, running
from view_support import RUN_ID

from smssim.core.fleet import Fleet
from smssim.core.session import State
from smssim.core.threshold import Judged, Threshold
from smssim.errors import ExitCode
from smssim.outputs.document import document
from smssim.outputs.report import formats
from smssim.outputs.report.assets import assets
from smssim.outputs.report.formats import PLAN_DOCUMENT, RUN_DOCUMENT, document_of
from smssim.outputs.report.inputs import documents_in, plan_document
from smssim.outputs.report.page import report

COURSE: dict[str, Any] = {
    "times_s": [0, 10, 20],
    **{
        f"{name}{part}": [0, 10 + i, 20 + i]
        for name in ("sent", "failed")
        for i, part in enumerate(("", "_low", "_high"))
    },
    "reached_s": {"50": {"low_s": 9, "median_s": 9.4, "high_s": 9.8}},
    "complete_s": {"low_s": 19, "median_s": 19.8, "high_s": 20.5},
    "seeds": 100,
}
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\" onload='x",
    "<!--",
    "]]>",
    "&lt;",
    "\u202e",
)


# ---- Data


def test_the_progress_in_the_data_is_the_summary_of_the_run_exactly() -> None:
    last = result()
    data = data_of(report([run(last)]))
    assert (data["version"], len(data["runs"]), data["comparison"]) == (1, 1, None)
    assert json.dumps(data["runs"][0]["progress"]) == json.dumps(last.as_dict())


def test_a_report_of_a_report_is_the_same_report() -> None:
    for documents in ([run()], [plan()], [running()], [run(), plan(plan=COURSE), run(title="another")]):
        page = report(documents, ASSETS)
        assert documents_in(page, "r.html") == documents
        assert report(documents_in(page, "r.html"), ASSETS) == page


def test_a_report_of_a_result_is_that_of_its_summary() -> None:
    line = json.dumps(result().as_dict())
    (document,) = documents_in(line.encode(), "s.json")
    assert json.dumps(document["progress"]) == line
    assert data_of(report([document]))["runs"][0] == document
    assert document["seed"] == 7


def test_the_same_documents_give_the_same_bytes() -> None:
    assert report([run(), plan()], ASSETS) == report([run(), plan()], ASSETS)


def test_every_field_of_a_document_is_known_to_the_shape_of_foreign_ones() -> None:
    assert run().keys() <= RUN_DOCUMENT.known.keys()
    assert plan().keys() == PLAN_DOCUMENT.known.keys()
    for whole in (run(), running(), plan(), plan(plan=COURSE)):
        assert document_of(whole) == whole


# ---- Nothing foreign runs


@settings(max_examples=25, deadline=None)
@given(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60)))
def test_no_text_becomes_markup(text: str) -> None:
    documents = [
        run(renamed(result(), text), title=text, command=text),
        {**plan(title=text, command=text), "verdict": {"code": "planned", "text": text}},
    ]
    for some in (documents[:1], documents[1:], documents):
        page, plain = report(some, ASSETS), report([harmless(one, text) for one in some], ASSETS)
        assert [name for name, _ in Parsed(page).elements] == [name for name, _ in Parsed(plain).elements]
        assert data_of(page)["runs"] == json.loads(json.dumps(some))
        assert not any(name.startswith("on") for _, attributes in Parsed(page).elements for name in attributes)


def harmless(document: dict[str, Any], text: str) -> dict[str, Any]:
    """Return a document with a word instead of a text."""

    def change(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: change(one) for name, one in value.items()}
        if isinstance(value, list):
            return [change(one) for one in value]
        return "word" if isinstance(value, str) and value == text and value else value

    changed: dict[str, Any] = change(document)
    return changed


def test_a_report_allows_its_own_scripts_and_styles_and_nothing_else() -> None:
    page = Parsed(report([run()], ASSETS))
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy") or ""
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.keys() == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    code = [text for text in page.scripts if not text.startswith("{")]
    assert code[0] == ASSETS.scripts[0]
    assert rules["script-src"].split() == [source(text) for text in code]
    assert page.styles[0] == ASSETS.styles[0]
    assert rules["style-src"].split() == [source(text) for text in page.styles]
    assert not any(attribute in a for _, a in page.elements for attribute in ("src", "href", "style", "srcset"))


def source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_a_report_has_what_draws_a_run_and_nothing_that_asks_a_server() -> None:
    code = assets().scripts[1]
    assert "smssim.report = " in code
    assert "const viewIn = " in code
    assert not any(word in code for word in ("EventSource", "fetch(", "/api/"))


def test_no_script_or_style_of_the_page_ends_its_element() -> None:
    found = assets()
    assert [text for text in (*found.scripts, *found.styles) if re.search(r"</(script|style)|<!--", text)] == []


# ---- Readable without scripts and styles


def test_a_report_shows_everything_without_scripts() -> None:
    page = Parsed(report([run()]))
    for said in (
        "a drill",
        f"Run {RUN_ID}",
        "Complete after 20.0 s: the producer and the monitor agree",
        "failed<5% MISSED 10% 5% -5%",
        "t50<1m passed 9.50 s 60.00 s +50.50 s",
        "50% 9.50 s",
        "5,000 = 4,500 sent + 500 failed + 0 in flight + 0 waiting",
        "city was killed",
        "sender \N{MULTIPLICATION SIGN}4 16 20 ms 2% left 2,000",
        "99.9%",
        "smssim run --seed 7",
        "Seed 7, attempts per message 3",
    ):
        assert said in page.text, said
    assert "\\" not in page.text
    (picture,) = [attributes for name, attributes in page.elements if name == "svg"]
    assert (picture["role"], "title" in dict(page.elements), "desc" in dict(page.elements)) == ("img", True, True)


def test_a_plan_shows_its_ranges_and_says_that_it_is_no_run() -> None:
    page = Parsed(report([plan(plan=COURSE, command="smssim plan --seeds 100")]))
    for said in (
        "A plan",
        "9.40 s 9.00 s 9.80 s",
        "t50<1m met 100%",
        "city 5,000 4,500 500 98%",
        "smssim plan --seeds 100",
    ):
        assert said in page.text, said
    assert "polygon" in dict(page.elements)


def test_a_run_in_progress_is_shown_as_it_is() -> None:
    page = Parsed(report([running()]))
    assert "not yet" in page.text
    assert "not complete" in page.text


def test_runs_of_any_shape_have_a_report() -> None:
    empty = replace(result(), fleet=Fleet(), plan=None, events=())
    none = replace(empty, figures=replace(empty.figures, total=0, sent=0, failed=0, attempts=0, elapsed_s=0.0))
    assert none.summary is not None
    stopped = replace(none.summary, exit_code=ExitCode.INCOMPLETE, thresholds=(), percentiles={}, reached_s={})
    for last in (empty, none, replace(none, summary=stopped), replace(result(), summary=stopped)):
        page = Parsed(report([run(last)]))
        assert page.text
    assert "no curve" in Parsed(report([run(none)])).text


def test_unknown_thresholds_are_shown_as_they_are() -> None:
    document = run()
    document["progress"] = {
        **document["progress"],
        "thresholds": [{"threshold": "t42<1", "value": 4.5, "passed": False}],
    }
    assert "t42<1 MISSED 4.5" in Parsed(report([document])).text


def test_margins_are_positive_where_a_threshold_is_met() -> None:
    last = result()
    assert last.summary is not None
    for text, value, said in (
        ("rate_per_s>100", 250.0, "+150/s"),
        ("failed<=20%", 500, "+10%"),
        ("t80<10s", 16.2, "-6.20 s"),
        ("sent>=5000", 4500, "-500"),
        ("t99<1h", None, "never 3,600 s -"),
    ):
        judged = Threshold.parse(text).judge({"total": 5000, Threshold.parse(text).name: value})
        one = replace(last, summary=replace(last.summary, thresholds=(Judged(judged.threshold, value, judged.passed),)))
        assert said in Parsed(report([run(one)])).text, text


def test_the_curve_is_broken_where_nobody_watched() -> None:
    whole = run()
    broken = {**whole, "gaps": [{"from_s": 4.0, "to_s": 4.4}]}
    lines = [sum(name == "polyline" for name, _ in Parsed(report([one])).elements) for one in (whole, broken)]
    assert lines[1] == lines[0] + 1
    assert "no record: the monitor was away" in Parsed(report([broken])).text


def test_copies_of_one_sender_are_one_row() -> None:
    page = Parsed(report([run(result(senders=1000))]))
    assert "sender \N{MULTIPLICATION SIGN}1,000" in page.text
    assert "sender-7" not in page.text


def test_a_table_has_a_hundred_senders_and_the_sum_of_the_others() -> None:
    last = result(senders=1000)
    rows = tuple(replace(row, name=f"{row.name}-x") for row in last.fleet.rows)
    page = Parsed(report([run(replace(last, fleet=Fleet(rows)))]))
    assert page.text.count("-x ") == 100
    assert "900 more senders: 900 left" in page.text


# ---- Size


def test_a_report_is_bounded_however_many_messages_senders_and_events_there_are() -> None:
    many = result(senders=1000)
    fleet = Fleet(
        tuple(replace(one, name=f"a-rather-long-name-of-a-sender-{i}") for i, one in enumerate(many.fleet.rows))
    )
    last = replace(many, fleet=fleet)
    big = [run(replace(last, figures=replace(last.figures, run_id=RUN_ID[:-1] + str(i)))) for i in range(4)]
    assert len(report(big[:1])) < 700_000
    assert len(report(big)) < 1_800_000  # room for the scripts of the page
    assert len(report([run()])) < 150_000


@pytest.mark.parametrize("state", State)
def test_states_of_senders_are_words(state: State) -> None:
    last = result()
    rows = tuple(replace(one, state=state) for one in last.fleet.rows)
    alone = Fleet((replace(rows[0], name="alone"),))
    assert f"alone 4 20 ms 2% {state.name.lower()} 500" in Parsed(report([run(replace(last, fleet=alone))])).text


def test_the_versions_of_the_format_agree() -> None:
    assert run()["version"] == plan_document(plan()["forecast"])["version"] == formats.VERSION
    assert document.__module__ == "smssim.outputs.document"
