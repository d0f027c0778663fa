"""What a resource file says of its source, its form and its layout: whether the parts agree with each other and the fields."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from guiji.catalog.checker import Checker, dotted
from guiji.catalog.models import (
    DatabaseSource,
    FilesSource,
    HttpSource,
    RemoteFilesSource,
    ResourceModel,
)
from guiji.window_words import find_faults

SPREADSHEETS = ("xlsx", "xls", "xlsb", "ods", "fods", "html", "xml2003")


def check_source(c: Checker, model: ResourceModel) -> None:
    source = model.source
    columns = [f.source_column for f in model.fields if not f.is_made]
    if isinstance(source, DatabaseSource):
        if source.filter is not None:
            c.check_expression(
                ("source", "filter"), source.filter, {*columns, *(a for f in model.fields for a in f.aliases)}
            )
        _check_cursor(c, model, source.cursor)
    elif isinstance(source, HttpSource):
        _check_cursor(c, model, source.cursor)
        _check_window_words(c, ("source", "parameters"), source.parameters)
        _check_window_words(c, ("source", "body"), source.body)
        if source.paging.style == "cursor" and not source.paging.next:
            c.add(("source", "paging"), "paging style cursor needs next, the path of the next cursor in the answer")
    elif isinstance(source, RemoteFilesSource | FilesSource):
        pattern = c.check_regex(("source", "pattern"), source.pattern)
        manifest = source.complete.manifest
        if source.complete.mode == "manifest":
            if manifest is None:
                c.add(("source", "complete"), "mode manifest needs manifest, the pattern of the manifest's name")
            elif (listing := c.check_regex(("source", "complete", "manifest"), manifest)) is not None:
                pattern = listing if "date" in listing.groupindex else pattern
        if pattern is not None and "date" in pattern.groupindex and not _reads_a_day(source.date_format):
            c.add(
                ("source", "date_format"),
                f"{source.date_format!r} is no strptime format of a day",
                mend='Write for instance "%Y%m%d" or "%Y年%m月"; without it no file would be taken.',
            )
        dated = source.format.type == "document" or (pattern is not None and "date" in pattern.groupindex)
        if pattern is not None and model.load == "incremental" and not dated:
            mend = "Write (?P<date>\\d{8}) where the date stands in the name."
            c.add(
                ("source", "pattern"),
                "files of an incremental resource need their business date in the name",
                mend=mend,
            )
        _check_form(c, model, source)
        _check_layout(c, model, source, columns)


def _reads_a_day(form: str) -> bool:
    """Whether days that are written in this format are read back with their year."""
    try:
        return datetime.strptime(date(2026, 10, 1).strftime(form), form).replace(tzinfo=UTC).year == 2026
    except ValueError:
        return False


def _check_form(c: Checker, model: ResourceModel, source: RemoteFilesSource | FilesSource) -> None:
    """What an archive, a geometry file and a register of documents need of the rest of the file."""
    form = source.format
    path = ("source", "format")
    if form.member is not None:
        c.check_regex((*path, "member"), form.member)
        if form.archive != "zip" and form.type != "shapefile":
            c.add((*path, "member"), "member chooses among the files of a zip archive", mend="Write archive: zip.")
    if form.type in ("shapefile", "document") and form.archive == "gzip":
        c.add(
            (*path, "archive"),
            f"gzip holds one file; a {form.type} comes as it is or zipped",
            mend="Write archive: zip.",
        )
    if form.type in ("shapefile", "geopackage"):
        shapes = [f.name for f in model.fields if f.type == "geometry" and f.constant is None]
        if len(shapes) != 1:
            c.add((*path, "type"), f"a {form.type} has one geometry, but {len(shapes)} fields are of type geometry")
    if form.type == "geojson":
        shape = next(((i, f) for i, f in enumerate(model.fields) if f.type == "geometry"), None)
        if shape is not None and shape[1].encoding != "geojson":
            c.add(
                ("fields", shape[0]),
                f"field {shape[1].name}: a geojson file writes its shapes as geojson, not {shape[1].encoding}",
                mend="Write encoding: geojson.",
            )


def _check_window_words(c: Checker, path: tuple[str | int, ...], value: object) -> None:
    """Words of the window that the interface would be sent as they stand."""
    if isinstance(value, str):
        for fault in find_faults(value):
            c.add(
                path,
                f"{dotted(path)}: {fault}; it would be sent as it stands",
                mend='Write "{window_start}", "{window_end}", or with a form "{window_start:%Y-%m-%d %H:%M:%S}", '
                '"{window_start:seconds}", "{window_start:milliseconds}".',
            )
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _check_window_words(c, (*path, key), inner)


def _check_cursor(c: Checker, model: ResourceModel, cursor: str | None) -> None:
    columns = [f.source_column for f in model.fields if not f.is_made]
    if cursor is None:
        if model.load == "incremental":
            c.add(
                ("source",),
                "an incremental resource needs source.cursor, the column that grows with every change",
                allowed=columns,
            )
    elif cursor not in columns:
        c.add(
            ("source", "cursor"),
            f"source.cursor is {cursor!r}, which is no declared column",
            allowed=columns,
            word=cursor,
        )


def _check_sheets(c: Checker, source: RemoteFilesSource | FilesSource) -> dict[str, tuple[str | int, ...]]:
    """What is said of sheets and header rows; returns the columns that sheet names fill and where they are written."""
    layout = source.format.layout
    path = ("source", "format", "layout")
    if source.format.type not in SPREADSHEETS:
        for key in ("sheet", "sheets", "header_rows", "fill_merged"):
            if getattr(layout, key) not in (None, 1, []):
                c.add((*path, key), f"{key} is for spreadsheets; a {source.format.type} file has none")
        return {}
    if layout.sheets is None:
        return {}
    if layout.sheet is not None:
        c.add((*path, "sheets"), "sheet and sheets exclude each other: one names a sheet, the other a family of them")
    pattern = c.check_regex((*path, "sheets"), layout.sheets)
    return {} if pattern is None else dict.fromkeys(pattern.groupindex, (*path, "sheets"))


def _check_layout(
    c: Checker, model: ResourceModel, source: RemoteFilesSource | FilesSource, columns: Sequence[str]
) -> None:
    layout = source.format.layout
    path = ("source", "format", "layout")
    for name, text in layout.metadata.items():
        pattern = c.check_regex((*path, "metadata", name), text)
        if pattern is not None and pattern.groups < 1:
            c.add(
                (*path, "metadata", name), f"the expression of {name!r} needs a group: what is in it becomes the value"
            )
    for key in ("footnote", "total"):
        if (text := getattr(layout, key)) is not None:
            c.check_regex((*path, key), text)
    produced: dict[str, tuple[str | int, ...]] = {name: (*path, "metadata", name) for name in layout.metadata}
    produced |= _check_sheets(c, source)
    if layout.unpivot is not None:
        c.check_regex((*path, "unpivot", "columns"), layout.unpivot.columns)
        produced |= {layout.unpivot.into: (*path, "unpivot", "into"), layout.unpivot.value: (*path, "unpivot", "value")}
        made = {*produced, *layout.unpivot.keep}
        for i, spec in enumerate(model.fields):
            if not spec.is_made and spec.required and not made & {spec.source_column, *spec.aliases}:
                c.add(
                    ("fields", i),
                    f"field {spec.name}: column {spec.source_column!r} is not among those that unpivot makes or keeps",
                    allowed=sorted(made),
                    word=spec.source_column,
                )
    there = sorted({*columns, *(layout.unpivot.keep if layout.unpivot else ())} - produced.keys())
    for i, name in enumerate(layout.fill_merged):
        if name not in there:
            c.add((*path, "fill_merged", i), f"no column {name!r} is read from the sheet", allowed=there, word=name)
    for name, where in produced.items():
        if name not in columns:
            c.add(where, f"no field reads the column {name!r} that is made here", allowed=columns, word=name)
