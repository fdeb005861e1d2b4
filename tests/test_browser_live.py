"""The live page in a real browser: how old its figures are, over cuts to the end; who can use it; what it costs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from browser_support import launched, visiting
from page_support import (
    BEGAN_MS,
    BETAS,
    STALL,
    Rehearsal,
    chart,
    counting,
    end,
    fits,
    metrics,
    moment,
    opened,
    pairs,
    rehearsed,
    says_done,
    sender,
    spoken,
    thousand,
    violations,
)
from playwright.sync_api import Browser, Page, Response, expect
from processes_support import Nodes
from report_support import data_of
from view_support import OTHER, RUN_ID

from smssim.web.frames import frame
from smssim.words import clock, count, percent, seconds

pytestmark = pytest.mark.browser

THIRD: Final = RUN_ID.replace("1", "3")
PHONE: Final = {"width": 360, "height": 800}
WIDE: Final = {"width": 1280, "height": 900}
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
    with rehearsed() as served:
        yield served


# ---- How old it is


def opened_with_the_clock_stopped(page: Page, rehearsal: Rehearsal) -> None:
    """Open the page, stop its clock, and show a moment. The clock jumps ahead, so the page connects again."""
    page.clock.install(time=BEGAN_MS)
    opened(page, rehearsal)
    with page.expect_request("**/api/events*"):
        page.clock.pause_at(BEGAN_MS + 60_000)
    rehearsal.note(moment(13.0))
    says_done(page, 13.0)


def test_the_figures_are_live_for_three_seconds_and_then_as_old_as_they_are(
    browser: Browser, rehearsal: Rehearsal
) -> None:
    with visiting(browser) as (page, _):
        opened_with_the_clock_stopped(page, rehearsal)
        live = page.locator("#live")
        page.clock.run_for(2_900)
        assert (live.get_attribute("data-state"), live.inner_text()) == ("live", "live")
        page.clock.run_for(1_100)
        assert live.get_attribute("data-state") == "old"
        assert live.inner_text() in ("3 s old", "4 s old")
        page.clock.run_for(10_000)
        assert live.inner_text() in ("13 s old", "14 s old")
        rehearsal.note(moment(14.0))
        expect(live).to_have_text("live")
        says_done(page, 14.0)


def test_after_a_long_silence_the_page_connects_again(browser: Browser, rehearsal: Rehearsal) -> None:
    with visiting(browser) as (page, _):
        opened_with_the_clock_stopped(page, rehearsal)
        page.clock.run_for(14_000)
        with page.expect_request("**/api/state*"), page.expect_request("**/api/events*"):
            page.clock.run_for(4_000)
        expect(page.locator("#live")).to_have_text("live")


def test_a_page_whose_first_request_fails_tries_again(browser: Browser, rehearsal: Rehearsal) -> None:
    with visiting(browser) as (page, faults):
        faults.expected.append("net::ERR")
        page.clock.install(time=BEGAN_MS)
        page.route("**/api/runs", lambda route: route.abort(), times=1)
        page.goto(rehearsal.url)
        expect(page.locator("#live")).to_have_text("connecting")
        page.clock.run_for(2_000)
        expect(page.locator("#live")).to_have_text("live")


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
            for _ in range(3):  # it tries again every two seconds
                with page.expect_event("requestfailed"):
                    page.clock.run_for(2_000)
                page.evaluate("0")  # by now the page knows, too
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


def test_a_page_that_was_opened_before_a_run_shows_it_when_it_begins(browser: Browser) -> None:
    with Rehearsal() as served, visiting(browser) as (page, _):
        page.clock.install(time=BEGAN_MS)
        page.goto(served.url)
        expect(page.locator("#verdict")).to_contain_text("Waiting for a run")
        served.until_viewers(1)
        page.clock.fast_forward(6_000)
        served.note(moment(1.0), moment(2.0))
        says_done(page, 2.0)
        expect(page.get_by_role("heading", level=1)).to_have_text("Drill")
        expect(page.locator("#sender-count")).to_contain_text("45 senders")
        expect(page.locator("#live")).to_have_text("live")


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
    rehearsal.note(end(), moment(6.0, run_id=THIRD), moment(7.0, run_id=OTHER))
    with visiting(browser) as (page, _):
        opened(page, rehearsal)
        says_done(page, 7.0)
        choice = page.get_by_role("combobox", name="Run")
        assert choice.input_value() == OTHER
        assert choice.locator("option").count() == 3
        with page.expect_popup() as other:
            page.evaluate("window.open(location.href)")
        expect(other.value.locator("#live")).to_have_text("live")
        rehearsal.until_viewers(2)
        other.value.close()
        rehearsal.until_viewers(1)
        for run_id, at_s in ((THIRD, 6.0), (OTHER, 7.0), (THIRD, 6.0)):
            choice.select_option(run_id)
            says_done(page, at_s)
            rehearsal.until_viewers(1)
        expect(page.locator("#live")).to_have_text("live")
        rehearsal.note(moment(8.0, run_id=THIRD))
        says_done(page, 8.0)
        assert rehearsal.viewers() == 1
        assert THIRD in (page.locator("#save").get_attribute("href") or "")
        choice.select_option(RUN_ID)
        expect(page.locator("#verdict")).to_contain_text("after 50.0 s")
        rehearsal.until_viewers(0)


# ---- For everyone


def test_a_run_in_progress_stalled_and_ended_is_accessible_in_light_and_dark_on_a_screen_and_a_phone(
    browser: Browser, rehearsal: Rehearsal
) -> None:
    with visiting(browser, viewport=WIDE) as (page, _):
        opened(page, rehearsal)
        steps = (
            (moment(13.0), "good", ((WIDE, "light"), (PHONE, "dark"))),
            (moment(14.0, stall=STALL), "warn", ((WIDE, "dark"),)),
            (end(), "good", ((PHONE, "light"),)),
        )
        for now, tone, ways in steps:
            rehearsal.note(now)
            expect(page.locator("#verdict")).to_contain_text(clock(now.figures.elapsed_s))
            expect(page.locator("#verdict")).to_have_attribute("data-tone", tone)
            for size, scheme in ways:
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
            *("sender-filter", "sender-state", "Senders", "sender", "sent", BETAS, "States of senders (chart)"),
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
        longer = replace(STALL, quiet_s=5.0)
        stalled = [moment(22.0, stall=STALL), moment(22.1, stall=longer), moment(22.2)]
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


def test_the_page_of_a_real_run_follows_it_to_the_end_and_its_report_says_the_same(
    browser: Browser, tmp_path: Path
) -> None:
    summary, report = tmp_path / "summary.json", tmp_path / "report.html"
    with Nodes() as nodes, visiting(browser) as (page, _):
        words = ("run", "--count=300", "--sender=mean=0.02,concurrency=4,name=city", "--web=0", "--title=Drill")
        run = nodes.start(*words, f"--summary-json={summary}", f"--report={report}")
        page.goto(run.says(r"Page at (\S+)$")[1])
        expect(page.locator("#live")).to_have_text("live")
        expect(page.locator("#live")).to_have_attribute("data-state", "over")
        assert run.code() == 0
        result = json.loads(summary.read_text())
        on_page = pairs(page)
        assert on_page["sent"] == f"{count(result['sent'])} {percent(result['sent'], 300)}"
        assert on_page["latency p99"] == seconds(result["latency_p99_s"])
        expect(page.locator("#verdict")).to_contain_text(f"after {clock(result['elapsed_s'])}")
        page.goto(report.as_uri())
        data = page.evaluate("JSON.parse(document.getElementById('smssim-data').textContent)")
        assert data["runs"][0]["progress"] == result
        expect(page.get_by_text(result["run_id"], exact=True)).to_be_attached()
        assert pairs(page).items() >= on_page.items()
