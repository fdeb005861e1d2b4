"""The baseline that smssim is compared with: one asyncio task per sender and one `asyncio.Queue`, in one process.

    python -m smssim.bench.baseline SENDERS MESSAGES MEAN_S FAIL QUEUE_MAX

This is the obvious way to write the simulation. If QUEUE_MAX is 0, the queue is unbounded and all messages are
generated before the senders start; otherwise they are generated while the senders send. Prints its progress as JSON
lines with the fields of `measure.Point`. The last line also has `generation_s`, the seconds spent generating before
sending began. Uses nothing from smssim, on purpose.
"""

from __future__ import annotations

import asyncio
import json
import random
import string
import sys
import time
from dataclasses import dataclass
from typing import Final

INTERVAL_S: Final = 0.25
STD_SHARE: Final = 0.3  # of the mean, as in smssim's senders
CHARACTERS: Final = string.ascii_letters + string.digits + " "


@dataclass(slots=True)
class Message:
    """One SMS."""

    phone_number: str
    text: str


@dataclass
class Counts:
    """Counts of messages by outcome."""

    sent: int = 0
    failed: int = 0
    work_s: float = 0.0

    def show(self, total: int, started_at: float, **more: float) -> None:
        """Print a line of progress."""
        done = self.sent + self.failed
        line = {"elapsed_s": time.monotonic() - started_at, "attempts": done, "work_s": self.work_s}
        print(json.dumps(line | {"waiting": total - done} | more), flush=True)


async def produce(queue: asyncio.Queue[Message], count: int) -> None:
    """Generate messages with random phone numbers and texts of 1 to 100 characters."""
    for _ in range(count):
        a, b, c = random.randrange(1000), random.randrange(1000), random.randrange(10_000)
        text = "".join(random.choices(CHARACTERS, k=random.randint(1, 100)))
        await queue.put(Message(f"{a:03d}-{b:03d}-{c:04d}", text))


async def send(queue: asyncio.Queue[Message], mean_s: float, fail: float, counts: Counts) -> None:
    """Run one sender forever: take a message, wait as long as sending it takes, and count it."""
    while True:
        await queue.get()
        time_s = max(0.0, random.gauss(mean_s, STD_SHARE * mean_s))
        await asyncio.sleep(time_s)
        if random.random() < fail:
            counts.failed += 1
        else:
            counts.sent += 1
        counts.work_s += time_s
        queue.task_done()


async def show(counts: Counts, total: int, started_at: float) -> None:
    """Print progress once per interval."""
    while True:
        counts.show(total, started_at)
        await asyncio.sleep(INTERVAL_S)


async def run(senders: int, messages: int, mean_s: float, fail: float, queue_max: int) -> Counts:
    """Run the baseline to its end and return its counts."""
    queue: asyncio.Queue[Message] = asyncio.Queue(queue_max)
    counts = Counts()
    started_at = time.monotonic()
    generation_s = 0.0
    if not queue_max:
        await produce(queue, messages)
        generation_s = time.monotonic() - started_at
        started_at += generation_s
    tasks = [asyncio.create_task(send(queue, mean_s, fail, counts)) for _ in range(senders)]
    tasks.append(asyncio.create_task(show(counts, messages, started_at)))
    if queue_max:
        await produce(queue, messages)
    await queue.join()
    counts.show(messages, started_at, generation_s=generation_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return counts


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))
