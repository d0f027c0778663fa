"""Tables of the source layer and of the libraries, made and extended from the catalog; nothing is ever dropped.

Physical names are short ASCII, the Chinese names are COMMENTs (F-32). All functions run in the caller's transaction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji.errors import CatalogError

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import FieldSpec, LibraryField, LibraryModel, Resource

    Conn = Connection[dict[str, Any]]

_TYPES = {
    "string": "text",
    "int64": "bigint",
    "float64": "double precision",
    "bool": "boolean",
    "date32": "date",
    "timestamp": "timestamp with time zone",
    "geometry": "bytea",
}
SOURCE_SYSTEM: tuple[tuple[str, str, str], ...] = (
    ("_batch_id", "text NOT NULL", "归集批次"),
    ("_row_hash", "bigint NOT NULL", "数据指纹"),
    ("_published_at", "timestamp with time zone NOT NULL", "入库时间"),
    ("_deleted_at", "timestamp with time zone", "删除时间（来源已无此数据）"),
    ("_origin", "text", "来源文件或库表"),
    ("_line", "bigint", "来源行号"),
    ("_suspect", "text[]", "已采用但存疑的信息项"),
)
#: the column of a source table that names the fields whose values are accepted in doubt
SUSPECT = "_suspect"


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    comment: str | None = None
    key: bool = False

    def definition(self) -> sql.Composed:
        # keys sort and compare by bytes: faster, and the same on every server
        collate = sql.SQL(' COLLATE "C"') if self.key and self.type == "text" else sql.SQL("")
        return sql.SQL("{} {}{}").format(sql.Identifier(self.name), sql.SQL(self.type), collate)


def pg_type(arrow_type: str) -> str:
    """PostgreSQL's name of a catalog type, written as ``format_type`` writes it."""
    if known := _TYPES.get(arrow_type):
        return known
    match = re.fullmatch(r"decimal128\((\d+),\s*(\d+)\)", arrow_type)
    if match is None:
        raise CatalogError(f"type {arrow_type!r} has no counterpart in the warehouse. Nothing was changed.")
    return f"numeric({match[1]},{match[2]})"


def column_of(field: FieldSpec | LibraryField, *, key: bool = False) -> Column:
    title = f"{field.title}（{field.crs}，WKB）" if field.type == "geometry" else field.title
    return Column(field.name, pg_type(field.type), title, key)


def source_table(resource: Resource) -> sql.Identifier:
    return sql.Identifier("source", resource.model.table)


def source_history(resource: Resource) -> sql.Identifier:
    return sql.Identifier("source", f"{resource.model.table}__history")


def library_table(library: LibraryModel, suffix: str = "") -> sql.Identifier:
    return sql.Identifier("library", library.table + suffix)


def columns_sql(names: Iterable[str], prefix: str | None = None) -> sql.Composed:
    """Names joined by commas, each with the table alias in front where one is given."""
    return sql.SQL(", ").join(sql.Identifier(prefix, n) if prefix else sql.Identifier(n) for n in names)


def match_sql(names: Iterable[str], a: str, b: str) -> sql.Composed:
    """``a.k = b.k AND …``"""
    return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(a, n), sql.Identifier(b, n)) for n in names)


# --- source layer ------------------------------------------------------------------------------------


def ensure_source_table(conn: Conn, resource: Resource) -> bool:
    """Makes the source table and its history, or adds the columns the catalog has gained.

    True when the table is new: it then has no primary key yet, see ``add_source_key``. Raises CatalogError when the
    type of a field or the key has changed.
    """
    model = resource.model
    keys = set(model.key)
    fields = [column_of(f, key=f.name in keys) for f in model.fields]
    system = [Column(n, t, c) for n, t, c in SOURCE_SYSTEM]
    created = _ensure(conn, "source", model.table, [*fields, *system], model.name)
    _ensure(
        conn,
        "source",
        f"{model.table}__history",
        [
            *fields,
            *(c for c in system if c.name not in ("_deleted_at", SUSPECT)),
            Column("_superseded_at", "timestamp with time zone NOT NULL", "被替代时间"),
            Column("_superseded_by", "text NOT NULL", "替代批次"),
        ],
        f"{model.name}（历史版本）",
        index=model.key,
    )
    if not created:
        _check_key(conn, resource)
    return created


def add_source_key(conn: Conn, resource: Resource) -> None:
    """Builds the primary key after a first load; a table that has one keeps it."""
    if _key_columns(conn, "source", resource.model.table) is None:
        conn.execute(
            sql.SQL("/* guiji {} key */ ALTER TABLE {} ADD PRIMARY KEY ({})").format(
                sql.SQL(resource.id), source_table(resource), columns_sql(resource.model.key)
            )
        )


