"""What a seed determines: a run's settings, the state of its network and disks, and which faults strike how often."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from random import Random

from simulation.engine import Temper
from simulation.network import Weather
from smssim.core.fault import Fault, FaultKind
from smssim.core.limits import LIMITS, Limits
from smssim.settings import SenderSettings

FAULTS = {  # how often per second, in plans that have the fault
    "sender killed": 0.3,
    "producer killed": 0.25,
    "monitor killed": 0.25,
    "stream cut": 0.6,
    "sender paused": 0.25,
    "producer paused": 0.15,
    "monitor paused": 0.08,
    "sender joins": 0.4,
    "sender drains": 0.6,
    "sender forged": 0.3,
    "sender astray": 0.15,
    "monitor away": 0.1,
    "monitor stopped": 0.06,
    "monitor misled": 0.15,
    "producer away": 0.08,
    "producer drains": 0.08,
    "producer restarts": 0.6,  # after it has left, and once more when everything is over
}
ENGINE_FAULTS = {  # likewise, in plans with an engine
    "engine away": 0.12,
    "node cut off": 0.3,
    "node lost": 0.15,  # killed, and not started again
    "node relieved": 0.12,  # stopped, so that another one takes over at once
}
LOSSES = {"entries lost": 0.4}  # likewise, in plans whose engine loses acknowledged entries
RATES = FAULTS | ENGINE_FAULTS | LOSSES
LOSING = 0.2  # share of the plans with an engine that loses entries
APPEND_EVERY_MAX_S = 0.1
WITH_ENGINE = 0.36  # share of the plans with journals that have an engine instead
MONITOR_AWAY_MAX_S = 40.0  # during faults and until all messages are reported one by one; long pauses are extra
MEANS_S = (0.0, 0.02, 0.3, 0.3, 1.0, 1.0, 5.0)
SHAPES = ("gamma", "exponential", "fixed")
FAILS = (0.0, 0.1, 0.5, 1.0)
DISTURBED = 0.3  # share of the plans whose senders have faults of their own
LIMITED = 0.35  # share of the plans whose senders have limits, or some of them
GIVE_UPS_S = (15.0, 30.0, 60.0)


@dataclass(frozen=True)
class EnginePlan:
    """The settings of an engine, and of the nodes that keep their state in it."""

    producers: int
    monitors: int
    temper: Temper
    give_up_s: float  # of its nodes
    record_bytes_max: int
    log_bytes_max: int
    log_records_max: int


@dataclass(frozen=True)
class Plan:
    """The settings of one simulation."""

    seed: int
    total: int
    max_attempts: int
    retry_delay_s: float
    rate_per_s: float | None
    lease_timeout_s: float
    give_up_s: float  # of the producer
    producer_lingers: bool
    senders: tuple[SenderSettings, ...]  # the first senders; those that join later are drawn from them
    equal: bool  # whether they are all alike
    journals: bool
    monitor_lingers: bool  # it follows any number of runs
    interval_s: float  # between two moments
    runs_max: int
    ended_kept_max: int
    commit_s: float
    commit_slow: float
    commit_every_s: float  # between the starts of two commits
    save_s: float  # between two commits of the producer
    unsaved_max: int  # messages leased beyond what is on disk
    frame_rows_max: int
    report_rows_max: int
    report_timeout_s: float
    write_s: float  # the time that one write to a stream takes
    tick_s: float  # how long after it is due a sender wakes up
    weather: Weather
    faults: dict[str, float]
    faulty_s: float
    check_every: int  # events between two checks
    unreachable: float = 0.0  # share of the messages
    engine: EnginePlan | None = None  # instead of the disks
    segments: int = 1  # of each message

    @property
    def limits(self) -> Limits:
        """The limits, as tight as possible where tight limits bring out more faults."""
        limits = LIMITS if self.engine is None else self._with_engine(self.engine)
        return replace(
            limits,
            unsaved_max=self.unsaved_max,
            save_s=self.save_s,
            release_s=self.tick_s,
            frame_rows_max=self.frame_rows_max,
            report_rows_full=min(self.report_rows_max, LIMITS.report_rows_full),
            report_rows_max=self.report_rows_max,
            report_timeout_s=self.report_timeout_s,
            tick_min_s=self.tick_s,
            stuck_after_s=MONITOR_AWAY_MAX_S,
            commit_every_s=self.commit_every_s,
            runs_max=self.runs_max,
            ended_kept_max=self.ended_kept_max,
            slower_max=2,
            tail=12,
        )

    def _with_engine(self, engine: EnginePlan) -> Limits:
        return replace(
            LIMITS,
            append_every_s=min(self.commit_every_s, APPEND_EVERY_MAX_S),
            record_bytes_max=engine.record_bytes_max,
            log_bytes_max=engine.log_bytes_max,
            log_records_max=engine.log_records_max,
            log_states_max=2,
        )

    def described(self) -> str:
        """Return one setting per line, except those of the senders, which are noted in the trace when they start."""
        return "\n".join(f"  {f.name} = {getattr(self, f.name)}" for f in fields(self) if f.name != "senders")


def draw_plan(seed: int) -> Plan:
    """Return the plan of a seed. It has only some of the faults: many at once hide what a few bring out."""
    random = Random(f"plan {seed}")
    total = random.choices([0, 1, 7, 60, 400, 2500, 70_000], [2, 4, 12, 32, 32, 10, 3])[0]
    max_attempts = random.choice([1, 1, 2, 3])
    faulty_s = random.uniform(3.0, 10.0)
    equal = random.random() < 0.4
    senders = _senders(random, total / random.uniform(0.2, 1.2) / faulty_s, equal)
    journals = random.random() < 0.8
    wanted = random.sample(sorted(FAULTS), random.randint(1, 6))
    lingers = not journals and random.random() < 0.6
    wanted += ["producer killed"] * lingers  # for several runs
    rows = max(1, total // random.choice([1, 5, 20]))
    plan = Plan(
        seed=seed,
        total=total,
        max_attempts=max_attempts,
        retry_delay_s=random.choice([0.0, 0.0, 0.5]),
        rate_per_s=random.choice([None, None, None, total / faulty_s + 1]),
        lease_timeout_s=random.choice([1.5, 3.0, 10.0]),
        senders=_limited(_disturbed(_patient(senders, seed), seed, equal), seed, equal),
        segments=Random(f"segments {seed}").choice([1, 1, 2, 3]),
        equal=equal,
        journals=journals,
        monitor_lingers=lingers,
        interval_s=random.choice([0.5, 1.0, 5.0]),
        runs_max=random.choice([2, 100]),
        ended_kept_max=random.choice([1, 4]),
        commit_s=random.choice([0.005, 0.05, 0.2]),
        commit_slow=random.choice([0.0, 0.0, 0.1]),
        commit_every_s=random.choice([0.02, 0.1, 0.4]),
        save_s=random.choice([0.1, 1.0]),
        unsaved_max=random.choice([max(1, total // 10), max(1, total // 2), 1 << 25]),
        frame_rows_max=min(random.choice([rows, 1 + rows // 4, 16_384]), LIMITS.frame_rows_max),
        report_rows_max=random.choice([rows, 1 + rows // 4, 32_768]),
        report_timeout_s=random.choice([2.0, 5.0]),
        write_s=random.choice([0.0, 0.0, 0.02]),
        tick_s=random.choice([0.05, 0.1, 0.3]),
        weather=Weather(
            delay_s=random.choice([0.03, 0.08, 0.2]),
            slow=random.choice([0.0, 0.02, 0.1]),
            lost=random.choice([0.0, 0.05, 0.2]),
            repeated=random.choice([0.0, 0.05, 0.2]),
        ),
        faults={fault: FAULTS[fault] for fault in wanted},
        faulty_s=faulty_s,
        check_every=random.choice([1, 1, 3, 10]),
        give_up_s=random.choice([5.0, 20.0, 60.0]),
        producer_lingers=random.random() < 0.15,
    )
    plan = replace(plan, unreachable=Random(f"reach {seed}").choice([0.0, 0.0, 0.0, 0.05, 0.4]))
    return _with_engine(plan) if journals and Random(f"engine {seed}").random() < WITH_ENGINE else plan


def _with_engine(plan: Plan) -> Plan:
    """Return the plan with an engine instead of disks. Draws from a generator of its own."""
    random = Random(f"engine of {plan.seed}")
    parts = 200 if plan.total < 1000 else 4000
    wanted = random.sample(sorted(ENGINE_FAULTS), random.randint(1, 4))
    temper = Temper(
        delay_s=random.choice([0.002, 0.01, 0.03]),
        slow=random.choice([0.0, 0.0, 0.02, 0.1]),
        lost=random.choice([0.0, 0.02, 0.1]),
        unanswered=random.choice([0.0, 0.02, 0.1]),
        late=random.choice([0.0, 0.02, 0.1]),
        stale=random.choice([0.0, 0.1, 0.4]),
        loses=random.random() < LOSING,
    )
    engine = EnginePlan(
        producers=random.choice([1, 2, 2, 3]),
        monitors=random.choice([1, 2, 2, 3]),
        temper=temper,
        give_up_s=random.choice([12.0, 60.0]),
        record_bytes_max=random.choice([parts, parts, LIMITS.record_bytes_max]),
        log_bytes_max=random.choice([2000, 20_000, LIMITS.log_bytes_max]),
        log_records_max=random.choice([30, 100, LIMITS.log_records_max]),
    )
    faults = plan.faults | {fault: ENGINE_FAULTS[fault] for fault in wanted} | (LOSSES if temper.loses else {})
    rows = max(plan.report_rows_max, 1 + plan.total // 8)  # a commit takes longer than on a disk
    return replace(plan, engine=engine, faults=faults, report_rows_max=rows)


def _senders(random: Random, per_s: float, equal: bool) -> tuple[SenderSettings, ...]:
    """Return one to three senders that together send about `per_s` messages a second."""
    count = random.randint(1, 3)

    def one() -> SenderSettings:
        mean_s = random.choice(MEANS_S)
        return SenderSettings(
            mean_s=mean_s,
            distribution=random.choice(SHAPES),
            fail=random.choice(FAILS),
            concurrency=max(1, round(per_s / count * mean_s)),
        )

    return (one(),) * count if equal else tuple(one() for _ in range(count))


def _patient(senders: tuple[SenderSettings, ...], seed: int) -> tuple[SenderSettings, ...]:
    """Return these senders with a random give-up time, and lingering or not.

    Draws from a generator of its own, so that nothing else in the plan depends on it.
    """
    random = Random(f"senders {seed}")
    give_up_s, linger = random.choice(GIVE_UPS_S), random.random() < 0.3
    return tuple(replace(sender, give_up_s=give_up_s, linger=linger) for sender in senders)


def _disturbed(senders: tuple[SenderSettings, ...], seed: int, equal: bool) -> tuple[SenderSettings, ...]:
    """Return these senders, in some plans with faults of their own: slow attempts, and attempts that fail more often.

    Not with attempts that take no time, which nothing slows down. Draws from a generator of its own, as `_patient`
    does. Equal senders stay equal, and none of their attempts fail that would not fail without faults, so that the seed
    still determines how their runs end.
    """
    random = Random(f"disturbed {seed}")
    if random.random() >= DISTURBED or any(sender.mean_s == 0 for sender in senders):
        return senders

    def faults() -> tuple[Fault, ...]:
        slow = Fault(random.uniform(0, 4), FaultKind.SLOW, "", random.uniform(0.5, 4), factor=random.choice([2.0, 4.0]))
        fail = Fault(random.uniform(0, 4), FaultKind.FAIL, "", random.uniform(0.5, 4), share=random.choice(FAILS))
        return (slow,) if equal else (slow, fail)

    if equal:
        return tuple(replace(sender, faults=some) for some in (faults(),) for sender in senders)
    return tuple(replace(sender, faults=faults()) for sender in senders)


def _limited(senders: tuple[SenderSettings, ...], seed: int, equal: bool) -> tuple[SenderSettings, ...]:
    """Return these senders, in some plans with limits: below or above the speed of their lanes, and with bursts.

    Draws from a generator of its own, as `_patient` does. Equal senders stay equal.
    """
    random = Random(f"limited {seed}")
    if random.random() >= LIMITED:
        return senders

    def one(sender: SenderSettings) -> SenderSettings:
        if not equal and random.random() < 0.3:
            return sender
        per_s = sender.concurrency / max(sender.mean_s, 0.02) * random.choice([0.3, 0.6, 3.0])
        return replace(sender, limit_per_s=max(1.0, per_s), burst=random.choice([1, 1, 4, 30]))

    return (one(senders[0]),) * len(senders) if equal else tuple(map(one, senders))
