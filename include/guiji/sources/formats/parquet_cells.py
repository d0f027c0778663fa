"""Cells of Parquet columns: exact, as text where the pipeline has no type for them; what can't be read is marked."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guiji.sources.formats.encoding import normalise_private_use
from guiji.sources.formats.tokenizer import LOST_MARKS, find_flaw
from guiji.structure import ENCODING, GARBLED, NUL, OUT_OF_RANGE

if TYPE_CHECKING:
    import pyarrow as pa

#: 0001-01-01 and 9999-12-31 as days and seconds since 1970, as for a database
_DAYS = (-719_162, 2_932_896)
_SECONDS = (-62_135_596_800, 253_402_300_799)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True)
class Column:
    """How one declared column is read."""

    source: str  # declared source name
    name: str  # in the file
    type: pa.DataType  # in the file
    target: pa.DataType  # as emitted
    int96: str | None = None
    repeats: bool = (
        False  # read as a dictionary: a text that repeats stays one text until the batch is known to be small
    )


def convert(array: pa.Array, column: Column, flaws: dict[int, str]) -> pa.Array:
    import pyarrow as pa

    t = pa.types
    if isinstance(array, pa.ExtensionArray):
        if column.type.extension_name == "arrow.uuid":
            texts = [None if b is None else str(uuid.UUID(bytes=b)) for b in array.storage.to_pylist()]
            return pa.array(texts, pa.string())
        array = array.storage
    if t.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if t.is_date(kind):
        return _bound_dates(array, flaws)
    if t.is_timestamp(kind):
        array = _bound_timestamps(array, flaws)
        if column.int96 == "utc":
            array = array.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
        elif kind.tz:  # as text an offset lacks the seconds that it once had
            array = array.cast(pa.timestamp(kind.unit, "UTC"))
        return array.cast(column.target)
    if t.is_time(kind):
        array = _bound_times(array, flaws)
    if t.is_decimal(kind):
        return _write_decimals(array)
    if t.is_string(column.target) and (is_string(kind) or is_binary(kind)):
        return _check_texts(array, flaws)
    return array.cast(column.target)


def is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    t = pa.types
    return any(f(kind) for f in (t.is_binary, t.is_large_binary, t.is_fixed_size_binary, t.is_binary_view))


def is_string(kind: pa.DataType) -> bool:
    import pyarrow as pa

    t = pa.types
    return any(f(kind) for f in (t.is_string, t.is_large_string, t.is_string_view))


def _mark(mask: Any, rule: str, flaws: dict[int, str]) -> bool:
    """Notes the rows where ``mask`` is true; True when there are any."""
    import numpy as np
    import pyarrow.compute as pc

    found = np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False))
    for i in found:
        flaws.setdefault(int(i), rule)
    return bool(len(found))


def _blank(array: pa.Array, mask: Any) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.fill_null(mask, False), pa.scalar(None, array.type), array)


def _bound_dates(array: pa.Array, flaws: dict[int, str]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    per_day = 1 if pa.types.is_date32(array.type) else 86_400_000
    days = array.cast(pa.int32() if per_day == 1 else pa.int64())
    beyond = pc.or_(pc.less(days, _DAYS[0] * per_day), pc.greater(days, (_DAYS[1] + 1) * per_day - 1))
    if _mark(beyond, OUT_OF_RANGE, flaws):
        array = _blank(array, beyond)
    return array.cast(pa.date32())


def _bound_times(array: pa.Array, flaws: dict[int, str]) -> pa.Array:
    """24:00:00 is no time to Arrow, which would write a remark in its place."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ticks = array.cast(pa.int32() if pa.types.is_time32(array.type) else pa.int64()).cast(pa.int64())
    beyond = pc.or_(pc.less(ticks, 0), pc.greater_equal(ticks, 86_400 * _PER_SECOND[array.type.unit]))
    return _blank(array, beyond) if _mark(beyond, OUT_OF_RANGE, flaws) else array


def _bound_timestamps(array: pa.Array, flaws: dict[int, str]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    per_second = _PER_SECOND[array.type.unit]
    if array.type.unit == "ns":  # can't leave 1677 to 2262
        return array
    ticks = array.cast(pa.int64())
    beyond = pc.or_(pc.less(ticks, _SECONDS[0] * per_second), pc.greater(ticks, (_SECONDS[1] + 1) * per_second - 1))
    return _blank(array, beyond) if _mark(beyond, OUT_OF_RANGE, flaws) else array


def _write_decimals(array: pa.Array) -> pa.Array:
    """Decimals with all their digits; Arrow itself writes small ones as 1E-8."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = array.cast(pa.string())
    if pc.any(pc.match_substring(texts, "E")).as_py():
        return pa.array([None if v is None else format(v, "f") for v in array.to_pylist()], pa.string())
    return texts


def _check_texts(array: pa.Array, flaws: dict[int, str]) -> pa.Array:
    """Texts, those that can't be read as null and their rows marked."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        texts = array.cast(pa.string())
        texts.validate(full=True)
    except pa.ArrowInvalid:
        return _decode_one_by_one(array, flaws)
    for mark, rule in (("\x00", NUL), *((m, GARBLED) for m in LOST_MARKS)):
        mask = pc.match_substring(texts, mark)
        if _mark(mask, rule, flaws):
            texts = _blank(texts, mask)
    if pc.any(pc.match_substring_regex(texts, "[\ue000-\uefff]")).as_py():
        return pa.array([None if v is None else normalise_private_use(v) for v in texts.to_pylist()], pa.string())
    return texts


def _decode_one_by_one(array: pa.Array, flaws: dict[int, str]) -> pa.Array:
    import pyarrow as pa

    found: list[str | None] = []
    for i, value in enumerate(array.cast(pa.large_binary()).to_pylist()):
        text, flaw = None, None
        if value is not None:
            try:
                text = normalise_private_use(value.decode())
                flaw = find_flaw([text])
            except UnicodeDecodeError:
                flaw = ENCODING
        if flaw is not None:
            flaws.setdefault(i, flaw)
        found.append(None if flaw else text)
    return pa.array(found, pa.string())
