"""The live page of real nodes: of a monitor, a run and a watcher, over restarts and to the end."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from processes_support import DEADLINE_S, Node, Nodes, assert_quiet, eventually

SENDER = ("--mean=0.01", "--concurrency=4", "--fail=0.1")


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as started:
        yield started


class Client:
    """A client of a page, over connections of its own."""

    def __init__(self, url: str) -> None:
        self.port = urlsplit(url).port
        self._open: list[http.client.HTTPConnection] = []

    @classmethod
    def of(cls, node: Node) -> Client:
        return cls(node.record("web")["url"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for connection in self._open:
            connection.close()

    def ask(self, path: str, **headers: str) -> http.client.HTTPResponse:
        """Return the beginning of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        self._open.append(connection)
        connection.request("GET", path, headers=headers)
        return connection.getresponse()

    def json(self, path: str) -> Any:
        answer = self.ask(path)
        assert answer.status == 200
        return json.loads(answer.read())

    def state(self) -> Any:
        return self.json("/api/state")

    def follow(self) -> Iterator[tuple[str, Any]]:
        """Yield the events of a stream."""
        answer = self.ask("/api/events")
        assert answer.status == 200
        return _events(answer)


def _events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    event = ""
    for line in answer:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            yield event, json.loads(value)


def test_a_monitor_serves_its_run_to_the_end(nodes: Nodes) -> None:
    monitor = nodes.monitor("--web=0", "--title=Rehearsal")
    with Client.of(monitor) as client:
        assert client.state()["verdict"]["code"] == "starting"
        monitor.says(rf"Page at http://127\.0\.0\.1:{client.port}/$")
        waiting = [client.follow() for _ in range(3)]
        producer = nodes.producer(monitor, 300)
        nodes.sender(producer, "one", *SENDER)
        assert next(waiting[0])[1]["senders"]["state"] in ("1", "2")
        assert client.state()["title"] == "Rehearsal"
        events: list[tuple[str, Any]] = []
        for stream in waiting:
            events = list(stream)
            assert [name for name, _ in events].count("frame") == len(events) - 1
            assert events[-1] == ("over", {"reason": "all runs have ended"})
            assert events[-2][1]["progress"]["final"]
        assert monitor.code() == 0
        last = events[-2][1]["progress"]
        assert {name: last[name] for name in monitor.figures()[-1]} == monitor.figures()[-1]
    assert_quiet(monitor)


def test_a_stopped_monitor_sends_the_last_frame_of_an_incomplete_run(nodes: Nodes) -> None:
    monitor = nodes.monitor("--web=0")
    with Client.of(monitor) as client:
        producer = nodes.producer(monitor, 10**6)
        nodes.sender(producer, "one", *SENDER)
        stream = client.follow()
        assert not next(stream)[1]["progress"]["final"]
        monitor.signal(signal.SIGINT)
        *_, last, over = stream
        assert (last[0], last[1]["progress"]["final"], last[1]["verdict"]["code"]) == ("frame", True, "incomplete")
        assert over[0] == "over"
        assert monitor.code() == 3


def test_a_run_names_the_page_of_its_monitor_which_keeps_its_address_over_a_kill(nodes: Nodes, tmp_path: Path) -> None:
    path = tmp_path / "bad-day.yaml"
    senders, faults = "{city: {mean: 5ms, concurrency: 4}}", "[{at: 1s, kill: monitor, for: 1s}]"
    path.write_text(f"messages: {{count: 4000}}\nsenders: {senders}\nfaults: {faults}\n")
    run = nodes.start("run", path, "--web=0", "--json")
    with Client(run.says(r"Page at (http://127\.0\.0\.1:\d+/)$")[1]) as client:
        before = next(client.follow())[1]["progress"]["run_id"]

        def resumed() -> Any:
            with contextlib.suppress(OSError, http.client.HTTPException):
                state = client.state()
                return state if "restarted" in {event["kind"] for event in state["events"]} else None

        state = eventually(resumed, "the page of the restarted monitor")
        assert state["progress"]["run_id"] == before
        assert state["history"]["elapsed_s"][0] < 1  # the curve from before the kill
        assert (state["title"], state["command"].split()[:2]) == ("bad-day", ["smssim", "run"])
        *_, (_, last), _ = client.follow()
        assert last["progress"]["complete"]
    assert run.code() == 0


