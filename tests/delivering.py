"""Small resources and deliveries for the tests of sources and formats."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from guiji.catalog.models import DepartmentModel, Format, Resource, ResourceModel
from guiji.records import DeliveredFile, Delivery, ReadReport, Window
from guiji.settings import TIME_ZONE, Settings
from guiji.sources import open_delivery
from guiji.sources.columns import Expected, expected_columns
from guiji.sources.formats import read_file

OCTOBER = Window(datetime(2026, 10, 1, tzinfo=TIME_ZONE), datetime(2026, 11, 1, tzinfo=TIME_ZONE))
NOW = datetime(2026, 10, 20, 9, tzinfo=TIME_ZONE)
Row = tuple[Any, ...]


def make_resource(source: dict[str, Any], columns: Sequence[str | dict[str, Any]], **more: Any) -> Resource:
    """A resource whose fields are text columns unless a dict says more; the first is the key."""
    fields = []
    for i, column in enumerate(columns):
        said = {"title": column} if isinstance(column, str) else column
        fields.append({"name": f"f{i}", **said})
    model = ResourceModel.model_validate(
        {
            "id": "ab.things",
            "code": "1/1",
            "name": "测试资源",
            "summary": "测试",
            "category": {"class": "基础信息资源", "item": "测试"},
            "format": "CSV",
            "system": "测试系统",
            "sharing": {"type": "无条件共享"},
            "update_cycle": "每月",
            "published": "2026-01-01",
            "source": source,
            "fields": fields,
            "key": ["f0"],
            **more,
        }
    )
    department = DepartmentModel(
        id="ab",
        name="测试局",
        short_name="测试局",
        credit_code="x",
        leader="某某",
        section="某股",
        statement_timeout_seconds=60,
    )
    return Resource(model=model, department=department, path="-", fingerprint="-")


def expect(*columns: str | dict[str, Any], **more: Any) -> Expected:
    """What a delivery with these columns must look like."""
    return expected_columns(make_resource({"kind": "files", "directory": "/", "pattern": "."}, columns, **more))


def read_bytes(
    tmp_path: Path, content: bytes, expected: Expected, name: str = "a.csv", **form: Any
) -> tuple[list[dict[str, Any]], ReadReport]:
    """The rows of a file as dicts with their system columns, and the report."""
    path = tmp_path / name
    path.write_bytes(content)
    report = ReadReport()
    batches = list(read_file(path, name, expected, Format.model_validate(form), report))
    return [row for batch in batches for row in batch.to_pylist()], report


def sound(rows: Sequence[dict[str, Any]], expected: Expected) -> list[Row]:
    """The cells of the rows that are not set aside."""
    return [tuple(r[c] for c in expected.columns) for r in rows if r["_broken"] is None]


def aside(rows: Sequence[dict[str, Any]]) -> list[tuple[int, str]]:
    """(line, reason) of the rows that are."""
    return [(r["_line"], r["_broken"].removeprefix("structure.")) for r in rows if r["_broken"] is not None]


def open_at(
    resource: Resource,
    settings: Settings,
    scratch: Path,
    *,
    now: datetime = NOW,
    window: Window = OCTOBER,
    watermark: str | None = None,
    known: Sequence[DeliveredFile] = (),
    explicit: bool = False,
) -> Delivery:
    """``open_delivery`` with the clock at ``now``."""
    return open_delivery(
        resource,
        settings.at(now),
        window,
        watermark=watermark,
        known_files=known,
        scratch=scratch,
        explicit=explicit,
    )


def rows_of(delivery: Delivery) -> list[Row]:
    """The rows of a delivery without system columns."""
    return [tuple(r[c] for c in delivery.columns) for b in _batches(delivery) for r in b.to_pylist()]


def _batches(delivery: Delivery) -> Iterator[pa.RecordBatch]:
    return delivery.batches


def plain_settings(home: Path) -> Settings:
    """Settings without a warehouse, for what needs none."""
    return dataclasses.replace(Settings.from_env({"GUIJI_HOME": str(home)}), real_data=_real_data())


def _real_data() -> Path | None:
    value = os.environ.get("GUIJI_REAL_DATA")
    return Path(value) if value else None
