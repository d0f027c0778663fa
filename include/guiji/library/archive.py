"""Old history out of the warehouse and back: Parquet with a manifest, whose rows have the same hash on either side.

``<out>/<object>-<archive id>/manifest.json, <table>-00000.parquet …``. Every cell is the text that PostgreSQL writes
and reads back equal; the manifest holds the types. The hash is over the rows, whatever their order: it is taken of the
rows that serve as history, of what was read back from the finished files, and of the rows as they are deleted. Only
when all three agree is the deletion committed. Tables with personal fields are sealed with ``GUIJI_KEY``, part by part.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql

from guiji import ledger
from guiji.audit import append_audit
from guiji.errors import GuijiError, UsageError
from guiji.library.archive_files import (
    FORMAT,
    MANIFEST,
    Archive,
    ArchivedTable,
    Part,
    cut_tables,
    finish_archive,
    read_manifest,
    read_parts,
    write_part,
)
from guiji.library.load import copy_batches
from guiji.settings import TIME_ZONE, Settings, failpoint

if TYPE_CHECKING:
    from psycopg import Connection

    from guiji.catalog.models import LibraryModel, Resource

    Conn = Connection[dict[str, Any]]


@dataclass(frozen=True)
class _Source:
    """Which rows of which table are old."""

    schema: str
    table: str
    identity: tuple[str, ...]
    old: sql.Composable  # a condition on the table, alias x

    @property
    def name(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.table)


def archive_resource(
    conn: Conn, settings: Settings, resource: Resource, before: date, out: Path, *, who: str
) -> tuple[Archive, Path] | None:
    """Archives the former versions of a resource's rows that were superseded before a day; see ``_archive``."""
    personal = any(f.sensitivity >= 3 for f in resource.model.fields)
    old = sql.SQL("x._superseded_at < {}").format(sql.Literal(_midnight(before)))
    source = _Source("source", f"{resource.model.table}__history", (*resource.model.key, "_superseded_at"), old)
    return _archive(conn, settings, resource.id, [source], before, out, who, personal)


def archive_library(
    conn: Conn, settings: Settings, library: LibraryModel, before: date, out: Path, *, who: str
) -> tuple[Archive, Path] | None:
    """Archives the former versions of a library's rows that ended before a day; see ``_archive``.

    Of a library with vintages: those with a later one from before that day, with their provenance. The last stays.
    """
    key = tuple(k.name for k in library.key)
    personal = any(f.sensitivity >= 3 for f in (*library.key, *library.fields))
    moment = sql.Literal(_midnight(before))
    if not library.vintages:
        old: sql.Composable = sql.SQL("x.valid_to < {}").format(moment)
        sources = [_Source("library", f"{library.table}__history", (*key, "valid_from"), old)]
    else:
        match = sql.SQL(" AND ").join(sql.SQL("n.{0} = x.{0}").format(sql.Identifier(k)) for k in key)
        old = sql.SQL(
            "EXISTS (SELECT 1 FROM {} n WHERE {} AND n._vintage > x._vintage AND n._resolved_at < {})"
        ).format(sql.Identifier("library", library.table), match, moment)
        # provenance first: what is old is known by the vintages, which must still be there
        names = (f"{library.table}__provenance", library.table)
        sources = [_Source("library", name, (*key, "_vintage"), old) for name in names]
    return _archive(conn, settings, library.name, sources, before, out, who, personal)


