"""The log: a line on stderr per event of a node, as text for people or as JSON for programs.

A message never breaks a line: control characters in names or from peers are escaped. Knows logging. Must not know what
nodes do.
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
_FIELDS: Final = "fields"  # the attribute of a record with the extra fields of a JSON line


class NodeLog(Log):
    """A log whose lines begin with the name of the node. `fields`, a dictionary, appear only in JSON lines."""

    def log(self, level: int, msg: object, *args: object, **more: Any) -> None:
        """Log a message. Without arguments, a `%` in it is literal."""
        if self.isEnabledFor(level):
            name = str((self.extra or {}).get("node", ""))
            text = "%s: " + (str(msg) if args else str(msg).replace("%", "%%"))
            more["extra"] = {"node": name, _FIELDS: more.pop(_FIELDS, {})}
            self.logger.log(level, text, name, *args, **more)


def node_log(name: str) -> Log:
    """Return the log of the node with this name."""
    return NodeLog(logging.getLogger(ROOT), {"node": name})


class TextLines(logging.Formatter):
    """Lines with the local time, the node and the message. A stack trace keeps its lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """Return the escaped line, without a stack trace."""
        return escape(super().formatMessage(record), width=None)


class JsonLines(logging.Formatter):
    """Lines with one object each: `time` (ISO 8601, UTC), `level`, `node`, `message`, and the message's `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
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
    """Send the log to stderr from now on. From libraries, only warnings and errors are logged."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.getLogger(ROOT).setLevel(level)
    logging.raiseExceptions = False  # a failed write to stderr causes no stack trace
