"""How a run ended or what a plan promises, in a sentence, and the deadlines among the thresholds: for documents.

Knows codes and figures. Must not know how they are shown. Must stay cheap to import.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from smssim.core.threshold import REACHED, Threshold
from smssim.errors import ExitCode
from smssim.words import clock

_CODES: Final[Mapping[int, str]] = {
    ExitCode.OK: "complete",
    ExitCode.INCOMPLETE: "incomplete",
    ExitCode.DISAGREE: "disagree",
    ExitCode.THRESHOLD: "missed",
}


def end_verdict(exit_code: int, reason: str, elapsed_s: float, missed: Sequence[str]) -> dict[str, str]:
    """Return how a run ended: a code, and a sentence. `missed`: the thresholds that it missed."""
    text = reason[:1].upper() + reason[1:]
    if exit_code == ExitCode.THRESHOLD:
        text = f"Complete, but missed {', '.join(missed)}"
    elif exit_code == ExitCode.OK:
        text = f"Complete after {clock(elapsed_s)}: {reason}"
    return {"code": _CODES.get(exit_code, "incomplete"), "text": text}


def plan_verdict(forecast: Mapping[str, Any]) -> dict[str, str]:
    """Return what a plan promises: a code, and a sentence. `forecast`: the object of `smssim plan --json`."""
    unsure = [f"{goal['goal']} ({goal['probability']:.0%})" for goal in forecast["goals"] if not goal["passed"]]
    if unsure:
        return {"code": "missed", "text": f"Likely to miss {', '.join(unsure)}"}
    complete_s = forecast["complete_s"]["median"]
    ends = "Not complete within the plan" if complete_s is None else f"Complete after about {clock(complete_s)}"
    return {"code": "planned", "text": f"{ends}; every goal is met" if forecast["goals"] else ends}


def deadlines(thresholds: Iterable[Threshold]) -> list[dict[str, Any]]:
    """Return the thresholds about when a share of all messages is sent, for JSON."""
    return [
        {"text": one.text, "percent": int(one.name[1:]), "at_s": float(one.bound)}
        for one in thresholds
        if one.name in REACHED
    ]


def parsed(texts: Iterable[str]) -> list[Threshold]:
    """Return those of these expressions that are thresholds."""
    found = []
    for text in texts:
        try:
            found.append(Threshold.parse(text))
        except ValueError:
            continue
    return found
