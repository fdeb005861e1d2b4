"""Shapes of foreign JSON: what a value has to be. What has the shape is copied, without fields that it does not know.

Knows JSON. Must not know what any field means. Must stay cheap to import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from smssim.escaping import quote


class WrongShapeError(ValueError):
    """A value does not have its shape. The text says which, and what was expected."""

    def __init__(self, where: str, got: object, expected: str) -> None:
        super().__init__(f"{where or 'the value'} is {_shown(got)}; expected {expected}")

    @classmethod
    def missing(cls, where: str, name: str) -> WrongShapeError:
        """Return the error about a field that an object does not have."""
        error = cls(where, None, "")
        error.args = (f"{where or 'the object'} has no {name}",)
        return error


@dataclass(frozen=True, slots=True)
class Value:
    """A value without parts."""

    expected: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Maybe:
    """A value, or null."""

    of: Shape


@dataclass(frozen=True, slots=True)
class Column:
    """A list of values without parts; null is allowed with `maybe`."""

    of: Value
    most: int
    maybe: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    of: Shape
    most: int


@dataclass(frozen=True, slots=True)
class Fields:
    """An object with these fields, in any order. A field that is missing gets the value in `blank`, if it has one."""

    known: Mapping[str, Shape]
    blank: Mapping[str, Any]  # a copy is not needed: nobody changes a document
    optional: frozenset[str] = frozenset()  # fields that may be missing, and stay so


@dataclass(frozen=True, slots=True)
class Named:
    """An object of which each field has the same shape, and a name that `holds`."""

    expected: str
    holds: Callable[[str], bool]
    of: Shape
    most: int


Shape: TypeAlias = "Value | Maybe | Column | Items | Fields | Named"


def shaped(value: Any, shape: Shape, where: str = "") -> Any:
    """Return a copy of a value that has this shape, without unknown fields. Raises WrongShapeError."""
    match shape:
        case Value(expected, holds):
            if not holds(value):
                raise WrongShapeError(where, value, expected)
            return value
        case Maybe(of):
            return None if value is None else shaped(value, of, where)
        case Column():
            return _column(value, shape, where)
        case Items(of, most):
            _listed(value, most, where)
            return [shaped(one, of, f"{where}[{i}]") for i, one in enumerate(value)]
        case Fields():
            return _fields(value, shape, where)
        case Named(expected, holds, of, most):
            if not isinstance(value, dict) or len(value) > most or not all(map(holds, value)):
                raise WrongShapeError(where, value, expected)
            return {name: shaped(one, of, f"{where}.{quote(name)}") for name, one in value.items()}


def _listed(value: Any, most: int, where: str) -> None:
    if not isinstance(value, list) or len(value) > most:
        raise WrongShapeError(where, value, f"a list of at most {most:,} elements")


def _column(value: Any, column: Column, where: str) -> list[Any]:
    _listed(value, column.most, where)
    holds, maybe = column.of.holds, column.maybe
    for i, one in enumerate(value):
        if not (holds(one) or (maybe and one is None)):
            raise WrongShapeError(f"{where}[{i}]", one, column.of.expected)
    return list(value)


def _fields(value: Any, fields: Fields, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WrongShapeError(where, value, "an object")
    found = {
        name: shaped(one, fields.known[name], f"{where}.{name}".removeprefix("."))
        for name, one in value.items()
        if name in fields.known
    }
    for name in fields.known:
        if not (name in found or name in fields.blank or name in fields.optional):
            raise WrongShapeError.missing(where, name)
    return found | {name: blank for name, blank in fields.blank.items() if name not in found}


def _shown(got: object) -> str:
    if isinstance(got, list):
        return f"a list of {len(got):,} elements"
    if isinstance(got, dict):
        return f"an object with {', '.join(quote(name, 20) for name in list(got)[:3]) or 'no fields'}"
    return "null" if got is None else quote(got) if not isinstance(got, bool) else str(got).lower()
