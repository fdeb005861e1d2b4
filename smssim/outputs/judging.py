"""How a run ended or what a plan promises, in a sentence, and the deadlines among the thresholds: for documents.

Knows codes and figures. Must not know how they are shown. Must stay cheap to import.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from smssim.core.threshold import COST, PERCENTS, REACHED, REACHED_REACHABLE, TIMES, Threshold
from smssim.errors import ExitCode
from smssim.words import clock, money, out_of_reach, per_second, percents, seconds

_CODES: Final[Mapping[int, str]] = {
    ExitCode.OK: "complete",
    ExitCode.INCOMPLETE: "incomplete",
    ExitCode.DISAGREE: "disagree",
    ExitCode.THRESHOLD: "missed",
}
_LOWER: Final = ("<", "<=")
_UPPER: Final = (">", ">=")


def end_verdict(exit_code: int, reason: str, elapsed_s: float, missed: Sequence[str]) -> dict[str, str]:
    """Return how a run ended: a code, and a sentence. `missed`: the thresholds that it missed."""
    text = reason[:1].upper() + reason[1:]
    if exit_code == ExitCode.THRESHOLD:
        text = f"Complete, but missed {', '.join(missed)}"
    elif exit_code == ExitCode.OK:
        text = f"Complete after {seconds(elapsed_s) if elapsed_s < 1 else clock(elapsed_s)}: {reason}"
    return {"code": _CODES.get(exit_code, "incomplete"), "text": text}


def plan_verdict(forecast: Mapping[str, Any]) -> dict[str, str]:
    """Return what a plan promises: a code, and a sentence. `forecast`: the object of `smssim plan --json`."""
    unsure = [f"{goal['goal']} ({goal['probability']:.0%})" for goal in forecast["goals"] if not goal["passed"]]
    if unsure:
        return {"code": "missed", "text": f"Likely to miss {', '.join(unsure)}"}
    complete_s = forecast["complete_s"]["median"]
    ends = "Not complete within the plan" if complete_s is None else f"Complete after about {clock(complete_s)}"
    return {"code": "planned", "text": f"{ends}; every goal is met" if forecast["goals"] else ends}


def deadlines(thresholds: Iterable[Threshold], unreachable: float = 0.0) -> list[dict[str, Any]]:
    """Return the thresholds about when a share of messages is sent, for JSON; `percent` is of all messages.

    If one is about the messages that can be reached, `reachable` has the percentage of those. `unreachable`: share of
    all messages that are expected not to be.
    """
    found: list[dict[str, Any]] = []
    for one in thresholds:
        if one.name in REACHED:
            found.append({"text": one.text, "percent": int(one.name[1:]), "at_s": float(one.bound)})
        elif one.name in REACHED_REACHABLE:
            percent = int(one.name[1:3])
            of_all = round(percent * (1 - unreachable), 4)
            found.append({"text": one.text, "percent": of_all, "reachable": percent, "at_s": float(one.bound)})
    return found


def ceiling(total: int, unreachable: int) -> str:
    """Return which milestones can't be reached because too many messages are unreachable; empty if all can be.

    The share of the others is rounded like that of the sent messages, but not up to a milestone that can't be reached.
    """
    most = total - unreachable
    some = [percent for percent in PERCENTS if percent * total > 100 * most]
    if not some:
        return ""
    text, digits = percents(most, unreachable, total)[0], 1
    while float(text.strip("<%")) >= some[0] and digits < 9:
        digits += 1
        text = f"{100 * most / total:.{digits}f}%"
    return out_of_reach(some, text)


def judged(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the thresholds of a run as texts for people; none before its end. `figures`: its JSON object.

    Each has its `text`, whether it `passed`, the `value` that was compared with its `bound`, and the `margin` between
    them: positive if it passed, empty if only one value passes.
    """
    return [
        {"text": one["threshold"], "passed": one["passed"], **_compared(one, figures)}
        for one in figures.get("thresholds", ())
    ]


def _compared(one: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, str]:
    threshold = next(iter(parsed([one["threshold"]])), None)
    if threshold is None:
        return {"value": "-" if one["value"] is None else f"{one['value']:,.10g}", "bound": "", "margin": ""}
    bound = float(threshold.bound)
    if one["value"] is None:
        value_text = "never" if threshold.name in TIMES else "unknown"
        return {"value": value_text, "bound": amount(threshold, bound), "margin": "-"}
    value = float(threshold.compared(one["value"], figures))
    margin = bound - value if threshold.sign in _LOWER else value - bound
    sign = "" if margin < 0 else "+"
    return {
        "value": amount(threshold, value),
        "bound": amount(threshold, bound),
        "margin": f"{sign}{amount(threshold, margin)}" if threshold.sign in (*_LOWER, *_UPPER) else "",
    }


def amount(threshold: Threshold, value: float) -> str:
    """Format a value in the unit of a threshold: a share in percent, a rate, a cost, a time in seconds or a number."""
    sign, value = ("-" if value < 0 else ""), abs(value)
    if threshold.is_share:
        return f"{sign}{value:.4g}%"
    if threshold.name.endswith("_per_s"):
        return sign + per_second(value)
    if threshold.name == COST:
        return sign + money(value)
    return sign + (seconds(value) if threshold.name in TIMES else f"{value:,.10g}")


def parsed(texts: Iterable[str]) -> list[Threshold]:
    """Return those of these expressions that are thresholds."""
    found = []
    for text in texts:
        try:
            found.append(Threshold.parse(text))
        except ValueError:
            continue
    return found
