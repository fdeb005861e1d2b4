"""A report in a real browser: as a file, without scripts, on a build server and on paper; nothing foreign runs."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from browser_support import launched, visiting
from page_support import chart, fits, names, pairs, rows_of, senders, spoken, violations
from playwright.sync_api import Browser, Page, expect
from report_support import data_of, forecast, plan, renamed, result, run, running
from test_reach_shown import reached
from view_support import planned

from smssim.core.fleet import Fleet
from smssim.core.threshold import Threshold
from smssim.outputs.document import plan_of
from smssim.outputs.report.assets import assets
from smssim.outputs.report.inputs import documents_in, plan_document
from smssim.outputs.report.page import report
from smssim.words import clock, count, percent, seconds

pytestmark = pytest.mark.browser

HOSTILE: Final = "</script><img src=x onerror=window.owned=1><svg onload=window.owned=1>\"'`\u202eevil" + "long" * 200
PHONE: Final = {"width": 360, "height": 800}
WIDE: Final = {"width": 1280, "height": 900}
SANDBOX: Final = "sandbox; default-src 'none'; img-src 'self'; style-src 'self';"  # as Jenkins sends it


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as one:
        yield one


class Sandboxing(http.server.SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", SANDBOX)
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def written(path: Path, *documents: dict[str, Any]) -> bytes:
    path.write_bytes(report(documents))
    return path.read_bytes()


def shows_everything(page: Page) -> None:
    """Check that the verdict, the tables and the picture of a run are shown."""
    text = page.inner_text("main")
    for said in ("the producer and the monitor agree", "failed<5%", "4,500", "city was killed", "smssim run --seed 7"):
        assert said in text, said
    picture = page.locator("main svg").first
    assert picture.is_visible()
    box = picture.bounding_box()
    assert box is not None
    assert box["width"] > 300
    line = page.locator("main svg polyline[stroke-width='2.5']").first.bounding_box()
    assert line is not None
    assert line["width"] > 200


def shown(page: Page, path: Path) -> Page:
    """Open a report, and wait until its scripts have drawn it."""
    page.goto(path.as_uri())
    expect(page.locator("main .plain")).to_have_count(0)
    expect(page.locator("main [role=slider]").first.locator("canvas")).to_be_attached()
    return page


def test_a_report_needs_nothing_but_its_file(browser: Browser, tmp_path: Path) -> None:
    written(tmp_path / "r.html", run(), run(title="another"))
    with visiting(browser, offline=True) as (page, _):
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        shown(page, tmp_path / "r.html")
        page.locator("details.run > summary").first.click()
        chart(page, "Latency so far")
        assert asked == [(tmp_path / "r.html").as_uri()]


def test_scripts_show_the_same_figures_and_let_readers_search_them(browser: Browser, tmp_path: Path) -> None:
    document = run(result(senders=60))
    document["senders"] |= {"group": [-1] * 60, "groups": [], "sent": list(range(500, 560))}
    written(tmp_path / "r.html", document)
    with visiting(browser) as (page, _):
        shown(page, tmp_path / "r.html")
        progress = document["progress"]
        for said in (document["verdict"]["text"], "100%", f"after {clock(progress['elapsed_s'])}"):
            expect(page.locator("#verdict")).to_contain_text(said)
        chart(page, "Latency so far")
        found = pairs(page)
        assert found["sent"] == f"{count(progress['sent'])} {percent(progress['sent'], progress['total'])}"
        assert found["latency p99"] == seconds(progress["latency_p99_s"])
        assert found["redelivered"] == count(progress["redelivered"])
        goals = rows_of(page.get_by_role("table", name="Goals"))
        assert [(row["goal"], row["state"][2:]) for row in goals] == [("failed<5%", "missed"), ("t50<1m", "passed")]
        curve = chart(page, "Messages sent and failed over time")
        assert spoken(curve, "End").startswith("20.0 s: sent 4,500 (90.0%), failed 500 (10.0%), plan (95%) 1,000.")
        head = senders(page).get_by_role("columnheader", name="sent", exact=True)
        head.get_by_role("button").click()
        assert names(page)[:2] == ["sender-60", "sender-59"]
        page.locator("#sender-filter").fill("-7")
        assert names(page) == ["sender-7"]
        page.get_by_role("button", name="Zoom in").click()
        expect(page.get_by_role("button", name="Whole run")).not_to_have_attribute("aria-disabled", "true")


def test_the_data_in_a_report_is_the_document_to_the_last_digit(browser: Browser, tmp_path: Path) -> None:
    last = result()
    written(tmp_path / "r.html", run(last))
    with visiting(browser) as (page, _):
        shown(page, tmp_path / "r.html")
        data = page.evaluate("JSON.parse(document.getElementById('smssim-data').textContent)")
    assert data == {"version": 1, "runs": [json.loads(json.dumps(run(last)))], "comparison": None}
    assert data["runs"][0]["progress"] == json.loads(json.dumps(last.as_dict()))


def test_a_run_shows_unreachable_messages_and_its_cost_only_if_there_are_any(browser: Browser, tmp_path: Path) -> None:
    goal = Threshold.parse("t95_reachable<19s")
    some = replace(reached(), summary=None)
    written(tmp_path / "some.html", run(replace(some, figures=replace(some.figures, final=False)), goals=(goal,)))
    written(tmp_path / "none.html", run())
    with visiting(browser, viewport=WIDE) as (page, _):
        shown(page, tmp_path / "some.html")
        figures = pairs(page)
        assert (figures["unreachable"], figures["cost"]) == ("450", "1,234.50")
        text = page.inner_text("main")
        assert "t95_reachable<19s" in text
        assert "passed" in text
        small = [cell.get_attribute("data-small") for cell in page.locator("td[data-small]").all()]
        assert "reachable: 18.0 s" in small
        expect(page.locator("#ceiling")).to_have_text("95% and 99% can't be reached: at most 91.0%.")
        shown(page, tmp_path / "none.html")
        assert not pairs(page).keys() & {"unreachable", "cost"}


def test_a_plan_shows_unreachable_messages_and_its_cost_only_if_there_are_any(browser: Browser, tmp_path: Path) -> None:
    some = {
        "unreachable": {"median": 450, "low": 440, "high": 460},
        "cost": {"median": 12.5, "low": 12.5, "high": 12.5},
    }
    for name, more in (("some", some), ("none", {})):
        document = plan_document(forecast(**more), plan_of(planned()))
        written(tmp_path / f"{name}.html", document)
    with visiting(browser, viewport=WIDE) as (page, _):
        shown(page, tmp_path / "some.html")
        figures = pairs(page)
        assert (figures["unreachable"], figures["cost"]) == ("450 (440–460)", "12.50")
        times = rows_of(page.get_by_role("table", name="When shares of all messages are sent"))
        assert [row["reachable"] for row in times] == ["9.4 s", "16.0 s", "never", "never", ""]
        shown(page, tmp_path / "none.html")
        assert not pairs(page).keys() & {"unreachable", "cost"}
        assert "reachable" not in rows_of(page.get_by_role("table", name="When shares of all messages are sent"))[0]


def test_two_runs_and_a_plan_are_compared_by_figure_and_course(browser: Browser, tmp_path: Path) -> None:
    course = {**plan_of(planned()), "sent": [0, 450, 4050, 4500]}
    written(tmp_path / "r.html", run(), run(result(8, sent=4400), title="another"), plan(title="the plan", plan=course))
    with visiting(browser) as (page, _):
        shown(page, tmp_path / "r.html")
        expect(page.get_by_role("heading", level=1)).to_have_text("3 runs and plans compared")
        rows = {row["figure"]: row for row in rows_of(page.get_by_role("region", name="Differences").locator("table"))}
        assert [rows["sent"][run] for run in ("1", "2", "2 - 1")] == ["4,500, inside", "4,400, OUTSIDE", "-100 (-2.2%)"]
        assert [rows["50% sent after"][run].split(" s")[0] for run in "123"] == ["9.50", "9.50", "9.40"]
        assert rows["failed"]["2 - 1"] == "equal"
        expect(page.get_by_text("Another seed: 8 instead of 7.")).to_be_visible()
        curve = chart(page, "Share of all messages sent")
        assert spoken(curve, "End").startswith("20.0 s: 1 a drill 90%, 2 another 88%")
        assert "3 the plan 90%" in spoken(curve, *["Shift+ArrowLeft"] * 5)
        for title in ("another", "the plan", "a drill"):
            page.locator("details.run > summary", has_text=title).click()
            expect(page.locator("details.run[open]")).to_have_count(1)
            expect(page.locator("details.run[open] #verdict")).to_contain_text(
                "20.0 s" if title != "the plan" else "19.8 s"
            )


def test_a_comparison_draws_the_known_times_of_a_run_without_a_course(browser: Browser, tmp_path: Path) -> None:
    bare = documents_in(json.dumps(result().as_dict()).encode(), "result.json")
    written(tmp_path / "r.html", *bare, plan(plan=None))
    with visiting(browser) as (page, _):
        shown(page, tmp_path / "r.html")
        curve = chart(page, "Share of all messages sent")
        assert "90%, 2" in spoken(curve, "End")
        assert spoken(curve, "Home").startswith("0.0 s: 1 run 3f2a9c1e 0%")


@pytest.mark.parametrize("kind", ["run", "plan", "comparison"])
def test_reports_are_accessible_on_a_light_screen_and_a_dark_phone(browser: Browser, tmp_path: Path, kind: str) -> None:
    of_plan = plan(title="the plan", plan=plan_of(planned()))
    documents = {"run": [run()], "plan": [of_plan], "comparison": [run(), run(result(8), title="another"), of_plan]}
    written(tmp_path / "r.html", *documents[kind])
    for scheme, size in (("light", WIDE), ("dark", PHONE)):
        with visiting(browser, color_scheme=scheme, viewport=size) as (page, _):
            shown(page, tmp_path / "r.html")
            assert violations(page) == []
            assert fits(page)


def test_the_content_without_scripts_is_accessible_too(browser: Browser, tmp_path: Path) -> None:
    plain = replace(assets(), scripts=())
    for number, documents in enumerate(([run(), run(result(8), title="another"), plan(title="the plan")], [run()])):
        (tmp_path / f"{number}.html").write_bytes(report(documents, plain))
        with visiting(browser, color_scheme="dark" if number else "light", viewport=PHONE) as (page, _):
            page.goto(f"file://{tmp_path}/{number}.html")
            assert violations(page) == []
            assert fits(page)


def test_a_report_on_paper_has_everything_and_no_buttons(browser: Browser, tmp_path: Path) -> None:
    document = run(result(senders=40))
    document["senders"] |= {"group": [-1] * 40, "groups": []}
    written(tmp_path / "r.html", document)
    with visiting(browser, color_scheme="dark") as (page, _):
        shown(page, tmp_path / "r.html")
        page.emulate_media(media="print")
        cut = "all => all.filter(one => one.scrollHeight > one.clientHeight + 1).length"
        assert page.locator(".scroll").evaluate_all(cut) == 0
        for found in (page.locator("#verdict"), senders(page), page.get_by_role("table", name="Events", exact=True)):
            expect(found).to_be_visible()
        for picture in page.locator("main canvas").all():
            expect(picture).to_be_visible()
        assert page.locator("main canvas").count() == page.locator("[role=slider]").count() == 7
        for tool in ("Zoom in", "Whole run"):
            expect(page.get_by_role("button", name=tool, exact=True)).to_be_hidden()
        expect(page.locator("#sender-filter")).to_be_hidden()
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == "rgb(255, 255, 255)"
        assert page.pdf().startswith(b"%PDF")


def test_a_report_is_readable_without_scripts(browser: Browser, tmp_path: Path) -> None:
    written(tmp_path / "r.html", run())
    for scheme in ("light", "dark"):
        with visiting(browser, java_script_enabled=False, color_scheme=scheme) as (page, _):
            page.goto(f"file://{tmp_path}/r.html")
            shows_everything(page)


def test_a_report_is_readable_on_a_build_server_that_forbids_scripts_and_styles(
    browser: Browser, tmp_path: Path
) -> None:
    written(tmp_path / "r.html", run())
    handler = functools.partial(Sandboxing, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with visiting(browser) as (page, faults):
            faults.expected += ["Content Security Policy", "Blocked script execution"]
            page.goto(f"http://127.0.0.1:{server.server_port}/r.html")
            shows_everything(page)
        server.shutdown()


def test_no_text_of_a_report_runs_or_violates_its_policy(browser: Browser, tmp_path: Path) -> None:
    hostile = run(renamed(result(), HOSTILE), title=HOSTILE, command=HOSTILE)
    for number, documents in enumerate(([hostile], [hostile, {**plan(title=HOSTILE, command=HOSTILE)}, hostile])):
        content = written(tmp_path / f"{number}.html", *documents)
        for has_scripts in (True, False):
            with visiting(browser, java_script_enabled=has_scripts, viewport=PHONE) as (page, _):
                page.goto(f"file://{tmp_path}/{number}.html")
                expect(page.locator("main .plain")).to_have_count(0 if has_scripts else 1)
                assert fits(page)
                assert page.evaluate("window.owned") is None
                assert page.locator("main img").count() == 0
        assert data_of(content)["runs"] == json.loads(json.dumps(documents))


def ungrouped(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without what need not be there."""
    needed = ("version", "kind", "progress", "verdict")
    senders = {name: column for name, column in document["senders"].items() if not name.startswith("group")}
    return {**{name: document[name] for name in needed}, "senders": senders}


def test_documents_of_any_shape_are_drawn(browser: Browser, tmp_path: Path) -> None:
    last = result()
    empty = replace(last, fleet=Fleet(), plan=None, events=(), detail=None)
    none = replace(empty, figures=replace(empty.figures, total=0, sent=0, failed=0, attempts=0, elapsed_s=0.0))
    (summary,) = documents_in(json.dumps(last.as_dict()).encode(), "s.json")
    (old,) = documents_in(json.dumps(ungrouped(run())).encode(), "old.json")
    shapes = (run(empty), run(none), running(), summary, plan(), old)
    for number, documents in enumerate((*((one,) for one in shapes), shapes)):
        written(tmp_path / f"{number}.html", *documents)
        with visiting(browser) as (page, _):
            page.goto(f"file://{tmp_path}/{number}.html")
            expect(page.locator("main .plain")).to_have_count(0)
            assert documents[0]["verdict"]["text"] in page.inner_text("main") or len(documents) > 1


def test_a_report_prints(browser: Browser, tmp_path: Path) -> None:
    written(tmp_path / "r.html", run())
    with visiting(browser, java_script_enabled=False) as (page, _):
        page.goto(f"file://{tmp_path}/r.html")
        assert page.pdf().startswith(b"%PDF")