def _archive(
    conn: Conn,
    settings: Settings,
    name: str,
    sources: Sequence[_Source],
    before: date,
    out: Path,
    who: str,
    personal: bool,
) -> tuple[Archive, Path] | None:
    """Writes old rows to a folder of their own below ``out``, reads them back, then deletes them; the manifest and
    the folder, or None where nothing is old. Commits.

    The folder is whole and synced before anything is deleted; whatever fails before that leaves the warehouse as it is.
    Raises UsageError for a day to come, GuijiError where what was read back differs.
    """
    if before > settings.today():
        raise UsageError(f"{before.isoformat()} is still to come. Nothing was archived; name a day that has passed.")
    archive_id = f"{settings.now():%Y%m%d}-{secrets.token_hex(4)}"
    target = out.absolute() / f"{name}-{archive_id}"
    written: Path | None = None
    try:
        with ledger.transaction(conn):
            _fix_texts(conn)
            there = [s for s in sources if _columns(conn, s.schema, s.table)]
            if len(there) < len(sources):
                return None  # nothing was ever superseded
            temporary = target.with_name(f".tmp-{target.name}")
            written = temporary
            tables = [_export(conn, settings, s, temporary, personal) for s in sources]
            archive = Archive(
                FORMAT,
                archive_id,
                name,
                before.isoformat(),
                settings.now().isoformat(),
                personal,
                tuple(tables),
            )
            if not archive.rows:
                shutil.rmtree(temporary, ignore_errors=True)
                return None
            finish_archive(archive, temporary, target)
            written = target
            failpoint(settings, "archive.written")
            for i, table in enumerate(archive.tables):
                _load(conn, settings, archive, table, target, f"guiji_archive_{i}")
            for table, source in zip(archive.tables, sources, strict=True):
                _delete(conn, source, table)
            conn.execute(
                "/* guiji archive */ INSERT INTO ops.archive (archive_id, object, before, rows, content, directory,"
                " archived_at, archived_by) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                (archive_id, name, before, archive.rows, archive.content, str(target), settings.now(), who),
            )
            detail = {"archive": archive_id, "before": archive.before, "rows": archive.rows, "content": archive.content}
            append_audit(conn, settings, who, "archive.written", name, {**detail, "directory": str(target)})
            failpoint(settings, "archive.before_commit")
            written = None  # from here on the files may be all there is
        return archive, target
    except OSError as exc:
        raise GuijiError(
            f"The archive of {name} can't be written to {out}: {exc.strerror or exc}. Nothing was deleted from the "
            "warehouse; make room or mend the permissions, then run it again."
        ) from exc
    finally:
        if written is not None:
            shutil.rmtree(written, ignore_errors=True)


def restore_archive(conn: Conn, settings: Settings, directory: Path, *, who: str) -> Archive:
    """Puts an archive's rows back where they were and returns its manifest. Commits.

    Raises UsageError when the files are not what the manifest says, when rows of it are there already, or when a table
    or column is missing; nothing has changed then.
    """
    archive = read_manifest(directory)
    with ledger.transaction(conn):
        _fix_texts(conn)
        known = conn.execute(
            "/* guiji archive */ SELECT content FROM ops.archive WHERE archive_id = %s FOR UPDATE",
            (archive.archive_id,),
        ).fetchone()
        if known is not None and known["content"] != archive.content:
            raise UsageError(
                f"{directory / MANIFEST} is not the manifest that was written for archive {archive.archive_id}. "
                "Nothing was restored; take an unchanged copy."
            )
        for i, table in enumerate(archive.tables):
            name = f"guiji_archive_{i}"
            _load(conn, settings, archive, table, directory, name)
            _insert(conn, table, sql.Identifier(name), directory)
        conn.execute(
            "/* guiji archive */ UPDATE ops.archive SET restored_at = %s WHERE archive_id = %s",
            (settings.now(), archive.archive_id),
        )
        detail = {"archive": archive.archive_id, "rows": archive.rows, "content": archive.content}
        append_audit(conn, settings, who, "archive.restored", archive.object, detail)
    return archive


# --- out ---------------------------------------------------------------------------------------------


def _export(conn: Conn, settings: Settings, source: _Source, directory: Path, personal: bool) -> ArchivedTable:
    from guiji.warehouse import read_arrow

    columns = _columns(conn, source.schema, source.table)
    rows, content = _hash_rows(
        conn, columns, sql.SQL("(SELECT x.* FROM {} x WHERE {}) x").format(source.name, source.old)
    )
    query = sql.SQL("/* guiji archive */ SELECT {} FROM {} x WHERE {}").format(
        sql.SQL(", ").join(sql.SQL("x.{0}::text AS {0}").format(sql.Identifier(c)) for c in columns),
        source.name,
        source.old,
    )
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    parts: list[Part] = []
    if rows:
        with read_arrow(settings, query.as_string(None)) as reader:
            for table in cut_tables(reader):
                stem = f"{source.table}-{len(parts):05d}.parquet"
                parts.append(write_part(settings, directory, stem, table, personal))
    return ArchivedTable(
        source.schema, source.table, tuple(columns.items()), source.identity, rows, content, tuple(parts)
    )


def _delete(conn: Conn, source: _Source, table: ArchivedTable) -> None:
    """Deletes the old rows, which must be those of the archive, one and all."""
    query = sql.SQL("/* guiji archive */ WITH x AS (DELETE FROM {} x WHERE {} RETURNING x.*) SELECT {} FROM x").format(
        source.name, source.old, _hash_sql(dict(table.columns))
    )
    row = conn.execute(query).fetchone()
    assert row is not None
    if _content(row) != (table.rows, table.content):
        raise GuijiError(
            f"{table.schema}.{table.table} changed while it was archived. Nothing was deleted; run it again."
        )


