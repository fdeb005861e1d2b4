"""A YAML file as a tree of text, each value with its line.

A value stays the text that was typed, so that the rule of a flag can read it: it means what it means on the command
line, whatever YAML would make of it. Knows YAML, which it loads only when a file is read. Must not know what a file is
about.

Refuses what could hide or multiply values: aliases, anchors, tags, duplicate keys and deep nesting. What it accepts
costs a bounded time: seconds for the largest file, a tenth of one for a hundred senders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from smssim.errors import UsageError, bad, bad_file
from smssim.escaping import escape, quote

if TYPE_CHECKING:
    from ruamel.yaml.events import Event

FILE_BYTES_MAX: Final = 256 << 10  # a thousand senders take 50 KB
DEPTH_MAX: Final = 8  # lists and maps within each other

_NOT_TEXT: Final = {  # unquoted words that are no text in YAML 1.2
    *("", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE"),
}


@dataclass(frozen=True)
class Entry:
    """A value in a file: a text, a map, a list, or None for what YAML does not read as text or as a number."""

    file: str
    line: int  # from 1; of the key, if it has one
    key: str  # its place in the file, such as senders.city.fail or faults[0]; empty for the whole file
    content: str | Mapping[str, Entry] | tuple[Entry, ...] | None
    shown: str  # how an error shows it

    @property
    def place(self) -> str:
        """Where the value is, as errors say it."""
        return f"{self.file}: line {self.line}" + (f": {self.key}" if self.key else "")

    def text(self, expected: str) -> str:
        """Return the text of a value. Raises UsageError if it is something else."""
        if not isinstance(self.content, str):
            raise self.refuse(expected)
        return self.content

    def members(self, expected: str) -> Mapping[str, Entry]:
        """Return the members of a map by key. Raises UsageError if it is something else."""
        if not isinstance(self.content, dict):
            raise self.refuse(expected)
        return self.content

    def items(self, expected: str) -> tuple[Entry, ...]:
        """Return the items of a list. Raises UsageError if it is something else."""
        if not isinstance(self.content, tuple):
            raise self.refuse(expected)
        return self.content

    def member(self, key: str) -> Entry:
        """Return a member of a map; if it is missing, an entry that errors show as no value."""
        members: Mapping[str, Entry] = self.content if isinstance(self.content, dict) else {}
        return members.get(key) or replace(self, key=f"{self.key}.{key}", content=None, shown="no value")

    def refuse(self, expected: str, near: str | None = None) -> UsageError:
        """Return the error about a wrong value."""
        return bad(self.place, self.shown, expected, near)


def read_yaml(label: str, path: str, expected: str) -> Entry | None:
    """Return what a file holds; None if it is empty. Raises UsageError, with one line that names file and line.

    If the file can't be opened, the error calls it by `label` and says that it should be what `expected` says.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:  # a path with a null character is a ValueError
        raise bad_file(label, path, expected, error) from error
    name = escape(path)
    if len(data) > FILE_BYTES_MAX:
        raise bad(name, f"more than {FILE_BYTES_MAX:,} bytes", expected)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise bad(f"{name}: line {line}", "bytes that are not UTF-8", expected) from error
    return _Reader(name, text).whole()


class _Reader:
    """Makes entries from the events of ruamel's parser."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._text = text
        self._line = 1  # of the latest event

    def whole(self) -> Entry | None:
        """Return the entry of the only document; None if there is none. Raises UsageError."""
        from ruamel.yaml.error import MarkedYAMLError
        from ruamel.yaml.reader import ReaderError

        try:
            return self._document()
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self._malformed(mark.line + 1 if mark else self._line, error.problem or str(error)) from error
        except ReaderError as error:
            raise self._malformed(1 + self._text.count("\n", 0, error.position), error.reason) from error
        except (ValueError, OverflowError) as error:  # an escape such as "\UFFFFFFFF"
            raise self._malformed(self._line, str(error)) from error

    def _document(self) -> Entry | None:
        from ruamel.yaml.events import DocumentStartEvent, StreamEndEvent

        events = self._events()
        next(events)  # the start of the stream
        if isinstance(next(events), StreamEndEvent):
            return None
        first = next(events)
        entry = self._entry(first, events, self._line, "", 1)
        next(events)  # the end of the document
        if isinstance(next(events), DocumentStartEvent):
            raise bad(f"{self._file}: line {self._line}", "a second document", "only one")
        return entry

    def _events(self) -> Iterator[Event]:
        from ruamel.yaml import YAML

        for event in YAML(typ="safe", pure=True).parse(self._text):
            self._line = event.start_mark.line + 1
            yield event

    def _entry(self, event: Event, events: Iterator[Event], line: int, key: str, depth: int) -> Entry:
        """Return the entry that begins with this event. Reads its other events."""
        from ruamel.yaml.events import AliasEvent, MappingStartEvent, ScalarEvent, SequenceStartEvent

        entry = Entry(self._file, line, key, None, "")
        assert isinstance(event, AliasEvent | ScalarEvent | MappingStartEvent | SequenceStartEvent)
        if isinstance(event, AliasEvent) or event.anchor is not None:
            raise bad(entry.place, "an anchor or an alias (& or *)", "the value itself; quote a text that begins so")
        if event.tag is not None:
            raise bad(entry.place, "a tag (!)", "a value without one; quote a text that begins so")
        if depth > DEPTH_MAX:
            raise bad(entry.place, "too many lists and maps within each other", f"at most {DEPTH_MAX}")
        if isinstance(event, MappingStartEvent):
            return self._map(events, entry, depth)
        if isinstance(event, SequenceStartEvent):
            return self._list(events, entry, depth)
        is_text = event.style is not None or event.value not in _NOT_TEXT
        shown = quote(event.value) if is_text or event.value else "nothing"
        return replace(entry, content=event.value if is_text else None, shown=shown)

    def _map(self, events: Iterator[Event], entry: Entry, depth: int) -> Entry:
        from ruamel.yaml.events import MappingEndEvent, ScalarEvent

        members: dict[str, Entry] = {}
        while not isinstance(event := next(events), MappingEndEvent):
            line = self._line
            if not isinstance(event, ScalarEvent):
                raise bad(f"{self._file}: line {line}", "a list, a map or an alias as a key", "a plain key")
            place = ".".join(filter(None, [entry.key, quote(event.value)]))
            if event.value in members:
                first = members[event.value].line
                raise bad(f"{self._file}: line {line}: {place}", "this key again", f"it once (see line {first})")
            if event.anchor is not None or event.tag is not None:
                raise bad(f"{self._file}: line {line}: {place}", "an anchor or a tag", "a plain key")
            members[event.value] = self._entry(next(events), events, line, place, depth + 1)
        return replace(entry, content=members, shown="a map" if members else "an empty map")

    def _list(self, events: Iterator[Event], entry: Entry, depth: int) -> Entry:
        from ruamel.yaml.events import SequenceEndEvent

        items: list[Entry] = []
        while not isinstance(event := next(events), SequenceEndEvent):
            items.append(self._entry(event, events, self._line, f"{entry.key}[{len(items)}]", depth + 1))
        return replace(entry, content=tuple(items), shown="a list")

    def _malformed(self, line: int, problem: Any) -> UsageError:
        return UsageError(f"{self._file}: line {line}: not YAML: {escape(str(problem))}")
