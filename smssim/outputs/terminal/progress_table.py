"""The progress of runs as a table that gets one row per interval.

Knows figures. Must not know where they come from or where the lines are written.
"""

from __future__ import annotations

from smssim.core.progress import Figures
from smssim.outputs.terminal.table import Column, Table
from smssim.words import about_per_second, clock, count, percent, seconds


def progress_table(total: int, names_run: bool = False) -> Table[Figures]:
    """Return the table for runs of up to `total` messages."""
    most = len(count(total))
    columns: tuple[Column[Figures], ...] = (
        Column("run", lambda f: f.run_id[:8], 8),
        Column("time", lambda f: clock(f.elapsed_s), 8),
        Column("done", lambda f: percent(f.done, f.total) if f.total else "100%", 5),
        Column("sent", lambda f: count(f.sent), most),
        Column("failed", lambda f: count(f.failed), most),
        Column("in flight", lambda f: count(f.in_flight), most, gives_way=6),
        Column("waiting", lambda f: count(f.waiting), most, gives_way=7),
        Column("attempts", lambda f: count(f.attempts), most, gives_way=1),
        Column("dups", lambda f: count(f.duplicates), 5, gives_way=3),
        Column("avg time", lambda f: seconds(f.avg_time_s), 8),
        Column("avg sent", lambda f: seconds(f.avg_sent_time_s), 8, gives_way=4),
        Column("now", lambda f: about_per_second(f.recent_rate_per_s), 8, gives_way=8),
        Column("overall", lambda f: about_per_second(f.rate_per_s), 8, gives_way=2),
        Column("senders", lambda f: count(f.senders), 7, gives_way=5),
    )
    return Table(columns if names_run else columns[1:])
