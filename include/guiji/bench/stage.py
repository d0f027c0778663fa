"""One file staged as a run does it: the benches of CSV and of workbooks time the same thing."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.settings import Settings

if TYPE_CHECKING:
    from guiji.catalog.models import Resource


def stage_file(
    file: Path, fields: Sequence[Mapping[str, Any]], format: Mapping[str, Any] | None = None
) -> tuple[float, int]:
    """(seconds, rows) of one delivery: fetched, hashed, read and staged below the file's folder, then removed.

    The first field is the key; without ``format`` the file is read as the catalog's default says.
    """
    from datetime import timedelta

    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401  imported here so that it isn't measured

    from guiji.records import Window
    from guiji.sources import open_delivery
    from guiji.staging import stage_batch

    with tempfile.TemporaryDirectory(dir=file.parent) as home:
        settings = Settings.from_env({"GUIJI_HOME": home, "GUIJI_STAGING": f"{home}/staging"})
        scratch = Path(home) / "scratch"
        scratch.mkdir()
        now = settings.now()
        window = Window(now - timedelta(days=1), now + timedelta(days=1))
        resource = _make_resource(file, fields, format)
        start = time.perf_counter()
        delivery = open_delivery(resource, settings, window, watermark=None, known_files=(), scratch=scratch)
        staged = stage_batch(resource, settings, window, delivery, "0" * 16)
        return time.perf_counter() - start, staged.rows


def _make_resource(file: Path, fields: Sequence[Mapping[str, Any]], format: Mapping[str, Any] | None) -> Resource:
    from guiji.catalog.models import DepartmentModel, Resource, ResourceModel

    source: dict[str, Any] = {
        "kind": "files",
        "directory": str(file.parent),
        "pattern": file.name.replace(".", r"\."),
    }
    model = ResourceModel.model_validate(
        {
            "id": "bench.file",
            "code": "1/1",
            "name": "bench",
            "summary": "bench",
            "category": {"class": "基础信息资源", "item": "测试"},
            "format": "文件",
            "system": "bench",
            "sharing": {"type": "无条件共享"},
            "update_cycle": "不定期",
            "published": "2026-01-01",
            "source": source if format is None else {**source, "format": format},
            "fields": list(fields),
            "key": [fields[0]["name"]],
        }
    )
    department = DepartmentModel(id="bench", name="bench", short_name="bench", credit_code="-", leader="-", section="-")
    return Resource(model=model, department=department, path="-", fingerprint="-")
