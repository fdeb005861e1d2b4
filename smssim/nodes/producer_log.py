"""What a producer's log says about its run and the events of it.

Knows their words. Must not know what is done about them.
"""

from __future__ import annotations

import logging

from smssim.core import producer_events as events
from smssim.core.model import RunFacts
from smssim.core.producing import ProducerRun
from smssim.words import count, plural

Log = logging.LoggerAdapter[logging.Logger]


def say_start(log: Log, core: ProducerRun, run: RunFacts) -> None:
    """Logs which run the producer has, and how far that is where it goes on from a journal."""
    log.info("run %s: %s, seed %d", run.run_id, plural(run.total, "message"), run.seed)
    if core.resumed:
        book = core.backlog
        said = (count(book.settled), count(book.sent), count(book.failed), count(book.waiting))
        log.info("resumed: %s settled, %s sent and %s failed; %s to go", *said)
    log.info("waiting for a sender")


def say(log: Log, event: events.Event, total: int) -> None:
    """Logs an event of a run of so many messages; not all events have a line."""
    match event:
        case events.Started():
            log.info("the run has started")
        case events.GaveUp(alone_s):
            log.error("no sender for %.0f s, giving up", alone_s)
        case events.Draining(leased, within_s):
            log.info("draining: %s with senders, to be settled within %g s", plural(leased, "message"), within_s)
        case events.Announced(end, lingers):
            settled, sent, failed = count(end.sent + end.failed), count(end.sent), count(end.failed)
            log.info("%s of %s settled: %s sent, %s failed", settled, plural(total, "message"), sent, failed)
            if lingers:
                log.info("staying up for late senders, until stopped")
        case _:
            _say_of_sender(log, event)


def _say_of_sender(log: Log, event: events.Event) -> None:
    match event:
        case events.Joined(sender):
            log.info("%s joined: %s at a time, %g s each", sender.name, count(sender.concurrency), sender.mean_s)
        case events.Leased(_, batches) if log.isEnabledFor(logging.DEBUG):
            for batch in batches:
                facts = len(batch.ids), batch.ids[0], batch.attempt
                log.debug("handing out messages: %d, from %d on, attempt %d", *facts)
        case events.Close(stream):
            log.info("%s: %s", stream.name, stream.ended)
        case events.Left(stream, leased):
            again = f", with {plural(leased, 'message')} to hand out again" if leased else ""
            log.info("%s left%s", stream.name, again)
        case events.Alone(for_s):
            if for_s:
                log.info("still waiting for a sender, for %.0f s", for_s)
            else:
                log.info("waiting for a sender")
