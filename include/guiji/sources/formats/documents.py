"""Documents and images as rows of a register: what a file is called, how large it is, what it holds by its bytes.

The content is not read, and not kept: it stays with the department, and its SHA-256 proves later which file was meant.
Files of the same content are told by it; the later one names the earlier in ``duplicate_of``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected, match_header
from guiji.sources.formats.media import EMPTY, detect_media_type, fits_name, is_whole
from guiji.sources.frames import Rows, make_batch
from guiji.structure import EMPTY_FILE, HALF_A_DOCUMENT

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

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
    found = re.fullmatch(pattern, name) or re.fullmatch(pattern, name.rsplit("/", 1)[-1]) if pattern else None
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
    # what the register offers and nobody declared is not a column of the delivery
    names = [c for c in (*COLUMNS, *groups) if expected.source_name(c) is not None]
    if clash := sorted(set(groups) & set(COLUMNS)):
        raise DeliveryRefused(
            f"{what}：文件名模式中的分组 {'、'.join(clash)} 与登记项重名。现有数据继续有效；请管理员更正目录。",
            rule_id="delivery.duplicate_column",
        )
    match_header(expected, Layout(), names, report, what)
    first: dict[str, str] = dict(known)
    duplicates = misnamed = 0
    by_origin: list[tuple[str, Rows]] = []
    for line, (document, origin) in enumerate(zip(documents, origins, strict=True), start=1):
        earlier = first.setdefault(document.sha256, document.name)
        duplicate_of = earlier if earlier != document.name else None
        duplicates += duplicate_of is not None
        fits = fits_name(document.name, document.media_type)
        misnamed += not fits
        values = {
            "name": document.name,
            "size": str(document.size),
            "sha256": document.sha256,
            "media_type": document.media_type,
            "name_fits": "true" if fits else "false",
            "modified_at": document.modified_at.isoformat() if document.modified_at else None,
            "duplicate_of": duplicate_of,
            **document.groups,
        }
        by_name = {expected.source_name(name): values.get(name) for name in names}
        cells = [by_name.get(c) for c in expected.columns]
        rows = Rows()
        if document.media_type == EMPTY:
            rows.add_broken(cells, line, EMPTY_FILE, document.name)
        elif not document.whole:
            rows.add_broken(cells, line, HALF_A_DOCUMENT, document.name)
        else:
            rows.add(cells, line)
        by_origin.append((origin, rows))
    if duplicates:
        report.notes.append(f"{what}：{duplicates} 个文件与其他文件（或已登记的文件）内容完全相同")
    if misnamed:
        report.notes.append(f"{what}：{misnamed} 个文件的扩展名与实际内容不符")
    return (make_batch(expected.columns, r, origin) for origin, r in by_origin)


def read_document(
    path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport
) -> Iterator[pa.RecordBatch]:
    """The row of one file by itself, as a department checks it before delivery."""
    modified_at = datetime.fromtimestamp(int(path.stat().st_mtime)).astimezone()
    document = look_at(path, origin.rsplit("!", 1)[-1], modified_at, fmt.member)
    return document_batches([document], [origin], expected, report, f"文件 {origin}", {})
