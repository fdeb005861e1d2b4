"""A simulated network: calls that are lost, repeated and delayed, and streams that break in the middle."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from simulation.clock import Clock, Process


@dataclass(frozen=True)
class Weather:
    """How bad the network is."""

    delay_s: float = 0.01  # one way, times a random factor from 0.5 to 1.5
    slow: float = 0.0  # chance of a delay that is longer by up to `slow_s`
    slow_s: float = 3.0
    lost: float = 0.0  # chance that a request is lost, and that an answer is
    repeated: float = 0.0  # chance that a request arrives twice


class End(Protocol):
    """One side of a stream."""

    def hear(self, stream: Stream, said: Any) -> None:
        """Receive what the other side sent."""

    def hang_up(self, stream: Stream) -> None:
        """End the stream on this side."""


class Pipe:
    """One direction of a stream: things arrive in order, and after a break not at all."""

    def __init__(self, clock: Clock, network: Network, stream: Stream, process: Process, end: End) -> None:
        self.end = end
        self.closed = False  # on the receiving side
        self._clock, self._network, self._stream, self._process = clock, network, stream, process
        self._sent = 0
        self._arrived = 0
        self._kept: float = math.inf  # how many of all that are sent arrive
        self._last_at = 0.0

    def send(self, said: Any) -> None:
        """Send something; it is lost if the stream is broken."""
        self._sent += 1
        if self._sent > self._kept:
            return
        self._last_at = max(self._last_at, self._clock.now + self._network.delay())
        self._clock.after(self._last_at - self._clock.now, self._process, lambda: self._arrive(said))

    def _arrive(self, said: Any) -> None:
        self._arrived += 1
        if self._arrived <= self._kept and not self.closed:
            self.end.hear(self._stream, said)

    def stop(self, kept: float, notice_s: float) -> None:
        """Break the pipe after `kept` things in all; the receiving side notices after `notice_s`."""
        if self._kept < math.inf:
            return
        self._kept = kept
        if kept < self._sent:
            self._clock.strike("frames lost in a stream")
        self._clock.after(notice_s, self._process, self.close)

    @property
    def on_the_way(self) -> tuple[int, int]:
        """How many things have arrived, and how many were sent."""
        return self._arrived, self._sent

    @property
    def empty_s(self) -> float:
        """The time until everything sent has arrived."""
        return max(0.0, self._last_at - self._clock.now)

    def close(self) -> None:
        """End the stream on the receiving side, once."""
        if not self.closed:
            self.closed = True
            self.end.hang_up(self._stream)


class Stream:
    """A stream between a sender and a producer."""

    def __init__(self, clock: Clock, network: Network, client: Any, server: Any) -> None:
        self.client, self.server = client, server
        self.up = Pipe(clock, network, self, server, server)
        self.down = Pipe(clock, network, self, client, client)
        self._clock = clock

    def cut(self) -> None:
        """Break both directions, somewhere in what is on its way. Each side notices at its own time."""
        for pipe in (self.up, self.down):
            arrived, sent = pipe.on_the_way
            silent = self._clock.luck(0.2)
            notice_s = self._clock.random.uniform(0.0, 12.0 if silent else 1.0)
            pipe.stop(self._clock.random.randint(arrived, sent), notice_s)

    def close(self, pipe: Pipe) -> None:
        """End the stream in order on the receiving side of this pipe: the other side receives all that was sent."""
        pipe.closed = True
        other = self.up if pipe is self.down else self.down
        other.stop(math.inf, other.empty_s)


Serve = Callable[[Callable[[Any], None]], bool]  # accepts a function that answers; returns whether a server was there


class Call:
    """A call in progress. Its first end counts, later ones are ignored."""

    def __init__(self, told: Callable[[Any], None]) -> None:
        self._told: Callable[[Any], None] | None = told

    def end(self, said: Any = None) -> None:
        """End the call, with an answer or without."""
        told, self._told = self._told, None
        if told is not None:
            told(said)


class Network:
    """The network between all nodes."""

    def __init__(self, clock: Clock, weather: Weather) -> None:
        self.weather = weather
        self.streams: list[Stream] = []
        self.away: set[str] = set()  # kinds of nodes that are unreachable
        self.astray: list[Any] = []  # clients that never find the producer again
        self._clock = clock

    def delay(self) -> float:
        """Return the delay of one thing, one way."""
        delay_s = self.weather.delay_s * self._clock.random.uniform(0.5, 1.5)
        if self._clock.luck(self.weather.slow):
            self._clock.strike("delayed")
            delay_s += self._clock.random.uniform(0.0, self.weather.slow_s)
        return delay_s

    def open(self, client: Any, server: Any) -> Stream | None:
        """Return a new stream, or None if the server is unreachable."""
        if server is None or not server.alive or not server.listening or "producer" in self.away:
            return None
        if client in self.astray:
            return None
        self.streams = [s for s in self.streams if not (s.up.closed and s.down.closed)]
        stream = Stream(self._clock, self, client, server)
        self.streams.append(stream)
        return stream

    def call(self, client: Process, serve: Serve, told: Callable[[Any], None], timeout_s: float) -> None:
        """Make a unary call. `told` is called once: with the answer, or with None if there is none in time."""
        call = Call(told)
        self._clock.after(timeout_s, client, call.end)
        if not self._lost("request lost"):
            self._clock.after(self.delay(), None, partial(self._arrive, client, serve, call))
        if self._clock.luck(self.weather.repeated):
            self._clock.strike("request repeated")
            late_s = self._clock.random.uniform(0.0, 2 * timeout_s)
            self._clock.after(late_s, None, partial(self._arrive, client, serve, None))

    def _arrive(self, client: Process, serve: Serve, call: Call | None) -> None:
        """Deliver a request to the server, if there is one. Without a call, nothing waits for the answer."""
        served = serve(partial(self._answer, client, call))
        if not served and call is not None:
            self._clock.after(self.delay(), client, call.end)

    def _answer(self, client: Process, call: Call | None, said: Any) -> None:
        if call is not None and not self._lost("answer lost"):
            self._clock.after(self.delay(), client, partial(call.end, said))

    def _lost(self, what: str) -> bool:
        if "monitor" in self.away:
            return True
        lost = self._clock.luck(self.weather.lost)
        if lost:
            self._clock.strike(what)
        return lost
