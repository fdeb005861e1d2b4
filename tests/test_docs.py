"""What README.md and docs/ say holds: names, links and fields exist, commands work, and outputs keep their form."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import gen_docs
import pytest
import report_support
from nodes_support import free_address
from processes_support import UNPLANNED

from smssim.core.backlog import Backlog
from smssim.core.event import Event, Kind
from smssim.core.fleet import SenderRow
from smssim.core.model import RunFacts
from smssim.core.progress import Figures
from smssim.core.snapshot import Snapshot, Summary
from smssim.core.tally import Tally
from smssim.errors import ExitCode
from smssim.outputs import metrics, record, undelivered
from smssim.settings import TOKEN_VARIABLE, EngineSettings

ROOT = Path(__file__).parent.parent
PATHS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
DOCUMENTS = {path.name: path.read_text("utf-8") for path in PATHS}

Row = tuple[str, str, str]


# ---- Names


def rows(table: str) -> Iterator[Row]:
    """Yield the rows of tables with three columns, without their heads."""
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 3 and cells[0] != "word":
            yield cells[0], cells[1], cells[2].rstrip(" |")


def classes_in(path: str) -> set[str]:
    """Return the names of the classes in a file; none if the file does not exist."""
    if not (ROOT / path).is_file():
        return set()
    return {n.name for n in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))) if isinstance(n, ast.ClassDef)}


def missing(where: str) -> list[str]:
    """Return the names in a cell such as "`A`, `B` in `path`" that do not exist."""
    named = re.findall(r"`([^`]+)`", where)
    paths = [name for name in named if name.endswith(".py")]
    known = set().union(*map(classes_in, paths)) | {path for path in paths if (ROOT / path).is_file()}
    return [name for name in named if name not in known] or ([] if paths else [f"no module in {where!r}"])


def names_in_code() -> set[str]:
    """Return every class, function and constant of the product and the tests; members as `Class.member`."""
    names: set[str] = set()
    for path in [*ROOT.glob("smssim/**/*.py"), *ROOT.glob("tests/**/*.py")]:
        tree = ast.parse(path.read_text("utf-8"))
        names |= set(defined(tree))
        for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            names |= {f"{kind.name}.{member}" for member in defined(kind)}
    return names


def defined(scope: ast.Module | ast.ClassDef) -> Iterator[str]:
    """Yield the names that a module or a class defines."""
    for node in scope.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_the_glossary_names_classes_and_modules_that_exist() -> None:
    words = list(rows(DOCUMENTS["glossary.md"]))
    assert len(words) > 50
    assert {word: absent for word, _, where in words if (absent := missing(where))} == {}


def test_a_class_or_module_that_does_not_exist_is_found() -> None:
    model = "smssim/core/model.py"
    assert missing(f"`RunFacts`, `Outcome` in `{model}`") == []
    assert missing(f"`Ledger` in `{model}`") == ["Ledger"]
    assert missing("`Ledger` in `smssim/core/books.py`") == ["Ledger", "smssim/core/books.py"]
    assert missing("`RunFacts`") == ["RunFacts"]


def test_the_glossary_explains_each_word_once() -> None:
    words = [word for word, _, _ in rows(DOCUMENTS["glossary.md"])]
    assert sorted(set(words)) == sorted(words)


def test_names_in_the_documents_exist_in_the_code() -> None:
    variables = {TOKEN_VARIABLE, *EngineSettings.variables.values()}
    known = names_in_code() | variables | {"FetchMessage", "SENT", "FAILED", "RETRY"}
    for document in ("architecture.md", "contributing.md", "security.md"):
        named = set(re.findall(r"`(_?[A-Z]\w+(?:\.(?!md)\w+)?|\w+_\w+)`", DOCUMENTS[document]))
        assert named, document
        assert named - known == set(), document


def test_files_that_documents_name_exist() -> None:
    for name, text in DOCUMENTS.items():
        named = re.findall(r"`((?:docs|protos|scripts|smssim|tests)/[\w/.\-]+)", text)
        assert named or name in ("flags.md", "figures.md", "scenarios.md", "routes.md", "CHANGELOG.md"), name
        assert [path for path in named if not (ROOT / path).exists()] == [], name


# ---- Links


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(document: Path, text: str) -> list[str]:
    """Return the links of a document to files and headings that do not exist."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"\w+:", target):  # elsewhere
            continue
        there = document.parent / path if path else document
        if not there.exists() or (anchor and anchor not in anchors(there.read_text("utf-8"))):
            found.append(target)
    return found


def test_links_lead_to_files_and_headings_that_exist() -> None:
    for document in PATHS:
        assert broken_links(document, DOCUMENTS[document.name]) == [], document.name


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    text = "# A & B\n[a](a.md#a--b) [b](#a--b) [c](https://example.org/) [d](none.md) [e](#none)"
    document.write_text(text)
    assert broken_links(document, text) == ["none.md", "#none"]


def test_the_readme_links_to_every_page() -> None:
    linked = re.findall(r"\]\(docs/(\w+\.md)\)", DOCUMENTS["README.md"])
    assert set(linked) == {page.name for page in ROOT.glob("docs/*.md")}
    assert len(DOCUMENTS["README.md"].splitlines()) <= 150


# ---- Fields


