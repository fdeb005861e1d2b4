"""Draws docs/page.png, docs/phone.png and docs/comparison.png: the page of a real run, and a report that compares.

Run by hand, on a machine with Chromium (scripts/browser.sh). Uses the tests' browser.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from browser_support import launched, visiting  # noqa: E402 - needs the path
from playwright.sync_api import Browser  # noqa: E402

SMSSIM: Final = str(Path(sys.prefix) / "bin" / "smssim")
SCENARIO: Final = str(ROOT / "docs/scenarios/bad-day.yaml")
WHEN_S: Final = 12.0  # of the run: in the middle of its faults
ADDRESS: Final = re.compile(r"http://\S+")
WIDE: Final[dict[str, Any]] = {"viewport": {"width": 1280, "height": 1400}}
PHONE: Final[dict[str, Any]] = {"viewport": {"width": 360, "height": 1000}, "device_scale_factor": 2}


def draw_page(browser: Browser, folder: Path) -> None:
    """Draw the page during a run, on a screen and on a phone in the dark."""
    words = [SMSSIM, "run", SCENARIO, "--web", "0", "--report", str(folder / "run.html")]
    run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert run.stderr is not None
    try:
        address = next(found[0] for line in run.stderr if (found := ADDRESS.search(line)))
        dark = visiting(browser, **PHONE, color_scheme="dark")
        with visiting(browser, **WIDE) as (page, lost), dark as (phone, lost_too):
            for one, faults in ((page, lost), (phone, lost_too)):
                faults.expected.append("net::ERR")  # the scenario kills the monitor, which serves the page
                one.goto(address)
            time.sleep(WHEN_S)
            page.screenshot(path=ROOT / "docs/page.png")
            phone.screenshot(path=ROOT / "docs/phone.png")
            run.communicate()
    finally:
        run.kill()
        run.wait()


def draw_comparison(browser: Browser, folder: Path) -> None:
    """Draw a report that compares a run with its plan."""
    plan, report = folder / "plan.html", folder / "comparison.html"
    words = [SMSSIM, "plan", SCENARIO, "--report", str(plan)]
    subprocess.run(words, stdout=subprocess.DEVNULL, check=False)  # 5: a goal is not sure
    subprocess.run([SMSSIM, "report", str(folder / "run.html"), str(plan), "-o", str(report)], check=True)
    with visiting(browser, **WIDE) as (page, _):
        page.goto(report.as_uri())
        page.screenshot(path=ROOT / "docs/comparison.png")


def main() -> None:
    """Draw all pictures."""
    with tempfile.TemporaryDirectory() as name, launched() as browser:
        draw_page(browser, Path(name))
        draw_comparison(browser, Path(name))


if __name__ == "__main__":
    main()
