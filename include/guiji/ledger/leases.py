"""Leases: one run of a resource at a time, and a run that was left behind can't write any more (F-51, F-52).

Every holder gets a larger token, and the publish transaction compares its token with the one that stands. Lease times
are the database's clock, so that machines and replays (``GUIJI_NOW``) can't disagree about them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.errors import LeaseLost

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.settings import Settings

    Conn = Connection[dict[str, Any]]

#: how long a run may go without a sign of life before another may take over
LEASE_SECONDS = 1800


@dataclass(frozen=True)
class StaleRun:
    """A run whose lease ran out before it said what became of it."""

    resource_id: str
    batch_id: str | None
    holder: str
    acquired_at: datetime
    expires_at: datetime
    token: int


@contextmanager
def transaction(conn: Conn) -> Iterator[None]:
    """One transaction of its own: what earlier reads left open is ended first, the end commits."""
    from psycopg.pq import TransactionStatus

    if conn.info.transaction_status != TransactionStatus.IDLE:
        conn.commit()
    with conn.transaction():
        yield


def acquire_lease(
    conn: Conn, settings: Settings, resource_id: str, batch_id: str, seconds: float = LEASE_SECONDS
) -> int:
    """Takes the resource's lease for a run and returns its fencing token; commits.

    Free, expired, held by the same run (a retry) or by a process of this machine that is no more: taken, and
    whoever held it can't publish any more. Held by another run: raises LeaseLost.
    """
    with transaction(conn):
        held = conn.execute(
            "/* guiji ledger acquire_lease */ SELECT holder, token FROM ops.lease WHERE resource_id = %s FOR UPDATE",
            (resource_id,),
        ).fetchone()
        dead = held is not None and is_dead(held["holder"])
        row = conn.execute(
            """/* guiji ledger acquire_lease */
            INSERT INTO ops.lease AS l (resource_id, token, batch_id, holder, acquired_at, expires_at)
            VALUES (%(resource_id)s, 1, %(run)s, %(holder)s, clock_timestamp(),
                    clock_timestamp() + make_interval(secs => %(seconds)s))
            ON CONFLICT (resource_id) DO UPDATE SET token = l.token + 1, batch_id = excluded.batch_id,
              holder = excluded.holder, acquired_at = excluded.acquired_at, expires_at = excluded.expires_at
            WHERE l.expires_at <= clock_timestamp() OR l.batch_id = excluded.batch_id OR %(dead)s
            RETURNING token""",
            {
                "resource_id": resource_id,
                "run": batch_id,
                "holder": hold_name(os.getpid()),
                "seconds": float(seconds),
                "dead": dead,
            },
        ).fetchone()
    if row is None:
        raise _held_by_another(conn, resource_id)
    return int(row["token"])


def confirm_lease(
    conn: Conn, settings: Settings, resource_id: str, batch_id: str, seconds: float = LEASE_SECONDS
) -> int:
    """The token of the lease this run took when it staged, renewed; a lease that has lapsed meanwhile is taken again.

    Raises LeaseLost when another run holds it. Commits.
    """
    with transaction(conn):
        row = conn.execute(
            """/* guiji ledger confirm_lease */
            UPDATE ops.lease SET expires_at = clock_timestamp() + make_interval(secs => %s), holder = %s
            WHERE resource_id = %s AND batch_id = %s AND expires_at > clock_timestamp() RETURNING token""",
            (float(seconds), hold_name(os.getpid()), resource_id, batch_id),
        ).fetchone()
    return int(row["token"]) if row else acquire_lease(conn, settings, resource_id, batch_id, seconds)


def check_lease(conn: Conn, resource_id: str, token: int) -> None:
    """Raises LeaseLost unless ``token`` is the newest; else nobody can take the lease until this transaction ends."""
    row = conn.execute(
        "/* guiji ledger check_lease */ SELECT token FROM ops.lease WHERE resource_id = %s FOR UPDATE", (resource_id,)
    ).fetchone()
    if row is None or row["token"] != token:
        raise LeaseLost(
            f"A newer run of {resource_id} has taken over. This run published nothing and need not be run again.",
            resource_id=resource_id,
        )


def release_lease(conn: Conn, resource_id: str, token: int) -> None:
    """Lets the next run in, in the caller's transaction; a lease that somebody else holds stays his."""
    conn.execute(
        "/* guiji ledger release_lease */ UPDATE ops.lease SET expires_at = clock_timestamp(), batch_id = NULL"
        " WHERE resource_id = %s AND token = %s",
        (resource_id, token),
    )


def release_run(conn: Conn, resource_id: str, run: str) -> None:
    """Lets the next run in when ``run`` found nothing to do; commits. Somebody else's lease stays his."""
    with transaction(conn):
        conn.execute(
            "/* guiji ledger release_run */ UPDATE ops.lease SET expires_at = clock_timestamp(), batch_id = NULL"
            " WHERE resource_id = %s AND batch_id = %s",
            (resource_id, run),
        )


def stale_runs(conn: Conn, settings: Settings) -> list[StaleRun]:
    """Runs that hold a lease which has run out: they died, or hang (F-56)."""
    rows = conn.execute(
        "/* guiji ledger stale_runs */ SELECT resource_id, batch_id, holder, acquired_at, expires_at, token FROM ops.lease"
        " WHERE batch_id IS NOT NULL AND expires_at <= clock_timestamp() ORDER BY resource_id"
    )
    return [StaleRun(**row) for row in rows]


def is_dead(holder: str) -> bool:
    """True when ``holder`` is a process of this machine that has ended; never guesses about other machines."""
    host, pid, _ = holder.rsplit(":", 2)
    return host == socket.gethostname() and hold_name(int(pid)) != holder


def hold_name(pid: int) -> str:
    """Host, process and when it started: a number that is given again to another process tells nothing."""
    try:
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        started = "0" if pid == os.getpid() else "gone"
    return f"{socket.gethostname()}:{pid}:{started}"


def _held_by_another(conn: Conn, resource_id: str) -> LeaseLost:
    row = conn.execute(
        "/* guiji ledger lease */ SELECT holder, expires_at FROM ops.lease WHERE resource_id = %s", (resource_id,)
    ).fetchone()
    conn.rollback()
    who = f" ({row['holder']}, until {row['expires_at']:%H:%M:%S})" if row else ""
    return LeaseLost(
        f"Another run of {resource_id} holds it{who}. This run did nothing; the other one publishes.",
        resource_id=resource_id,
    )
