"""The JSON schema of scenario files, made from the declarations of flags, for editors and other programs.

Knows the keys of a file and what their rules say about numbers and texts. It can't express what depends on several
values, such as faults that overlap: `smssim scenario FILE` checks that too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from smssim.core.fault import FaultKind
from smssim.core.limits import NAME_GIVEN_BYTES_MAX
from smssim.settings.faults import EXTRA, FAULT_FLAGS, KINDS, SERVERS, SIGNALS, setting_keys
from smssim.settings.flags import Flag
from smssim.settings.presets import presets
from smssim.settings.scenario_file import GOAL, MESSAGE_FLAGS, MESSAGE_KEYS, SENDER_FILE_KEYS
from smssim.settings.sender import PRESET
from smssim.settings.senders import SENDER_FLAGS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def schema() -> Schema:
    """Return the schema, as an object that `json` can write."""
    sections = {
        "messages": _map(
            "What is sent, and how often it is attempted.", _values(MESSAGE_KEYS, MESSAGE_FLAGS, "messages")
        ),
        "senders": {
            "description": "The senders, by name. Without this section, those of `smssim run` without flags.",
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"minLength": 1, "maxLength": NAME_GIVEN_BYTES_MAX, "not": {"enum": [*SERVERS]}},
            "additionalProperties": _map(
                "One sender.", _values(SENDER_FILE_KEYS, SENDER_FLAGS, "senders/additionalProperties")
            ),
        },
        "faults": {
            "description": "What goes wrong, and when.",
            "type": "array",
            "items": {"oneOf": [_fault(kind) for kind in KINDS]},
        },
        "goals": {
            "description": "What the run has to achieve, or else it exits with 5.",
            "type": "array",
            "items": _value(GOAL),
        },
    }
    top = _map("What is sent, by which senders, what goes wrong when, and what has to be achieved.", sections)
    return {"$schema": DIALECT, "title": "smssim scenario", **top, "minProperties": 1}


def _map(description: str, properties: Mapping[str, Schema]) -> Schema:
    return {
        "description": description,
        "type": "object",
        "properties": dict(properties),
        "additionalProperties": False,
    }


def _values(keys: Mapping[str, str], flags: Mapping[str, Flag], place: str) -> dict[str, Schema]:
    """Return the schema of each value of a map, which is in this place of the file, by key."""
    values = {key: _value(flags[setting]) for key, setting in keys.items()}
    other = {key.replace("-", "_"): {"$ref": f"#/properties/{place}/properties/{key}"} for key in keys if "-" in key}
    return values | other


def _value(flag: Flag) -> Schema:
    rule, description = flag.rule, {"description": flag.help}
    if flag is PRESET:
        return description | {"enum": [*presets()]}
    if rule.words:
        return description | {"enum": [*rule.words]}
    text = {"type": "string", "pattern": rule.pattern}
    if rule.low is None:
        return description | text
    number = {"type": "integer" if rule.kind is int else "number", "minimum": rule.low, "maximum": rule.high}
    return description | {"anyOf": [number, text]}


def _fault(kind: FaultKind) -> Schema:
    keys = setting_keys(kind)
    target: Schema = {"description": f"{KINDS[kind]}.", "type": ["string", "number"]}
    if kind not in SIGNALS:
        target["not"] = {"enum": [*SERVERS]}
    values = {key: _value(FAULT_FLAGS[setting]) for key, setting in keys.items()}
    fault = _map(f"A fault of the kind {kind}.", {"at": values.pop("at"), kind.value: target, **values})
    fault["required"] = ["at", kind.value, *(key for key, setting in keys.items() if setting == EXTRA.get(kind))]
    if kind in SIGNALS:
        fault["if"] = {"properties": {kind.value: {"enum": [*SERVERS]}}}
        fault["then"] = {"required": ["for"]}
    return fault