# --- and back ----------------------------------------------------------------------------------------


def _load(conn: Conn, settings: Settings, archive: Archive, table: ArchivedTable, directory: Path, name: str) -> None:
    """Reads a table's files into a temporary table and demands that its rows have the manifest's hash."""
    there = _columns(conn, table.schema, table.table)
    if wrong := [f"{n} {kind}" for n, kind in table.columns if there.get(n) != kind]:
        raise UsageError(
            f"{table.schema}.{table.table} lacks the columns of the archive ({', '.join(wrong)}). Nothing was changed; "
            "publish the resource or resolve the library with its former fields first."
        )
    names = [n for n, _ in table.columns]
    target = sql.Identifier(name)
    conn.execute(
        sql.SQL("/* guiji archive */ CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0").format(
            target, sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(table.schema, table.table)
        )
    )
    copy_batches(conn, target, names, read_parts(settings, archive, table, directory), who="archive")
    if _hash_rows(conn, dict(table.columns), sql.SQL("{} x").format(target)) != (table.rows, table.content):
        raise GuijiError(
            f"What was read back from {directory} is not what {table.schema}.{table.table} held. Nothing was deleted or "
            "restored; archive again, or take an unchanged copy of the files."
        )


def _insert(conn: Conn, table: ArchivedTable, loaded: sql.Identifier, directory: Path) -> None:
    target = sql.Identifier(table.schema, table.table)
    match = sql.SQL(" AND ").join(sql.SQL("t.{0} = l.{0}").format(sql.Identifier(c)) for c in table.identity)
    found = conn.execute(
        sql.SQL("/* guiji archive */ SELECT 1 FROM {} l JOIN {} t ON {} LIMIT 1").format(loaded, target, match)
    ).fetchone()
    if found is not None:
        raise UsageError(
            f"Rows of {directory} are in {table.schema}.{table.table} already: it was restored before, or never archived "
            "from here. Nothing was restored."
        )
    names = sql.SQL(", ").join(sql.Identifier(n) for n, _ in table.columns)
    conn.execute(
        sql.SQL("/* guiji archive */ INSERT INTO {} ({}) SELECT {} FROM {}").format(target, names, names, loaded)
    )


# --- rows and their hash -----------------------------------------------------------------------------


def _fix_texts(conn: Conn) -> None:
    """How values are written in this transaction, whatever the server's configuration says."""
    conn.execute(
        "/* guiji archive */ SELECT set_config('datestyle', 'ISO, YMD', true), set_config('timezone', 'Asia/Shanghai', true),"
        " set_config('extra_float_digits', '1', true), set_config('bytea_output', 'hex', true),"
        " set_config('intervalstyle', 'postgres', true)"
    )


def _hash_sql(columns: Mapping[str, str]) -> sql.Composed:
    """Rows, and the sums of both halves of each row's md5: independent of the order, in bounded memory."""
    row = sql.SQL("md5(ROW({})::text)").format(
        sql.SQL(", ").join(sql.SQL("x.{}").format(sql.Identifier(c)) for c in columns)
    )
    return sql.SQL(
        "count(*) AS n, coalesce(sum(('x' || substr({0}, 1, 16))::bit(64)::bigint::numeric), 0)::text AS a,"
        " coalesce(sum(('x' || substr({0}, 17))::bit(64)::bigint::numeric), 0)::text AS b"
    ).format(row)


def _hash_rows(conn: Conn, columns: Mapping[str, str], source: sql.Composable) -> tuple[int, str]:
    row = conn.execute(sql.SQL("/* guiji archive */ SELECT {} FROM {}").format(_hash_sql(columns), source)).fetchone()
    assert row is not None
    return _content(row)


def _content(row: Mapping[str, Any]) -> tuple[int, str]:
    """(rows, their hash)."""
    return int(row["n"]), hashlib.sha256(f"{row['n']}:{row['a']}:{row['b']}".encode()).hexdigest()


def _columns(conn: Conn, schema: str, table: str) -> dict[str, str]:
    """Column -> type, in order; empty when there is no such table."""
    rows = conn.execute(
        "/* guiji archive */ SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (f'"{schema}"."{table}"',),
    )
    return {r["attname"]: r["type"] for r in rows}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), TIME_ZONE)
