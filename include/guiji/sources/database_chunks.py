"""One long extraction in ranges of its chunk key, so that what broke off goes on at the next range (F-14).

Each finished range lies as one Arrow file in a folder beside the load packages, with a ledger that says up to which key
they reach. Ranges are (low, high]: a bound is a key that stood in the table, and the same bound ends one range and
begins the next, so none is read twice or left out whatever the database's collation makes of it. The last range has
the rows without a key too.

What holds, and what does not: the ranges of one run are read in one snapshot. After a break-off the ranges that lack
are read in a new one, so the delivery is then of two moments. A key that was there all the while is read exactly once;
a row changed in between is read as of either moment (an incremental resource keeps the first snapshot's watermark, so
the change comes with the next run); a row whose *key* was changed in between may be missed or read under both keys.
So the chunk key must be one that is never changed, and chunks are only made where one is declared. They are kept until
the extraction is complete, a day at most.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from guiji.errors import CatalogError, DeliveryRefused

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.sources.database import Reading

#: older chunks are of another day and never taken
KEPT_SECONDS = 86_400
_LEDGER = "ledger.json"


class Ranges(Protocol):
    """A table that can be read by ranges of its chunk key, in one snapshot."""

    @property
    def layout(self) -> str:
        """Changes whenever finished chunks no longer fit (columns, types, filter, bounds)."""
        ...

    def find_bound(self, low: str | None, rows: int) -> str | None:
        """Text of the key of the ``rows``-th row above ``low``; None where there are fewer."""
        ...

    def read_range(self, low: str | None, high: str | None, position: int) -> Iterator[pa.RecordBatch]:
        """The rows with keys in (low, high], numbered from ``position``, after an empty batch."""
        ...


@dataclass
class ChunkLedger:
    """What is finished: chunks 0 … n - 1, up to the key ``reached``."""

    began_at: float
    cursor_max: str | None
    notes: list[str]
    rows: list[int] = field(default_factory=list)
    reached: str | None = None
    complete: bool = False


def read_in_chunks(reading: Reading, ranges: Ranges, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """All rows, range by range; those that an earlier run of the same extraction finished come from its files."""
    assert reading.resume is not None
    folder = reading.resume / _fingerprint(reading, ranges)
    ledger = _open_ledger(reading, ranges, folder)
    try:
        yield from _read_all(reading, ranges, folder, ledger)
    except DeliveryRefused:  # the department mends it, and all of it is read again
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _read_all(reading: Reading, ranges: Ranges, folder: Path, ledger: ChunkLedger) -> Iterator[pa.RecordBatch]:
    position = 1
    if ledger.rows:
        reading.report.cursor_max = ledger.cursor_max
        reading.report.notes[:] = ledger.notes
        reading.report.notes.append(
            f"{reading.what}：上次采集中断，前 {len(ledger.rows)} 段（{sum(ledger.rows):,} 行）沿用中断前读取的结果"
        )
        for number, count in enumerate(ledger.rows):
            yield from _read_chunk(_chunk_file(folder, number))
            position += count
    while not ledger.complete:
        low = ledger.reached
        high = ranges.find_bound(low, reading.source.chunk_key_rows)
        rows = 0
        with _ChunkWriter(_chunk_file(folder, len(ledger.rows))) as writer:
            for batch in ranges.read_range(low, high, position):
                writer.write(batch)
                rows += batch.num_rows
                yield batch
        if high is not None and rows == 0:
            # the bound is none of the keys that it was found by: the next range would begin where this one did
            raise CatalogError(
                f"{reading.resource.id}: column {reading.source.chunk_key!r} of {reading.what} can't bound ranges, for its "
                "values don't compare as they are written (bytes that are no text, a type without an order). Nothing "
                "was staged; declare another chunk_key, best the primary key, or none.",
                resource_id=reading.resource.id,
            )
        position += rows
        ledger.rows.append(rows)
        ledger.reached, ledger.complete = high, high is None
        _write_ledger(folder, ledger)
        reading.failpoint(f"stage.chunk_{len(ledger.rows)}")


def _fingerprint(reading: Reading, ranges: Ranges) -> str:
    """The same extraction: resource, window, place, watermark, columns, filter."""
    connection = reading.connection
    place = (connection.conn_type, connection.host, connection.port, connection.schema, connection.login)
    said = (reading.resource.id, place, str(reading.span), reading.window is None, reading.watermark, ranges.layout)
    return hashlib.sha256(repr((said, reading.source.chunk_key_rows)).encode()).hexdigest()[:16]


def _chunk_file(folder: Path, number: int) -> Path:
    return folder / f"chunk-{number:05d}.arrow"


def _open_ledger(reading: Reading, ranges: Ranges, folder: Path) -> ChunkLedger:
    """The ledger of ``folder``, a new one where there is none that holds; chunks of other extractions are removed."""
    assert reading.resume is not None
    for path in (*reversed(folder.parents[:2]), folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for other in reading.resume.iterdir():
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        ledger = ChunkLedger(**json.loads((folder / _LEDGER).read_text(encoding="utf-8")))
        fresh = 0 <= time.time() - ledger.began_at < KEPT_SECONDS
        if fresh and all(_chunk_file(folder, n).is_file() for n in range(len(ledger.rows))):
            return ledger
    for left in folder.iterdir():
        left.unlink()
    return ChunkLedger(time.time(), reading.report.cursor_max, list(reading.report.notes))


def _write_ledger(folder: Path, ledger: ChunkLedger) -> None:
    temporary = folder / (_LEDGER + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as f:
        json.dump(asdict(ledger), f, ensure_ascii=False)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, folder / _LEDGER)


def _read_chunk(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
        yield from reader


class _ChunkWriter:
    """One chunk being written; it counts only when the ledger names it."""

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(fd, "wb")
        self._writer: pa.RecordBatchStreamWriter | None = None

    def __enter__(self) -> _ChunkWriter:
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa

        if self._writer is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_stream(self._file, batch.schema, options=options)
        self._writer.write_batch(batch)

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
