"""The log lines of a monitor: one for most events of its runs, and those for an end that stdout does not show.

Knows their wording. Must not know how events are handled.
"""

from __future__ import annotations

from smssim.core.followed import Ended, Missed
from smssim.core.runs import Dropped, Event, NoSender, Started
from smssim.core.tally import Tally
from smssim.outputs.terminal.summary import value
from smssim.process.logs import Log
from smssim.words import count, plural


def log_resumed(log: Log, tally: Tally) -> None:
    """Log the state of a run that is continued."""
    done, total = count(tally.ledger.final), plural(tally.run.total, "message")
    log.info("Resumed run %s: %s of %s counted", tally.run.run_id, done, total)


def log_event(log: Log, event: Event) -> None:
    """Log an event, if it has a log line."""
    match event:
        case NoSender(for_s):
            log.info("Still waiting for a sender after %.0f s", for_s)
        case Started(run):
            log.info("Run %s: %s", run.run_id, plural(run.total, "message"))
        case Missed(name):
            log.warning("Missed the first reports of sender %s: can't count the whole run", name)
        case Dropped(run):
            log.info("Dropped run %s (no outcomes, no senders): waiting for another", run.run_id)


def log_end(log: Log, ended: Ended) -> None:
    """Log why a run did not end well: with --json, no summary shows it."""
    if ended.ending.exit_code:
        log.error("Run ended: %s", ended.ending.reason)
    for one in ended.snapshot.summary.thresholds if ended.snapshot.summary is not None else ():
        if not one.passed:
            log.error("Threshold missed: %s %s", one.text, value(one, ended.snapshot.figures.as_dict()))
