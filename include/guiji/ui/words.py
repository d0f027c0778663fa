"""The words and formats of the pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from guiji.records import Window
from guiji.settings import TIME_ZONE

STATUS = {
    "staged": ("处理中", "note"),
    "published": ("已入库", "good"),
    "held": ("待批准", "warn"),
    "refused": ("已退回", "bad"),
    "failed": ("失败", "bad"),
    "superseded": ("被取代", "none"),
}
WINDOW = {
    "met": ("按时", "good"),
    "late": ("迟报", "warn"),
    "missed": ("漏报", "bad"),
    "not_due": ("未到期", "none"),
}
VERDICT = {
    "rejected": ("拒收", "bad"),
    "suspicious": ("存疑", "warn"),
    "mended": ("已规范", "note"),
    "unjudged": ("无法判断", "none"),
}
RESPONSIBLE = {"department": "报送部门", "front_end": "前置机或接口", "ours": "平台"}
COUNTS = {
    "rows_rejected": ("拒收", "bad"),
    "rows_held": ("待定", "warn"),
    "rows_duplicate": ("重复", "none"),
    "rows_superseded": ("过期", "none"),
    "rows_tombstone": ("删除标记", "none"),
    "rows_new": ("新增", "good"),
    "rows_changed": ("变更", "note"),
    "rows_unchanged": ("未变", "calm"),
}
KINDS = {
    "failed_rows": "问题数据",
    "held": "批次暂停",
    "refused": "整批退回",
    "unavailable": "前置机不可用",
    "refused_us": "拒绝访问",
    "recovered": "恢复正常",
    "drift": "列有变化",
    "missed": "未按时报送",
    "gap": "系列有缺",
    "not_archived": "未能归档",
    "reminder": "催办",
    "stale": "运行中断",
}
STAGES = {"open": "待整改", "reminded": "已催办", "overdue": "逾期", "escalated": "已上报", "closed": "已办结"}


def format_number(value: int | None) -> str:
    return "—" if value is None else f"{value:,}"


def format_moment(value: datetime | None) -> str:
    """Month, day, hour and minute in the city's time."""
    return "—" if value is None else value.astimezone(TIME_ZONE).strftime("%m-%d %H:%M")


def format_day(value: datetime | None) -> str:
    return "—" if value is None else value.astimezone(TIME_ZONE).strftime("%Y-%m-%d")


def format_window(batch: dict[str, Any]) -> str:
    return Window(batch["window_start"], batch["window_end"]).name()


def format_share(part: int, whole: int) -> str:
    """A share as people say it; 无法评价 when there is nothing to divide by (domain §6)."""
    return f"{part / whole:.2%}" if whole else "无法评价"


def describe_status(batch: dict[str, Any] | None) -> tuple[str, str]:
    """Word and tone of a resource's last batch."""
    if batch is None:
        return "未归集", "none"
    if batch["cause"] == "nothing_delivered":
        return "尚未送达", "none"
    if batch["status"] == "published" and batch["outcome"] == "warning":
        return "已入库 · 有问题", "note"
    return STATUS[batch["status"]]
