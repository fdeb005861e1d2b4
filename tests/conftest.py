"""Settings and fixtures for all tests: hypothesis, the seed of random moments, and checks for stray complaints.

Tests with a mark of `NEEDS` are left out where this machine lacks what they need; the summary names their files.
"""

import logging
import os
import secrets
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import browser_support
import hosts_support
import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from smssim.process import libraries

ROOT: Final = Path(__file__).parent.parent
# By mark: what the tests need, what is missing without it, and a function that returns why it is missing.
NEEDS: Final[dict[str, tuple[str, str, Callable[[], str]]]] = {
    "hosts": ("network namespaces, see hosts_support", "no network namespaces here", hosts_support.why_not),
    "browser": ("Chromium, see browser_support", "no browser here", browser_support.why_not),
}
LEFT_OUT: pytest.StashKey[set[str]] = pytest.StashKey()  # what the summary says was left out

libraries.configure()
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # even under nohup: tests send it to the processes that they start

# Tests start hundreds of processes. Let them cache compiled code, which makes each start a sixth faster.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# No deadline and no health check of slowness, because the time of an example means nothing on a busy machine.
# The same examples each time, so that a red build is due to the change. SEARCH=1 tries new ones.
settings.register_profile(
    "same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)
settings.register_profile("search", settings.get_profile("same"), derandomize=False, print_blob=True)
settings.load_profile("search" if os.environ.get("SEARCH") else "same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed", type=int, metavar="N", help="draw the moments of faults from this seed (default: random)"
    )
    parser.addoption(
        "--schedules", type=int, metavar="N", default=1, help="random schedules of tests/test_failover.py (default: 1)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed before pytest-xdist copies the options to its workers, so that all draw from the same one."""
    if config.option.seed is None:
        config.option.seed = secrets.randbelow(10**6)
    for mark, (need, _, _) in NEEDS.items():
        config.addinivalue_line("markers", f"{mark}: needs {need}")
    config.stash[LEFT_OUT] = set()


def pytest_report_header(config: pytest.Config) -> str:
    return f"moments of faults: --seed {config.option.seed}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for mark, (_, missing, why_not) in NEEDS.items():
        needing = [item for item in items if item.get_closest_marker(mark)]
        if not needing or not (reason := why_not()):
            continue
        items[:] = [item for item in items if item not in needing]
        config.hook.pytest_deselected(items=needing)
        files = {item.nodeid.partition("::")[0] for item in needing}
        config.stash[LEFT_OUT].update(f"{file} ({missing}: {reason})" for file in files)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist: tell the controller, which writes the summary."""
    if hasattr(session.config, "workeroutput"):
        left_out = session.config.stash[LEFT_OUT]
        session.config.workeroutput["left_out"] = list(left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """In the controller: a worker has ended. One that crashed tells nothing, but all leave out the same."""
    node.config.stash[LEFT_OUT].update(getattr(node, "workeroutput", {}).get("left_out", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    left_out = config.stash[LEFT_OUT]
    for what in sorted(left_out):
        terminalreporter.write_line(f"left out: {what}", yellow=True)


class _AnyTestAnywhere(LoadScopeScheduling):  # type: ignore[misc] # it has no types
    """A scheduler that gives pytest-xdist's workers single tests, or whole files if they have module fixtures."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if _shares_a_fixture(file) else nodeid


@cache
def _shares_a_fixture(file: str) -> bool:
    return 'scope="module"' in (ROOT / file).read_text(encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _AnyTestAnywhere(config, log)


@pytest.fixture
def random(request: pytest.FixtureRequest) -> Random:
    """Return the generator of a test's random moments, and print its seed in case the test fails."""
    seed = request.config.option.seed
    print(f"--seed {seed} draws the same moments again")
    return Random(f"{seed} {request.node.name}")


def _is_of_an_earlier_test(record: logging.LogRecord) -> bool:
    """Return whether a record is about the loop of an earlier test: gRPC's only poller serves all loops."""
    error = record.exc_info[1] if record.exc_info else None
    return "PollerCompletionQueue" in record.getMessage() and str(error) == "Event loop is closed"


def _is_of_a_lost_server(record: logging.LogRecord) -> bool:
    """Return whether a record is about the pings of nats-py to a server that closed the connection meanwhile."""
    error = record.exc_info[1] if record.exc_info else None
    return "Client._ping_interval()" in record.getMessage() and isinstance(error, ConnectionResetError)


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Fail a test in which asyncio or gRPC logged a complaint, such as a lost task or an unhandled exception."""
    caplog.set_level(logging.INFO, "smssim")
    yield
    others = [r for r in caplog.get_records("call") if not r.name.startswith("smssim")]
    known = (_is_of_an_earlier_test, _is_of_a_lost_server)
    complaints = [f"{r.name}: {r.getMessage()}" for r in others if not any(is_it(r) for is_it in known)]
    assert complaints == []
    assert capfd.readouterr().err == ""
