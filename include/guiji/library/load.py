"""Parquet into PostgreSQL: record batches become CSV in one thread while COPY takes them in another.

CSV as Arrow writes it is exact for what a catalog can declare: text is quoted, so that an empty text and no value
differ; decimals keep every digit; doubles are written so that they read back equal. Bytes are written as hex.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji.limits import PIECE_BYTES, cut_by_bytes

if TYPE_CHECKING:
    import pyarrow as pa
    from psycopg import Connection

_BATCH_ROWS = 16_384
#: CSV chunks that may wait for the server
_QUEUE = 4

Transform = Callable[["pa.RecordBatch"], "pa.RecordBatch"]


def list_parquet(path: str) -> list[Path]:
    """The files behind a path of a record: a file, or a folder of parts."""
    p = Path(path)
    return sorted(p.glob("*.parquet")) if p.is_dir() else [p]


def count_rows(path: str) -> int:
    """Rows of a Parquet file or folder, from its footers."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(p).num_rows for p in list_parquet(path))


def read_batches(path: str, columns: Sequence[str], rows: int = _BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """The named columns in batches, in bounded memory."""
    import pyarrow.parquet as pq

    for file in list_parquet(path):
        with pq.ParquetFile(file) as f:
            # one group at a time: a reader over all of them holds more with every group it has read
            for group in range(f.num_row_groups):
                for batch in f.iter_batches(rows, row_groups=[group], columns=list(columns)):
                    yield from cut_by_bytes(batch.select(list(columns)), PIECE_BYTES // 2)


def copy_parquet(
    conn: Connection[dict[str, Any]],
    table: sql.Composable,
    path: str,
    columns: Sequence[str],
    *,
    who: str,
    freeze: bool = False,
) -> int:
    """Copies the named columns of Parquet into the table's columns of the same names; returns the rows PostgreSQL took."""
    return copy_batches(conn, table, columns, read_batches(path, columns), who=who, freeze=freeze)


def copy_batches(
    conn: Connection[dict[str, Any]],
    table: sql.Composable,
    columns: Sequence[str],
    batches: Iterator[pa.RecordBatch],
    *,
    who: str,
    freeze: bool = False,
) -> int:
    """Copies record batches whose columns stand in the order of ``columns``; returns the rows PostgreSQL took."""
    statement = sql.SQL("/* guiji {} copy */ COPY {} ({}) FROM STDIN (FORMAT csv{})").format(
        sql.SQL(who),
        table,
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", FREEZE") if freeze else sql.SQL(""),
    )
    with conn.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for chunk in _ahead(_to_csv(b) for b in batches):
                copy.write(chunk)
        return cursor.rowcount


def _ahead(chunks: Iterator[memoryview]) -> Iterator[memoryview]:
    """The same chunks, made ahead by a thread of their own; its exception is raised here."""
    ready: queue.Queue[memoryview | BaseException | None] = queue.Queue(_QUEUE)
    stop = threading.Event()

    def produce() -> None:
        try:
            for chunk in chunks:
                if not _put(ready, chunk, stop):
                    return
            _put(ready, None, stop)
        except BaseException as exc:
            _put(ready, exc, stop)

    thread = threading.Thread(target=produce, name="guiji-csv", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _put(
    ready: queue.Queue[memoryview | BaseException | None],
    item: memoryview | BaseException | None,
    stop: threading.Event,
) -> bool:
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.2)
            return True
        except queue.Full:
            continue
    return False


def _to_csv(batch: pa.RecordBatch) -> memoryview:
    import pyarrow as pa
    import pyarrow.csv

    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(_plain(batch), sink, pyarrow.csv.WriteOptions(include_header=False))
    return memoryview(sink.getvalue())


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Columns that Arrow's CSV writer can't write as PostgreSQL reads them, rewritten."""
    import pyarrow as pa
    import pyarrow.types as t

    if not any(t.is_dictionary(f.type) or _is_bytes(f.type) for f in batch.schema):
        return batch
    arrays = []
    for column in batch.columns:
        if t.is_dictionary(column.type):
            column = column.dictionary_decode()
        if _is_bytes(column.type):
            column = pa.array(["\\x" + v.hex() if (v := s.as_py()) is not None else None for s in column], pa.string())
        arrays.append(column)
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _is_bytes(type_: pa.DataType) -> bool:
    import pyarrow.types as t

    return bool(t.is_binary(type_) or t.is_large_binary(type_) or t.is_fixed_size_binary(type_))
