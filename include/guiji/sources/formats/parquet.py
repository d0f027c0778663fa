"""Parquet as batches: columns keep the types that the pipeline takes exactly, everything else becomes exact text.

Kept: whole numbers, floats, booleans, dates, timestamps up to microseconds (with a zone as UTC, without one as they
are), bytes of a geometry. Text: strings, decimals, nanoseconds, times, identifiers, and bytes that are UTF-8 (Hive and
Impala write text so). Nested columns are refused when they are declared. Old INT96 timestamps don't say whether they
are UTC: the catalog must (``int96``). A file is read through by another process first: there are damages at which Arrow's
reader ends its process, and pages that unpack to gigabytes. Memory is bounded by rows and by the length of their texts, whatever the size of
the row groups.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected, match_header
from guiji.sources.formats.encoding import half_a_file
from guiji.sources.formats.parquet_cells import Column, convert, is_binary, is_string
from guiji.sources.formats.parquet_trial import check_chunks, check_magic, refuse, try_reading
from guiji.sources.frames import add_system_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

BATCH_ROWS = 16384
BATCH_BYTES = 32 << 20
LONGEST_ROW = 64 << 20
#: types of Arrow's own that are a text; the empty name is a plain type
_EXTENSIONS = ("", "arrow.uuid", "arrow.json")
_ROW_LABELS = re.compile(r"__index_level_\d+__")


def read_parquet(
    path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport
) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file; ``_line`` is the row's position in the file.

    Raises DeliveryRefused for half a file, an encrypted one, nested columns, and INT96 whose meaning is not declared.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from guiji.catalog.models import Layout

    what = f"文件 {origin}"
    check_magic(path, what)
    try_reading(path, BATCH_ROWS, what)
    with _translated(what), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        names = list(schema.names)
        leaves = {leaf.path: leaf.physical_type for leaf in map(file.schema.column, range(len(file.schema)))}
        check_chunks(file.metadata, what)
        delta = _list_delta_coded(file.metadata)
    # pandas writes the labels of its rows beside the table
    kept = [i for i, n in enumerate(names) if not _ROW_LABELS.fullmatch(n) or expected.source_name(n) is not None]
    types = [str(schema.types[i]) for i in kept]
    match = match_header(expected, Layout(), [names[i] for i in kept], report, what, types)
    columns = []
    for source, position in match.index.items():
        field = schema.field(kept[position])
        int96 = fmt.int96 if leaves.get(field.name) == "INT96" else None
        if leaves.get(field.name) == "INT96" and int96 is None:
            raise DeliveryRefused(
                f"{what}：列“{source}”是旧式 INT96 时间，没有写明时区。现有数据继续有效；请改用带时区的时间类型或文本，"
                "或由数据工程师在资源目录中写明 int96。",
                rule_id="delivery.structure",
            )
        is_geometry = expected.fields[source].type == "geometry" if source in expected.fields else False
        told = (field.metadata or {}).get(b"ARROW:extension:name", b"").decode()
        # what a program's own type holds only that program knows: 648 for the month 2024-01
        target = None if told not in _EXTENSIONS else _find_target(field.type, is_geometry, int96)
        if target is None:
            raise DeliveryRefused(
                f"{what}：列“{source}”的类型是 {told or field.type}，不是普通的单一值。现有数据继续有效；请展开为普通的列后重新提供。",
                rule_id="delivery.structure",
            )
        repeats = field.name not in delta and (pa.types.is_string(field.type) or pa.types.is_binary(field.type))
        columns.append(Column(source, field.name, field.type, target, int96, repeats))
    return _generate(path, columns, origin, expected, what)


class _translated:
    """Arrow's errors as DeliveryRefused; they may quote values, so nothing of them is told."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> None:
        import pyarrow as pa

        if isinstance(exc, pa.ArrowException | OSError | OverflowError):
            raise refuse(self.what, "文件已损坏，无法读取", "请重新导出完整的文件", "half_a_file") from None


def _list_delta_coded(metadata: Any) -> set[str]:
    """The columns that have a page in one of the DELTA encodings (DuckDB, Spark): Arrow can't read them as dictionaries."""
    chunks = (
        metadata.row_group(g).column(c) for g in range(metadata.num_row_groups) for c in range(metadata.num_columns)
    )
    return {chunk.path_in_schema for chunk in chunks if any(e.startswith("DELTA") for e in chunk.encodings)}


