"""The indicators of the month (domain §8), each as A over B with its trace. Integers and text only: exact in JSON.

Undelivered counts in the denominator. B = 0 can't be judged and is never 100 %. What can't be measured names the
input that is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.origins import ORIGINS
from guiji.report.facts import MonthFacts, ResourceFacts
from guiji.report.lines import list_days, list_top_rules, make_ledger_line, make_ticket_line, make_window_line, say_iso
from guiji.report.queries import QUERIES

if TYPE_CHECKING:
    from guiji.catalog import Catalog
    from guiji.city import City

Sum = Callable[[ResourceFacts], int]


@dataclass(frozen=True)
class Indicator:
    """One indicator: what A and B count, and where they come from."""

    key: str
    name: str
    formula: str
    part: Sum
    whole: Sum
    queries: str
    counted: Sum
    unit: str  # what ``counted`` counts: the evidence behind the number
    nothing: str = ""  # said where nothing was counted, and then nothing is judged


INDICATORS: tuple[Indicator, ...] = (
    Indicator(
        "bound",
        "目录挂接率",
        "有在用数据的目录项 ÷ 应挂接的目录项",
        lambda r: r.in_catalog and r.is_live,
        lambda r: r.in_catalog,
        "serving",
        lambda r: r.batches_ever,
        "批次",
    ),
    Indicator(
        "gathered",
        "归集率",
        "至少有一批入库的资源 ÷ 需求清单所列资源（含尚未编目的）",
        lambda r: r.demanded and r.batches_ever > 0,
        lambda r: r.demanded,
        "serving",
        lambda r: r.batches_ever,
        "批次",
    ),
    Indicator(
        "timely",
        "更新及时率",
        "按期交付的周期 ÷ 本月到期的交付周期（含未交付）",
        lambda r: r.met,
        lambda r: r.windows,
        "windows",
        lambda r: r.windows,
        "周期",
    ),
    Indicator(
        "qualified",
        "数据合格率",
        "通过全部强制规则的数据行 ÷ 报送的数据行（同一版本只计一次）",
        lambda r: r.passed,
        lambda r: r.passed + r.rejected,
        "passed, rejected",
        lambda r: r.batches,
        "批次",
    ),
    Indicator(
        "complete",
        "字段完整率",
        "已填写的必填项 ÷ 应填写的必填项（GB/T 36344 0201，按校验行次）",
        lambda r: r.assigned,
        lambda r: r.expected,
        "rules",
        lambda r: r.published + r.held,
        "批次",
    ),
    Indicator(
        "reconciled",
        "对账一致率",
        "最后一次核对三方一致的资源 ÷ 本月已核对和应核对的资源（含未核对的；一次也没有核对的为未对账）",
        lambda r: r.agrees,
        lambda r: r.should_reconcile,
        "reconciled, serving",
        lambda r: r.comparisons,
        "次核对",
        "未对账",
    ),
    Indicator(
        "mended",
        "整改率",
        "已办结的整改工单 ÷ 本月到期的整改工单",
        lambda r: r.closed,
        lambda r: r.due,
        "tickets",
        lambda r: r.due,
        "工单",
    ),
    Indicator(
        "in_time",
        "按期整改率",
        "期限内办结的整改工单 ÷ 本月到期的整改工单",
        lambda r: r.in_time,
        lambda r: r.due,
        "tickets",
        lambda r: r.due,
        "工单",
    ),
)
RANKED = ("gathered", "timely", "qualified", "in_time")
"""what a department is ranked by: the mean of those that can be judged"""

UNMEASURABLE = (
    ("共享响应及时率", "期限内答复的共享申请 ÷ 应答复的共享申请", "共享申请与答复记录"),
    ("异议处理率", "已处理的异议 ÷ 受理的异议", "异议受理与处理记录"),
    ("使用排行", "按调用次数、订阅部门数排序", "接口调用与数据订阅日志"),
)
MAX_LISTED = 2000


def compute_figures(month: MonthFacts, catalog: Catalog, city: City) -> dict[str, Any]:
    """Everything the report says, ready to be frozen: only dicts, lists, text, integers, booleans and null."""
    period = month.period
    everything = list(month.resources.values())
    own = [r for r in everything if r.is_own]  # what departments are assessed by; the rest is counted apart
    traces: list[dict[str, Any]] = []
    headline = _measure(traces, "all", "", "全市", own)
    departments = _rank(
        [
            {
                "id": d,
                "name": month.department_names[d],
                "figures": _measure(traces, "department", d, month.department_names[d], members),
                **_totals(members),
            }
            for d, members in _group(own, lambda r: [r.department_id])
        ],
        month.unregistered,
    )
    libraries = [
        {
            "id": x.name,
            "name": x.title,
            "figures": _measure(traces, "library", x.name, x.title, [r for r in own if x.name in r.libraries]),
            "rows": month.library_rows.get(x.name),
            "conflicts": month.conflicts.get(x.name, 0),
            **_totals([r for r in own if x.name in r.libraries]),
        }
        for x in catalog.libraries.values()
    ]
    ways = [
        {"name": w, "figures": _measure(traces, "way", w, w, members), **_totals(members)}
        for w, members in _group(own, lambda r: [r.way] if r.way != "未挂接" else [])
    ]
    origins = [
        {"id": o, "name": name, "figures": _measure(traces, "origin", o, name, members), **_totals(members)}
        for o, name in ORIGINS.items()
        if (members := [r for r in everything if r.origin == o])
    ]
    return {
        "version": 1,
        "month": period.month,
        "as_of": period.as_of.isoformat(),
        "complete": period.is_complete,
        "period": [say_iso(period.start), say_iso(period.end), say_iso(period.stop), say_iso(period.cutoff)],
        "city": {"name": city.name, "centre": city.centre, "basis": city.basis},
        "totals": {**_totals(own), "catalog": sum(r.in_catalog for r in own)},
        "headline": headline,
        "departments": departments,
        "libraries": libraries,
        "ways": ways,
        "origins": origins,
        "resources": [_resource(month, r) for r in everything],
        "national": _national(traces, month, headline),
        "windows": [make_window_line(month, w) for w in month.windows if w["state"] != "met"][:MAX_LISTED],
        "rules": list_top_rules(month),
        "tickets": [make_ticket_line(month, t) for t in month.tickets if t["closed_at"] is None][:MAX_LISTED],
        "days": list_days(month),
        "trend": _trend(month, headline),
        "unmeasurable": [{"name": n, "formula": f, "missing": m} for n, f, m in UNMEASURABLE],
        "traces": traces,
        "ledger": [make_ledger_line(month, b) for b in month.ledger],
        "queries": [{"name": n, "meaning": meaning, "sql": sql} for n, (meaning, sql) in QUERIES.items()],
    }


def _group(
    resources: Iterable[ResourceFacts], keys: Callable[[ResourceFacts], Iterable[str]]
) -> list[tuple[str, list[ResourceFacts]]]:
    groups: dict[str, list[ResourceFacts]] = {}
    for r in resources:
        for key in keys(r):
            groups.setdefault(key, []).append(r)
    return sorted(groups.items())


def _measure(
    traces: list[dict[str, Any]], kind: str, scope: str, scope_name: str, members: Sequence[ResourceFacts]
) -> dict[str, Any]:
    """Every indicator over some resources; each gets a trace with its number."""
    figures: dict[str, Any] = {}
    for indicator in INDICATORS:
        figures[indicator.key] = _trace(
            traces,
            indicator.name,
            scope_name,
            indicator.formula,
            _judge(indicator, members),
            indicator.queries,
            int(sum(map(indicator.counted, members))),
            indicator.unit,
        )
    return figures


def _judge(indicator: Indicator, members: Sequence[ResourceFacts]) -> dict[str, Any]:
    """A and B over some resources, and ``none``, the word for it, where the indicator was not measured at all."""
    if indicator.nothing and not sum(map(indicator.counted, members)):
        return {"a": 0, "b": 0, "none": indicator.nothing}
    return {"a": int(sum(map(indicator.part, members))), "b": int(sum(map(indicator.whole, members)))}


def _trace(
    traces: list[dict[str, Any]],
    name: str,
    scope: str,
    formula: str,
    figure: dict[str, Any],
    queries: str,
    counted: int,
    unit: str,
) -> dict[str, Any]:
    trace = f"F{len(traces) + 1:04d}"
    traces.append(
        {
            "id": trace,
            "name": name,
            "scope": scope,
            "formula": formula,
            **figure,
            "queries": queries,
            "counted": counted,
            "unit": unit,
        }
    )
    return {**figure, "trace": trace}


def _totals(members: Sequence[ResourceFacts]) -> dict[str, int]:
    names = ("batches", "published", "held", "refused", "failed", "rows_read", "rows_new", "rows_changed")
    totals = {n: sum(getattr(r, n) for r in members) for n in (*names, "rows_deleted", "rows_held", "rejected")}
    return {
        **totals,
        "resources": len(members),
        "serving": sum(r.serving for r in members),
        "late": sum(r.late for r in members),
        "missed": sum(r.missed for r in members),
    }


def score(figures: dict[str, Any]) -> int | None:
    """Mean of the ranked indicators that can be judged, in hundredths of a percent, rounded half up; else None."""
    ratios = [Fraction(figures[k]["a"], figures[k]["b"]) for k in RANKED if figures[k]["b"]]
    return int(sum(ratios) / len(ratios) * 10_000 + Fraction(1, 2)) if ratios else None


def _rank(departments: list[dict[str, Any]], unregistered: frozenset[str]) -> list[dict[str, Any]]:
    """Best first; equal scores share a rank; a department that can't be judged has none and comes last, and so does one
    that the catalog doesn't know: what is demanded of it counts as not gathered, but it was never asked."""
    for d in departments:
        d["score"] = None if d["id"] in unregistered else score(d["figures"])
    departments.sort(key=lambda d: (d["score"] is None, -(d["score"] or 0), d["id"]))
    for position, d in enumerate(departments, 1):
        before = departments[position - 2] if position > 1 else None
        same = before is not None and before["score"] == d["score"]
        d["rank"] = None if d["score"] is None else before["rank"] if before and same else position
    return departments


