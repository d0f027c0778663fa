"""Documents and images as rows of a register: what a file is called, how large it is, what it holds by its bytes.

The content is not read, and not kept: it stays with the department, and its SHA-256 proves later which file was meant.
Files of the same content are told by it; the later one names the earlier in ``duplicate_of``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected, match_header
from guiji.sources.formats.archive import choose_members, match_member, refuse_nested, unpack_to
from guiji.sources.formats.media import EMPTY, detect_media_type, fits_name, is_whole
from guiji.sources.formats.zip_file import Budget, list_members
from guiji.sources.frames import Rows, make_batch
from guiji.structure import EMPTY_FILE, HALF_A_DOCUMENT

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

BATCH_ROWS = 4096
#: columns of every register; the named groups of the file name's pattern come beside them
COLUMNS = ("name", "size", "sha256", "media_type", "name_fits", "modified_at", "duplicate_of")


@dataclass(frozen=True)
class Document:
    """One file, looked at."""

    name: str
    size: int
    sha256: str
    media_type: str
    whole: bool
    modified_at: datetime | None
    groups: Mapping[str, str | None]


def look_at(
    path: Path, name: str, modified_at: datetime | None, pattern: str | None, sha256: str | None = None
) -> Document:
    """What there is to register of a file. ``modified_at`` without a zone is the city's time."""
    from guiji.settings import TIME_ZONE

    if sha256 is None:
        with path.open("rb") as f:
            sha256 = hashlib.file_digest(f, "sha256").hexdigest()
    kind = detect_media_type(path)
    found = match_member(pattern, name) if pattern else None
    if modified_at is not None:
        modified_at = modified_at.astimezone(TIME_ZONE) if modified_at.tzinfo else modified_at.replace(tzinfo=TIME_ZONE)
    return Document(
        name, path.stat().st_size, sha256, kind, is_whole(path, kind), modified_at, found.groupdict() if found else {}
    )


def document_batches(
    documents: Sequence[Document],
    origins: Sequence[str],
    expected: Expected,
    report: ReadReport,
    what: str,
    known: Mapping[str, str],
) -> Iterator[pa.RecordBatch]:
    """One row per document, in order; its line is its position. Empty and broken off files are set aside.

    ``known``: SHA-256 -> name of what was registered before. Duplicates and wrong endings are noted with their number.
    """
    from guiji.catalog.models import Layout

    groups = list(dict.fromkeys(g for d in documents for g in d.groups))
    if clash := sorted(set(groups) & set(COLUMNS)):
        raise DeliveryRefused(
            f"{what}：文件名模式中的分组 {'、'.join(clash)} 与登记项重名。现有数据继续有效；请管理员更正目录。",
            rule_id="delivery.duplicate_column",
        )
    # what the register offers and nobody declared is not a column of the delivery
    names = [c for c in (*COLUMNS, *groups) if expected.source_name(c) is not None]
    match_header(expected, Layout(), names, report, what)
    column_of = {expected.source_name(name): name for name in names}
    first = dict(known)
    duplicate_of: list[str | None] = []
    for document in documents:
        earlier = first.setdefault(document.sha256, document.name)
        duplicate_of.append(earlier if earlier != document.name else None)
    if duplicates := sum(d is not None for d in duplicate_of):
        report.notes.append(f"{what}：{duplicates} 个文件与其他文件（或已登记的文件）内容完全相同")
    if misnamed := sum(not fits_name(d.name, d.media_type) for d in documents):
        report.notes.append(f"{what}：{misnamed} 个文件的扩展名与实际内容不符")

    def generate() -> Iterator[pa.RecordBatch]:
        for begin in range(0, len(documents), BATCH_ROWS):
            rows = Rows()
            for i in range(begin, min(begin + BATCH_ROWS, len(documents))):
                values = _describe(documents[i], duplicate_of[i])
                _add_row(rows, documents[i], [values.get(column_of.get(c, "")) for c in expected.columns], i + 1)
            yield _with_origins(make_batch(expected.columns, rows, ""), origins[begin : begin + BATCH_ROWS])

    return generate()


def read_document(
    path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport
) -> Iterator[pa.RecordBatch]:
    """The row of one file by itself, or of each file in a zip archive that ``format.member`` names.

    The groups of ``format.member`` are columns then. Raises DeliveryRefused as ``read_archive`` does.
    """
    what = f"文件 {origin}"
    if fmt.archive == "none":
        modified_at = datetime.fromtimestamp(int(path.stat().st_mtime)).astimezone()
        documents = [look_at(path, origin, modified_at, None)]
        return document_batches(documents, [origin], expected, report, what, {})
    documents, target = [], path.with_name(f"{path.stem}-document")
    budget = Budget(path.stat().st_size, what)
    for member in choose_members(list_members(path, what), fmt.member, report, what):
        try:
            unpack_to(path, member, target, budget, what)
            refuse_nested(target, member.name, what)
            documents.append(look_at(target, member.name, member.modified_at, fmt.member))
        finally:
            target.unlink(missing_ok=True)
    return document_batches(documents, [f"{origin}!{d.name}" for d in documents], expected, report, what, {})


def _describe(document: Document, duplicate_of: str | None) -> dict[str, str | None]:
    return {
        **document.groups,
        "name": document.name,
        "size": str(document.size),
        "sha256": document.sha256,
        "media_type": document.media_type,
        "name_fits": "true" if fits_name(document.name, document.media_type) else "false",
        "modified_at": document.modified_at.isoformat() if document.modified_at else None,
        "duplicate_of": duplicate_of,
    }


def _add_row(rows: Rows, document: Document, cells: list[str | None], line: int) -> None:
    if document.media_type == EMPTY:
        rows.add_broken(cells, line, EMPTY_FILE, document.name)
    elif not document.whole:
        rows.add_broken(cells, line, HALF_A_DOCUMENT, document.name)
    else:
        rows.add(cells, line)


def _with_origins(batch: pa.RecordBatch, origins: Sequence[str]) -> pa.RecordBatch:
    import pyarrow as pa

    at = batch.schema.get_field_index("_origin")
    return batch.set_column(at, batch.schema.field(at), pa.array(list(origins), pa.string()))
