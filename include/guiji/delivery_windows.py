"""Delivery windows of a resource: update cycles and when their deliveries are due.

A window is one cycle, half-open, from midnight to midnight in the resource's time zone. Its delivery is due T+n:
``due_days`` after the last day of the cycle (0: on that day), at ``due_time``; with ``working_days`` on the legal
calendar. 不定期 and 不更新 have no windows that could be missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from guiji.calendar import first_working_day, name_basis, shift_working_days
from guiji.catalog.models import ResourceModel, UpdateCycle
from guiji.records import Window
from guiji.settings import TIME_ZONE

if TYPE_CHECKING:
    from guiji.catalog.models import Resource

#: cycles that nothing is expected in
UNSCHEDULED = frozenset({UpdateCycle.IRREGULAR, UpdateCycle.NEVER})
_MONTHS = {
    UpdateCycle.MONTHLY: 1,
    UpdateCycle.QUARTERLY: 3,
    UpdateCycle.HALF_YEARLY: 6,
    UpdateCycle.YEARLY: 12,
    UpdateCycle.IRREGULAR: 1,
    UpdateCycle.NEVER: 1,
}


@dataclass(frozen=True, order=True)
class DeliveryWindow:
    """One cycle [start, end) and when its delivery is due. ``calendar`` is ``weekdays`` beyond the legal data."""

    start: datetime
    end: datetime
    due_at: datetime
    calendar: str

    @property
    def window(self) -> Window:
        return Window(self.start, self.end)


def windows_between(resource: Resource, start: date, end: date) -> list[DeliveryWindow]:
    """The windows that overlap [start, end), in order; none before ``delivery.since``, none for 不定期 and 不更新.

    A plain date counts as its midnight.
    """
    model = resource.model
    if model.update_cycle in UNSCHEDULED:
        return []
    zone = ZoneInfo(model.time_zone)
    low, high = read_moment(start, zone), read_moment(end, zone)
    if model.delivery.since:
        low = max(low, read_moment(date.fromisoformat(model.delivery.since), zone))
    return list(_iterate(model, low, high)) if low < high else []


def current_window(resource: Resource, now: datetime) -> Window:
    """The window that a delivery at ``now`` is for.

    It is the cycle that ``now`` lies in; but where the resource delivers after the end of its cycle (``due_days``
    of 1 and more), an ended cycle that isn't overdue yet comes first. 不定期 and 不更新: the month.
    """
    model = resource.model
    zone = ZoneInfo(model.time_zone)
    now = read_moment(now, zone)
    start = find_cycle_start(model.update_cycle, now.date())
    here = _window(model, start)
    if model.update_cycle in UNSCHEDULED or model.delivery.due_days == 0:
        return here.window
    chosen = here
    while start > date.min + timedelta(400):
        start = find_cycle_start(model.update_cycle, start - timedelta(1))
        earlier = _window(model, start)
        if earlier.due_at <= now:
            break
        chosen = earlier
    return chosen.window


def find_cycle_start(cycle: UpdateCycle, day: date) -> date:
    """The first day of the cycle that ``day`` lies in. Weeks begin on Monday; 实时 is watched by the day."""
    if cycle in (UpdateCycle.REALTIME, UpdateCycle.DAILY):
        return day
    if cycle is UpdateCycle.WEEKLY:
        return day - timedelta(day.weekday()) if day.toordinal() > day.weekday() else day
    size = _MONTHS[cycle]
    return date(day.year, (day.month - 1) // size * size + 1, 1)


def find_next_start(cycle: UpdateCycle, start: date) -> date:
    """The first day of the cycle after the one that begins on ``start``."""
    if cycle in (UpdateCycle.REALTIME, UpdateCycle.DAILY):
        return start + timedelta(1)
    if cycle is UpdateCycle.WEEKLY:
        return start + timedelta(7)
    months = start.year * 12 + start.month - 1 + _MONTHS[cycle]
    return date(months // 12, months % 12 + 1, 1)


def find_due(model: ResourceModel, last_day: date) -> datetime:
    """When the delivery of the cycle that ends with ``last_day`` is due."""
    delivery = model.delivery
    if not delivery.working_days:
        day = last_day + timedelta(delivery.due_days)
    elif delivery.due_days == 0:
        day = first_working_day(last_day)
    else:
        day = shift_working_days(last_day, delivery.due_days)
    return datetime.combine(day, time.fromisoformat(delivery.due_time), ZoneInfo(model.time_zone))


def _window(model: ResourceModel, start: date) -> DeliveryWindow:
    zone = ZoneInfo(model.time_zone)
    next_start = find_next_start(model.update_cycle, start)
    due_at = find_due(model, next_start - timedelta(1))
    return DeliveryWindow(
        datetime.combine(start, time(), zone),
        datetime.combine(next_start, time(), zone),
        due_at,
        name_basis(due_at.date()),
    )


def _iterate(model: ResourceModel, low: datetime, high: datetime) -> Iterator[DeliveryWindow]:
    start = find_cycle_start(model.update_cycle, low.date())
    while datetime.combine(start, time(), low.tzinfo) < high:
        yield _window(model, start)
        start = find_next_start(model.update_cycle, start)


def read_moment(value: date, zone: ZoneInfo) -> datetime:
    """A date's midnight, or a moment, in ``zone``; a naive moment is Asia/Shanghai."""
    if not isinstance(value, datetime):
        return datetime.combine(value, time(), zone)
    return value.astimezone(zone) if value.tzinfo else value.replace(tzinfo=TIME_ZONE).astimezone(zone)


def list_windows_that_count(resource: Resource, moment: datetime) -> list[DeliveryWindow]:
    """The windows of a resource that have begun by ``moment`` and count."""
    model = resource.model
    zone = ZoneInfo(model.time_zone)
    if model.delivery.since:
        return windows_between(resource, date.fromisoformat(model.delivery.since), moment + timedelta.resolution)
    day = moment.astimezone(zone).date()
    last_month = (day.replace(day=1) - timedelta(1)).replace(day=1)
    published = date.fromisoformat(model.published)
    first = max(published, last_month)
    # an older window whose delivery fell due since then counts as well
    reach = timedelta(2 * model.delivery.due_days + 20) if model.delivery.due_days else timedelta(0)
    low = read_moment(max(published, first - reach), zone)
    floor = read_moment(first, zone)
    return [w for w in windows_between(resource, low, moment + timedelta.resolution) if max(w.end, w.due_at) > floor]
