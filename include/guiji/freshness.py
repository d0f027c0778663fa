"""Freshness: which delivery windows are met, late, missed or not yet due, and who is responsible (domain §7).

Judged from the ledger alone. ``delivery_windows`` says what a window is, ``calendar`` what a working day is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Literal

from guiji.calendar import add_working_days, is_working_day
from guiji.delivery_windows import (
    DeliveryWindow,
    current_window,
    list_windows_that_count,
    read_moment,
    windows_between,
)
from guiji.settings import TIME_ZONE, Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog import Catalog

    Conn = Connection[dict[str, Any]]

__all__ = [
    "DeliveryWindow",
    "StaleUpdate",
    "WindowState",
    "add_working_days",
    "assess",
    "current_window",
    "find_stale_updates",
    "is_working_day",
    "judge_window",
    "load_stale_updates",
    "windows_between",
]

State = Literal["met", "late", "missed", "not_due"]


@dataclass(frozen=True)
class WindowState:
    """One row of ``ops.delivery_window``; ``cause`` says in a word why it was late or missed."""

    resource_id: str
    window_start: datetime
    window_end: datetime
    due_at: datetime
    state: State
    met_at: datetime | None
    batch_id: str | None
    responsible: str | None
    calendar: str
    cause: str | None = None


@dataclass(frozen=True)
class StaleUpdate:
    """假更新: deliveries that only look like updates. ``batches`` are in order, the first is what was repeated."""

    resource_id: str
    kind: Literal["same_content", "old_content", "nothing_changed"]
    batches: tuple[str, ...]
    since: datetime


# --- assessment --------------------------------------------------------------------------------------


def assess(conn: Conn, settings: Settings, catalog: Catalog, as_of: date) -> list[WindowState]:
    """The state of every window that counts, as of a moment (a plain date: its end), written to ops.delivery_window.

    Windows count from ``delivery.since``; without it from the resource's publication, but not from before the month
    that precedes ``as_of``. A batch counts for the window that its ``window_start`` lies in. Latest window of each
    resource first. Missed windows, and missed ones that were delivered after all, go to the outbox once each,
    unless ``as_of`` is still to come. The caller commits.
    """
    moment = as_of if isinstance(as_of, datetime) else datetime.combine(as_of, time.max, TIME_ZONE)
    moment = read_moment(moment, TIME_ZONE)
    spans = {id_: list_windows_that_count(resource, moment) for id_, resource in sorted(catalog.resources.items())}
    earliest = min((w.start for windows in spans.values() for w in windows), default=moment)
    attempts = _load_attempts(conn, sorted(spans), earliest, moment)
    states = [
        judge_window(id_, window, attempts.get(id_, ()), moment)
        for id_, windows in spans.items()
        for window in reversed(windows)
    ]
    _write_states(conn, states, sorted(spans), moment)
    if moment <= Settings.from_env().now():
        _write_events(conn, settings.at(moment), states)
    return states


def judge_window(
    resource_id: str, window: DeliveryWindow, attempts: Iterable[Mapping[str, Any]], moment: datetime
) -> WindowState:
    """The state of one window by ``moment``, from rows of ``ops.batch`` in any order."""
    own = sorted(
        (a for a in attempts if window.start <= a["window_start"] < window.end and a["started_at"] <= moment),
        key=lambda a: a["started_at"],
    )
    published = [a for a in own if a["status"] == "published" and a["published_at"] and a["published_at"] <= moment]
    met = min(published, key=lambda a: a["published_at"], default=None)
    state: State
    responsible: str | None = None
    cause: str | None = None
    if met is not None and met["published_at"] <= window.due_at:
        state = "met"
    elif met is not None:
        state = "late"
        responsible, cause = _attribute_late(window, met, own)
    elif moment < window.due_at:
        state = "not_due"
    else:
        state = "missed"
        responsible, cause = _attribute(window, own)
    return WindowState(
        resource_id,
        window.start,
        window.end,
        window.due_at,
        state,
        met["published_at"] if met else None,
        met["batch_id"] if met else None,
        responsible,
        window.calendar,
        cause,
    )


def _attribute(window: DeliveryWindow, attempts: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Who kept the window from being met: the last attempt before it was due tells; none at all: nothing was sent."""
    before = [a for a in attempts if a["started_at"] <= window.due_at] or list(attempts)
    if not before:
        return "department", "nothing_delivered"
    last = before[-1]
    if last["status"] == "held":
        return "ours", "held"  # it is there, and waits for the centre's decision
    if last["status"] == "refused":
        return last["responsible"] or "department", last["cause"] or "refused"
    if last["status"] == "failed":
        return last["responsible"] or "ours", last["cause"] or "failed"
    return "ours", "unfinished"


def _attribute_late(
    window: DeliveryWindow, met: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]]
) -> tuple[str, str]:
    if (met["staged_at"] or met["started_at"]) <= window.due_at:
        return "ours", "published_late"  # it was delivered in time
    earlier = [a for a in attempts if a["started_at"] <= window.due_at and a["batch_id"] != met["batch_id"]]
    return _attribute(window, earlier) if earlier else ("department", "delivered_late")


def _load_attempts(
    conn: Conn, resource_ids: list[str], earliest: datetime, moment: datetime
) -> dict[str, list[dict[str, Any]]]:
    rows = conn.execute(
        """/* guiji freshness attempts */
        SELECT resource_id, batch_id, window_start, status, started_at, staged_at, published_at, responsible, cause
        FROM ops.batch
        WHERE resource_id = ANY(%s) AND window_start >= %s AND window_start <= %s AND started_at <= %s""",
        (resource_ids, earliest, moment, moment),
    )
    attempts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        attempts.setdefault(row["resource_id"], []).append(row)
    return attempts


