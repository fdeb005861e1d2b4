"""Thresholds: one case a line."""

from __future__ import annotations

import uuid

import pytest

from smssim.core.progress import Figures
from smssim.core.snapshot import Summary
from smssim.core.threshold import FIGURES as NAMES
from smssim.core.threshold import Threshold, warnings
from smssim.errors import PeerError
from smssim.net import watching
from smssim.outputs.terminal.summary import value
from smssim.v1 import monitor_pb2

FIGURES: dict[str, float | None] = {
    "total": 1000,
    "sent": 950,
    "failed": 50,
    "duplicates": 0,
    "redelivered": 3,
    "rate_per_s": 1234.5,
    "avg_time_s": 0.25,
    "latency_p99_s": 90.0,
    "t50": 30.0,
    "t95": 600.0,
    "unreachable": 40,
    "failed_reachable": 10,
    "t95_reachable": 500.0,
    "cost": 7.45,
}


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("failed<5%", False),  # it is exactly 5%
        ("failed<=5%", True),
        ("failed<5.01%", True),
        ("failed < 51", True),
        ("sent>=95%", True),
        ("sent>95%", False),
        ("duplicates==0", True),
        ("duplicates!=0", False),
        ("redelivered<=3", True),
        ("rate_per_s>1000", True),
        ("rate_per_s>1.2345e3", False),
        ("avg_time_s<250ms", False),
        ("avg_time_s<=250ms", True),
        ("avg_time_s<.3", True),
        ("latency_p99_s<2m", True),
        ("latency_p99_s<1.5m", False),
        ("t50<=30s", True),
        ("t95<0.1h", False),
        ("t95<10m", False),
        ("t95<=10m", True),
        ("t95_reachable<10m", True),
        ("t95_reachable<8m", False),
        ("t50_reachable<8m", False),  # never reached
        ("unreachable<=4%", True),
        ("unreachable<40", False),
        ("failed_reachable<=10", True),
        ("failed_reachable<=1%", False),  # 10 of the 960 that can be reached
        ("failed_reachable<=1.05%", True),
        ("cost<=7.45", True),
        ("cost<7.45", False),
        ("t99<1000h", False),  # never reached
        ("t99>0", False),
        ("avg_sent_time_s<1", False),  # nothing was sent
    ],
)
def test_a_threshold_is_passed_or_missed(text: str, passed: bool) -> None:
    assert Threshold.parse(text).judge(FIGURES).passed is passed


def test_the_result_of_a_threshold_contains_its_text_and_the_value() -> None:
    judged = Threshold.parse(" failed<5% ").judge(FIGURES)
    assert (judged.text, judged.value) == ("failed<5%", 50)
    assert Threshold.parse("t99<1s").judge(FIGURES).value is None


@pytest.mark.parametrize(("text", "passed"), [("failed<1%", True), ("failed<=0%", True), ("failed>0%", False)])
def test_in_a_run_without_messages_every_share_is_0_percent(text: str, passed: bool) -> None:
    assert Threshold.parse(text).judge({"total": 0, "failed": 0}).passed is passed


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "failed",
            "<5",
            "failed<",
            "failed=5",
            "failed=<5",
            "failed<five",
            "failed<-1",
            "failed<5%%",
            "failed<nan",
        ),
        *("lost<5", "run_id==1", "complete==1", "final==1", "t51<1", "failed<5s", "rate_per_s<5%", "rate_per_s>1s"),
        *(
            "avg_time_s<5%",
            "total<5%",
            "failed<5 and sent>3",
            "failed<1e999",
            "failed<\u0665",
            "t50<1H",
            "t95<10M",
            "FAILED<5",
        ),
    ],
)
def test_a_malformed_threshold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="malformed threshold"):
        Threshold.parse(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("failed<0.05", "failed<5%"),
        ("failed < .001", "failed<0.1%"),
        ("sent>=0.999", "sent>=99.9%"),
        ("failed<0", None),
        ("failed<1", None),
        ("failed<0.5%", None),
        ("avg_time_s<0.5", None),
        ("rate_per_s>0.5", None),
        ("total>0.5", None),
    ],
)
def test_a_count_that_is_compared_like_a_share_causes_a_warning(text: str, meant: str | None) -> None:
    name = text.split("<")[0].split(">")[0].strip()
    warned = f"--threshold {text}: {name} is a number of messages; for a share of all, write {meant}"
    assert warnings([Threshold.parse("t95<1s"), Threshold.parse(text)]) == ([warned] if meant else [])


def test_every_number_in_the_json_output_can_have_a_threshold() -> None:
    numbers = {name for name, kind in Figures.__annotations__.items() if "int" in kind or "float" in kind}
    times = {f"t{percent}{of}" for percent in (50, 80, 95, 99) for of in ("", "_reachable")}
    assert numbers == {*NAMES} - {"redelivered", "failed_reachable", *times}


def test_a_watcher_reads_a_threshold_in_any_notation_as_the_monitor_does() -> None:
    for text, said in (
        (" failed < 5 % ", "was 5%"),
        ("\tavg_time_s\t<\t1s", "was 250 ms"),
        ("failed<" + "0" * 1500 + "5%", "was 5%"),
        (" t99<1h", "was never reached"),
        ("t99_reachable<1h", "was never reached"),
        ("failed_reachable<9%", "was 1.042%"),
        ("cost<1e9", "was 7.45"),
    ):
        judged = Threshold.parse(text).judge(FIGURES)
        summary = seen_by_a_watcher(monitor_pb2.Judged(threshold=text, value=judged.value, passed=judged.passed))
        assert summary.thresholds == (judged,)
        assert value(summary.thresholds[0], FIGURES) == value(judged, FIGURES) == said


def seen_by_a_watcher(*judged: monitor_pb2.Judged) -> Summary:
    progress = monitor_pb2.Progress(run_id=str(uuid.uuid4()), total=1000)
    sent = monitor_pb2.WatchProgressResponse(progress=progress, summary=monitor_pb2.Summary(thresholds=judged))
    summary = watching.snapshot_from_proto(sent).summary
    assert summary is not None
    return summary


def test_a_watcher_refuses_a_malformed_threshold() -> None:
    with pytest.raises(PeerError):
        seen_by_a_watcher(monitor_pb2.Judged(threshold="\x1b[2Jfailed<5%"))
