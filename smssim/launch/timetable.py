"""The timetable of a run: which node is killed, paused, continued or started when, by a scenario's faults and joins.

Decides from the time and the ends of nodes that it is given. Must not know processes, clocks, logs, or how the monitor
is informed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from smssim.core.event import Event, Kind
from smssim.core.fault import Fault, FaultKind
from smssim.settings.faults import SERVERS, SIGNALS


class Act(Enum):
    """What to do with a node. Of the steps that are due at the same second, the first of these is taken first."""

    START = auto()  # late, or again after a kill
    RESUME = auto()  # continue it after a pause
    RECOVER = auto()  # nothing: the sender itself knows when it is no longer slowed, or fails as usual again
    KILL = auto()
    PAUSE = auto()
    DISTURB = auto()  # nothing: the sender itself knows when it is slowed, or fails more often


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, and the event that it is."""

    at_s: float  # when it is due, in seconds of the run
    act: Act
    node: str  # the key of the node
    kind: Kind
    words: str  # the text of the event, with {} for the node
    comes_back: bool = False  # only with KILL and PAUSE: whether the node is started again or continued

    def event(self, now_s: float, run_id: str, name: str, title: str) -> Event:
        """Return the event if the step is taken now; `name` and `title` of its node, such as "a" and "sender a"."""
        at_s = self.at_s if self.act in (Act.DISTURB, Act.RECOVER) else round(now_s, 3)
        text = self.words.format(title)
        return Event(at_s, self.kind, text[:1].upper() + text[1:], run_id, name)


class Timetable:
    """What is due when. Nodes have keys: PRODUCER, MONITOR, and any others for senders.

    A run that resumes from its journal at `from_s` skips the faults that struck before that time.
    """

    def __init__(self, faults: Sequence[Fault], joins_s: Mapping[str, float], from_s: float = 0.0) -> None:
        """`faults` can all be carried out, and their targets are keys. `joins_s`: of each sender, by its key."""
        self.late = frozenset(key for key, at_s in joins_s.items() if at_s > from_s)  # senders that start later
        self.paused: set[str] = set()  # the nodes that a fault has paused
        self._away: set[str] = set()  # the nodes that do not run now and will be started
        self._lost: set[str] = set()  # the nodes that are paused until the end of the run
        steps = [Step(joins_s[key], Act.START, key, Kind.JOINED, "started {}") for key in joins_s if key in self.late]
        for fault in faults:
            steps += _signals(fault, from_s) if fault.kind in SIGNALS else _changes(fault, faults, joins_s, from_s)
        self._steps = deque(sorted(steps, key=lambda step: (step.at_s, step.act.value)))

    @property
    def next_s(self) -> float:
        """When the next step is due, in seconds of the run; infinity if there is none."""
        return self._steps[0].at_s if self._steps else float("inf")

    def awaits(self, node: str) -> bool:
        """Return whether a node does not run now and will be started."""
        return node in self._away

    def returns(self, node: str) -> bool:
        """Return whether a node can't work now, but will work again."""
        return node in self._away or node in self.paused - self._lost

    def is_lost(self, node: str) -> bool:
        """Return whether a node is paused until the end of the run."""
        return node in self._lost

    def begin(self) -> None:
        """Record that the run has started: from now on, late senders are expected."""
        self._away |= self.late

    def due(self, now_s: float) -> Step | None:
        """Return the next step if it is due. The caller takes it before it asks for another one."""
        if self.next_s > now_s:
            return None
        step = self._steps.popleft()
        if step.act is Act.KILL and step.comes_back:
            self._away.add(step.node)
        elif step.act is Act.PAUSE:
            self.paused.add(step.node)
            self._lost.update([step.node] * (not step.comes_back))
        elif step.act is Act.RESUME:
            self.paused.discard(step.node)
        return step

    def started(self, node: str) -> None:
        """Record that a node was started, as a step said."""
        self._away.discard(node)

    def ended(self, node: str) -> None:
        """Record that a node has ended by itself: no fault strikes it any more, and it does not come back."""
        self._steps = deque(step for step in self._steps if step.node != node)
        self._away.discard(node)
        self.paused.discard(node)

    def stop(self, now_s: float) -> list[Step]:
        """Return the steps that end all faults now, because the run is over or is being stopped. No others follow.

        Paused nodes are continued. Of the killed ones, the producer and the monitor are started again, because without
        them the run can't end in order.
        """
        steps = [_restart(node, now_s) for node in SERVERS if node in self._away]
        steps += [_resume(node, now_s) for node in sorted(self.paused)]
        self._steps.clear()
        self._away.intersection_update(SERVERS)
        self.paused.clear()
        return steps


