"""The live page in a real browser: what it shows of a run, whatever others call it, and how it follows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from browser_support import launched, visiting
from page_support import (
    BEGAN_MS,
    BETAS,
    EVENTS,
    LATENCY,
    STALL,
    Json,
    Rehearsal,
    chart,
    counting,
    fits,
    moment,
    names,
    opened,
    pairs,
    rehearsed,
    rows_of,
    says_done,
    scripted,
    sender,
    senders,
    some_senders,
    spoken,
    thousand,
)
from playwright.sync_api import Browser, Page, expect
from view_support import RUN_ID

from smssim import words
from smssim.core.event import Event, Kind
from smssim.core.session import State
from smssim.web.frames import frame
from smssim.words import clock, count, percent, seconds

pytestmark = pytest.mark.browser

HOSTILE: Final = (
    "</script><img src=x onerror=window.owned=1><svg onload=window.owned=1>\"'`{{7*7}}${7*7}"
    "\u202egnihton\u2028\x00\x1b[31m" + "long" * 300
)
PARTS: Final = ("sent", "failed", "in flight", "waiting")
STATES: Final = ("", "sending", "waiting", "lost", "left")
SAID: Final = """[document.title, document.body.innerText, ...["aria-label", "aria-valuetext", "title"].flatMap(name =>
    [...document.querySelectorAll(`[${name}]`)].map(one => one.getAttribute(name)))].join()"""
ROWS_MAX: Final = 100


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as one:
        yield one


@pytest.fixture
def rehearsal() -> Iterator[Rehearsal]:
    """Return a page of a run in its twelfth second."""
    with rehearsed() as served:
        yield served


@pytest.fixture(scope="module")
def shown(browser: Browser) -> Iterator[tuple[Page, Json]]:
    """Return a page that no test changes, and the state that it shows."""
    with Rehearsal(*(moment(float(second)) for second in range(1, 13))) as served, visiting(browser) as (page, _):
        opened(page, served)
        expect(page.get_by_text(RUN_ID, exact=True)).to_be_attached()  # the last part is drawn
        yield page, served.state()


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
    assert shapes == {"● sending", "○ waiting", "✕ lost", "\N{EN DASH} left"}


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
        assert row["sender"] == BETAS
        assert row["sent"] == count(sum(500 + i for i in range(1, 41)))
        assert row["state"] == "39 sending, 1 lost"
        fold = senders(page).get_by_role("button", name=BETAS)
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
