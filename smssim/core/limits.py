"""All bounds and intervals, in one value that is checked as a whole and passed in.

Nodes run with `LIMITS`. A test that needs another bound passes `replace(LIMITS, lost_after_s=0.3)`; nothing is patched.
Ranges of single values, which the wire and the flags share, come first: they are part of the protocol. Knows only
numbers. Must stay cheap to import, because `smssim --help` loads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# ---- Ranges of single values

COUNT_MAX: Final = 10**10  # messages of a run: the ledger then takes 1.25 GB
SEED_MAX: Final = 2**63 - 1
ATTEMPTS_MAX: Final = 255  # the number of an attempt is sent as one byte
RATE_MAX_PER_S: Final = 1e12
RATE_MIN_PER_S: Final = 1e-3  # of the limit of a sender: more than a quarter of an hour between two segments
SEGMENTS_MAX: Final = 255  # of a message: one byte numbers them (3GPP TS 23.040, 9.2.3.24.1)
BURST_MAX: Final = 10**9  # segments
PRICE_MAX: Final = 1_000_000  # of a segment, in any currency
TEXT_LENGTH_MAX: Final = 100  # characters
REASON_LENGTH_MAX: Final = 1000  # characters of the reason for the end of a run, as a watcher shows it
CONCURRENCY_MAX: Final = 10_000_000  # lanes of one process: 40 bytes each, and about 70 more at the other nodes
RUN_LANES_MAX: Final = 20_000_000  # of all senders of `smssim run`: about 2.2 GB with their messages
COPIES_MAX: Final = 2_000  # with more, not all of them could report every second
TIME_MAX_S: Final = 1e7  # four months; float32 still resolves one second
SLOWDOWN_MAX: Final = 100.0  # how many times as long as usual the attempts of a slowed sender take
LEASE_TIMEOUT_MIN_S: Final = 1.5  # more than the heartbeat of a sender
INTERVAL_MIN_S: Final = 0.01
WATCH_INTERVAL_MIN_S: Final = 0.05  # the shortest time between two responses that a watcher may ask for
NAME_BYTES_MAX: Final = 64
EVENTS_MAX: Final = 500  # of a run: each response to a watcher has all of them, at most 150 KB
EVENT_TEXT_BYTES_MAX: Final = 200
NAME_GIVEN_BYTES_MAX: Final = NAME_BYTES_MAX - 6  # a copy appends a number, such as "-9999"
MEAN_MIN_S: Final = 1e-6  # a sender that declares a smaller mean counts as this fast
REQUEST_BYTES_MAX: Final = 4 << 20  # of a request or a response: gRPC's default limit
ROW_BYTES_MAX: Final = 25 + TEXT_LENGTH_MAX  # of a message in a batch: id, phone number, length, text, time
REPORT_ROW_BYTES: Final = 18  # of an outcome in a report: id, outcome, attempt, two times


Rules = tuple[tuple[bool, str], ...]  # whether each rule holds, and the rule in words


def check_rules(rules: Rules) -> None:
    """Raise ValueError with the first rule that does not hold."""
    for holds, rule in rules:
        if not holds:
            raise ValueError(f"these limits break the rule that {rule}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds and intervals. Times are in seconds. Raises ValueError if limits break one of the rules."""

    # -- a sender and its peers

    heartbeat_s: float = 1.0  # a request and a report are due this often, even if empty
    report_wait_max_s: float = 2.0  # between two reports, however long the monitor asks to wait
    report_timeout_s: float = 10.0  # for the answer to a report, which may wait for a slow disk
    offer_timeout_s: float = 60.0  # for the offer of a run: on a busy machine, 2,000 copies wait about 10 s for theirs
    drain_max_s: float = 10.0  # a draining sender hands back what it can't finish in this time
    backoff_min_s: float = 0.1  # before the first retry after a loss; doubled with each further retry ...
    backoff_max_s: float = 2.0  # ... up to this, so that a peer that returns is found within two seconds
    backoff_share_min: float = 0.5  # of it, at least; the rest is random ("equal jitter", AWS Architecture Blog, 2015)
    reasons_asked_max: int = 5  # retries in a row that only ask a peer why it ended a call
    repeat_notice_s: float = 10.0  # how often a node repeats what it waits for
    # With several addresses of a peer, a node tries the next one soon:
    failover_keepalive_s: float = 3.0  # the loss of the peer's machine is noticed in at most twice this time
    failover_lookup_s: float = 2.0  # for the IP address of a host name; connecting takes at most backoff_max_s

    # -- what a sender asks for, sends and reports

    ahead_s: float = 1.0  # how far ahead a sender asks for messages, as the time to send them ...
    ahead_max: int = 300_000  # ... but at most this many messages: about 23 MiB
    # The window is the number of lanes, plus four times the number of messages that a sender asks for ahead. For the
    # window, that number is at least this.
    window_ahead_min: int = 16
    report_rows_full: int = 32_768  # outcomes that are reported without waiting for more ...
    report_rows_max: int = 196_608  # ... and at most, if answers take long because of a disk or an engine: 3.4 MiB
    handed_back_max: int = 262_144  # messages handed back in one request: 2 MiB; with settlements, 3.9 of gRPC's 4 MiB
    late_max_s: float = 1.0  # starts are backdated by at most this: a process sends nothing while it is paused
    tick_min_s: float = 0.002  # between two checks of the lanes, at least: a check takes about 20 microseconds
    tick_max_s: float = 0.8  # between two checks while messages are held, at most: less than a heartbeat
    look_s_per_lane: float = 15e-9  # between two checks, at least: ten times what a check takes per lane, about 1.5 ns
    looks_per_report: int = 8  # checks of the lanes: measured with 1,000 senders, more cost a tenth of the throughput
    dry_hurry: int = 4  # a sender that has run dry reports this many times sooner: its report may end the run
    starved_s: float = 0.005  # from a request to one that only declares idle lanes: about ten round trips on loopback
    token_ahead_s: float = 0.02  # how long before its limit lets a message start a sender asks for it: some round trips
    lanes_many: int = 4096  # with more busy lanes, one finishes at any moment: computing when costs more than a check

    # -- the producer

    lease_check_s: float = 0.25  # how often leases and the end of the run are checked
    release_s: float = 0.005  # messages released within this time are delivered together
    join_grace_s: float = 1.0  # how long even an empty run stays open, for senders that start with the first one
    save_s: float = 0.1  # between two commits: what was settled after the last one is delivered again after a crash
    farewell_s: float = 10.0  # how long senders may take to close their streams, or to return for the end of a run
    leased_max: int = 100_000_000  # messages leased to all senders together: about 1.5 GB
    credit_ahead_max: int = 1_600_000  # messages that a sender may hold or have asked for beyond its lanes
    unsaved_max: int = 1 << 25  # fresh messages leased beyond those that are on disk, with a journal
    frame_rows_max: int = 16_384  # messages in a response: 1.2 MiB, or 2 MiB if all texts are long
    frame_span_max: int = 500_000  # range of ids in a response: generating their content takes some milliseconds
    tail: int = 256  # standard deviations above the mean that an attempt takes at most: sqrt(65,536 - 1), rounded up
    slower_max: int = 10  # an attempt may take this many times what the sender declares, whatever slows it down ...
    stuck_after_s: float = 60.0  # ... and at least this much longer, because a monitor may be unreachable for that long

    # -- the monitor

    end_check_s: float = 0.1  # how often the end of a run is checked
    paused_s: float = 1.0  # a check that is this late shows that the process was paused
    open_after_pause_s: float = 2.5  # how long a run stays open after that, or after a restart, so that peers return
    last_figures_s: float = 2.0  # how long watchers may take to read the last figures
    lost_after_s: float = 5.0  # after this time without a report, a sender counts as lost: over twice the longest wait
    silent_after_s: float = 2.5  # after this time without a report, a sender counts as silent: one is due every 2 s
    quiet_s: float = 3.0  # after this time without an outcome, the monitor shows the reason
    rate_over_s: float = 2.0  # the recent rate of a sender is that of the last period of about this length
    report_wait_min_s: float = 0.02  # between two reports of a sender ...
    report_wait_per_sender_s: float = 0.002  # ... or this for each sender, if more: about 500 reports per second in all
    sessions_max: int = 100_000  # senders of one run, including those that have left
    answer_rows_max: int = 4_000_000  # overruled messages in the answers that are kept: 36 MB
    runs_max: int = 100  # followed at the same time
    ended_ids_max: int = 10_000  # ids of ended runs that are remembered
    ended_kept_max: int = 4  # ended runs whose ledgers are kept, to answer late senders
    # Messages of open stretches that have neither an outcome nor a retry: more than any real run has. Messages are
    # delivered in order, so all those of an open stretch were delivered, and at most `leased_max` are leased at the
    # same time. The limit is twice that, because a producer may lose the record of its leases in a crash and lease as
    # many again.
    pending_max: int = 200_000_000
    pending_bytes_max: int = 400_000_000  # for such messages, and for finding them, in all runs of a monitor

    # -- watchers

    watchers_max: int = 1000
    shared_s: float = 0.05  # watchers share one encoded response for this long
    wait_per_response_s: float = 0.002  # between two responses to watchers: about 500 per second in all
    watcher_wait_max_s: float = 30.0  # no watcher waits longer because of others

    # -- calls and connections

    calls_max: int = 20_000  # open at a server, of all kinds
    silent_calls_max: int = 10_000  # of these, without a request so far
    aside_calls_max: int = 1_000  # of these, health watches and reflection
    hello_s: float = 10.0  # how long the first request of a call may take
    calls_per_connection_max: int = 12_000  # further calls of the client wait
    keepalive_s: float = 10.0  # the loss of a peer's machine is noticed in about twice this time
    handshake_s: float = 10.0  # how long the handshake of a new connection may take
    connection_idle_s: float = 120.0  # without a call, a connection is closed: far longer than between two reports
    connections_max: int = 20_000  # open at a server: those of processes with senders, and as many of watchers
    descriptors_max: int = 65_536  # file descriptors that a server requests from the system; each connection takes one
    descriptors_reserved: int = 192  # of these, for all but connections: files, journals, metrics, the page
    descriptors_check_s: float = 2.0  # how often a server counts the open ones
    shortage_over_share: float = 0.9  # of the maximum: a shortage is over when fewer are open
    probe_s: float = 2.0  # how long the extra handshake may take that finds out why a peer refused a connection

    # -- the course of a run, which pages and reports show

    beat_min_s: float = 0.25  # between two moments, at least: senders report about as often ...
    beat_max_s: float = 1.0  # ... and at most, unless there are more than a thousand senders
    beat_share: float = 0.0025  # of the run so far: 400 moments, until they are as rare as they may be
    beat_s_per_sender: float = 0.001  # between two moments, at least, for each sender: looking at one takes 5 us
    heat_rows_max: int = 1_000  # senders by time: 512 KB ...
    heat_steps_max: int = 512  # ... with this many steps
    course_entries_max: int = 500  # stalls, gaps and events of senders: of each
    gap_min_s: float = 3.0  # a shorter time without a moment is no gap
    start_s: float = 3.0  # senders that join before this time are there from the start

    # -- outputs

    history_samples_max: int = 2_048  # of a run: 213 KB
    history_rates_max: int = 200  # of a run, between its latest moments
    left_rate_over_s: float = 5.0  # the time left is estimated from the rate over this period ...
    left_rate_over_share: float = 0.2  # ... or over this share of the run so far ...
    left_rate_over_moments: int = 5  # ... or over this many moments, whichever is longest
    record_group_rows: int = 131_072  # in a row group: about 2 MB
    record_queued_max: int = 1_000_000  # outcomes that wait to be written: 25 MB
    record_poll_s: float = 0.005  # how often a full queue is checked
    lines_at_once: int = 16_384  # of a list of messages: about 10 ms during which nothing else runs
    shown_per_s: float = 100.0  # messages logged, in the long run ...
    shown_at_once: float = 1000.0  # ... and in a burst
    shown_kept_per_s: float = 1000.0  # messages in flight whose text is kept, in the long run ...
    shown_kept_max: float = 10_000.0  # ... and at most
    left_out_s: float = 1.0  # how often the log says how many messages it left out

    # -- pages over HTTP

    http_connections_max: int = 32  # one more closes the oldest
    http_head_bytes_max: int = 8192  # of a request: browsers send about 1 KiB
    http_connection_s: float = 5.0  # for receiving a request and sending the answer
    scrape_shared_s: float = 0.1  # scrapes share one reading of the metrics for this long
    # The live page:
    page_viewers_max: int = 64  # open streams; further ones get 503
    page_connections_max: int = 128  # one more closes the oldest one that waits for a request
    page_idle_s: int = 10  # after an answer, a connection is closed if no other request follows
    page_piece_bytes: int = 16_384  # of an answer: the next piece is sent when the last one has drained ...
    page_buffer_bytes: int = 16_384  # ... to this, so that at most 128 KB per connection are buffered, also with TLS
    page_system_bytes: int = 65_536  # the system buffers about twice this: what is in there has to be read first
    page_stuck_s: float = 15.0  # a connection that has not drained for so long is closed
    page_shared_s: float = 1.0  # between two frames, and between two states or reports of a run: made once for all
    page_made_max: int = 8  # states and reports that are kept
    page_alive_s: float = 15.0  # a stream without a frame for so long gets an empty line
    page_over_s: float = 5.0  # after the last frame of a run, its streams are open for so long
    page_farewell_s: float = 0.5  # how long viewers may take for the last frame and the report when the page ends

    server_grace_s: float = 0.5  # for the calls that are being answered when a server stops

    # -- memory of a process

    gc_objects: int = 20_000  # allocated and not freed since the last garbage collection, before the next one
    heap_array_bytes_max: int = 32 << 20  # larger arrays are mapped individually; mallopt(3) allows no higher threshold
    heap_free_bytes_max: int = 256 << 20  # at the end of the heap; more is returned to the kernel

    # -- journals

    journal_in_use_wait_s: float = 2.0  # a killed process takes a moment to release its file
    commit_every_s: float = 0.02  # between the starts of two commits ...
    commit_share_max: float = 0.3  # ... or longer, so that commits take at most this share of the time ...
    commit_rest_max_s: float = 1.0  # ... but at most this long after a commit: a paused process may have made it long

    # -- logs on an engine

    append_every_s: float = 0.05  # between the starts of two commits: at most 20 a second ...
    renew_s: float = 1.0  # ... and without changes, so that standbys see that the owner is alive
    append_retry_max_s: float = 0.5  # before an append with an unknown result is repeated, at most
    repeat_standby_s: float = 60.0  # how often a standby logs who owns the run
    poll_s: float = 0.5  # how often a standby looks at the end of the log
    takeover_after_s: float = 4.0  # without a new record, a standby takes the log: several renewals are missing
    # An owner that can't append for this time sends its peers to other nodes: longer than the engine takes to elect
    # another leader (measured: 6 to 8 s), and shorter than a sender waits for the answer to a report.
    cut_off_after_s: float = 9.0
    leave_s: float = 3.0  # how long an owner that leaves tries to say so in the log
    record_bytes_max: int = 512 << 10  # of a part of a commit: an engine takes 1 MiB by default
    log_bytes_max: int = 64 << 20  # since the last checkpoint, or ...
    log_states_max: int = 4  # ... this many times the whole state, before the next checkpoint ...
    log_records_max: int = 5_000  # ... or this many records: reading each takes about a millisecond
    broken_for_s: float = 10.0  # records that are missing for this time are lost: no answer is so long out of date

    # -- the connection to an engine

    engine_connect_s: float = 2.0  # for connecting to one of its servers
    engine_retry_s: float = 0.2  # between two rounds of attempts to reconnect
    engine_ping_s: float = 1.0  # between two pings to the server ...
    engine_pings_max: int = 2  # ... of which so many may be unanswered: a dead server is noticed in about 3 s
    engine_check_s: float = 0.25  # how often the connection is checked
    engine_answer_s: float = 2.0  # for the answer to a request, after which its result is unknown
    engine_ask_leader_s: float = 0.1  # for the first answer of a log; then twice as long, and so on
    engine_move_after_s: float = 5.0  # without such an answer, a node moves to another server
    engine_ready_s: float = 30.0  # for enough servers of a cluster to start: an election takes about 10 s
    engine_ahead_max: int = 4  # entries that are requested at the same time when a log is read: about 2 MB
    engine_payload_bytes_min: int = 1 << 20  # that a server must accept in a message: its default

    def __post_init__(self) -> None:
        """Check the rules; raises ValueError if one is broken."""
        check_rules(self.rules())

    def rules(self) -> Rules:
        """Return the rules that relate these limits: whether each rule holds, and the rule in words."""
        return (
            (self.heartbeat_s < LEASE_TIMEOUT_MIN_S, "a heartbeat is due within the shortest lease timeout"),
            (
                2 * self.lease_check_s < LEASE_TIMEOUT_MIN_S,
                "leases are checked twice within the shortest lease timeout",
            ),
            (self.tick_max_s < self.heartbeat_s, "lanes are checked at least once per heartbeat"),
            (self.heartbeat_s <= self.report_wait_max_s, "the longest wait for a report is at least a heartbeat"),
            (self.report_wait_max_s < self.silent_after_s, "a report is due before its sender counts as silent"),
            (self.silent_after_s < self.lost_after_s, "a sender counts as silent before it counts as lost"),
            (2 * self.report_wait_max_s < self.lost_after_s, "a sender misses two reports before it counts as lost"),
            (self.backoff_min_s <= self.backoff_max_s, "the first backoff is at most the longest one"),
            (self.backoff_share_min <= 1, "a wait is no longer than its backoff"),
            (self.resume_grace_s <= self.farewell_s, "senders return to a resumed producer within its farewell"),
            (self.report_rows_full <= self.report_rows_max, "a full report is no larger than the largest report"),
            (self.ahead_max <= self.credit_ahead_max, "a producer allows the credit that senders ask for"),
            (2 * self.leased_max <= self.pending_max, "a monitor has room for twice what a producer leases"),
            (self.pending_max < self.pending_bytes_max, "a monitor has memory for the pending messages of a run"),
            (
                self.aside_calls_max <= self.calls_max,
                "the bound on calls of other services is at most that on all calls",
            ),
            (self.silent_calls_max <= self.calls_max, "the bound on silent calls is at most that on all calls"),
            (self.calls_per_connection_max >= COPIES_MAX, "all copies of a sender fit into one connection"),
            (self.report_wait_max_s < self.connection_idle_s, "a connection stays open between two reports"),
            (
                self.connections_max + self.descriptors_reserved <= self.descriptors_max,
                "a server requests enough file descriptors for all its connections",
            ),
            (
                self.frame_rows_max * ROW_BYTES_MAX < REQUEST_BYTES_MAX,
                "a response with messages fits into a gRPC message",
            ),
            (self.report_rows_max * REPORT_ROW_BYTES < REQUEST_BYTES_MAX, "a report fits into a gRPC message"),
            (8 * self.handed_back_max < REQUEST_BYTES_MAX, "handed-back messages fit into a gRPC message"),
            (self.history_samples_max >= 4, "a history has enough samples to merge"),
            (self.heat_steps_max >= 4, "senders by time have enough steps to merge"),
            (self.end_check_s <= self.beat_min_s, "a run is checked at least as often as a moment is noted"),
            (self.beat_min_s <= self.beat_max_s, "the shortest time between two moments is at most the longest one"),
            (self.beat_max_s < self.gap_min_s, "the time between two moments is no gap"),
            (self.left_rate_over_share <= 1, "the time left follows from the rate over at most the whole run"),
            (self.left_rate_over_moments <= self.history_rates_max, "the time left follows from moments that are kept"),
            (self.record_group_rows <= self.record_queued_max, "a row group fits into the queue of a record"),
            (self.page_viewers_max < self.page_connections_max, "viewers leave connections for other requests"),
            (self.page_connections_max < self.descriptors_reserved, "descriptors are kept for the page"),
            (self.heap_array_bytes_max <= self.heap_free_bytes_max, "the heap keeps the largest freed array"),
            (2 * self.renew_s < self.takeover_after_s, "an owner misses two renewals before a standby takes over"),
            (self.poll_s < self.takeover_after_s, "a standby looks at the log more often than it takes over"),
            (self.record_bytes_max < self.engine_payload_bytes_min, "a record fits into a message of the engine"),
            (self.engine_answer_s < self.takeover_after_s, "a late answer is no sign of death"),
            (self.takeover_after_s < self.cut_off_after_s, "an owner is replaced before it sends its peers away"),
            (2 * self.append_retry_max_s < self.takeover_after_s, "an owner repeats an append before it is replaced"),
            (0 < self.commit_share_max <= 1, "commits take a share of the time above 0 and up to 1"),
        )

    @property
    def resume_grace_s(self) -> float:
        """How long senders may take to return to a producer that resumes from its journal: two backoffs."""
        return 2 * self.backoff_max_s


LIMITS: Final = Limits()
