"""YAML text to a tree: the events of libyaml become plain data with marks.

Refused are the parts of YAML that mislead or attack: anchors, aliases, tags, merge keys, duplicate keys, several
documents, great depth and size. What a plain scalar is, `scalars` knows.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

import msgspec
import yaml

from pipeline.core import findings, scalars, tree

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_EVENTS = 150_000
"""More than a thousand models have, and no more than is read within a second."""
MAX_FAULTS = 1000

_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\ufeff")


class _Unreadable(Exception):
    """Nothing behind this finding can be read."""

    def __init__(self, finding: findings.Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def load(text: bytes, *, file: str) -> tree.Tree:
    """The tree of the one YAML document in `text`, with every fault of the YAML itself; raises nothing.

    Where the text cannot be read to its end the tree is not `complete` and its data is of no use.
    """
    built = tree.Tree(file=file)
    try:
        _read(_decode(text, file), built)
    except _Unreadable as stop:
        built.faults.append(stop.finding)
        built.complete = False
    return built


def _read(text: str, built: tree.Tree) -> None:
    reader = _Reader(built)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        begun = error.context_mark.line + 1 if error.context_mark else 0
        context = f"{error.context} begun in line {begun}, " if error.context else ""
        where = _where(built.file, _position(mark))
        raise _Unreadable(_finding(where, "yaml-syntax", f"this is not YAML: {context}{error.problem}")) from error
    except yaml.YAMLError as error:
        raise _Unreadable(_finding(_where(built.file), "yaml-syntax", f"this is not YAML: {error}")) from error


def _where(file: str, position: tuple[int, int] = (1, 1), path: tree.Path = ()) -> findings.Where:
    return findings.Where(file=file, line=position[0], column=position[1], path=tree.dotted(path))


def _position(mark: yaml.Mark | yaml._yaml.Mark | None) -> tuple[int, int]:
    """Line and column of a mark, from 1."""
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _finding(where: findings.Where, rule: str, message: str, hint: str = "") -> findings.Finding:
    return findings.Finding(rule=rule, message=message, where=where, hint=hint)


def _decode(text: bytes, file: str) -> str:
    """The text, once it is known to be UTF-8 of a sane size without control characters."""
    if len(text) > MAX_BYTES:
        message = f"the file has {len(text)} bytes; at most {MAX_BYTES} are read"
        raise _Unreadable(_finding(_where(file), "too-large", message))
    for bom, name in ((b"\xef\xbb\xbf", "a byte order mark"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
        if text.startswith(bom):
            message = f"the file starts with {name}"
            raise _Unreadable(_finding(_where(file), "encoding", message, "save it as UTF-8 without a byte order mark"))
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        before = text[: error.start].decode("utf-8")
        message = f"byte 0x{text[error.start]:02x} is not UTF-8"
        raise _Unreadable(
            _finding(_where(file, _position_after(before)), "encoding", message, "save the file as UTF-8")
        ) from error
    if match := _FORBIDDEN.search(decoded):
        message = f"the character U+{ord(match.group()):04X} may not stand in a spec"
        raise _Unreadable(
            _finding(_where(file, _position_after(decoded[: match.start()])), "encoding", message, "remove it")
        )
    return decoded


def _position_after(before: str) -> tuple[int, int]:
    """Line and column, from 1, of what follows the text `before`."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


class _Frame(msgspec.Struct):
    """An open mapping or sequence. `key` is the path of the mapping's value that comes next, once its key is read."""

    container: Any
    path: tree.Path
    key: tree.Path | None = None


