"""What each flag accepts, and which settings can't be combined."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smssim.cli.commands import COMMANDS
from smssim.core.fault import Fault, FaultKind
from smssim.core.limits import CONCURRENCY_MAX, RUN_LANES_MAX
from smssim.core.spread import STD_LIMITS, STD_MEANS_MAX
from smssim.errors import UsageError
from smssim.settings import (
    CertsSettings,
    Find,
    Flag,
    MonitorSettings,
    ProducerSettings,
    RunSettings,
    SenderSettings,
    TraceSettings,
    WatchSettings,
    are_addresses,
    flags_of,
    split_address,
)
from smssim.settings.senders import RUN_COUNT, RUN_SENDERS, parse_sender
from smssim.settings.span import Span

# By name. Commands that share a flag have the same rule for it, as tests/test_flags.py shows.
NAMED: dict[str, Flag] = {flag.name: flag for command in COMMANDS.values() for flag in command.flags.values()}

NOT_A_NUMBER = ("", " ", "abc", "nan", "inf", "-inf", "1e999", "-1", "-1e-9", "1,000", "0x10", "1 2", "1__0", "--std")
NOT_WHOLE = (*NOT_A_NUMBER, "0.5", "1e-3", "1e300", "9" * 5000)
NO_ADDRESS = (
    *("", "host", "50051", ":50051", "host:", "host:-1", "host:+1", "host:65536", "host:99999999999", "host:x"),
    *("host:\uff11", "a b:1", "a\nb:1", "h:1 ", "\udcff:1", "user@host:1", "http://host:1"),
    *("::1:50051", "[::1]", "[::1:1", "[]:1"),
)
NO_PEER = (
    *(*NO_ADDRESS, "host:0", "[::1]:0", ",", "a:1,", ",a:1", "a:1,,b:1", "a:1, b:1", "a:1,b", "a:1;b:1", "a:1,b:1,a:1"),
    ",".join(f"a:{port}" for port in range(1, 10)),
)
NO_THRESHOLD = (
    *("", "failed", "failed<", "failed<-1", "nothing<1", "complete==1", "rate_per_s>5%", "sent<3s", "t50<5%"),
)
BAD = {
    "--count": (*NOT_WHOLE, "1000000000001", "1e13"),
    "--seed": (*NOT_WHOLE, str(2**63), "1e19"),
    "--max-attempts": (*NOT_WHOLE, "0", "256"),
    "--preset": ("", "x", "sender", "7"),
    "NAME": ("", "x"),
    "--text": ("", "a\tb", "\x1b[2J", "\x7f", "\udc80"),
    "--min-length": (*NOT_WHOLE, "0", "101"),
    "--max-length": (*NOT_WHOLE, "0", "101"),
    "--concurrency": (*NOT_WHOLE, "0", "10000001"),
    "--copies": (*NOT_WHOLE, "0", "2001"),
    "--repeat": (*NOT_WHOLE, "0", "1001"),
    "--rate": (*NOT_A_NUMBER, "0", "1e-7", "1.1e12"),
    "--fail": (*NOT_A_NUMBER, "7", "1.0000001", "101%", "-1%", "%", "5 %%", "nan%", "snan%", "1e9999999%", "5s"),
    "--unreachable": (*NOT_A_NUMBER, "7", "101%", "-1%", "5s"),
    "--limit": (*NOT_A_NUMBER, "0", "1e-4", "1.1e12", "5/s", "5%"),
    "--burst": (*NOT_WHOLE, "0", "1000000001"),
    "--price": (*NOT_A_NUMBER, "1000001", "$1", "1%"),
    "--price-failed": (*NOT_A_NUMBER, "1000001", "$1", "1%"),
    "--mean": (*NOT_A_NUMBER, "10000001", "s", "ms", "1 d", "1S", "2778h", "nans", "-1ms", "1e9999999h", "5%", "1m30s"),
    "--std": (*NOT_A_NUMBER, "10000001"),
    "--max-time": (*NOT_A_NUMBER, "10000001"),
    "--retry-delay": (*NOT_A_NUMBER, "10000001"),
    "--lease-timeout": (*NOT_A_NUMBER, "1.4", "10000001"),
    "--give-up": (*NOT_A_NUMBER, "10000001"),
    "--interval": (*NOT_A_NUMBER, "0", "0.009"),
    "--distribution": ("", "poisson", "gamma,fixed", "gam ma"),
    "--case": ("", "lanes", "US", "us,idle"),
    "--figures": ("",),
    "--forecasts": ("",),
    "--fault": (
        *("", "at=8", "slow=4", "at=8,slow=4,fail=5%", "at=8,at=9,slow=4", "at=8,kill=city", "at=-1,slow=4"),
        *("at=8,slow=0.5", "at=8,slow=101", "at=8,slow=nan", "at=8,fail=101%", "at=8,fail", "at=8,slow=4,for=-1"),
        *("at=10000001,slow=4", "at=8;slow=4", "at=8,slow=4,"),
    ),
    "--journal": ("",),
    "SCENARIO": ("",),
    "--seeds": (*NOT_WHOLE, "0", "10001"),
    "--find": (
        *("", "city", "city.copies", "city.copies=", "city.copies=1", "city.copies=1..", "copies=1..2", ".copies=1..2"),
        *("city.copies=2..1", "city.copies=0..5", "city.copies=1..2001", "city.copies=1.5..2", "city.fail=0..1"),
        *("city.mean=-1..2", "city.mean=1s..500ms", "city.concurrency=1-5"),
    ),
    "DIR": ("",),
    "--engine": (
        *(
            "",
            "nats",
            "127.0.0.1:4222",
            "http://a:4222",
            "nats://",
            "nats://a,",
            ",nats://a",
            "nats://a:0",
            "nats://a b",
        ),
        *("nats://a:65536", "nats://a/b", "nats://::1", "nats://a,tls://b", "nats://a://b", "NATS://a"),
    ),
    "--run": ("", "x" * 33, "a b", "a.b", "a*", "a/b", "\u00e9", "\uff11", "a\n"),
    "--engine-replicas": (*NOT_WHOLE, "0", "2", "4", "7"),
    "--engine-monitoring": (
        "",
        "a:8222",
        "nats://a:8222",
        "http://a",
        "http://a:0",
        "http://a:1/varz",
        "http://a:1,b:2",
    ),
    "--engine-tls-ca": ("",),
    "--engine-tls-cert": ("",),
    "--engine-tls-key": ("",),
    "--engine-creds": ("",),
    "--engine-token-file": ("",),
    "--engine-login-file": ("",),
    "--tls-cert": ("",),
    "--tls-key": ("",),
    "--tls-ca": ("",),
    "--token-file": ("",),
    "--host": ("", "a b", "a\nb", "[::1]", "alpha/beta", "user@alpha"),
    "--record": ("", "-"),
    "--failed": ("", "-"),
    "--metrics-port": (*NOT_WHOLE, "65536"),
    "FILE": ("",),
    "MESSAGE_ID": (*NOT_WHOLE, "10000000001"),
    "--name": ("x" * 59, "\u00e9" * 30, "a\nb", "\x1b[31m", "\udcff"),
    "--listen": NO_ADDRESS,
    "--monitor": NO_PEER,
    "--producer": NO_PEER,
    "HOST:PORT": NO_PEER,
    "--csv": ("", "-"),
    "--summary-json": ("", "-"),
    "--title": ("x" * 101, "a\nb", "\x1b[31m"),
    "--web": (*NOT_WHOLE, "65536"),
    "--web-listen": ("", "a b", "a\nb", "[::1]", "alpha/beta", "user@alpha", "127.0.0.1:8080"),
    "--report": ("", "-"),
    "--history": ("",),
    "--output": ("", "-"),
    "RUN": ("",),
    "--history-runs": (*NOT_WHOLE, "0", "100001"),
    "--history-size": (*NOT_WHOLE, "0", "1000001"),
    "--threshold": NO_THRESHOLD,
    "--goal": NO_THRESHOLD,
    "--insecure": ("", "maybe", "2"),
    "--json": ("", "maybe", "2"),
    "--linger": ("", "maybe", "2"),
    "--full": ("", "maybe", "2"),
    "--cheapest": ("", "maybe", "2"),
    "--no-plan": ("", "maybe", "2"),
    "--schema": ("", "maybe", "2"),
    "--quick": ("", "maybe", "2"),
    "--log-format": ("", "xml", "JSON"),
    "--log-level": ("", "trace", "INFO", "10"),
    "--verbose": ("", "maybe", "2"),
}


def refusal(flag: str, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        NAMED[flag].read(text)
    return str(caught.value)


def test_a_bad_value_is_refused_in_one_line_that_says_what_the_flag_expects() -> None:
    for flag, texts in BAD.items():
        for text in texts:
            line = refusal(flag, text)
            assert line.startswith(f"{flag}: got "), (flag, text)
            assert line.endswith(f"; expected {NAMED[flag].rule.expected}"), (flag, text)
            assert line.isprintable(), (flag, text)


def test_every_flag_has_bad_values_in_this_file() -> None:
    assert BAD.keys() | {"--sender"} == NAMED.keys()  # --sender is tested below


def test_a_good_value_is_read() -> None:
    for flag, text, value in (
        ("--count", "1000", 1000),
        ("--count", "0", 0),
        ("--count", "1_000", 1000),
        ("--count", "1e6", 1_000_000),
        ("--count", "2.5e3", 2500),
        ("--count", "1e10", 10**10),
        ("--find", "city.copies=1..200", Find("city", "copies", 1, 200)),
        ("--find", "a.b=c.mean=50ms..2", Find("a.b=c", "mean", 0.05, 2.0)),
        ("--find", " city.concurrency = 1e3 .. 1_000 ", Find("city", "concurrency", 1000, 1000)),
        ("--seed", "9223372036854775807", 2**63 - 1),
        ("--seed", "9007199254740993", 2**53 + 1),
        ("--max-attempts", "255", 255),
        ("--concurrency", "1e7", 10_000_000),
        ("--fail", "0", 0.0),
        ("--fail", "1", 1.0),
        ("--fail", ".5", 0.5),
        ("--mean", "-0", 0.0),
        ("--mean", "3600", 3600.0),
        ("--mean", "1e-3", 0.001),
        ("--mean", "50ms", 0.05),
        ("--mean", "0.7 ms", 0.0007),
        ("--mean", "2s", 2.0),
        ("--mean", "5m", 300.0),
        ("--mean", "1e3h", 3.6e6),
        ("--give-up", "1.5m", 90.0),
        ("--interval", "10ms", 0.01),
        ("--fail", "5%", 0.05),
        ("--fail", "0.7%", 0.007),
        ("--fail", "100%", 1.0),
        ("--interval", "0.5", 0.5),
        ("--rate", "1e6", 1e6),
        ("--fault", "at=8s,slow=4,for=10s", Fault(8.0, FaultKind.SLOW, "", 10.0, factor=4.0)),
        ("--fault", "fail = 50%, at = 500ms", Fault(0.5, FaultKind.FAIL, "", share=0.5)),
        ("--distribution", "uniform", "uniform"),
        ("--distribution", "Gamma", "gamma"),
        ("--distribution", "LOGNORMAL", "lognormal"),
        ("--name", "", ""),
        ("--name", "\u00e9" * 29, "\u00e9" * 29),
        ("--listen", "127.0.0.1:0", "127.0.0.1:0"),
        ("--producer", "[::1]:50051", "[::1]:50051"),
        ("--producer", "host.example:65535", "host.example:65535"),
        ("--producer", "a:1,[::1]:2,b:3", "a:1,[::1]:2,b:3"),
        ("--monitor", ",".join(f"a:{port}" for port in range(1, 9)), ",".join(f"a:{port}" for port in range(1, 9))),
        ("HOST:PORT", "a:1,b:1", "a:1,b:1"),
        ("--json", "yes", True),
        ("--json", "TRUE", True),
        ("--json", "0", False),
    ):
        read = NAMED[flag].read(text)
        assert (read, type(read)) == (value, type(value)), (flag, text)


def test_a_zero_is_never_negative() -> None:
    for text in ("-0.0", "-0s"):
        assert math.copysign(1, NAMED["--mean"].read(text)) == 1, text


def test_the_faults_of_a_sender_have_a_largest_factor_together() -> None:
    slow = (Fault(0.0, FaultKind.SLOW, "", 5.0, factor=20.0), Fault(4.0, FaultKind.SLOW, "", 5.0, factor=6.0))
    with pytest.raises(UsageError, match=r"^--fault: got slow=120; expected factors of at most 100 together"):
        SenderSettings(faults=slow)
    SenderSettings(faults=(slow[0], replace(slow[1], at_s=5.0)))  # one after the other


def test_a_sender_refuses_faults_that_are_not_about_its_attempts() -> None:
    for wrong in (Fault(1.0, FaultKind.KILL, "city"), Fault(1.0, FaultKind.SLOW, "", factor=0.5)):
        with pytest.raises(UsageError, match=r"^--fault: got "):
            SenderSettings(faults=(wrong,))


@given(st.decimals(0, 1, places=7).map("{:f}".format))
def test_a_number_with_a_unit_equals_the_one_typed_without_it(number: str) -> None:
    """Otherwise senders with equal settings have different fates."""
    assert NAMED["--mean"].read(f"{number}ms") == float(f"{number}e-3")
    assert NAMED["--fail"].read(f"{number}%") == float(f"{number}e-2")


def test_a_misspelt_figure_is_refused_with_a_suggestion() -> None:
    for text, near in (
        ("faild<5%", "failed"),
        ("T95<10s", "t95"),
        ("latency_p95<1s", "latency_p95_s"),
        ("lose<5", None),
        ("costs<5", "cost"),
        ("failed_reachabel<5", "failed_reachable"),
        ("failed<five", None),
    ):
        meant = f"; did you mean {near}?" if near else ""
        expected = NAMED["--threshold"].rule.expected
        assert refusal("--threshold", text) == f"--threshold: got {text}; expected {expected}{meant}"


def test_a_misspelt_key_to_find_is_refused_with_a_suggestion() -> None:
    assert refusal("--find", "city.copy=1..2").endswith("; did you mean copies?")
    assert not refusal("--find", "city.mean=1").endswith("?")


def test_what_to_find_is_shown_as_its_flag_reads_it() -> None:
    for text in ("city.copies=1..200", "a.b=c.mean=0.05..2.0"):
        assert str(NAMED["--find"].read(text)) == text


def test_a_whole_number_is_exact_or_refused() -> None:
    assert refusal("--seed", "9007199254740993.0")  # as a float it becomes another seed


@given(st.sampled_from(sorted(NAMED)), st.text(st.characters(codec=None)) | st.from_regex(r"[-+0-9.eE_]{1,9}"))
def test_any_text_is_either_a_valid_value_or_refused_in_one_line(flag: str, text: str) -> None:
    line = "one line"
    try:
        value = NAMED[flag].read(text)
    except UsageError as error:
        line = str(error)
    else:
        assert NAMED[flag].rule.holds(value)
    assert line.isprintable()


def test_a_refused_value_is_shown_as_typed_or_quoted() -> None:
    for text, shown in (("7", "7"), ("", "''"), ("a b", "'a b'"), ("a\nb", r"'a\nb'"), ("9" * 99, "9" * 57 + "...")):
        assert refusal("--fail", text) == f"--fail: got {shown}; expected {NAMED['--fail'].rule.expected}"


def test_settings_made_in_code_follow_the_same_rules() -> None:
    wrongs: tuple[tuple[type[Any], dict[str, Any]], ...] = (
        (ProducerSettings, {"count": -1}),
        (ProducerSettings, {"count": 1.5}),
        (ProducerSettings, {"max_attempts": 0}),
        (ProducerSettings, {"rate_per_s": math.inf}),
        (ProducerSettings, {"retry_delay_s": math.nan}),
        (ProducerSettings, {"monitor": "host:0"}),
        (ProducerSettings, {"linger": "yes"}),
        (MonitorSettings, {"threshold": ("failed<5%",)}),
        (WatchSettings, {"monitor": "host"}),
        (TraceSettings, {"file": "x", "message_id": -1}),
        (CertsSettings, {"directory": "x", "host": ("a b",)}),
    )
    for kind, wrong in wrongs:
        flag = flags_of(kind)[[*wrong][-1]].name
        with pytest.raises(UsageError, match=f"^{flag}: got .*; expected "):
            kind(**wrong)


def test_min_length_is_at_most_max_length() -> None:
    assert ProducerSettings(seed=1, min_length=5, max_length=5).max_length == 5
    with pytest.raises(UsageError, match=r"^--min-length: got 6; expected at most 5, the value of --max-length$"):
        ProducerSettings(seed=1, min_length=6, max_length=5)


def test_nodes_may_listen_on_loopback() -> None:
    for host in ("127.0.0.1", "127.8.9.10", "localhost", "[::1]"):
        assert MonitorSettings(listen=f"{host}:0").listen == f"{host}:0"


def test_any_other_address_requires_tls_or_insecure() -> None:
    for host in ("0.0.0.0", "[::]", "10.0.0.5", "host.example", "127.0.0.1.example", "127.1.example"):
        for kind in (MonitorSettings, ProducerSettings):
            address = f"{host}:50051"
            expected = "a loopback address, or any address with --tls-cert or --insecure"
            with pytest.raises(UsageError) as caught:
                kind(listen=address)
            assert str(caught.value) == f"--listen: got {address}; expected {expected}"
            assert kind(listen=address, insecure=True).listen == address
            assert kind(listen=address, tls_cert="cert.pem", tls_key="key.pem").listen == address


def test_the_protocol_and_the_flags_accept_the_same_addresses() -> None:
    for text in (*NO_PEER, "127.0.0.1:1", "[::1]:65535", "host.example:50051", "a:1,b:2"):
        assert NAMED["--monitor"].rule.holds(text) == are_addresses(text, port_min=1), text


def test_an_address_splits_into_host_and_port() -> None:
    assert split_address("--listen", "[::1]:50051") == ("::1", 50051)
    assert split_address("--listen", "localhost:0") == ("localhost", 0)
    with pytest.raises(UsageError, match=r"^--listen: got nowhere; expected host:port"):
        split_address("--listen", "nowhere")


def test_the_default_of_std_depends_on_mean_and_distribution() -> None:
    rows: tuple[tuple[str, float, float | None, float], ...] = (
        ("gamma", 0.5, None, 0.15),
        ("gamma", 0.5, 0.0, 0.0),
        ("gamma", 0.0, None, 0.0),
        ("gamma", 0.0, 0.0, 0.0),
        ("lognormal", 2.0, 5.0, 5.0),
        ("exponential", 0.5, None, 0.5),
        ("exponential", 0.5, 0.5, 0.5),
        ("fixed", 0.5, None, 0.0),
        ("fixed", 0.5, 0.0, 0.0),
        ("uniform", 3.0, 1.73205, 1.73205),
    )
    for distribution, mean, std, resolved in rows:
        settings = SenderSettings(mean_s=mean, std_s=std, distribution=distribution)
        assert settings.std_s == pytest.approx(resolved, rel=1e-12), (distribution, mean, std)
        assert replace(settings, name="again").std_s == settings.std_s


def test_a_std_that_the_distribution_cannot_have_is_refused() -> None:
    for distribution, mean, std, expected in (
        ("exponential", 0.5, 0.4, "0.5, or no --std, with --distribution exponential and --mean 0.5"),
        ("fixed", 0.5, 0.4, "0, or no --std, with --distribution fixed and --mean 0.5"),
        ("gamma", 0.0, 0.4, "0 when --mean is 0"),
        ("uniform", 0.6, 0.4, "at most 0.34641 with --distribution uniform and --mean 0.6"),
        ("lognormal", 0.5, 5, "at most 1.25 with --distribution lognormal and --mean 0.5"),
        ("gamma", 0.5, 20.1, "at most 20 with --distribution gamma and --mean 0.5"),
        ("normal", 0.07, 0.07, "at most 0.0693 with --distribution normal and --mean 0.07"),
    ):
        with pytest.raises(UsageError) as caught:
            SenderSettings(mean_s=mean, std_s=std, distribution=distribution)
        assert str(caught.value) == f"--std: got {std}; expected {expected}"


@given(st.sampled_from(sorted(STD_MEANS_MAX)), st.floats(1e-6, 1e5))
def test_the_largest_std_that_an_error_names_is_accepted(distribution: str, mean: float) -> None:
    with pytest.raises(UsageError) as caught:
        SenderSettings(mean_s=mean, std_s=mean * 41, distribution=distribution)
    most = float(str(caught.value).split("at most ")[1].split()[0])
    assert SenderSettings(mean_s=mean, std_s=most, distribution=distribution).std_s == most
    assert most == pytest.approx(mean * STD_MEANS_MAX[distribution], rel=2e-5)


def test_the_help_of_std_names_the_limit_of_each_distribution() -> None:
    assert STD_LIMITS == "40 (gamma), 2.5 (lognormal), 0.99 (normal), 0.577 (uniform) times the mean"


def test_the_lanes_of_one_process_are_bounded() -> None:
    for concurrency, copies, most in ((10**7, 2, "1"), (6000, 2000, "1,666")):
        with pytest.raises(UsageError) as caught:
            SenderSettings(concurrency=concurrency, copies=copies)
        expected = f"at most {most} with --concurrency {concurrency:,} (10,000,000 lanes per process)"
        assert str(caught.value) == f"--copies: got {copies}; expected {expected}"
    assert SenderSettings(concurrency=5000, copies=2000).lanes == CONCURRENCY_MAX


def test_the_lanes_of_one_run_are_bounded() -> None:
    full = SenderSettings(concurrency=CONCURRENCY_MAX)
    most = (full,) * (RUN_LANES_MAX // CONCURRENCY_MAX)
    assert RunSettings(ProducerSettings(), MonitorSettings(), most).senders == most
    with pytest.raises(UsageError) as caught:
        RunSettings(ProducerSettings(), MonitorSettings(), (*most, SenderSettings()))
    said = "--sender: got 20,000,001; expected at most 20,000,000 lanes (concurrency x copies) in total"
    assert str(caught.value) == said


OUTPUTS = {
    "csv": "--csv",
    "summary_json": "--summary-json",
    "record": "--record",
    "failed": "--failed",
    "report": "--report",
}


def test_two_outputs_cannot_have_the_same_file_under_any_name(tmp_path: Path) -> None:
    path, link, hard = (tmp_path / name for name in ("there", "link", "hard"))
    link.symlink_to(path)
    settings = OUTPUTS | {"journal": "--journal"}
    for there in (False, True):
        if there:
            path.touch()
            hard.hardlink_to(path)
        same = (path, tmp_path / "." / ".." / tmp_path.name / "there", link, hard)[: 4 if there else 3]
        for (one, other), again in product(combinations(settings, 2), same):
            with pytest.raises(UsageError) as caught:
                MonitorSettings(**{one: str(path), other: str(again)})  # type: ignore[arg-type]
            assert str(caught.value).startswith(f"{settings[other]}: got ")
            assert str(caught.value).endswith(f"; expected a different file from {settings[one]}")


def test_outputs_may_have_different_files_or_share_a_device(tmp_path: Path) -> None:
    different = {name: str(tmp_path / name) for name in OUTPUTS}
    assert MonitorSettings(**different).csv == different["csv"]  # type: ignore[arg-type]
    assert MonitorSettings(csv="/dev/null", summary_json="/dev/null").csv == "/dev/null"


def test_a_sender_is_read_from_its_spec() -> None:
    for spec, sender in (
        ("mean=0.05,fail=0.1,concurrency=4", SenderSettings(mean_s=0.05, fail=0.1, concurrency=4)),
        ("max-time=3", SenderSettings(max_time_s=3.0)),
        ("mean=50ms,fail=10%,distribution=Normal", SenderSettings(0.05, fail=0.1, distribution="normal")),
        ("max_time=3", SenderSettings(max_time_s=3.0)),
        (" mean = 1 , copies = 1e3 ", SenderSettings(mean_s=1.0, copies=1000)),
        ("copies=0..200", SenderSettings(copies=200, copies_span=Span(0, 200))),
        ("copies= 1e1 .. 10 ", SenderSettings(copies=10, copies_span=Span(10, 10))),
        ("distribution=uniform,mean=3,std=1,name=a=b", SenderSettings(3.0, 1.0, "uniform", name="a=b")),
        ("joins=8s", SenderSettings(joins_s=8.0)),
    ):
        assert parse_sender(spec) == sender, spec


BAD_SPECS = {
    "": "--sender: got ''; expected key=value,...",
    "mean": "--sender: got mean; expected key=value,...",
    "mean=1,": "--sender: got ''; expected key=value,...",
    "meen=1": "--sender: got meen=1; expected key=value,...",
    **{
        f"copies={got}": f"--sender: copies: got {got}; expected a whole number from 1 to 2,000, or a range such as "
        "0..200 (only smssim plan --cheapest takes a range)"
        for got in ("3e3", "0", "0..0", "5..4", "0..2001", "-1..5", "1..2..3", "..5", "5..", "0.5..2")
    },
    "copies=2000,concurrency=1e7": "--sender: copies: got 2000; expected at most 1 with concurrency 10,000,000",
    "fail=120%": f"--sender: fail: got 120%; expected {NAMED['--fail'].rule.expected}",
    "producer=localhost:1": "--sender: got producer=localhost:1; expected key=value,...",
    "mean=1;fail=0": "--sender: mean: got 1;fail=0; expected 0 to 10,000,000 seconds",
    "fail=0,mean=abc": "--sender: mean: got abc; expected 0 to 10,000,000 seconds",
    "fail=nan": f"--sender: fail: got nan; expected {NAMED['--fail'].rule.expected}",
    "concurrency=": "--sender: concurrency: got ''; expected a whole number from 1 to 10,000,000",
    "max_time=-1": "--sender: max-time: got -1; expected 0 to 10,000,000 seconds",
    "mean=1,mean=2": "--sender: got mean=1,mean=2; expected the key mean only once",
    "distribution=fixed,std=1": "--sender: std: got 1; expected 0, or no std, with distribution fixed and mean 0.5",
}


def test_a_sender_joins_at_a_valid_time_or_not_at_all() -> None:
    with pytest.raises(UsageError, match=r"^--joins: got -1; expected 0 to "):
        SenderSettings(joins_s=-1.0)


def test_one_sender_is_there_from_the_start() -> None:
    late = SenderSettings(joins_s=1.0)
    assert RunSettings(ProducerSettings(), MonitorSettings(), (late, SenderSettings())).senders[0] == late
    with pytest.raises(UsageError) as caught:
        RunSettings(ProducerSettings(), MonitorSettings(), (late, late))
    assert str(caught.value) == "--sender: got only senders that join later; expected one that is there from the start"


def test_a_bad_spec_is_refused_with_the_bad_part_and_what_it_expects() -> None:
    for spec, said in BAD_SPECS.items():
        with pytest.raises(UsageError) as caught:
            parse_sender(spec)
        assert str(caught.value).startswith(said), spec
        assert str(caught.value).isprintable(), spec


def test_an_unknown_key_is_refused_with_all_keys_and_the_closest_one() -> None:
    keys = (
        "with the keys preset, mean, std, distribution, max-time, fail, concurrency, copies, limit, burst, price, "
        "price-failed, name, joins"
    )
    for part, near in (
        *(("meen=1", "mean"), ("MEAN=1", "mean"), ("max_tme=1", "max-time"), ("producer=x", "price"), ("fail", None)),
    ):
        with pytest.raises(UsageError) as caught:
            parse_sender(part)
        assert str(caught.value).endswith(f"{keys}; did you mean {near}?" if near else keys), part


def test_the_senders_of_a_plain_run_differ_and_send_its_messages_in_ten_seconds() -> None:
    assert len({(sender.mean_s, sender.fail, sender.concurrency) for sender in RUN_SENDERS}) == len(RUN_SENDERS) == 4
    assert RUN_COUNT / sum(sender.concurrency / sender.mean_s for sender in RUN_SENDERS) == pytest.approx(10)
