"""Small resources and the load packages a source would have left: for the tests of check, judge and comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from guiji.catalog.models import DepartmentModel, Resource, ResourceModel
from guiji.quality import check_batch
from guiji.records import CheckedBatch, StagedBatch, Window, write_record
from guiji.settings import TIME_ZONE, Settings

NOW = datetime(2026, 10, 20, 9, tzinfo=TIME_ZONE)
OCTOBER = Window(datetime(2026, 10, 1, tzinfo=TIME_ZONE), datetime(2026, 11, 1, tzinfo=TIME_ZONE))
Row = Mapping[str, Any]


def make_settings(home: Path) -> Settings:
    """A home of its own and a clock that stands; no warehouse."""
    return Settings.from_env({"GUIJI_HOME": str(home), "GUIJI_NOW": NOW.isoformat()})


def make_resource(fields: Sequence[Mapping[str, Any]], key: Sequence[str] = ("id",), **more: Any) -> Resource:
    """A resource of these fields; a field's title is its name where it says none."""
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
            "source": {"kind": "files", "directory": "/nowhere", "pattern": ".*"},
            "fields": [{"title": f["name"], **f} for f in fields],
            "key": list(key),
            **more,
        }
    )
    department = DepartmentModel(
        id="ab", name="测试局", short_name="测试局", credit_code="x", leader="某某", section="某股"
    )
    return Resource(model=model, department=department, path="ab/things.yml", fingerprint=f"{model.model_dump_json()}")


def stage_rows(
    settings: Settings,
    resource: Resource,
    rows: Sequence[Row],
    *,
    batch_id: str = "b1",
    types: Mapping[str, pa.DataType] | None = None,
    columns: Sequence[str] | None = None,
) -> StagedBatch:
    """A package of ``rows`` in two parts. ``_broken`` and ``_raw`` of a row are taken over; every cell is text unless
    ``types`` says otherwise."""
    types = types or {}
    if columns is None:
        columns = [f.source_column for f in resource.model.fields if f.constant is None]
    directory = settings.home / "staging" / resource.id / batch_id
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    schema = pa.schema(
        [
            *((c, types.get(c, pa.string())) for c in columns),
            ("_row_no", pa.int64()),
            ("_origin", pa.string()),
            ("_line", pa.int64()),
            ("_broken", pa.string()),
            ("_raw", pa.string()),
        ]
    )
    whole = [
        {
            **{c: row.get(c) for c in columns},
            "_row_no": n,
            "_origin": "things.csv",
            "_line": n + 1,
            "_broken": row.get("_broken"),
            "_raw": row.get("_raw"),
        }
        for n, row in enumerate(rows, 1)
    ]
    half = len(whole) // 2
    for part, some in enumerate((whole[:half], whole[half:])):
        pq.write_table(pa.Table.from_pylist(some, schema=schema), directory / f"part-{part:05d}.parquet")
    staged = StagedBatch(
        batch_id=batch_id,
        resource_id=resource.id,
        window=OCTOBER,
        directory=str(directory),
        rows=len(whole),
        sha256="-",
        columns=tuple(columns),
        types=tuple(str(types.get(c, pa.string())) for c in columns),
        skipped={},
        files=(),
        cursor_max=None,
        staged_at=NOW,
    )
    write_record(directory / "manifest.json", staged)
    return staged


def read_rows(path: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def read_accepted(checked: CheckedBatch, *columns: str) -> list[tuple[Any, ...]]:
    """The accepted rows in the order of the delivery."""
    rows = sorted(read_rows(checked.accepted), key=lambda r: r["_row_no"])
    return [tuple(r[c] for c in columns) for r in rows]


def read_rejected(checked: CheckedBatch) -> dict[int, list[str]]:
    """Row number -> the rules the row broke."""
    return {r["_row_no"]: r["_rules"] for r in read_rows(checked.rejected)}


def read_findings(checked: CheckedBatch) -> set[tuple[int, str, str]]:
    return {(r["_row_no"], r["rule_id"], r["verdict"]) for r in read_rows(checked.findings)}


ID = {"name": "id"}


def check_cells(home: Path, field: dict[str, Any], cells: list[Any], **more: Any) -> CheckedBatch:
    """A package with one cell per row under ``value``."""
    types = more.pop("types", None)
    resource = make_resource([ID, {"name": "value", **field}], **more)
    settings = make_settings(home)
    rows = [{"id": str(n), "value": cell} for n, cell in enumerate(cells, 1)]
    return check_batch(resource, settings, stage_rows(settings, resource, rows, types=types))
