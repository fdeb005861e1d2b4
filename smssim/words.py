"""Numbers and lists as text for people: with thousands separators, units and plurals.

Each function formats one kind of thing, the same way everywhere. The width of the text varies little with the value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def count(number: int) -> str:
    """Format a number like 1,234,567."""
    return f"{number:,}"


def plural(number: int, thing: str) -> str:
    """Format a number of things like 1 sender or 2 senders."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def listed(things: Sequence[str], last: str = "and") -> str:
    """Format a list of at least one thing like a, b and c."""
    return f" {last} ".join(filter(None, (", ".join(things[:-1]), things[-1])))


def out_of_reach(percents: Sequence[int], most: str) -> str:
    """Format which percentages can't be reached, such as "95% and 99% can't be reached: at most 93.1%"; may be none."""
    return f"{listed([f'{percent}%' for percent in percents])} can't be reached: at most {most}" if percents else ""


def seconds(time_s: float | None) -> str:
    """Format a time in milliseconds or seconds, to about three digits; None is a dash."""
    if time_s is None:
        return "-"
    time_ms = 1000 * time_s
    if time_ms < 999.5:
        return f"{_three_figures(time_ms)} ms"
    return f"{time_s:.2f} s" if time_s < 99.995 else f"{time_s:,.0f} s"


def setting_s(time_s: float) -> str:
    """Format a time from a setting like 20 ms, 0.25 ms or 1.5 s."""
    return f"{1000 * time_s:.4g} ms" if time_s < 1 else f"{time_s:,.5g} s"


def clock(time_s: float) -> str:
    """Format an elapsed time like 12.3 s, 4m05s, 1h02m03s, 12.3 days or 45.6 years."""
    if time_s < 99.95:
        return f"{time_s:.1f} s"
    if time_s >= 100 * 3600:
        days = time_s / 86400
        return f"{days:,.1f} days" if days < 999.95 else f"{days / 365.25:,.1f} years"
    minutes, rest = divmod(round(time_s), 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m{rest:02d}s"


def moment(time_s: float) -> str:
    """Format a time of a run: to about three digits, and from 100 seconds on like `clock`."""
    return seconds(time_s) if time_s < 99.995 else clock(time_s)


def per_second(rate: float) -> str:
    """Format a rate, to at least three digits."""
    return f"{rate:,.0f}/s" if rate >= 999.5 else f"{_three_figures(rate)}/s"


def about_per_second(rate: float) -> str:
    """Format a rate in at most eight characters, like 12,345/s, 123k/s or 1.23M/s."""
    if rate < 99_999.5:
        return per_second(rate)
    return f"{_three_figures(rate / 1e3)}k/s" if rate < 999_500 else f"{_three_figures(rate / 1e6)}M/s"


def percent(part: int, whole: int) -> str:
    """Format a share of a whole that is not 0, truncated to tenths; only the whole is 100%, only 0 is 0%."""
    return _tenths(part, whole, 1000 * part // whole)


def part(some: int, whole: int) -> str:
    """Format a share of a whole, truncated to tenths; a dash if the whole is 0."""
    return percent(some, whole) if whole else "-"


def percents(first: int, second: int, whole: int) -> tuple[str, str]:
    """Format two shares of a whole that is not 0, rounded to tenths so that they add up to their rounded sum."""
    both, tenths = ((2000 * part + whole) // (2 * whole) for part in (first + second, first))
    return _tenths(first, whole, tenths), _tenths(second, whole, both - tenths)


def percent_of(part: int, sum_of_parts: int, whole: int) -> str:
    """Format the share of a part of a number, so that it agrees with the share of that number by `percents`."""
    return percents(part, sum_of_parts - part, whole)[0] if whole else "-"


def money(amount: float) -> str:
    """Format an amount like 12,500.00, 12.35, 1.234 or 0.0075: to at least two decimals and about four digits."""
    if amount >= 10 or not amount:
        return f"{amount:,.2f}"
    digits = min(9, 3 - math.floor(math.log10(amount)))
    whole, _, decimals = f"{amount:.{digits}f}".partition(".")
    return f"{whole}.{decimals.rstrip('0'):0<2}"


def _three_figures(number: float) -> str:
    """Format a number like 0, 0.012, 1.23, 12.3 or 123."""
    if number < 0.9995:
        return f"{number:.3f}" if number else "0"
    if number < 9.995:
        return f"{number:.2f}"
    return f"{number:.1f}" if number < 99.95 else f"{number:.0f}"


def _tenths(part: int, whole: int, tenths: int) -> str:
    """Format tenths of a percent as a share; a small part is never shown as 0%, a large one never as 100%."""
    if part in (0, whole):
        return "0%" if part == 0 else "100%"
    if tenths == 0:
        return "<0.1%"
    return f"{tenths / 10:.1f}%" if tenths < 1000 else ">99.9%"