def fields(heading: str) -> list[str]:
    """Return the first column of the first table under a heading of docs/figures.md."""
    section = re.split(r"^## ", DOCUMENTS["figures.md"].partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_figures_md_has_every_field_of_every_output() -> None:
    figures = Tally(RunFacts("", seed=0, total=0, max_attempts=1), 0.0).figures(0.0)
    summary = Snapshot(figures, summary=Summary(ExitCode.OK, "", {}, {}, None))
    assert fields("Progress") == list(Figures.__slots__)
    assert fields("Summary") == [name for name in summary.as_dict() if name not in Figures.__slots__]
    assert fields("Document") == list(report_support.run())
    assert fields("Events") == list(Event(0.0, Kind.KILLED, "").as_dict())
    assert fields("Senders") == list(SenderRow.__slots__)
    assert fields("Record") == list(record.COLUMNS)
    assert fields("Undelivered messages") == undelivered.HEADER.strip().split(",")


def test_figures_md_has_every_metric() -> None:
    served = [*metrics.of_monitor([], 0.0), *metrics.of_producer(Backlog(0), 0), *metrics.of_owner(owns=True)]
    served += metrics.of_senders([], 0)
    assert fields("Metrics") == [one.name + "_total" * (one.kind == "counter") for one in served]


# ---- Commands


COUNT = "--count=80"  # instead of what the documents say
NOT_RUN = (
    "scripts/test.sh",
    "scripts/check.sh",
    ".ci/run",
    "scripts/simulate.py",
    "scripts/engine.sh",  # tests/test_engine_docs.py tries it
)  # they run this test, or take minutes


def shell_blocks() -> Iterator[tuple[str, str]]:
    """Yield the document and the text of each block of commands without output, except generated ones."""
    for name, text in DOCUMENTS.items():
        # The examples of flags.md are those of the help, which tests/test_cli.py tries. The commands of engine.md need
        # servers: tests/test_engine_docs.py tries them.
        if name not in ("flags.md", "engine.md"):
            yield from ((name, block) for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def lines_of(block: str) -> list[str]:
    """Return the commands of a block: without prompts and comments, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", block)
    lines = [re.sub(r"^\w+\$\s+|\s+#.*$", "", line) for line in joined.splitlines()]
    return [line for line in lines if line]


class Shell:
    """Runs the commands of one document: whole runs at once, nodes side by side; small, here, and on free ports."""

    def __init__(self, folder: Path) -> None:
        producer, monitor = free_address(), free_address()
        self._ports = {":50051": producer[9:], ":50052": monitor[9:]}
        self._folder = folder
        self._env = gen_docs.environment() | {
            "SMSSIM_RUN_COUNT": "80",
            "SMSSIM_PRODUCER_LISTEN": producer,
            "SMSSIM_PRODUCER_MONITOR": monitor,
            "SMSSIM_MONITOR_LISTEN": monitor,
            **UNPLANNED,  # tests/test_planning.py tests plans beside runs
        }

    def run(self, lines: list[str]) -> None:
        """Run the commands of a block to their end; fails if one does."""
        nodes = []
        for line in lines:
            script = re.sub(r"--count \S+", COUNT, re.sub(r"\b(alpha|beta)\b", "127.0.0.1", line))
            for port, free in self._ports.items():
                script = script.replace(port, free)
            words = gen_docs.in_bash(script)
            process = subprocess.Popen(words, cwd=self._folder, env=self._env, stdout=subprocess.DEVNULL)
            if re.match(r"smssim (producer|sender|monitor)", line):
                nodes.append(process)
            else:
                assert process.wait() == 0, line
        assert [node.wait() for node in nodes] == [0] * len(nodes), lines


@pytest.mark.parametrize("document", sorted({name for name, _ in shell_blocks()}))
def test_the_commands_of_a_document_work(document: str, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    for _, block in (found for found in shell_blocks() if found[0] == document):
        lines = lines_of(block)
        check_scripts([line for line in lines if line.startswith(NOT_RUN)])
        shell.run([line for line in lines if not line.startswith(NOT_RUN)])


def check_scripts(lines: list[str]) -> None:
    """Check commands that are not run: the script exists and has these flags."""
    for script, *args in map(shlex.split, lines):
        assert os.access(ROOT / script, os.X_OK), script
        if script.endswith(".py"):
            shown = subprocess.run([ROOT / script, "--help"], capture_output=True, text=True, check=True).stdout
            assert all(flag in shown for flag in args if flag.startswith("--")), args


def form(text: str) -> list[str]:
    """Return an output without its figures: each number with its unit is #, and equal lines that follow are one."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)
    text = re.sub(r"\d(?:[\d,.]*\d)?(?:e[+-]?\d+)?(?:\s?(?:ms|s|%|k/s|M/s|/s))?(?![A-Za-z])", "#", text)
    text = re.sub(r"(?<=\s)(?:-|never)(?=\s|$)|\bnull\b", "#", text)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return [line for before, line in zip(["", *lines], lines, strict=False) if line != before]


@pytest.mark.parametrize(
    ("document", "block"),
    [(name, block) for name, text in DOCUMENTS.items() for block in gen_docs.CONSOLE.findall(text)],
)
def test_the_outputs_in_a_document_have_the_form_of_todays(document: str, block: str, tmp_path: Path) -> None:
    assert gen_docs.commands(block), document
    shown: list[str] = []
    for attempt in "abc":  # on a busy machine, a run may stall and explain it in a line of its own
        folder = tmp_path / attempt
        folder.mkdir()
        if (shown := form(gen_docs.played(block, str(folder)))) == form(block):
            return
    assert shown == form(block), f"{document}: run scripts/gen_docs.py"


def test_an_output_of_another_form_is_found() -> None:
    assert form("sent  1,204  91.2%  5 ms\nsent 7 1% 2 s") == ["sent # # #"]
    assert form("sent  -  0/s  never") == form("sent 3 2.5/s 9.1 s")
    assert form("sent 3 of 5") != form("sent 3, of 5")


def test_measured_tables_are_those_of_the_results() -> None:
    for name, text in DOCUMENTS.items():
        assert gen_docs.with_tables(text) == text, f"{name}: run scripts/gen_docs.py"
