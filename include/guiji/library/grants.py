"""Who may read what: grants of a resource to a department, for a purpose, under the catalog's terms, until a day.

A grant rests on the terms of that day. When the catalog changes the sharing type, the condition or the scope, it
ends and must be applied for again (S1 art. 22); so does one that ran out (S1 art. 18). Who, why and when stand in
the audit trail. What a grant allows, and what its end takes away, becomes effective with ``sharing.sync_sharing``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from guiji import ledger
from guiji.audit import append_audit
from guiji.catalog.models import SharingType
from guiji.errors import UsageError
from guiji.library.share_views import PERSONAL
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog import Catalog
    from guiji.catalog.models import Resource

    Conn = Connection[dict[str, Any]]

_LOCK = "/* guiji share lock */ SELECT pg_advisory_xact_lock(hashtextextended('ops.share', 0))"


@dataclass(frozen=True)
class Grant:
    """One grant as it stands in ``ops.share_grant``."""

    grant_id: int
    resource_id: str
    department_id: str
    purpose: str
    terms: Mapping[str, str | None]
    fields: Mapping[str, int]
    agreement: str | None
    valid_until: date
    granted_by: str
    granted_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    ended_why: str | None


def lock_sharing(conn: Conn) -> None:
    """Makes everybody who changes grants or views take turns until the transaction ends."""
    conn.execute(_LOCK)


def grant_resource(
    conn: Conn,
    settings: Settings,
    catalog: Catalog,
    resource_id: str,
    department_id: str,
    *,
    purpose: str,
    until: date,
    who: str,
    fields: Collection[str] = (),
    agreement: str | None = None,
) -> Grant:
    """Lets a department read a resource for a purpose until a day; a grant that it has already is replaced. Commits.

    ``fields``: personal fields that it may see in clear. Raises UsageError for 不予共享, an unknown department, a day
    that has passed or an empty purpose.
    """
    resource = catalog.resource(resource_id)
    _demand_sound(settings, catalog, resource, department_id, purpose, until, fields)
    levels = {n: resource.model.field(n).sensitivity for n in sorted(set(fields))}
    from psycopg.types.json import Jsonb

    with ledger.transaction(conn):
        lock_sharing(conn)
        for former in list_grants(conn, resource_id=resource_id, department_id=department_id):
            end_grant(conn, settings, former, who, "重新申请，由新的授权替代")
        row = conn.execute(
            """/* guiji share grant */
            INSERT INTO ops.share_grant
              (resource_id, department_id, purpose, terms, fields, agreement, valid_until, granted_by, granted_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING *""",
            (
                resource_id,
                department_id,
                purpose.strip(),
                Jsonb(make_terms(resource)),
                Jsonb(levels),
                agreement,
                until,
                who,
                settings.now(),
            ),
        ).fetchone()
        assert row is not None
        grant = Grant(**row)
        append_audit(
            conn,
            settings,
            who,
            "share.granted",
            f"{resource_id} → {department_id}",
            {
                "grant": grant.grant_id,
                "purpose": grant.purpose,
                "terms": grant.terms,
                "fields": grant.fields,
                "agreement": agreement,
                "until": until.isoformat(),
            },
        )
    return grant


def revoke_grant(conn: Conn, settings: Settings, resource_id: str, department_id: str, *, who: str, why: str) -> Grant:
    """Ends a grant and returns it as it was. Commits. Raises UsageError when there is none, or no reason."""
    if not why.strip():
        raise UsageError("A grant is not revoked without a reason. Nothing was changed; give one with --why.")
    with ledger.transaction(conn):
        lock_sharing(conn)
        found = list_grants(conn, resource_id=resource_id, department_id=department_id)
        if not found:
            raise UsageError(
                f"{department_id} has no grant of {resource_id}. Nothing was changed; `./guiji share list` shows the grants."
            )
        end_grant(conn, settings, found[0], who, why.strip())
    return found[0]


def list_grants(
    conn: Conn, *, resource_id: str | None = None, department_id: str | None = None, ended: bool = False
) -> list[Grant]:
    """The grants that stand, or with ``ended`` all there ever were, by resource and department, the newest first."""
    rows = conn.execute(
        "/* guiji share list */ SELECT * FROM ops.share_grant WHERE (%(ended)s OR ended_at IS NULL)"
        " AND (%(resource)s::text IS NULL OR resource_id = %(resource)s)"
        " AND (%(department)s::text IS NULL OR department_id = %(department)s)"
        " ORDER BY resource_id, department_id, grant_id DESC",
        {"ended": ended, "resource": resource_id, "department": department_id},
    )
    return [Grant(**row) for row in rows]


def end_grant(conn: Conn, settings: Settings, grant: Grant, who: str, why: str) -> None:
    """Ends a grant, with its line in the audit trail, in the caller's transaction."""
    conn.execute(
        "/* guiji share end */ UPDATE ops.share_grant SET ended_at = %s, ended_by = %s, ended_why = %s"
        " WHERE grant_id = %s AND ended_at IS NULL",
        (settings.now(), who, why, grant.grant_id),
    )
    append_audit(
        conn,
        settings,
        who,
        "share.ended",
        f"{grant.resource_id} → {grant.department_id}",
        {"grant": grant.grant_id, "why": why, "purpose": grant.purpose, "until": grant.valid_until.isoformat()},
    )


def make_terms(resource: Resource) -> dict[str, str | None]:
    """What a grant rests on: when one of these changes, the department applies again."""
    sharing = resource.model.sharing
    return {"type": str(sharing.type), "condition": sharing.condition, "scope": sharing.scope}


def find_lapse(grant: Grant, catalog: Catalog, today: date) -> str | None:
    """Why a grant no longer holds, in Chinese; None while it does.

    What a broken catalog file says is not known: a grant doesn't end by a typing error.
    """
    if grant.valid_until < today:
        return f"授权已到期（有效期至{grant.valid_until.isoformat()}）"
    resource = catalog.resources.get(grant.resource_id)
    if resource is None:
        return None if catalog.broken else "该数据资源已不在目录中"
    if grant.department_id not in catalog.departments:
        return None if catalog.broken else "该部门已不在目录中"
    if resource.model.sharing.type is SharingType.NONE:
        return "该数据资源已转为不予共享"
    if make_terms(resource) != dict(grant.terms):
        return "目录所列的共享类型、条件或范围已变更，须重新申请"
    return None


def _demand_sound(
    settings: Settings,
    catalog: Catalog,
    resource: Resource,
    department_id: str,
    purpose: str,
    until: date,
    fields: Collection[str],
) -> None:
    sharing = resource.model.sharing
    wrong = None
    if sharing.type is SharingType.NONE:
        wrong = f"{resource.id} is 不予共享 ({sharing.legal_basis})."
    elif department_id not in catalog.departments:
        wrong = f"There is no department {department_id!r}. Departments: {', '.join(catalog.departments)}."
    elif len(purpose.strip()) < 2:
        wrong = "A grant needs the purpose that the data are for; give it with --purpose."
    elif until < settings.today():
        wrong = f"{until.isoformat()} has passed; give the last day of the grant with --until."
    if wrong is None:
        personal = [f.name for f in resource.model.fields if f.sensitivity >= PERSONAL]
        if extra := sorted(set(fields) - set(personal)):
            wrong = (
                f"{', '.join(extra)} of {resource.id} is no field that is masked. "
                f"Masked fields: {', '.join(personal) or 'none'}."
            )
    if wrong:
        raise UsageError(f"{wrong} Nothing was granted.", resource_id=resource.id)
