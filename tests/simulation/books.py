"""Everything recounted from first principles, with plain sets and dictionaries, from what crosses a node's border.

Must not read the counters of the classes under test except to compare them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from smssim.core.backlog import Backlog
from smssim.core.exchange import Answer, Report, Settlements
from smssim.core.fate import Fates
from smssim.core.model import Outcome
from smssim.core.progress import Figures, Milestones
from smssim.core.queue import Batch
from smssim.core.reach import Reach
from smssim.core.tally import Tally

Row = tuple[int, int, int]  # message, outcome, attempt


def check(holds: bool, claim: str, *args: object) -> None:
    """Raise AssertionError with this claim unless it holds; `python -O` does not disable this."""
    if not holds:
        raise AssertionError(claim % args if args else claim)


class ProducerBook:
    """Where each message of a run is, for one owner of the run. What is on record of `log` outlives it."""

    def __init__(self, total: int, rows: Sequence[Row] = ()) -> None:
        """`rows`: what was on record before; no message is leased then."""
        self.total = total
        self.log: list[Row] = []  # the rows that changed something
        self.waiting = set(range(total))
        self.leased: dict[int, set[int]] = {}  # by the lease holder's number
        self._holder_of: dict[int, int] = {}  # the last holder of each message
        self.tries: Counter[int] = Counter()
        self.settled: dict[int, int] = {}
        for row in rows:
            self._settle(*row)
        self.durable_upto = len(rows)  # rows of the log that are on record

    def fork(self, kept: int) -> ProducerBook:
        """Return the book of the next owner, which begins with the first `kept` rows of the log."""
        return ProducerBook(self.total, self.log[:kept])

    def committed(self, upto: int) -> None:
        """Record that the first `upto` rows of the log are on record."""
        self.durable_upto = max(upto, self.durable_upto)

    def grant(self, holder: int, batches: Sequence[Batch]) -> None:
        """Record leased batches; check that each message was waiting, and for this attempt."""
        for batch in batches:
            ids = set(batch.ids.tolist())
            check(len(ids) == len(batch.ids), "a batch contains a message twice")
            check(ids <= self.waiting, "leased but not waiting: %s", sorted(ids - self.waiting)[:5])
            if self.tries or batch.attempt != 1:
                wrong = [i for i in ids if self.tries[i] != batch.attempt - 1]
                check(not wrong, "leased for the wrong attempt %s: %s", batch.attempt, wrong[:5])
            self.waiting -= ids
            self.leased.setdefault(holder, set()).update(ids)
            self._holder_of.update(dict.fromkeys(ids, holder))

    def settle(self, done: Settlements, recorded: dict[int, int] | None) -> None:
        """Record settlements; check that each final outcome is the one that the monitor has on disk.

        A retry counts only if it is for the message's present attempt. Of two retries of a message in one request, the
        second is ignored like a late one. `recorded` is None if the monitor has lost its records.
        """
        tries = {i: self.tries[i] for i in done.ids.tolist()}
        rows = zip(done.ids.tolist(), done.outcomes.tolist(), done.attempts.tolist(), strict=True)
        for i, outcome, attempt in sorted(rows, key=lambda row: row[1] == Outcome.RETRY):
            if outcome != Outcome.RETRY:
                on_record = outcome if recorded is None else recorded.get(i)
                check(outcome == on_record, "message %s is settled as %s, but recorded as %s", i, outcome, on_record)
                if i in self.settled:
                    same = recorded is None or self.settled[i] == outcome
                    check(same, "message %s is settled twice with different outcomes", i)
                    continue
            elif i in self.settled or not self.tries[i] == tries[i] == attempt - 1:
                continue
            self._settle(i, outcome, attempt)

    def _settle(self, i: int, outcome: int, attempt: int) -> None:
        self.log.append((i, outcome, attempt))
        self.waiting.discard(i)
        holder = self._holder_of.get(i)
        if holder is not None and holder in self.leased:
            self.leased[holder].discard(i)
        if outcome == Outcome.RETRY:
            self.tries[i] = attempt
            self.waiting.add(i)
        else:
            self.settled[i] = outcome

    def hand_back(self, holder: int, ids: list[int]) -> None:
        """Mark messages that the holder hands back as waiting; ignore those that it does not have."""
        back = self.leased.get(holder, set()) & set(ids)
        self.leased.get(holder, set()).difference_update(back)
        self.waiting |= back

    def lose(self, holder: int) -> None:
        """Mark the messages of a lost stream as waiting."""
        self.waiting |= self.leased.pop(holder, set())

    def compare(self, backlog: Backlog, deep: bool) -> None:
        """Check conservation, and the backlog's figures against this book; with `deep`, also message by message."""
        leased = sum(map(len, self.leased.values()))
        check(len(self.settled) + leased + len(self.waiting) == self.total, "the book itself does not add up")
        figures = (backlog.settled, backlog.leased, backlog.waiting)
        counted = (len(self.settled), leased, len(self.waiting))
        check(figures == counted, "settled, leased, waiting: %s, counted %s", figures, counted)
        for holder in backlog.holders:
            had = len(self.leased.get(holder.number, ()))
            check(holder.leased == had, "holder %s has %s leases, counted %s", holder.number, holder.leased, had)
        if not deep:
            return
        outcomes = Counter(self.settled.values())
        check(backlog.sent == outcomes[Outcome.SENT], "sent: %s, counted %s", backlog.sent, outcomes[Outcome.SENT])
        state, holders = backlog._open.column["state"], backlog._open.column["holder"]
        for wanted, ids in [(3, set(self.settled)), *((2, ids) for ids in self.leased.values())]:
            rows = backlog._open.open(np.array(sorted(ids), np.int64))
            open_ = rows[rows >= 0] if wanted == 3 else rows
            check(bool((open_ >= 0).all()), "a leased message is in a closed stretch")
            check(bool((state[open_] == wanted).all()), "the states of %s messages are not all %s", len(ids), wanted)
        for number, ids in self.leased.items():
            rows = backlog._open.open(np.array(sorted(ids), np.int64))
            check(bool((holders[rows] == number).all()), "a message of holder %s is leased to another one", number)


