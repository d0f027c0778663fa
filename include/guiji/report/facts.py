"""One line of facts per resource of the month; every figure of the report is a sum over such lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from guiji.origins import OWN, mark_name
from guiji.reconciliation_due import reconciled_every
from guiji.report.queries import QUERIES
from guiji.settings import TIME_ZONE

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog import Catalog

WAYS = {"database": "库表", "sftp": "SFTP 文件", "ftp": "FTP 文件", "files": "文件交换", "http": "接口"}


@dataclass(frozen=True)
class Period:
    """A month [start, end) and the moment after which nothing counts."""

    month: str
    as_of: date
    start: datetime
    end: datetime
    cutoff: datetime

    @property
    def stop(self) -> datetime:
        return min(self.end, self.cutoff)

    @property
    def is_complete(self) -> bool:
        return self.cutoff >= self.end


def make_period(month: str, as_of: date, now: datetime) -> Period:
    """The month ``YYYY-MM`` as of the end of the day ``as_of`` (on the day itself: as of now), in Asia/Shanghai."""
    start = date.fromisoformat(f"{month}-01")
    end = (start.replace(day=28) + timedelta(days=4)).replace(day=1)
    first, after, night = (datetime.combine(d, time(0), TIME_ZONE) for d in (start, end, as_of + timedelta(days=1)))
    return Period(month, as_of, first, after, min(night, now))


@dataclass
class ResourceFacts:
    """What the ledger says about one resource in the month."""

    resource_id: str
    name: str
    department_id: str
    way: str
    libraries: tuple[str, ...] = ()
    cycle: str = ""
    code: str = ""
    origin: str = OWN
    in_catalog: bool = False
    demanded: bool = False
    batches_ever: int = 0
    serving: int = 0
    met: int = 0
    late: int = 0
    missed: int = 0
    batches: int = 0
    published: int = 0
    held: int = 0
    refused: int = 0
    failed: int = 0
    rows_read: int = 0
    rows_new: int = 0
    rows_changed: int = 0
    rows_deleted: int = 0
    rows_held: int = 0
    passed: int = 0
    rejected: int = 0
    assigned: int = 0
    expected: int = 0
    is_to_reconcile: bool = False
    comparisons: int = 0
    agrees: bool = False
    due: int = 0
    closed: int = 0
    in_time: int = 0

    @property
    def windows(self) -> int:
        return self.met + self.late + self.missed

    @property
    def should_reconcile(self) -> bool:
        """Compared with its front-end this month, or ought to have been."""
        return self.comparisons > 0 or (self.is_to_reconcile and self.batches_ever > 0)

    @property
    def is_live(self) -> bool:
        return self.serving > 0

    @property
    def is_own(self) -> bool:
        """Supplied by a department, which is assessed by it."""
        return self.origin == OWN


@dataclass(frozen=True)
class MonthFacts:
    """Everything that was read for one month."""

    period: Period
    resources: dict[str, ResourceFacts]
    department_names: dict[str, str]
    unregistered: frozenset[str]  # departments that only the demand lists name: nobody has described what they hold
    windows: list[dict[str, Any]]
    rules: list[dict[str, Any]]
    tickets: list[dict[str, Any]]
    days: list[dict[str, Any]]
    ledger: list[dict[str, Any]]
    conflicts: dict[str, int]
    library_rows: dict[str, int | None]
    trend: list[dict[str, Any]]
    parameters: Mapping[str, Any] = field(default_factory=dict)


def load_month(conn: Connection[dict[str, Any]], catalog: Catalog, period: Period) -> MonthFacts:
    """Reads the month from the ledger, in one snapshot of it."""
    parameters: dict[str, Any] = {
        "month": period.month,
        "start": period.start,
        "stop": period.stop,
        "cutoff": period.cutoff,
        "snapshots": sorted(r.id for r in catalog.resources.values() if r.model.load == "snapshot"),
    }

    def ask(name: str) -> list[dict[str, Any]]:
        return conn.execute(f"/* guiji report {name} */ {QUERIES[name][1]}".encode(), parameters).fetchall()

    facts = _list_resources(catalog)

    def fact(resource_id: str) -> ResourceFacts:
        if resource_id not in facts:  # no longer in the catalog, but in the ledger
            facts[resource_id] = ResourceFacts(resource_id, resource_id, resource_id.split(".")[0], "其他")
        return facts[resource_id]

    for row in ask("serving"):
        if row["resource_id"] in facts:
            facts[row["resource_id"]].batches_ever = row["batches"]
            facts[row["resource_id"]].serving = row["serving"]
    windows = ask("windows")
    for row in windows:
        one = fact(row["resource_id"])
        setattr(one, row["state"], getattr(one, row["state"]) + 1)
    for row in ask("batches"):
        one = fact(row["resource_id"])
        for name in ("batches", "published", "held", "refused", "failed"):
            setattr(one, name, row[name])
        for name in ("rows_read", "rows_new", "rows_changed", "rows_deleted", "rows_held"):
            setattr(one, name, row[name] or 0)
    for row in ask("passed"):
        fact(row["resource_id"]).passed = row["passed"] or 0
    for row in ask("rejected"):
        fact(row["resource_id"]).rejected = row["rejected"] or 0
    for row in ask("reconciled"):
        one = fact(row["resource_id"])
        one.comparisons, one.agrees = row["comparisons"], row["agrees"]
    rules = ask("rules")
    for row in rules:
        if row["indicator"] == "0201":
            one = fact(row["resource_id"])
            one.expected += row["judged"]
            one.assigned += row["judged"] - row["failed"]
    tickets = ask("tickets")
    for row in tickets:
        if row["is_due"]:
            one = fact(row["resource_id"])
            one.due += 1
            one.closed += row["closed_at"] is not None
            one.in_time += row["closed_at"] is not None and row["closed_at"] <= row["due_at"]
    names = {d.id: d.name for d in catalog.departments.values()}
    for one in facts.values():
        asked = _find_asked(catalog, one.department_id)  # only a demand list knows of it
        names.setdefault(one.department_id, f"{asked}（未登记）" if asked else f"{one.department_id}（未登记的部门）")
    return MonthFacts(
        period=period,
        resources=dict(sorted(facts.items())),
        department_names=names,
        unregistered=frozenset(names) - frozenset(catalog.departments),
        windows=windows,
        rules=rules,
        tickets=tickets,
        days=ask("days"),
        ledger=ask("ledger"),
        conflicts={r["library"]: r["open"] for r in ask("conflicts")},
        library_rows={x.name: _count_library(conn, x.table) for x in catalog.libraries.values()},
        trend=ask("trend"),
        parameters=parameters,
    )


def _list_resources(catalog: Catalog) -> dict[str, ResourceFacts]:
    """Catalog items, items whose file is broken, and what the demand lists ask for but nobody has catalogued."""
    feeds: dict[str, set[str]] = {}
    for library in catalog.libraries.values():
        for resource_id in library.demand:
            feeds.setdefault(resource_id, set()).add(library.name)
    demanded = set(feeds)
    for resource in catalog.resources.values():
        feeds.setdefault(resource.id, set()).update(m.library for m in resource.model.mappings)
    facts: dict[str, ResourceFacts] = {}
    for resource in catalog.resources.values():
        model = resource.model
        facts[resource.id] = ResourceFacts(
            resource_id=resource.id,
            name=mark_name(model.name, model.origin),
            department_id=model.department_id,
            way=WAYS.get(model.source.kind, model.source.kind),
            libraries=tuple(sorted(feeds[resource.id])),
            cycle=str(model.update_cycle),
            code=model.code,
            origin=model.origin,
            in_catalog=True,
            demanded=model.demanded or resource.id in demanded,
            is_to_reconcile=reconciled_every(resource) in ("day", "week", "month"),
        )
    for resource_id in catalog.broken_resources:
        name = f"{resource_id}（目录文件有误）"
        facts[resource_id] = ResourceFacts(
            resource_id,
            name,
            resource_id.split(".")[0],
            "未挂接",
            tuple(sorted(feeds.get(resource_id, ()))),
            in_catalog=True,
            demanded=True,
        )
    for resource_id in sorted(demanded - set(facts)):
        name = f"{_find_asked(catalog, resource_id) or resource_id}（需求清单所列，尚未编目）"
        facts[resource_id] = ResourceFacts(
            resource_id, name, resource_id.split(".")[0], "未挂接", tuple(sorted(feeds[resource_id])), demanded=True
        )
    return facts


def _find_asked(catalog: Catalog, id: str) -> str | None:
    """What a demand list calls a resource or department that the catalog does not hold; libraries in their order."""
    return next((x.demand_names[id] for x in catalog.libraries.values() if id in x.demand_names), None)


def _count_library(conn: Connection[dict[str, Any]], table: str) -> int | None:
    """Rows that serve in a library, None before its first resolution."""
    from psycopg import sql

    found = conn.execute(
        """/* guiji report library */ SELECT count(*) FILTER (WHERE column_name = '_deleted_at') AS deletable,
        count(*) AS columns FROM information_schema.columns WHERE table_schema = 'library' AND table_name = %s""",
        (table,),
    ).fetchone()
    if found is None or not found["columns"]:
        return None
    where = sql.SQL("WHERE _deleted_at IS NULL" if found["deletable"] else "")
    row = conn.execute(
        sql.SQL("/* guiji report library */ SELECT count(*) AS n FROM {} {}").format(
            sql.Identifier("library", table), where
        )
    ).fetchone()
    return int(row["n"]) if row else None
