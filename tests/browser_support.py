"""A real browser for tests of pages: Debian's Chromium, driven by Playwright.

A fault on a page fails its test: an uncaught error, a message on the console, a violation of the page's policy, or a
request to another server.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

TIMEOUT_MS: Final = 20_000
_FLAGS: Final = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--js-flags=--expose-gc", "--enable-precise-memory-info"),
)


def chromium() -> str | None:
    """Return the path of Chromium; None if it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def why_not() -> str:
    """Return why pages can't be tested in a browser here; empty if they can."""
    return "" if chromium() else "no Chromium: install Debian's package chromium"


@contextmanager
def launched() -> Iterator[Browser]:
    """Run a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Faults:
    """What went wrong on the pages of a context."""

    def __init__(self, context: BrowserContext) -> None:
        self.all: list[str] = []
        self.expected: list[str] = []  # parts of faults that are none
        context.on("page", self._watch)
        context.on("request", self._note_request)

    def _watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self._note(f"uncaught: {error}"))
        page.on("console", self._note_console)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._note(f"console: {message.text}")

    def _note_request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob", "file") and url.hostname != "127.0.0.1":
            self._note(f"request to {request.url}")

    def _note(self, fault: str) -> None:
        if not any(part in fault for part in self.expected):
            self.all.append(fault)


@contextmanager
def visiting(browser: Browser, **settings: Any) -> Iterator[tuple[Page, Faults]]:
    """Open an empty page in a context of its own; raise AssertionError at the end if anything went wrong on it."""
    context = browser.new_context(**settings)
    context.set_default_timeout(TIMEOUT_MS)
    faults = Faults(context)
    try:
        yield context.new_page(), faults
        assert faults.all == [], faults.all
    finally:
        context.close()
