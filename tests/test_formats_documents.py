"""Documents and images: told by their bytes, known by their hash, registered with what their names say."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from delivering import NOW, aside, make_resource, open_at, plain_settings

from guiji.catalog.models import Resource
from guiji.errors import DeliveryRefused, NothingDelivered, SourceUnavailable
from guiji.records import DeliveredFile, Delivery
from guiji.settings import TIME_ZONE, Settings
from guiji.sources.formats.media import detect_media_type, fits_name, is_whole

MODIFIED = datetime(2026, 10, 19, 8, 30, tzinfo=TIME_ZONE)
PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n%%EOF\n"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + b"x" * 9 + b"\xff\xda\0\x08" + b"x" * 46 + b"\xff\xd9"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x14IDAT" + b"x" * 24 + b"\0\0\0\0IEND\xaeB`\x82"


def packed(*names: str, mimetype: bytes | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        if mimetype:
            z.writestr("mimetype", mimetype, zipfile.ZIP_STORED)
        for name in names:
            z.writestr(name, b"<x/>")
    return out.getvalue()


def ole(stream: str) -> bytes:
    """The head of a compound file whose directory names ``stream``."""
    head = bytearray(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 504)
    head[30], head[48:52] = 9, (3).to_bytes(4, "little")
    entries = [n.encode("utf-16-le").ljust(128, b"\0") for n in ("Root Entry", stream, "x", "y")]
    return bytes(head) + b"\0" * 512 * 3 + b"".join(entries)


OOXML = "application/vnd.openxmlformats-officedocument"
FORMS: dict[str, tuple[bytes, str]] = {
    "a.pdf": (PDF, "application/pdf"),
    "a.jpg": (JPEG, "image/jpeg"),
    "a.png": (PNG, "image/png"),
    "a.gif": (b"GIF89a" + b"x" * 10 + b";", "image/gif"),
    "a.tif": (b"II*\0" + b"x" * 20, "image/tiff"),
    "b.tiff": (b"MM\0*" + b"x" * 20, "image/tiff"),
    "a.bmp": (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0", "image/bmp"),
    "a.webp": (b"RIFF\x08\0\0\0WEBPVP8 ", "image/webp"),
    "a.heic": (b"\0\0\0\x10ftypheic\0\0\0\0", "image/heic"),
    "a.ofd": (packed("OFD.xml", "Doc_0/Document.xml"), "application/ofd"),
    "a.docx": (packed("[Content_Types].xml", "word/document.xml"), f"{OOXML}.wordprocessingml.document"),
    "a.xlsx": (packed("[Content_Types].xml", "xl/workbook.xml"), f"{OOXML}.spreadsheetml.sheet"),
    "a.pptx": (packed("[Content_Types].xml", "ppt/presentation.xml"), f"{OOXML}.presentationml.presentation"),
    "a.odt": (
        packed("content.xml", mimetype=b"application/vnd.oasis.opendocument.text"),
        "application/vnd.oasis.opendocument.text",
    ),
    "a.zip": (packed("a.txt"), "application/zip"),
    "a.doc": (ole("WordDocument"), "application/msword"),
    "a.xls": (ole("Workbook"), "application/vnd.ms-excel"),
    "a.ppt": (ole("PowerPoint Document"), "application/vnd.ms-powerpoint"),
    "a.rtf": (b"{\\rtf1 x}", "application/rtf"),
    "a.dwg": (b"AC1032\0\0", "image/vnd.dwg"),
    "a.txt": ("批复全文\n".encode("gb18030"), "text/plain"),
    "a.html": (b"\n<!DOCTYPE html><p>", "text/html"),
    "a.xml": ("\ufeff<?xml version='1.0'?><a/>".encode(), "text/xml"),
    "a.dat": (b"\x01\x02\0\xff", "application/octet-stream"),
    "none": (b"", "application/x-empty"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_told_by_its_bytes_under_any_name(tmp_path: Path, name: str) -> None:
    content, wanted = FORMS[name]
    path = tmp_path / "nameless"
    path.write_bytes(content)
    assert detect_media_type(path) == wanted
    assert is_whole(path, wanted)
    assert fits_name(name, wanted)
    claims = {other for other in FORMS if fits_name(other, wanted)}
    assert claims <= {n for n, (_, kind) in FORMS.items() if kind == wanted} | {"a.dat", "none", "a.txt"}


def test_real_office_and_pdf_files_are_told(tmp_path: Path) -> None:
    import openpyxl
    from PIL import Image

    openpyxl.Workbook().save(tmp_path / "w.xlsx")
    for suffix in ("pdf", "png", "jpg", "tiff", "gif", "bmp", "webp"):
        Image.new("RGB", (9, 9)).save(tmp_path / f"w.{suffix}")
    found = {p.name: (detect_media_type(p), is_whole(p, detect_media_type(p))) for p in tmp_path.iterdir()}
    assert found == {
        "w.jpg": ("image/jpeg", True),
        "w.pdf": ("application/pdf", True),
        "w.png": ("image/png", True),
        "w.tiff": ("image/tiff", True),
        "w.gif": ("image/gif", True),
        "w.bmp": ("image/bmp", True),
        "w.webp": ("image/webp", True),
        "w.xlsx": (f"{OOXML}.spreadsheetml.sheet", True),
    }


@pytest.mark.parametrize("name", ["a.pdf", "a.jpg", "a.png", "a.gif", "a.docx", "a.ofd"])
def test_f33_half_a_document_is_told(tmp_path: Path, name: str) -> None:
    content, kind = FORMS[name]
    path = tmp_path / "half"
    path.write_bytes(content[: len(content) * 2 // 3])
    assert not is_whole(path, kind if "openxml" not in kind and kind != "application/ofd" else detect_media_type(path))


def picture(suffix: str, size: int = 200, **more: Any) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.effect_noise((size, size), 90).convert("RGB").save(out, suffix, **more)
    return out.getvalue()


def with_thumbnail(picture: bytes, thumbnail: bytes) -> bytes:
    """The JPEG as a camera writes it, with a small one in its head."""
    body = b"Exif\0\0" + thumbnail
    return picture[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + picture[2:]


@pytest.mark.parametrize(
    "content",
    [
        with_thumbnail(picture("jpeg"), picture("jpeg", 20)),
        picture("jpeg", progressive=True),
        picture("png"),
        picture("gif"),
        picture("webp"),
        b"\0\0\0\x10ftypmp42\0\0\0\0" + b"\0\0\0\x01mdat" + (116).to_bytes(8, "big") + b"x" * 100,
        b"%PDF-1.7\n1 0 obj << /Linearized 1 /L 600 /H [1 2] >>\n%%EOF\n" + b"x" * 535 + b"\n%%EOF\n",
    ],
    ids=["jpeg", "progressive", "png", "gif", "webp", "mp4", "linearized pdf"],
)
def test_f33_an_image_that_breaks_off_anywhere_is_told(tmp_path: Path, content: bytes) -> None:
    """Also behind the end of the thumbnail in its head, and of the first page."""
    path = tmp_path / "x"
    path.write_bytes(content)
    kind = detect_media_type(path)
    assert is_whole(path, kind)
    for cut in range(200, len(content) - 2, max(1, len(content) // 97)):
        path.write_bytes(content[:cut].rstrip(b";"))
        assert not is_whole(path, kind), cut


def test_what_follows_a_picture_does_not_break_it_off(tmp_path: Path) -> None:
    """A telephone's short film behind the photograph, blocks filled up with zeros."""
    path = tmp_path / "x"
    film = b"\0\0\0\x18ftypmp42" + b"x" * 300_000
    filled = picture("jpeg").replace(b"\xff\xdb", b"\0\0\xff\xdb", 1)
    for content in (
        picture("jpeg") + film,
        filled,
        picture("png") + film,
        picture("gif") + bytes(4096),
        PDF + bytes(8192),
    ):
        path.write_bytes(content)
        assert is_whole(path, detect_media_type(path))


