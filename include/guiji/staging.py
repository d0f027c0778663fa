"""Load packages: one immutable directory of Parquet per batch.

``<GUIJI_STAGING>/<resource_id>/<batch_id>/part-00000.parquet … manifest.json``. A package is written into a hidden
directory beside its place, synced, and renamed: a kill at any point leaves nothing or a whole package, and what a
dead process left behind is swept. Directories are 0700, files 0600. ``sha256`` in the manifest is the hash over the
hashes of the parts, in order; it proves that a package is still what was written.

Parquet is written through ``pyarrow.fs``, so that an object store can follow; today only local paths are accepted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji import limits
from guiji.engine import release_memory
from guiji.errors import DeliveryRefused, GuijiError, UsageError
from guiji.masking import scrub
from guiji.records import Delivery, StagedBatch, Window, read_record, write_record
from guiji.settings import Settings, failpoint
from guiji.tangled import set_aside_tangled
from guiji.too_large import set_aside_too_large

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Resource

ROW_GROUP = 131_072
GROUPS_PER_PART = 8
#: four of them are in memory while they are written
GROUP_BYTES = 48 << 20
#: key of a part's Parquet metadata: bytes of text to a row, where its rows are widest
ROW_BYTES_KEY = "guiji_row_bytes"
MANIFEST = "manifest.json"
_BATCH_ID = re.compile(r"[0-9a-f]{16}")
_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{16}-(?P<host>[^/]+)-(?P<pid>\d+)-[0-9a-f]+")


def staging_root(settings: Settings) -> Path:
    """The local directory of all packages. Raises UsageError for a URL that this version can't write to."""
    location = settings.staging.removeprefix("file://")
    if "://" in location:
        raise UsageError(
            f"GUIJI_STAGING is {settings.staging!r}, but only local or mounted paths are supported so far. "
            "Nothing was staged; set it to a path, for instance on shared storage."
        )
    return Path(location).absolute()


def batch_directory(settings: Settings, resource_id: str, batch_id: str) -> Path:
    """Where the package of a batch lies, or will lie."""
    if not _BATCH_ID.fullmatch(batch_id) or not re.fullmatch(r"[a-z0-9_.]+", resource_id) or ".." in resource_id:
        raise UsageError(f"{resource_id!r} {batch_id!r} is no resource id and batch id. Nothing was done.")
    return staging_root(settings) / resource_id / batch_id


def chunk_directory(settings: Settings, resource_id: str) -> Path:
    """Where a long extraction keeps the ranges it has finished, until all of it is staged: a day at most."""
    return staging_root(settings) / resource_id / ".chunks"


def find_staged(settings: Settings, resource_id: str, batch_id: str) -> StagedBatch | None:
    """The package of a batch, None when it was not staged (or was swept)."""
    directory = batch_directory(settings, resource_id, batch_id)
    try:
        return read_record(directory / MANIFEST, StagedBatch)
    except FileNotFoundError:
        return None


def load_staged(settings: Settings, resource_id: str, batch_id: str) -> StagedBatch:
    """The package of a batch. Raises UsageError when there is none."""
    found = find_staged(settings, resource_id, batch_id)
    if found is None:
        raise UsageError(
            f"Batch {batch_id} of {resource_id} is not staged. Nothing was done; run the resource again.",
            batch_id=batch_id,
            resource_id=resource_id,
        )
    return found


def is_intact(staged: StagedBatch) -> bool:
    """True when the parts are still what the manifest says."""
    try:
        return _combine(_hash_file(p) for p in sorted(Path(staged.directory).glob("part-*.parquet"))) == staged.sha256
    except OSError:
        return False


