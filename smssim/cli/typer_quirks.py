"""All that depends on how typer is made, rather than on what its documentation promises.

Written for the version below, which a test compares with the installed one: when that changes, each function here is to
be looked at again. Knows typer alone.
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
    """The function, with these parameters in place of its `**given`.

    Relies on this: typer asks `inspect.signature`, which believes `__signature__`, and passes all by name.
    """
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


class _AsGiven:
    """In place of what typer converts the values of a parameter with: leaves them as they are."""

    def coerce(self, value: object, **_: object) -> object:
        return value


def program(app: typer.Typer) -> Any:
    """The program. The switches that typer adds by itself show no type in the help, like those of our own.

    Values reach callbacks as they were given: to convert them, typer loads pydantic, which takes as long as all the
    rest of a command line. Relies on this: a command makes its help option once and keeps it, though
    `help_option_names` come with a context; what is added for completion are parameters of the program, all switches;
    what converts is made when it is first asked for, and kept in an attribute that is not public.
    """
    made: Any = typer.main.get_command(app)
    names = made.context_settings["help_option_names"]
    commands = (made, *made.commands.values())
    help_options = [command.get_help_option(typer.Context(command, help_option_names=names)) for command in commands]
    for switch in (*help_options, *made.params):
        switch.metavar = ""
    for param in chain(help_options, *(command.params for command in commands)):
        param._runtime_param = _AsGiven()  # noqa: SLF001 - relied on, as said above
    return made


def is_from_variable(ctx: typer.Context, param: typer.CallbackParam) -> bool:
    """Whether the value of a parameter comes from its variable.

    Relies on this: the context knows the source of each parameter, as a member of an enum that is not public.
    """
    source = ctx.get_parameter_source(param.name)
    return source is not None and source.name == "ENVIRONMENT"


def wrong_flag(error: TyperException) -> tuple[str, Sequence[str] | None]:
    """The flag that an error is about, if any, and where there is no such flag, the flags that there are.

    Relies on this: the classes of these errors are not public, but the attributes tell them apart. Both the one about
    an unknown flag and the one about a missing or needless value have `option_name`; the first alone has
    `possibilities`, which may be None.
    """
    flag: str = getattr(error, "option_name", "")
    return flag, (error.possibilities or ()) if hasattr(error, "possibilities") else None
