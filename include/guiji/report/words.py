"""How the report says numbers and dates. Pure functions over what was frozen."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from typing import Any

from guiji.settings import TIME_ZONE

CANNOT = "无法评价"
STATUS = {"published": "入库", "held": "暂缓", "refused": "退回", "failed": "失败"}


def say_percent(a: int, b: int) -> str:
    """Two decimals, rounded half up; 无法评价 where B = 0; never 100.00% while something is missing, nor 0.00%."""
    if b == 0:
        return CANNOT
    hundredths = int(Fraction(a, b) * 10_000 + Fraction(1, 2))
    if hundredths == 10_000 and a < b:
        return ">99.99%"
    if hundredths == 0 and a > 0:
        return "<0.01%"
    return f"{hundredths // 100}.{hundredths % 100:02d}%"


def say_figure(figure: dict[str, Any]) -> str:
    """Its share; the figure's own word where it was not measured (未对账)."""
    return str(figure["none"]) if figure.get("none") else say_percent(figure["a"], figure["b"])


def say_score(score: int | None) -> str:
    return "—" if score is None else f"{score // 100}.{score % 100:02d}"


def say_number(number: int | None) -> str:
    return "—" if number is None else f"{number:,}"


def say_short(number: int) -> str:
    """1,234 · 12.3 万 · 1.23 亿 for labels of charts."""
    if number >= 10**8:
        return f"{number / 10**8:.2f} 亿"
    return f"{number / 10**4:.1f} 万" if number >= 10**5 else f"{number:,}"


def say_month(month: str) -> str:
    year, _, number = month.partition("-")
    return f"{year}年{int(number)}月"


def say_date(iso: str | None) -> str:
    if not iso:
        return "—"
    d = datetime.fromisoformat(iso)
    return f"{d.year}年{d.month}月{d.day}日"


def say_time(iso: str | None) -> str:
    if not iso:
        return "—"
    d = datetime.fromisoformat(iso)
    return f"{d.astimezone(TIME_ZONE):%Y-%m-%d %H:%M}" if d.tzinfo else f"{d:%Y-%m-%d %H:%M}"


def say_span(start: str, end: str) -> str:
    """A half-open window by its dates: 2026-10-01 至 2026-10-31."""
    from datetime import timedelta

    a, b = datetime.fromisoformat(start), datetime.fromisoformat(end) - timedelta(seconds=1)
    return f"{a:%Y-%m-%d}" if a.date() == b.date() else f"{a:%Y-%m-%d} 至 {b:%Y-%m-%d}"


def say_hours(hours: int) -> str:
    """How late: 3 小时 · 2 天 5 小时."""
    days, rest = divmod(hours, 24)
    return f"{days} 天 {rest} 小时" if days and rest else f"{days} 天" if days else f"{rest} 小时"
