"""Fills in what README.md and docs/ show: the output of the commands in console blocks, and the measured tables.

Run with .venv/bin/python after a change to what commands print, or after measuring again:
`smssim bench --json > docs/bench/results.jsonl`. tests/test_docs.py checks that the outputs keep their form.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from smssim.bench.machine import in_words
from smssim.bench.table import UNITS

ROOT: Final = Path(__file__).parent.parent
DOCUMENTS: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
RESULTS: Final = ROOT / "docs/bench/results.jsonl"
CONSOLE: Final = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
TABLE: Final = re.compile(r"(?<=<!-- made by scripts/gen_docs.py: )(\w+) -->\n.*?(?=<!-- end -->)", re.DOTALL)

Cases = Mapping[str, Mapping[str, Any]]  # by name, as `smssim bench --json` prints them


# ---- Console blocks


def commands(block: str) -> list[str]:
    """Return the commands of a console block: lines after `$ `, each with the lines after `> ` that continue it."""
    found: list[str] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(line)
        elif line.startswith("> ") and found:
            found[-1] += "\n" + line
    return found


def played(block: str, folder: str) -> str:
    """Return a console block with what its commands print when run in `folder`; raises CalledProcessError."""
    return "".join(f"{command}\n{output(command, folder)}" for command in commands(block))


def output(command: str, folder: str) -> str:
    """Return what a command prints, run by bash with the programs of .venv; raises CalledProcessError."""
    path = f"{Path(sys.prefix) / 'bin'}:{ROOT / 'scripts'}:{os.environ['PATH']}"
    script = "\n".join(line[2:] for line in command.splitlines()).replace("scripts/", f"{ROOT}/scripts/")
    run = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        env=os.environ | {"PATH": path, "COLUMNS": "120"},
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return run.stdout


# ---- Measured tables


def fast(cases: Cases) -> list[str]:
    """Return the README's table: three cases."""
    machine = next(iter(cases.values()))["machine"]
    rows = (
        (cases["us"], ("time", "throughput")),
        (cases["lanes-1m"], ("share of lanes / mean",)),
        (cases["thousand"], ("throughput held",)),
    )
    return [
        f"| on {machine['cores']} cores of an {machine['cpu']} | measured |",
        "|---|---|",
        *(
            f"| {case['title']} | {', '.join(f'{name} {_measured(case, name)}' for name in names)} |"
            for case, names in rows
        ),
    ]


def bench(cases: Cases) -> list[str]:
    """Return the table of all cases."""
    machine = next(iter(cases.values()))["machine"]
    lines = [f"{in_words(machine)}.", "", "| case | figure | measured | target |", "|---|---|---|---|"]
    for case in cases.values():
        title = f"`{case['case']}`: {case['title']}"
        for name, measured, target in _rows(case):
            lines.append(f"| {title} | {name} | {measured} | {target} |")
            title = ""
    return lines


def _rows(case: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and target of each figure; one row for figures that each node has, such as `sender: memory`."""
    figures = {figure["name"]: figure for figure in case["figures"]}
    for what, names in _by_node(figures).items():
        nodes = ", ".join(name.partition(": ")[0] for name in names)
        name = f"{what} ({nodes})" if len(names) > 1 else names[0]
        yield name, ", ".join(_measured(case, one) for one in names), _target(figures[names[0]])


def _by_node(names: Iterable[str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name in names:
        node, _, what = name.partition(": ")
        grouped.setdefault(what if node in ("producer", "sender", "monitor") else name, []).append(name)
    return grouped


def _measured(case: Mapping[str, Any], name: str) -> str:
    figure = next(one for one in case["figures"] if one["name"] == name)
    return UNITS[figure["unit"]](figure["median"])


def _target(figure: Mapping[str, Any]) -> str:
    (bound, value), *_ = (figure["target"] or {"": None}).items()
    return f"{bound.replace('_', ' ')} {UNITS[figure['unit']](value)}" if bound else ""


TABLES: Final[dict[str, Callable[[Cases], Sequence[str]]]] = {"fast": fast, "bench": bench}


def with_tables(text: str) -> str:
    """Return a document with its measured tables made from the results."""
    cases = {case["case"]: case for case in map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())}

    def table(found: re.Match[str]) -> str:
        return f"{found[1]} -->\n\n" + "".join(f"{line}\n" for line in TABLES[found[1]](cases)) + "\n"

    return TABLE.sub(table, text)


def main() -> None:
    """Fill in all documents."""
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            made = with_tables(CONSOLE.sub(lambda block: played(block[0], folder), text))
        if made != text:
            document.write_text(made, encoding="utf-8")
            print(document.relative_to(ROOT))


if __name__ == "__main__":
    main()
