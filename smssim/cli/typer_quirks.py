"""Everything that depends on the implementation of typer rather than on its documentation.

Written for the version below, which a test compares with the installed one: when it changes, check each function here
again. Knows only typer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

import typer
from typer.exceptions import TyperException

WRITTEN_FOR: Final = "0.29.2"


def with_parameters(function: Callable[..., int], parameters: Sequence[inspect.Parameter]) -> Callable[..., int]:
    """Return the function, with these parameters in place of its `**given`.

    Relies on this: typer calls `inspect.signature`, which returns `__signature__`, and passes all arguments by name.
    """
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


class _AsGiven:
    """A replacement for typer's conversion of the values of a parameter, which leaves them unchanged."""

    def coerce(self, value: object, **_: object) -> object:
        return value


def program(app: typer.Typer) -> Any:
    """Return the program of an app. In its help, the switches that typer adds show no type, like our own.

    Callbacks get values as text: to convert them, typer would load pydantic, which takes as long as everything else
    that a command line needs. Relies on this:

    - a command makes its help option once and keeps it, although `help_option_names` come from a context;
    - the options for completion are parameters of the program, and all of them are switches;
    - the object that converts a parameter's values is made on first use and kept in a private attribute.
    """
    made: Any = typer.main.get_command(app)
    names = made.context_settings["help_option_names"]
    commands = (made, *made.commands.values())
    help_options = [command.get_help_option(typer.Context(command, help_option_names=names)) for command in commands]
    for switch in (*help_options, *made.params):
        switch.metavar = ""
    for param in chain(help_options, *(command.params for command in commands)):
        param._runtime_param = _AsGiven()  # noqa: SLF001 - see the docstring
    return made


def is_from_variable(ctx: typer.Context, param: typer.CallbackParam) -> bool:
    """Return whether the value of a parameter comes from its environment variable."""
    return _source(ctx, param) == "ENVIRONMENT"


def is_given(ctx: typer.Context, param: typer.CallbackParam) -> bool:
    """Return whether the value of a parameter comes from the command line or its variable, so is not its default."""
    return _source(ctx, param) in ("COMMANDLINE", "ENVIRONMENT")


def _source(ctx: typer.Context, param: typer.CallbackParam) -> str:
    """Return where the value of a parameter comes from.

    Relies on this: the context knows the source of each parameter, as a member of a private enum.
    """
    source = ctx.get_parameter_source(param.name)
    return "" if source is None else source.name


def wrong_flag(error: TyperException) -> tuple[str, Sequence[str] | None]:
    """Return the flag that an error is about, or "", and if the flag is unknown, the known flags, otherwise None.

    Relies on this: the classes of these errors are private, but their attributes differ. The error about an unknown
    flag and the one about a missing or unexpected value both have `option_name`. Only the first has `possibilities`,
    which may be None.
    """
    flag: str = getattr(error, "option_name", "")
    return flag, (error.possibilities or ()) if hasattr(error, "possibilities") else None
