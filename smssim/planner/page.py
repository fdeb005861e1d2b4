"""The page of a plan: when messages are sent, how many, what limits the run, and whether its goals are met.

Lays out a forecast as pieces of text with styles. Must not know where the page is shown, or what the styles look like.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from smssim.escaping import escape
from smssim.outputs.text_lines import cheaper, described
from smssim.plan.bottleneck import bottleneck
from smssim.plan.forecast import Forecast, SenderForecast
from smssim.plan.search.answer import Answer
from smssim.plan.search.cheapest_answer import CheapestAnswer
from smssim.plan.seeds import Spread
from smssim.planner import says, says_mix
from smssim.planner.curve import Curve, Line, chart
from smssim.words import clock, count, moment, money, plural

WIDTH: Final = 80  # of the page, if the width of the screen is unknown
WIDTH_MAX: Final = 120  # longer lines are hard to follow by eye
MARKS_MAX: Final = 9
POINTS: Final = 400  # of the curve
INDENT: Final = "  "
HEAD: Final = 13  # width of the first column
CELL: Final = 12  # width of a column of times


class Page:
    """What people read about a plan.

    `seeds` are those played, and `took_s` is how long planning took. `answer` and `mix` are those of searches, if there
    were any, and `text` is that of all messages, if it is given.
    """

    def __init__(
        self,
        forecast: Forecast,
        file: str | None,
        seeds: Sequence[int],
        took_s: float,
        answer: Answer | None = None,
        mix: CheapestAnswer | None = None,
        text: str | None = None,
    ) -> None:
        self._forecast = forecast
        self._bottleneck = bottleneck(forecast)
        self._file = file
        self._seeds = seeds
        self._took_s = took_s
        self._answer = answer
        self._mix = mix
        self._text = text
        self._width = WIDTH

    def lines(self, width: int | None = None, fine: bool = True) -> list[Line]:
        """Return the lines, for a screen of this width; `fine` if it shows more than ASCII."""
        self._width = min(width or WIDTH, WIDTH_MAX) - 1
        parts = (
            self._title(),
            self._message(),
            self._times(),
            self._chart(fine),
            self._counts(),
            self._limits(),
            self._goals(),
            self._found(),
        )
        lines: list[Line] = []
        for part in parts:
            lines += [*part, []] if part else []
        return lines + self._played()

    # -- pieces

    def _row(self, head: str, *pieces: tuple[str, str]) -> Line:
        return [(f"{INDENT}{head:<{HEAD}}", "head"), *pieces]

    def _prose(self, head: str, text: str, style: str = "") -> list[Line]:
        """Return text, wrapped beside its head."""
        room = max(20, self._width - len(INDENT) - HEAD)
        return [self._row("" if i else head, (part, style)) for i, part in enumerate(wrapped(text, room))]

    # -- sections

    def _title(self) -> list[Line]:
        scenario = self._forecast.scenario
        senders = sum(sender.copies for sender in scenario.senders)
        lanes = sum(sender.lanes for sender in scenario.senders)
        facts = [
            plural(scenario.total, "message"),
            f"{plural(senders, 'sender')} with {plural(lanes, 'lane')}",
            f"at most {plural(scenario.max_attempts, 'attempt')} each",
        ]
        if scenario.rate_per_s is not None:
            facts.append(f"released at {scenario.rate_per_s:,.10g}/s")
        if self._answer is not None and self._answer.found is not None:
            facts.append(f"with {self._answer.setting} = {self._answer.found.value:,.10g} as found")
        if self._mix is not None and self._mix.found:
            facts.append("in the cheapest mix")
        of = f" of {escape(PurePath(self._file).name)}" if self._file else ""
        return [[(part, "title")] for part in wrapped(f"plan{of}: {', '.join(facts)}", max(20, self._width))]

    def _message(self) -> list[Line]:
        if self._text is None:
            return []
        return self._prose("text", described(self._text)) + self._prose("", cheaper(self._text), "head")

    def _times(self) -> list[Line]:
        forecast, theory = self._forecast, self._forecast.theory
        if not forecast.scenario.total:
            return []
        has_theory = theory.valid and self._width >= len(INDENT) + HEAD + 4 * CELL + 4
        heads = [f"{'median':>{CELL}}", f"   {'95% of the seeds':<{2 * CELL + 1}}", f"{'theory':>{CELL}}" * has_theory]
        lines = [self._row("sent after", ("".join(heads).rstrip(), "head"))]
        for percent, spread in forecast.reached_s.items():
            why = says.never(forecast, percent)
            lines.append(self._time(f"{percent}%", spread, theory.reached_s(percent), has_theory, why))
        if forecast.scenario.unreachable:
            lines.append(self._row("of reachable"))
            for percent, spread in forecast.reached_reachable_s.items():
                why = says.never(forecast, percent, of_reachable=True)
                lines.append(self._time(f"{percent}%", spread, theory.reached_reachable_s(percent), has_theory, why))
        stuck = says.stuck(self._bottleneck)
        lines.append(self._time("all done", forecast.complete_s, theory.complete_s, has_theory, stuck))
        note = theory.why if not theory.valid else ""
        return lines + (self._prose("theory", f"does not apply: {note}", "head") if note else [])

    def _time(self, name: str, spread: Spread, theory_s: float | None, has_theory: bool, why: str) -> Line:
        head = f"{name:>4}" if name.endswith("%") else name
        if spread.median is None:
            room = self._width - len(INDENT) - HEAD - CELL - 2
            some = f"in {100 * spread.share:.3g}% of the seeds; " if spread.share else ""
            return self._row(head, (f"{'never':>{CELL}}", "bad"), (f"  {some}{why}"[: max(0, room)], ""))
        high = "never" if spread.high is None else moment(spread.high)
        low = "never" if spread.low is None else moment(spread.low)
        pieces = [
            (f"{moment(spread.median):>{CELL}}", "number"),
            (f"{low:>{CELL}} to {high:<{CELL}}", ""),
        ]
        if has_theory:
            pieces.append((f"{'-' if theory_s is None else moment(theory_s):>{CELL}}", "head"))
        if spread.share < 1:
            pieces.append((f"  in {100 * spread.share:.3g}%", "bad"))
        return self._row(head, *pieces)

    def _chart(self, fine: bool) -> list[Line]:
        forecast, total = self._forecast, self._forecast.scenario.total
        if not total or not forecast.end_s:
            return []
        times_s, course = forecast.course(POINTS)
        median, low, high = (course[:, 0, i] / total for i in range(3))
        marks = says.marks(forecast.scenario)
        curve = Curve(float(times_s[-1]), median, low, high)
        lines = chart(curve, [at_s for at_s, _ in marks[:MARKS_MAX]], self._width - len(INDENT), fine)
        for number, (at_s, text) in enumerate(marks[:MARKS_MAX], 1):
            after = "" if at_s <= forecast.end_s else " (after the end)"
            lines.append([(f"{number:>5}", "mark"), (f"  {clock(at_s):>8}  {text}{after}"[: self._width - 7], "")])
        if len(marks) > MARKS_MAX:
            lines.append([(f"       and {plural(len(marks) - MARKS_MAX, 'more event')}", "head")])
        return [[(INDENT, ""), *line] for line in lines]

    def _counts(self) -> list[Line]:
        forecast, total = self._forecast, self._forecast.scenario.total
        names = ["sent", "failed", *["unreachable"] * bool(forecast.scenario.unreachable), "attempts", "duplicates"]
        spreads = {name: forecast.count(name) for name in names}
        if not total:
            return []
        wide = max(len(_number(spread.median)) for spread in spreads.values())
        lines: list[Line] = []
        for name, spread in spreads.items():
            median = spread.median or 0.0
            share = says.share(median / total) if name in ("sent", "failed", "unreachable") else ""
            between = "" if spread.low == spread.high else f"   {_number(spread.low)} to {_number(spread.high)}"
            per_message = f"   {median / total:.2f} per message" if name == "attempts" else ""
            style = {"sent": "good", "failed": "bad" if median else ""}.get(name, "number")
            text = f"{share:>8}{between}{per_message}" if share or between else per_message
            text = text[: max(0, self._width - len(INDENT) - HEAD - wide)]
            lines.append(self._row(name, (f"{_number(median):>{wide}}", style), (text, "")))
            if name == "sent":
                lines += self._prose("", says.ceiling(forecast), "head")
        return lines + self._costs()

    def _costs(self) -> list[Line]:
        """Return what the run costs, if there are prices."""
        forecast, cost = self._forecast, self._forecast.cost
        if not any(sender.price or sender.price_failed for sender in forecast.scenario.senders):
            return []
        median, low, high = (amount or 0.0 for amount in (cost.median, cost.low, cost.high))
        between = "" if low == high else f"   {money(low)} to {money(high)}"
        sent = forecast.count("sent").median
        each = f"   {money(median / sent)} per message sent" if sent else ""
        text = f"{between}{each}"[: max(0, self._width - len(INDENT) - HEAD - len(money(median)))]
        return [
            self._row("cost", (money(median), "number"), (text, "")),
            *self._prose("", says.costs(forecast), "head"),
        ]

    def _limits(self) -> list[Line]:
        forecast = self._forecast
        lines = self._prose("limited by", says.limit(forecast, self._bottleneck))
        senders = forecast.senders if forecast.scenario.total else []
        if len(senders) > 1:
            busiest, idlest = (choose(senders, key=lambda sender: sender.busy) for choose in (max, min))
            lines += [self._sender("busiest", busiest), self._sender("idlest", idlest)]
        lines += self._prose("theory", says.theory(forecast.theory), "head")
        return lines + self._prose("machine", says.machine(forecast))

    def _sender(self, head: str, sender: SenderForecast) -> Line:
        text = f"{escape(sender.name)}: {says.share(sender.busy)} of its lane time, {_number(sender.sent)} sent"
        return self._row(head, (text, ""))

    def _goals(self) -> list[Line]:
        goals = self._forecast.goals
        wide = max((len(one.goal.text) for one in goals), default=0)
        return [
            self._row(
                "" if i else "goals",
                ("passed" if one.passed else "MISSED", "good" if one.passed else "bad"),
                (f"  {one.goal.text:<{wide}}  probability {says.share(one.probability)}", ""),
            )
            for i, one in enumerate(goals)
        ]

    def _found(self) -> list[Line]:
        if self._mix is not None:
            return self._prose("cheapest", says_mix.mix(self._mix), "" if self._mix.found else "bad")
        if self._answer is None:
            return []
        return self._prose("found", str(self._answer), "" if self._answer.found else "bad")

    def _played(self) -> list[Line]:
        first, number, times = self._seeds[0], len(self._seeds), self._forecast.scale.messages
        which = f"seed {first}" if number == 1 else f"{number} seeds ({first} to {self._seeds[-1]})"
        scaled = f", 1 message for every {count(times)}" if times > 1 else ""
        return self._prose("played", f"{which}{scaled}, in {moment(self._took_s)}", "head")


def wrapped(text: str, room: int) -> list[str]:
    """Return text as lines of at most so many characters; a number and its unit stay together."""
    joined = re.sub(r"(?<=\d) (?=(?:ms|s|days|years)\b)", "\0", text)
    lines = textwrap.wrap(joined, room, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


def _number(value: float | None) -> str:
    return "-" if value is None else count(round(value))
