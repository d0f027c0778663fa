"""Probable matches as a person sees and decides them: masked, with who and why in the audit trail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji import ledger
from guiji.errors import UsageError
from guiji.library.provenance import key_text
from guiji.library.tables import library_table, pg_type
from guiji.masking import mask
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import LibraryModel

    Conn = Connection[dict[str, Any]]

MOST_LISTED = 200


@dataclass(frozen=True)
class Proposal:
    """One probable match, everything masked. ``values``: (field title, the row's value, the library's value)."""

    proposal_id: int
    library: str
    resource: str
    row: str
    key: str
    score: float
    status: str
    values: tuple[tuple[str, str, str], ...]


def list_proposals(
    conn: Conn, libraries: Mapping[str, LibraryModel], *, status: str = "proposed", most: int = MOST_LISTED
) -> list[Proposal]:
    """The likest first; values as they are now."""
    rows = conn.execute(
        "/* guiji link list */ SELECT * FROM ops.match_proposal WHERE status = %s AND library = ANY(%s)"
        " ORDER BY score DESC, proposal_id LIMIT %s",
        (status, sorted(libraries), most),
    ).fetchall()
    return [_describe(conn, libraries[r["library"]], r) for r in rows]


def decide_proposal(conn: Conn, settings: Settings, proposal_id: int, *, approve: bool, who: str, why: str) -> str:
    """A person's decision; commits and returns one line for reading. The library follows when it is resolved next.

    A confirmed match may be rejected later; of several proposals for one row, confirming one withdraws the others.
    """
    from guiji.secrets import hmac_key

    if not why.strip():
        raise UsageError("A decision needs a reason: --why. Nothing was changed.")
    with ledger.transaction(conn):
        row = conn.execute(
            "/* guiji link decide */ SELECT * FROM ops.match_proposal WHERE proposal_id = %s FOR UPDATE", (proposal_id,)
        ).fetchone()
        allowed = ("proposed",) if approve else ("proposed", "confirmed")
        if row is None or row["status"] not in allowed:
            state = f"is {row['status']} already" if row else "is not there"
            raise UsageError(
                f"Proposal {proposal_id} {state}. Nothing was changed; `./guiji link list` names those that wait."
            )
        now = settings.now()
        if approve:
            others = conn.execute(
                "/* guiji link decide */ UPDATE ops.match_proposal SET status = 'withdrawn', decided_at = %s,"
                " decided_by = %s, why = '同一行的另一匹配已确认' WHERE library = %s AND resource_id = %s AND row_key = %s"
                " AND status IN ('proposed', 'confirmed') AND proposal_id <> %s RETURNING key",
                (now, who, row["library"], row["resource_id"], row["row_key"], proposal_id),
            ).fetchall()
        else:
            others = []
        conn.execute(
            "/* guiji link decide */ UPDATE ops.match_proposal SET status = %s, decided_at = %s, decided_by = %s,"
            " why = %s WHERE proposal_id = %s",
            ("confirmed" if approve else "rejected", now, who, why, proposal_id),
        )
        for key in [row["key"], *(o["key"] for o in others)]:
            conn.execute(
                "/* guiji link decide */ INSERT INTO ops.dirty_key (library, key, batch_id, marked_at)"
                " VALUES (%s, %s, 'link', %s)",
                (row["library"], key, now),
            )
        ledger.append_audit(
            conn,
            settings,
            who,
            "link.approved" if approve else "link.rejected",
            str(proposal_id),
            {
                "library": row["library"],
                "resource": row["resource_id"],
                "key_hmac": hmac_key(settings, key_text(row["key"])),
                "row_hmac": hmac_key(settings, key_text(row["row_key"])),
                "score": row["score"],
                "former": row["status"],
                "why": why,
            },
        )
    said = "confirmed" if approve else "rejected"
    return f"proposal {proposal_id} {said}; `./guiji resolve {row['library']}` brings the library up to it"


def render_proposals(proposals: Sequence[Proposal]) -> str:
    """A line per proposal, and one per compared field."""
    if not proposals:
        return "没有待确认的匹配。"
    lines = []
    for p in proposals:
        lines.append(f"{p.proposal_id:>6}  {p.score:5.1f} 分  {p.library}  {p.resource} 第 {p.row} 号 ↔ {p.key}")
        lines += [f"{'':16}{title}：{ours} ／ {theirs}" for title, ours, theirs in p.values]
    return "\n".join(lines)


def _describe(conn: Conn, library: LibraryModel, row: Mapping[str, Any]) -> Proposal:
    source = conn.execute(
        "/* guiji link list */ SELECT * FROM ops.library_source WHERE library = %s AND resource_id = %s LIMIT 1",
        (library.name, row["resource_id"]),
    ).fetchone()
    names = [*library.matching.block, *library.matching.compare] if library.matching else []
    theirs = _fetch(
        conn,
        library_table(library),
        {k.name: (v, pg_type(k.type)) for k, v in zip(library.key, row["key"], strict=True)},
    )
    ours: Mapping[str, Any] = {}
    mapping: Mapping[str, str] = source["fields"] if source else {}
    if source:
        keys = {k: (v, None) for k, v in zip(source["row_key"] or [], row["row_key"], strict=False)}
        ours = _fetch(conn, sql.Identifier("source", row["resource_id"].replace(".", "__")), keys)
    specs = {f.name: f for f in library.fields}
    values = []
    for name in dict.fromkeys(names):
        hide = specs[name].sensitivity >= 3
        pair = (ours.get(mapping.get(name, "")), theirs.get(name))
        shown = tuple("（空）" if v is None else mask(v) if hide else str(v) for v in pair)
        values.append((specs[name].title, shown[0], shown[1]))
    return Proposal(
        proposal_id=row["proposal_id"],
        library=library.title,
        resource=source["resource_name"] if source else row["resource_id"],
        row=mask(key_text(row["row_key"])),
        key=key_text(mask(v) if k.sensitivity >= 3 else v for v, k in zip(row["key"], library.key, strict=True)),
        score=float(row["score"]),
        status=row["status"],
        values=tuple(values),
    )


def _fetch(conn: Conn, table: sql.Identifier, keys: Mapping[str, tuple[str, str | None]]) -> Mapping[str, Any]:
    match = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(
            sql.Identifier(k),
            sql.SQL("{}::{}").format(sql.Literal(v), sql.SQL(t)) if t else sql.Literal(v),
        )
        for k, (v, t) in keys.items()
    )
    if not keys:
        return {}
    row = conn.execute(
        sql.SQL("/* guiji link list */ SELECT * FROM {} WHERE {} LIMIT 1").format(table, match)
    ).fetchone()
    return row or {}
