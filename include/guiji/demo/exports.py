"""Deliveries as files, as departments' machines write them: CSV, workbooks, GeoJSON, plain text."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from guiji.demo import nature
from guiji.demo.planting import KINDS, plant
from guiji.demo.running import RunningCity


def write_csv(
    running: RunningCity,
    path: Path,
    table: pa.Table,
    resource_id: str,
    delivery: str,
    moment: datetime,
    *,
    encoding: str = "utf-8",
    delimiter: str = ",",
    clean: bool = False,
    seed: int = 0,
) -> None:
    """A delivery as CSV; line numbers of spoilt rows go into the truth."""
    kinds = () if clean else KINDS.get(resource_id, ())
    spoilt, truth = plant(table, kinds, running.errors(table.num_rows), running.city.seed + seed)
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter=delimiter)
    names = [c for c in spoilt.column_names if not c.startswith("_")]
    writer.writerow(names)
    for position, row in enumerate(spoilt.to_pylist()):
        cut = int(row.get("_cut") or 0)
        writer.writerow([row[c] or "" for c in names][: len(names) - cut])
        if position in truth:
            running.note(resource_id, delivery, truth[position].name, str(position + 2))
    put_file(path, sink.getvalue().encode(encoding), moment)


def write_xlsx(
    running: RunningCity,
    path: Path,
    table: pa.Table,
    resource_id: str,
    delivery: str,
    moment: datetime,
    *,
    title: str,
    numeric: Sequence[str] = (),
    total: str | None = None,
    footnote: str | None = None,
    clean: bool = False,
    seed: int = 0,
    rename: Mapping[str, str] | None = None,
) -> None:
    """A delivery as a workbook with a merged title row, as offices make them."""
    import xlsxwriter

    kinds = () if clean else KINDS.get(resource_id, ())
    spoilt, truth = plant(table, kinds, running.errors(table.num_rows), running.city.seed + seed)
    sink = io.BytesIO()
    with xlsxwriter.Workbook(sink, {"strings_to_formulas": False, "strings_to_urls": False}) as book:
        sheet = book.add_worksheet("Sheet1")
        heading = book.add_format({"bold": True, "align": "center", "font_size": 16})
        sheet.merge_range(0, 0, 0, len(spoilt.column_names) - 1, title, heading)
        sheet.write_row(1, 0, [(rename or {}).get(name, name) for name in spoilt.column_names])
        for position, row in enumerate(spoilt.to_pylist()):
            for column, (name, value) in enumerate(row.items()):
                if name in numeric and value is not None:
                    sheet.write_number(position + 2, column, float(value))
                else:
                    sheet.write_string(position + 2, column, value or "")
            if position in truth:
                running.note(resource_id, delivery, truth[position].name, str(position + 3))
        end = spoilt.num_rows + 2
        if total:
            sheet.write_string(end, 0, total)
            end += 1
        if footnote:
            sheet.write_string(end, 0, footnote)
    put_file(path, sink.getvalue(), moment)


def write_geojson(
    running: RunningCity, path: Path, table: pa.Table, resource_id: str, delivery: str, moment: datetime, seed: int = 0
) -> None:
    """Parcels as a FeatureCollection, one feature a line."""
    spoilt, truth = plant(table, KINDS[resource_id], running.errors(table.num_rows), running.city.seed + seed)
    features = []
    for position, row in enumerate(spoilt.to_pylist()):
        geometry = row.pop("geometry")
        if row.pop("_bow_tie", None):
            geometry = nature.bow_tie(geometry)
        features.append(
            json.dumps({"type": "Feature", "properties": row, "geometry": json.loads(geometry)}, ensure_ascii=False)
        )
        if position in truth:
            running.note(resource_id, delivery, truth[position].name, str(position + 1))
    body = '{"type": "FeatureCollection", "features": [\n' + ",\n".join(features) + "\n]}\n"
    put_file(path, body.encode(), moment)


def write_text(path: Path, text: str, encoding: str, moment: datetime) -> None:
    put_file(path, text.encode(encoding), moment)


def put_file(path: Path, content: bytes, moment: datetime) -> None:
    """Writes a file as the department's machine would have at ``moment``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (moment.timestamp(), moment.timestamp()))
