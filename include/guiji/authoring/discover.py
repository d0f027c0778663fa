"""Which columns a file or a table has, and how it must be read, found out before anything is declared.

A text file is looked at for encoding, delimiter and header, a workbook for sheet and header. Every other form is asked
through its own reader: under a contract that declares nothing the refusal names every column there is, so that a
form which the catalog learns to read is understood here without a word more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.authoring.file_names import find_title, make_pattern
from guiji.authoring.headers import (
    find_delimiter,
    find_header_row,
    refuse_tall_header,
    refuse_twice,
    refuse_without_header,
)
from guiji.authoring.peek import find_backup_table, find_record_lists, find_record_path, unpack_first
from guiji.authoring.sheets import SHEET_COLUMN, find_tables
from guiji.authoring.value_names import ask_names, list_names, may_be_person, refuse_identifiers
from guiji.errors import DeliveryRefused, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Resource
    from guiji.settings import Settings

#: how much of a text file is looked at for its form
_HEAD_LINES = 400
#: rounds in which a streaming reader may name further columns
_ROUNDS = 60
_ENDINGS = {
    "txt": "csv", "tsv": "csv", "dat": "csv", "ndjson": "jsonl", "xlsm": "xlsx", "et": "xls", "shp": "shapefile",
    "gpkg": "geopackage", "pq": "parquet", "htm": "html",
}  # fmt: skip
#: forms that calamine opens, when the catalog knows them
_SHEETS = ("xlsx", "xls", "xlsb", "ods", "fods", "html", "xml2003")
_GEOMETRIES = ("geojson", "shapefile", "shp", "geopackage", "gpkg")
GEOMETRY_COLUMN = "图形"
_PACKED = (".zip", ".gz", ".gzip")
#: reference systems that are tried on a layer: a file that says its own accepts one of them only
_SYSTEMS = ("EPSG:4490", "EPSG:4326")


@dataclass(frozen=True)
class FoundColumn:
    """A column as the source names it; ``declared`` and ``comment`` are a database's own words on it, ``proposed`` the
    type of ours that its type stands for."""

    name: str
    declared: str | None = None
    comment: str | None = None
    proposed: str | None = None


@dataclass(frozen=True)
class Found:
    """A file or table and how to read it. ``source`` is what stands under ``source:`` of the resource file."""

    what: str
    columns: tuple[FoundColumn, ...]
    source: dict[str, Any]
    label: str  # 信息资源格式
    title: str | None = None  # a name in Chinese, where the origin has one
    key: tuple[str, ...] = ()  # a database's primary key
    geometry: str | None = None  # the column that a geometry is read into
    crs: str | None = None  # its reference system, where the file says one
    path: Path | None = None
    headless: bool = False  # columns are known by their order only
    notes: tuple[str, ...] = field(default_factory=tuple)
    #: place in ``format`` (``records``, ``layout.sheet``) -> what to ask: its value may be a person and is not written
    asked: Mapping[str, str] = field(default_factory=dict)


# --- reading by a stand-in resource --------------------------------------------------------------------


def make_stand_in(found: Found) -> Resource:
    """A resource with every found column as text, under the strictest contract: what the readers need, no more."""
    from guiji.catalog.models import DepartmentModel, Resource, ResourceModel

    fields: list[dict[str, Any]] = []
    for i, c in enumerate(found.columns):
        kind: dict[str, Any] = {"null_tokens": [r"\N"]}  # is asked about, sets no row aside
        if c.name == found.geometry:
            kind |= {"type": "geometry", "crs": found.crs or _SYSTEMS[0], "encoding": geometry_encoding(found)}
        fields.append({"name": f"c{i}", "title": c.name, "column": c.name, "required": False, **kind})
    model = ResourceModel.model_validate(
        {
            "id": "draft.new",
            "code": "-",
            "name": "-",
            "summary": "-",
            "category": {"class": "-", "item": "-"},
            "format": "-",
            "system": "-",
            "sharing": {"type": "无条件共享"},
            "update_cycle": "不定期",
            "published": "2000-01-01",
            "source": found.source,
            "fields": fields or [{"name": "c0", "title": "\u0001", "required": False}],
            "key": ["c0"],
        }
    )
    department = DepartmentModel(id="draft", name="-", short_name="-", credit_code="-", leader="-", section="-")
    return Resource(model=model, department=department, path="-", fingerprint="-")


def read_rows(found: Found, settings: Settings, scratch: Path) -> Iterator[pa.RecordBatch]:
    """The rows as the pipeline itself reads them. Raises DeliveryRefused, also while batches are read."""
    from guiji.records import ReadReport, Window

    resource = make_stand_in(found)
    if found.path is None:
        from guiji.sources import open_delivery

        now = settings.now()
        window = Window(now.replace(year=now.year - 1), now)
        return open_delivery(
            resource, settings, window, watermark=None, known_files=(), scratch=scratch, explicit=False
        ).batches
    from guiji.sources.columns import expected_columns
    from guiji.sources.formats import read_file

    # nobody knows the key yet: without one no line is left out for the want of it, and totals are there to be counted
    expected = replace(expected_columns(resource), keys=frozenset())
    form = resource.model.source.format  # type: ignore[union-attr]
    return read_file(found.path, found.what.removeprefix("文件 "), expected, form, ReadReport())


# --- files ---------------------------------------------------------------------------------------------


def discover_file(path: Path, settings: Settings, scratch: Path, *, sheet: str | None = None) -> Found:
    """The columns of a file and how it is read. Raises UsageError for a form nobody reads, DeliveryRefused for a file
    that the pipeline would refuse."""
    # archives are unpacked beside the file: never in the department's own folder
    local = scratch / f"delivery{re.sub(r'[^.A-Za-z0-9]', '', path.suffix)}"
    local.symlink_to(path.absolute())
    packed: dict[str, Any] = {}
    inner = path
    if path.suffix.lower() in _PACKED:
        inner, packed = unpack_first(local, path.name, scratch)
    form = "shapefile" if inner == local else choose_type(inner)
    found = Found(
        what=f"文件 {path.name}",
        columns=(),
        source={
            "kind": "files",
            "directory": str(path.absolute().parent),
            **make_pattern(path.name),
            "complete": {"seconds": 0},
            "format": {"type": form, **packed},
        },
        label={"csv": "CSV", "geojson": "GeoJSON", "json": "JSON"}.get(form, form.upper()),
        title=find_title(path.stem),
        path=local,
    )
    if form == "csv":
        return _discover_text(found, inner)
    if form in _SHEETS:
        return _discover_sheet(found, inner, sheet)
    if form == "json":
        found = _find_records(found, inner)
    elif form == "xml":
        found = _with_keys(found, records=find_record_path(inner, found.what))
    elif form == "sql":
        found = _with_keys(found, table=find_backup_table(inner, sheet, found.what))
    elif sheet is not None:
        found = _with_keys(found, table=sheet)
    if form in _GEOMETRIES:
        return _discover_shapes(found, settings, scratch)
    return ask_columns(found, settings, scratch)


def _find_records(found: Found, path: Path) -> Found:
    """``found`` with the list of records of a JSON document, where it lies deeper than its reader looks by itself."""
    from guiji.sources.formats.encoding import detect_encoding, read_blocks

    encoding = detect_encoding(path, "auto", found.what)
    block = next(read_blocks(path, encoding, found.what, 1 << 20), None)
    lists = find_record_lists(block.data.decode("utf-8", "replace")) if block else {}
    if not lists:
        return found
    place = max(lists, key=lambda p: lists[p])
    refuse_identifiers(place, found.what, "lists")
    note = f"记录取自 {list_names(place, '.')}"
    if others := [list_names(p, ".") for p in lists if p != place]:
        note += f"；文件中另有列表 {list_names(others)}，未登记"
    asked = {"records": ask_names("记录所在的列表", place)} if may_be_person(place) else {}
    return replace(_with_keys(found, records=".".join(place)), notes=(*found.notes, note), asked=asked)


def _with_keys(found: Found, **keys: Any) -> Found:
    return replace(found, source=_with_format(found, {**found.source["format"], **keys}))


def geometry_encoding(found: Found) -> str:
    """How the reader writes a geometry."""
    return "geojson" if found.source.get("format", {}).get("type") == "geojson" else "wkb"


def _discover_shapes(found: Found, settings: Settings, scratch: Path) -> Found:
    """The columns of a layer, and its reference system where the file says one: the others are refused."""
    found = replace(found, columns=(FoundColumn(GEOMETRY_COLUMN),), geometry=GEOMETRY_COLUMN)
    accepted, said = [], set()
    for crs in _SYSTEMS:
        try:
            next(iter(read_rows(ask_columns(replace(found, crs=crs), settings, scratch), settings, scratch)), None)
            accepted.append(crs)
        except DeliveryRefused as refusal:
            if refusal.rule_id != "delivery.crs":
                raise
            said |= set(re.findall(r"EPSG:\d+", str(refusal))) - {*_SYSTEMS}
    if len(accepted) == len(_SYSTEMS):  # the file says none
        return ask_columns(found, settings, scratch)
    found = replace(found, crs=accepted[0] if accepted else min(said, default=None))
    return ask_columns(found, settings, scratch)


def choose_type(path: Path) -> str:
    """``source.format.type`` by the file's ending, or by what it begins with. Raises UsageError."""
    from guiji.sources.formats import READERS

    allowed = [form for form in READERS if form != "document"]
    if path.suffix.lower() in _PACKED:
        allowed = []
    suffix = path.suffix.lower().lstrip(".")
    form = suffix if suffix in allowed else _ENDINGS.get(suffix, suffix)
    if suffix == "ndjson" and "jsonl" not in allowed:
        form = "json"
    if form == "json":
        with path.open("rb") as f:
            if re.search(rb'"type"\s*:\s*"FeatureCollection"', f.read(65536)):
                form = "geojson"
    if form == "gpkg" or form not in allowed:
        form = {"shapefile": "shp", "geopackage": "gpkg"}.get(form, form)
    if form in allowed:
        return form
    raise UsageError(
        f"{path.name}: files that end in {path.suffix or 'nothing'} are not known. Allowed: {', '.join(allowed)}. "
        "Nothing was written; rename the file by its form, or convert it."
    )


