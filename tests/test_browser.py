"""The live page in a real browser: what it shows, how it follows a run, and that nobody is left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from browser_support import launched, visiting
from page_support import (
    EVENTS,
    LATENCY,
    STALL,
    Json,
    Rehearsal,
    chart,
    counting,
    end,
    fits,
    moment,
    names,
    pairs,
    rows_of,
    scripted,
    sender,
    senders,
    some_senders,
    spoken,
    thousand,
    violations,
)
from playwright.sync_api import Browser, Page, Response, expect
from processes_support import Nodes
from report_support import data_of
from view_support import OTHER, RUN_ID

from smssim import words
from smssim.core.event import Event, Kind
from smssim.core.session import State
from smssim.web.frames import frame
from smssim.words import clock, count, percent, seconds

pytestmark = pytest.mark.browser

HOSTILE: Final = (
    "</script><img src=x onerror=window.owned=1><svg onload=window.owned=1>"
    "\"'`{{7*7}}${7*7}\u202egnihton\u2028\x00\x1b[31m" + "long" * 300
)
PARTS: Final = ("sent", "failed", "in flight", "waiting")
BEGAN_MS: Final = 1_800_000_000_000
PHONE: Final = {"width": 360, "height": 800}
WIDE: Final = {"width": 1280, "height": 900}
STATES: Final = ("", "sending", "waiting", "lost", "left")
SAID: Final = """[document.title, document.body.innerText, ...["aria-label", "aria-valuetext", "title"].flatMap(name =>
    [...document.querySelectorAll(`[${name}]`)].map(one => one.getAttribute(name)))].join()"""
ROWS_MAX: Final = 100
NODES_MAX: Final = 3000
BYTES_MAX, PACKED_MAX = 120_000, 45_000
HEAP_MAX, GROWTH_MAX = 40e6, 2e6


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as one:
        yield one


@pytest.fixture
def rehearsal() -> Iterator[Rehearsal]:
    """Return a page of a run in its twelfth second."""
    with Rehearsal(*(moment(float(second)) for second in range(1, 13))) as served:
        yield served


@pytest.fixture(scope="module")
def shown(browser: Browser) -> Iterator[tuple[Page, Json]]:
    """Return a page that no test changes, and the state that it shows."""
    with Rehearsal(*(moment(float(second)) for second in range(1, 13))) as served, visiting(browser) as (page, _):
        opened(page, served)
        expect(page.get_by_text(RUN_ID, exact=True)).to_be_attached()  # the last part is drawn
        yield page, served.state()


def opened(page: Page, served: Rehearsal, path: str = "") -> Page:
    """Open a page and wait until it follows the run."""
    page.goto(served.url + path)
    served.until_viewers(1)
    expect(page.locator("#verdict")).to_be_visible()
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    return page


def says_done(page: Page, at_s: float) -> None:
    """Wait until the page shows this moment."""
    expect(page.locator("#verdict")).to_contain_text(f"at {clock(at_s)}")


# ---- What it shows


def test_the_verdict_and_all_figures_are_those_of_the_state(shown: tuple[Page, Json]) -> None:
    page, state = shown
    progress = state["progress"]
    verdict = page.locator("#verdict").inner_text()
    done = progress["sent"] + progress["failed"]
    for said in (state["verdict"]["text"], percent(done, progress["total"]), f"at {clock(progress['elapsed_s'])}"):
        assert said in verdict
    found = pairs(page)
    for name in ("retried", "duplicates", "attempts", "senders"):
        assert found[name] == count(progress[name])
    for name in ("p50", "p95", "p99"):
        assert found[f"latency {name}"] == seconds(progress[f"latency_{name}_s"])
    assert found["average time"] == seconds(progress["avg_time_s"])
    assert found["average sent"] == seconds(progress["avg_sent_time_s"])
    assert found["now"] == words.about_per_second(progress["recent_rate_per_s"])
    assert found["overall"] == words.about_per_second(progress["rate_per_s"])
    assert (found["run"], found["seed"], found["smssim"]) == (RUN_ID, "7", state["smssim"])
    assert found["command"] == "smssim run drill.yaml --seed 7"
    assert page.get_by_role("heading", level=1).inner_text() == "Drill"


def test_the_conservation_bar_divides_all_messages(shown: tuple[Page, Json]) -> None:
    page, state = shown
    progress, found = state["progress"], pairs(page)
    counts = {name: progress[name.replace(" ", "_")] for name in PARTS}
    for name, number in counts.items():
        assert found[name] == f"{count(number)} {percent(number, progress['total'])}"
    total = " + ".join(f"{count(number)} {name}" for name, number in counts.items())
    expect(page.get_by_text(f"{count(progress['total'])} = {total}", exact=True)).to_be_visible()
    expect(page.locator("#books")).to_contain_text("compared at the end")
    widths = page.locator(".conservation > *").evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")
    shares = [number / progress["total"] for number in counts.values()]
    assert [width / sum(widths) for width in widths] == pytest.approx(shares, abs=0.01)


def test_the_curve_and_the_rates_are_those_of_the_history(shown: tuple[Page, Json]) -> None:
    page, state = shown
    history, total = state["history"], state["progress"]["total"]
    curve = spoken(chart(page, "Messages sent and failed over time"), "End")
    assert curve.startswith(f"{clock(history['elapsed_s'][-1])}: ")
    for name in ("sent", "failed"):
        number = history[name][-1]
        assert f"{name} {count(number)} ({percent(number, total)})" in curve
    rates = spoken(chart(page, "Rate"), "Home")
    assert rates.startswith(f"{clock(history['elapsed_s'][0])}: now {words.about_per_second(history['rate_per_s'][0])}")
    assert "failed 10.0/s, retried 3.00/s" in spoken(chart(page, "Failed, retried, duplicates"), "End")


def test_each_sender_stands_with_its_figures_and_its_state_by_shape_and_word(shown: tuple[Page, Json]) -> None:
    page, state = shown
    columns = state["senders"]
    singles = [i for i, group in enumerate(columns["group"]) if group < 0]
    rows = {row["sender"]: row for row in rows_of(senders(page))}
    assert len(rows) == len(singles) + 1
    for i in singles:
        row = rows[columns["name"][i]]
        shape, word = row["state"].split(" ")
        assert (len(shape), word) == (1, STATES[int(columns["state"][i])])
        assert (row["lanes"], row["sent"], row["failed"]) == tuple(
            count(columns[name][i]) for name in ("concurrency", "sent", "failed")
        )
        assert (row["mean"], row["average"]) == ("20 ms", seconds(columns["avg_time_s"][i]))
        assert row["now"] == words.about_per_second(columns["recent_rate_per_s"][i])
    shapes = {row["state"] for name, row in rows.items() if not name.startswith("beta")}
    assert shapes == {"● sending", "○ waiting", "✕ lost", "– left"}


def test_events_are_listed_with_time_shape_and_text(shown: tuple[Page, Json]) -> None:
    page, state = shown
    listed = rows_of(page.get_by_role("table", name="Events", exact=True))
    assert [(row["time"], row["kind"][2:], row["event"]) for row in listed] == [
        (clock(event["at_s"]), event["kind"], event["text"]) for event in state["events"]
    ]
    assert {event.text for event in EVENTS} <= {row["event"] for row in listed}
    assert all(row["kind"][0] in "▼▲◆" for row in listed)


def test_the_latency_charts_show_each_bar_and_each_percentile(shown: tuple[Page, Json]) -> None:
    page, _ = shown
    histogram = chart(page, "Latency histogram")
    assert [spoken(histogram, key) for key in ("Home", *["ArrowRight"] * 3)] == [
        "up to 500 ms: messages 7. ",
        "500 ms to 1 s: messages 60. ",
        "1 s to 2 s: messages 30. ",
        "above 2 s: messages 3. ",
    ]
    spectrum = chart(page, "Percentiles")
    said = [spoken(spectrum, key) for key in ("Home", *["ArrowRight"] * 2)]
    highest = f"highest {seconds(LATENCY.spectrum[-1][1])}. "
    assert said == [f"{p:g}%: latency {seconds(time_s)}, {highest}" for p, time_s in LATENCY.spectrum[:-1]]
    assert "p50 1.20 s, p95 4.00 s, p99 4.50 s" in spoken(chart(page, "Latency so far"), "End")


def test_each_chart_has_a_name_and_a_table_that_says_the_same(shown: tuple[Page, Json]) -> None:
    page, state = shown
    found = page.get_by_role("slider").all()
    labels = [one.get_attribute("aria-label") or "" for one in found]
    assert len(labels) == len(set(labels)) == 7
    for label in labels:
        name = label.removesuffix(" (chart)")
        table = page.locator("details.alternative").filter(has=page.get_by_text(f"Table: {name}", exact=True))
        table.locator("summary").click()
        assert len(rows_of(table.locator("table"))) >= 3, name
        table.locator("summary").click()
    table = page.locator("details.alternative").first
    table.locator("summary").click()
    last = rows_of(table.locator("table"))[-1]
    assert last["sent"].split()[0] == count(state["history"]["sent"][-1])
    table.locator("summary").click()


def test_the_states_of_senders_over_time_are_read_out_by_sender(shown: tuple[Page, Json]) -> None:
    page, state = shown
    heat = chart(page, "States of senders")
    assert f"{state['senders']['name'][0]}: sending at " in spoken(heat, "End")
    tens, ones = divmod(state["senders"]["name"].index("c2"), 10)
    assert "c2: waiting" in spoken(heat, *["Shift+ArrowDown"] * tens, *["ArrowDown"] * ones)
    assert "d3: lost" in spoken(heat, "ArrowDown")


# ---- Texts of others


def hostile(value: Any, key: str = "") -> Any:
    """Return JSON in which each text is hostile, except those that no other program can choose."""
    if isinstance(value, dict):
        return {name: hostile(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [hostile(one, key) for one in value]
    fixed = ("run_id", "state", "rows", "heat", "code", "began")
    return HOSTILE if isinstance(value, str) and key not in fixed and value != "run" else value


@pytest.mark.parametrize("width", [360, 1280])
def test_hostile_texts_are_shown_as_text_and_run_nothing(browser: Browser, width: int) -> None:
    rows = [sender(i, name=HOSTILE if i else "") for i in range(3)]
    with Rehearsal(moment(9.0, rows), moment(10.0, rows, stall=STALL)) as served:
        state = served.state()
        seen = served.served.page.seen[RUN_ID]
        moved = hostile(frame(seen, state["static_version"]))
    state |= {"stalls": [{"from_s": 3.0, "to_s": None, "reason": ""}], "stall": "-", "pace": "-"}
    state["senders"] |= {"group": [0, 0, -1], "groups": ["-"]}
    state["progress"] |= {"reason": "-", "thresholds": [{"threshold": "-", "value": 1, "passed": False}]}
    document = hostile({**state, "goals": [{"text": "-", "percent": 50, "at_s": 5.0}]})
    runs = [{"run_id": one, "title": HOSTILE, "began": HOSTILE, "state": HOSTILE, "total": 5} for one in (RUN_ID, "x")]
    with visiting(browser, viewport={"width": width, "height": 800}) as (page, _):
        scripted(page, document, runs)
        with Rehearsal() as served:
            page.goto(served.url)
            expect(page.locator("#stall")).to_contain_text("</script><img")
            for step in (0.5, 1.0):
                moved["progress"]["elapsed_s"] = 10 + step
                page.evaluate("frame => smssim.page.frame(frame)", moved)
                says_done(page, 10 + step)
            assert spoken(chart(page, "Messages sent and failed over time"), "End").count("</script><img") >= 2
            for details in page.locator("details.alternative > summary").all():
                details.click()
            for wherever in (
                senders(page),
                page.get_by_role("table", name="Events"),
                page.get_by_role("table", name="Goals"),
            ):
                expect(wherever).to_contain_text("</script><img")
            assert page.locator("img, body svg").count() == 0
            assert page.evaluate("window.owned") is None
            said = page.evaluate(SAID)
            assert re.findall(r".{30}[\u202e\u2028\x00\x1b]", said) == []
            assert fits(page)


# ---- Following a run


def test_a_frame_moves_all_figures_on(browser: Browser, rehearsal: Rehearsal) -> None:
    with visiting(browser) as (page, _):
        opened(page, rehearsal)
        with counting(page, "/api/state") as asked:
            rehearsal.note(moment(13.0, latency_p99_s=7.5))
            says_done(page, 13.0)
        assert asked == []
        found = pairs(page)
        assert (found["sent"], found["latency p99"]) == ("1,170 23.4%", "7.50 s")
        senders(page).scroll_into_view_if_needed()
        expect(senders(page).get_by_role("row").filter(has_text="a0").get_by_role("cell").nth(8)).to_have_text(
            count(sender(0, 13.0).sent)
        )
        curve = chart(page, "Messages sent and failed over time")
        assert "sent 1,170 (23.4%)" in spoken(curve, "End")
        assert spoken(chart(page, "Rate"), "End").startswith("13.0 s: now 100/s")
        assert page.title().startswith("26.0% Drill")


def test_a_frame_that_is_older_than_the_document_is_ignored(browser: Browser, rehearsal: Rehearsal) -> None:
    older = frame(rehearsal.served.page.seen[RUN_ID], rehearsal.state()["static_version"])
    rehearsal.note(moment(13.0))
    with visiting(browser) as (page, _):
        opened(page, rehearsal)
        page.evaluate("frame => smssim.page.frame(frame)", older)
        rehearsal.note(moment(14.0))
        says_done(page, 14.0)
        curve = chart(page, "Messages sent and failed over time")
        said = [spoken(curve, key).split(":")[0] for key in ("End", "ArrowLeft", "ArrowLeft")]
        assert said == ["14.0 s", "13.0 s", "12.0 s"]


def test_events_that_frames_leave_out_are_fetched(browser: Browser, rehearsal: Rehearsal) -> None:
    with visiting(browser) as (page, _):
        page.clock.install(time=BEGAN_MS)
        opened(page, rehearsal)
        page.clock.fast_forward(6000)
        many = tuple(Event(9 + i / 100, Kind.SLOWED, f"event {i}") for i in range(20))
        rehearsal.note(moment(13.0, events=(*EVENTS, *many)))
        expect(page.get_by_role("table", name="Events", exact=True)).to_contain_text("event 3", timeout=20_000)


def test_senders_are_sorted_by_any_column_and_stay_so(browser: Browser, rehearsal: Rehearsal) -> None:
    def rows_at(at_s: float, last: int) -> list[Any]:
        return [sender(i, at_s if i != last else 9 * at_s) for i in range(8)]

    def by_sent() -> list[int]:
        return [int(row["sent"].replace(",", "")) for row in rows_of(senders(page))]

    rehearsal.note(moment(13.0, rows_at(13.0, 1)))
    with visiting(browser) as (page, _):
        opened(page, rehearsal)
        head = senders(page).get_by_role("columnheader", name=re.compile("^sent"))
        head.get_by_role("button").click()
        expect(head).to_have_attribute("aria-sort", "descending")
        assert by_sent() == sorted(by_sent(), reverse=True)
        assert names(page)[0] == "b1"
        rehearsal.note(moment(14.0, rows_at(14.0, 6)))
        says_done(page, 14.0)
        assert by_sent() == sorted(by_sent(), reverse=True)
        assert names(page)[0] == "g6"
        head.get_by_role("button").click()
        expect(head).to_have_attribute("aria-sort", "ascending")
        assert by_sent() == sorted(by_sent())
        assert senders(page).locator("[aria-sort]").count() == 1


def test_a_filter_searches_all_of_a_thousand_senders_of_which_few_are_shown(
    browser: Browser, rehearsal: Rehearsal
) -> None:
    rehearsal.note(moment(13.0, thousand()))
    with visiting(browser) as (page, _):
        opened(page, rehearsal)
        expect(page.locator("#sender-count")).to_contain_text("1,000 senders")
        assert 0 < len(names(page)) <= ROWS_MAX
        page.locator("#sender-filter").fill("NODE-098")
        assert names(page) == [f"node-098{i}x" for i in range(10)]
        expect(page.locator("#sender-count")).to_contain_text("10 of 1,000 senders")
        page.locator("#sender-filter").fill("")
        page.locator("#sender-state").select_option("lost")
        assert names(page) == ["node-0999x"]
        rehearsal.note(moment(14.0, [sender(i, 14.0, State.LOST, f"node-{i:04}x") for i in range(1000)]))
        says_done(page, 14.0)
        assert 1 < len(names(page)) <= ROWS_MAX
        page.locator("#sender-filter").fill("no such sender")
        assert page.locator("table.senders tbody tr").count() == 0


def test_copies_are_one_row_that_opens_and_stays_open(browser: Browser, rehearsal: Rehearsal) -> None:
    with visiting(browser) as (page, _):
        opened(page, rehearsal)
        row = next(row for row in rows_of(senders(page)) if row["sender"].startswith("beta"))
        assert row["sender"] == "beta ×40"
        assert row["sent"] == count(sum(500 + i for i in range(1, 41)))
        assert row["state"] == "39 sending, 1 lost"
        fold = senders(page).get_by_role("button", name="beta ×40")
        expect(fold).to_have_attribute("aria-expanded", "false")
        fold.click()
        expect(fold).to_have_attribute("aria-expanded", "true")
        assert {f"beta-{i}" for i in range(1, 41)} <= set(names(page))
        rehearsal.note(moment(13.0))
        says_done(page, 13.0)
        expect(fold).to_have_attribute("aria-expanded", "true")
        expect(fold).to_be_focused()
        assert "beta-7" in names(page)
        fold.press("Enter")
        assert "beta-7" not in names(page)
        assert len(names(page)) == 6


def test_zoom_sort_and_filter_survive_frames_and_a_new_document(browser: Browser, rehearsal: Rehearsal) -> None:
    with visiting(browser) as (page, _):
        page.clock.install(time=BEGAN_MS)
        opened(page, rehearsal)
        whole = page.get_by_role("button", name="Whole run")
        expect(whole).to_have_attribute("aria-disabled", "true")
        curve, rate = chart(page, "Messages sent and failed over time"), chart(page, "Rate")
        for _ in range(2):
            page.get_by_role("button", name="Zoom in").click()
        expect(whole).not_to_have_attribute("aria-disabled", "true")
        ends = [spoken(one, key).split(":")[0] for one in (curve, rate) for key in ("Home", "End")]
        assert ends[:2] == ends[2:]
        assert 1.0 < float(ends[0].split()[0]) < float(ends[1].split()[0]) <= 12.0
        senders(page).get_by_role("columnheader", name="failed").get_by_role("button").click()
        page.locator("#sender-filter").fill("e")
        before = names(page)
        page.clock.fast_forward(6000)
        with counting(page, "/api/state") as asked:
            rehearsal.note(moment(13.0, [*some_senders(13.0), sender(30, 13.0, name="exit")]))
            expect(page.locator("#sender-count")).to_contain_text("of 46 senders")
        assert len(asked) == 1
        assert [spoken(curve, key).split(":")[0] for key in ("Home", "End")] == ends[:2]
        assert [one for one in names(page) if one != "exit"] == before
        assert "exit" in names(page)
        expect(senders(page).get_by_role("columnheader", name="failed")).to_have_attribute("aria-sort", "descending")
        page.get_by_role("button", name="Zoom out").click()
        whole.click()
        assert [spoken(curve, key).split(":")[0] for key in ("Home", "End")] == ["1.0 s", "13.0 s"]


# ---- How old it is


def test_the_figures_are_live_for_three_seconds_and_then_as_old_as_they_are(
    browser: Browser, rehearsal: Rehearsal
) -> None:
    with visiting(browser) as (page, _):
        page.clock.install(time=BEGAN_MS)
        opened(page, rehearsal)
        page.clock.pause_at(BEGAN_MS + 60_000)
        rehearsal.note(moment(13.0))
        says_done(page, 13.0)
        live = page.locator("#live")
        page.clock.run_for(2_900)
        assert (live.get_attribute("data-state"), live.inner_text()) == ("live", "live")
        page.clock.run_for(1_100)
        assert live.get_attribute("data-state") == "old"
        assert live.inner_text() in ("3 s old", "4 s old")
        page.clock.run_for(60_000)
        assert live.inner_text() in ("63 s old", "64 s old")
        rehearsal.note(moment(14.0))
        expect(live).to_have_text("live")
        says_done(page, 14.0)


def test_two_seconds_after_a_killed_monitor_is_back_the_figures_are_right(browser: Browser) -> None:
    with visiting(browser) as (page, faults):
        faults.expected.append("net::ERR")
        page.clock.install(time=BEGAN_MS)
        with Rehearsal(*(moment(float(second)) for second in range(1, 13))) as killed:
            opened(page, killed)
            page.clock.pause_at(BEGAN_MS + 60_000)
            killed.kill()
            live = page.locator("#live")
            expect(live).to_have_attribute("data-state", "wait")
            page.clock.run_for(30_000)
            expect(live).to_have_text(re.compile(r"reconnecting · \d+ s old"))
        with Rehearsal(*(moment(float(second)) for second in (1, 2, 40, 41)), port=killed.port) as again:
            page.clock.run_for(2_000)
            says_done(page, 41.0)
            again.until_viewers(1)
            expect(live).to_have_text("live")
            page.clock.run_for(100)
            curve = chart(page, "Messages sent and failed over time")
            assert spoken(curve, "End").startswith("41.0 s")
            assert spoken(curve, "ArrowLeft").startswith("40.0 s")
            again.note(moment(42.0))
            says_done(page, 42.0)


def hide(page: Page, is_hidden: bool) -> None:
    """Make a page behave as in a tab behind another one, or in front again."""
    page.evaluate(
        """isHidden => {
            Object.defineProperty(document, "hidden", {configurable: true, get: () => isHidden});
            Object.defineProperty(document, "visibilityState", {get: () => isHidden ? "hidden" : "visible",
                configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


def test_a_hidden_tab_has_no_stream_and_fetches_the_whole_state_on_return(
    browser: Browser, rehearsal: Rehearsal
) -> None:
    with visiting(browser) as (page, _):
        page.clock.install(time=BEGAN_MS)
        opened(page, rehearsal)
        hide(page, True)
        rehearsal.until_viewers(0)
        rehearsal.note(*(moment(float(second)) for second in range(13, 31)))
        page.clock.fast_forward(600_000)
        assert rehearsal.viewers() == 0
        with counting(page, "/api/state") as asked:
            hide(page, False)
            says_done(page, 30.0)
        assert len(asked) == 1
        rehearsal.until_viewers(1)
        curve = chart(page, "Messages sent and failed over time")
        assert [spoken(curve, key).split(":")[0] for key in ("Home", "End", "ArrowLeft")] == [
            "1.0 s",
            "30.0 s",
            "29.0 s",
        ]


def test_after_the_end_the_last_frame_stays_and_the_report_can_be_saved_without_the_server(
    browser: Browser, tmp_path: Path
) -> None:
    with visiting(browser) as (page, _):
        with Rehearsal(*(moment(float(second)) for second in range(1, 13))) as served:
            opened(page, served)
            served.note(end())
        expect(page.locator("#verdict")).to_contain_text("after 50.0 s")
        expect(page.locator("#verdict")).to_contain_text("100%")
        expect(page.locator("#verdict")).to_have_attribute("data-tone", "good")
        expect(page.locator("#live")).to_have_attribute("data-state", "over")
        expect(page.locator("#books")).to_contain_text("the producer and the monitor agree")
        with page.expect_download() as download:
            page.locator("#save").click()
        assert download.value.suggested_filename == "Drill.html"
        download.value.save_as(tmp_path / "saved.html")
        (document,) = data_of((tmp_path / "saved.html").read_bytes())["runs"]
        assert (document["title"], document["progress"]["final"]) == ("Drill", True)
        with visiting(browser, offline=True) as (saved, _):
            saved.goto((tmp_path / "saved.html").as_uri())
            expect(saved.get_by_text(RUN_ID, exact=True)).to_be_attached()
            expect(saved.locator("#verdict")).to_have_text(page.locator("#verdict").inner_text(), use_inner_text=True)
            assert pairs(saved) == pairs(page)


def test_a_monitor_that_ends_without_a_last_frame_says_so(browser: Browser) -> None:
    with visiting(browser) as (page, _):
        with Rehearsal(moment(1.0), moment(2.0)) as served:
            opened(page, served)
        expect(page.locator("#live")).to_have_text("monitor ended: it was stopped")
        expect(page.locator("#live")).to_have_attribute("data-state", "over")
        says_done(page, 2.0)


def test_a_tab_has_one_stream_whichever_run_it_shows(browser: Browser, rehearsal: Rehearsal) -> None:
    rehearsal.note(end(), moment(7.0, run_id=OTHER))
    with visiting(browser) as (page, _):
        opened(page, rehearsal)
        says_done(page, 7.0)
        choice = page.get_by_role("combobox", name="Run")
        assert choice.input_value() == OTHER
        assert choice.locator("option").count() == 2
        with page.context.expect_page() as other, page.expect_popup():
            page.evaluate("open(location.href)")
        expect(other.value.locator("#live")).to_have_text("live")
        rehearsal.until_viewers(2)
        choice.select_option(RUN_ID)
        expect(page.locator("#verdict")).to_contain_text("after 50.0 s")
        rehearsal.until_viewers(1)
        other.value.close()
        rehearsal.until_viewers(0)
        for _ in range(3):
            choice.select_option(OTHER)
            says_done(page, 7.0)
            choice.select_option(RUN_ID)
            expect(page.locator("#verdict")).to_contain_text("after 50.0 s")
        choice.select_option(OTHER)
        rehearsal.until_viewers(1)
        expect(page.locator("#live")).to_have_text("live")
        rehearsal.note(moment(8.0, run_id=OTHER))
        says_done(page, 8.0)
        assert rehearsal.viewers() == 1
        assert OTHER in (page.locator("#save").get_attribute("href") or "")


# ---- For everyone


def test_a_run_in_progress_stalled_and_ended_is_accessible_on_a_light_screen_and_a_dark_phone(
    browser: Browser, rehearsal: Rehearsal
) -> None:
    with visiting(browser, viewport=WIDE) as (page, _):
        opened(page, rehearsal)
        steps = (moment(13.0), moment(14.0, stall=STALL), end())
        for now, tone in zip(steps, ("good", "warn", "good"), strict=True):
            rehearsal.note(now)
            expect(page.locator("#verdict")).to_contain_text(clock(now.figures.elapsed_s))
            expect(page.locator("#verdict")).to_have_attribute("data-tone", tone)
            for size, scheme in ((WIDE, "light"), (PHONE, "dark")):
                page.set_viewport_size(size)  # type: ignore[arg-type]
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                assert violations(page) == []
                assert fits(page)


def test_everything_is_reached_by_the_tab_key_in_the_order_of_the_page(browser: Browser, rehearsal: Rehearsal) -> None:
    with visiting(browser, viewport=WIDE) as (page, _):
        opened(page, rehearsal)
        chart(page, "Latency so far")
        reached: list[str] = []
        where = "one => one.id || one.getAttribute('aria-label') || one.innerText.trim()"
        while len(reached) < 100 and "Events" not in reached:
            page.keyboard.press("Tab")
            reached.append(page.locator(":focus").evaluate(where) if page.locator(":focus").count() else "")
        wanted = (
            *("save", "Zoom out", "Zoom in", "Messages sent and failed over time (chart)", "Rate (chart)"),
            *("sender-filter", "sender-state", "Senders", "sender", "sent", "beta ×40", "States of senders (chart)"),
            *("Latency histogram (chart)", "Percentiles (chart)", "Latency so far (chart)", "Events"),
        )
        assert [one for one in reached if one in wanted] == list(wanted)


def test_charts_move_by_keys_and_speak(browser: Browser, rehearsal: Rehearsal) -> None:
    with visiting(browser) as (page, _):
        opened(page, rehearsal)
        curve = chart(page, "Messages sent and failed over time")
        said = [
            spoken(curve, key) for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft", "End", "Shift+ArrowLeft")
        ]
        assert [one.split(":")[0] for one in said] == ["1.0 s", "2.0 s", "3.0 s", "2.0 s", "12.0 s", "2.0 s"]
        assert "sent 180 (3.6%), failed 20 (0.4%)" in said[1]
        assert "5.0 s city was killed" in spoken(curve, "Home", *["ArrowRight"] * 4)
        now, most = (int(curve.get_attribute(f"aria-value{one}") or "") for one in ("now", "max"))
        assert (now, most) == (4, 11)
        spoken(curve, "+")
        expect(page.get_by_role("button", name="Whole run")).not_to_have_attribute("aria-disabled", "true")
        spoken(curve, "Escape")
        expect(page.get_by_role("button", name="Whole run")).to_have_attribute("aria-disabled", "true")


def test_the_live_region_speaks_at_tenths_stalls_and_the_end_only(browser: Browser) -> None:
    with Rehearsal(moment(4.0)) as served, visiting(browser) as (page, _):
        opened(page, served)
        page.evaluate(
            """() => {
                window.said = [];
                const told = document.getElementById("told");
                new MutationObserver(() => window.said.push(told.textContent))
                    .observe(told, {childList: true, characterData: true, subtree: true});
            }"""
        )
        half_seconds = range(9, 45, 3)  # from 9% to 42%
        stalled = [moment(22.0, stall=STALL), moment(22.1, stall=STALL), moment(22.2)]
        for now in (*(moment(half / 2) for half in half_seconds), *stalled):
            served.note(now)
            says_done(page, now.figures.elapsed_s)
        served.note(end())
        expect(page.locator("#verdict")).to_contain_text("after 50.0 s")
        said: list[str] = page.evaluate("window.said")
        assert [one[:8] for one in said[:4]] == ["10% done", "20% done", "30% done", "40% done"]
        assert said[4].startswith("Nothing finished for")
        assert "100%" in said[5]
        assert len(said) == 6
        assert page.locator("#told").get_attribute("role") == "status"


def test_nothing_moves_for_people_who_want_less_motion(browser: Browser, rehearsal: Rehearsal) -> None:
    with visiting(browser, reduced_motion="reduce") as (page, _):
        opened(page, rehearsal)
        moving = page.evaluate(
            """() => [...document.querySelectorAll("*")].filter(one => ["", "::before", "::after"].some(part => {
                const style = getComputedStyle(one, part || undefined);
                return style.animationName !== "none" || !/^(0s(, )?)+$/.test(style.transitionDuration)
                    || style.scrollBehavior === "smooth";
            })).map(one => one.outerHTML.slice(0, 100))"""
        )
        assert moving == []


# ---- What it costs


def metrics(page: Page) -> dict[str, float]:
    """Return what Chromium counts of a page, after it has collected garbage."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    found = session.send("Performance.getMetrics")["metrics"]
    session.detach()
    return {one["name"]: one["value"] for one in found}


def test_a_thousand_senders_take_few_nodes(browser: Browser, rehearsal: Rehearsal) -> None:
    rehearsal.note(moment(13.0, thousand(13.0)))
    with visiting(browser, viewport=WIDE) as (page, _):
        opened(page, rehearsal)
        chart(page, "Latency so far")
        assert metrics(page)["Nodes"] <= NODES_MAX
        rehearsal.note(*(moment(13 + i / 10, thousand(13 + i / 10)) for i in range(1, 9)))
        says_done(page, 13.8)
        assert metrics(page)["Nodes"] <= NODES_MAX


def test_the_page_loads_few_bytes_and_nothing_from_elsewhere(browser: Browser, rehearsal: Rehearsal) -> None:
    with visiting(browser) as (page, _):
        loaded: list[Response] = []
        page.on("response", lambda response: loaded.append(response))  # noqa: PLW0108 - it gets attributes
        opened(page, rehearsal)
        assert {response.url.split("?")[0].removeprefix(rehearsal.url).split("/")[0] for response in loaded} == {
            *("", "static", "api"),
        }
        files = [response for response in loaded if "/api/" not in response.url]
        assert all(response.status == 200 for response in files)
        assert sum(len(response.body()) for response in files) <= BYTES_MAX
        assert sum(response.request.sizes()["responseBodySize"] for response in files) <= PACKED_MAX


def test_thousands_of_frames_take_no_more_memory(browser: Browser) -> None:
    play = """([frame, first, last]) => {
        for (let at = first; at < last; at++) {
            const { progress } = frame;
            Object.assign(progress, {elapsed_s: 20 + at, sent: at, waiting: progress.total - at});
            frame.stalls = [{from_s: 10 * Math.floor(at / 10), to_s: null, reason: "no sender is reporting"}];
            smssim.page.frame(frame);
        }
    }"""
    rows = [sender(i) for i in range(8)]
    small = {"width": 600, "height": 300}
    with Rehearsal(moment(9.0, rows), moment(10.0, rows)) as served, visiting(browser, viewport=small) as (page, _):
        opened(page, served)
        moved = frame(served.served.page.seen[RUN_ID], served.state()["static_version"])
        page.evaluate(play, [moved, 0, 500])
        before = metrics(page)["JSHeapUsedSize"]
        page.evaluate(play, [moved, 500, 3500])
        after = metrics(page)["JSHeapUsedSize"]
        assert after <= HEAP_MAX
        assert after - before <= GROWTH_MAX


# ---- A real run


def test_the_page_of_a_real_run_follows_it_to_the_end(browser: Browser, tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    with Nodes() as nodes, visiting(browser) as (page, _):
        run = nodes.start(
            *("run", "--count=300", "--sender=mean=0.02,concurrency=4,name=city", "--web=0", "--json", "--title=E2E"),
            f"--summary-json={summary}",
        )
        page.goto(run.says(r"Page at (\S+)$")[1])
        expect(page.locator("#live")).to_have_text("live")
        expect(page.locator("#live")).to_have_attribute("data-state", "over")
        assert run.code() == 0
        result = json.loads(summary.read_text())
        found = pairs(page)
        assert found["sent"] == f"{count(result['sent'])} {percent(result['sent'], 300)}"
        assert found["latency p99"] == seconds(result["latency_p99_s"])
        expect(page.locator("#verdict")).to_contain_text(f"after {clock(result['elapsed_s'])}")
