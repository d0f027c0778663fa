"""Days for which a series of dated files has none (F-36)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from guiji.catalog.models import UpdateCycle
from guiji.delivery_windows import DeliveryWindow, windows_between

if TYPE_CHECKING:
    from guiji.catalog.models import Resource

_SHOWN = 10
_DAILY = (UpdateCycle.REALTIME, UpdateCycle.DAILY)


def find_gap(resource: Resource, there: Collection[str], day: date) -> list[date]:
    """The first days of the cycles before ``day`` that no file is dated in, back to the last one that has a file.

    ``there`` are the ISO dates of all files known or present. Before the first file nothing is missing, and where the
    department counts in working days, nothing is on the others.
    """
    from guiji.calendar import is_working_day

    earlier = [date.fromisoformat(d) for d in there if d < day.isoformat()]
    if not earlier:
        return []
    windows = windows_between(resource, max(earlier), day + timedelta(1))
    missing = [w.start.date() for w in windows if not (_covers(w, max(earlier)) or _covers(w, day))]
    if resource.model.delivery.working_days and resource.model.update_cycle in _DAILY:
        missing = [d for d in missing if is_working_day(d)]
    return missing


def _covers(window: DeliveryWindow, day: date) -> bool:
    return window.start.date() <= day < window.end.date()


def name_gap(missing: Sequence[date], day: date) -> str:
    """A sentence that names the days ``missing`` before ``day``."""
    shown = "、".join(d.isoformat() for d in missing[:_SHOWN])
    more = f" 等 {len(missing)} 期" if len(missing) > _SHOWN else ""
    return f"{day.isoformat()} 之前缺少 {shown}{more} 的文件，请补报"