def _write_states(conn: Conn, states: Sequence[WindowState], resource_ids: list[str], moment: datetime) -> None:
    conn.execute(
        """/* guiji freshness forget windows that have not begun */
        DELETE FROM ops.delivery_window WHERE resource_id = ANY(%s) AND window_start > %s""",
        (resource_ids, moment),
    )
    with conn.cursor() as cursor:
        cursor.executemany(
            """/* guiji freshness state */
            INSERT INTO ops.delivery_window AS w (resource_id, window_start, window_end, due_at, state, met_at,
              batch_id, responsible, calendar, checked_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (resource_id, window_start) DO UPDATE SET window_end = excluded.window_end,
              due_at = excluded.due_at, state = excluded.state, met_at = excluded.met_at,
              batch_id = excluded.batch_id, responsible = excluded.responsible, calendar = excluded.calendar,
              checked_at = excluded.checked_at
            WHERE (w.window_end, w.due_at, w.state, w.met_at, w.batch_id, w.responsible, w.calendar)
              IS DISTINCT FROM (excluded.window_end, excluded.due_at, excluded.state, excluded.met_at,
                                excluded.batch_id, excluded.responsible, excluded.calendar)""",
            [
                (
                    s.resource_id,
                    s.window_start,
                    s.window_end,
                    s.due_at,
                    s.state,
                    s.met_at,
                    s.batch_id,
                    s.responsible,
                    s.calendar,
                    moment,
                )
                for s in states
            ],
        )


#: windows that were missed longer ago than this are told by the monthly report only
TELL_DAYS = 35


def _write_events(conn: Conn, settings: Settings, states: Sequence[WindowState]) -> None:
    """One event per window and stage; what is our own fault is not held against a department."""
    from guiji.ledger import add_event

    oldest = settings.now() - timedelta(TELL_DAYS)
    told = {
        row["dedupe"]
        for row in conn.execute(
            "/* guiji freshness told */ SELECT dedupe FROM ops.outbox WHERE kind = 'missed' AND dedupe IS NOT NULL"
        )
    }
    for state in states:
        stamp = f"{state.resource_id}:{int(state.window_start.timestamp())}"
        tell = state.state == "missed" and state.responsible != "ours" and state.due_at > oldest
        recovered = state.state == "late" and f"missed:{stamp}" in told
        if not tell and not recovered:
            continue
        add_event(
            conn,
            settings,
            state.resource_id.split(".")[0],
            "missed" if tell else "recovered",
            state.cause or "nothing_delivered" if tell else "delivered_late",
            resource_id=state.resource_id,
            batch_id=state.batch_id,
            dedupe=f"{'missed' if tell else 'recovered'}:{stamp}",
            payload={
                "window_start": state.window_start.isoformat(),
                "window_end": state.window_end.isoformat(),
                "due_at": state.due_at.isoformat(),
                "responsible": state.responsible,
            },
        )


# --- updates that aren't -----------------------------------------------------------------------------


def find_stale_updates(batches: Iterable[Mapping[str, Any]], *, windows: int = 3) -> list[StaleUpdate]:
    """Suspected 假更新 among the published batches of one resource: the last of each window, compared in order.

    ``same_content``: byte for byte what the window before brought. ``old_content``: what an earlier window brought
    (last month's file copied). ``nothing_changed``: not a row new, changed or gone for ``windows`` windows in a row.
    """
    last: dict[datetime, Mapping[str, Any]] = {}
    for batch in sorted(batches, key=lambda b: (b["window_start"], b["published_at"])):
        last[batch["window_start"]] = batch
    found: list[StaleUpdate] = []
    seen: dict[str, Mapping[str, Any]] = {}
    idle: list[Mapping[str, Any]] = []
    before: Mapping[str, Any] | None = None
    for batch in last.values():
        content = batch["sha256"]
        if content and before is not None and content == before["sha256"]:
            found.append(_stale("same_content", before, batch))
        elif content and content in seen:
            found.append(_stale("old_content", seen[content], batch))
        if content:
            seen[content] = batch
        changed = batch["rows_new"] + batch["rows_changed"] + batch["rows_deleted"]
        if changed or before is None:
            idle = [batch]
        else:
            idle.append(batch)
            if len(idle) == windows + 1:
                found.append(_stale("nothing_changed", *idle))
        before = batch
    return found


def load_stale_updates(
    conn: Conn, resource_id: str, since: datetime, until: datetime, *, windows: int = 3
) -> list[StaleUpdate]:
    """``find_stale_updates`` over the batches whose windows begin in [since, until)."""
    rows = conn.execute(
        """/* guiji freshness stale updates */
        SELECT resource_id, batch_id, window_start, published_at, sha256, rows_new, rows_changed, rows_deleted
        FROM ops.batch
        WHERE resource_id = %s AND status = 'published' AND window_start >= %s AND window_start < %s""",
        (resource_id, since, until),
    ).fetchall()
    return find_stale_updates(rows, windows=windows)


def _stale(kind: Literal["same_content", "old_content", "nothing_changed"], *batches: Mapping[str, Any]) -> StaleUpdate:
    return StaleUpdate(
        batches[0]["resource_id"], kind, tuple(b["batch_id"] for b in batches), batches[0]["window_start"]
    )
