"""Makes docs/flags.md anew from the settings of each command, or the file that is named: scripts/gen_flags.py [FILE].

Run with .venv/bin/python.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from smssim.cli.commands import COMMANDS, Command
from smssim.settings import TOKEN_VARIABLE, Flag

FILE: Final = Path(__file__).parent.parent / "docs" / "flags.md"
TOP: Final = f"""\
<!-- Made from smssim/settings by scripts/gen_flags.py, never edited. -->

# Flags

Each flag has a variable; the flag wins. An empty variable counts as none. `{TOKEN_VARIABLE}` holds the token that all
nodes share. A default in words says what happens without a value. Every command also has `-h` and `--help`.
"""


def page(commands: Iterable[Command]) -> str:
    """The whole file."""
    return TOP + "".join("\n" + "\n".join(section(command)) + "\n" for command in commands)


def section(command: Command) -> Iterator[str]:
    """The lines about one command: what it is for, examples, and a table for each panel of its help."""
    yield from (f"## smssim {command.name}", "", command.says, "", "```sh", *command.examples, "```")
    panels: dict[str, list[Flag]] = {}
    for flag in command.flags.values():
        panels.setdefault(flag.panel or "Arguments", []).append(flag)
    for panel, flags in panels.items():
        yield from ("", f"### {panel}", "", "| flag | variable | default | what it means |", "|---|---|---|---|")
        yield from (row(flag, flag.variable(command.name)) for flag in flags)


def row(flag: Flag, variable: str | None) -> str:
    """The line of a table about one flag."""
    names = [name for name in (flag.short, flag.name) if name]
    words = flag.metavar if flag.is_argument else f"{', '.join(names)} {flag.metavar}".strip()
    default = "required" if flag.is_required else "off" if flag.is_switch else flag.unset or str(flag.default)
    return f"| `{words}` | {f'`{variable}`' if variable else ''} | {_plain(default)} | {_plain(flag.help)} |"


def _plain(text: str) -> str:
    return re.sub(r"([\\|<>*_`\[\]])", r"\\\1", text)


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else FILE).write_text(page(COMMANDS.values()), encoding="utf-8")