def _restart(node: str, at_s: float) -> Step:
    return Step(at_s, Act.START, node, Kind.RESTARTED, "started {} again")


def _resume(node: str, at_s: float) -> Step:
    return Step(at_s, Act.RESUME, node, Kind.RESUMED, "resumed {}")


def _signals(fault: Fault, from_s: float) -> Iterator[Step]:
    """Yield the steps of a kill or a pause."""
    if fault.at_s < from_s:
        return
    comes_back = fault.for_s is not None
    if fault.kind is FaultKind.KILL:
        yield Step(fault.at_s, Act.KILL, fault.target, Kind.KILLED, "killed {}", comes_back)
    else:
        yield Step(fault.at_s, Act.PAUSE, fault.target, Kind.PAUSED, "paused {}", comes_back)
    if comes_back:
        yield (_restart if fault.kind is FaultKind.KILL else _resume)(fault.target, fault.until_s)


def _changes(fault: Fault, faults: Sequence[Fault], joins_s: Mapping[str, float], from_s: float) -> Iterator[Step]:
    """Yield the steps of a fault that a sender simulates itself.

    It strikes, and is over, only while the sender is there: otherwise, from when it starts, late or again.
    """
    kills = [one for one in faults if one.kind is FaultKind.KILL and one.target == fault.target]
    gone_s = min((one.at_s for one in kills if one.for_s is None), default=float("inf"))
    at_s, until_s = (_present_s(time_s, kills, joins_s[fault.target]) for time_s in (fault.at_s, fault.until_s))
    if fault.kind is FaultKind.SLOW:
        how, kind = f"by a factor of {fault.factor:g}", Kind.SLOWED
        words, over = f"slowed {{}} {how}", f"{{}} is no longer slowed {how}"
    else:
        how, kind = f"{100 * fault.share:g}% of its attempts", Kind.FAILING
        words, over = f"{{}} fails {how}", f"{{}} no longer fails {how}"
    if at_s < min(fault.until_s, gone_s):
        if at_s >= from_s:
            yield Step(at_s, Act.DISTURB, fault.target, kind, words)
        if from_s <= until_s < gone_s:
            yield Step(until_s, Act.RECOVER, fault.target, Kind.RECOVERED, over)


def of_sender(faults: Sequence[Fault], sender: str, earlier_s: float = 0.0) -> tuple[Fault, ...]:
    """Return the faults that a sender with this key simulates itself, `earlier_s` seconds earlier.

    That is by how much the seconds of the run that its producer gives lag behind those of the scenario. What is over
    before the first second is left out.
    """
    moved = []
    for fault in faults:
        at_s, until_s = max(fault.at_s - earlier_s, 0.0), fault.until_s - earlier_s
        if fault.target == sender and fault.kind not in SIGNALS and until_s > at_s:
            moved.append(replace(fault, at_s=at_s, for_s=None if fault.for_s is None else until_s - at_s))
    return tuple(moved)


def _present_s(time_s: float, kills: Sequence[Fault], joins_s: float) -> float:
    """Return the first time from this one on at which a sender with these kills is there, unless it is gone by then."""
    time_s = max(time_s, joins_s)
    for kill in sorted(kills, key=lambda one: one.at_s):
        if kill.for_s is not None and kill.at_s <= time_s < kill.until_s:
            time_s = kill.until_s
    return time_s