class _Reader:
    """Takes the events one by one and builds the tree, without recursion."""

    def __init__(self, built: tree.Tree) -> None:
        self.tree = built
        self.stack: list[_Frame] = []
        self.documents = 0
        self.events = 0

    def take(self, event: yaml.Event) -> None:
        """Adds one event to the tree. Raises `_Unreadable` where reading on would be wrong or dangerous."""
        self.events += 1
        if self.events > MAX_EVENTS:
            self._stop(event, "too-large", f"more than {MAX_EVENTS // 2} keys and values")
        # In the order of how often they come: a spec of a thousand models has a hundred thousand events.
        match event:
            case yaml.ScalarEvent():
                self._refuse_extras(event)
                if self._awaits_key():
                    self._key(event)
                else:
                    self._place(self._scalar(event), event, event.value[:80] if event.implicit[0] else None)
            case yaml.CollectionEndEvent():
                self.stack.pop()
            case yaml.MappingStartEvent():
                self._open({}, event)
            case yaml.SequenceStartEvent():
                self._open([], event)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    self._stop(event, "several-documents", "a second document starts here; a spec is one document")
            case _:
                pass

    def _awaits_key(self) -> bool:
        if not self.stack:
            return False
        frame = self.stack[-1]
        return frame.key is None and type(frame.container) is dict

    def _path(self) -> tree.Path:
        """The path of the value that comes next; of the mapping where a key comes next."""
        if not self.stack:
            return ()
        frame = self.stack[-1]
        if type(frame.container) is list:
            return (*frame.path, len(frame.container))
        return frame.path if frame.key is None else frame.key

    def _alias(self, event: yaml.AliasEvent) -> None:
        name = (event.anchor or "")[:40]
        if self._awaits_key():
            self._stop(event, "alias", f"the alias *{name} stands as a key", "write the key out")
        self._fault(event, "alias", f"the alias *{name} is refused", "write the value out")
        self._place(None, event)

    def _open(self, container: dict[str, Any] | list[Any], event: yaml.CollectionStartEvent) -> None:
        if self._awaits_key():
            self._stop(event, "bad-key", "a mapping or a list stands as a key; keys are text")
        if len(self.stack) >= MAX_DEPTH:
            self._stop(event, "too-deep", f"nested deeper than {MAX_DEPTH} levels")
        self._refuse_extras(event)
        path = self._place(container, event)
        self.stack.append(_Frame(container, path))

    def _key(self, event: yaml.ScalarEvent) -> None:
        """A key is its text, however it looks; twice in one mapping it is a fault that names both lines."""
        frame, text = self.stack[-1], event.value
        path = frame.key = (*frame.path, text)
        line, column = _position(event.start_mark)
        if path in self.tree.keys:
            first = self.tree.keys[path].line
            message = f"the key `{text[:80]}` stands twice: in line {first} and in line {line}"
            self._fault(event, "duplicate-key", message, "remove one of the two")
        elif text == "<<" and event.implicit[0]:
            self._fault(event, "merge-key", "the merge key `<<` is refused", "write the keys out")
        self.tree.keys[path] = tree.Mark(line, column, text)

    def _place(self, value: object, event: yaml.NodeEvent, plain: str | None = None) -> tree.Path:
        """Puts a value where it belongs and marks the place; `plain` is a plain scalar's text. Returns the path."""
        path = self._path()
        line, column = _position(event.start_mark)
        self.tree.values[path] = tree.Mark(line, column, plain)
        if value is None:
            self.tree.nulls.append(path)
        if not self.stack:
            self.tree.data = value
            return path
        frame = self.stack[-1]
        if type(frame.container) is list:
            frame.container.append(value)
        else:
            frame.container[path[-1]] = value
            frame.key = None
        return path

    def _scalar(self, event: yaml.ScalarEvent) -> str | float | bool | None:
        """The value of a scalar; only plain ones are anything but text."""
        if not event.implicit[0]:
            return str(event.value)
        try:
            return scalars.value(event.value)
        except ValueError as error:
            self._fault(event, "huge-number", str(error), "put it in quotes if it is meant as text")
            return None

    def _refuse_extras(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.anchor is not None:
            self._fault(event, "anchor", f"the anchor &{event.anchor[:40]} is refused", "remove it")
        if event.tag is not None:
            self._fault(event, "tag", f"the tag {event.tag[:40]} is refused", "remove it; quotes make text")

    def _fault(self, event: yaml.NodeEvent, rule: str, message: str, hint: str) -> None:
        path = self._path()
        self.tree.poisoned.add(path)
        where = _where(self.tree.file, _position(event.start_mark), path)
        self.tree.faults.append(_finding(where, rule, message, hint))
        if len(self.tree.faults) == MAX_FAULTS:
            self._stop(event, "too-large", f"{MAX_FAULTS} faults up to here; the rest is not read")

    def _stop(self, event: yaml.Event, rule: str, message: str, hint: str = "") -> NoReturn:
        where = _where(self.tree.file, _position(event.start_mark), self._path())
        raise _Unreadable(_finding(where, rule, message, hint))