@dataclass
class Counted:
    """The sum of several reports."""

    final: dict[int, int] = field(default_factory=dict)
    outcomes: Counter[int] = field(default_factory=Counter)  # how many of `final` have each outcome
    recorded: set[tuple[str, int]] = field(default_factory=set)
    retried: int = 0
    duplicates: int = 0
    overruled: int = 0
    time_s: float = 0.0

    def add(self, session_id: str, report: Report) -> None:
        """Add a report that is recorded for the first time."""
        done = report.finished
        self.recorded.add((session_id, report.sequence))
        rows = list(zip(done.ids.tolist(), done.outcomes.tolist(), done.durations_s.tolist(), strict=True))
        for i, outcome, time_s in rows:
            if outcome == Outcome.RETRY and i not in self.final:
                self.retried += 1
                self.time_s += time_s
        for i, outcome, time_s in rows:
            if outcome == Outcome.RETRY:
                continue
            if i in self.final:
                self.duplicates += 1
                self.overruled += self.final[i] != outcome
            else:
                self.final[i] = outcome
                self.outcomes[outcome] += 1
                self.time_s += time_s


class MonitorBook:
    """What the monitor must have on record, in memory and on disk."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.log: list[tuple[str, Report]] = []
        self._answers: dict[tuple[str, int], Answer] = {}  # by session and sequence
        self.now = Counted()
        self.durable = Counted()
        self.durable_upto = 0  # rows of the log that are on disk
        self.last: dict[str, Report] = {}  # by session
        self.joined_late: set[str] = set()  # senders whose first reports never reached the monitor

    def report(self, session_id: str, report: Report, answer: Answer) -> bool:
        """Record a report that was answered; return whether it was new.

        Checks that a repeat of a session's last report gets the same answer as before.
        """
        key = session_id, report.sequence
        if key not in self.now.recorded:
            self.log.append((session_id, report))
            self._add(session_id, report)
            self._answers[key] = answer
            return True
        first = self._answers[key]
        same = (first.accepted, first.duplicates) == (answer.accepted, answer.duplicates)
        same &= first.overruled_ids.tolist() == answer.overruled_ids.tolist()
        same &= first.overruled_outcomes.tolist() == answer.overruled_outcomes.tolist()
        check(same, "report %s of %s is answered differently when repeated", report.sequence, session_id)
        return False

    def _add(self, session_id: str, report: Report) -> None:
        self.now.add(session_id, report)
        if session_id not in self.last and report.sequence > 1:
            self.joined_late.add(session_id)
        self.last[session_id] = report

    def expects(self, session_id: str, report: Report) -> bool:
        """Return whether this is the next report of a sender, or its last one repeated."""
        last = self.last.get(session_id)
        return last is None or report.sequence == last.sequence + 1 or report is last

    def committed(self, upto: int) -> None:
        """Record that the first `upto` rows of the log are on disk."""
        for session_id, report in self.log[self.durable_upto : upto]:
            self.durable.add(session_id, report)
        self.durable_upto = max(upto, self.durable_upto)

    def fork(self, kept: int) -> MonitorBook:
        """Return the book of the next owner, which begins with the first `kept` rows of the log."""
        book = MonitorBook(self.total)
        book.log = self.log[:kept]
        book._answers = dict(self._answers)
        for session_id, report in book.log:
            book._add(session_id, report)
        book.committed(kept)
        return book

    @property
    def heard_the_end(self) -> bool:
        """Whether a sender has reported the end of a complete run."""
        return any(report.end is not None and report.end.complete for _, report in self.log)

    def compare(self, tally: Tally) -> None:
        """Check a tally's figures against the counts of this book."""
        ledger, counted = tally.ledger, self.now
        outcomes = counted.outcomes
        figures = (ledger.sent, ledger.failed, ledger.retried, ledger.duplicates)
        wanted = (outcomes[Outcome.SENT], outcomes[Outcome.FAILED], counted.retried, counted.duplicates)
        check(figures == wanted, "sent, failed, retried, duplicates: %s, counted %s", figures, wanted)

    def compare_at_end(self, tally: Tally, now: float) -> None:
        """Check all figures that are shown to people, and the outcome of each message."""
        self.compare(tally)
        counted, figures = self.now, tally.figures(now, final=True)
        missing = self.total - len(counted.final)
        check(figures.sent + figures.failed + missing == self.total, "sent + failed + missing is not the total")
        check(figures.in_flight + figures.waiting == missing, "in flight + waiting is not the number missing")
        attempts = len(counted.final) + counted.retried
        check(figures.attempts == attempts, "%s attempts, counted %s", figures.attempts, attempts)
        mean_s = counted.time_s / attempts if attempts else 0.0
        near = abs((figures.avg_time_s or 0.0) - mean_s) < 1e-6 + 1e-4 * mean_s
        check(near, "mean time %s, counted %s", figures.avg_time_s, mean_s)
        check(
            tally.progress.latencies.count == len(counted.final),
            "%s latencies are recorded, expected one for each final outcome",
            tally.progress.latencies.count,
        )
        ids = np.array(sorted(counted.final), np.int64)
        on_record = tally.ledger._on_record(ids, tally.ledger._open.open(ids))
        check(on_record.tolist() == [counted.final[i] for i in ids.tolist()], "an outcome on record is wrong")
        self._compare_reach(tally, figures)

    def _compare_reach(self, tally: Tally, figures: Figures) -> None:
        """Check how many messages proved to be unreachable, and which milestones of the others were reached."""
        reach = Reach(tally.run.seed, tally.run.unreachable)
        failed = [i for i, outcome in self.now.final.items() if outcome == Outcome.FAILED]
        missing = int(np.count_nonzero(reach.missing(np.array(failed, np.uint64))))
        check(figures.unreachable == missing, "%s are unreachable, counted %s", figures.unreachable, missing)
        reachable = int(np.count_nonzero(~reach.missing(np.arange(self.total, dtype=np.uint64))))
        needed = {percent: Milestones.needed(percent, reachable) for percent in Milestones.PERCENTS}
        wanted = {percent for percent, sent in needed.items() if reachable and figures.sent >= sent}
        reached = set(tally.reached_reachable_s)
        check(reached == wanted, "milestones of the reachable: %s, expected %s", reached, wanted)


def fated(fates: Fates, total: int, max_attempts: int) -> tuple[int, int]:
    """Return the numbers of sent and failed messages that the seed determines if all senders are alike."""
    left, sent, failed = np.arange(total, dtype=np.uint64), 0, 0
    for attempt in range(1, max_attempts + 1):
        _, outcomes = fates.draw(left, attempt)
        sent += int(np.count_nonzero(outcomes == Outcome.SENT))
        failed += int(np.count_nonzero(outcomes == Outcome.FAILED))
        left = left[outcomes == Outcome.RETRY]
    return sent, failed
