"""A page per batch with Great Expectations' verdict: counts and shares only, no value of any row."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guiji.catalog.models import Resource
    from guiji.records import CheckedBatch, StagedBatch
    from guiji.settings import Settings

OUTCOMES = {"passed": "通过", "warning": "通过，有问题数据", "held": "暂停发布，待人工核定"}

_STYLE = """
body { font: 15px/1.6 "Noto Sans SC", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; margin: 2rem auto;
max-width: 62rem; padding: 0 1rem; color: #1c2733 }
h1 { font-size: 1.3rem } table { border-collapse: collapse; width: 100% } th, td { padding: .3rem .6rem; text-align: left; vertical-align: top;
border-bottom: 1px solid #d8dee6 } td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
td.s { white-space: nowrap } .scroll { overflow-x: auto } tr.no td { background: #fdecea } .held { color: #b3261e } .warning { color: #8a5a00 } .passed { color: #1b6e3c }
"""


def write_page(
    resource: Resource,
    settings: Settings,
    staged: StagedBatch,
    checked: CheckedBatch,
    judgements: Sequence[Any],
    outcome: str,
    reasons: Sequence[str],
) -> Path:
    """Writes ``data_docs/<resource>/<batch>.html`` in GUIJI_HOME, readable by the owner only; returns its path."""
    directory = settings.home / "data_docs" / resource.id
    for folder in (directory.parent, directory):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / f"{checked.batch_id}.html"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(_render(resource, staged, checked, judgements, outcome, reasons))
    return path


def _render(
    resource: Resource,
    staged: StagedBatch,
    checked: CheckedBatch,
    judgements: Sequence[Any],
    outcome: str,
    reasons: Sequence[str],
) -> str:
    e = html.escape
    rows = []
    for j in judgements:
        state = "符合" if j.met else ("不符合" if j.blocking else "提示")
        rows.append(
            f"<tr{'' if j.met else ' class=no'}><td>{e(j.title)}<br><small>{e(j.name)}</small></td><td>{e(j.indicator)}</td>"
            f"<td class=n>{_number(j.failed)}</td><td class=n>{_number(j.rows)}</td>"
            f"<td class=n>{e(j.observed)}</td><td class=n>{e(j.allowed)}</td><td class=s>{state}</td></tr>"
        )
    listed = "".join(f"<li>{e(reason)}</li>" for reason in reasons)
    return (
        f'<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{e(resource.model.name)} 质量评判</title>'
        f"<style>{_STYLE}</style></head><body><h1>{e(resource.department.name)} · {e(resource.model.name)}</h1>"
        f"<p>批次 {e(checked.batch_id)}，数据周期 {e(staged.window.name())}，读取 {checked.rows_read:,} 行，拒收 "
        f"{checked.rows_rejected:,} 行，重复 {checked.rows_duplicate:,} 行。</p>"
        f"<p class={e(outcome)}><strong>{e(OUTCOMES[outcome])}</strong></p><ul>{listed}</ul>"
        "<div class=scroll><table><thead><tr><th>要求</th><th>指标（GB/T 36344）</th><th class=n>不符合行</th><th class=n>评判行</th>"
        "<th class=n>实际</th><th class=n>允许</th><th>结论</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></body></html>"
    )


def _number(n: int | None) -> str:
    return "" if n is None else f"{n:,}"
