"""What a file is, by its bytes: the name's ending is a claim, not a proof."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import BinaryIO

from guiji.errors import DeliveryRefused
from guiji.sources.formats.media_ends import has_its_end
from guiji.sources.formats.zip_file import Budget, list_members, unpack_member

UNKNOWN = "application/octet-stream"
EMPTY = "application/x-empty"
ZIP = "application/zip"
_OOXML = "application/vnd.openxmlformats-officedocument"
DOCX, XLSX = f"{_OOXML}.wordprocessingml.document", f"{_OOXML}.spreadsheetml.sheet"
PPTX, OFD = f"{_OOXML}.presentationml.presentation", "application/ofd"
DOC, XLS, PPT = "application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"
OLE = "application/x-ole-storage"
#: a file of these holds other files
ARCHIVES = frozenset(
    [
        ZIP,
        "application/gzip",
        "application/x-7z-compressed",
        "application/vnd.rar",
        "application/x-bzip2",
        "application/x-xz",
        "application/zstd",
        "application/x-tar",
    ]
)

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"II+\x00", "image/tiff"),
    (0, b"MM\x00+", "image/tiff"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypmif1", "image/heic"),
    (4, b"ftyp", "video/mp4"),
    (0, b"{\\rtf", "application/rtf"),
    (0, b"AC10", "image/vnd.dwg"),
    (0, b"PAR1", "application/vnd.apache.parquet"),
    (0, b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (0, b"BZh", "application/x-bzip2"),
    (0, b"\xfd7zXZ\x00", "application/x-xz"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (257, b"ustar", "application/x-tar"),
)
#: ending of a name -> what the bytes may be. An ending that is not here claims nothing
CLAIMS: dict[str, frozenset[str]] = {
    **{e: frozenset(["image/jpeg"]) for e in (".jpg", ".jpeg", ".jpe")},
    ".png": frozenset(["image/png"]),
    ".gif": frozenset(["image/gif"]),
    ".bmp": frozenset(["image/bmp"]),
    **{e: frozenset(["image/tiff"]) for e in (".tif", ".tiff")},
    ".webp": frozenset(["image/webp"]),
    **{e: frozenset(["image/heic"]) for e in (".heic", ".heif")},
    ".mp4": frozenset(["video/mp4"]),
    ".pdf": frozenset(["application/pdf"]),
    ".ofd": frozenset([OFD]),
    ".docx": frozenset([DOCX]),
    ".xlsx": frozenset([XLSX]),
    ".pptx": frozenset([PPTX]),
    # word processors also open RTF under .doc, and spreadsheets HTML under .xls; the bytes are told in any case
    ".doc": frozenset([DOC, OLE]),
    ".wps": frozenset([DOC, OLE]),
    ".xls": frozenset([XLS, OLE]),
    ".et": frozenset([XLS, OLE]),
    ".ppt": frozenset([PPT, OLE]),
    ".odt": frozenset(["application/vnd.oasis.opendocument.text"]),
    ".ods": frozenset(["application/vnd.oasis.opendocument.spreadsheet"]),
    ".odp": frozenset(["application/vnd.oasis.opendocument.presentation"]),
    ".rtf": frozenset(["application/rtf"]),
    ".dwg": frozenset(["image/vnd.dwg"]),
    ".xml": frozenset(["text/xml"]),
    **{e: frozenset(["text/html"]) for e in (".html", ".htm")},
    **{e: frozenset(["text/plain", "text/xml", "text/html"]) for e in (".txt", ".csv", ".md", ".json")},
    ".zip": frozenset([ZIP]),
    ".gz": frozenset(["application/gzip"]),
    ".7z": frozenset(["application/x-7z-compressed"]),
    ".rar": frozenset(["application/vnd.rar"]),
}


def detect_media_type(path: Path) -> str:
    """The media type of a file, from its bytes alone; ``UNKNOWN`` when they tell nothing."""
    with path.open("rb") as f:
        head = f.read(4096)
        if not head:
            return EMPTY
        if b"%PDF-" in head[:1024]:
            return "application/pdf"
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _detect_packed(path)
        if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
            return _detect_ole(f, head)
        if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
            return "image/bmp"
        for at, magic, found in _MAGIC:
            if head.startswith(magic, at):
                return found
        return _detect_text(head, whole=not f.read(1))


def fits_name(name: str, media_type: str) -> bool:
    """True when the ending of ``name`` claims nothing else than ``media_type``."""
    claimed = CLAIMS.get(Path(name).suffix.lower())
    return claimed is None or media_type in claimed


def is_whole(path: Path, media_type: str) -> bool:
    """False when the file breaks off, as far as its form has an end to look for (F-33)."""
    packed = media_type == ZIP or media_type in (DOCX, XLSX, PPTX, OFD) or "opendocument" in media_type
    return has_its_end(path, media_type, is_packed=packed)


def _detect_packed(path: Path) -> str:
    """Office documents and OFD are zip archives that hold certain members."""
    try:
        members = list_members(path, "")
    except DeliveryRefused:
        return ZIP
    names = {m.name for m in members}
    if "OFD.xml" in names:
        return OFD
    if "[Content_Types].xml" in names:
        for folder, found in (("word/", DOCX), ("xl/", XLSX), ("ppt/", PPTX)):
            if any(n.startswith(folder) for n in names):
                return found
    first = members[0] if members else None
    if first is not None and first.name == "mimetype" and first.size < 128:
        said: list[bytes] = []
        try:
            unpack_member(path, first, said.append, Budget(path.stat().st_size, ""), "")
        except DeliveryRefused:
            return ZIP
        text = b"".join(said).decode("ascii", "replace").strip()
        if text.startswith("application/vnd.oasis.opendocument."):
            return text
    return ZIP


def _detect_ole(f: BinaryIO, head: bytes) -> str:
    """Binary Office files: the first sector of the directory names their streams in UTF-16."""
    sector = 1 << min(head[30], 12)
    f.seek((int.from_bytes(head[48:52], "little") + 1) * sector)
    directory = f.read(4096)
    for stream, found in (("WordDocument", DOC), ("Workbook", XLS), ("Book", XLS), ("PowerPoint Document", PPT)):
        if stream.encode("utf-16-le") in directory:
            return found
    return OLE


def _detect_text(head: bytes, *, whole: bool) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "text/plain"
    start = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "text/html"
    if start.startswith(b"<?xml"):
        return "text/xml"
    if b"\0" in head:
        return UNKNOWN
    for encoding in ("utf-8", "gb18030"):
        try:
            codecs.getincrementaldecoder(encoding)("strict").decode(head, final=whole)
        except UnicodeDecodeError:
            continue
        return "text/plain"
    return UNKNOWN
