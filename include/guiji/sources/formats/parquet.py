"""Parquet as batches: columns keep the types that the pipeline takes exactly, everything else becomes exact text.

Kept: whole numbers, floats, booleans, dates, timestamps up to microseconds (with a zone as UTC, without one as they
are), bytes of a geometry. Text: strings, decimals, nanoseconds, times, identifiers, and bytes that are UTF-8 (Hive and
Impala write text so). Nested columns are refused when they are declared. Old INT96 timestamps don't say whether they
are UTC: the catalog must (``int96``). A file is read through by another process first: there are damages at which Arrow's
reader ends its process, and pages that unpack to gigabytes. Memory is bounded by rows and by the length of their texts, whatever the size of
the row groups.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected, match_header
from guiji.sources.formats.encoding import half_a_file, normalise_private_use
from guiji.sources.formats.tokenizer import LOST_MARKS, find_flaw
from guiji.sources.frames import add_system_columns
from guiji.structure import ENCODING, GARBLED, NUL, OUT_OF_RANGE

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

BATCH_ROWS = 16384
BATCH_BYTES = 32 << 20
LONGEST_ROW = 64 << 20
#: a column of a row group that claims more than this, packed more than a thousandfold, is a bomb
LARGEST_CHUNK = 256 << 20
#: 0001-01-01 and 9999-12-31 as days and seconds since 1970, as for a database
_DAYS = (-719_162, 2_932_896)
_SECONDS = (-62_135_596_800, 253_402_300_799)
#: what the process that tries a file may have of addresses, and of time per megabyte
TRIAL_BYTES = 2 << 30
TRIAL_SECONDS = (120, 2)
_TRIAL = """
import resource, sys
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import pyarrow as pa, pyarrow.parquet as pq
def is_text(t): return pa.types.is_string(t) or pa.types.is_binary(t)
try:
    with pq.ParquetFile(sys.argv[1]) as file:
        texts = [f.name for f in file.schema_arrow if is_text(f.type)]
        for g in range(file.metadata.num_row_groups):
            for c in range(file.metadata.num_columns):
                file.metadata.row_group(g).column(c)
        [file.schema.column(i).physical_type for i in range(len(file.schema))]
    options = dict(read_dictionary=texts, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True)
    with pq.ParquetFile(sys.argv[1], **options) as file:
        for batch in file.iter_batches(int(sys.argv[3]), use_threads=False):
            pass
except (pa.ArrowException, OSError, MemoryError, OverflowError):
    sys.exit(1)
"""
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True)
class _Column:
    """How one declared column is read."""

    source: str  # declared source name
    name: str  # in the file
    type: pa.DataType  # in the file
    target: pa.DataType  # as emitted
    int96: str | None = None


def read_parquet(
    path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport
) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file; ``_line`` is the row's position in the file.

    Raises DeliveryRefused for half a file, an encrypted one, nested columns, and INT96 whose meaning is not declared.
    """
    import pyarrow.parquet as pq

    from guiji.catalog.models import Layout

    what = f"文件 {origin}"
    _check_magic(path, what)
    _try_reading(path, what)
    with _translated(what), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        names = list(schema.names)
        leaves = {leaf.path: leaf.physical_type for leaf in map(file.schema.column, range(len(file.schema)))}
        _check_chunks(file.metadata, what)
    match = match_header(expected, Layout(), names, report, what, [str(t) for t in schema.types])
    columns = []
    for source, position in match.index.items():
        field = schema.field(position)
        int96 = fmt.int96 if leaves.get(field.name) == "INT96" else None
        if leaves.get(field.name) == "INT96" and int96 is None:
            raise DeliveryRefused(
                f"{what}：列“{source}”是旧式 INT96 时间，没有写明时区。现有数据继续有效；请改用带时区的时间类型或文本，"
                "或由数据工程师在资源目录中写明 int96。",
                rule_id="delivery.structure",
            )
        is_geometry = expected.fields[source].type == "geometry" if source in expected.fields else False
        target = _find_target(field.type, is_geometry, int96)
        if target is None:
            raise DeliveryRefused(
                f"{what}：列“{source}”的类型是 {field.type}，不是单一的值。现有数据继续有效；请展开为普通的列后重新提供。",
                rule_id="delivery.structure",
            )
        columns.append(_Column(source, field.name, field.type, target, int96))
    return _generate(path, columns, origin, expected, what)


