"""The settings of all nodes and commands, each declared together with its flag.

Other packages import from here. A new flag is a field of one class in this package. Must stay cheap to import:
`smssim --help` loads it.
"""

from smssim.settings.addresses import (
    FREE_ADDRESS,
    addresses_words,
    are_addresses,
    each_address,
    is_loopback,
    split_address,
)
from smssim.settings.commands import (
    AGREEMENT,
    BENCH_CASES,
    BenchSettings,
    CertsSettings,
    HistorySettings,
    PresetsSettings,
    ReportSettings,
    ScenarioSettings,
    TraceSettings,
    WatchSettings,
)
from smssim.settings.engine import (
    ENGINE_PASSWORD_VARIABLE,
    ENGINE_TOKEN_VARIABLE,
    ENGINE_USER_VARIABLE,
    EngineSettings,
)
from smssim.settings.find import Find
from smssim.settings.flags import VARIABLE_PREFIX, Checked, Flag, command_line, flags_of
from smssim.settings.monitor import MonitorSettings
from smssim.settings.producer import ProducerSettings
from smssim.settings.runs import PlanSettings, RunSettings
from smssim.settings.sender import DISTRIBUTIONS, SenderSettings
from smssim.settings.senders import copy_names, sender_names, spans_of
from smssim.settings.shared import (
    TOKEN_CHARACTERS_MAX,
    TOKEN_CHARACTERS_MIN,
    TOKEN_EXPECTED,
    TOKEN_VARIABLE,
    AccessSettings,
    LogSettings,
)

__all__ = [
    "AGREEMENT",
    "BENCH_CASES",
    "DISTRIBUTIONS",
    "ENGINE_PASSWORD_VARIABLE",
    "ENGINE_TOKEN_VARIABLE",
    "ENGINE_USER_VARIABLE",
    "FREE_ADDRESS",
    "TOKEN_CHARACTERS_MAX",
    "TOKEN_CHARACTERS_MIN",
    "TOKEN_EXPECTED",
    "TOKEN_VARIABLE",
    "VARIABLE_PREFIX",
    "AccessSettings",
    "BenchSettings",
    "CertsSettings",
    "Checked",
    "EngineSettings",
    "Find",
    "Flag",
    "HistorySettings",
    "LogSettings",
    "MonitorSettings",
    "PlanSettings",
    "PresetsSettings",
    "ProducerSettings",
    "ReportSettings",
    "RunSettings",
    "ScenarioSettings",
    "SenderSettings",
    "TraceSettings",
    "WatchSettings",
    "addresses_words",
    "are_addresses",
    "command_line",
    "copy_names",
    "each_address",
    "flags_of",
    "is_loopback",
    "sender_names",
    "spans_of",
    "split_address",
]
