"""Fills in what README.md and docs/ show: the output of the commands in console blocks, and the measured tables.

Run with .venv/bin/python after a change to what commands print, or after measuring again:
`smssim bench --json > docs/bench/results.jsonl`, and the same with `--case agreement` for `docs/bench/agreement.jsonl`.
tests/test_docs.py checks that the outputs keep their form.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from smssim.bench.agreement_table import amount, percent, summary
from smssim.bench.agreement_table import name as figure_name
from smssim.bench.comparison import LAST
from smssim.bench.machine import in_words
from smssim.bench.table import UNITS
from smssim.words import plural

ROOT: Final = Path(__file__).parent.parent
DOCUMENTS: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
RESULTS: Final = ROOT / "docs/bench/results.jsonl"
AGREEMENT: Final = ROOT / "docs/bench/agreement.jsonl"
CONSOLE: Final = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
TABLE: Final = re.compile(r"(?<=<!-- made by scripts/gen_docs.py: )(\w+) -->\n.*?(?=<!-- end -->)", re.DOTALL)

NODES: Final = ("producer", "sender", "monitor")

Case = Mapping[str, Any]  # as `smssim bench --json` prints it
Cases = Mapping[str, Case]  # by name


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
    """Return what a command prints, run by bash; raises CalledProcessError."""
    words = in_bash("\n".join(line[2:] for line in command.splitlines()))
    return subprocess.run(words, env=environment(), cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout


def in_bash(script: str) -> list[str]:
    """Return the command line that runs a script as a document shows it, from any directory."""
    return ["bash", "-o", "pipefail", "-c", re.sub(r"(?<![\w/])(?=(?:scripts|docs)/)", f"{ROOT}/", script)]


def environment() -> dict[str, str]:
    """Return the environment for the commands of a document: the programs of .venv, and lines of 120 characters."""
    return os.environ | {"PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}", "COLUMNS": "120"}


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


def _rows(case: Case) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and target of each figure, in one row for figures of each node, such as `sender: memory`."""
    of_nodes: dict[str, list[str]] = {}  # names by what they measure
    for figure in case["figures"]:
        node, _, what = figure["name"].partition(": ")
        of_nodes.setdefault(what if node in NODES else figure["name"], []).append(figure["name"])
    for what, names in of_nodes.items():
        nodes = ", ".join(name.partition(": ")[0] for name in names)
        name = f"{what} ({nodes})" if len(names) > 1 else names[0]
        yield name, ", ".join(_measured(case, one) for one in names), _target(_figure(case, names[0]))


def _figure(case: Case, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in case["figures"] if one["name"] == name)
    return found


def _measured(case: Case, name: str) -> str:
    figure = _figure(case, name)
    return UNITS[figure["unit"]](figure["median"])


def _target(figure: Mapping[str, Any]) -> str:
    if figure["target"] is None:
        return ""
    ((bound, value),) = figure["target"].items()
    return f"{bound.replace('_', ' ')} {UNITS[figure['unit']](value)}"


def agreement(cases: Cases) -> list[str]:
    """Return the table of plans, live runs and theory, and what it comes to."""
    one = next(iter(cases.values()))
    runs = len(one["figures"][0]["live"]["values"])
    lines = [
        f"{in_words(one['machine'])}. Plans of {one['seeds']} seeds, {plural(runs, 'live run')} of each case.",
        "",
        "| case | figure | plan (middle 95%) | live (range) | theory | difference | in hindsight | agree |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in cases.values():
        title = f"`{case['scenario']}`: {case['title']}"
        for row in _agreement_rows(case):
            lines.append(f"| {title} | {' | '.join(row)} |")
            title = ""
    figures = [(f"{name} {figure_name(one['name'])}", one) for name, case in cases.items() for one in case["figures"]]
    differ = [words for words, one in figures if not one["within"]]
    lasts = [one for _, one in figures if one["name"] == LAST]
    counts = summary(
        len(figures), differ, sum(len(one["live"]["values"]) for one in lasts), sum(one["inside"] for one in lasts)
    )
    return [*lines, "", *(f"- {line}." for line in counts)]


def _agreement_rows(case: Case) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a case after its title; counts that are exactly equal are one row."""
    equal = [one["name"] for one in case["figures"] if one["exact"] and one["within"]]
    for one in case["figures"]:
        if one["name"] in equal:
            continue
        name, plan, live = one["name"], one["plan"], one["live"]
        several = len(live["values"]) > 1
        spread = f"{amount(name, plan['low'])} to {amount(name, plan['high'])}"
        yield (
            figure_name(name),
            f"{amount(name, plan['median'])} ({spread})",
            f"{amount(name, live['mean'])}"
            + (f" ({amount(name, live['min'])} to {amount(name, live['max'])})" if several else ""),
            "" if one["theory"] is None else amount(name, one["theory"]),
            percent(one["difference"]),
            percent(one["difference_in_hindsight"]),
            "yes" if one["within"] else "NO",
        )
    if equal:
        yield (", ".join(equal), "", "equal in each run", "", "", "", "yes")


TABLES: Final[dict[str, tuple[Path, Callable[[Cases], Sequence[str]]]]] = {
    "fast": (RESULTS, fast),
    "bench": (RESULTS, bench),
    "agreement": (AGREEMENT, agreement),
}


def results(file: Path) -> Cases:
    """Return the cases of a file that the bench has written."""
    cases = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return {case.get("scenario", case["case"]): case for case in cases}


def with_tables(text: str) -> str:
    """Return a document with its measured tables made from the results."""

    def table(found: re.Match[str]) -> str:
        file, lines = TABLES[found[1]]
        return f"{found[1]} -->\n\n" + "".join(f"{line}\n" for line in lines(results(file))) + "\n"

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
