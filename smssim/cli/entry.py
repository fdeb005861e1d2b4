"""The entry point: runs the command that the arguments name, or reports what is wrong with them in one line.

Knows errors and exit codes. Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NoReturn

from typer.exceptions import TyperException

from smssim.cli import options, typer_quirks
from smssim.cli.commands import COMMANDS
from smssim.errors import ExitCode, SmssimError, bad_value
from smssim.escaping import quote
from smssim.process import libraries, streams
from smssim.settings import TOKEN_VARIABLE, VARIABLE_PREFIX, Flag


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command in `args` (by default the program's arguments) and exit with its exit code."""
    libraries.configure()
    words = list(sys.argv[1:] if args is None else args) or ["--help"]
    program = f"smssim {words[0]}" if words[0] in COMMANDS else "smssim"
    try:
        code = _answer(words)
    except SmssimError as error:
        code = error.exit_code
        print(f"{program}: {error}", file=sys.stderr)
    except TyperException as error:
        code = ExitCode.USAGE
        flags = {flag.name: flag for flag in COMMANDS[words[0]].flags.values()} if words[0] in COMMANDS else {}
        print(f"{program}: {_in_one_line(error, program, flags)}", file=sys.stderr)
    sys.stdout.flush()
    reason = streams.news_of_loss()
    if reason is not None:
        print(f"{program}: can't write to stdout: {reason}", file=sys.stderr)
    sys.exit(ExitCode.INCOMPLETE if code == ExitCode.OK and streams.has_lost() else code)


def _answer(words: list[str]) -> int:
    if words[0] not in COMMANDS and not words[0].startswith("-"):
        *most, last = COMMANDS
        near = get_close_matches(words[0], COMMANDS, n=1)
        raise bad_value("command", words[0], f"{', '.join(most)} or {last}", *near)
    if words[0] in COMMANDS and not {"-h", "--help"} & set(words):
        _warn_of_variables(words[0])
    commands = [COMMANDS[words[0]]] if words[0] in COMMANDS else [*COMMANDS.values()]  # loading only one saves 20 ms
    return int(options.program(commands)(words, prog_name="smssim", standalone_mode=False) or ExitCode.OK)


def _warn_of_variables(name: str) -> None:
    """Warn of each variable that is named like ours but unknown, on a line of its own."""
    given = [variable for variable in os.environ if variable.startswith(VARIABLE_PREFIX)]
    if not given:
        return
    known = {TOKEN_VARIABLE}
    for command in COMMANDS.values():
        known |= {variable for flag in command.flags.values() if (variable := flag.variable(command.name))}
        known |= {*command.settings.variables.values()}
    ends = sorted(variable.removeprefix(VARIABLE_PREFIX) for variable in known)  # the prefix would make all similar
    for variable in sorted({*given} - known):
        near = get_close_matches(variable.removeprefix(VARIABLE_PREFIX), ends, n=1, cutoff=0.75)
        hint = f"did you mean {VARIABLE_PREFIX}{near[0]}?" if near else f"see smssim {name} --help"
        print(f"smssim {name}: {quote(variable)}: unknown variable; {hint}", file=sys.stderr)


def _in_one_line(error: TyperException, program: str, flags: Mapping[str, Flag]) -> str:
    """Return one of typer's errors about flags and values, in the form of our own errors."""
    name, possible = typer_quirks.wrong_flag(error)
    if possible is not None:
        near = get_close_matches(name, possible, n=1, cutoff=0.75)
        return f"{quote(name)}: unknown flag; " + (f"did you mean {near[0]}?" if near else f"see {program} --help")
    if name in flags:
        flag = flags[name]
        got, expected = ("a value", "none") if flag.is_switch else ("no value", flag.rule.expected)
        return f"{name}: got {got}; expected {expected}"
    message = " ".join(error.format_message().split()).rstrip(".")
    return f"{message[:1].lower()}{message[1:]}; see {program} --help"
