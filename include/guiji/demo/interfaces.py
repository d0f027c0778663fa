"""Deliveries behind the departments' HTTP interfaces, each with its own paging and envelope."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa

from guiji.demo.planting import KINDS, plant
from guiji.demo.running import RunningCity, note_marks
from guiji.settings import TIME_ZONE

Answer = Mapping[str, str]


def deliver_records(
    running: RunningCity, resource_id: str, table: pa.Table, delivery: str, seed: int, *, append: bool = False
) -> None:
    """Puts records behind an interface; what was spoilt last time is mended: it is gone."""
    spoilt, truth = plant(table, KINDS.get(resource_id, ()), running.errors(table.num_rows), running.city.seed + seed)
    rows = spoilt.to_pylist()
    for position, row in enumerate(rows):
        row["_spoilt"] = position in truth
    former = [r for r in running.records.get(resource_id, []) if not r["_spoilt"]] if append else []
    fresh = {r["idCard"] for r in rows} if append else set()
    running.records[resource_id] = [r for r in former if r["idCard"] not in fresh] + rows
    if truth:
        note_marks(running, resource_id, delivery, spoilt, truth)


def open_interfaces(running: RunningCity) -> None:
    """Gives the city's HTTP server the answers of each department's interface, paging and envelope of its own."""

    def records(resource_id: str) -> list[dict[str, Any]]:
        return [{k: v for k, v in r.items() if k != "_spoilt"} for r in running.records.get(resource_id, [])]

    def employment(query: Answer) -> object:
        since, until = _naive(query.get("since")), _naive(query.get("until"))
        found = [
            r
            for r in records("rsj.employment")
            if (since is None or r["updateTime"] >= since) and (until is None or r["updateTime"] < until)
        ]
        found.sort(key=lambda r: (r["updateTime"], r["idCard"]))
        page, size = int(query.get("pageNo", "1")), int(query.get("pageSize", "200"))
        return {"code": "0", "msg": "", "data": {"total": len(found), "list": found[(page - 1) * size : page * size]}}

    def facilities(query: Answer) -> object:
        return {"status": "200", "message": "ok", "result": records("cgj.facility")}

    def stations(query: Answer) -> object:
        found = records("qxj.station")
        start, size = int(query.get("after") or 0), int(query.get("limit", "50"))
        return {"items": found[start : start + size], "next": str(start + size) if start + size < len(found) else None}

    def prices(query: Answer) -> object:
        found = records("fgw.price_index")
        start, size = int(query.get("offset") or 0), int(query.get("limit", "100"))
        return {"count": len(found), "rows": found[start : start + size]}

    def investment(query: Answer) -> object:
        found = records("fgw.key_project")
        page, size = int(query.get("page", "0")), int(query.get("size", "20"))
        return {"code": 200, "msg": "ok", "total": len(found), "data": found[page * size : (page + 1) * size]}

    def permits(query: Answer) -> object:
        found = records("sthj.permit")
        page, size = int(query.get("page", "1")), int(query.get("size", "50"))
        rows = found[(page - 1) * size : page * size]
        return {"code": "0", "message": "ok", "data": {"total": len(found), "records": rows}}

    running.interfaces.answers.update(
        {
            "/api/employment": employment,
            "/gis/components": facilities,
            "/v1/stations": stations,
            "/open/price": prices,
            "/open/investment": investment,
            "/ep/permits": permits,
        }
    )


def _naive(text: str | None) -> str | None:
    """A query's ISO timestamp as the department's system writes time."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    moment = moment.astimezone(TIME_ZONE) if moment.tzinfo else moment
    return f"{moment:%Y-%m-%d %H:%M:%S}"
