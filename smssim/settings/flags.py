"""A flag, said once: beside the setting that it sets, as the metadata of a dataclass field.

The options of the commands, their variables, the keys of `--sender`, the command line of a child process and
docs/flags.md are all made of what stands there. Knows dataclasses and rules. Must not know any flag or command, nor
typer; must stay cheap to import: `smssim --help` loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import Any, Final, Self, cast

from smssim.errors import UsageError, bad_value
from smssim.settings.rules import SWITCH, Rule

VARIABLE_PREFIX: Final = "SMSSIM_"
REQUIRED: Final = MISSING  # the default of an argument that has none


@dataclass(frozen=True)
class Flag:
    """What there is to say about the flag, or the argument, of one setting."""

    rule: Rule
    metavar: str  # of its value; empty for a switch
    panel: str  # of the help
    says: str  # what it is for; see `help`
    default: Any
    unset: str | None = None  # what no value means, where the default does not say it
    word: str = ""  # its name without dashes; by default that of the setting
    short: str = ""  # another name, as in -v
    in_run: bool = True  # `smssim run` has it too, or --sender has it as a key
    is_argument: bool = False  # given by its place, without a name

    @property
    def name(self) -> str:
        """`--max-time`; of an argument what the help calls it."""
        return self.metavar.strip("[]") if self.is_argument else f"--{self.word}"

    @property
    def is_switch(self) -> bool:
        """Whether it is either there or not."""
        return self.rule is SWITCH

    @property
    def repeats(self) -> bool:
        """Whether it can be given any number of times: its setting is a tuple."""
        return isinstance(self.default, tuple)

    @property
    def is_required(self) -> bool:
        """Whether there is no command without it."""
        return self.default is REQUIRED

    @property
    def help(self) -> str:
        """What it is for, completed by what its rule takes unless it is a whole sentence already."""
        return self.says if self.says.endswith(".") else f"{self.says}: {self.rule.takes}."

    def variable(self, command: str) -> str | None:
        """The variable that sets it for a command; None for what has to be given."""
        if self.is_required:
            return None
        return f"{VARIABLE_PREFIX}{command}_{self.word}".upper().replace("-", "_")

    def read(self, given: str, label: str | None = None) -> Any:
        """The value that a text stands for; raises UsageError, which names the flag by `label` if there is one."""
        try:
            value = self.rule.read(given)
        except ValueError:
            value = None
        if value is None or not self.rule.holds(value):
            raise bad_value(label or self.name, given, self.rule.takes, self.rule.near(given))
        return value

    def check(self, setting: Any) -> None:
        """Raises UsageError unless the rule holds; None is a value that was not given."""
        for value in setting if isinstance(setting, tuple) else (setting,):
            if value is not None and not self.rule.holds(value):
                raise self.refuse(value)

    def refuse(self, value: object) -> UsageError:
        """The error that says what the flag takes instead of this value."""
        return bad_value(self.name, value, self.rule.takes)

    def command_line(self, setting: Any) -> list[str]:
        """The words that give this setting to a command."""
        if setting is None or setting is False or setting == "":
            return []
        if setting is True:
            return [self.name]
        values = setting if isinstance(setting, tuple) else (setting,)
        return [str(value) if self.is_argument else f"{self.name}={value}" for value in values]


def flag(default: Any, rule: Rule, metavar: str, panel: str, says: str, **more: Any) -> Any:
    """The field of a setting that is set by a flag with a value."""
    return _field(Flag(rule, metavar, panel, says, default, **more))


def switch(panel: str, says: str, **more: Any) -> Any:
    """The field of a setting that is off unless its flag is there."""
    return _field(Flag(SWITCH, "", panel, says, default=False, **more))


def argument(default: Any, rule: Rule, metavar: str, says: str, **more: Any) -> Any:
    """The field of a setting that is given by its place on the command line; `REQUIRED` may be its default."""
    return _field(Flag(rule, metavar, "", says, default, is_argument=True, **more))


def like(kind: type[Any], setting: str, **changes: Any) -> Any:
    """The field of a setting whose flag is that of another class, but for these changes."""
    return _field(replace(flags_of(kind)[setting], **changes))


def _field(flag: Flag) -> Any:
    return field(default=flag.default, metadata={"flag": flag})


def flags_of(kind: type[Any]) -> Mapping[str, Flag]:
    """The flag of each setting that has one: first those of the class itself, then those that it inherits."""
    return _found_in(
        cast("Any", kind)
    )  # mypy takes the class of a dataclass for unhashable, which its instances may be


@cache
def _found_in(kind: Any) -> Mapping[str, Flag]:
    found = {one.name: one.metadata["flag"] for one in fields(kind) if "flag" in one.metadata}
    classes = [base for base in kind.__mro__ if is_dataclass(base)]
    inherited = {one.name: depth for depth, base in enumerate(classes) for one in fields(base)}  # the last one wins
    return {
        setting: replace(found[setting], word=found[setting].word or setting.replace("_", "-"))
        for setting in sorted(found, key=inherited.__getitem__)
    }


def command_line(settings: Any) -> list[str]:
    """The words of a command line that gives these settings."""
    flags = flags_of(type(settings)).items()
    return [word for setting, flag in flags for word in flag.command_line(getattr(settings, setting))]


@dataclass(frozen=True)
class Checked:
    """Settings whose every value was checked by its flag's rule."""

    def __post_init__(self) -> None:
        for setting, flag in flags_of(type(self)).items():
            flag.check(getattr(self, setting))

    @classmethod
    def flags(cls) -> Mapping[str, Flag]:
        """The flags of the command with these settings, by the names under which `from_flags` takes their values."""
        return flags_of(cls)

    @classmethod
    def from_flags(cls, given: Mapping[str, Any], token: str | None) -> Self:
        """Makes settings of the values of flags, and of the shared token if a node is to have it; raises UsageError."""
        return cls(**given)
