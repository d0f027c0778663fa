"""The facts of a digest, read from the ledger in a handful of queries however many events there are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from guiji.masking import scrub
from guiji.notices import words
from guiji.notices.conflicts import Conflicts, load_conflicts
from guiji.notices.gaps import load_dates

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.notices.model import Event

SAMPLES = 5
MAX_ROWS = 5000
"""rows of one batch in the workbook"""


@dataclass(frozen=True)
class Ticket:
    ticket_id: int
    resource_id: str
    rule_id: str
    rows_open: int
    opened_at: datetime
    due_at: datetime
    closed_at: datetime | None
    stage: str
    opened_batch: str | None
    closed_batch: str | None


@dataclass(frozen=True)
class Facts:
    batches: Mapping[str, Mapping[str, Any]]
    rules: Mapping[str, Mapping[str, Mapping[str, Any]]]  # batch -> rule -> RuleResult
    counts: Mapping[str, Mapping[str, Mapping[str, int]]]  # batch -> rule -> verdict -> findings
    samples: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
    files: Mapping[str, Sequence[str]]
    open_tickets: Mapping[str, Sequence[Ticket]]
    closed_tickets: Mapping[str, Sequence[Ticket]]  # by the batch that closed them
    tickets_by_id: Mapping[int, Ticket]
    published: Mapping[str, Sequence[Mapping[str, Any]]]  # resource -> newest published batches
    windows: Mapping[str, Sequence[Mapping[str, Any]]]
    refused_mail: Mapping[str, Sequence[str]] = field(default_factory=dict)
    conflicts: Conflicts = field(default_factory=dict)
    dates: Mapping[str, Collection[date]] = field(default_factory=dict)  # resource -> business dates of its files

    def say_serving(self, resource_id: str | None, batch_id: str | None) -> str:
        """What goes on serving meanwhile."""
        for batch in self.published.get(resource_id or "", ()):
            if batch["batch_id"] != batch_id:
                return f"继续使用 {words.say_day(batch['published_at'])}入库的数据，业务不受影响。"
        return "该资源尚无可用的历史数据。"

    def find_window(self, resource_id: str, start: object) -> Mapping[str, Any] | None:
        windows = self.windows.get(resource_id, ())
        if start:
            at = datetime.fromisoformat(str(start))
            return next((w for w in windows if w["window_start"] == at), None)
        return windows[0] if windows else None


def load_facts(conn: Connection[dict[str, Any]], events: Sequence[Event]) -> Facts:
    """Everything the digest of these events may say."""
    batch_ids = sorted({e.batch_id for e in events if e.batch_id})
    resource_ids = sorted({e.resource_id for e in events if e.resource_id})
    ticket_ids = sorted({int(e.payload["ticket_id"]) for e in events if "ticket_id" in e.payload})
    tickets = _load_tickets(conn, resource_ids, batch_ids, ticket_ids)
    opened = sorted({t.opened_batch for t in tickets if t.opened_batch})
    batches = _load_batches(conn, sorted({*batch_ids, *opened}))
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for row in conn.execute(
        """/* guiji notices counts */ SELECT batch_id, rule_id, verdict, count(*) AS n FROM ops.finding
        WHERE batch_id = ANY(%s) GROUP BY 1, 2, 3""",
        (batch_ids,),
    ):
        counts.setdefault(row["batch_id"], {}).setdefault(row["rule_id"], {})[row["verdict"]] = row["n"]
    return Facts(
        batches=batches,
        rules={b: {r["rule_id"]: r for r in row["rules"] or ()} for b, row in batches.items()},
        counts=counts,
        samples=_load_samples(conn, batch_ids),
        files=_load_files(conn, batch_ids),
        open_tickets=_group((t.resource_id, t) for t in tickets if t.closed_at is None),
        closed_tickets=_group((t.closed_batch, t) for t in tickets if t.closed_batch),
        tickets_by_id={t.ticket_id: t for t in tickets},
        published=_load_published(conn, resource_ids),
        windows=_load_windows(conn, resource_ids),
        refused_mail=_load_refused_mail(conn, [str(e.payload["mail_id"]) for e in events if "mail_id" in e.payload]),
        conflicts=load_conflicts(conn, events),
        dates=load_dates(conn, events),
    )


def load_findings(conn: Connection[dict[str, Any]], batch_id: str) -> tuple[list[dict[str, Any]], int]:
    """The first ``MAX_ROWS`` findings of a batch that the department must look at, and how many there are."""
    row = conn.execute(
        """/* guiji notices fix sheet */ SELECT count(*) AS n FROM ops.finding
        WHERE batch_id = %s AND verdict IN ('rejected', 'suspicious')""",
        (batch_id,),
    ).fetchone()
    rows = conn.execute(
        """/* guiji notices fix sheet */ SELECT locator, rule_id, verdict, value_masked FROM ops.finding
        WHERE batch_id = %s AND verdict IN ('rejected', 'suspicious') ORDER BY row_no, finding_id LIMIT %s""",
        (batch_id, MAX_ROWS),
    ).fetchall()
    return rows, int(row["n"]) if row else 0


def _group(pairs: Any) -> dict[Any, list[Any]]:
    grouped: dict[Any, list[Any]] = {}
    for key, value in pairs:
        grouped.setdefault(key, []).append(value)
    return grouped


def _load_batches(conn: Connection[dict[str, Any]], batch_ids: list[str]) -> dict[str, dict[str, Any]]:
    rows = conn.execute(
        """/* guiji notices batches */
        SELECT batch_id, resource_id, window_start, window_end, status, rows_read, rows_rejected, rows_held, rows_new,
               rows_changed, rows_unchanged, started_at, published_at, reason, responsible, cause, rules
        FROM ops.batch WHERE batch_id = ANY(%s)""",
        (batch_ids,),
    )
    return {r["batch_id"]: r for r in rows}


def _load_samples(
    conn: Connection[dict[str, Any]], batch_ids: list[str]
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    rows = conn.execute(
        """/* guiji notices samples */
        SELECT batch_id, rule_id, locator, verdict, value_masked FROM (
          SELECT f.*, row_number() OVER (PARTITION BY batch_id, rule_id ORDER BY row_no, finding_id) AS nth
          FROM ops.finding f WHERE batch_id = ANY(%s) AND verdict IN ('rejected', 'suspicious')) x
        WHERE nth <= %s ORDER BY batch_id, rule_id, nth""",
        (batch_ids, SAMPLES),
    )
    return _group(((r["batch_id"], r["rule_id"]), r) for r in rows)


def _load_files(conn: Connection[dict[str, Any]], batch_ids: list[str]) -> dict[str, list[str]]:
    rows = conn.execute(
        "/* guiji notices files */ SELECT batch_id, path FROM ops.file WHERE batch_id = ANY(%s) ORDER BY path",
        (batch_ids,),
    )
    return _group((r["batch_id"], r["path"]) for r in rows)


def _load_tickets(
    conn: Connection[dict[str, Any]], resource_ids: list[str], batch_ids: list[str], ticket_ids: list[int]
) -> list[Ticket]:
    rows = conn.execute(
        """/* guiji notices tickets */
        SELECT ticket_id, resource_id, rule_id, rows_open, opened_at, due_at, closed_at, stage, opened_batch, closed_batch
        FROM ops.ticket
        WHERE (resource_id = ANY(%s) AND closed_at IS NULL) OR closed_batch = ANY(%s) OR ticket_id = ANY(%s)
        ORDER BY ticket_id""",
        (resource_ids, batch_ids, ticket_ids),
    )
    return [Ticket(**r) for r in rows]


def _load_published(conn: Connection[dict[str, Any]], resource_ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    rows = conn.execute(
        """/* guiji notices serving */
        SELECT resource_id, batch_id, published_at FROM (
          SELECT resource_id, batch_id, published_at,
                 row_number() OVER (PARTITION BY resource_id ORDER BY published_at DESC, batch_no DESC) AS nth
          FROM ops.batch WHERE resource_id = ANY(%s) AND status = 'published') x
        WHERE nth <= 2 ORDER BY resource_id, nth""",
        (resource_ids,),
    )
    return _group((r["resource_id"], r) for r in rows)


def _load_windows(conn: Connection[dict[str, Any]], resource_ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    rows = conn.execute(
        """/* guiji notices windows */
        SELECT resource_id, window_start, window_end, due_at, responsible FROM ops.delivery_window
        WHERE resource_id = ANY(%s) AND state = 'missed' ORDER BY resource_id, window_start DESC""",
        (resource_ids,),
    )
    return _group((r["resource_id"], r) for r in rows)


def _load_refused_mail(conn: Connection[dict[str, Any]], mail_ids: list[str]) -> dict[str, list[str]]:
    rows = conn.execute(
        """/* guiji notices refused mail */
        SELECT mail_id, recipient, last_error FROM ops.mail
        WHERE mail_id = ANY(%s) AND refused_at IS NOT NULL ORDER BY recipient""",
        (mail_ids,),
    )
    return _group((r["mail_id"], f"{r['recipient']}（{scrub(r['last_error'] or '')}）") for r in rows)
