"""YAML without surprises (F-48), with the place of every value kept.

Only the core of YAML 1.2 is understood, and of that only what can't be misread: ``true``/``false``, ``null``, decimal
integers without leading zeros, decimal floats; **everything else is text as written** (``010``, ``no``, ``12:30:00``,
``2024-01-01``, ``0x1F``). Mapping keys are always text. Duplicate keys, anchors, aliases, tags, several documents and
tabs for indentation are errors. Built from parser events, so nothing is ever expanded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from guiji.catalog.problems import Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 20

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+]?[0-9]{1,3})?|(?:0|[1-9][0-9]*)[eE][-+]?[0-9]{1,3}|\.[0-9]+)"
)
_WORDS: dict[str, object] = {
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


#: what every scalar and list says of its keys; one for all, for a large catalog has hundreds of thousands of them
_NO_KEYS: dict[str, tuple[int, int]] = {}


@dataclass(slots=True)  # not frozen: a large catalog makes a million of them
class Node:
    """A value and where it stands, never changed once built; ``value`` is a scalar, ``dict[str, Node]`` or ``list[Node]``."""

    file: str
    line: int
    column: int
    value: Any
    #: where each key of a mapping stands
    keys: dict[str, tuple[int, int]]

    def plain(self) -> Any:
        """The value without places."""
        value = self.value
        if type(value) is dict:
            return {k: v.plain() for k, v in value.items()}
        if type(value) is list:
            return [v.plain() for v in value]
        return value


class StrictYamlError(Exception):
    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def parse_yaml(data: bytes, file: str) -> Node:
    """The one document in ``data``. Raises StrictYamlError with every duplicate key, anchor and tag found."""
    if len(data) > MAX_BYTES:
        raise StrictYamlError([Problem(file, 1, 1, f"the file has {len(data)} bytes; at most {MAX_BYTES} are allowed")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data[: exc.start].count(b"\n") + 1
        raise StrictYamlError([Problem(file, line, 1, "the file is not UTF-8", mend="Save it as UTF-8.")]) from exc
    try:
        return _build(text, file)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        message = " ".join(p for p in (exc.problem, exc.context) if p) or "not valid YAML"
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise StrictYamlError([Problem(file, line, column, f"not valid YAML: {message}")]) from exc
    except yaml.YAMLError as exc:  # a control character: the reader knows only its position
        position = min(int(getattr(exc, "position", 0) or 0), len(text))
        line = text[:position].count("\n") + 1
        reason = str(exc).splitlines()[0]
        raise StrictYamlError([Problem(file, line, 1, f"not valid YAML: {reason}")]) from exc


def read_scalar(text: str, *, plain: bool) -> object:
    """What a scalar means: text when quoted, otherwise null, bool, int, float or text."""
    if not plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _build(text: str, file: str) -> Node:
    builder = _Builder(file)
    documents = 0
    event: Any
    for event in yaml.parse(text, Loader=_Loader):
        kind = type(event)
        if kind is yaml.ScalarEvent:
            builder.add_scalar(event)
        elif kind in (yaml.MappingStartEvent, yaml.SequenceStartEvent):
            builder.open_collection(event, {} if kind is yaml.MappingStartEvent else [])
        elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
            builder.close_collection()
        elif kind is yaml.AliasEvent:
            builder.refuse(event, f"alias *{event.anchor} is not allowed", "Write the value out where it is needed.")
            builder.place(builder.make_node(event, None))
        elif kind is yaml.DocumentStartEvent:
            documents += 1
            if documents > 1:
                builder.refuse(event, "a second document begins here", "One file describes one thing.")
                break
    if builder.problems:
        raise StrictYamlError(builder.problems)
    if builder.root is None or builder.root.value is None:
        raise StrictYamlError([Problem(file, 1, 1, "the file is empty")])
    return builder.root


class _Builder:
    """Puts nodes together from events; owns the stack of open collections."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.root: Node | None = None
        #: per open collection: its node, and for a mapping the key that waits for its value
        self.stack: list[tuple[Node, list[Node]]] = []

    def refuse(self, event: Any, message: str, mend: str) -> None:
        mark = event.start_mark
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, message, mend=mend))

    def make_node(self, event: Any, value: object) -> Node:
        mark = event.start_mark
        keys = {} if isinstance(value, dict) else _NO_KEYS
        return Node(self.file, mark.line + 1, mark.column + 1, value, keys)

    def add_scalar(self, event: Any) -> None:
        self._check_plain(event)
        waits_for_key = bool(self.stack) and isinstance(self.stack[-1][0].value, dict) and not self.stack[-1][1]
        # libyaml's binding says '' for a plain scalar, the Python parser None
        value = event.value if waits_for_key else read_scalar(event.value, plain=not event.style)
        self.place(self.make_node(event, value))

    def open_collection(self, event: Any, empty: object) -> None:
        self._check_plain(event)
        if len(self.stack) >= MAX_DEPTH:
            self.refuse(event, f"nested more than {MAX_DEPTH} deep", "Nothing in a catalog file is.")
            raise StrictYamlError(self.problems)
        self.stack.append((self.make_node(event, empty), []))

    def close_collection(self) -> None:
        node, _ = self.stack.pop()
        self.place(node)

    def place(self, node: Node) -> None:
        """Gives a finished node to the collection that is open."""
        if not self.stack:
            self.root = node
            return
        parent, pending = self.stack[-1]
        if isinstance(parent.value, list):
            parent.value.append(node)
        elif not pending:
            if isinstance(node.value, dict | list):
                self.problems.append(Problem(self.file, node.line, node.column, "a key must be text"))
            pending.append(node)
        else:
            self._place_pair(parent, pending.pop(), node)

    def _place_pair(self, parent: Node, key_node: Node, node: Node) -> None:
        key = str(key_node.value)
        if key in parent.value:
            message = f"key {key!r} is given twice, first in line {parent.keys[key][0]}"
            mend = "Keep one of the two."
            self.problems.append(Problem(self.file, key_node.line, key_node.column, message, mend=mend))
            return
        parent.keys[key] = (key_node.line, key_node.column)
        parent.value[key] = node

    def _check_plain(self, event: Any) -> None:
        if event.anchor:
            self.refuse(event, f"anchor &{event.anchor} is not allowed", "Write the value out where it is needed.")
        if event.tag and event.tag != "!":
            self.refuse(event, f"tag {event.tag} is not allowed", "Remove it; put text in quotes.")