def _discover_text(found: Found, path: Path) -> Found:
    from guiji.sources.formats.encoding import detect_encoding, read_blocks

    encoding = detect_encoding(path, "auto", found.what)
    block = next(read_blocks(path, encoding, found.what, 1 << 18))
    lines = block.data.decode("utf-8", "replace").split("\n")[:_HEAD_LINES]
    lines = [line.removesuffix("\r") for line in lines]
    delimiter, quote, records = find_delimiter(lines)
    form: dict[str, Any] = {**found.source["format"], "encoding": "auto" if encoding.startswith("utf-16") else encoding}
    if delimiter != ",":
        form["delimiter"] = delimiter
    if quote != '"':
        form["quote"] = quote
    header = find_header_row(records)
    if header is None:
        refuse_twice(records, found.what)
        refuse_tall_header(records, found.what)
        return _without_header(found, form, records, encoding, delimiter)
    notes = [f"编码 {encoding}，分隔符 {_name_delimiter(delimiter)}，表头在第 {header + 1} 行"]
    notes += _note_above([" ".join(c for c in r if c.strip()) for r in records[:header]])
    columns = _columns([c.strip() for c in records[header]])
    return replace(found, columns=columns, source=_with_format(found, form), notes=tuple(notes))


def _without_header(
    found: Found, form: dict[str, Any], records: Sequence[Sequence[str]], encoding: str, delimiter: str
) -> Found:
    """A file whose first line is a row: its columns are known by their order only."""
    widths = {len(r) for r in records[:-1] if any(c.strip() for c in r)} or {len(r) for r in records}
    if len(widths) != 1:
        raise refuse_without_header(found.what)
    columns = tuple(FoundColumn(f"第{i + 1}列") for i in range(widths.pop()))
    note = f"编码 {encoding}，分隔符 {_name_delimiter(delimiter)}，没有表头：列按顺序对应，请逐列写明是什么"
    return replace(
        found, columns=columns, source=_with_format(found, {**form, "header": False}), notes=(note,), headless=True
    )


