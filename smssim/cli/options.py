"""The typer program for the commands, with an option or an argument for each flag of their settings.

Uses typer as it is documented. What depends on its implementation is in `typer_quirks`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer

from smssim import __version__
from smssim.cli import typer_quirks
from smssim.cli.commands import Command
from smssim.settings import TOKEN_VARIABLE, Flag


def program(commands: Iterable[Command]) -> Any:
    """Return a callable that runs the words of a command line and returns the exit code of the command."""
    app = typer.Typer(
        epilog="Examples:\nsmssim run\nsmssim sender --help",
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback()(smssim)
    for command in commands:
        app.command(command.name, help=command.purpose, epilog="Examples:\n" + "\n".join(command.examples))(
            _made(command)
        )
    return typer_quirks.program(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"smssim {__version__}")
        raise typer.Exit


def smssim(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", metavar="", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Rehearse a mass SMS alert: a producer delivers messages, senders send them, a monitor counts the outcomes."""


def _made(command: Command) -> Callable[..., int]:
    """Return a function with a parameter per flag of the command, named like the setting; typer reads its signature."""
    flags = command.flags

    def serve(**given: Any) -> int:
        values = {
            setting: tuple(value) if flags[setting].repeats else value
            for setting, value in given.items()
            if value is not None
        }
        secrets = {setting: os.environ.get(variable) for setting, variable in command.settings.variables.items()}
        values |= {setting: secret for setting, secret in secrets.items() if secret}
        return command.serve(command.settings.from_flags(values, os.environ.get(TOKEN_VARIABLE) or None))

    return typer_quirks.with_parameters(
        serve, [_parameter(setting, flag, flag.variable(command.name)) for setting, flag in flags.items()]
    )


def _parameter(setting: str, flag: Flag, variable: str | None) -> inspect.Parameter:
    default: Any = None if flag.repeats else flag.default
    return inspect.Parameter(
        setting,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if flag.is_required else default,
        annotation=Annotated[list[str] if flag.repeats else flag.rule.kind, _option(flag, variable)],
    )


def _option(flag: Flag, variable: str | None) -> Any:
    words = flag.rule.words
    common: dict[str, Any] = {
        "help": flag.help,
        "metavar": flag.metavar,
        "envvar": variable,
        "callback": _reader(flag, variable),
    }
    if flag.is_argument:
        return typer.Argument(**common)
    return typer.Option(
        flag.name,
        *filter(None, [flag.short]),
        rich_help_panel=flag.panel,
        show_default=not flag.is_switch and (flag.unset or True),
        autocompletion=(lambda: list(words)) if words else None,
        **common,
    )


def _reader(flag: Flag, variable: str | None) -> Callable[..., Any]:
    """Return a callback that reads the text from the command line or from the variable; without one, None."""

    def read(ctx: typer.Context, param: typer.CallbackParam, value: object) -> object:
        if value is None or not typer_quirks.is_given(ctx, param):
            return None
        label = f"{flag.name} ({variable})" if typer_quirks.is_from_variable(ctx, param) else flag.name
        if isinstance(value, list | tuple):
            return [flag.read(str(one), label) for one in value]
        return flag.read(str(value), label)

    return read
