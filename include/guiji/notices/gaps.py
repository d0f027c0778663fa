"""Days of a series for which no file came (F-36): told while they are missing, never after the file has come."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from guiji.delivery_windows import windows_between

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog import Catalog
    from guiji.notices.model import Event

_SHOWN = 10


def load_dates(conn: Connection[dict[str, Any]], events: Sequence[Event]) -> dict[str, set[date]]:
    """Per resource of which a gap is to be told: the business dates of all files that came, whatever became of them."""
    resource_ids = sorted({e.resource_id for e in events if e.kind == "gap" and e.resource_id})
    if not resource_ids:
        return {}
    rows = conn.execute(
        """/* guiji notices dates of files */ SELECT DISTINCT resource_id, business_date FROM ops.file
        WHERE resource_id = ANY(%s) AND business_date IS NOT NULL""",
        (resource_ids,),
    )
    found: dict[str, set[date]] = {}
    for row in rows:
        found.setdefault(row["resource_id"], set()).add(row["business_date"])
    return found


def list_missing(catalog: Catalog, event: Event, dates: Mapping[str, Collection[date]]) -> list[date]:
    """The days of the event's gap whose cycle still has no file, in order."""
    resource = catalog.resources.get(event.resource_id or "")
    came = dates.get(event.resource_id or "", ())
    missing = []
    for text in event.payload.get("missing", ()):
        day = date.fromisoformat(str(text))
        spans = [(day, day + timedelta(1))]
        if resource is not None:
            windows = windows_between(resource, day, day + timedelta(1))
            spans = [(w.start.date(), w.end.date()) for w in windows] or spans
        if not any(start <= d < end for start, end in spans for d in came):
            missing.append(day)
    return sorted(missing)


def say_missing(missing: Sequence[date]) -> str:
    """The missing days in a clerk's words."""
    shown = "、".join(d.isoformat() for d in missing[:_SHOWN])
    return f"缺少 {shown}{f' 等 {len(missing)} 期' if len(missing) > _SHOWN else ''} 的文件"
