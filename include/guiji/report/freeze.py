"""A month, computed once and frozen: canonical JSON with its SHA-256 in ``ops.report``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from guiji.errors import GuijiError

if TYPE_CHECKING:
    from psycopg import Connection


@dataclass(frozen=True)
class Frozen:
    """One issue of a month's report as it was frozen."""

    month: str
    as_of: date
    frozen_at: datetime
    figures: dict[str, Any]
    sha256: str


def canonical(figures: dict[str, Any]) -> bytes:
    """The one way figures are written: sorted keys, no spaces, UTF-8. The hash is over these bytes."""
    return json.dumps(figures, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def find_frozen(conn: Connection[dict[str, Any]], month: str, as_of: date | None) -> Frozen | None:
    """The issue of ``month`` with this cut-off; without one, the latest issue. Raises when it was altered."""
    row = conn.execute(
        """/* guiji report frozen */ SELECT month, as_of, frozen_at, figures, sha256 FROM ops.report
        WHERE month = %s AND (%s::date IS NULL OR as_of = %s) ORDER BY as_of DESC LIMIT 1""",
        (month, as_of, as_of),
    ).fetchone()
    if row is None:
        return None
    found = hashlib.sha256(canonical(row["figures"])).hexdigest()
    if found != row["sha256"]:
        raise GuijiError(
            f"The frozen figures of {month} as of {row['as_of']} don't agree with their hash: they were altered after "
            "freezing. Nothing was rendered; compare ops.report with a backup.",
            month=month,
        )
    return Frozen(**row)


def freeze(conn: Connection[dict[str, Any]], month: str, as_of: date, figures: dict[str, Any], now: datetime) -> Frozen:
    """Writes the figures once. Of two runs at the same time both return what the first one froze. Commits."""
    from psycopg.types.json import Jsonb

    conn.execute(
        """/* guiji report freeze */ INSERT INTO ops.report (month, as_of, frozen_at, figures, sha256)
        VALUES (%s, %s, %s, %s, %s) ON CONFLICT (month, as_of) DO NOTHING""",
        (month, as_of, now, Jsonb(figures), hashlib.sha256(canonical(figures)).hexdigest()),
    )
    conn.commit()
    frozen = find_frozen(conn, month, as_of)
    assert frozen is not None
    return frozen
