"""Which resources are compared with their front-end on schedule, in which hours, and which of them are due now (F-05).

Due is an incremental resource that was not compared with its front-end in the current period (day, week, month,
quarter); ``ops.reconciliation`` is the only memory, so that a round that broke off goes on with what is left. Within a
period each resource has its own first night, which follows from its id: a front-end is not asked for all its tables in
one night. A snapshot is not compared on schedule: what has changed since its last delivery is no fault of anybody's,
and its next delivery brings it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from guiji.catalog.models import DatabaseSource
from guiji.settings import TIME_ZONE

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import DepartmentModel, Resource

#: sources whose whole content can be asked for again
REREADABLE = ("database", "http")
#: period -> nights over which its resources begin; the rest of the period is for those that failed
_NIGHTS = {"day": 1, "week": 5, "month": 20, "quarter": 60}


def reconciled_every(resource: Resource) -> str:
    """day, week, month or quarter; ``never`` for what is not compared on schedule."""
    model = resource.model
    if model.load != "incremental" or model.source.kind not in REREADABLE:
        return "never"
    return model.reconcile.every or ("month" if isinstance(model.source, DatabaseSource) else "never")


def list_scheduled(resources: Iterable[Resource], department_id: str) -> list[Resource]:
    """Those of the department that are compared on schedule, by id."""
    chosen = [r for r in resources if r.model.department_id == department_id and reconciled_every(r) != "never"]
    return sorted(chosen, key=lambda r: r.id)


def begin_period(every: str, now: datetime) -> datetime:
    """Midnight in the city of the first day of the period that ``now`` is in."""
    day = now.astimezone(TIME_ZONE).date()
    if every == "week":
        day -= timedelta(days=day.weekday())
    elif every == "month":
        day = day.replace(day=1)
    elif every == "quarter":
        day = day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
    return datetime.combine(day, time(0), TIME_ZONE)


def first_night(resource_id: str, every: str) -> int:
    """Days after the period's begin from which on the resource is due; the same in every process."""
    return sum(ord(c) * (i + 7) for i, c in enumerate(resource_id)) % _NIGHTS[every]


def find_due(conn: Connection[dict[str, Any]], resources: Sequence[Resource], now: datetime) -> list[Resource]:
    """Of the scheduled resources, those to be compared now: the longest not compared first.

    One that has never been published has nothing to be compared with, and is not due.
    """
    last = {
        row["resource_id"]: row["at"]
        for row in conn.execute(
            """/* guiji reconcile due */
            SELECT b.resource_id, max(r.started_at) AS at
            FROM (SELECT DISTINCT resource_id FROM ops.batch WHERE status = 'published' AND resource_id = ANY(%(ids)s)) b
            LEFT JOIN ops.reconciliation r ON r.resource_id = b.resource_id AND r.rows_front_end IS NOT NULL
            GROUP BY b.resource_id""",
            {"ids": [r.id for r in resources]},
        )
    }
    due = []
    for resource in resources:
        every = reconciled_every(resource)
        if every == "never" or resource.id not in last:
            continue
        begin, done = begin_period(every, now), last[resource.id]
        if now >= begin + timedelta(days=first_night(resource.id, every)) and (done is None or done < begin):
            due.append(resource)
    return sorted(due, key=lambda r: (last[r.id] is not None, last[r.id] or now, r.id))


def hours_of(department: DepartmentModel) -> tuple[time, timedelta]:
    """When its front-end may be read as a whole: from what time of day, and how long."""
    begin, end = (time.fromisoformat(t) for t in department.reconcile_hours.split("-"))
    minutes = (end.hour * 60 + end.minute - begin.hour * 60 - begin.minute) % (24 * 60)
    return begin, timedelta(minutes=minutes or 24 * 60)


def is_within_hours(department: DepartmentModel, now: datetime) -> bool:
    """True while its front-end may be read as a whole."""
    begin, length = hours_of(department)
    here = now.astimezone(TIME_ZONE)
    since = timedelta(hours=here.hour - begin.hour, minutes=here.minute - begin.minute, seconds=here.second)
    return since % timedelta(days=1) < length