def _find_target(kind: pa.DataType, is_geometry: bool, int96: str | None) -> pa.DataType | None:
    """The type to emit; None for what is no single value."""
    import pyarrow as pa

    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        name = getattr(kind, "extension_name", "")
        return pa.string() if name in ("arrow.uuid", "arrow.json") else None
    if t.is_dictionary(kind):
        return _find_target(kind.value_type, is_geometry, int96)
    if t.is_uint64(kind):
        return pa.string()
    if t.is_integer(kind):
        return pa.int64()
    if t.is_float16(kind):
        return pa.float32()
    if t.is_floating(kind) or t.is_boolean(kind):
        return kind
    if t.is_date(kind):
        return pa.date32()
    if t.is_timestamp(kind):
        if int96 == "utc" or (kind.tz and kind.unit != "ns"):
            return pa.timestamp("us", "UTC")
        return pa.timestamp("us") if kind.unit != "ns" or int96 else pa.string()
    if is_binary(kind):
        return pa.binary() if is_geometry else pa.string()
    if is_string(kind) or t.is_decimal(kind) or t.is_time(kind) or t.is_null(kind):
        return pa.string()
    return None


# --- rows -------------------------------------------------------------------------------------------


def _generate(
    path: Path, columns: list[Column], origin: str, expected: Expected, what: str
) -> Iterator[pa.RecordBatch]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (
        _translated(what),
        pq.ParquetFile(
            path,
            read_dictionary=[c.name for c in columns if c.repeats],
            pre_buffer=False,
            buffer_size=1 << 20,
            coerce_int96_timestamp_unit="us",
            page_checksum_verification=True,
        ) as file,
    ):
        done = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=[c.name for c in columns], use_threads=False):
            for part in _split(batch, what):
                lines = pa.array(np.arange(done + 1, done + part.num_rows + 1, dtype=np.int64))
                done += part.num_rows
                yield _shape(part, columns, lines, origin, expected)
        if done != file.metadata.num_rows:
            raise half_a_file(what)


def _split(batch: pa.RecordBatch, what: str) -> Iterator[pa.RecordBatch]:
    """The batch in slices whose texts, written out, stay within ``BATCH_BYTES``."""
    size = sum(_count_bytes(column) for column in batch.columns)
    if size <= BATCH_BYTES or batch.num_rows <= 1:
        if size > LONGEST_ROW:
            raise refuse(what, f"一行超过 {LONGEST_ROW >> 20} MB", "请检查导出程序后重新提供", "too_large")
        yield batch
        return
    half = batch.num_rows // 2
    yield from _split(batch.slice(0, half), what)
    yield from _split(batch.slice(half), what)


def _count_bytes(column: pa.Array) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary)
    return int(pc.sum(lengths.cast(pa.int64()).take(column.indices)).as_py() or 0)


def _shape(
    batch: pa.RecordBatch, columns: list[Column], lines: pa.Array, origin: str, expected: Expected
) -> pa.RecordBatch:
    """The declared columns in order; rows that hold what can't be read are set aside."""
    import pyarrow as pa

    flaws: dict[int, str] = {}
    arrays: dict[str, pa.Array] = {}
    for column in columns:
        arrays[column.source] = convert(batch.column(column.name), column, flaws)
    n = batch.num_rows
    shaped = pa.RecordBatch.from_arrays(
        [arrays.get(c, pa.nulls(n, pa.string())) for c in expected.columns], names=list(expected.columns)
    )
    if not flaws:
        return add_system_columns(shaped, origin, lines)
    broken = pa.array([flaws.get(i) for i in range(n)], pa.string())
    raw: list[str | None] = [None] * n
    for i in flaws:
        said = [f"{name}={_show(shaped.column(name)[i])}" for name in arrays]
        raw[i] = "; ".join(said)
    return add_system_columns(shaped, origin, lines, broken, pa.array(raw, pa.string()))


def _show(cell: Any) -> str:
    """A cell of a row that is set aside: the one that can't be read is already null."""
    value = cell.as_py()
    return "" if value is None else value.hex() if isinstance(value, bytes) else str(value)