def drop_source_key(conn: Conn, resource: Resource) -> None:
    """Takes the primary key off an empty table, so that a first load needn't maintain it."""
    row = conn.execute(
        "/* guiji key */ SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'",
        (f'source."{resource.model.table}"',),
    ).fetchone()
    if row:
        conn.execute(
            sql.SQL("/* guiji {} key */ ALTER TABLE {} DROP CONSTRAINT {}").format(
                sql.SQL(resource.id), source_table(resource), sql.Identifier(row["conname"])
            )
        )


def ensure_mapping_indexes(conn: Conn, resource: Resource) -> None:
    """Indexes by which libraries find a source row, where the primary key doesn't serve."""
    for mapping in resource.model.mappings:
        if list(mapping.key) != list(resource.model.key[: len(mapping.key)]):
            name = f"{resource.model.table[:40]}_{'_'.join(mapping.key)}"[:58] + "_idx"
            conn.execute(
                sql.SQL("/* guiji {} index */ CREATE INDEX IF NOT EXISTS {} ON {} ({})").format(
                    sql.SQL(resource.id), sql.Identifier(name), source_table(resource), columns_sql(mapping.key)
                )
            )


def _check_key(conn: Conn, resource: Resource) -> None:
    have = _key_columns(conn, "source", resource.model.table)
    if have is not None and have != list(resource.model.key):
        raise CatalogError(
            f"{resource.path}: the key of {resource.id} is {', '.join(resource.model.key)}, but source.{resource.model.table} "
            f"has the primary key {', '.join(have)}. Nothing was published; give the resource a new id, or change the "
            "primary key in the warehouse by hand.",
            resource_id=resource.id,
        )


# --- libraries ---------------------------------------------------------------------------------------


def check_names(library: LibraryModel) -> None:
    """Raises CatalogError for a field that would be taken for one of ours."""
    from guiji.catalog.links import RESERVED

    if bad := RESERVED & {f.name for f in (*library.key, *library.fields)}:
        raise CatalogError(
            f"library {library.name}: the field name {', '.join(sorted(bad))} is reserved for the history. "
            "Nothing was changed; rename the field."
        )


def library_columns(library: LibraryModel) -> tuple[list[Column], list[Column], list[Column]]:
    """Key, field and system columns of the library's table."""
    keys = [column_of(f, key=True) for f in library.key]
    fields = [column_of(f) for f in library.fields]
    system = [
        Column("_batch_id", "text NOT NULL", "最近提供数据的批次"),
        Column("_row_hash", "bigint NOT NULL", "来源数据指纹"),
        Column("_resolved_at", "timestamp with time zone NOT NULL", "融合时间，本版本自此有效"),
        Column("_deleted_at", "timestamp with time zone", "删除时间（各来源均已无此数据）"),
    ]
    if library.vintages:
        system = [
            Column("_vintage", "integer NOT NULL", "版次：1为初值，其后为修订"),
            Column("_published_at", "timestamp with time zone NOT NULL", "本版次入库时间"),
            *system,
            Column("_absent", "tstzmultirange", "曾经停用的时段"),
        ]
    return keys, fields, system


def ensure_library_tables(conn: Conn, library: LibraryModel, ordinals: Sequence[int]) -> None:
    """Makes or extends ``library.<table>``, ``<table>__provenance`` and ``<table>__history``.

    Provenance, one row per library row: for each field the ordinal of its winner (``ops.library_source``),
    ``_batch_<ordinal>`` the batch of that source's row (its date: ``ops.batch``), ``_losers`` the values that lost,
    only where they differ: {field: {ordinal: value}}. A library with vintages has a view ``<table>__current`` of
    the last vintages, and its history is a view: nothing in it is ever overwritten.
    """
    check_names(library)
    keys, fields, system = library_columns(library)
    vintage = [c for c in system if c.name == "_vintage"]
    identity = [c.name for c in (*keys, *vintage)]
    if _ensure(conn, "library", library.table, [*keys, *fields, *system], library.title):
        _add_key(conn, library.table, identity)
    provenance = [
        *keys,
        *vintage,
        *(Column(f.name, "smallint", f"{f.comment}：来源序号") for f in fields),
        *(Column(f"_batch_{n}", "text", f"第{n}来源的批次") for n in ordinals),
        Column("_losers", "jsonb", "未采用且不一致的值：{字段: {来源序号: 值}}"),
    ]
    if _ensure(conn, "library", f"{library.table}__provenance", provenance, f"{library.title}：字段来源"):
        _add_key(conn, f"{library.table}__provenance", identity)
    if library.vintages:
        _ensure_vintage_views(conn, library)
        return
    history = [
        *keys,
        *fields,
        Column("_batch_id", "text NOT NULL", "归集批次"),
        Column("_row_hash", "bigint NOT NULL", "来源数据指纹"),
        Column("valid_from", "timestamp with time zone NOT NULL", "生效时间"),
        Column("valid_to", "timestamp with time zone NOT NULL", "失效时间"),
        Column("_provenance", "jsonb", "字段来源：{字段: [来源序号, 批次]}"),
        Column("_losers", "jsonb", "未采用且不一致的值：{字段: {来源序号: 值}}"),
    ]
    _ensure(
        conn,
        "library",
        f"{library.table}__history",
        history,
        f"{library.title}：历史",
        index=[c.name for c in keys] + ["valid_from"],
    )


