"""What the settings of the live page have to obey. Knows only settings. Must stay cheap to import."""

from __future__ import annotations

import ipaddress
from typing import Final, Protocol

from smssim.errors import UsageError, bad_value
from smssim.settings.addresses import is_host, is_loopback
from smssim.settings.rules import Rule, text

COMMAND_VARIABLE: Final = "SMSSIM_RUN_COMMAND"  # set by `smssim run` for its monitor
TITLE_CHARACTERS_MAX: Final = 100


def _is_own_host(got: str) -> bool:
    if ":" not in got:
        return is_host(got)
    try:
        return bool(ipaddress.IPv6Address(got))
    except ValueError:
        return False


TITLE: Final[Rule] = text(
    f"printable text of at most {TITLE_CHARACTERS_MAX} characters",
    lambda got: got.isprintable() and len(got) <= TITLE_CHARACTERS_MAX,
)
HOST: Final[Rule] = text("the name or the IP address of this machine, without a port", _is_own_host)


class PageSettings(Protocol):
    """The settings that concern the page."""

    @property
    def web(self) -> int | None: ...  # noqa: D102 - see MonitorSettings
    @property
    def web_listen(self) -> str | None: ...  # noqa: D102
    @property
    def tls_cert(self) -> str | None: ...  # noqa: D102
    @property
    def insecure(self) -> bool: ...  # noqa: D102


def check_page(settings: PageSettings) -> None:
    """Raise UsageError if the page can't be served with these settings."""
    if settings.web_listen is None:
        return
    if settings.web is None:
        raise UsageError("--web is required with --web-listen")
    if not (settings.insecure or settings.tls_cert or is_loopback(f"[{settings.web_listen}]:0")):
        expected = "a loopback address, or any address with --tls-cert or --insecure"
        raise bad_value("--web-listen", settings.web_listen, expected)
