"""A small city and its ledger for tests of notices and reports: a catalog from models, rows by SQL."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from guiji.catalog import Catalog
from guiji.catalog.models import DepartmentModel, LibraryModel, Resource, ResourceModel
from guiji.settings import TIME_ZONE

Conn = Connection[dict[str, Any]]


def at(text: str) -> datetime:
    """A moment in Asia/Shanghai: ``2026-10-20 09:00`` or ``2026-10-20``."""
    return datetime.fromisoformat(text).replace(tzinfo=TIME_ZONE)


def make_department(id: str, name: str, *, email: str | None = "", contact: str = "李四") -> DepartmentModel:
    address = f"{id}@ordos.example.cn" if email == "" else email
    return DepartmentModel.model_validate(
        {
            "id": id,
            "name": name,
            "short_name": name.removeprefix("市"),
            "credit_code": "11150602MB0000000X",
            "leader": "张三",
            "section": "信息科",
            "contacts": [{"name": contact, "email": address}] if address else [],
        }
    )


def make_resource(department: DepartmentModel, short: str, name: str, **changes: Any) -> Resource:
    raw: dict[str, Any] = {
        "id": f"{department.id}.{short}",
        "code": f"307001/{int(hashlib.sha256(short.encode()).hexdigest()[:6], 16) % 10**6:06d}",
        "name": name,
        "summary": "一行一人",
        "category": {"class": "基础信息资源", "item": "人口"},
        "format": "数据库",
        "system": "业务系统",
        "sharing": {"type": "无条件共享"},
        "update_cycle": "每月",
        "published": "2026-01-01",
        "source": {"kind": "database", "connection": f"fep_{department.id}", "table": short},
        "fields": [
            {"name": "id_no", "title": "公民身份号码", "nullable": False, "sensitivity": 4},
            {"name": "name", "title": "姓名", "sensitivity": 3},
        ],
        "key": ["id_no"],
        **changes,
    }
    return Resource(
        model=ResourceModel.model_validate(raw), department=department, path=f"{short}.yml", fingerprint="f"
    )


def make_catalog(
    departments: list[DepartmentModel], resources: list[Resource], libraries: list[LibraryModel] | None = None
) -> Catalog:
    return Catalog(
        resources={r.id: r for r in sorted(resources, key=lambda r: r.id)},
        departments={d.id: d for d in sorted(departments, key=lambda d: d.id)},
        libraries={x.name: x for x in libraries or []},
    )


def make_library(name: str, title: str, table: str, demand: list[str]) -> LibraryModel:
    return LibraryModel.model_validate(
        {
            "name": name,
            "table": table,
            "title": title,
            "key": [{"name": "id_no", "title": "公民身份号码"}],
            "fields": [{"name": "name", "title": "姓名"}],
            "demand": demand,
        }
    )


def rule(
    rule_id: str,
    title: str,
    *,
    rows: int,
    failed: int = 0,
    unjudged: int = 0,
    mended: int = 0,
    indicator: str = "0301",
    severity: str = "reject",
    standard: str | None = "GB 11643-1999",
    mend: str = "请核对原始档案后更正",
    fields: tuple[str, ...] = ("id_no",),
) -> dict[str, Any]:
    """One ``records.RuleResult`` as the batch row keeps it."""
    return {
        "rule_id": rule_id,
        "title": title,
        "indicator": indicator,
        "severity": severity,
        "standard": standard,
        "mend": mend,
        "fields": list(fields),
        "rows": rows,
        "failed": failed,
        "unjudged": unjudged,
        "mended": mended,
        "tolerance": 0.05,
    }


@dataclass
class Ledger:
    """Inserts rows; every method commits."""

    conn: Conn
    _n: int = 0

    def batch(
        self,
        resource_id: str,
        moment: datetime,
        *,
        status: str = "published",
        window: tuple[datetime, datetime] | None = None,
        reason: str | None = None,
        responsible: str | None = None,
        cause: str | None = None,
        rules: list[dict[str, Any]] | None = None,
        files: tuple[str, ...] = (),
        staged: bool = True,
        **rows: int,
    ) -> str:
        self._n += 1
        batch_id = hashlib.sha256(f"{resource_id}|{moment}|{self._n}".encode()).hexdigest()[:16]
        start, end = window or (moment.replace(day=1, hour=0, minute=0, second=0), moment + timedelta(seconds=1))
        counts = {f"rows_{k}": v for k, v in rows.items()}
        counts.setdefault("rows_read", sum(v for k, v in counts.items() if k not in ("rows_deleted", "rows_skipped")))
        names = ", ".join(counts)
        self.conn.execute(
            f"""INSERT INTO ops.batch (batch_id, resource_id, department_id, window_start, window_end, status, outcome,
                  started_at, staged_at, published_at, reason, responsible, cause, rules, {names})
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, {", ".join(["%s"] * len(counts))})""",
            (
                batch_id,
                resource_id,
                resource_id.split(".")[0],
                start,
                end,
                status,
                "held" if status == "held" else "passed" if status == "published" else None,
                moment - timedelta(minutes=5),
                moment - timedelta(minutes=3) if staged else None,
                moment if status == "published" else None,
                reason,
                responsible,
                cause,
                Jsonb(rules or []),
                *counts.values(),
            ),
        )
        for path in files:
            self.conn.execute(
                "INSERT INTO ops.file (resource_id, path, size, modified_at, sha256, batch_id, recorded_at)"
                " VALUES (%s, %s, 1, %s, %s, %s, %s)",
                (resource_id, path, moment, batch_id, batch_id, moment),
            )
        self.conn.commit()
        return batch_id

    def finding(
        self, batch_id: str, locator: str, rule_id: str, value: str | None, verdict: str = "rejected", row_no: int = 1
    ) -> None:
        self.conn.execute(
            "INSERT INTO ops.finding (batch_id, resource_id, locator, row_no, rule_id, indicator, verdict, value_masked)"
            " SELECT %s, resource_id, %s, %s, %s, '0301', %s, %s FROM ops.batch WHERE batch_id = %s",
            (batch_id, locator, row_no, rule_id, verdict, value, batch_id),
        )
        self.conn.commit()

    def rejected(self, batch_id: str, row_no: int, rules: list[str], key: str | None) -> None:
        self.conn.execute(
            "INSERT INTO ops.rejected_row (batch_id, row_no, resource_id, locator, rules, key_hmac, sealed)"
            " SELECT %s, %s, resource_id, %s, %s, %s, ''::bytea FROM ops.batch WHERE batch_id = %s",
            (batch_id, row_no, f"t:{row_no}", rules, key, batch_id),
        )
        self.conn.commit()

    def event(
        self,
        resource_id: str,
        kind: str,
        moment: datetime,
        *,
        batch_id: str | None = None,
        cause: str = "",
        payload: dict[str, Any] | None = None,
    ) -> int:
        row = self.conn.execute(
            "INSERT INTO ops.outbox (department_id, resource_id, batch_id, kind, cause, payload, created_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING event_id",
            (resource_id.split(".")[0], resource_id, batch_id, kind, cause or kind, Jsonb(payload or {}), moment),
        ).fetchone()
        self.conn.commit()
        assert row is not None
        return int(row["event_id"])

    def ticket(
        self,
        resource_id: str,
        rule_id: str,
        opened: datetime,
        due: datetime,
        *,
        closed: datetime | None = None,
        batch_id: str | None = None,
        closed_batch: str | None = None,
        rows: int = 1,
        stage: str = "open",
    ) -> int:
        row = self.conn.execute(
            "INSERT INTO ops.ticket (department_id, resource_id, rule_id, opened_batch, closed_batch, rows_open,"
            " opened_at, due_at, closed_at, stage) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING ticket_id",
            (
                resource_id.split(".")[0],
                resource_id,
                rule_id,
                batch_id,
                closed_batch,
                rows,
                opened,
                due,
                closed,
                "closed" if closed else stage,
            ),
        ).fetchone()
        self.conn.commit()
        assert row is not None
        return int(row["ticket_id"])

    def window(
        self,
        resource_id: str,
        start: datetime,
        end: datetime,
        due: datetime,
        state: str,
        *,
        met: datetime | None = None,
        batch_id: str | None = None,
        responsible: str | None = None,
    ) -> None:
        self.conn.execute(
            "INSERT INTO ops.delivery_window (resource_id, window_start, window_end, due_at, state, met_at, batch_id,"
            " responsible, calendar, checked_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'legal', %s)",
            (resource_id, start, end, due, state, met, batch_id, responsible, due),
        )
        self.conn.commit()

    def reconciliation(self, resource_id: str, at: datetime, agrees: bool, front_end: int | None = 100) -> None:
        self.conn.execute(
            "INSERT INTO ops.reconciliation (resource_id, started_at, finished_at, rows_front_end, rows_layer, agrees)"
            " VALUES (%s, %s, %s, %s, 100, %s)",
            (resource_id, at, at, front_end, agrees),
        )

    def all(self, sql: str) -> list[dict[str, Any]]:
        rows = self.conn.execute(sql).fetchall()
        self.conn.commit()
        return rows
