"""One role without login per department, made for this warehouse, and kept without any right of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji.errors import UsageError
from guiji.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog import Catalog

    Conn = Connection[dict[str, Any]]

_ATTRIBUTES = {
    "rolsuper": "NOSUPERUSER",
    "rolcreaterole": "NOCREATEROLE",
    "rolcreatedb": "NOCREATEDB",
    "rolcanlogin": "NOLOGIN",
    "rolreplication": "NOREPLICATION",
    "rolbypassrls": "NOBYPASSRLS",
}


def role_name(database: str, department_id: str) -> str:
    """The role of a department: named after the database too, for roles belong to a whole server."""
    if len(database.encode()) > 34:
        database = (
            f"{database.encode()[:25].decode(errors='ignore')}_{hashlib.sha256(database.encode()).hexdigest()[:8]}"
        )
    return f"guiji_{database}_{department_id}"


def ensure_roles(conn: Conn, settings: Settings, catalog: Catalog) -> tuple[dict[str, str], tuple[str, ...]]:
    """department -> role, for those of the catalog and those that were in it, and the roles made now."""
    database = conn.info.dbname
    known = {
        r["department_id"]: r["role"] for r in conn.execute("/* guiji share roles */ SELECT * FROM ops.share_role")
    }
    roles = {**known, **{d: known.get(d) or role_name(database, d) for d in catalog.departments}}
    there = {
        r["rolname"]: r
        for r in conn.execute(
            "/* guiji share roles */ SELECT r.*, shobj_description(r.oid, 'pg_authid') AS comment,"
            " ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid"
            " WHERE m.member = r.oid) AS member_of FROM pg_roles r WHERE r.rolname = ANY(%s)",
            (list(roles.values()),),
        )
    }
    marks = {d: f"guiji {database}: {d}" for d in roles}
    missing = [d for d in sorted(roles) if roles[d] not in there]
    if missing and not _may_make_roles(conn):
        statements = "\n".join(
            sql.SQL("  CREATE ROLE {0} NOLOGIN; COMMENT ON ROLE {0} IS {1};")
            .format(sql.Identifier(roles[d]), sql.Literal(marks[d]))
            .as_string(conn)
            for d in missing
        )
        raise UsageError(
            f"The warehouse's user {conn.info.user!r} may not make roles (it lacks CREATEROLE), and {len(missing)} roles "
            f"are missing. A database administrator may run:\n{statements}\n"
            "Nothing was shared and no right was changed; run `./guiji share sync` again afterwards."
        )
    for department in missing:
        name = sql.Identifier(roles[department])
        conn.execute(sql.SQL("/* guiji share role */ CREATE ROLE {} NOLOGIN").format(name))
        conn.execute(
            sql.SQL("/* guiji share role */ COMMENT ON ROLE {} IS {}").format(name, sql.Literal(marks[department]))
        )
    for department, role in sorted(roles.items()):
        if (found := there.get(role)) is not None:
            _demand_ours(role, marks[department], found)
            _strip_role(conn, role, found)
        if department not in known:
            conn.execute(
                "/* guiji share role */ INSERT INTO ops.share_role (role, department_id, made_at) VALUES (%s, %s, %s)",
                (role, department, settings.now()),
            )
    return roles, tuple(roles[d] for d in missing)


def _may_make_roles(conn: Conn) -> bool:
    row = conn.execute(
        "/* guiji share role */ SELECT rolsuper OR rolcreaterole AS may FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    return bool(row and row["may"])


def _demand_ours(role: str, mark: str, found: Mapping[str, Any]) -> None:
    if found["comment"] != mark:
        raise UsageError(
            f"The server has a role {role!r} that guiji did not make for this warehouse. Nothing was shared and no right "
            f"was changed; rename or drop that role, or, if it may be used, run COMMENT ON ROLE \"{role}\" IS '{mark}'."
        )


def _strip_role(conn: Conn, role: str, found: Mapping[str, Any]) -> None:
    """Takes from a role what somebody gave it: to log in, to make databases, to be a member of another role …"""
    if wrong := [word for attribute, word in _ATTRIBUTES.items() if found[attribute]]:
        conn.execute(
            sql.SQL("/* guiji share role */ ALTER ROLE {} {}").format(sql.Identifier(role), sql.SQL(" ".join(wrong)))
        )
    for other in found["member_of"]:
        conn.execute(
            sql.SQL("/* guiji share role */ REVOKE {} FROM {}").format(sql.Identifier(other), sql.Identifier(role))
        )
