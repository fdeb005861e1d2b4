"""Everything that can go wrong, by whose fault it is, and the exit codes of every command.

Knows how values are shown and no other module. `net.rpc` maps these errors to gRPC status codes, `cli` to exit codes.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from smssim.escaping import quote


class ExitCode(IntEnum):
    """How a node or a run ended."""

    OK = 0  # the run is complete and adds up, or a sender drained or finished
    INTERNAL = 1  # a bug
    USAGE = 2  # a wrong flag, address, version or token
    INCOMPLETE = 3  # ended before the run was complete
    DISAGREE = 4  # the count does not add up
    THRESHOLD = 5  # complete, but a threshold was missed
    INTERRUPTED = 130  # interrupted twice


def worst(codes: Iterable[int]) -> ExitCode:
    """Return the code that says most about several parts of a run; INTERNAL where one is not of ours, OK for none."""
    bad = set(codes)
    if bad - set(ExitCode):
        return ExitCode.INTERNAL
    for code in (ExitCode.INTERNAL, ExitCode.DISAGREE, ExitCode.USAGE, ExitCode.INCOMPLETE, ExitCode.THRESHOLD):
        if code in bad:
            return code
    return ExitCode.INCOMPLETE if ExitCode.INTERRUPTED in bad else ExitCode.OK


class SmssimError(Exception):
    """Any error that the user or a peer should read as one plain line."""

    exit_code = ExitCode.INTERNAL


class UsageError(SmssimError):
    """The operator's fault: a flag, a variable, an address or a file that can't be used."""

    exit_code = ExitCode.USAGE


class JournalError(UsageError):
    """The operator's fault: a journal that can't be used. It was left as it was."""


class NotSavedError(SmssimError):
    """The disk's fault: what came last could not be written to the journal, and was not acknowledged."""

    exit_code = ExitCode.INCOMPLETE


class PeerError(SmssimError):
    """The peer's fault: what it sent breaks the protocol. Nothing of it was applied."""

    exit_code = ExitCode.USAGE  # where a node can't go on without that peer


class TooLargeError(PeerError):
    """The peer's fault: a request beyond a bound."""


class LaterError(PeerError):
    """Nothing that the peer did wrong, or not for long: asking again later may help."""


class VersionError(PeerError):
    """The peer's fault: it speaks another version of the protocol."""


class RefusedError(SmssimError):
    """A peer has refused this node, and asking again would not help."""

    exit_code = ExitCode.USAGE


class GoneError(SmssimError):
    """A peer that was met before is gone for longer than this node waits."""

    exit_code = ExitCode.INCOMPLETE


def bad_value(flag: str, got: object, takes: str, near: str | None = None) -> UsageError:
    """The one form of a usage error: the flag, what it got, what it takes, and what may have been meant."""
    return UsageError(f"{flag}: got {quote(got)}; takes {takes}" + (f"; did you mean {near}?" if near else ""))


def bad_file(flag: str, path: str, takes: str, error: OSError | ValueError) -> UsageError:
    """The error that says why a file can't be opened for what it is to be."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return bad_value(flag, path, f"{takes} ({reason.lower()})")