# --- the register -------------------------------------------------------------------------------------

COLUMNS = ["name", "size", "sha256", "media_type", "name_fits", "modified_at", "duplicate_of", "code", "kind"]


def deliver(folder: Path, **files: bytes) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content)
        os.utime(path, (MODIFIED.timestamp(), MODIFIED.timestamp()))


def register(folder: Path, columns: list[str] | None = None, **more: Any) -> Resource:
    form = {"type": "document", **more.pop("format", {})}
    pattern = more.pop("pattern", r"(?P<code>\d+)_(?P<kind>批复|附图)\..*")
    source = {"kind": "files", "directory": str(folder), "pattern": pattern, "format": form}
    return make_resource(source, columns or COLUMNS, **{"load": "incremental", **more})


def all_rows(delivery: Delivery) -> list[dict[str, Any]]:
    return [r for b in delivery.batches for r in b.to_pylist()]


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home")


def test_every_file_is_a_row_with_what_its_name_and_bytes_say(tmp_path: Path, home: Settings) -> None:
    deliver(tmp_path / "d", **{"001_批复__pdf": PDF, "001_附图__jpg": PNG, "002_附图__png": PNG, "其他__pdf": PDF})
    delivery = open_at(register(tmp_path / "d"), home, tmp_path / "scratch")
    rows = all_rows(delivery)
    pdf, png = (hashlib.sha256(c).hexdigest() for c in (PDF, PNG))
    at = "2026-10-19T08:30:00+08:00"
    assert [tuple(r[c] for c in COLUMNS) for r in rows] == [
        ("001_批复.pdf", str(len(PDF)), pdf, "application/pdf", "true", at, None, "001", "批复"),
        ("001_附图.jpg", str(len(PNG)), png, "image/png", "false", at, None, "001", "附图"),
        ("002_附图.png", str(len(PNG)), png, "image/png", "true", at, "001_附图.jpg", "002", "附图"),
    ]
    assert [(r["_origin"], r["_line"], r["_broken"]) for r in rows] == [
        ("001_批复.pdf", 1, None),
        ("001_附图.jpg", 2, None),
        ("002_附图.png", 3, None),
    ]
    assert delivery.report.notes == [
        "测试资源：1 个文件与其他文件（或已登记的文件）内容完全相同",
        "测试资源：1 个文件的扩展名与实际内容不符",
    ]
    assert [(f.path, f.sha256) for f in delivery.files] == [(r["name"], r["sha256"]) for r in rows]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_only_declared_columns_are_registered(tmp_path: Path, home: Settings) -> None:
    deliver(tmp_path / "d", **{"001_批复__pdf": PDF})
    delivery = open_at(register(tmp_path / "d", ["name", "kind"]), home, tmp_path / "scratch")
    assert delivery.columns == ("name", "kind")
    assert [(r["name"], r["kind"]) for r in all_rows(delivery)] == [("001_批复.pdf", "批复")]
    with pytest.raises(DeliveryRefused) as refused:
        open_at(register(tmp_path / "d", ["name", "title"]), home, tmp_path / "scratch")
    assert refused.value.rule_id == "delivery.missing_column"
    with pytest.raises(DeliveryRefused) as refused:
        open_at(register(tmp_path / "d", ["name"], pattern="(?P<size>.*)"), home, tmp_path / "scratch")
    assert refused.value.rule_id == "delivery.duplicate_column"


