"""The durable outbox: what is due, what was sent, what waits, what was given up.

One sender at a time (advisory lock); a second one finds nothing to do. Events are claimed for a mail, the mail's
Message-ID and recipients are committed, then the server is asked; so a crash after the server took the mail repeats
it with the same Message-ID, and a server that is down costs a delay. Only what the server refuses for good is given
up, after ``MAX_REFUSALS`` tries, and the centre is told.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg

from guiji.city import City, load_city
from guiji.masking import scrub
from guiji.notices import reminders
from guiji.notices.digest import build_digest, find_recipients, is_for_centre
from guiji.notices.mail import ChannelDown, Outcome, Postbox, compose_mail, open_postbox
from guiji.notices.model import Digest, Event
from guiji.settings import Settings, failpoint

if TYPE_CHECKING:
    from guiji.catalog import Catalog

    Connection = psycopg.Connection[dict[str, Any]]

log = logging.getLogger(__name__)

LOCK = 0x6775696A6E6F74  # "guijnot"
MAX_REFUSALS = 3
FIRST_DELAY = timedelta(minutes=2)
LONGEST_DELAY = timedelta(minutes=30)

CENTRE = ""
"""addressee of what departments can't mend, and of departments without a valid contact"""


@dataclass(frozen=True)
class DepartmentMails:
    """Mails of one addressee in one run."""

    sent: int = 0
    delayed: int = 0
    dead: int = 0
    events: int = 0
    last_error: str | None = None

    def __add__(self, other: DepartmentMails) -> DepartmentMails:
        return DepartmentMails(
            self.sent + other.sent,
            self.delayed + other.delayed,
            self.dead + other.dead,
            self.events + other.events,
            other.last_error or self.last_error,
        )


