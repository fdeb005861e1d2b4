"""The errors, grouped by whose fault they are, and the exit codes of all commands.

`net.rpc` maps these errors to gRPC status codes, `cli` maps them to exit codes. Imports only `escaping`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from smssim.escaping import quote


class ExitCode(IntEnum):
    """The result of a node or a run, as the exit code of its process."""

    OK = 0  # the run is complete and its totals agree, or a sender drained or finished
    INTERNAL = 1  # a bug
    USAGE = 2  # an invalid flag, address, version or token
    INCOMPLETE = 3  # ended before the run was complete
    DISAGREE = 4  # the totals disagree
    THRESHOLD = 5  # complete, but a threshold was missed
    INTERRUPTED = 130  # interrupted twice


def worst(codes: Iterable[int]) -> ExitCode:
    """Return the most serious of several exit codes: OK if there are none, INTERNAL if one is not an ExitCode."""
    bad = set(codes)
    if bad - set(ExitCode):
        return ExitCode.INTERNAL
    for code in (ExitCode.INTERNAL, ExitCode.DISAGREE, ExitCode.USAGE, ExitCode.INCOMPLETE, ExitCode.THRESHOLD):
        if code in bad:
            return code
    return ExitCode.INCOMPLETE if ExitCode.INTERRUPTED in bad else ExitCode.OK


class SmssimError(Exception):
    """An error that is shown to the user, or sent to a peer, as one line of text."""

    exit_code = ExitCode.INTERNAL


class UsageError(SmssimError):
    """The user's fault: a flag, a variable, an address or a file that can't be used."""

    exit_code = ExitCode.USAGE


class JournalError(UsageError):
    """The user's fault: a journal that can't be used. It was left unchanged."""


class NotSavedError(SmssimError):
    """The disk's fault: the last changes could not be written to the journal. They were not acknowledged."""

    exit_code = ExitCode.INCOMPLETE


class FencedError(NotSavedError):
    """Another node has taken over. The last changes were not saved and not acknowledged."""


class DamagedLogError(SmssimError):
    """The engine's fault: acknowledged records of a log are missing or damaged, so the state can't be restored."""

    exit_code = ExitCode.INCOMPLETE


class PeerError(SmssimError):
    """The peer's fault: what it sent violates the protocol. None of it was applied."""

    exit_code = ExitCode.USAGE  # if the node can't continue without that peer


class TooLargeError(PeerError):
    """The peer's fault: a request that exceeds a limit."""


class LaterError(PeerError):
    """No lasting fault of the peer: the same request may succeed later."""


class OverError(PeerError):
    """No fault of the peer: it concerns a run that has ended in the meantime."""


class VersionError(PeerError):
    """The peer's fault: it uses another version of the protocol."""


class RefusedError(SmssimError):
    """A peer refused this node, and another attempt would not help."""

    exit_code = ExitCode.USAGE


class GoneError(SmssimError):
    """A peer that was connected before has been unreachable for longer than `--give-up`."""

    exit_code = ExitCode.INCOMPLETE


def bad_value(flag: str, got: object, expected: str, near: str | None = None) -> UsageError:
    """Return the usual error about a value. `expected` says what was expected, `near` what was perhaps meant."""
    return bad(flag, quote(got), expected, near)


def bad(what: str, shown: str, expected: str, near: str | None = None) -> UsageError:
    """Return the usual error about something that can't be quoted, such as a list; `shown` says what it is."""
    return UsageError(f"{what}: got {shown}; expected {expected}" + (f"; did you mean {near}?" if near else ""))


def bad_file(flag: str, path: str, expected: str, error: OSError | ValueError) -> UsageError:
    """Return the error about a file that can't be opened: as `bad_value`, with the reason in parentheses."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return bad_value(flag, path, f"{expected} ({reason.lower()})")
