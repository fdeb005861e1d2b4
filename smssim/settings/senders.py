"""The senders of a run: those of a plain one, and how others are read from `--sender`.

Knows the settings of a sender. Must stay cheap to import, as they are.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Final

from smssim.errors import UsageError, bad_value
from smssim.settings.flags import flags_of
from smssim.settings.nodes import SenderSettings
from smssim.settings.shared import NodeSettings

RUN_SENDERS: Final = (  # 500 messages a second together: 200, 160, 100 and 40
    SenderSettings(name="quick", mean_s=0.02, fail=0.02, concurrency=4),
    SenderSettings(name="steady", mean_s=0.05, fail=0.05, concurrency=8),
    SenderSettings(name="shaky", mean_s=0.1, fail=0.3, concurrency=10, distribution="lognormal"),
    SenderSettings(name="slow", mean_s=0.5, fail=0.1, concurrency=20, distribution="exponential"),
)
RUN_COUNT: Final = 5000  # ten seconds of these senders

# The word of each key, as that of its flag, and its setting. What all nodes of a run have alike is no key.
SENDER_KEYS: Final = {
    flag.word: setting
    for setting, flag in flags_of(SenderSettings).items()
    if flag.in_run and setting not in flags_of(NodeSettings)
}
SENDER_TAKES: Final = f"key=value,... with the keys {', '.join(SENDER_KEYS)}"


def parse_sender(spec: str) -> SenderSettings:
    """A sender from `mean=0.05,fail=0.1`, the value of `run --sender`; raises UsageError."""
    given: dict[str, Any] = {}
    for part in spec.split(","):
        key, equals, text = part.strip().partition("=")
        key = key.strip().replace("_", "-")
        if key not in SENDER_KEYS or not equals:
            near = [] if key in SENDER_KEYS else get_close_matches(key.lower(), SENDER_KEYS, n=1)
            raise bad_value("--sender", part, SENDER_TAKES, *near)
        setting = SENDER_KEYS[key]
        if setting in given:
            raise bad_value("--sender", f"{key} twice in {spec}", "each key once")
        given[setting] = flags_of(SenderSettings)[setting].read(text.strip(), f"--sender: {key}")
    try:
        return SenderSettings(**given)
    except UsageError as error:  # the settings together, not one of them
        raise UsageError("--sender: " + str(error).removeprefix("--")) from error
