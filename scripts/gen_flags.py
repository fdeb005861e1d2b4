"""Regenerate docs/flags.md, or another file, from the settings of each command: scripts/gen_flags.py [FILE].

Run it with .venv/bin/python.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from smssim.cli.commands import COMMANDS, Command
from smssim.settings import (
    ENGINE_PASSWORD_VARIABLE,
    ENGINE_TOKEN_VARIABLE,
    ENGINE_USER_VARIABLE,
    TOKEN_VARIABLE,
    Flag,
)

FILE: Final = Path(__file__).parent.parent / "docs" / "flags.md"
TOP: Final = f"""\
<!-- Generated from smssim/settings by scripts/gen_flags.py. Do not edit. -->

# Flags

Each flag can also be set with an environment variable, `SMSSIM_<COMMAND>_<FLAG>`. If both are given, the flag takes
precedence. An empty variable counts as not set. A repeatable flag takes several values from its variable, separated
by spaces. A variable that begins with `SMSSIM_` and belongs to no flag is reported at the start, with the nearest name.
`{TOKEN_VARIABLE}` holds the token that all nodes share. `{ENGINE_TOKEN_VARIABLE}`, or `{ENGINE_USER_VARIABLE}` and
`{ENGINE_PASSWORD_VARIABLE}`, hold what the servers of an engine ask for. Every command also has `-h` and `--help`, and
`smssim --install-completion` sets up completion of commands, flags and values in your shell.

The column "meaning" says what a flag does and, after the colon, what it expects. A default in words says what happens
if the flag is not given.
"""


def page(commands: Iterable[Command]) -> str:
    """Return the whole file."""
    return TOP + "".join("\n" + "\n".join(section(command)) + "\n" for command in commands)


def section(command: Command) -> Iterator[str]:
    """Yield the lines about one command: its description, its examples, and a table for each panel of its help."""
    yield from (f"## smssim {command.name}", "", command.purpose, "", "```sh", *command.examples, "```")
    panels: dict[str, list[Flag]] = {}
    for flag in command.flags.values():
        panels.setdefault(flag.panel or "Arguments", []).append(flag)
    for panel, flags in panels.items():
        yield from ("", f"### {panel}", "", "| flag | variable | default | meaning |", "|---|---|---|---|")
        yield from (row(flag, flag.variable(command.name)) for flag in flags)


def row(flag: Flag, variable: str | None) -> str:
    """Return the row of a table for one flag."""
    names = [name for name in (flag.short, flag.name) if name]
    words = flag.metavar if flag.is_argument else f"{', '.join(names)} {flag.metavar}".strip()
    default = "required" if flag.is_required else "off" if flag.is_switch else flag.unset or str(flag.default)
    return f"| `{words}` | {f'`{variable}`' if variable else ''} | {_plain(default)} | {_plain(flag.help)} |"


def _plain(text: str) -> str:
    return re.sub(r"([\\|<>*_`\[\]])", r"\\\1", text)


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else FILE).write_text(page(COMMANDS.values()), encoding="utf-8")
