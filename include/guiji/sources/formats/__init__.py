"""Forms of files: each reader gives batches of text with the system columns, strictly.

``csv`` (``encoding``, ``tokenizer``), ``excel`` (``workbook``), ``json``; ``layout`` finds the table in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.sources.columns import Expected

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport

    Reader = Callable[[Path, str, Expected, Format, ReadReport], Iterator[pa.RecordBatch]]

#: ``Format.type`` -> module of this package and its function, a ``Reader``; imported when first needed
READERS: dict[str, tuple[str, str]] = {
    "csv": ("csv", "read_csv"),
    **dict.fromkeys(("xlsx", "xls", "xlsb", "ods", "fods", "html", "xml2003"), ("excel", "read_excel")),
    "json": ("json", "read_json"),
    "geojson": ("json", "read_json"),
    "jsonl": ("json_lines", "read_json_lines"),
    "xml": ("xml", "read_xml"),
    "parquet": ("parquet", "read_parquet"),
    "dbf": ("dbf", "read_dbf"),
    "sql": ("sql_dump", "read_sql_dump"),
    "shapefile": ("shapefile", "read_shapefile"),
    "geopackage": ("geopackage", "read_geopackage"),
    "document": ("documents", "read_document"),
}


def read_file(path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport) -> Iterator[pa.RecordBatch]:
    """The rows of one file. The header is checked before this returns; DeliveryRefused may still come while reading."""
    # a shapefile is a set of files, a register one of many: their readers open the archive that holds them
    packed = fmt.archive != "none" and fmt.type not in ("shapefile", "document")
    module, function = ("archive", "read_archive") if packed else READERS[fmt.type]
    reader: Reader = getattr(import_module(f"{__name__}.{module}"), function)
    return reader(path, origin, expected, fmt, report)
