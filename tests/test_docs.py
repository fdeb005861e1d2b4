"""What the documents name is there: classes, modules, tests, and the places that links lead to."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
GLOSSARY = ROOT / "docs/glossary.md"
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]

Row = tuple[str, str, str]


def rows(table: str) -> Iterator[Row]:
    """The rows of tables with three columns, but for their heads."""
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 3 and cells[0] != "word":
            yield cells[0], cells[1], cells[2].rstrip(" |")


def classes_in(path: str) -> set[str]:
    """The names of the classes in a file; empty if it is not there."""
    if not (ROOT / path).is_file():
        return set()
    return {n.name for n in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))) if isinstance(n, ast.ClassDef)}


def missing(where: str) -> list[str]:
    """What a cell names, such as `A`, `B` in `path`, and is not there."""
    named = re.findall(r"`([^`]+)`", where)
    paths = [name for name in named if name.endswith(".py")]
    known = set().union(*map(classes_in, paths)) | {path for path in paths if (ROOT / path).is_file()}
    return [name for name in named if name not in known] or ([] if paths else [f"no module in {where!r}"])


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path, text: str) -> list[str]:
    """The links of a document to files and headings that are not there."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"\w+:", target):  # elsewhere
            continue
        there = document.parent / path if path else document
        if not there.exists() or (anchor and anchor not in anchors(there.read_text("utf-8"))):
            found.append(target)
    return found


def test_the_glossary_names_classes_and_modules_that_are_there() -> None:
    words = list(rows(GLOSSARY.read_text("utf-8")))
    assert len(words) > 50
    assert {word: absent for word, _, where in words if (absent := missing(where))} == {}


def test_a_class_or_module_that_is_not_there_is_missed() -> None:
    model = "smssim/core/model.py"
    assert missing(f"`RunFacts`, `Outcome` in `{model}`") == []
    assert missing(f"`Ledger` in `{model}`") == ["Ledger"]
    assert missing("`Ledger` in `smssim/core/books.py`") == ["Ledger", "smssim/core/books.py"]
    assert missing("`RunFacts`") == ["RunFacts"]


def test_the_glossary_explains_each_word_once() -> None:
    words = [word for word, _, _ in rows(GLOSSARY.read_text("utf-8"))]
    assert sorted(set(words)) == sorted(words)


def test_links_lead_somewhere() -> None:
    assert {document.name: broken_links(document, document.read_text("utf-8")) for document in DOCUMENTS} == {
        document.name: [] for document in DOCUMENTS
    }


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    text = "# A & B\n[a](a.md#a--b) [b](#a--b) [c](https://example.org/) [d](none.md) [e](#none)"
    document.write_text(text)
    assert broken_links(document, text) == ["none.md", "#none"]


def test_files_that_documents_name_are_there() -> None:
    """Tests and scripts that are named as evidence, and whatever else is written as a path."""
    for document in (ROOT / "docs").glob("*.md"):
        named = re.findall(r"`((?:docs|protos|scripts|smssim|tests)/[\w/.\-]+)", document.read_text("utf-8"))
        assert named or document.name == "flags.md", document.name
        assert [path for path in named if not (ROOT / path).exists()] == [], document.name
