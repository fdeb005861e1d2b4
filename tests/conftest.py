"""What all tests share: how hypothesis searches, the seed of what is drawn anew, and live nodes without complaints."""

import logging
import os
import secrets
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from smssim.process import libraries

ROOT: Final = Path(__file__).parent.parent

libraries.configure()
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup too: tests send it to what they start

# Hundreds of processes are started: they may keep what they have compiled, which saves each a sixth of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# No deadline, no complaint of slowness: how long an example takes says nothing on a busy machine.
# The same examples each time: a red build is then about the change that was made. SEARCH=1 looks for new ones.
settings.register_profile(
    "same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)
settings.register_profile("search", settings.get_profile("same"), derandomize=False, print_blob=True)
settings.load_profile("search" if os.environ.get("SEARCH") else "same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, metavar="N", help="draw the moments of faults from this seed (a new one)")


def pytest_configure(config: pytest.Config) -> None:
    """The workers of pytest-xdist get the options as they are then: they all draw from the same seed."""
    if config.option.seed is None:
        config.option.seed = secrets.randbelow(10**6)


def pytest_report_header(config: pytest.Config) -> str:
    return f"moments of faults: --seed {config.option.seed}"


class _AnyTestAnywhere(LoadScopeScheduling):  # type: ignore[misc] # it has no types
    """Gives the workers of pytest-xdist single tests, and whole files where tests share a fixture of their module."""

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
    """What draws a test's moments. Shows the seed if the test fails: each test draws the same again from it."""
    seed = request.config.option.seed
    print(f"--seed {seed} draws the same moments again")
    return Random(f"{seed} {request.node.name}")


def _is_of_an_earlier_test(record: logging.LogRecord) -> bool:
    """gRPC's one poller serves every event loop of this process, also those of tests that are over."""
    error = record.exc_info[1] if record.exc_info else None
    return "PollerCompletionQueue" in record.getMessage() and str(error) == "Event loop is closed"


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Fails a test after which asyncio or gRPC have complained: a lost task, an exception that nobody saw."""
    caplog.set_level(logging.INFO, "smssim")
    yield
    others = [r for r in caplog.get_records("call") if not r.name.startswith("smssim")]
    complaints = [f"{r.name}: {r.getMessage()}" for r in others if not _is_of_an_earlier_test(r)]
    assert complaints == []
    assert capfd.readouterr().err == ""
