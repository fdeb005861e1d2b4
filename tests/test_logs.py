"""The log: whole lines of text or JSON, whatever characters names and peers send."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from processes_support import Node, Nodes

from smssim.process import logs
from smssim.settings import LogSettings


class Stderr:
    """What was written to stderr in a test."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._text = ""

    def lines(self) -> list[str]:
        self._text += self._capsys.readouterr().err
        assert self._text.endswith("\n")
        return self._text[:-1].split("\n")


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Stderr]:
    """Return what is written to stderr; restore the loggers afterwards."""
    root, ours = logging.getLogger(), logging.getLogger(logs.ROOT)
    before = root.handlers[:], root.level, ours.level, logging.raiseExceptions
    root.handlers.clear()  # otherwise basicConfig closes the handlers of pytest
    yield Stderr(capsys)
    root.handlers[:], root.level, level, logging.raiseExceptions = before
    ours.setLevel(level)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as started:
        yield started


def objects(node: Node) -> list[dict[str, object]]:
    return [json.loads(line) for line in node.err]


# -- lines


def test_a_text_line_has_the_time_the_node_and_the_message(stderr: Stderr) -> None:
    logs.set_up(LogSettings())
    logs.node_log("50%").info("100% and %s")
    logs.node_log("50%").info("%d%% and %s", 100, "more")
    first, second = stderr.lines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d 50%: 100% and %s", first)
    assert second.endswith(" 50%: 100% and more")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_record_is_one_line_whatever_text_it_contains(stderr: Stderr, log_format: str) -> None:
    logs.set_up(LogSettings(log_format=log_format))
    wild = ["two\nlines", "\x1b[2J", "a\r\x00b\u2028c", "lone \udcff"]
    for text in wild:
        logs.node_log(text).warning("it says: %s", text)
    lines = stderr.lines()
    assert len(lines) == len(wild)
    assert all(line.isprintable() for line in lines)
    if log_format == "json":
        read = [json.loads(line) for line in lines]
        assert [(line["node"], line["message"]) for line in read] == [(text, f"it says: {text}") for text in wild]


def test_a_json_line_has_time_level_node_message_and_fields(stderr: Stderr) -> None:
    logs.set_up(LogSettings(log_format="json"))
    logs.node_log("one").info("sent %d", 7, fields={"message_id": 7})
    (line,) = stderr.lines()
    read = json.loads(line)
    assert list(read) == ["time", "level", "node", "message", "message_id"]
    assert (read["level"], read["node"], read["message"], read["message_id"]) == ("info", "one", "sent 7", 7)
    assert read["time"].endswith("Z")
    assert datetime.fromisoformat(read["time"]).utcoffset() == timedelta(0)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_stack_trace_is_kept(stderr: Stderr, log_format: str) -> None:
    logs.set_up(LogSettings(log_format=log_format))
    try:
        raise ValueError("so it goes")
    except ValueError:
        logging.getLogger("asyncio").exception("lost")
    written = stderr.lines()
    assert "ValueError: so it goes" in written[-1]
    assert len(written) == 1 or log_format == "text"


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_level_is_the_lowest_that_is_logged(stderr: Stderr, level: str) -> None:
    levels = ["debug", "info", "warning", "error"]
    logs.set_up(LogSettings(log_level=level))
    for each in levels:
        logs.node_log("one").log(logging.getLevelNamesMapping()[each.upper()], each)
        logging.getLogger("asyncio").log(logging.getLevelNamesMapping()[each.upper()], "library: %s", each)
    said = [line.split(": ", 1)[1] for line in stderr.lines() if "library" not in line]
    assert said == levels[levels.index(level) :]
    assert not any("library: info" in line for line in stderr.lines())
    assert any("library: error" in line for line in stderr.lines())


# -- nodes


def test_every_line_of_a_node_is_json_and_the_lines_cover_its_run(nodes: Nodes) -> None:
    monitor = nodes.start("monitor", "--listen=127.0.0.1:0", "--interval=0.1", "--log-format=json")
    producer = nodes.producer(monitor, 20, "--log-format=json")
    sender = nodes.sender(producer, "a\u00e9 %d", "--mean=0.01", "--log-format=json", "-v")
    assert [node.code() for node in (sender, producer, monitor)] == [0, 0, 0]
    assert {str(line["node"]) for line in objects(sender)} == {"a\u00e9 %d"}
    story = [str(line["message"]) for line in objects(sender)]
    for chapter in ("Connected to producer", "Connected to monitor", "Message 7 to ", "Run complete"):
        assert any(line.startswith(chapter) for line in story), story
    assert "Sender a\u00e9 %d joined: 1 lane, mean 0.01 s" in [line["message"] for line in objects(producer)]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_run_shows_the_logs_of_its_nodes_only_at_level_debug(nodes: Nodes, log_format: str) -> None:
    words = ("run", "--count=50", "--sender=mean=0.01,name=x", f"--log-format={log_format}")
    loud, quiet = nodes.start(*words, "--log-level=debug"), nodes.start(*words)
    assert (loud.code(), quiet.code()) == (0, 0)
    loud.says(r"producer.*Listening on ")
    loud.says(r"x.*Run complete")
    loud.says(r"x.*Report 1 recorded")
    assert all(re.search(r" run: |\"node\": \"run\"", line) for line in quiet.err)
    quiet.says("run.*50 messages with 1 sender, seed ")
    if log_format == "json":
        assert {line["node"] for line in objects(loud)} == {"run", "monitor", "producer", "x"}


def test_a_run_at_log_level_error_still_finds_its_nodes(nodes: Nodes) -> None:
    run = nodes.start("run", "--count=20", "--sender=mean=0.01", "--log-level=error")
    assert run.code() == 0
    assert run.err == []
