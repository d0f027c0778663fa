"""The files of an archive: parts of Parquet, sealed where they hold personal fields, and the manifest that proves them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.errors import UsageError
from guiji.package_writer import sync
from guiji.secrets import seal, unseal
from guiji.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.json"
FORMAT = 1
#: text of one part before it is compressed
PART_BYTES = 64 << 20


@dataclass(frozen=True)
class Part:
    file: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class ArchivedTable:
    """One table of an archive: the rows that were taken, and where they are."""

    schema: str
    table: str
    columns: tuple[tuple[str, str], ...]  # name, PostgreSQL type
    identity: tuple[str, ...]  # columns that tell one row from another
    rows: int
    content: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Archive:
    """The manifest."""

    format: int
    archive_id: str
    object: str
    before: str
    archived_at: str
    is_sealed: bool
    tables: tuple[ArchivedTable, ...]

    @property
    def rows(self) -> int:
        return sum(t.rows for t in self.tables)

    @property
    def content(self) -> str:
        """Of all tables."""
        return hashlib.sha256(json.dumps([[t.schema, t.table, t.content] for t in self.tables]).encode()).hexdigest()


def read_manifest(directory: Path) -> Archive:
    """The manifest of an archive. Raises UsageError when there is none that this version understands."""
    path = directory / MANIFEST
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise ValueError("format")
        tables = tuple(
            ArchivedTable(
                **{
                    **t,
                    "columns": tuple((str(n), str(k)) for n, k in t["columns"]),
                    "identity": tuple(t["identity"]),
                    "parts": tuple(Part(**p) for p in t["parts"]),
                }
            )
            for t in said["tables"]
        )
        return Archive(**{**said, "tables": tables})
    except FileNotFoundError:
        raise UsageError(f"There is no {path}. Nothing was restored; name the folder that archiving printed.") from None
    except (ValueError, KeyError, TypeError) as exc:
        raise UsageError(f"{path} is no manifest of this version's archives. Nothing was restored.") from exc


def cut_tables(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Tables of about PART_BYTES."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in reader:
        waiting.append(batch)
        size += batch.nbytes
        if size >= PART_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, size = [], 0
    if any(b.num_rows for b in waiting):
        yield pa.Table.from_batches(waiting)


def write_part(settings: Settings, directory: Path, name: str, table: pa.Table, personal: bool) -> Part:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    if personal:
        name, content = f"{name}.sealed", seal(settings, content)
    fd = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Part(name, table.num_rows, hashlib.sha256(content).hexdigest())


def finish_archive(archive: Archive, temporary: Path, target: Path) -> None:
    """The manifest, synced, and the folder at its place: whole or absent."""
    fd = os.open(temporary / MANIFEST, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(asdict(archive), file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    sync(temporary)
    os.rename(temporary, target)
    sync(target.parent)


def read_parts(settings: Settings, archive: Archive, table: ArchivedTable, directory: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in table.parts:
        path = directory / part.file
        try:
            content = path.read_bytes() if Path(part.file).name == part.file else b""
        except OSError:
            content = b""
        if hashlib.sha256(content).hexdigest() != part.sha256:
            raise UsageError(
                f"{path} is missing or is not the file that was written. Nothing was deleted or restored; take an "
                "unchanged copy."
            )
        if archive.is_sealed:
            content = unseal(settings, content)
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            yield from file.iter_batches(16_384)