def _national(traces: list[dict[str, Any]], month: MonthFacts, headline: dict[str, Any]) -> dict[str, Any]:
    """By GB/T 36344-2018 code: rows that passed the rules of that code over rows judged by them."""
    table = json.loads((Path(__file__).parent / "indicators.json").read_text(encoding="utf-8"))
    lines = []
    for code, group, name in table["codes"]:
        rules = [r for r in month.rules if r["indicator"] == code and _is_own(month, r["resource_id"])]
        line: dict[str, Any] = {"code": code, "group": group, "name": name, "rules": len({r["rule_id"] for r in rules})}
        if code == "0502":
            line["figure"] = headline["timely"]
            line["rules"] = 0
        elif rules:
            judged, failed = sum(r["judged"] for r in rules), sum(r["failed"] for r in rules)
            formula = "通过该类规则的行次 ÷ 校验行次（不含无法判定）"
            batches = sum(r["batches"] for r in rules)
            line["figure"] = _trace(
                traces,
                f"{code} {name}",
                "全市",
                formula,
                {"a": int(judged - failed), "b": int(judged)},
                "rules",
                int(batches),
                "规则批次",
            )
        else:
            line["missing"] = table["missing_input"].get(code, "没有登记该类校验规则")
        lines.append(line)
    return {"standard": table["standard"], "date": table["date"], "lines": lines}


