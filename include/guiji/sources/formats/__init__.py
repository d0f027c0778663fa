"""Forms of files: each reader gives batches of text with the system columns, strictly.

``csv`` (``encoding``, ``tokenizer``), ``excel`` (``workbook``), ``json``; ``layout`` finds the table in the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.sources.columns import Expected

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import Format
    from guiji.records import ReadReport


def read_file(path: Path, origin: str, expected: Expected, fmt: Format, report: ReadReport) -> Iterator[pa.RecordBatch]:
    """The rows of one file. The header is checked before this returns; DeliveryRefused may still come while reading."""
    if fmt.type == "csv":
        from guiji.sources.formats.csv import read_csv

        return read_csv(path, origin, expected, fmt, report)
    if fmt.type == "xlsx":
        from guiji.sources.formats.excel import read_excel

        return read_excel(path, origin, expected, fmt, report)
    from guiji.sources.formats.json import read_json

    return read_json(path, origin, expected, fmt, report)