def test_f33_empty_and_half_files_are_set_aside(tmp_path: Path, home: Settings) -> None:
    deliver(tmp_path / "d", **{"001_批复__pdf": PDF[:20], "002_批复__pdf": b"", "003_批复__pdf": PDF})
    rows = all_rows(open_at(register(tmp_path / "d"), home, tmp_path / "scratch"))
    assert aside(rows) == [(1, "half_a_document"), (2, "empty_file")]
    assert [r["code"] for r in rows] == ["001", "002", "003"]


def test_f35_what_is_registered_is_not_registered_again_and_its_copies_are_known(
    tmp_path: Path, home: Settings
) -> None:
    deliver(tmp_path / "d", **{"001_批复__pdf": PDF})
    resource = register(tmp_path / "d")
    first = open_at(resource, home, tmp_path / "scratch")
    known = first.files
    with pytest.raises(NothingDelivered):
        open_at(resource, home, tmp_path / "scratch", known=known)
    deliver(tmp_path / "d", **{"009_批复__pdf": PDF, "010_批复__pdf": PDF + b" "})
    rows = all_rows(open_at(resource, home, tmp_path / "scratch", known=known))
    assert [(r["name"], r["duplicate_of"]) for r in rows] == [("009_批复.pdf", "001_批复.pdf"), ("010_批复.pdf", None)]
    # a file that was changed under its name is a new version of itself, not a copy
    old = DeliveredFile("009_批复.pdf", 5, NOW, hashlib.sha256(PDF).hexdigest())
    rows = all_rows(open_at(resource, home, tmp_path / "scratch", known=[*known, old]))
    assert [r["duplicate_of"] for r in rows if r["name"] == "009_批复.pdf"] == [None]