def _is_own(month: MonthFacts, resource_id: str) -> bool:
    found = month.resources.get(resource_id)
    return found is None or found.is_own


def _trend(month: MonthFacts, headline: dict[str, Any]) -> list[dict[str, Any]]:
    """Frozen months, oldest first, and this one."""
    past = [{"month": t["month"], "as_of": t["as_of"], "headline": t["headline"]} for t in reversed(month.trend)]
    for p in past:
        p["headline"] = {k: {"a": v["a"], "b": v["b"]} for k, v in p["headline"].items()}
    this = {k: {"a": v["a"], "b": v["b"]} for k, v in headline.items()}
    return [*past, {"month": month.period.month, "as_of": month.period.as_of.isoformat(), "headline": this}]


def _resource(month: MonthFacts, r: ResourceFacts) -> dict[str, Any]:
    line: dict[str, Any] = {
        "id": r.resource_id,
        "code": r.code,
        "name": r.name,
        "department": month.department_names[r.department_id],
        "way": r.way,
        "origin": ORIGINS[r.origin],
        "cycle": r.cycle,
        "libraries": list(r.libraries),
        "demanded": r.demanded,
        "in_catalog": r.in_catalog,
        "live": r.is_live,
        **_totals([r]),
    }
    line["figures"] = {i.key: _judge(i, [r]) for i in INDICATORS if i.key not in ("bound", "gathered")}
    return line
