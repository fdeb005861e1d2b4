"""The log lines of a producer: one for its start and one for most events of its run.

Knows their wording. Must not know how events are handled.
"""

from __future__ import annotations

import logging

from smssim.core import producer_events as events
from smssim.core.model import RunFacts
from smssim.core.producing import ProducerRun
from smssim.outputs.text_lines import log_text
from smssim.words import count, plural

Log = logging.LoggerAdapter[logging.Logger]


def log_start(log: Log, core: ProducerRun, run: RunFacts, text: str | None) -> None:
    """Log which run the producer has, what its text costs if it has one, and the state of a run that is resumed."""
    log.info("Run %s: %s, seed %d", run.run_id, plural(run.total, "message"), run.seed)
    if text is not None:
        log_text(log, text)
    if core.resumed:
        book = core.backlog
        said = (count(book.settled), count(book.sent), count(book.failed), count(book.waiting))
        log.info("Resumed: %s settled (%s sent, %s failed), %s to go", *said)
    is_over = core.resumed and core.backlog.complete
    log.info("Waiting for senders that have not received the end" if is_over else "Waiting for a sender")


def log_event(log: Log, event: events.Event, total: int) -> None:
    """Log an event, if it has a log line. `total`: the number of messages of the run."""
    match event:
        case events.Started():
            log.info("Run started")
        case events.GaveUp(alone_s):
            log.error("No sender for %.0f s: giving up", alone_s)
        case events.Draining(leased, within_s):
            log.info("Draining: %s to settle within %g s", plural(leased, "message"), within_s)
        case events.Announced(end, lingers):
            settled, sent, failed = count(end.sent + end.failed), count(end.sent), count(end.failed)
            log.info(
                "Run ended: %s of %s settled (%s sent, %s failed)", settled, plural(total, "message"), sent, failed
            )
            if lingers:
                log.info("Lingering for late senders; stop with Ctrl-C")
        case _:
            _say_of_sender(log, event)


def _say_of_sender(log: Log, event: events.Event) -> None:
    match event:
        case events.Joined(sender):
            log.info("Sender %s joined: %s, mean %g s", sender.name, plural(sender.concurrency, "lane"), sender.mean_s)
        case events.Leased(_, batches) if log.isEnabledFor(logging.DEBUG):
            for batch in batches:
                facts = len(batch.ids), batch.ids[0], batch.attempt
                log.debug("Leased a batch (messages: %d, first id: %d, attempt: %d)", *facts)
        case events.Close(stream):
            log.info("Closed the stream of sender %s: %s", stream.name, stream.ended)
        case events.Left(stream, leased):
            again = f": {plural(leased, 'message')} to redeliver" if leased else ""
            log.info("Sender %s left%s", stream.name, again)
        case events.NoSender(for_s):
            if for_s:
                log.info("Still waiting for a sender after %.0f s", for_s)
            else:
                log.info("Waiting for a sender")