def test_a_watcher_serves_a_page_of_its_own_with_the_whole_curve(nodes: Nodes) -> None:
    monitor = nodes.monitor()
    producer = nodes.producer(monitor, 10**6)
    nodes.sender(producer, "one", *SENDER)
    monitor.shows(lambda figures: figures["elapsed_s"] > 1.5, "a second and a half")
    watcher = nodes.start("watch", monitor.address(), "--web=0", "--json")
    with Client.of(watcher) as client:
        stream = client.follow()
        assert next(stream)[1]["progress"]["elapsed_s"] > 1.5
        history = client.state()["history"]
        assert history["elapsed_s"][0] < 1 < len(history["elapsed_s"])
        monitor.signal(signal.SIGINT)
        events = list(stream)
        assert events[-2][1]["progress"]["final"]
        assert events[-1] == ("over", {"reason": "smssim watch has ended"})
        assert watcher.code() == 3


def test_a_busy_port_ends_each_node_with_one_line(nodes: Nodes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        why = f"--web: got {port}; expected an available port on 127.0.0.1 (address already in use)"
        for words in (("monitor", "--listen=127.0.0.1:0"), ("watch", "127.0.0.1:1")):
            node = nodes.start(*words, f"--web={port}")
            assert node.code() == 2
            assert [line.rpartition(f"{words[0]}: ")[2] for line in node.err if "--web" in line] == [why]
        run = nodes.start("run", "--count=5", f"--web={port}")
        assert run.code() == 2
        assert any(why in line for line in run.err)


def test_a_token_is_required_and_is_in_no_output(nodes: Nodes) -> None:
    token = "open-sesame-1001"
    monitor = nodes.start("monitor", "--listen=127.0.0.1:0", "--web=0", "--json", SMSSIM_TOKEN=token)
    with Client.of(monitor) as client:
        assert client.ask("/api/state").status == 401
        entered = client.ask(f"/?token={token}")
        assert entered.status == 303
        cookie = str(entered.headers["Set-Cookie"]).split(";")[0]
        assert client.ask("/", Cookie=cookie).status == 200
        monitor.signal(signal.SIGTERM)
        monitor.code()
    assert not any(token in line for line in (*monitor.err, *monitor.out))
    assert any(line.endswith("(open it once as /?token=TOKEN)") for line in monitor.err)


def test_twenty_open_streams_do_not_keep_a_run_from_ending(nodes: Nodes) -> None:
    run = nodes.start("run", "--count=200", "--sender=mean=0.01,concurrency=2", "--web=0", "--json")
    with Client(run.says(r"Page at (\S+)$")[1]) as client:
        streams = [client.follow() for _ in range(20)]
        assert run.code() == 0
        for stream in streams:
            events = list(stream)
            assert [name for name, _ in events[-2:]] == ["frame", "over"]
            assert events[-2][1]["progress"]["final"]


def test_a_page_on_a_run_with_kept_runs_lists_them(nodes: Nodes, tmp_path: Path) -> None:
    kept = str(tmp_path / "kept")
    words = ("run", "--count=20", "--sender=mean=0.01", "--json", f"--history={kept}")
    assert nodes.start(*words).code() == 0
    second = nodes.start(*("run", "--count=100000", "--sender=mean=0.05", "--json", f"--history={kept}", "--web=0"))
    with Client(second.says(r"Page at (\S+)$")[1]) as client:
        (link,) = set(re.findall(r'href="(/runs/[^"]+)"', client.ask("/runs").read().decode()))
        assert client.ask(link).status == 200
        second.signal(signal.SIGINT)
        second.code()