@dataclass(frozen=True)
class SendRecord:
    """What one run did. ``by_department`` has the centre under its name in ``city``; ``busy``: another run sends."""

    sent: int = 0
    delayed: int = 0
    dead: int = 0
    by_department: dict[str, DepartmentMails] = field(default_factory=dict)
    busy: bool = False

    def __str__(self) -> str:
        if self.busy:
            return "another run is sending; nothing was done"
        lines = [f"{self.sent} mails sent, {self.delayed} delayed, {self.dead} given up"]
        for name, n in self.by_department.items():
            error = f" ({n.last_error})" if n.last_error else ""
            lines.append(f"  {name}: {n.sent} sent, {n.delayed} delayed, {n.dead} given up, {n.events} events{error}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Run:
    conn: Connection
    settings: Settings
    catalog: Catalog
    city: City
    now: datetime


def send_notices(conn: Connection, settings: Settings, catalog: Catalog) -> SendRecord:
    """Sends what is due: at most one mail per department, and one to the centre. Commits as it goes.

    Never raises for a mail server that is down or refuses: what could not be sent waits in the outbox.
    """
    run = _Run(conn, settings, catalog, load_city(settings), settings.now())
    conn.commit()
    if not _take_lock(conn):
        return SendRecord(busy=True)
    try:
        reminders.add_due_events(conn, settings, run.city, run.now)
        conn.commit()
        return _send_due(run)
    finally:
        conn.rollback()
        conn.execute("/* guiji notices unlock */ SELECT pg_advisory_unlock(%s)", (LOCK,))
        conn.commit()


def _take_lock(conn: Connection) -> bool:
    row = conn.execute("/* guiji notices lock */ SELECT pg_try_advisory_lock(%s) AS got", (LOCK,)).fetchone()
    conn.commit()
    return bool(row and row["got"])


def _send_due(run: _Run) -> SendRecord:
    claimed, fresh = _read_pending(run)
    if not claimed and not fresh:
        return SendRecord()
    totals: dict[str, DepartmentMails] = {}
    work: list[tuple[str, list[Event], str | None]] = [(a, events, mail_id) for mail_id, (a, events) in claimed.items()]
    work += [(a, events, None) for a, events in fresh.items()]
    work.sort(key=lambda w: _attempt_of(w[1]))  # what failed often comes last, so that it holds nobody up
    left = work
    try:
        with open_postbox(run.settings) as postbox:
            for position, (addressee, events, mail_id) in enumerate(work):
                left = work[position:]
                _add(run, totals, addressee, _send_or_wait(run, postbox, addressee, events, mail_id))
                left = work[position + 1 :]
    except ChannelDown as error:
        _delay_all(run, left, str(error), totals)
    return _sum_up(totals)


def _send_or_wait(
    run: _Run, postbox: Postbox, addressee: str, events: list[Event], mail_id: str | None
) -> DepartmentMails:
    """One mail that can't be written must not keep the others waiting: it waits alone, visibly."""
    try:
        return _send_one(run, postbox, addressee, events, mail_id)
    except (ChannelDown, psycopg.OperationalError):
        raise
    except Exception as error:
        run.conn.rollback()
        log.exception("the mail to %s can't be written", addressee or "the centre")
        attempt = _attempt_of(events)
        why = f"can't be written: {type(error).__name__}: {scrub(str(error))}"[:300]
        _postpone(run, [e.event_id for e in events], _back_off(attempt), why, attempts=attempt)
        return DepartmentMails(delayed=1, events=len(events), last_error=why)


def _sum_up(totals: dict[str, DepartmentMails]) -> SendRecord:
    return SendRecord(
        sent=sum(n.sent for n in totals.values()),
        delayed=sum(n.delayed for n in totals.values()),
        dead=sum(n.dead for n in totals.values()),
        by_department=dict(sorted(totals.items())),
    )


def _add(run: _Run, totals: dict[str, DepartmentMails], addressee: str, result: DepartmentMails) -> None:
    department = run.catalog.departments.get(addressee)
    name = run.city.centre if addressee == CENTRE else department.name if department else addressee
    totals[name] = totals.get(name, DepartmentMails()) + result


# --- what is due --------------------------------------------------------------------------------------


def _read_pending(run: _Run) -> tuple[dict[str, tuple[str, list[Event]]], dict[str, list[Event]]]:
    """Mails that were composed but not taken (by Message-ID), and events that no mail carries yet (by addressee)."""
    rows = run.conn.execute(
        """/* guiji notices pending */
        SELECT o.event_id, o.department_id, o.resource_id, o.batch_id, o.kind, o.cause, o.payload, o.created_at,
               o.mail_id, o.attempts, o.next_attempt_at, b.responsible,
               (SELECT min(m.department_id) FROM ops.mail m WHERE m.mail_id = o.mail_id) AS addressee
        FROM ops.outbox o LEFT JOIN ops.batch b USING (batch_id)
        WHERE o.sent_at IS NULL AND o.dead_at IS NULL
        ORDER BY o.event_id"""
    ).fetchall()
    run.conn.commit()
    claimed: dict[str, tuple[str, list[Event]]] = {}
    fresh: dict[str, list[Event]] = {}
    due: set[str] = set()
    for row in rows:
        event = Event.from_row(row)
        is_due = row["next_attempt_at"] is None or row["next_attempt_at"] <= run.now
        if not row["mail_id"]:
            addressee = _address(run, event)
            fresh.setdefault(addressee, []).append(event)
            if is_due:
                due.add(addressee)
        elif is_due:
            claimed.setdefault(row["mail_id"], (row["addressee"] or CENTRE, []))[1].append(event)
    # what waits for an addressee goes along with what is due for him: one digest, not two
    return claimed, {a: events for a, events in sorted(fresh.items()) if a in due}


def _address(run: _Run, event: Event) -> str:
    """The department, or the centre when the fault isn't the department's or nobody there can be reached."""
    if is_for_centre(event):
        return CENTRE
    return event.department_id if find_recipients(run.catalog, event.department_id, [event]) else CENTRE


# --- one mail -----------------------------------------------------------------------------------------


def _send_one(run: _Run, postbox: Postbox, addressee: str, events: list[Event], mail_id: str | None) -> DepartmentMails:
    digest = build_digest(run.conn, run.catalog, run.city, addressee, events, run.now)
    run.conn.commit()
    if not digest.blocks:
        _settle(run, digest.dropped, "nothing left to say: the case was closed meanwhile")
        return DepartmentMails()
    if mail_id is None:
        addresses = [c.email for c in digest.recipients] or [postbox.centre_address(run.city)]
        if wait := _over_cap(run, addresses):
            _postpone(run, [e.event_id for e in events], wait, "hourly cap of mails to one recipient")
            return DepartmentMails(delayed=1, events=len(events), last_error="hourly cap")
        mail_id = _claim(run, postbox, digest, addresses)
    attempt = _attempt_of(events)
    pending = _pending_recipients(run, mail_id)
    failpoint(run.settings, "notices.before_send")
    if pending:
        outcomes = postbox.send(compose_mail(digest, run.city, postbox, mail_id, pending), pending)
        failpoint(run.settings, "notices.after_send")
        _record(run, mail_id, outcomes)
    return _close(run, mail_id, digest, events, attempt)


def _attempt_of(events: Iterable[Event]) -> int:
    return max(e.attempts for e in events) + 1


def make_mail_id(addressee: str, event_ids: Sequence[int], created: datetime, domain: str) -> str:
    """The Message-ID of the mail that carries these events: the same whenever it is computed."""
    text = f"{addressee}|{created.isoformat()}|{','.join(map(str, sorted(event_ids)))}"
    return f"<guiji.{hashlib.sha256(text.encode()).hexdigest()[:32]}@{domain}>"


def _claim(run: _Run, postbox: Postbox, digest: Digest, addresses: Sequence[str]) -> str:
    """Binds the events to a mail and commits, before anything leaves the house."""
    ids = [e.event_id for e in digest.events]
    mail_id = make_mail_id(digest.addressee, ids, min(e.created_at for e in digest.events), postbox.domain)
    run.conn.execute(
        """/* guiji notices claim */
        UPDATE ops.outbox SET mail_id = %s, next_attempt_at = NULL WHERE event_id = ANY(%s)""",
        (mail_id, ids),
    )
    with run.conn.cursor() as cursor:
        cursor.executemany(
            """/* guiji notices claim */
            INSERT INTO ops.mail (mail_id, recipient, department_id, subject, composed_at) VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT DO NOTHING""",
            [(mail_id, a, digest.addressee or None, digest.subject, run.now) for a in dict.fromkeys(addresses)],
        )
    run.conn.commit()
    _settle(run, digest.dropped, "nothing left to say: the case was closed meanwhile")
    return mail_id


def _pending_recipients(run: _Run, mail_id: str) -> list[str]:
    rows = run.conn.execute(
        """/* guiji notices recipients */
        SELECT recipient FROM ops.mail
        WHERE mail_id = %s AND accepted_at IS NULL AND refused_at IS NULL ORDER BY recipient""",
        (mail_id,),
    ).fetchall()
    run.conn.commit()
    return [r["recipient"] for r in rows]


def _over_cap(run: _Run, addresses: Sequence[str]) -> timedelta | None:
    """How long to wait until every recipient may get another mail; None when he may now (F-66)."""
    row = run.conn.execute(
        """/* guiji notices cap */
        SELECT max(nth) AS nth FROM (
          SELECT (array_agg(accepted_at ORDER BY accepted_at DESC))[%s] AS nth FROM ops.mail
          WHERE recipient = ANY(%s) AND accepted_at > %s GROUP BY recipient) x""",
        (run.city.mails_per_hour, list(addresses), run.now - timedelta(hours=1)),
    ).fetchone()
    run.conn.commit()
    if row is None or row["nth"] is None:
        return None
    nth: datetime = row["nth"]
    free_at = nth + timedelta(hours=1)
    wait = free_at - run.now
    return wait if wait > timedelta(minutes=1) else timedelta(minutes=1)


def _record(run: _Run, mail_id: str, outcomes: dict[str, Outcome]) -> None:
    for address, outcome in outcomes.items():
        run.conn.execute(
            """/* guiji notices outcome */
            UPDATE ops.mail SET attempts = attempts + 1, last_error = %(error)s,
              accepted_at = CASE WHEN %(accepted)s THEN %(now)s END,
              refused_at = CASE WHEN %(refused)s AND attempts + 1 >= %(most)s THEN %(now)s::timestamptz END
            WHERE mail_id = %(mail)s AND recipient = %(to)s""",
            {
                "error": outcome.error,
                "accepted": outcome.accepted,
                "refused": outcome.permanent,
                "most": MAX_REFUSALS,
                "now": run.now,
                "mail": mail_id,
                "to": address,
            },
        )


def _close(run: _Run, mail_id: str, digest: Digest, events: list[Event], attempt: int) -> DepartmentMails:
    """Says what became of the mail: sent, waiting for another try, or given up. One commit."""
    # a recipient that is put off again and again while a colleague has the mail is given up like a refused one
    run.conn.execute(
        """/* guiji notices outcome */
        UPDATE ops.mail m SET refused_at = %(now)s
        WHERE mail_id = %(mail)s AND accepted_at IS NULL AND refused_at IS NULL AND attempts >= %(most)s
          AND EXISTS (SELECT 1 FROM ops.mail o WHERE o.mail_id = m.mail_id AND o.accepted_at IS NOT NULL)""",
        {"now": run.now, "mail": mail_id, "most": MAX_REFUSALS},
    )
    rows = run.conn.execute(
        "/* guiji notices outcome */ SELECT recipient, accepted_at, refused_at, last_error FROM ops.mail "
        "WHERE mail_id = %s ORDER BY recipient",
        (mail_id,),
    ).fetchall()
    accepted = [r for r in rows if r["accepted_at"]]
    refused = [r for r in rows if r["refused_at"]]
    waiting = [r for r in rows if not r["accepted_at"] and not r["refused_at"]]
    error = next((r["last_error"] for r in (*waiting, *refused) if r["last_error"]), None)
    ids = [e.event_id for e in events]
    if waiting:
        _postpone(run, ids, _back_off(attempt), error, attempts=attempt)
        return DepartmentMails(delayed=1, events=len(ids), last_error=error)
    if refused:
        _tell_centre(run, digest, mail_id)
    column = "sent_at" if accepted else "dead_at"
    run.conn.execute(
        f"/* guiji notices close */ UPDATE ops.outbox SET {column} = %s, attempts = %s, next_attempt_at = NULL, "  # noqa: S608
        "last_error = %s WHERE event_id = ANY(%s)",
        (run.now, attempt, error, ids),
    )
    run.conn.commit()
    if accepted:
        return DepartmentMails(sent=1, events=len(ids), last_error=error)
    log.error("mail %s to %s is given up: %s", mail_id, digest.addressee or "the centre", error)
    return DepartmentMails(dead=1, events=len(ids), last_error=error)


def _tell_centre(run: _Run, digest: Digest, mail_id: str) -> None:
    """A department that can't be reached must be known to the centre; the centre's own mails stop here."""
    if digest.addressee == CENTRE:
        return
    run.conn.execute(
        """/* guiji notices bounced */
        INSERT INTO ops.outbox (department_id, kind, cause, dedupe, payload, created_at)
        VALUES (%s, 'bounced', 'mail_refused', %s, jsonb_build_object('mail_id', %s::text), %s)
        ON CONFLICT (dedupe) DO NOTHING""",
        (digest.addressee, f"bounced:{mail_id}", mail_id, run.now),
    )


def _settle(run: _Run, event_ids: Sequence[int], why: str) -> None:
    if event_ids:
        run.conn.execute(
            "/* guiji notices settle */ UPDATE ops.outbox SET sent_at = %s, last_error = %s WHERE event_id = ANY(%s)",
            (run.now, why, list(event_ids)),
        )
        run.conn.commit()


def _back_off(attempt: int) -> timedelta:
    doublings: int = min(attempt - 1, 10)
    return min(FIRST_DELAY * (1 << doublings), LONGEST_DELAY)


def _postpone(
    run: _Run, event_ids: Sequence[int], wait: timedelta, error: str | None, *, attempts: int | None = None
) -> None:
    run.conn.execute(
        """/* guiji notices postpone */
        UPDATE ops.outbox SET attempts = coalesce(%s, attempts), next_attempt_at = %s, last_error = %s
        WHERE event_id = ANY(%s)""",
        (attempts, run.now + wait, error, list(event_ids)),
    )
    run.conn.commit()


def _delay_all(
    run: _Run,
    work: Sequence[tuple[str, list[Event], str | None]],
    error: str,
    totals: dict[str, DepartmentMails],
) -> None:
    """The channel is down: everything that is due waits, and what comes in meanwhile joins the next digest."""
    run.conn.rollback()
    log.warning("mail channel down, %d mails wait: %s", len(work), scrub(error))
    for addressee, events, _ in work:
        attempt = _attempt_of(events)
        _postpone(run, [e.event_id for e in events], _back_off(attempt), error, attempts=attempt)
        _add(run, totals, addressee, DepartmentMails(delayed=1, events=len(events), last_error=error))
