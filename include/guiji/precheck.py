"""A department's check of a file before it delivers it: the verdict that the pipeline would give, nothing published.

The file runs through the same source, standardising, rules and judge as a delivery, in a temporary folder that is
removed. What is printed is Chinese, masked, and names lines; the exit code is the pipeline's.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.errors import DeliveryRefused
from guiji.records import CheckedBatch, Window
from guiji.settings import Settings

if TYPE_CHECKING:
    from guiji.catalog.models import Format, Resource

#: how many findings are listed; the counts are of all
LISTED = 50


def check_file(settings: Settings, resource_id: str, file: Path) -> int:
    """Prints the verdict on ``file``; returns 0 when it would be published, 1 when it would be held or refused."""
    from guiji.catalog import load_resource
    from guiji.freshness import current_window
    from guiji.quality import check_batch, demand_rows, judge_batch
    from guiji.sources import open_delivery
    from guiji.staging import stage_batch

    resource = _read_from(load_resource(settings.catalog, resource_id), file.absolute())
    with tempfile.TemporaryDirectory(prefix="guiji-check-") as folder:
        local = replace(settings, staging=folder, home=Path(folder))
        window: Window = current_window(resource, settings.now())
        try:
            delivery = open_delivery(
                resource, local, window, watermark=None, known_files=(), scratch=Path(folder) / "scratch"
            )
            staged = stage_batch(resource, local, window, delivery, "0" * 16)
            demand_rows(resource, staged.rows)
            checked = check_batch(resource, local, staged, carry_cache=None)
            quality = judge_batch(resource, local, staged, checked, previous_rows=None)
        except DeliveryRefused as error:
            print(f"不能接收：{error}")
            return 1
        print(f"{resource.department.name} · {resource.model.name}（{resource.id}）")
        print(_summarise(staged.skipped, checked))
        _print_rules(checked)
        _print_findings(checked)
        if quality.outcome == "held":
            print("结论：整批将被暂停，请更正后再报送。原因：" + "；".join(quality.reasons))
            return 1
        print(
            "结论：可以报送。"
            if not checked.rows_rejected
            else "结论：可以报送，但上面不合格的行不会入库，请更正后补报。"
        )
        return 0


def _read_from(resource: Resource, file: Path) -> Resource:
    """The same resource, supplied by this one file."""
    from guiji.catalog.models import Completeness, FilesSource

    source = FilesSource(
        kind="files",
        directory=str(file.parent),
        pattern=re.escape(file.name),
        complete=Completeness(seconds=0),
        format=_choose_format(resource, file),
    )
    return resource.model_copy(update={"model": resource.model.model_copy(update={"source": source})})


def _choose_format(resource: Resource, file: Path) -> Format:
    """The resource's own file format; by the file's ending where the resource is supplied by table or interface."""
    from guiji.catalog.models import Format

    declared = getattr(resource.model.source, "format", None)
    if isinstance(declared, Format):
        return declared
    kinds = {".xlsx": "xlsx", ".json": "json", ".geojson": "geojson"}
    return Format.model_validate({"type": kinds.get(file.suffix.lower(), "csv")})


def _summarise(skipped: dict[str, int], checked: CheckedBatch) -> str:
    text = f"共 {checked.rows_read:,} 行：合格 {checked.rows_accepted:,}，不合格 {checked.rows_rejected:,}，重复 {checked.rows_duplicate:,}"
    if total := sum(skipped.values()):
        text += f"；另有 {total} 行不是数据（标题、说明、合计等），未计入"
    return text


def _print_rules(checked: CheckedBatch) -> None:
    from guiji.render import render_table

    failed = [r for r in checked.rules if r.failed]
    if failed:
        rows = (
            (r.title, "不合格" if r.severity == "reject" else "存疑", f"{r.failed:,}", r.standard or "", r.mend)
            for r in failed
        )
        print(render_table(("规则", "性质", "行数", "依据", "怎样更正"), rows))


def _print_findings(checked: CheckedBatch) -> None:
    import pyarrow.parquet as pq

    from guiji.render import render_table

    titles = {r.rule_id: r.title for r in checked.rules}
    verdicts = {"rejected": "不合格", "suspicious": "存疑", "mended": "已自动更正", "unjudged": "无法判断"}
    found = pq.read_table(checked.findings).slice(0, LISTED).to_pylist()
    if found:
        rows = (
            (
                f"第{f['_line']}行",
                verdicts[f["verdict"]],
                titles.get(f["rule_id"], f["rule_id"]),
                f["value_masked"] or "",
            )
            for f in found
        )
        print(render_table(("位置", "结果", "规则", "值（已脱敏）"), rows))