def stage_batch(
    resource: Resource, settings: Settings, window: Window, delivery: Delivery, batch_id: str
) -> StagedBatch:
    """Writes the delivery as the package ``batch_id`` and returns its manifest; one that is there already is returned
    as it is, and the delivery is not read. What the source raises while it is read leaves nothing behind."""
    target = batch_directory(settings, resource.id, batch_id)
    if (done := find_staged(settings, resource.id, batch_id)) is not None:
        return done
    _make_private(target.parent)
    _sweep_dead(target.parent)
    unique = f".tmp-{batch_id}-{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    temporary = target.parent / unique
    temporary.mkdir(mode=0o700)
    try:
        writer = _PackageWriter(temporary)
        batches = set_aside_tangled(resource, set_aside_too_large(resource, delivery))
        rows, schema = writer.write(batches, delivery.columns)
        staged = StagedBatch(
            batch_id=batch_id,
            resource_id=resource.id,
            window=window,
            directory=str(target),
            rows=rows,
            sha256=_combine(iter(writer.hashes)),
            columns=delivery.columns,
            types=tuple(str(schema.field(c).type) for c in delivery.columns),
            skipped=dict(delivery.report.skipped),
            files=delivery.files,
            cursor_max=delivery.report.cursor_max,
            staged_at=settings.now(),
            redelivered_of=delivery.redelivered_of,
            notes=tuple(map(scrub, delivery.report.notes)),
            delivered_columns=tuple(name for name, _ in delivery.report.delivered),
            delivered_types=tuple(kind for _, kind in delivery.report.delivered),
            missing=tuple(delivery.report.missing),
        )
        _check_declared(resource, delivery, rows)
        failpoint(settings, "stage.before_manifest")
        write_record(temporary / MANIFEST, staged)
        _sync(temporary)
        try:
            os.rename(temporary, target)
        except OSError:
            # another run of the same batch was faster: its package holds the same delivery
            if (done := find_staged(settings, resource.id, batch_id)) is None:
                raise
            return done
        _sync(target.parent)
        return staged
    except OSError as exc:
        raise GuijiError(
            f"The load package of {resource.id} can't be written to {target.parent}: {exc.strerror or exc}. "
            "Nothing was staged; make room or mend the permissions, then run it again.",
            resource_id=resource.id,
        ) from exc
    finally:
        if hasattr(delivery.batches, "close"):
            delivery.batches.close()  # a source that was not read to its end holds a connection
        shutil.rmtree(temporary, ignore_errors=True)
        release_memory()  # what was staged is read from the disk by the steps that follow


def _check_declared(resource: Resource, delivery: Delivery, rows: int) -> None:
    declared = delivery.report.declared_rows
    if declared is not None and declared != rows:
        raise DeliveryRefused(
            f"{resource.model.name}：来源声明共 {declared} 条，实际读到 {rows} 条。现有数据继续有效；请核对后重新提供。",
            rule_id="delivery.total",
            resource_id=resource.id,
        )


def sweep(settings: Settings, keep_days: float, keep: Collection[str] = ()) -> list[str]:
    """Removes packages older than ``keep_days`` (batch ids in ``keep`` excepted) and what dead processes left;
    returns the batch ids removed."""
    root = staging_root(settings)
    removed = []
    oldest = time.time() - keep_days * 86400
    for resource in sorted(p for p in root.glob("*") if p.is_dir()):
        _sweep_dead(resource, oldest)
        with contextlib.suppress(FileNotFoundError):
            if (chunks := resource / ".chunks").stat().st_mtime < time.time() - 86_400:
                shutil.rmtree(chunks, ignore_errors=True)
        for package in sorted(resource.iterdir()):
            if _BATCH_ID.fullmatch(package.name) and package.name not in keep and package.stat().st_mtime < oldest:
                # renamed first: nobody may find half a package
                grave = resource / f".tmp-{package.name}-{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
                with contextlib.suppress(FileNotFoundError):
                    os.rename(package, grave)
                    shutil.rmtree(grave, ignore_errors=True)
                    removed.append(package.name)
    return removed


def _sweep_dead(directory: Path, oldest: float | None = None) -> None:
    """Removes unfinished packages whose process is gone; those of other machines only when they are old."""
    for path in directory.glob(".tmp-*"):
        m = _TEMPORARY.fullmatch(path.name)
        if m is None:
            continue
        with contextlib.suppress(FileNotFoundError):
            if (m["host"] == _host() and not _is_alive(int(m["pid"]))) or (
                m["host"] != _host() and path.stat().st_mtime < (oldest or time.time() - 3 * 86400)
            ):
                shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())


# --- writing ------------------------------------------------------------------------------------------


class _PackageWriter:
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
        part.add_key_value_metadata({ROW_BYTES_KEY: str(max(256, *widths))})
        part.close()
        path = self.directory / f"part-{len(self.hashes):05d}.parquet"
        self.hashes.append(_hash_file(path))
        _sync(path)


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


def _hash_file(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _combine(hashes: Iterator[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _make_private(directory: Path) -> None:
    """The directory and the missing ones above it, readable by the owner only."""
    missing = [p for p in (directory, *directory.parents) if not p.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
