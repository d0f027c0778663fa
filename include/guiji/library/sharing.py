"""Shared views and who may read them, brought into agreement with the catalog and the grants.

One NOLOGIN role per department; a database administrator gives it to the department's own logins. 无条件共享: every
department's role reads the view; 有条件共享: those with a grant; 不予共享: there is no view. A role has no other right:
what somebody gave it by hand is taken away, and what it can do after all is measured before the commit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import errors, sql

from guiji import ledger
from guiji.audit import append_audit
from guiji.catalog.models import SharingType
from guiji.errors import GuijiError, UsageError, WarehouseUnavailable
from guiji.library.grants import Grant, end_grant, find_lapse, list_grants, lock_sharing
from guiji.library.share_reads import ensure_counters
from guiji.library.share_roles import ensure_roles
from guiji.library.share_views import SharedView, build_view, shown_in_clear
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog import Catalog

    Conn = Connection[dict[str, Any]]

#: how long a view that must change waits for its readers, who would have to wait behind it
LOCK_TIMEOUT = "10s"
VIEWS_AT_ONCE = 500
SCHEMAS = ("ops", "source", "library", "share")


@dataclass(frozen=True)
class Sync:
    """What a synchronisation changed. Rights are written ``view → department``."""

    views: int
    made: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    granted: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()  # grants, with the reason
    notes: tuple[str, ...] = ()

    @property
    def is_change(self) -> bool:
        return bool(self.made or self.dropped or self.roles or self.granted or self.revoked or self.ended)

    def __add__(self, later: Sync) -> Sync:
        return Sync(
            later.views,
            self.made + later.made,
            self.dropped + later.dropped,
            self.roles + later.roles,
            self.granted + later.granted,
            self.revoked + later.revoked,
            self.ended + later.ended,
            later.notes,
        )


def sync_sharing(conn: Conn, settings: Settings, catalog: Catalog) -> Sync:
    """Makes the views, roles and rights what catalog and grants say; what is as it should be is not touched. Commits.

    One transaction, or one for each VIEWS_AT_ONCE views to make: a server has locks for so many in one only.

    Raises UsageError when the warehouse's user may not make the roles, WarehouseUnavailable while a long query holds a
    view that must change, GuijiError when a role could read more than it should.
    """
    whole: Sync | None = None
    while True:
        with _translate(conn), ledger.transaction(conn):
            done, left = _sync_some(conn, settings, catalog)
        whole = done if whole is None else whole + done
        if not left:
            return whole


def _sync_some(conn: Conn, settings: Settings, catalog: Catalog) -> tuple[Sync, int]:
    """One round of it, in the caller's transaction, and how many views are left to make."""
    lock_sharing(conn)
    conn.execute("/* guiji share */ SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
    grants, ended = _end_lapsed(conn, settings, catalog)
    roles, made_roles = ensure_roles(conn, settings, catalog)
    ensure_counters(conn, roles)
    views, kept = _plan_views(conn, catalog, grants, _list_departments(catalog, roles))
    made, dropped, left = _make_views(conn, settings, views, kept)
    views = {n: v for n, v in views.items() if n not in left}
    granted, revoked = _grant_rights(conn, views, kept, roles)
    notes = _demand_least(conn, views, kept, roles)
    sync = Sync(len(views) + len(kept), made, dropped, made_roles, granted, revoked, ended, notes)
    if sync.is_change:
        append_audit(
            conn,
            settings,
            "guiji",
            "share.synced",
            "share",
            {k: list(getattr(sync, k)) for k in ("made", "dropped", "roles", "granted", "revoked", "ended")},
        )
    return sync, len(left)


# --- grants and views --------------------------------------------------------------------------------


def _end_lapsed(conn: Conn, settings: Settings, catalog: Catalog) -> tuple[list[Grant], tuple[str, ...]]:
    """The grants that hold, and those that ended now."""
    hold, ended = [], []
    for grant in list_grants(conn):
        why = find_lapse(grant, catalog, settings.today())
        if why is None:
            hold.append(grant)
        else:
            end_grant(conn, settings, grant, "guiji", why)
            ended.append(f"{grant.resource_id} → {grant.department_id}：{why}")
    return hold, tuple(ended)


def _list_departments(catalog: Catalog, roles: Collection[str]) -> set[str]:
    """The departments of the catalog, and those that have a role and whose file can't be read just now."""
    broken = {Path(file).parent.name for file in catalog.broken if Path(file).name == "department.yml"}
    return {*catalog.departments, *(broken & set(roles))}


def _plan_views(
    conn: Conn, catalog: Catalog, grants: Sequence[Grant], departments: Collection[str]
) -> tuple[dict[str, SharedView], dict[str, set[str]]]:
    """The views that should be; and those that stay as they are because their catalog file is broken just now, with
    the departments that may go on reading them."""
    tables: dict[str, set[str]] = defaultdict(set)
    for r in conn.execute(
        "/* guiji share tables */ SELECT c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE n.nspname = 'source' AND c.relkind IN ('r', 'p')"
    ):
        tables[r["relname"]].add(r["attname"])
    by_resource: dict[str, list[Grant]] = defaultdict(list)
    for grant in grants:
        by_resource[grant.resource_id].append(grant)
    views: dict[str, SharedView] = {}
    for resource in catalog.resources.values():
        have = tables.get(resource.model.table)
        kind = resource.model.sharing.type
        if have is None or kind is SharingType.NONE:
            continue
        given = by_resource[resource.id]
        everybody = kind is SharingType.UNCONDITIONAL
        readers = departments if everybody else [g.department_id for g in given]
        found = [build_view(resource, have, readers)]
        for grant in given:
            if clear := shown_in_clear(resource, grant.fields):
                found.append(build_view(resource, have, [grant.department_id], grant_id=grant.grant_id, clear=clear))
        views |= {v.name: v for v in found}
    return views, _keep_broken(conn, catalog, by_resource)


def _keep_broken(conn: Conn, catalog: Catalog, grants: Mapping[str, Sequence[Grant]]) -> dict[str, set[str]]:
    """view -> departments that may go on reading it, for resources whose catalog file can't be read just now.

    A typing error must not take a view away. Who read it by a grant reads it while the grant holds, who read it
    without one goes on.
    """
    if not catalog.broken:
        return {}
    kept: dict[str, set[str]] = {}
    rows = conn.execute(
        """/* guiji share kept */
        SELECT v.view, v.resource_id, v.grant_id, g.department_id AS granted_to,
          ARRAY(SELECT r.department_id FROM ops.share_role r
                WHERE has_table_privilege(r.role, c.oid, 'SELECT')) AS readers,
          ARRAY(SELECT DISTINCT department_id FROM ops.share_grant e WHERE e.resource_id = v.resource_id) AS ever
        FROM ops.share_view v JOIN pg_class c ON c.relname = v.view
        JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'share'
        LEFT JOIN ops.share_grant g USING (grant_id)"""
    )
    for row in rows:
        if row["resource_id"] in catalog.resources:
            continue
        given = {g.department_id for g in grants.get(row["resource_id"], ())}
        alive = {g.grant_id for g in grants.get(row["resource_id"], ())}
        if row["grant_id"] is not None and row["grant_id"] not in alive:
            continue
        kept[row["view"]] = {d for d in row["readers"] if d in given or d not in row["ever"]}
    return kept


def _make_views(
    conn: Conn, settings: Settings, views: Mapping[str, SharedView], kept: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Makes what is missing or differs, drops what should not be; the names of both, and those that are left to make.

    Of those, one that differs is dropped already: an old definition may show what the new one masks.
    """
    have = {
        r["name"]: r["sha256"]
        for r in conn.execute(
            "/* guiji share views */ SELECT c.relname AS name, v.sha256 FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN ops.share_view v ON v.view = c.relname"
            " WHERE n.nspname = 'share' AND c.relkind = 'v'"
        )
    }
    dropped = tuple(sorted(n for n, sha in have.items() if sha and n not in views and n not in kept))
    wrong = tuple(n for n in sorted(views) if have.get(n) != views[n].sha256)
    made, left = wrong[:VIEWS_AT_ONCE], wrong[VIEWS_AT_ONCE:]
    for name in (*dropped, *(n for n in wrong if n in have)):
        conn.execute(sql.SQL("/* guiji share view */ DROP VIEW {}").format(sql.Identifier("share", name)))
    conn.execute("/* guiji share view */ DELETE FROM ops.share_view WHERE NOT view = ANY(%s)", ([*views, *kept],))
    for name in made:
        view = views[name]
        target = sql.Identifier("share", name)
        conn.execute(
            sql.SQL("/* guiji share view */ CREATE VIEW {} WITH (security_barrier = true) AS {}").format(
                target, view.query
            )
        )
        conn.execute(sql.SQL("COMMENT ON VIEW {} IS {}").format(target, sql.Literal(view.comment)))
        for column, comment in view.columns:
            conn.execute(
                sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(target, sql.Identifier(column), sql.Literal(comment))
            )
        conn.execute(
            "/* guiji share view */ INSERT INTO ops.share_view (view, resource_id, grant_id, sha256, made_at)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (view) DO UPDATE SET resource_id = excluded.resource_id,"
            " grant_id = excluded.grant_id, sha256 = excluded.sha256, made_at = excluded.made_at",
            (name, view.resource_id, view.grant_id, view.sha256, settings.now()),
        )
    return made, dropped, left


# --- rights ------------------------------------------------------------------------------------------


def _grant_rights(
    conn: Conn, views: Mapping[str, SharedView], kept: Mapping[str, set[str]], roles: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Gives each role its views and takes everything else in our schemas from it, and from PUBLIC."""
    departments = {role: d for d, role in roles.items()}
    readers = {**{n: set(v.departments) for n, v in views.items()}, **kept}
    wanted = {(n, roles[d]) for n, ds in readers.items() for d in ds if d in roles}
    have: set[tuple[str, str]] = set()
    uses: set[str] = set()
    extra: dict[tuple[str, str | None], set[str]] = defaultdict(set)
    for r in conn.execute(_RIGHTS, {"schemas": list(SCHEMAS), "roles": list(departments)}):
        right = (r["relname"], r["grantee"])
        plain = r["privilege_type"] == "SELECT" and not r["is_grantable"] and not r["is_column"]
        if r["nspname"] == "share" and right in wanted and plain:
            have.add(right)
        elif (r["nspname"], r["relname"], r["privilege_type"]) == ("share", None, "USAGE") and r["grantee"]:
            uses.add(r["grantee"])
        else:
            extra[r["nspname"], r["relname"]].add(r["grantee"])
    revoked = []
    for (schema, relation), grantees in sorted(extra.items(), key=str):
        kind = sql.SQL("SCHEMA") if relation is None else sql.SQL("TABLE")
        target = sql.Identifier(schema) if relation is None else sql.Identifier(schema, relation)
        conn.execute(
            sql.SQL("/* guiji share rights */ REVOKE ALL ON {} {} FROM {} CASCADE").format(
                kind, target, _role_list(grantees)
            )
        )
        uses -= grantees if target == sql.Identifier("share") else set()
        for grantee in sorted(grantees):
            have.discard((relation or "", grantee))
            where = relation if schema == "share" and relation else ".".join(filter(None, (schema, relation)))
            revoked.append(f"{where} → {departments.get(grantee, 'PUBLIC')}")
    for_role: dict[str, list[str]] = defaultdict(list)
    for view, role in sorted(wanted - have):
        for_role[role].append(view)
    if new := set(departments) - uses:
        conn.execute(sql.SQL("/* guiji share rights */ GRANT USAGE ON SCHEMA share TO {}").format(_role_list(new)))
    for role, names in for_role.items():
        conn.execute(
            sql.SQL("/* guiji share rights */ GRANT SELECT ON {} TO {}").format(
                sql.SQL(", ").join(sql.Identifier("share", n) for n in names), sql.Identifier(role)
            )
        )
    granted = [f"{view} → {departments[role]}" for role, names in for_role.items() for view in names]
    return tuple(sorted(granted)), tuple(revoked)


def _role_list(names: Collection[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(n) if n else sql.SQL("PUBLIC") for n in sorted(names))


#: every right that a department's role or PUBLIC ('') was given in our schemas, on tables, columns and schemas
_RIGHTS = """/* guiji share rights */
WITH given AS (
  SELECT n.nspname, c.relname, a.*, false AS is_column FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL aclexplode(c.relacl) a WHERE n.nspname = ANY(%(schemas)s)
  UNION ALL
  SELECT n.nspname, c.relname, a.*, true FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL aclexplode(t.attacl) a WHERE n.nspname = ANY(%(schemas)s)
  UNION ALL
  SELECT n.nspname, NULL, a.*, false FROM pg_namespace n
  CROSS JOIN LATERAL aclexplode(n.nspacl) a WHERE n.nspname = ANY(%(schemas)s))
SELECT g.nspname, g.relname, coalesce(r.rolname, '') AS grantee, g.privilege_type, g.is_grantable, g.is_column
FROM given g LEFT JOIN pg_roles r ON r.oid = g.grantee
WHERE g.grantee = 0 OR r.rolname = ANY(%(roles)s)"""

#: what each role can do after all, whoever gave it: more than reading a view of its own
_EFFECTIVE = """/* guiji share effective */
SELECT r.role, n.nspname, c.relname,
  has_table_privilege(r.role, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
  OR has_any_column_privilege(r.role, c.oid, 'INSERT, UPDATE, REFERENCES') AS writes
FROM unnest(%(roles)s::text[]) AS r (role) CROSS JOIN pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (has_any_column_privilege(r.role, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
       OR has_table_privilege(r.role, c.oid, 'DELETE, TRUNCATE, TRIGGER'))"""


def _demand_least(
    conn: Conn, views: Mapping[str, SharedView], kept: Mapping[str, set[str]], roles: Mapping[str, str]
) -> tuple[str, ...]:
    """Asks the server what each role can do, and raises GuijiError where that is more in our schemas than it should.

    What PUBLIC may read in somebody else's schema of this database is not ours to take away: it is noted.
    """
    departments = {role: d for d, role in roles.items()}
    readers = {**{n: set(v.departments) for n, v in views.items()}, **kept}
    beyond, foreign = [], set()
    for r in conn.execute(_EFFECTIVE, {"roles": list(departments)}):
        name = f"{r['nspname']}.{r['relname']}"
        if r["nspname"] not in SCHEMAS:
            foreign.add(name)
        elif r["writes"] or r["nspname"] != "share" or departments[r["role"]] not in readers.get(r["relname"], ()):
            beyond.append(f"{r['role']}: {name}")
    if beyond:
        raise GuijiError(
            f"Roles of departments can use what they should not, and guiji can't take it away: {'; '.join(beyond[:10])}. "
            "No right was changed; let a database administrator revoke these, then run `./guiji share sync` again."
        )
    return tuple(f"{n} is open to every user of this database; it is not guiji's" for n in sorted(foreign))


@contextmanager
def _translate(conn: Conn) -> Iterator[None]:
    try:
        yield
    except errors.LockNotAvailable:
        raise WarehouseUnavailable(
            "A long query reads a shared view that must change. No view and no right was changed; the next "
            "synchronisation tries again, or run `./guiji share sync` when the query has ended."
        ) from None
    except (errors.InsufficientPrivilege, errors.DependentObjectsStillExist) as exc:
        raise UsageError(
            f"The warehouse refuses to share: {exc.diag.message_primary}. No view and no right was changed; let a database "
            f"administrator settle it for the user {conn.info.user!r}, then run `./guiji share sync` again."
        ) from exc


def render_sync(sync: Sync) -> str:
    """What changed, a line each; one line when nothing did."""
    lines = [f"{sync.views} shared views" + ("" if sync.is_change else ", nothing to change")]
    for word, items in (
        ("view made", sync.made),
        ("view dropped", sync.dropped),
        ("role made", sync.roles),
        ("granted", sync.granted),
        ("withdrawn", sync.revoked),
        ("grant ended", sync.ended),
        ("note", sync.notes),
    ):
        lines += [f"  {word}: {item}" for item in items[:50]]
        if len(items) > 50:
            lines.append(f"  {word}: … and {len(items) - 50} more")
    return "\n".join(lines)
