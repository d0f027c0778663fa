"""The lists of the report, line by line: late windows, open tickets, failing rules, days, batches."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from guiji.causes import say_cause
from guiji.masking import scrub
from guiji.report.facts import MonthFacts
from guiji.settings import TIME_ZONE
from guiji.structure import STRUCTURE

WINDOW_STATES = {"late": "逾期交付", "missed": "未交付"}
RESPONSIBLE = {"department": "部门", "front_end": "前置机或接口", "ours": "平台"}
TOP_RULES = 20


def say_iso(moment: datetime | None) -> str | None:
    return moment.astimezone(TIME_ZONE).isoformat(timespec="seconds") if moment else None


def find_name(month: MonthFacts, resource_id: str) -> str:
    known = month.resources.get(resource_id)
    return known.name if known else resource_id


def find_department(month: MonthFacts, resource_id: str) -> str:
    return month.department_names.get(resource_id.split(".")[0], resource_id.split(".")[0])


def _say_rule(line: dict[str, Any]) -> str:
    """What the rule demands: as the batch says it, else by its family, else its id."""
    rule_id = line["rule_id"]
    return scrub(line["title"] or STRUCTURE.get(rule_id, say_cause(rule_id))[0] or rule_id)


def make_window_line(month: MonthFacts, w: dict[str, Any]) -> dict[str, Any]:
    until = w["met_at"] or month.period.cutoff
    return {
        "department": find_department(month, w["resource_id"]),
        "resource": find_name(month, w["resource_id"]),
        "start": say_iso(w["window_start"]),
        "end": say_iso(w["window_end"]),
        "due_at": say_iso(w["due_at"]),
        "met_at": say_iso(w["met_at"]),
        "state": WINDOW_STATES[w["state"]],
        "hours": int((until - w["due_at"]).total_seconds() // 3600),
        "responsible": RESPONSIBLE.get(w["responsible"] or "", "未判定"),
        "calendar": w["calendar"],
    }


def make_ticket_line(month: MonthFacts, t: dict[str, Any]) -> dict[str, Any]:
    overdue = month.period.cutoff > t["due_at"]
    return {
        "id": int(t["ticket_id"]),
        "department": find_department(month, t["resource_id"]),
        "resource": find_name(month, t["resource_id"]),
        "rule": _say_rule(t),
        "rule_id": t["rule_id"],
        "rows": int(t["rows_open"]),
        "opened_at": say_iso(t["opened_at"]),
        "due_at": say_iso(t["due_at"]),
        "overdue_days": (month.period.cutoff - t["due_at"]).days if overdue else 0,
        "overdue": overdue,
    }


def make_ledger_line(month: MonthFacts, b: dict[str, Any]) -> list[Any]:
    rows = [int(v) for k, v in b.items() if k.startswith("rows_")]
    window = f"{say_iso(b['window_start'])}/{say_iso(b['window_end'])}"
    return [b["batch_id"], b["resource_id"], b["status"], say_iso(b["moment"]), window, *rows, b["cause"] or ""]


def list_top_rules(month: MonthFacts) -> list[dict[str, Any]]:
    failing = sorted(
        (r for r in month.rules if r["failed"]), key=lambda r: (-r["failed"], r["resource_id"], r["rule_id"])
    )
    return [
        {
            "resource": find_name(month, r["resource_id"]),
            "department": find_department(month, r["resource_id"]),
            "rule_id": r["rule_id"],
            "title": _say_rule(r),
            "indicator": r["indicator"],
            "standard": r["standard"] or "",
            "severity": r["severity"],
            "failed": int(r["failed"]),
            "judged": int(r["judged"]),
            "batches": int(r["batches"]),
        }
        for r in failing[:TOP_RULES]
    ]


def list_days(month: MonthFacts) -> list[dict[str, Any]]:
    """Every day that has begun, those without a batch as well: a gap must be seen."""
    found = {d["day"]: d for d in month.days}
    day, days = month.period.start, []
    while day < month.period.stop:
        line = found.get(f"{day:%Y-%m-%d}", {})
        names = ("batches", "published", "rows_read", "rows_rejected")
        days.append({"day": f"{day:%Y-%m-%d}", **{n: int(line.get(n) or 0) for n in names}})
        day += timedelta(days=1)
    return days
