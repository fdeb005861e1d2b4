"""A report in a real browser: as a file, without scripts, and as a build server shows it, nothing foreign runs."""

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
from playwright.sync_api import Browser, Page
from report_support import data_of, plan, renamed, result, run, running

from smssim.core.fleet import Fleet
from smssim.outputs.report.inputs import documents_in
from smssim.outputs.report.page import report

pytestmark = pytest.mark.browser

HOSTILE: Final = "</script><img src=x onerror=document.title='owned'><svg onload=document.title='owned'>\"'`"
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
            with visiting(browser, java_script_enabled=has_scripts) as (page, _):
                page.goto(f"file://{tmp_path}/{number}.html")
                page.wait_for_load_state("networkidle")
                assert "owned" not in page.title().replace(HOSTILE, "")
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
            page.wait_for_load_state("networkidle")
            assert documents[0]["verdict"]["text"] in page.inner_text("main") or len(documents) > 1


def test_a_report_prints(browser: Browser, tmp_path: Path) -> None:
    written(tmp_path / "r.html", run())
    with visiting(browser, java_script_enabled=False) as (page, _):
        page.goto(f"file://{tmp_path}/r.html")
        assert page.pdf().startswith(b"%PDF")
