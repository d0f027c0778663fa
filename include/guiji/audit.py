"""The audit trail: every entry carries the hash of the entry before, so that a change of one breaks the chain there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.settings import Settings

_GENESIS = "0" * 64


def append_audit(
    conn: Connection[dict[str, Any]],
    settings: Settings,
    actor: str,
    action: str,
    object: str,
    detail: Mapping[str, Any] | None = None,
) -> str:
    """Adds one entry in the caller's transaction and returns its hash.

    Writers wait for each other until the transaction ends, so it belongs at a transaction's end.
    """
    from psycopg.types.json import Jsonb

    at = settings.now().astimezone(UTC)
    clean = json.loads(json.dumps(detail or {}, ensure_ascii=False, default=str))
    conn.execute("/* guiji audit lock */ SELECT pg_advisory_xact_lock(hashtextextended('ops.audit', 0))")
    last = conn.execute("/* guiji audit last */ SELECT hash FROM ops.audit ORDER BY audit_id DESC LIMIT 1").fetchone()
    previous = last["hash"] if last else _GENESIS
    digest = _hash(previous, at, actor, action, object, clean)
    conn.execute(
        "/* guiji audit append */ INSERT INTO ops.audit (at, actor, action, object, detail, previous, hash)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (at, actor, action, object, Jsonb(clean), previous, digest),
    )
    return digest


def verify_audit(conn: Connection[dict[str, Any]]) -> int | None:
    """The ``audit_id`` of the first entry that doesn't fit the chain; None when all do.

    An entry taken from the end leaves no gap to see; compare the last hash with one kept elsewhere for that.
    """
    previous = _GENESIS
    with conn.cursor() as cursor:
        for row in cursor.stream("/* guiji audit verify */ SELECT * FROM ops.audit ORDER BY audit_id"):
            expected = _hash(previous, row["at"], row["actor"], row["action"], row["object"], row["detail"])
            if row["previous"] != previous or row["hash"] != expected:
                return int(row["audit_id"])
            previous = row["hash"]
    return None


def _hash(previous: str, at: datetime, actor: str, action: str, object: str, detail: Mapping[str, Any]) -> str:
    text = json.dumps(
        [previous, at.astimezone(UTC).isoformat(timespec="microseconds"), actor, action, object, detail],
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(text.encode()).hexdigest()