def _check_magic(path: Path, what: str) -> None:
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(4)
        f.seek(max(0, size - 4))
        tail = f.read(4)
    if head == b"PARE" or tail == b"PARE":
        raise _refuse(what, "文件已加密", "请去掉加密后重新提供")
    if head != b"PAR1":
        raise _refuse(what, "不是 Parquet 文件", "请重新导出后提供")
    if tail != b"PAR1" or size < 12:
        raise half_a_file(what)


def _try_reading(path: Path, what: str) -> None:
    """Raises DeliveryRefused when a process that reads the whole file doesn't come to its end."""
    command = [sys.executable, "-I", "-c", _TRIAL, str(path), str(TRIAL_BYTES), str(BATCH_ROWS)]
    seconds = TRIAL_SECONDS[0] + TRIAL_SECONDS[1] * (path.stat().st_size >> 20)
    # the system's allocator reserves no addresses that it doesn't use
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=seconds, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise _refuse(what, f"{seconds} 秒内没有读完", "请重新导出后提供", "too_large") from None
    if done.returncode:
        raise _refuse(what, "文件已损坏，或展开后过大，无法读取", "请重新导出完整的文件", "half_a_file")


def _refuse(what: str, why: str, mend: str, rule: str = "structure") -> DeliveryRefused:
    return DeliveryRefused(f"{what}：{why}。现有数据继续有效；{mend}。", rule_id=f"delivery.{rule}")


class _translated:
    """Arrow's errors as DeliveryRefused; they may quote values, so nothing of them is told."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> None:
        import pyarrow as pa

        if isinstance(exc, pa.ArrowException | OSError | OverflowError):
            raise _refuse(self.what, "文件已损坏，无法读取", "请重新导出完整的文件", "half_a_file") from None


def _check_chunks(metadata: Any, what: str) -> None:
    for g in range(metadata.num_row_groups):
        for c in range(metadata.num_columns):
            chunk = metadata.row_group(g).column(c)
            if chunk.total_uncompressed_size > max(LARGEST_CHUNK, chunk.total_compressed_size * 1000):
                raise _refuse(what, "压缩前后的大小相差过大，可能有害，未读取", "请重新导出后提供", "too_large")


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
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind):
        return pa.binary() if is_geometry else pa.string()
    if t.is_string(kind) or t.is_large_string(kind) or t.is_decimal(kind) or t.is_time(kind) or t.is_null(kind):
        return pa.string()
    return None


# --- rows -------------------------------------------------------------------------------------------


def _generate(
    path: Path, columns: list[_Column], origin: str, expected: Expected, what: str
) -> Iterator[pa.RecordBatch]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [c.name for c in columns if pa.types.is_string(c.type) or pa.types.is_binary(c.type)]
    with (
        _translated(what),
        pq.ParquetFile(
            path,
            # a text that repeats stays one text until the batch is known to be small
            read_dictionary=texts,
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
            raise _refuse(what, f"一行超过 {LONGEST_ROW >> 20} MB", "请检查导出程序后重新提供", "too_large")
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
    batch: pa.RecordBatch, columns: list[_Column], lines: pa.Array, origin: str, expected: Expected
) -> pa.RecordBatch:
    """The declared columns in order; rows that hold what can't be read are set aside."""
    import pyarrow as pa

    flaws: dict[int, str] = {}
    arrays: dict[str, pa.Array] = {}
    for column in columns:
        arrays[column.source] = _convert(batch.column(column.name), column, flaws)
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


def _convert(array: pa.Array, column: _Column, flaws: dict[int, str]) -> pa.Array:
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
        return array.cast(column.target)
    if t.is_decimal(kind):
        return _write_decimals(array)
    if t.is_string(column.target) and (t.is_string(kind) or t.is_large_string(kind) or _is_binary(kind)):
        return _check_texts(array, flaws)
    return array.cast(column.target)


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


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
