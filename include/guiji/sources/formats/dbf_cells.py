"""Cells of DBF records as text, kind by kind: (text, None), or (None, the rule that the cell breaks)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

from guiji.sources.formats.encoding import normalise_private_use
from guiji.sources.formats.mojibake import is_chinese_utf8
from guiji.sources.formats.tokenizer import find_flaw
from guiji.structure import ENCODING, OUT_OF_RANGE, OVERFLOWED

_JULIAN_DAY_OF_FIRST = 1_721_426  # of 0001-01-01


def read_text(cell: bytes, encoding: str, _: int) -> tuple[str | None, str | None]:
    """Blanks and NULs that fill the field up are no text; a character cut at the field's end is damage."""
    cell = cell.rstrip(b"\x00 ")
    try:
        text = cell.decode(encoding)
    except UnicodeDecodeError:
        return None, ENCODING
    if text.isascii():
        return (None, find_flaw([text])) if "\x00" in text else (text, None)
    if encoding == "gb18030" and is_chinese_utf8(cell):  # written by another program than the rest
        return None, ENCODING
    text = normalise_private_use(text)
    flaw = find_flaw([text])
    return (None, flaw) if flaw else (text, None)


def _read_number(cell: bytes, encoding: str, _: int) -> tuple[str | None, str | None]:
    text = cell.strip(b"\x00 ")
    if not text:
        return None, None
    if b"*" in text:
        return None, OVERFLOWED
    return read_text(text, encoding, 0)


def _read_date(cell: bytes, encoding: str, _: int) -> tuple[str | None, str | None]:
    """``YYYYMMDD`` as ISO; blank and all zeros are how writers say "none". Anything else stays as it is written."""
    text = cell.strip(b"\x00 ")
    if not text.strip(b"0"):
        return None, None
    if len(text) == 8 and text.isdigit():
        said = text.decode()
        return f"{said[:4]}-{said[4:6]}-{said[6:]}", None
    return read_text(text, encoding, 0)


def _read_logical(cell: bytes, encoding: str, _: int) -> tuple[str | None, str | None]:
    said = cell.strip(b"\x00 ")
    if said in (b"", b"?"):
        return None, None
    if said in (b"T", b"t", b"Y", b"y"):
        return "true", None
    if said in (b"F", b"f", b"N", b"n"):
        return "false", None
    return read_text(said, encoding, 0)


def _read_integer(cell: bytes, encoding: str, length: int) -> tuple[str | None, str | None]:
    return str(int.from_bytes(cell, "little", signed=True)), None


def _read_double(cell: bytes, encoding: str, length: int) -> tuple[str | None, str | None]:
    return repr(struct.unpack("<d", cell)[0]), None


def _read_currency(cell: bytes, encoding: str, length: int) -> tuple[str | None, str | None]:
    return format(Decimal(int.from_bytes(cell, "little", signed=True)).scaleb(-4), "f"), None


def _read_datetime(cell: bytes, encoding: str, length: int) -> tuple[str | None, str | None]:
    """A Julian day and the milliseconds of the day."""
    day, milliseconds = struct.unpack("<ii", cell)
    if not day or not cell.strip():  # BLANK writes blanks
        return None, None
    try:
        said = datetime(1, 1, 1) + timedelta(day - _JULIAN_DAY_OF_FIRST, milliseconds=milliseconds)  # noqa: DTZ001
    except OverflowError:
        return None, OUT_OF_RANGE
    return said.isoformat(sep=" "), None


#: kind of field -> its reader; others are texts
READERS: dict[str, Callable[[bytes, str, int], tuple[str | None, str | None]]] = {
    "N": _read_number,
    "F": _read_number,
    "D": _read_date,
    "L": _read_logical,
    "I": _read_integer,
    "B": _read_double,
    "Y": _read_currency,
    "T": _read_datetime,
}
