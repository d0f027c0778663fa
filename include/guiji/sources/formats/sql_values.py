"""Literals of SQL as text: what stands between the parentheses of ``VALUES`` and in the lines of COPY.

As from a database (``database``): numbers keep their digits, NULL is None, bytes are hexadecimal digits, bits of MySQL a
number, its geometries WKT, its TIMESTAMPs times of the resource's zone. What is no literal is not evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from guiji.sources.formats.encoding import normalise_private_use
from guiji.sources.formats.sql_text import Grammar
from guiji.sources.formats.tokenizer import LOST_MARKS
from guiji.structure import ENCODING, GARBLED, NOT_A_LITERAL, NOT_A_SHAPE, NUL

_SURROGATE = re.compile("[\udc80-\udcff]")
_MYSQL_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_MYSQL_ESCAPES = {"0": "\x00", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%", "_": "\\_"}
_PG_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.DOTALL)
_PG_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_COPY_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|.)", re.DOTALL)
_COPY_ESCAPES = {**_PG_ESCAPES, "v": "\v"}
_GEOMETRY = {
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection",
    "geomcollection",
}  # fmt: skip
_MYSQL_BINARY = {"binary", "varbinary", "blob", "tinyblob", "mediumblob", "longblob", "bit", *_GEOMETRY}
#: bytea as PostgreSQL wrote it before version 9, and still does where it is told to
_BYTEA_ESCAPE = re.compile(r"\\\\|\\[0-3][0-7]{2}|[^\\\x80-\U0010ffff]")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?")
_CHARSETS = {"_utf8": "utf-8", "_utf8mb3": "utf-8", "_utf8mb4": "utf-8", "_gbk": "gb18030", "_gb18030": "gb18030"}


@dataclass(frozen=True)
class Column:
    """A column as ``CREATE TABLE`` says it; ``kind`` is empty where nothing says it."""

    name: str
    kind: str = ""
    is_binary: bool = False
    is_instant: bool = False  # MySQL writes it in the zone of its session


def make_column(name: str, kind: str, grammar: Grammar) -> Column:
    """A column of type ``kind`` (one word)."""
    kind = kind.lower()
    if grammar.is_mysql:
        return Column(name, kind, kind in _MYSQL_BINARY, kind == "timestamp")
    return Column(name, kind, kind == "bytea")


class Unreadable(Exception):
    """The cell breaks a structural rule; ``args[0]`` is its id."""


@cache
def value_pattern(grammar: Grammar) -> re.Pattern[str]:
    """One literal and the comma or parenthesis behind it."""
    single = r"(?:[^'\\]++|\\.|'')*+" if grammar.backslash else r"(?:[^']++|'')*+"
    double = r'(?:[^"\\]++|\\.|"")*+' if grammar.backslash else r'(?:[^"]++|"")*+'
    texts = rf"(?P<charset>_[a-z0-9]+)?\s*'(?P<single>{single})'"
    if grammar.is_mysql:
        forms = [
            texts,
            r"(?:_binary\s+)?0x(?P<hex>[0-9a-f]*)",
            r"(?:_binary\s*)?x'(?P<hex2>[0-9a-f]*)'",
            r"b'(?P<bits>[01]*)'",
            r"0b(?P<bits2>[01]+)",
            # as Navicat writes a geometry; of a system with a number it would have to know the order of its axes
            r"ST_GeomFromText\(\s*'(?P<wkt>[\w .,()+-]*)'\s*(?:,\s*0\s*)?\)",
        ]
        if grammar.double_is_text:
            forms.insert(1, rf'"(?P<double>{double})"')
    else:
        forms = [rf"'(?P<single>{single})'", r"e'(?P<escaped>(?:[^'\\]++|\\.|'')*+)'", r"b'(?P<bits>[01]*)'"]
        forms.append(r"\$(?P<tag>(?:[^\W\d]\w*)?)\$(?P<dollar>.*?)\$(?-i:(?P=tag))\$")
    number = r"(?P<number>[+-]?(?:\d++(?:\.\d*+)?|\.\d++)(?:e[+-]?\d++)?)"
    return re.compile(
        rf"\s*+(?:{'|'.join(forms)}|{number}|(?P<word>null|true|false|default))\s*+(?P<end>[,)])", re.I | re.S
    )


def read_literal(m: re.Match[str], column: Column, grammar: Grammar, encoding: str) -> str | None:
    """The text of a match of ``value_pattern``. Raises Unreadable."""
    kind = m.lastgroup
    assert kind == "end"
    if (text := m["number"]) is not None:
        return text
    if (text := m["word"]) is not None:
        if text[0] in "dD":
            raise Unreadable(NOT_A_LITERAL)
        return None if text[0] in "nN" else text.lower()
    if (text := m["single"]) is not None:
        if "\\" in text and grammar.backslash:
            text = _unescape(text.replace("''", "'"), grammar)
        elif "'" in text:
            text = text.replace("''", "'")
    elif not grammar.is_mysql and (text := m["dollar"]) is not None:
        pass  # nothing is escaped in it
    elif grammar.is_mysql and (text := m["wkt"]) is not None:
        return text
    elif not grammar.is_mysql:
        text = m["bits"] if m["escaped"] is None else _unescape_postgres(m["escaped"])
    elif grammar.double_is_text and (text := m["double"]) is not None:
        text = text.replace('""', '"')
        text = _unescape(text, grammar) if grammar.backslash else text
    else:
        return _read_bytes(m, column)
    if grammar.is_mysql and (charset := m["charset"]) is not None:
        return _convert(text, charset.lower(), column, encoding)
    return check_text(text, column, encoding)


def _unescape(text: str, grammar: Grammar) -> str:
    if not grammar.is_mysql:
        return _unescape_postgres(text)
    return _MYSQL_ESCAPE.sub(lambda m: _MYSQL_ESCAPES.get(m[1], m[1]), text)


def _unescape_postgres(text: str) -> str:
    return _PG_ESCAPE.sub(lambda m: _escaped(m[1], _PG_ESCAPES), text.replace("''", "'"))


def _escaped(said: str, known: dict[str, str]) -> str:
    """What stands behind a backslash in PostgreSQL. A byte beyond ASCII may be part of a character: not read."""
    if said in known:
        return known[said]
    if said[0] in "01234567":
        code = int(said, 8)
    elif said[0] in "xuU" and len(said) > 1:
        code = int(said[1:], 16)
        if said[0] != "x":
            if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                raise Unreadable(NOT_A_LITERAL)
            return chr(code)
    else:
        return said
    if code >= 0x80:
        raise Unreadable(ENCODING)
    return chr(code)


def _read_bytes(m: re.Match[str], column: Column) -> str:
    """A hexadecimal or bit literal; of a column known to hold text or numbers it is left open what it means."""
    if column.kind and not column.is_binary:
        raise Unreadable(NOT_A_LITERAL)
    if (digits := m["hex"] if m["hex"] is not None else m["hex2"]) is not None:
        return _write_bytes(bytes.fromhex("0" * (len(digits) % 2) + digits), column)
    bits = m["bits"] if m["bits"] is not None else m["bits2"]
    number = int(bits or "0", 2)
    if column.kind in ("", "bit"):
        return str(number)
    return _write_bytes(number.to_bytes(max(1, -(-len(bits) // 8)), "big"), column)


def _write_bytes(data: bytes, column: Column) -> str:
    """Bytes of MySQL as the database itself would tell them."""
    if column.kind == "bit":
        return str(int.from_bytes(data, "big"))
    return _write_shape(data) if column.kind in _GEOMETRY else data.hex()


def _write_shape(data: bytes) -> str:
    """A geometry as MySQL keeps it, four bytes of its system before the WKB, as WKT with all its digits."""
    import shapely

    try:
        shape = shapely.from_wkb(data[4:]) if len(data) > 4 else None
    except (shapely.errors.GEOSException, NotImplementedError):  # the second for a curve
        shape = None
    if shape is None:
        raise Unreadable(NOT_A_SHAPE)
    return str(shapely.to_wkt(shape, rounding_precision=17))


def _convert(text: str, charset: str, column: Column, encoding: str) -> str:
    if charset == "_binary":
        return _write_bytes(text.encode(encoding, "surrogateescape"), column)
    if _CHARSETS.get(charset) != encoding:
        raise Unreadable(NOT_A_LITERAL)
    return check_text(text, column, encoding)


def check_text(text: str, column: Column, encoding: str) -> str:
    """The text of a cell, bytes as hexadecimal digits. Raises Unreadable for what is damaged."""
    if column.is_binary:
        return _read_bytea(text) if column.kind == "bytea" else _write_bytes(_encode(text, encoding), column)
    if text.isascii():
        if "\x00" in text:
            raise Unreadable(NUL)
        return text
    if _SURROGATE.search(text):
        raise Unreadable(ENCODING)
    if any(mark in text for mark in LOST_MARKS):
        raise Unreadable(GARBLED)
    if "\x00" in text:
        raise Unreadable(NUL)
    return normalise_private_use(text)


def _encode(text: str, encoding: str) -> bytes:
    return text.encode(encoding, "surrogateescape")


def _read_bytea(text: str) -> str:
    if text.startswith("\\x"):
        return text[2:]
    pieces = _BYTEA_ESCAPE.findall(text)
    if sum(map(len, pieces)) != len(text):
        raise Unreadable(NOT_A_LITERAL)
    return bytes(int(p[1:], 8) if len(p) == 4 else ord(p[-1]) for p in pieces).hex()


@lru_cache(maxsize=4096)
def tell_instant(text: str, written_in: tzinfo, zone: str) -> str:
    """A TIMESTAMP of MySQL, written in another zone, as the clocks of ``zone`` showed it; with the offset behind it
    where they showed that time twice. What is no moment (0000-00-00) stays as it is."""
    if not _MOMENT.fullmatch(text):
        return text
    try:
        moment = datetime.fromisoformat(text[:19]).replace(tzinfo=written_in).astimezone(ZoneInfo(zone))
    except (ValueError, OverflowError):
        return text
    said = moment.strftime("%Y-%m-%d %H:%M:%S") + text[19:]
    is_twice = moment.replace(fold=0).utcoffset() != moment.replace(fold=1).utcoffset()
    return f"{said}{moment.isoformat()[-6:]}" if is_twice else said


def read_copy_cells(
    cells: Sequence[str], columns: Sequence[Column], chosen: Container[int], encoding: str
) -> tuple[list[str | None], str | None]:
    """(the cells of a line of COPY, the rule they break); null for those that are not chosen."""
    found: list[str | None] = []
    flaw = None
    for i, (cell, column) in enumerate(zip(cells, columns, strict=True)):
        if cell == "\\N" or i not in chosen:
            found.append(None)
            continue
        try:
            if "\\" in cell:
                cell = _COPY_ESCAPE.sub(lambda m: _escaped(m[1], _COPY_ESCAPES), cell)
            found.append(check_text(cell, column, encoding))
        except Unreadable as exc:
            found.append(None)
            flaw = flaw or str(exc.args[0])
    return found, flaw
