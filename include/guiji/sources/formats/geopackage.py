"""A layer of a GeoPackage (OGC 12-128): rows of a table of SQLite, the geometry as WKB (F-46).

The file is opened read-only and untrusted: only a real table is read, never a view, no schema may call functions, and
its pages are checked first. A GeoPackage that was copied while a program had it open lacks what rests in that
program's log; its header says so, and it is refused. Geometry header after clause 2.1.3 of the standard.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from guiji.engine import quote_identifier
from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected, match_header
from guiji.sources.formats.crs import compare_systems
from guiji.sources.formats.encoding import half_a_file
from guiji.sources.formats.geometry import geometry_field, make_geometry_batch
from guiji.sources.formats.tokenizer import find_flaw
from guiji.sources.frames import Rows
from guiji.structure import ENCODING, NOT_A_SHAPE, OTHER_CRS

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

BATCH_ROWS = 4096
BATCH_BYTES = 24 << 20
#: a value beyond this is none of a city's
LARGEST_VALUE = 64 << 20
_MAGIC = b"SQLite format 3\x00"
_ENVELOPES = (0, 32, 48, 48, 64)
#: what every row of such a table has beside its data
_KEY_NAMES = ("fid", "ogc_fid", "id")


@dataclass(frozen=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    key: str | None  # its INTEGER PRIMARY KEY
    geometry: str
    srs_id: int
    has_m: bool


def read_geopackage(
    path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport
) -> Iterator[pa.RecordBatch]:
    """The features of layer ``format.table``, else of the only layer; ``_line`` is the feature's id.

    Raises DeliveryRefused for half a file, a layer that is not there, and another reference system than the declared.
    """
    what = f"文件 {origin}"
    _check_file(path, what)
    with contextlib.closing(_connect(path)) as db:
        try:
            yield from _read(db, origin, expected, fmt, report, what)
        except sqlite3.Error as exc:
            raise _refuse(what, "数据库文件已损坏") from exc


def _read(
    db: sqlite3.Connection, origin: str, expected: Expected, fmt: Format, report: ReadReport, what: str
) -> Iterator[pa.RecordBatch]:
    from guiji.catalog.models import Layout

    if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise _refuse(what, "数据库文件已损坏")
    geometry, spec = geometry_field(expected, what)
    table = _find_table(db, fmt.table, what)
    if note := _compare_system(db, table.srs_id, spec.crs or "", what):
        report.notes.append(note)
    if table.has_m:
        report.notes.append(f"{what}：图形的测量值（M）未归集")
    # the layer calls its geometry as it likes, and numbers its rows: neither is a column of the delivery by itself
    names = [geometry if c == table.geometry else c for c in table.columns]
    numbered = table.key is not None and table.key.lower() in _KEY_NAMES and expected.source_name(table.key) is None
    names = [n for n, c in zip(names, table.columns, strict=True) if not (numbered and c == table.key)]
    match = match_header(expected, Layout(), names, report, what)
    source = {c: table.geometry if c == geometry else names[at] for c, at in match.index.items()}
    read = [c for c in expected.columns if c in source]
    line = quote_identifier(table.key) if table.key else "rowid"
    columns = ", ".join([line, *(quote_identifier(source[c]) for c in read)])
    cursor = db.execute(f"SELECT {columns} FROM {quote_identifier(table.name)} ORDER BY 1")  # noqa: S608
    yield from _make_batches(cursor, read, geometry, table, origin, expected)


def _make_batches(
    cursor: sqlite3.Cursor, read: Sequence[str], geometry: str, table: _Table, origin: str, expected: Expected
) -> Iterator[pa.RecordBatch]:
    rows, shapes, size = Rows(), list[bytes | None](), 0
    for line, *values in cursor:
        by_column = dict(zip(read, values, strict=True))
        blob = by_column.pop(geometry, None)
        shape, flaw = parse_blob(blob, table.srs_id)
        texts: dict[str, str | None] = {}
        for column, value in by_column.items():
            texts[column], wrong = _as_text(value)
            flaw = flaw or wrong
        cells = [texts.get(c) for c in expected.columns]
        if flaw:
            rows.add_broken(cells, line, flaw, " | ".join(t or "" for t in texts.values()))
        else:
            rows.add(cells, line)
        shapes.append(None if flaw else shape)
        size += len(shape or b"") + sum(len(t or "") for t in cells)
        if len(rows) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield make_geometry_batch(expected.columns, geometry, rows, shapes, origin)
            rows, shapes, size = Rows(), [], 0
    if len(rows):
        yield make_geometry_batch(expected.columns, geometry, rows, shapes, origin)


def parse_blob(blob: object, srs_id: int) -> tuple[bytes | None, str | None]:
    """(WKB, None), or (None, the rule that the geometry breaks); null and the empty geometry are (None, None)."""
    if blob is None:
        return None, None
    if not isinstance(blob, bytes) or len(blob) < 8 or blob[:2] != b"GP" or blob[2] != 0:
        return None, NOT_A_SHAPE
    flags = blob[3]
    envelope = flags >> 1 & 7
    if envelope >= len(_ENVELOPES) or flags & 0x20:
        return None, NOT_A_SHAPE  # an extension's own type, curves for instance
    (own,) = struct.unpack_from("<i" if flags & 1 else ">i", blob, 4)
    if own != srs_id:
        return None, OTHER_CRS
    if flags & 0x10:
        return None, None
    wkb = blob[8 + _ENVELOPES[envelope] :]
    return (wkb, None) if _is_straight(wkb) else (None, NOT_A_SHAPE)


def _is_straight(wkb: bytes) -> bool:
    """Whether the geometry is a point, line or surface, or several; not a curve, and not cut off within its head."""
    if len(wkb) < 5:
        return False
    kind = int.from_bytes(wkb[1:5], "little" if wkb[0] else "big")
    return 1 <= (kind & 0xFFFF) % 1000 <= 7


def _check_file(path: Path, what: str) -> None:
    size = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(100)
    if len(head) < 100 or not head.startswith(_MAGIC):
        raise DeliveryRefused(
            f"{what}：不是 GeoPackage 文件。现有数据继续有效；请重新导出后提供。", rule_id="delivery.structure"
        )
    page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
    if size < (65536 if page == 1 else page) * pages:
        raise half_a_file(what)
    if head[18] == 2 or head[19] == 2:
        raise DeliveryRefused(
            f"{what}：文件在导出程序仍打开时被复制，最新的修改可能不在其中。现有数据继续有效；"
            "请关闭导出程序（或断开图层）后重新提供。",
            rule_id="delivery.half_a_file",
        )


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA query_only = ON")
    # text that is no UTF-8 stays bytes, and is set aside
    db.text_factory = _decode
    return db


def _decode(raw: bytes) -> str | bytes:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


def _find_table(db: sqlite3.Connection, name: str | None, what: str) -> _Table:
    tables = {str(r[0]) for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"gpkg_contents", "gpkg_geometry_columns", "gpkg_spatial_ref_sys"} <= tables:
        raise _refuse(what, "不是 GeoPackage（缺少规定的目录表）")
    found = [
        row
        for row in db.execute(
            "SELECT c.table_name, g.column_name, g.srs_id, g.m FROM gpkg_contents c "
            "JOIN gpkg_geometry_columns g ON g.table_name = c.table_name WHERE c.data_type = 'features' ORDER BY 1"
        )
        if str(row[0]) in tables
    ]
    chosen = [r for r in found if name is None or str(r[0]) == name]
    if len(chosen) != 1:
        listed = "、".join(str(r[0]) for r in found[:20]) or "无"
        wanted = f"没有约定的图层“{name}”" if name else "有多个图层（或没有图层），而目录未指定用哪一个"
        raise DeliveryRefused(
            f"{what}：{wanted}（文件中的图层：{listed}）。现有数据继续有效；请核对后重新提供。",
            rule_id="delivery.missing_table",
        )
    table, geometry, srs_id, m = chosen[0]
    info = db.execute(f"PRAGMA table_info({quote_identifier(str(table))})").fetchall()
    keys = [str(c[1]) for c in info if c[5]]
    integer = [str(c[1]) for c in info if c[5] and str(c[2]).upper() == "INTEGER"]
    key = keys[0] if len(keys) == 1 and keys == integer else None
    return _Table(str(table), tuple(str(c[1]) for c in info), key, str(geometry), int(srs_id), bool(m))


def _compare_system(db: sqlite3.Connection, srs_id: int, declared: str, what: str) -> str | None:
    """A note when the layer states no reference system, or one that can't be compared. Raises DeliveryRefused."""
    row = db.execute(
        "SELECT organization, organization_coordsys_id, definition FROM gpkg_spatial_ref_sys WHERE srs_id = :id",
        {"id": srs_id},
    ).fetchone()
    if row is None or srs_id in (0, -1):
        return f"{what}：图层没有注明坐标系，按约定的坐标系 {declared} 归集，未能核对"
    organization, code, definition = row
    return compare_systems(declared, f"EPSG:{code}" if str(organization).upper() == "EPSG" else str(definition), what)


def _as_text(value: Any) -> tuple[str | None, str | None]:
    """(text, None), or (None, the rule that the value breaks)."""
    if value is None:
        return None, None
    if isinstance(value, bytes):
        return None, ENCODING
    text = repr(value) if isinstance(value, float) else str(value)
    flaw = find_flaw([text]) if isinstance(value, str) else None
    return (None, flaw) if flaw else (text, None)


def _refuse(what: str, why: str) -> DeliveryRefused:
    return DeliveryRefused(f"{what}：{why}。现有数据继续有效；请重新导出后提供。", rule_id="delivery.structure")
