"""What browsers load: its size, the library in it, and scripts that are joined without losing code."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path
from typing import Final

import pytest

from smssim.outputs.browser import DRAWING, LIBRARY, LIVE, REPORT, REPORT_STYLE, STATIC, STYLE, squeezed
from smssim.outputs.report.assets import assets
from smssim.web.assets import INDEX, load

BYTES_MAX: Final = 120_000  # of the page as files: HTML, styles, scripts, and the library
PACKED_MAX: Final = 45_000  # of the same as a browser loads it, with gzip
REPORT_MAX: Final = 10_000  # of the script and the styles that only reports have
LIBRARY_SHA256: Final = "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"  # uPlot 1.6.32

BEGIN, END = ("(() => {", "'use strict';"), "})();"  # of scripts that are joined: they share a scope


def test_the_page_is_small() -> None:
    files = [STATIC / INDEX, STYLE, LIBRARY, *DRAWING, LIVE]
    assert sum(file.stat().st_size for file in files) <= BYTES_MAX
    assert REPORT.stat().st_size + REPORT_STYLE.stat().st_size <= REPORT_MAX


def test_what_a_browser_loads_is_small() -> None:
    loaded = load()
    asked = [INDEX, *re.findall(r'(?:src|href)="/static/([^"]+)"', loaded[INDEX].body.decode())]
    assert sorted(asked) == sorted(loaded)
    packed = [loaded[name].packed or loaded[name].body for name in asked]
    assert sum(map(len, packed)) <= PACKED_MAX
    assert [gzip.decompress(one) for one in packed] == [loaded[name].body for name in asked]


def test_every_file_of_the_page_is_used() -> None:
    used = {STATIC / INDEX, STYLE, LIBRARY, LIBRARY.parent / "LICENSE", *DRAWING, LIVE}
    assert {path for path in STATIC.rglob("*") if path.is_file()} == used


def test_the_library_is_the_one_that_its_authors_published_with_its_license() -> None:
    assert hashlib.sha256(LIBRARY.read_bytes()).hexdigest() == LIBRARY_SHA256
    assert load()["vendor/uPlot.iife.min.js"].body == LIBRARY.read_bytes() == assets().scripts[0].encode()
    assert "MIT" in (LIBRARY.parent / "LICENSE").read_text()


def code_of(*files: Path) -> list[str]:
    """Return the lines of some files, without indentation, and without those that are empty or a comment."""
    lines = [line.strip() for file in files for line in file.read_text().splitlines()]
    return [line for line in lines if line and not line.startswith("//") and not re.fullmatch(r"/\*.*\*/", line)]


def test_a_joined_script_is_what_its_sources_say() -> None:
    loaded = load()
    assert loaded["page.js"].body.decode().splitlines() == [*BEGIN, *code_of(*DRAWING, LIVE), END]
    assert loaded["style.css"].body.decode().splitlines() == code_of(STYLE)
    assert assets().styles[0].splitlines() == code_of(STYLE, REPORT_STYLE)
    assert assets().scripts[1].splitlines() == [*BEGIN, *code_of(*DRAWING, REPORT), END]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("// a\n\n\tlet one = 1; // stays\n", "let one = 1; // stays\n"),
        ("\t/* a */\n\tb { c: d; }\n", "b { c: d; }\n"),
        ("let one = `a\n\t// b\n\n  c`;\n\t// d\n\tf();\n", "let one = `a\n\t// b\n\n  c`;\nf();\n"),
        ("\tlet one = `a \\`\n\t// b`;\n\tf(`${g(`h`)}`);\n", "let one = `a \\`\n\t// b`;\nf(`${g(`h`)}`);\n"),
        ("let one = 'a\\\n\t// b';\n\tf();\n", "let one = 'a\\\n\t// b';\nf();\n"),
        ("let one = 1;\n\t* two;", "let one = 1;\n* two;\n"),
        ("", ""),
    ],
    ids=["script", "style", "literal", "nested", "continued", "last", "empty"],
)
def test_a_source_loses_only_comment_lines_blank_lines_and_indentation(source: str, expected: str) -> None:
    assert squeezed(source) == expected


def test_a_source_that_is_joined_has_only_comments_of_a_line() -> None:
    for file in (*DRAWING, LIVE, REPORT, STYLE, REPORT_STYLE):
        inside = re.sub(r"/\*.*\*/", "", file.read_text())
        assert not re.search(r"/\*|\*/", inside), file.name
