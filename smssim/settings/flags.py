"""Flags, each declared once, as the metadata of the dataclass field that it sets.

Everything else is derived from this declaration: the options of the commands, their environment variables, the keys of
`--sender`, the command lines of child processes and docs/flags.md. Knows dataclasses and rules. Must not know any flag
or command, nor typer. Must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import Any, ClassVar, Final, Self, cast

from smssim.errors import UsageError, bad_value
from smssim.settings.rules import SWITCH, Rule

VARIABLE_PREFIX: Final = "SMSSIM_"
REQUIRED: Final = MISSING  # the default of an argument that must be given


@dataclass(frozen=True)
class Flag:
    """The declaration of one setting's flag or argument."""

    rule: Rule
    metavar: str  # the placeholder for its value in the help; empty for a switch
    panel: str  # the section of the help
    purpose: str  # what it does; see `help`
    default: Any
    unset: str | None = None  # what happens without a value, if the default does not show it
    word: str = ""  # its name without dashes; by default the setting's name
    short: str = ""  # a second name, such as -v
    in_run: bool = True  # whether `smssim run` has it too, or --sender has it as a key
    is_argument: bool = False  # whether it is positional
    several: bool = False  # whether an argument that must be given can be repeated

    @property
    def name(self) -> str:
        """The name as in `--max-time`; for an argument, its name in the help."""
        return self.metavar.strip("[]") if self.is_argument else f"--{self.word}"

    @property
    def is_switch(self) -> bool:
        """Whether the flag has no value."""
        return self.rule is SWITCH

    @property
    def repeats(self) -> bool:
        """Whether the flag can be repeated, which makes its setting a tuple."""
        return self.several or isinstance(self.default, tuple)

    @property
    def is_required(self) -> bool:
        """Whether it must be given."""
        return self.default is REQUIRED

    @property
    def help(self) -> str:
        """The help text: `purpose`, then what the rule accepts, unless `purpose` ends with a full stop."""
        return self.purpose if self.purpose.endswith(".") else f"{self.purpose}: {self.rule.expected}."

    def variable(self, command: str) -> str | None:
        """Return the environment variable that sets it for a command; None if it must be given on the command line."""
        if self.is_required:
            return None
        return f"{VARIABLE_PREFIX}{command}_{self.word}".upper().replace("-", "_")

    def read(self, given: str, label: str | None = None) -> Any:
        """Read a value from text. Raises UsageError, which calls the flag by `label` if given."""
        try:
            value = self.rule.read(given)
        except ValueError:
            value = None
        if value is None or not self.rule.holds(value):
            raise bad_value(label or self.name, given, self.rule.expected, self.rule.near(given))
        return value

    def check(self, setting: Any) -> None:
        """Raise UsageError unless the setting obeys the rule; None, which means that no value was given, is valid."""
        for value in setting if isinstance(setting, tuple) else (setting,):
            if value is not None and not self.rule.holds(value):
                raise self.refuse(value)

    def refuse(self, value: object) -> UsageError:
        """Return the error about an invalid value, which says what the flag expects."""
        return bad_value(self.name, value, self.rule.expected)

    def command_line(self, setting: Any) -> list[str]:
        """Return the words of a command line for this setting."""
        if setting is None or setting is False or setting == "":
            return []
        if setting is True:
            return [self.name]
        values = setting if isinstance(setting, tuple) else (setting,)
        return [str(value) if self.is_argument else f"{self.name}={value}" for value in values]


def flag(default: Any, rule: Rule, metavar: str, panel: str, purpose: str, **more: Any) -> Any:
    """Declare a setting whose flag has a value."""
    return _field(Flag(rule, metavar, panel, purpose, default, **more))


def switch(panel: str, purpose: str, **more: Any) -> Any:
    """Declare a setting that is off unless its flag is given."""
    return _field(Flag(SWITCH, "", panel, purpose, default=False, **more))


def argument(default: Any, rule: Rule, metavar: str, purpose: str, **more: Any) -> Any:
    """Declare a setting whose value is a positional argument; the default may be `REQUIRED`."""
    return _field(Flag(rule, metavar, "", purpose, default, is_argument=True, **more))


def like(kind: type[Any], setting: str, **changes: Any) -> Any:
    """Declare a setting with the flag of the same setting of another class, apart from these changes."""
    return _field(replace(flags_of(kind)[setting], **changes))


def _field(flag: Flag) -> Any:
    return field(default=flag.default, metadata={"flag": flag})


def flags_of(kind: type[Any]) -> Mapping[str, Flag]:
    """Return the flag of each setting that has one: first those of the class itself, then the inherited ones."""
    return _found_in(cast("Any", kind))  # mypy thinks that the class is unhashable, as its instances may be


@cache
def _found_in(kind: Any) -> Mapping[str, Flag]:
    found = {one.name: one.metadata["flag"] for one in fields(kind) if "flag" in one.metadata}
    classes = [base for base in kind.__mro__ if is_dataclass(base)]
    inherited = {one.name: depth for depth, base in enumerate(classes) for one in fields(base)}  # the last base wins
    return {
        setting: replace(found[setting], word=found[setting].word or setting.replace("_", "-"))
        for setting in sorted(found, key=inherited.__getitem__)
    }


def command_line(settings: Any) -> list[str]:
    """Return the words of a command line for these settings."""
    flags = flags_of(type(settings)).items()
    return [word for setting, flag in flags for word in flag.command_line(getattr(settings, setting))]


@dataclass(frozen=True)
class Checked:
    """Settings whose values are checked by the rules of their flags."""

    variables: ClassVar[Mapping[str, str]] = {}  # of settings without a flag, by setting; see `from_flags`

    def __post_init__(self) -> None:
        for setting, flag in flags_of(type(self)).items():
            flag.check(getattr(self, setting))

    @classmethod
    def flags(cls) -> Mapping[str, Flag]:
        """Return the flags of the command that has these settings, by the names that `from_flags` expects."""
        return flags_of(cls)

    @classmethod
    def from_flags(cls, given: Mapping[str, Any], token: str | None) -> Self:
        """Return the settings for these values of flags, and the token if they include it. Raises UsageError.

        `given` has only the flags and the `variables` that were given. A repeatable flag has a tuple.
        """
        return cls(**given)
