"""Values as YAML that ``strict_yaml`` reads back as the same values, in the hand that the catalog's files are written in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from guiji.catalog.strict_yaml import read_scalar

#: texts that need no quotes anywhere, also inside {…} and […]
_PLAIN = re.compile(
    "[A-Za-z\u4e00-\u9fff《“（][A-Za-z0-9_\u4e00-\u9fff./（）、，。；：《》“”·—%+-]*|[0-9]{4}-[0-9]{2}-[0-9]{2}"
)
_NAMED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def write_scalar(value: object) -> str:
    """One value on one line: plain where nobody could misread it, else quoted."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and read_scalar(text, plain=True) == text:
        return text
    if "\\" in text and all(c.isprintable() for c in text):
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(_escape(c) for c in text) + '"'


def _escape(c: str) -> str:
    if c in _NAMED:
        return _NAMED[c]
    if c.isprintable():
        return c
    code = ord(c)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def write_flow(value: object) -> str:
    """A value with everything in it on one line: ``{name: xm, title: 姓名}``, ``[a, b]``."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{write_key(str(k))}: {write_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(write_flow(v) for v in value) + "]"
    return write_scalar(value)


def write_key(text: str) -> str:
    """A key is text whatever it looks like, so only what would break the line is quoted."""
    return text if re.fullmatch("[A-Za-z_\u4e00-\u9fff][A-Za-z0-9_\u4e00-\u9fff]*", text) else write_scalar(text)


def write_comment(text: str, indent: int = 0) -> str:
    """A comment on a line of its own; whatever would end the line early is shown as a blank."""
    return " " * indent + "# " + "".join(c if c.isprintable() else " " for c in text).strip()