def _name_delimiter(delimiter: str) -> str:
    return {",": "逗号", "\t": "制表符", ";": "分号", "|": "竖线"}.get(delimiter, delimiter)


def _note_above(lines: Sequence[str]) -> list[str]:
    above = [line for line in lines if line.strip()]
    if not above:
        return []
    return [
        f"表头上方有 {len(above)} 行标题或说明，不是数据；其中的内容如需采集（如单位、期次），用 layout.metadata 登记"
    ]


def _columns(names: Sequence[str]) -> tuple[FoundColumn, ...]:
    return tuple(FoundColumn(n) for n in names if n)


def _with_format(found: Found, form: dict[str, Any]) -> dict[str, Any]:
    return {**found.source, "format": form}


def _discover_sheet(found: Found, path: Path, wanted: str | None) -> Found:
    layout, names, notes, above, written = find_tables(path, found.what, wanted)
    form = {**found.source["format"], **({"layout": layout} if layout else {})}
    columns = _columns([SHEET_COLUMN] * ("sheets" in layout) + names)
    key = "sheets" if "sheets" in layout else "sheet"
    asked = {f"layout.{key}": ask_names("采集哪些工作表", written)} if may_be_person(written) else {}
    notes = [*notes, *_note_above(above)]
    return replace(found, columns=columns, source=_with_format(found, form), notes=tuple(notes), asked=asked)


def ask_columns(found: Found, settings: Settings, scratch: Path) -> Found:
    """``found`` with every column that its reader names. A reader that streams names some, then more."""
    for _ in range(_ROUNDS):
        try:
            for _batch in read_rows(found, settings, scratch):
                pass
            return found
        except DeliveryRefused as refusal:
            named = refusal.context.get("columns")
            known = {c.name for c in found.columns}
            new = [str(c) for c in named if str(c) not in known] if isinstance(named, list) else []
            if refusal.rule_id != "delivery.undeclared_column" or not new:
                raise
            found = replace(found, columns=(*found.columns, *(FoundColumn(c) for c in new)))
    raise UsageError(f"{found.what} names ever further columns. Nothing was written; check what the file holds.")


# --- tables --------------------------------------------------------------------------------------------


def discover_table(connection: str, table: str, settings: Settings) -> Found:
    """The columns of ``[schema.]table`` with the database's own types, comments and key."""
    from guiji.sources.describe import describe_table

    schema, _, name = table.rpartition(".")
    source: dict[str, Any] = {"kind": "database", "connection": connection}
    source |= ({"schema": schema} if schema else {}) | {"table": name}
    found = Found(f"表 {table}", (), source, "数据库")
    description = describe_table(make_stand_in(found), settings)
    columns = tuple(FoundColumn(c.name, c.type, c.comment, c.proposed) for c in description.columns)
    title = description.comment if description.comment and re.search("[\u4e00-\u9fff]", description.comment) else None
    return replace(found, columns=columns, title=title, key=description.key)
