"""The parts of a load package: batches gathered into row groups, written and hashed in a thread of their own.

Rows of a normal size are groups of ``ROW_GROUP`` rows or ``GROUP_BYTES``; wide ones (documents, photographs, large
shapes) lie in parts of their own, in groups of ``limits.PIECE_BYTES``, so that the steps that follow can hold them.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji import limits

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 131_072
GROUPS_PER_PART = 8
#: four of them are in memory while they are written
GROUP_BYTES = 48 << 20


class PackageWriter:
    """Writes batches as numbered Parquet parts in a thread of its own; owns that thread and the open part."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hashes: list[str] = []
        self._queue: queue.Queue[_Group | None] = queue.Queue(maxsize=2)
        self._error: BaseException | None = None

    def write(self, batches: Iterator[pa.RecordBatch], columns: Sequence[str]) -> tuple[int, pa.Schema]:
        """(rows written, their schema). Raises what reading or writing raises."""
        thread = threading.Thread(target=self._run, name="guiji-stage", daemon=True)
        thread.start()
        rows = 0
        schema: pa.Schema | None = None
        try:
            for group in _row_groups(batches):
                schema = group.table.schema
                rows += group.table.num_rows
                self._queue.put(group)
                if self._error is not None:
                    break
            if schema is None:  # nothing read is a result, not an absence
                schema = _text_schema(columns)
                self._queue.put(_Group(schema.empty_table(), 0))
        finally:
            self._queue.put(None)
            thread.join()
        if self._error is not None:
            raise self._error
        return rows, schema

    def _run(self) -> None:
        part: Any = None
        widths: list[int] = []  # of the groups of the open part
        try:
            while (group := self._queue.get()) is not None:
                if widths and (len(widths) >= GROUPS_PER_PART or _is_wide(widths[0]) != _is_wide(group.row_bytes)):
                    self._close_part(part, widths)
                    widths = []
                if not widths:
                    part = self._open_part(group.table)
                part.write_table(group.table, row_group_size=max(1, group.table.num_rows))
                widths.append(group.row_bytes)
            if widths:
                self._close_part(part, widths)
        except BaseException as exc:
            self._error = exc
            while self._queue.get() is not None:  # let the reader go
                pass

    def _open_part(self, first: pa.Table) -> Any:
        import pyarrow.parquet as pq
        from pyarrow import fs

        path = self.directory / f"part-{len(self.hashes):05d}.parquet"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        return pq.ParquetWriter(
            str(path),
            first.schema,
            filesystem=fs.LocalFileSystem(),
            compression="lz4",
            use_dictionary=_repeating_columns(first),
            write_statistics=False,
            data_page_size=1 << 20,
        )

    def _close_part(self, part: Any, widths: Sequence[int]) -> None:
        part.add_key_value_metadata({limits.ROW_BYTES_KEY: str(max(256, *widths))})
        part.close()
        path = self.directory / f"part-{len(self.hashes):05d}.parquet"
        self.hashes.append(hash_file(path))
        sync(path)


@dataclass(frozen=True)
class _Group:
    """Rows that become one row group, and how many bytes of text a row has, where they are widest."""

    table: pa.Table
    row_bytes: int


class _Gathering:
    """The rows of the next group."""

    def __init__(self) -> None:
        self.number = 1
        self.batches: list[pa.RecordBatch] = []
        self.rows = self.size = self.row_bytes = 0

    def add(self, batch: pa.RecordBatch, row_bytes: int) -> None:
        self.batches.append(batch)
        self.rows += batch.num_rows
        self.size += batch.nbytes
        self.row_bytes = max(self.row_bytes, row_bytes)

    def take(self) -> _Group:
        """The group, numbered; the next one begins."""
        group = _Group(_number(self.batches, self.number), self.row_bytes)
        self.number += self.rows
        self.batches, self.rows, self.size, self.row_bytes = [], 0, 0, 0
        return group


def _row_groups(batches: Iterator[pa.RecordBatch]) -> Iterator[_Group]:
    """Batches as numbered tables of ``ROW_GROUP`` rows, however the source cut them; wide rows are groups of
    ``limits.PIECE_BYTES`` of their own."""
    next_group = _Gathering()
    batch: pa.RecordBatch | None = None
    for batch in batches:
        for piece, row_bytes in _by_width(batch):
            is_wide = _is_wide(row_bytes)
            most_rows = limits.VECTOR_ROWS if is_wide else ROW_GROUP
            most_bytes = limits.PIECE_BYTES if is_wide else GROUP_BYTES
            if next_group.rows and (
                is_wide != _is_wide(next_group.row_bytes) or (is_wide and next_group.size + piece.nbytes > most_bytes)
            ):
                yield next_group.take()
            while piece.num_rows:
                head = piece.slice(0, most_rows - next_group.rows)
                piece = piece.slice(head.num_rows)
                next_group.add(head, row_bytes)
                if next_group.rows >= most_rows or next_group.size >= most_bytes:
                    yield next_group.take()
    if batch is not None and (next_group.rows or next_group.number == 1):
        if not next_group.rows:
            next_group.add(batch.slice(0, 0), 0)
        yield next_group.take()


def _round_up(row_bytes: int) -> int:
    """To a power of two, so that the same rows say the same however they are cut."""
    return max(256, 1 << (row_bytes - 1).bit_length()) if row_bytes else 256


def _is_wide(row_bytes: int) -> bool:
    return row_bytes > limits.WIDE_ROW_BYTES


def _by_width(batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The batch in order, as few pieces as may be: rows of a normal size together, wide ones cut by bytes; each with the
    bytes of text to a row, over the widest ``limits.VECTOR_ROWS`` rows of it."""
    n, step = batch.num_rows, limits.VECTOR_ROWS
    start = widest = 0
    for at in range(0, n, step):
        window = batch.slice(at, step)
        row_bytes = _round_up(window.nbytes // window.num_rows)
        if not _is_wide(row_bytes):
            widest = max(widest, row_bytes)
            continue
        if at > start:
            yield batch.slice(start, at - start), widest
        for piece in limits.cut_by_bytes(window):
            yield piece, row_bytes
        start, widest = at + step, 0
    if start < n:
        yield batch.slice(start), widest


def _number(batches: list[pa.RecordBatch], first: int) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    table = pa.Table.from_batches(batches)
    numbers = pa.array(np.arange(first, first + table.num_rows, dtype=np.int64))
    return table.add_column(0, pa.field("_row_no", pa.int64()), numbers)


def _repeating_columns(group: pa.Table) -> list[str]:
    """The columns worth a dictionary: trying one on names and addresses doubles the time of writing."""
    import pyarrow.compute as pc

    sample = group.slice(0, 16384)
    few = max(16, sample.num_rows // 8)
    return [n for n in sample.column_names if pc.count_distinct(sample[n]).as_py() <= few]


def _text_schema(columns: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    texts = [(c, pa.string()) for c in columns]
    system = [("_origin", pa.string()), ("_line", pa.int64()), ("_broken", pa.string()), ("_raw", pa.string())]
    return pa.schema([("_row_no", pa.int64()), *texts, *system])


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def combine_hashes(hashes: Iterator[str]) -> str:
    """SHA-256 over the hashes of the parts, in order."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def sync(path: Path) -> None:
    """What was written to the file or directory is on the disk, whatever happens next."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
