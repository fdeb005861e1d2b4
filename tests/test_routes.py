"""The worked examples of docs/routes.md: they agree with what was published, and with arithmetic."""

from pathlib import Path

import pytest

from smssim.plan.scale import scale_for
from smssim.plan.seeds import Play, play
from smssim.settings import PlanSettings
from smssim.settings.scenario_file import read_scenario
from smssim.settings.senders import spans_of

FOLDER = Path(__file__).parent.parent / "docs/scenarios"


def played(name: str, **more: object) -> Play:
    """Return a play of an example, scaled down."""
    settings = PlanSettings.from_flags({"scenario": str(FOLDER / name), **more}, None)
    scenario = settings.planned()
    return play(scenario, 1, scale_for(scenario, 50_000))


@pytest.mark.parametrize(
    ("name", "minutes"), [("shortcodes.yaml", 11.27), ("estonia.yaml", 28.4), ("belgium.yaml", 56.7)]
)
def test_an_example_takes_as_long_as_the_page_says(name: str, minutes: float) -> None:
    assert (played(name).reached_s[95] or 0.0) / 60 == pytest.approx(minutes, rel=0.005)


@pytest.mark.parametrize(("name", "minutes"), [("estonia.yaml", 30.0), ("belgium.yaml", 60.0)])
def test_an_example_is_complete_when_the_real_one_was(name: str, minutes: float) -> None:
    assert (played(name).complete_s or 0.0) / 60 == pytest.approx(minutes, rel=0.01)


def test_who_is_looked_up_by_address_is_reached_fast_or_never() -> None:
    found = played("australia.yaml")
    assert found.reached_s[80] is None
    assert (found.reached_reachable_s[95] or 0.0) == pytest.approx(193, rel=0.01)
    assert found.unreachable / (found.sent + found.failed) == pytest.approx(0.33, abs=0.01)


def test_every_example_is_a_valid_scenario() -> None:
    names = {path.name for path in FOLDER.glob("*.yaml")}
    ranges = {name for name in names if spans_of(read_scenario(str(FOLDER / name)).senders)}
    assert ranges == {"cheapest.yaml"}
