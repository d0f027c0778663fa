"""Shapefiles: the set of .shp, .shx, .dbf, .prj and .cpg that belong together, packed in one zip archive (F-46).

The attributes are the DBF's (``dbf``), the geometry is WKB from the .shp (``shapes``); the n-th record of one belongs
to the n-th of the other. A set that lacks a part is refused and the part is named. Without a .prj the declared
reference system is taken at its word, and noted; so is a number of asterisks, which GDAL writes for no value.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.errors import DeliveryRefused
from guiji.sources.columns import Expected, match_header
from guiji.sources.formats.archive import is_litter, match_member, unpack_to
from guiji.sources.formats.crs import compare_systems
from guiji.sources.formats.dbf import DbfBlock, DbfField, DbfTable, demand_readable, open_dbf, read_blocks
from guiji.sources.formats.geometry import geometry_field, make_geometry_batch
from guiji.sources.formats.layout import skip
from guiji.sources.formats.shapes import ShapeFile, cut_by_size, open_shapes, read_shapes
from guiji.sources.formats.zip_file import Budget, Member, list_members, refuse_archive, show_name
from guiji.sources.frames import Rows

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

NEEDED = (".shp", ".shx", ".dbf")
OPTIONAL = (".prj", ".cpg")
_SMALL = 1 << 20


@dataclass(frozen=True)
class _Layer:
    """One opened set."""

    table: DbfTable
    shapes: ShapeFile
    wanted: Mapping[str, DbfField]  # source name -> its field in the DBF
    geometry: str  # source name


def read_shapefile(
    path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport
) -> Iterator[pa.RecordBatch]:
    """The records of every set in a zip archive, one set after another by name; ``_line`` is the record's number.

    ``format.member`` names the .shp where not all are meant. Records that are marked as deleted are counted as skipped.
    Raises DeliveryRefused for an unsafe archive, an incomplete set, parts that don't fit each other, and another
    reference system than the declared one.
    """
    what = f"文件 {origin}"
    sets = find_sets(list_members(path, what), fmt.member, what)
    budget = Budget(path.stat().st_size, what)
    for name, parts in sets:
        folder = Path(tempfile.mkdtemp(prefix="shapefile-", dir=path.parent))
        try:
            files = {}
            for suffix, member in parts.items():
                files[suffix] = folder / f"layer{suffix}"
                unpack_to(path, member, files[suffix], budget, what)
            layer = _open_layer(files, f"{what}!{name}", expected, fmt, report)
            yield from _read_layer(layer, f"{origin}!{name}", expected, report)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def find_sets(members: Sequence[Member], pattern: str | None, what: str) -> list[tuple[str, dict[str, Member]]]:
    """(name of the .shp, its parts by ending) of each set, by name. Raises DeliveryRefused, naming what is missing."""
    by_stem: dict[str, dict[str, Member]] = {}
    for member in members:
        stem, dot, ending = member.name.rpartition(".")
        suffix = (dot + ending).lower()
        if suffix in NEEDED + OPTIONAL and not is_litter(member.name):
            by_stem.setdefault(stem.casefold(), {})[suffix] = member
    sets = []
    for stem, parts in sorted(by_stem.items()):
        shown = parts[".shp"].name if ".shp" in parts else f"{next(iter(parts.values())).name.rpartition('.')[0]}.shp"
        if pattern and not match_member(pattern, shown):
            continue
        if missing := [s for s in NEEDED if s not in parts]:
            raise DeliveryRefused(
                f"{what}：“{show_name(stem)}”缺少 {'、'.join(missing)}，Shapefile 不完整。现有数据继续有效；"
                "请将 .shp、.shx、.dbf（以及 .prj、.cpg）一并打包后重新提供。",
                rule_id="delivery.half_a_file",
            )
        sets.append((shown, parts))
    if not sets:
        raise refuse_archive(what, "中没有约定的 Shapefile（.shp、.shx、.dbf）", rule_id="delivery.missing_member")
    return sets


def _open_layer(files: Mapping[str, Path], what: str, expected: Expected, fmt: Format, report: ReadReport) -> _Layer:
    from guiji.catalog.models import Layout

    geometry, spec = geometry_field(expected, what)
    if stated := _read_small(files[".prj"]) if ".prj" in files else "":
        note = compare_systems(spec.crs or "", stated, what)
        report.notes += [note] if note else []
    else:
        report.notes.append(f"{what}：没有 .prj（或其中没有内容），按约定的坐标系 {spec.crs} 归集，未能核对")
    cpg = _read_small(files[".cpg"]) if ".cpg" in files else None
    table = open_dbf(files[".dbf"], fmt.encoding, what, cpg)
    shapes = open_shapes(files[".shp"], files[".shx"], what)
    if shapes.records != table.records:
        raise DeliveryRefused(
            f"{what}：.shp 有 {shapes.records} 个图形，.dbf 有 {table.records} 条属性，不是同一次导出的文件。"
            "现有数据继续有效；请重新导出并完整提供。",
            rule_id="delivery.half_a_file",
        )
    if shapes.has_m:
        report.notes.append(f"{what}：图形的测量值（M）未归集")
    names = [*table.names, geometry]
    match = match_header(expected, Layout(), names, report, what)
    wanted = {column: table.fields[at] for column, at in match.index.items() if at < len(table.fields)}
    demand_readable(table, list(wanted.values()))
    return _Layer(table, shapes, wanted, geometry)


def _read_layer(layer: _Layer, origin: str, expected: Expected, report: ReadReport) -> Iterator[pa.RecordBatch]:
    table = layer.table
    starred: Counter[str] = Counter()
    # a table that Visual FoxPro saved has its asterisks: numbers that didn't fit
    for block in read_blocks(table, list(layer.wanted.values()), stars_are_none=not table.is_foxpro):
        skip(report, "deleted", sum(block.deleted))
        starred += block.starred
        at = 0
        for count in cut_by_size(layer.shapes, block.first - 1, len(block)):
            yield _make_batch(layer, block, at, count, origin, expected)
            at += count
    if starred:
        said = "、".join(f"{name}（{count:,} 个）" for name, count in starred.items())
        report.notes.append(
            f"{table.what}：数字字段 {said}的内容全是星号，QGIS 等软件这样写空值，按空值归集；"
            "如果原来有数、只是写不下，请加大字段宽度后重新导出"
        )


def _make_batch(layer: _Layer, block: DbfBlock, at: int, count: int, origin: str, expected: Expected) -> pa.RecordBatch:
    """``count`` records of a block from its ``at``-th on."""
    shapes, broken = read_shapes(layer.shapes, block.first - 1 + at, count)
    nothing: list[str | None] = [None] * count
    by_column = [
        block.columns[layer.wanted[c].name][at : at + count] if c in layer.wanted else nothing for c in expected.columns
    ]
    rows, kept = Rows(), []
    for i, cells in enumerate(zip(*by_column, strict=True)):
        if block.deleted[at + i]:
            continue
        flaw = block.flaws.get(at + i) or broken.get(i)
        if flaw:
            rows.add_broken(cells, block.first + at + i, flaw, block.raw(at + i))
        else:
            rows.add(cells, block.first + at + i)
        kept.append(None if flaw else shapes[i])
    return make_geometry_batch(expected.columns, layer.geometry, rows, kept, origin)


def _read_small(path: Path) -> str:
    """The text of a .prj or .cpg: ASCII with names in it, of which only the ASCII ones matter."""
    with path.open("rb") as f:
        return f.read(_SMALL).decode("utf-8", "replace").lstrip("\ufeff").strip()
