"""Values as a driver gives them, written as exact text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from guiji.sources.dialects.base import Undecoded
from guiji.structure import ENCODING

if TYPE_CHECKING:
    import pyarrow as pa


def mark_undecoded(rows: Sequence[Sequence[Any]]) -> pa.Array | None:
    """The structural flaw of each row that holds a text without an encoding; None where none does."""
    import pyarrow as pa

    wrong = [any(type(value) is Undecoded for value in row) for row in rows]
    return pa.array([ENCODING if w else None for w in wrong], pa.string()) if any(wrong) else None


def text_array(values: tuple[Any, ...]) -> pa.Array:
    """A column of a driver's values as text."""
    import pyarrow as pa

    if set(map(type, values)) <= {str, type(None)}:
        return pa.array(values, pa.string())
    return pa.array([None if v is None or type(v) is Undecoded else to_text(v) for v in values], pa.string())


_TEXTS: dict[type, Callable[[Any], str]] = {
    str: str,
    int: str,
    float: repr,
    bool: lambda v: "true" if v else "false",
    Decimal: lambda v: format(v, "f"),
    datetime: lambda v: v.isoformat(sep=" "),
    date: lambda v: v.isoformat(),
    time: lambda v: v.isoformat(),
}


def to_text(value: Any) -> str:
    """A driver's value as exact text; bytes as hexadecimal digits."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return _TEXTS.get(type(value), str)(value)