def test_a_snapshot_register_is_of_all_files_that_are_there(tmp_path: Path, home: Settings) -> None:
    deliver(tmp_path / "d", **{"001_批复__pdf": PDF, "002_附图__png": PNG})
    resource = register(tmp_path / "d", load="snapshot")
    first = open_at(resource, home, tmp_path / "scratch")
    again = open_at(resource, home, tmp_path / "scratch2", explicit=True, known=first.files)
    assert first.fingerprint == again.fingerprint
    with pytest.raises(NothingDelivered):
        open_at(resource, home, tmp_path / "scratch", known=first.files)
    deliver(tmp_path / "d", **{"003_批复__pdf": PDF + b" "})
    second = open_at(resource, home, tmp_path / "scratch", known=first.files)
    assert [r["code"] for r in all_rows(second)] == ["001", "002", "003"]
    assert second.fingerprint != first.fingerprint


def test_a_folder_without_documents_is_no_delivery(tmp_path: Path, home: Settings) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(NothingDelivered):
        open_at(register(tmp_path / "d"), home, tmp_path / "scratch")
    with pytest.raises(SourceUnavailable):
        open_at(register(tmp_path / "nowhere"), home, tmp_path / "scratch")


def test_a_zip_of_documents_is_a_register_of_its_members(tmp_path: Path, home: Settings) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, content in (("2026/001_批复.pdf", PDF), ("2026/002_批复.pdf", PDF), ("说明.txt", b"x")):
            z.writestr(zipfile.ZipInfo(name, (2026, 10, 1, 8, 0, 0)), content)
        z.writestr("2026/003_附图.docx", FORMS["a.docx"][0])
    deliver(tmp_path / "d", **{"20261019__zip": out.getvalue()})
    form = {"archive": "zip", "member": r"(?P<code>\d+)_(?P<kind>批复|附图)\..*"}
    resource = register(tmp_path / "d", format=form, pattern=r"(?P<date>\d{8})\.zip")
    delivery = open_at(resource, home, tmp_path / "scratch")
    rows = all_rows(delivery)
    assert [(r["name"], r["code"], r["duplicate_of"], r["_origin"]) for r in rows] == [
        ("2026/001_批复.pdf", "001", None, "20261019.zip!2026/001_批复.pdf"),
        ("2026/002_批复.pdf", "002", "2026/001_批复.pdf", "20261019.zip!2026/002_批复.pdf"),
        ("2026/003_附图.docx", "003", None, "20261019.zip!2026/003_附图.docx"),
    ]
    assert rows[0]["modified_at"] == "2026-10-01T08:00:00+08:00"
    assert list((tmp_path / "scratch").iterdir()) == []


def test_f41_an_archive_within_a_zip_of_documents_is_refused(tmp_path: Path, home: Settings) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("001_批复.pdf", FORMS["a.zip"][0])
    deliver(tmp_path / "d", **{"20261019__zip": out.getvalue()})
    resource = register(tmp_path / "d", format={"archive": "zip"}, pattern=r"(?P<date>\d{8})\.zip")
    with pytest.raises(DeliveryRefused, match="多层压缩"):
        all_rows(open_at(resource, home, tmp_path / "scratch"))
    assert list((tmp_path / "scratch").iterdir()) == []