def _ensure_vintage_views(conn: Conn, library: LibraryModel) -> None:
    keys, _, _ = library_columns(library)
    names = list(_columns(conn, "library", library.table))
    key = columns_sql(c.name for c in keys)
    conn.execute(
        sql.SQL(
            "/* guiji vintages */ CREATE OR REPLACE VIEW {} AS SELECT DISTINCT ON ({}) {} FROM {} ORDER BY {}, _vintage DESC"
        ).format(library_table(library, "__current"), key, columns_sql(names), library_table(library), key)
    )
    conn.execute(
        sql.SQL(
            "/* guiji vintages */ CREATE OR REPLACE VIEW {} AS SELECT * FROM (SELECT _resolved_at AS valid_from,"
            " lead(_resolved_at) OVER (PARTITION BY {} ORDER BY _vintage) AS valid_to, {} FROM {}) v WHERE valid_to IS NOT NULL"
        ).format(library_table(library, "__history"), key, columns_sql(names), library_table(library))
    )


def _add_key(conn: Conn, table: str, names: Sequence[str]) -> None:
    conn.execute(
        sql.SQL("/* guiji library */ ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY ({})").format(
            sql.Identifier("library", table), sql.Identifier(f"{table}_pkey"), columns_sql(names)
        )
    )


# --- what both share ---------------------------------------------------------------------------------


def _ensure(
    conn: Conn, schema: str, table: str, columns: Sequence[Column], comment: str, index: Sequence[str] = ()
) -> bool:
    """True when the table was made now; else the missing columns are added and types compared."""
    have = _columns(conn, schema, table)
    name = sql.Identifier(schema, table)
    if not have:
        conn.execute(
            sql.SQL("/* guiji table */ CREATE TABLE {} ({})").format(
                name, sql.SQL(", ").join(c.definition() for c in columns)
            )
        )
        conn.execute(sql.SQL("/* guiji table */ COMMENT ON TABLE {} IS {}").format(name, sql.Literal(comment)))
        if index:
            conn.execute(sql.SQL("/* guiji table */ CREATE INDEX ON {} ({})").format(name, columns_sql(index)))
    for column in columns:
        wanted = column.type.removesuffix(" NOT NULL")
        there = have.get(column.name)
        if have and there is None:
            conn.execute(
                sql.SQL("/* guiji table */ ALTER TABLE {} ADD COLUMN {} {}").format(
                    name, sql.Identifier(column.name), sql.SQL(wanted)
                )
            )
        elif there is not None and there[0] != wanted:
            raise CatalogError(
                f"{schema}.{table}.{column.name} is {there[0]} in the warehouse, but the catalog now says {wanted}. "
                "Nothing was changed; give the field a new name, or convert the column by hand: "
                f'ALTER TABLE {schema}."{table}" ALTER COLUMN "{column.name}" TYPE {wanted}.',
                table=f"{schema}.{table}",
            )
        if column.comment and (there is None or there[1] != column.comment):
            conn.execute(
                sql.SQL("/* guiji table */ COMMENT ON COLUMN {}.{} IS {}").format(
                    name, sql.Identifier(column.name), sql.Literal(column.comment)
                )
            )
    return not have


def _columns(conn: Conn, schema: str, table: str) -> dict[str, tuple[str, str | None]]:
    """Type and comment of each column, in order; empty when there is no such table."""
    rows = conn.execute(
        """/* guiji columns */
        SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type, col_description(a.attrelid, a.attnum) AS comment
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum""",
        (schema, table),
    )
    return {r["attname"]: (r["type"], r["comment"]) for r in rows}


def _key_columns(conn: Conn, schema: str, table: str) -> list[str] | None:
    rows = conn.execute(
        """/* guiji key */
        SELECT a.attname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN unnest(k.conkey) WITH ORDINALITY u (attnum, i)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum
        WHERE n.nspname = %s AND c.relname = %s AND k.contype = 'p' ORDER BY u.i""",
        (schema, table),
    ).fetchall()
    return [r["attname"] for r in rows] or None
