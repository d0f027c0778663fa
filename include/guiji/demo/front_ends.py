"""Deliveries into the departments' front-end databases."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as arrow_csv

from guiji.demo import deliveries
from guiji.demo.planting import KINDS, plant
from guiji.demo.running import RunningCity, note_marks

if TYPE_CHECKING:
    import sqlalchemy as sa


def deliver_household(running: RunningCity, month: int, delivery: str) -> None:
    """The whole register into 公安's front-end, in chunks."""
    chunks = deliveries.household(running.city, month)
    fill_postgres(running, "gaj", "t_hjrk", "gaj.household", chunks, {"gxsj": "timestamp"}, month, delivery)


def deliver_enterprise(running: RunningCity, month: int, delivery: str) -> None:
    chunks = iter([deliveries.enterprise(running.city, month)])
    fill_postgres(running, "scjg", "t_qyfr", "scjg.enterprise", chunks, {"gxsj": "timestamp"}, month, delivery)


def fill_postgres(
    running: RunningCity,
    database: str,
    table: str,
    resource_id: str,
    chunks: Iterator[pa.Table],
    types: Mapping[str, str],
    month: int,
    delivery: str,
) -> None:
    import psycopg
    from psycopg import sql

    with psycopg.connect(running.urls[database]) as conn:
        conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(table)))
        for number, chunk in enumerate(chunks):
            spoilt, truth = plant(
                chunk, KINDS[resource_id], running.errors(chunk.num_rows), running.city.seed + month * 100 + number
            )
            if not number:
                columns = sql.SQL(", ").join(
                    sql.SQL("{} {}").format(sql.Identifier(c), sql.SQL(types.get(c, "text")))
                    for c in spoilt.column_names
                )
                conn.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(table), columns))
            sink = io.BytesIO()
            arrow_csv.write_csv(spoilt, sink, arrow_csv.WriteOptions(include_header=False))
            with conn.cursor().copy(sql.SQL("COPY {} FROM STDIN (FORMAT csv)").format(sql.Identifier(table))) as copy:
                copy.write(sink.getvalue())
            note_marks(running, resource_id, delivery, spoilt, truth)


def deliver_health(running: RunningCity, month: int, delivery: str, start: datetime) -> None:
    """What changed in the month into 卫健's front-end. The rows spoilt last time were mended there: they are gone."""
    import sqlalchemy as sa

    resource_id = "wjw.health_record"
    engine = sa.create_engine(running.urls["wjw"])
    zero_dates = running.mariadb
    with engine.begin() as conn:
        if running.mariadb:
            conn.execute(sa.text("SET SESSION sql_mode = ''"))
        if not month:
            kind = "DATETIME(6)" if running.mariadb else "TEXT"
            conn.execute(sa.text("DROP TABLE IF EXISTS t_jkda"))
            conn.execute(
                sa.text(
                    "CREATE TABLE t_jkda (sfzh VARCHAR(40), jkdabh VARCHAR(40), xm VARCHAR(60), xb VARCHAR(4),"
                    f" csrq {'DATE' if running.mariadb else 'TEXT'}, lxdh VARCHAR(40), xzz VARCHAR(200), xx VARCHAR(8),"
                    " hyzk VARCHAR(4), jdjg VARCHAR(100), jdrq DATE, scbz VARCHAR(2), "
                    f"gxsj {kind} NULL)"
                )
            )
        if gone := running.records.pop(resource_id, []):
            conn.execute(sa.text("DELETE FROM t_jkda WHERE sfzh = :sfzh AND xm = :xm"), gone)
        for number, chunk in enumerate(deliveries.health_record(running.city, month, start)):
            kinds = [k for k in KINDS[resource_id] if zero_dates or k.name != "零日期"]
            spoilt, truth = plant(
                chunk, kinds, running.errors(chunk.num_rows), running.city.seed + month * 100 + number
            )
            bad = spoilt.select(["sfzh", "xm"]).take(pa.array(list(truth), pa.int64())).to_pylist()
            running.records.setdefault(resource_id, []).extend(bad)
            put = _load_mariadb if running.mariadb else _load_sqlite
            put(conn, spoilt, running.root, bool(month))
            note_marks(running, resource_id, delivery, spoilt, truth)
        if not month:
            conn.execute(sa.text("CREATE INDEX t_jkda_gxsj ON t_jkda (gxsj)"))
            conn.execute(sa.text("CREATE INDEX t_jkda_sfzh ON t_jkda (sfzh)"))
    engine.dispose()


def _load_mariadb(conn: sa.Connection, rows: pa.Table, root: Path, replace: bool) -> None:
    """Adds health records, in the place of those of the same people; the server reads them from a file of its own."""
    import sqlalchemy as sa

    path = root / "mariadb" / "t_jkda.csv"
    # arrow writes a null as nothing and an empty text as "": MariaDB would read both as an empty text
    arrow_csv.write_csv(rows, path, arrow_csv.WriteOptions(include_header=False, quoting_style="all_valid"))
    blank = [c for c in rows.column_names if rows[c].null_count]
    cells = ", ".join(f"@{c}" if c in blank else c for c in rows.column_names)
    nulls = " SET " + ", ".join(f"{c} = NULLIF(@{c}, '')" for c in blank) if blank else ""
    conn.execute(sa.text("CREATE TEMPORARY TABLE t_new AS SELECT * FROM t_jkda LIMIT 0"))  # has no indexes to fill
    target = "t_new" if replace else "t_jkda"
    conn.execute(
        sa.text(
            f"LOAD DATA INFILE '{path}' INTO TABLE {target} CHARACTER SET utf8mb4"
            f""" FIELDS TERMINATED BY ',' ENCLOSED BY '"' ESCAPED BY '' ({cells}){nulls}"""
        )
    )
    if replace:
        conn.execute(sa.text("DELETE t_jkda FROM t_new JOIN t_jkda USING (sfzh)"))
        conn.execute(sa.text("INSERT INTO t_jkda SELECT * FROM t_new"))
    conn.execute(sa.text("DROP TEMPORARY TABLE t_new"))
    path.unlink()


def _load_sqlite(conn: sa.Connection, table: pa.Table, root: Path, replace: bool) -> None:
    """The same where there is no MariaDB."""
    import sqlalchemy as sa

    rows, names = table.to_pylist(), table.column_names
    if replace:
        conn.execute(sa.text("DELETE FROM t_jkda WHERE sfzh = :sfzh"), [{"sfzh": row["sfzh"]} for row in rows])
    conn.execute(
        sa.text(f"INSERT INTO t_jkda ({', '.join(names)}) VALUES ({', '.join(':' + c for c in names)})"),  # noqa: S608
        rows,
    )
