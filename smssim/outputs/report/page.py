"""A report: one HTML file that needs no network, and is readable without scripts and styles.

Its scripts draw the same again, with everything that the data holds. The same documents give the same bytes. Knows
documents. Must not know where they come from, or where a report goes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from smssim import __version__
from smssim.core.fleet import ROWS_MAX
from smssim.outputs.judging import ceiling
from smssim.outputs.report import tables
from smssim.outputs.report.assets import Assets, assets, source_of
from smssim.outputs.report.comparing import compared
from smssim.outputs.report.comparison import comparison
from smssim.outputs.report.curve import svg
from smssim.outputs.report.formats import VERSION
from smssim.outputs.report.markup import Content, Html, joined, tag, void
from smssim.outputs.report.pictures import picture
from smssim.outputs.report.sender_rows import senders

Document = Mapping[str, Any]

DRAW: Final = 'smssim.report(JSON.parse(document.getElementById("smssim-data").textContent));'
EVENTS_MAX: Final = 200  # in the table of a run; the data has all of them
BRIEF_MAX: Final = 20  # senders, and events, in the tables of a run that is compared
NO_CURVE: Final = "There is no curve, because nothing was sent or only the totals are known."


def report(documents: Sequence[Document], inlined: Assets | None = None) -> bytes:
    """Return the report of these documents, which are compared if there are several; `inlined`: its assets."""
    used = assets() if inlined is None else inlined
    scripts = [*used.scripts, DRAW] if used.scripts else []
    compares = comparison(documents)
    data = {"version": VERSION, "runs": list(documents), "comparison": compares}
    plain = several(documents, compares) if compares else one_run(documents[0], "h1")
    body = tag("main", tag("div", plain, class_="plain", tabindex="0"), id="app")  # keys scroll it, if it is too wide
    page = [
        Html("<!doctype html>\n"),
        Html('<html lang="en">\n'),
        _head(_title(documents), used.styles, scripts),
        Html("\n<body>\n"),
        body,
        tag("script", embedded(data), type="application/json", id="smssim-data"),
        [tag("script", Html(script)) for script in scripts],
        Html("\n</body>\n</html>\n"),
    ]
    return joined(page).encode()


def embedded(data: object) -> Html:
    """Return JSON that can stand in a script element, whatever it contains."""
    return Html(json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return the policy that allows nothing but these styles and scripts."""
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(map(source_of, scripts)) or "'none'",
        "style-src": " ".join(map(source_of, styles)) or "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _title(documents: Sequence[Document]) -> str:
    return " and ".join([documents[0]["title"], *([f"{len(documents) - 1} more"] if len(documents) > 1 else [])])


def _head(title: str, styles: Sequence[str], scripts: Sequence[str]) -> Html:
    return tag(
        "head",
        void("meta", charset="utf-8"),
        void("meta", http_equiv="Content-Security-Policy", content=policy(styles, scripts)),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", name="generator", content=f"smssim {__version__}"),
        tag("title", f"{title} - smssim"),
        [tag("style", Html(style)) for style in styles],
    )


# ---- The content for readers without scripts


def one_run(document: Document, head: str, *, is_brief: bool = False) -> Html:
    """Return everything about one run or plan, under a heading of this level; `is_brief`: fewer senders and events."""
    below = f"h{int(head[1]) + 1}"
    parts = _plan(document, below) if document["kind"] == "plan" else _run(document, below, is_brief)
    return joined([tag(head, document["title"]), tag("p", tag("strong", document["verdict"]["text"])), parts])


def _run(document: Document, head: str, is_brief: bool) -> list[Html]:
    progress = document["progress"]
    began = f", began {_date(document['began'])}" if document["began"] else ""
    parts = [tag("p", f"Run {progress['run_id']}{began}.")]
    if document["stall"]:
        parts.append(tag("p", document["stall"]))
    if progress.get("thresholds"):
        parts += [tag(head, "Thresholds"), tables.thresholds(progress)]
    parts += [tag(head, "Sent over time"), _curve(document), tables.reached(document)]
    most = ceiling(progress["total"], progress["unreachable"])
    if most:
        parts.append(tag("p", f"{most}.", id=None if is_brief else "ceiling", class_="note"))
    if document["pace"]:
        parts.append(tag("p", f"Beside the plan: {document['pace']}."))
    parts += [
        tag(head, "Figures"),
        tables.figures(document),
        tag("p", f"Conservation: {tables.conservation(progress)}."),
        *([tag("p", f"Totals: {progress['reason']}.")] if progress.get("reason") else []),
        *_section(head, "Senders", senders(document, BRIEF_MAX if is_brief else ROWS_MAX)),
        *_section(head, "Latency", tables.percentiles(progress), "Time from queued to final outcome, by percentile."),
        *_section(head, "Events", tables.events(document, BRIEF_MAX if is_brief else EVENTS_MAX)),
        *_repeat(document, head),
    ]
    return parts


def _plan(document: Document, head: str) -> list[Html]:
    theory = document["forecast"]["theory"]
    return [
        tag("p", "A plan: a forecast from plays in virtual time, not a run."),
        *_section(head, "Goals", tables.plan_goals(document)),
        tag(head, "Sent over time"),
        _curve(document),
        tag(head, "Figures"),
        tables.forecast(document),
        tag("p", "Low and high bound the middle 95% of the seeds."),
        *([tag("p", _formulas(theory))] if theory else []),
        *_section(head, "Senders", tables.plan_senders(document)),
        *_repeat(document, head),
    ]


def _formulas(theory: Document) -> str:
    if not theory["valid"]:
        return f"Formulas do not apply: {theory['why'] or 'their assumptions do not hold'}."
    return f"Formulas say: complete after {tables.moment_of(theory['complete_s'])}."


def _curve(document: Document) -> Html:
    shown = picture(document)
    return tag("p", NO_CURVE if shown is None else svg(shown))


def _section(head: str, title: str, content: Html | None, note: str = "") -> list[Html]:
    """Return a section; nothing if it has no content."""
    if content is None:
        return []
    return [tag(head, title), content, *([tag("p", note)] if note else [])]


def _repeat(document: Document, head: str) -> list[Html]:
    """Return what repeats a run, and which versions it had."""
    facts = {"seed": document["seed"], "attempts per message": document["max_attempts"]}
    said = [f"{name} {value}" for name, value in facts.items() if value is not None]
    said.append(f"made by smssim {document['smssim'] or 'of unknown version'}, shown by smssim {__version__}")
    command: list[Html] = [tag("pre", tag("code", document["command"]))] if document["command"] else []
    return [tag(head, "To repeat it"), *command, tag("p", _sentence(said))]


def _sentence(parts: Sequence[str]) -> str:
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _date(began: str) -> str:
    return f"{began[:10]} {began[11:19]} UTC"


def several(documents: Sequence[Document], compares: Document) -> Html:
    """Return the comparison of runs and plans, and below it a section for each of them, folded up."""
    sections: list[Content] = [
        tag(
            "details",
            tag("summary", tag("strong", f"{run['label']}: {document['title']}"), f" - {document['verdict']['text']}"),
            one_run(document, "h2", is_brief=True),
        )
        for run, document in zip(compares["runs"], documents, strict=True)
    ]
    return joined([compared(documents, compares), tag("h2", "Each of them"), sections])
