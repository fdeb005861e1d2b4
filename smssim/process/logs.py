"""The log: lines on stderr that tell a node's story, as text for people or as JSON for programs.

A line is never torn: what a peer or a name brought along is escaped. Knows logging. Must not know what nodes do.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

from smssim.escaping import escape
from smssim.settings import LogSettings

Log = logging.LoggerAdapter[logging.Logger]

ROOT: Final = "smssim"
_FIELDS: Final = "fields"  # of a record: what a JSON line has beside its message


class NodeLog(Log):
    """Log lines that begin with the name of the node. `fields`, a dictionary, are for the JSON line alone."""

    def log(self, level: int, msg: object, *args: object, **more: Any) -> None:
        """Logs a message; a `%` in a name is taken as it is."""
        if self.isEnabledFor(level):
            name = str((self.extra or {}).get("node", ""))
            text = "%s: " + (str(msg) if args else str(msg).replace("%", "%%"))
            more["extra"] = {"node": name, _FIELDS: more.pop(_FIELDS, {})}
            self.logger.log(level, text, name, *args, **more)


def node_log(name: str) -> Log:
    """The log of the node of this name."""
    return NodeLog(logging.getLogger(ROOT), {"node": name})


class TextLines(logging.Formatter):
    """The local time, the node and the message; a stack trace stays as it is."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """Without the stack trace."""
        return escape(super().formatMessage(record), width=None)


class JsonLines(logging.Formatter):
    """One object a line: `time` (ISO 8601, UTC), `level`, `node`, `message`, and the fields of the message."""

    def format(self, record: logging.LogRecord) -> str:
        """A whole line."""
        node = getattr(record, "node", record.name)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "node": node,
            "message": record.getMessage().removeprefix(f"{node}: "),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up(settings: LogSettings) -> None:
    """Sends what is logged from now on to stderr. What libraries say is heard from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.getLogger(ROOT).setLevel(level)
    logging.raiseExceptions = False  # a log that nobody can read is no reason for a stack trace
