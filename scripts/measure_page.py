#!/usr/bin/env python3
"""Measures what the page costs a browser, and prints a table: each figure, its target, and whether it is reached.

A thousand senders, with a history as long as a page gets. Needs Chromium (scripts/browser.sh); uses the tests' browser.
Nothing else should run meanwhile. `--only NAME` measures one group; `--quick` plays a tenth of the frames.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from figure_table import Figure, asked, show
from measure_web import HISTORY_S, long_run, realistic

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from browser_support import launched, visiting
from page_support import Rehearsal, metrics, opened
from playwright.sync_api import Browser, Page

from smssim.outputs.of_course import Seen
from smssim.web.frames import Static, frame

SENDERS: Final = 1000
LOADS: Final = 5
FRAMES: Final = 60
MANY, MORE = 5_000, 30_000
AT_ONCE: Final = 500  # frames, before the browser gets a turn
TOP: Final[dict[str, Any]] = {"width": 1280, "height": 900}  # what is in sight at first
ALL: Final[dict[str, Any]] = {"width": 1280, "height": 4000}  # everything is in sight, and so is drawn with each frame

# When the verdict, the senders and the last chart are there, and the longest task until then.
NOTE_TIMES: Final = """
    window.times = {task: 0};
    new PerformanceObserver(list => list.getEntries().forEach(one => {
        window.times.task = Math.max(window.times.task, one.duration);
    })).observe({type: "longtask"});
    new MutationObserver(records => {
        const now = performance.now(), { times } = window;
        if (document.querySelector("#verdict b:not(:empty)")) times.verdict ??= now;
        if (document.querySelector("table.senders tbody tr")) times.senders ??= now;
        if (records.some(({target}) => target.closest?.("[role=slider]"))) times.charts = now;
    }).observe(document, {childList: true, subtree: true, characterData: true});
"""
PLAY: Final = """async ([texts, from, count, pause]) => {
    const took = [], tasks = [];
    const watch = new PerformanceObserver(list => tasks.push(...list.getEntries().map(one => one.duration)));
    watch.observe({type: "longtask"});
    for (let i = 0; i < count; i++) {
        const started = performance.now();
        const frame = JSON.parse(texts[i % texts.length]);
        frame.progress.elapsed_s = from + i;
        smssim.page.frame(frame);
        took.push(performance.now() - started);
        if (pause) await new Promise(go => requestAnimationFrame(() => setTimeout(go, pause)));
    }
    await new Promise(go => setTimeout(go, 100));
    watch.disconnect();
    return {took, longest: Math.max(0, ...tasks)};
}"""


@contextmanager
def serving() -> Iterator[tuple[Rehearsal, list[str]]]:
    """Serve a long run; yield its page, and frames that follow."""
    seen = long_run(SENDERS)
    with Rehearsal() as served:
        served.do(lambda one: one.page.noted(seen.snapshot, seen.course))
        static = Static.of(seen.snapshot)
        texts = []
        for second in range(8):
            one = Seen(realistic(SENDERS, HISTORY_S + 1.0 + second), seen.course, seen.about)
            texts.append(json.dumps(frame(one, static.version)))
        yield served, texts


def loading(browser: Browser, served: Rehearsal, _: list[str], __: bool) -> list[Figure]:
    """Measure how soon a page is there that nothing is known of."""
    found: list[dict[str, float]] = []
    for _load in range(LOADS):
        with visiting(browser, viewport=TOP) as (page, _faults):
            page.add_init_script(NOTE_TIMES)
            opened(page, served)
            page.wait_for_timeout(1000)
            paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            found.append({"paint": paint, **page.evaluate("window.times")})

    def median_s(name: str) -> float:
        return statistics.median(one[name] for one in found) / 1000

    return [
        Figure("first paint, cold, median of 5", median_s("paint"), "s", 0.5),
        Figure("verdict shown, 1,000 senders, full history", median_s("verdict"), "s", 1.0),
        Figure("the same: senders shown", median_s("senders"), "s", 1.0),
        Figure("the same: all charts drawn", median_s("charts"), "s"),
        Figure("the same: longest task (0: none over 50 ms)", 1000 * median_s("task"), "ms"),
    ]


def frames(browser: Browser, served: Rehearsal, texts: list[str], _: bool) -> list[Figure]:
    """Measure what a frame costs, at the top of the page and with everything in sight."""
    figures: list[Figure] = []
    for viewport, where in ((TOP, "at the top of the page"), (ALL, "with everything in sight")):
        with visiting(browser, viewport=viewport) as (page, _faults):
            opened(page, served)
            page.wait_for_timeout(1000)
            play(page, texts, HISTORY_S + 1, 10, pause=30)
            counting = page.context.new_cdp_session(page)
            counting.send("Performance.enable")
            played = play(page, texts, HISTORY_S + 100, FRAMES, pause=30)
            counted = {one["name"]: one["value"] for one in counting.send("Performance.getMetrics")["metrics"]}
            task_ms = 1000 * counted["TaskDuration"] / FRAMES
            figures += [
                Figure(f"a frame {where}: its script, median", statistics.median(played["took"]), "ms", 8),
                Figure("the same: the longest script", max(played["took"]), "ms", 50),
                Figure("the same: all tasks, mean, layout and paint included", task_ms, "ms"),
                Figure("the same: longest task (0: none over 50 ms)", played["longest"], "ms", 50),
                Figure("the same: nodes of the DOM", metrics(page)["Nodes"], "", 3000),
            ]
    return figures


def heap(browser: Browser, served: Rehearsal, texts: list[str], quick: bool) -> list[Figure]:
    """Measure the heap after many frames and after many more."""
    counts = [count // 10 if quick else count for count in (MANY, MORE)]
    used = []
    with visiting(browser, viewport=TOP) as (page, _faults):
        opened(page, served)
        done = 0
        for count in counts:
            while done < count:
                play(page, texts, HISTORY_S + 1 + done, AT_ONCE, pause=0)
                done += AT_ONCE
            used.append(metrics(page)["JSHeapUsedSize"] / 1e6)
    few, many = used
    return [
        Figure(f"heap after {counts[0]:,} frames and garbage collection", few, "MB", 40),
        Figure(f"the same after {counts[1]:,}", many, "MB", 40),
        Figure("the same: added since", many - few, "MB", 2),
    ]


def play(page: Page, texts: list[str], from_s: float, count: int, pause: int) -> dict[str, Any]:
    """Show frames. After each one, draw and wait for `pause` milliseconds; with 0, do neither."""
    played: dict[str, Any] = page.evaluate(PLAY, [texts, from_s, count, pause])
    return played


GROUPS: Final[dict[str, Callable[[Browser, Rehearsal, list[str], bool], list[Figure]]]] = {
    "loading": loading,
    "frames": frames,
    "heap": heap,
}


def main() -> None:
    """Measure and print."""
    names, quick = asked(__doc__, GROUPS, "play fewer frames")
    with launched() as browser, serving() as (served, texts):
        show(figure for name in names for figure in GROUPS[name](browser, served, texts, quick))


if __name__ == "__main__":
    main()
