"""Every bound and every pace, in one value that is checked as a whole and passed in.

`LIMITS` is what nodes run with. A test that needs another bound passes `replace(LIMITS, lost_after_s=0.3)`; nothing is
patched. Ranges of single values, which the wire and the flags share, stand first: they are part of the protocol. Knows
numbers alone. Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# ---- Ranges of single values

COUNT_MAX: Final = 10**10  # messages of a run: the ledger then takes 1.25 GB
SEED_MAX: Final = 2**63 - 1
ATTEMPTS_MAX: Final = 255  # an attempt travels as one byte
RATE_MAX_PER_S: Final = 1e12
TEXT_LENGTH_MAX: Final = 100  # characters
REASON_LENGTH_MAX: Final = 1000  # characters of the reason for an end that a watcher shows
CONCURRENCY_MAX: Final = 10_000_000  # lanes of one process: 40 bytes each, and some 70 more at the other nodes
RUN_LANES_MAX: Final = 20_000_000  # of all senders of `smssim run`: about 2.2 GB with the messages that are in them
COPIES_MAX: Final = 2_000  # more could not all report each second
TIME_MAX_S: Final = 1e7  # four months; float32 still resolves a second of it
LEASE_TIMEOUT_MIN_S: Final = 1.5  # above the heartbeat of a sender
INTERVAL_MIN_S: Final = 0.01
WATCH_INTERVAL_MIN_S: Final = 0.05  # between two responses that a watcher may ask for
NAME_BYTES_MAX: Final = 64
NAME_GIVEN_BYTES_MAX: Final = NAME_BYTES_MAX - 6  # a copy adds "-9999" or so
MEAN_MIN_S: Final = 1e-6  # a sender that declares a smaller mean counts as this fast
REQUEST_BYTES_MAX: Final = 4 << 20  # of a request or a response: what gRPC receives unless it is set otherwise
ROW_BYTES_MAX: Final = 25 + TEXT_LENGTH_MAX  # of a message in a batch: id, phone number, length, text, time
REPORT_ROW_BYTES: Final = 18  # of an outcome in a report: id, outcome, attempt, two times


Rules = tuple[tuple[bool, str], ...]  # what has to be true of some limits together: whether it is, and in words


def check_rules(rules: Rules) -> None:
    """Raises ValueError with the first rule that does not hold."""
    for holds, rule in rules:
        if not holds:
            raise ValueError(f"these limits contradict each other: {rule}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds and paces. Times are in seconds; raises ValueError where they contradict each other."""

    # -- a sender and its peers

    heartbeat_s: float = 1.0  # a request and a report are due this often, even if empty
    report_wait_max_s: float = 2.0  # between two reports, whatever the monitor asks for
    report_timeout_s: float = 10.0  # for the answer to a report, of which a slow disk is a part
    offer_timeout_s: float = 60.0  # for the run: 2,000 copies on a busy machine wait some 10 s for theirs
    drain_max_s: float = 10.0  # a drained sender hands back what it could not finish in this time
    backoff_min_s: float = 0.1  # before the first try after a loss; doubled with each further one ...
    backoff_max_s: float = 2.0  # ... up to this, so that a peer that is back is found within two seconds
    backoff_share_min: float = 0.5  # of it, at least: the rest is drawn ("equal jitter", AWS Architecture Blog, 2015)
    reasons_asked_max: int = 5  # times in a row that a peer is asked why it ended a call
    repeat_notice_s: float = 10.0  # how often a node repeats what it waits for

    # -- what a sender asks for, sends and reports

    ahead_s: float = 1.0  # how much of its own work a sender asks for ahead ...
    ahead_max: int = 300_000  # ... in messages at most: some 23 MiB
    window_ahead_min: int = 16  # messages; the window is four times what it asks ahead, or four times this
    report_rows_full: int = 32_768  # outcomes that are reported without waiting for more ...
    report_rows_max: int = 98_304  # ... and at most, where answers take long, as those of a disk do: 1.7 MiB
    handed_back_max: int = 262_144  # messages handed back in one request: 2 MiB; with settlements 3 of gRPC's 4 MiB
    late_max_s: float = 1.0  # starts are backdated by this much at most: a paused process sent nothing meanwhile
    tick_min_s: float = 0.002  # between two looks at the lanes, at least: a look costs some 20 microseconds
    tick_max_s: float = 0.8  # and at least this often while messages are held: within a heartbeat
    look_s_per_lane: float = 15e-9  # and at least this, which is ten times what a look costs: some 1.5 ns a lane
    looks_per_report: int = 8  # at the lanes: measured with 1,000 senders, more cost a tenth of the throughput
    dry_hurry: int = 4  # a sender that has run dry reports this many times sooner: a run ends with its last report
    starved_s: float = 0.005  # between a request and one that only reports idle lanes: some ten round trips on loopback
    lanes_many: int = 4096  # busy lanes that finish something at any moment: finding the first to end costs more

    # -- the producer

    lease_check_s: float = 0.25  # how often leases and the end of the run are looked at
    release_s: float = 0.005  # messages released within this time go out together
    join_grace_s: float = 1.0  # a sender that starts together with the first one finds a run of no length still open
    save_s: float = 0.1  # between two commits: what was settled since the last one is delivered again after a crash
    farewell_s: float = 10.0  # how long senders may take to close their streams
    leased_max: int = 100_000_000  # messages that all senders may hold together: some 1.5 GB
    credit_ahead_max: int = 1_600_000  # messages that a sender may hold or have asked for beyond its lanes
    unsaved_max: int = 1 << 25  # fresh messages handed out beyond what is written, where it is written at all
    frame_rows_max: int = 16_384  # messages in a response: 1.2 MiB, 2 MiB where all texts are long
    frame_span_max: int = 500_000  # ids that it may be spread over: their content takes some milliseconds to write
    tail: int = 256  # standard deviations above the mean that an attempt takes at most: sqrt(65,536 - 1) rounded up
    slower_max: int = 10  # an attempt may take this many times what the sender declares, whatever slows it
    stuck_after_s: float = 60.0  # and this much longer at least: a monitor may be away for that long

    # -- the monitor

    end_check_s: float = 0.1  # how often the end of a run is looked for
    paused_s: float = 1.0  # a look that is this late comes from a process that was paused
    last_figures_s: float = 2.0  # how long watchers may take to read the last figures
    lost_after_s: float = 5.0  # without a report, a sender counts as lost: more than twice the longest wait
    silent_after_s: float = 2.5  # without a report, a sender counts as silent: a report is due every two seconds
    quiet_s: float = 3.0  # without an outcome, the reason is looked for
    rate_over_s: float = 2.0  # the present rate of a sender is that of the last stretch of about this length
    report_wait_min_s: float = 0.02  # between two reports of a sender ...
    report_wait_per_sender_s: float = 0.002  # ... and more as senders grow: about five hundred reports a second in all
    sessions_max: int = 100_000  # senders ever in one run
    answer_rows_max: int = 4_000_000  # overruled messages in the answers that are kept: 36 MB
    runs_max: int = 100  # followed at once
    ended_ids_max: int = 10_000  # runs that are known to have ended
    ended_kept_max: int = 4  # ended runs whose ledger is kept, to answer latecomers
    # Messages of open stretches without an outcome that are not to be retried: more than any true run has. Messages go
    # out in order, so all those of an open stretch were handed out, and at most `leased_max` are with senders at once;
    # twice that, with those that a producer has forgotten in a crash.
    pending_max: int = 200_000_000
    pending_bytes_max: int = 400_000_000  # for such messages, and to find them, in all runs of a monitor

    # -- watchers

    watchers_max: int = 1000
    shared_s: float = 0.05  # what was encoded for one watcher serves all others for this long
    wait_per_response_s: float = 0.002  # between two responses to watchers: about five hundred a second in all
    watcher_wait_max_s: float = 30.0  # no watcher waits longer because of others

    # -- calls and connections

    calls_max: int = 20_000  # open at a server, of every kind
    silent_calls_max: int = 10_000  # of them, without a request so far
    aside_calls_max: int = 1_000  # of them, health watches and reflection
    hello_s: float = 10.0  # how long the first request of a call may take
    calls_per_connection_max: int = 12_000  # a client with more waits
    keepalive_s: float = 10.0  # a peer whose machine is gone is noticed in about twice that
    handshake_s: float = 10.0  # how long a new connection may take to become one
    connection_idle_s: float = 120.0  # without a call: far longer than a sender waits between reports
    connections_max: int = 20_000  # open at a server: one for each process of senders, and as many watchers
    descriptors_max: int = 65_536  # that a server asks the system for; each connection takes one
    descriptors_reserved: int = 64  # of them, for what is not a connection: files, journals, metrics
    descriptors_check_s: float = 2.0  # how often a server counts those that are open
    shortage_over_share: float = 0.9  # of the bound: a shortage is over when fewer are open
    probe_s: float = 2.0  # how long a peer may take for the handshake that asks why it refused another

    # -- outputs

    history_samples_max: int = 600  # of a run: 29 KB
    history_rates_max: int = 200  # of a run, between the latest moments
    left_rate_over_s: float = 5.0  # the time left follows from the rate over the last stretch of this length ...
    left_rate_over_share: float = 0.2  # ... or of this share of the run so far ...
    left_rate_over_moments: int = 5  # ... or of this many moments, whichever is longest
    record_group_rows: int = 131_072  # in a row group: about 2 MB
    record_queued_max: int = 1_000_000  # outcomes taken in and not yet written: 25 MB
    record_poll_s: float = 0.005  # how often a full queue is looked at
    lines_at_once: int = 16_384  # of a list of messages: some 10 ms in which nobody else gets a turn
    shown_per_s: float = 100.0  # messages logged in the long run ...
    shown_at_once: float = 1000.0  # ... and in a burst
    shown_kept_per_s: float = 1000.0  # messages under way whose text is kept, in the long run ...
    shown_kept_max: float = 10_000.0  # ... and at most
    left_out_s: float = 1.0  # how often it is said how many were not logged

    # -- pages over HTTP

    http_connections_max: int = 32  # one more ends the oldest
    http_head_bytes_max: int = 8192  # of a request: browsers send some 1 KiB
    http_connection_s: float = 5.0  # for a request to come and its answer to be taken
    scrape_shared_s: float = 0.1  # what was read off for one scrape serves others for this long

    server_grace_s: float = 0.5  # for calls that are answered when a server stops

    # -- memory of a process

    gc_objects: int = 20_000  # made and not freed since the last garbage collection, before the next one
    heap_array_bytes_max: int = 32 << 20  # larger arrays are mapped one by one; mallopt(3) allows no higher threshold
    heap_free_bytes_max: int = 256 << 20  # at the end of the heap; more goes back to the kernel

    # -- journals

    journal_in_use_wait_s: float = 2.0  # a killed process takes a moment to let go of its file
    commit_every_s: float = 0.02  # between the begins of two commits ...
    commit_share_max: float = 0.3  # ... and longer where they would take more of the time than this ...
    commit_rest_max_s: float = 1.0  # ... but with no longer rest: a commit may take long because the process was paused

    def __post_init__(self) -> None:
        """Checks each rule that ties two of them together; raises ValueError."""
        check_rules(self.rules())

    def rules(self) -> Rules:
        """Return what has to be true of them together: whether it is, and in words."""
        return (
            (self.heartbeat_s < LEASE_TIMEOUT_MIN_S, "a heartbeat comes within the least lease timeout"),
            (2 * self.lease_check_s < LEASE_TIMEOUT_MIN_S, "leases are looked at twice within the least lease timeout"),
            (self.tick_max_s < self.heartbeat_s, "lanes are looked at within a heartbeat"),
            (self.heartbeat_s <= self.report_wait_max_s, "the longest wait for a report is no less than a heartbeat"),
            (self.report_wait_max_s < self.silent_after_s, "a report comes before its sender counts as silent"),
            (self.silent_after_s < self.lost_after_s, "a sender counts as silent before it counts as lost"),
            (2 * self.report_wait_max_s < self.lost_after_s, "two reports are missed before a sender counts as lost"),
            (self.backoff_min_s <= self.backoff_max_s, "backoff grows"),
            (self.backoff_share_min <= 1, "a wait is no longer than its backoff"),
            (self.resume_grace_s <= self.farewell_s, "senders come back to a resumed producer within its farewell"),
            (self.report_rows_full <= self.report_rows_max, "a full report is no larger than the largest"),
            (self.ahead_max <= self.credit_ahead_max, "the producer gives the credit that senders ask for"),
            (2 * self.leased_max <= self.pending_max, "the monitor has room for all that a producer hands out"),
            (self.pending_max < self.pending_bytes_max, "the monitor has memory for all that it has room for"),
            (self.aside_calls_max <= self.calls_max, "calls of other services are part of all calls"),
            (self.silent_calls_max <= self.calls_max, "silent calls are part of all calls"),
            (self.calls_per_connection_max >= COPIES_MAX, "all copies of a sender share a connection"),
            (self.report_wait_max_s < self.connection_idle_s, "a connection is not idle between two reports"),
            (
                self.connections_max + self.descriptors_reserved <= self.descriptors_max,
                "a server asks for the descriptors of all its connections",
            ),
            (
                self.frame_rows_max * ROW_BYTES_MAX < REQUEST_BYTES_MAX,
                "a response with messages fits into what gRPC takes",
            ),
            (self.report_rows_max * REPORT_ROW_BYTES < REQUEST_BYTES_MAX, "a report fits into what gRPC takes"),
            (8 * self.handed_back_max < REQUEST_BYTES_MAX, "messages handed back fit into what gRPC takes"),
            (self.history_samples_max >= 4, "a history can be merged"),
            (self.left_rate_over_share <= 1, "the time left follows from a part of the run"),
            (self.left_rate_over_moments <= self.history_rates_max, "the time left follows from moments that are kept"),
            (self.record_group_rows <= self.record_queued_max, "a row group fits into the queue of a record"),
            (self.heap_array_bytes_max <= self.heap_free_bytes_max, "the heap keeps the largest array that was freed"),
            (0 < self.commit_share_max <= 1, "commits take a part of the time"),
        )

    @property
    def resume_grace_s(self) -> float:
        """How long senders may take to come back to a producer that goes on from its journal: two backoffs."""
        return 2 * self.backoff_max_s


LIMITS: Final = Limits()
