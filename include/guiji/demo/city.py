"""The running city: its front-end databases, SFTP and FTP servers, export folder, interfaces and mail server.

``deliver_…`` puts one delivery where its department puts it, notes in ``truth`` which of its rows are spoilt, and
leaves everything else to the pipeline.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from guiji.connections import Connection, save_connections
from guiji.demo import deliveries, nature
from guiji.demo.planting import KINDS, Planted, plant
from guiji.demo.population import City
from guiji.demo.servers import (
    HttpServer,
    MailServer,
    serve_ftp,
    serve_http,
    serve_mariadb,
    serve_postgres,
    serve_sftp,
    serve_smtp,
)
from guiji.settings import TIME_ZONE, Settings

if TYPE_CHECKING:
    import sqlalchemy as sa

    from guiji.orchestration.launch import Running

#: columns whose values identify a row of a table or interface in the truth
MARKS = {
    "gaj.household": ("gmsfhm", "xm", "hjxz"),
    "wjw.health_record": ("sfzh", "xm"),
    "scjg.enterprise": ("tyshxydm", "qymc"),
    "rsj.employment": ("idCard", "personName"),
    "qxj.station": ("station_id", "station_name"),
    "cgj.facility": ("code", "address"),
    "scjg.inspection": ("jcbh",),
    "fgw.penalty": ("行政处罚决定书文号",),
    "swj.tax_revenue": ("dq", "sz"),
    "rsj.insurance": ("公民身份号码",),
    "mzj.relief": ("公民身份号码",),
    "sthj.permit": ("permitNo", "unitName"),
    "gzw.enterprise": ("统一社会信用代码",),
    "gxj.energy_use": ("tyshxydm",),
}
Answer = Mapping[str, str]


@dataclass
class RunningCity:
    """The servers of the city, and what was planted so far."""

    city: City
    settings: Settings
    root: Path
    connections: dict[str, Connection]
    urls: dict[str, str]  # database -> its owner's URL
    interfaces: HttpServer
    mail: MailServer
    mariadb: bool
    stop_front_ends: Callable[[], None]
    start_front_ends: Callable[[], None]
    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    truth: list[Planted] = field(default_factory=list)
    airflow: Running | None = None

    def note(self, resource_id: str, delivery: str, kind: str, mark: str) -> None:
        self.truth.append(Planted(resource_id, delivery, kind, mark))

    def errors(self, rows: int) -> int:
        """How many rows of each kind are planted in ``rows`` rows: one in 2,000, in a large city fewer, so that no rule
        reports more rows than the pipeline lists one by one."""
        return max(1, rows // max(2_000, self.city.people // 1_500))


@contextlib.contextmanager
def run_city(settings: Settings, city: City) -> Iterator[RunningCity]:
    """Starts every server on a free port of the loopback and publishes the connections in ``GUIJI_HOME``."""
    root = settings.home / "city"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(serve_postgres(root / "fep"))
        gaj, scjg = cluster.make_database("gaj", "fep_gaj"), cluster.make_database("scjg", "fep_scjg")
        wjw, wjw_url, mariadb = _serve_wjw(stack, root)
        sftp = [
            stack.enter_context(serve_sftp(root / name, conn_id=f"sftp_{name}", host_key=root / f"{name}_key"))
            for name in ("mzj", "xzsp", "jtj")
        ]
        ftp = stack.enter_context(serve_ftp(root / "swj", conn_id="ftp_swj"))
        interfaces = stack.enter_context(serve_http(token=None, conn_id="http_rsj"))
        mail = stack.enter_context(serve_smtp(folder=settings.home / "mail"))
        connections = {c.conn_id: c for c in (gaj, scjg, wjw, *sftp, ftp, mail)}
        for name in ("rsj", "cgj", "qxj", "fgw", "sthj"):
            connections[f"http_{name}"] = Connection(
                f"http_{name}", "http", interfaces.host, interfaces.port, password=f"demo-{name}"
            )
        save_connections(settings, connections.values())
        exports = root / "exports"
        os.environ["GUIJI_EXPORTS"] = str(exports)
        running = RunningCity(
            city,
            settings,
            root,
            connections,
            {"gaj": gaj.admin_url, "scjg": scjg.admin_url, "wjw": wjw_url},
            interfaces,
            mail,
            mariadb,
            cluster.stop,
            cluster.start,
        )
        _open_interfaces(running)
        for folder in ("mzj/upload/hydj", "xzsp/out/xzxk", "jtj/share/road", "swj/swdj", "swj/sssr"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for folder in ("mzj", "tjj", "czj", "yjj", "lcj", "swt", "fgw", "rsj", "gzw", "gxj"):
            (exports / folder).mkdir(parents=True, exist_ok=True)
        yield running


def _serve_wjw(stack: contextlib.ExitStack, root: Path) -> tuple[Connection, str, bool]:
    """卫健's front-end: MariaDB where it is installed, else SQLite through the same connector."""
    from guiji.errors import UsageError

    try:
        cluster = stack.enter_context(serve_mariadb(root / "mariadb"))
    except UsageError:
        path = root / "wjw.sqlite"
        return Connection("fep_wjw", "sqlite", host=str(path)), f"sqlite:///{path}", False
    database = cluster.make_database("wjw", "fep_wjw")
    return database, database.admin_url, True


# --- databases ---------------------------------------------------------------------------------------


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


def note_marks(
    running: RunningCity, resource_id: str, delivery: str, table: pa.Table, truth: Mapping[int, Any]
) -> None:
    if not truth:
        return
    marks = table.select(MARKS[resource_id]).take(pa.array(list(truth))).to_pylist()
    for row, kind in zip(marks, truth.values(), strict=True):
        running.note(resource_id, delivery, kind.name, make_mark(row.values()))


def make_mark(values: Any) -> str:
    """How the truth names a row: the values that identify it."""
    return "|".join("" if v is None else str(v) for v in values)


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


# --- files -------------------------------------------------------------------------------------------


def write_csv(
    running: RunningCity,
    path: Path,
    table: pa.Table,
    resource_id: str,
    delivery: str,
    moment: datetime,
    *,
    encoding: str = "utf-8",
    delimiter: str = ",",
    clean: bool = False,
    seed: int = 0,
) -> None:
    """A delivery as CSV; line numbers of spoilt rows go into the truth."""
    kinds = () if clean else KINDS.get(resource_id, ())
    spoilt, truth = plant(table, kinds, running.errors(table.num_rows), running.city.seed + seed)
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter=delimiter)
    names = [c for c in spoilt.column_names if not c.startswith("_")]
    writer.writerow(names)
    for position, row in enumerate(spoilt.to_pylist()):
        cut = int(row.get("_cut") or 0)
        writer.writerow([row[c] or "" for c in names][: len(names) - cut])
        if position in truth:
            running.note(resource_id, delivery, truth[position].name, str(position + 2))
    put_file(path, sink.getvalue().encode(encoding), moment)


def write_xlsx(
    running: RunningCity,
    path: Path,
    table: pa.Table,
    resource_id: str,
    delivery: str,
    moment: datetime,
    *,
    title: str,
    numeric: Sequence[str] = (),
    total: str | None = None,
    footnote: str | None = None,
    clean: bool = False,
    seed: int = 0,
    rename: Mapping[str, str] | None = None,
) -> None:
    """A delivery as a workbook with a merged title row, as offices make them."""
    import xlsxwriter

    kinds = () if clean else KINDS.get(resource_id, ())
    spoilt, truth = plant(table, kinds, running.errors(table.num_rows), running.city.seed + seed)
    sink = io.BytesIO()
    with xlsxwriter.Workbook(sink, {"strings_to_formulas": False, "strings_to_urls": False}) as book:
        sheet = book.add_worksheet("Sheet1")
        heading = book.add_format({"bold": True, "align": "center", "font_size": 16})
        sheet.merge_range(0, 0, 0, len(spoilt.column_names) - 1, title, heading)
        sheet.write_row(1, 0, [(rename or {}).get(name, name) for name in spoilt.column_names])
        for position, row in enumerate(spoilt.to_pylist()):
            for column, (name, value) in enumerate(row.items()):
                if name in numeric and value is not None:
                    sheet.write_number(position + 2, column, float(value))
                else:
                    sheet.write_string(position + 2, column, value or "")
            if position in truth:
                running.note(resource_id, delivery, truth[position].name, str(position + 3))
        end = spoilt.num_rows + 2
        if total:
            sheet.write_string(end, 0, total)
            end += 1
        if footnote:
            sheet.write_string(end, 0, footnote)
    put_file(path, sink.getvalue(), moment)


def write_geojson(
    running: RunningCity, path: Path, table: pa.Table, resource_id: str, delivery: str, moment: datetime, seed: int = 0
) -> None:
    """Parcels as a FeatureCollection, one feature a line."""
    spoilt, truth = plant(table, KINDS[resource_id], running.errors(table.num_rows), running.city.seed + seed)
    features = []
    for position, row in enumerate(spoilt.to_pylist()):
        geometry = row.pop("geometry")
        if row.pop("_bow_tie", None):
            geometry = nature.bow_tie(geometry)
        features.append(
            json.dumps({"type": "Feature", "properties": row, "geometry": json.loads(geometry)}, ensure_ascii=False)
        )
        if position in truth:
            running.note(resource_id, delivery, truth[position].name, str(position + 1))
    body = '{"type": "FeatureCollection", "features": [\n' + ",\n".join(features) + "\n]}\n"
    put_file(path, body.encode(), moment)


def write_text(path: Path, text: str, encoding: str, moment: datetime) -> None:
    put_file(path, text.encode(encoding), moment)


def put_file(path: Path, content: bytes, moment: datetime) -> None:
    """Writes a file as the department's machine would have at ``moment``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (moment.timestamp(), moment.timestamp()))


# --- interfaces --------------------------------------------------------------------------------------


def deliver_records(
    running: RunningCity, resource_id: str, table: pa.Table, delivery: str, seed: int, *, append: bool = False
) -> None:
    """Puts records behind an interface; what was spoilt last time is mended: it is gone."""
    spoilt, truth = plant(table, KINDS.get(resource_id, ()), running.errors(table.num_rows), running.city.seed + seed)
    rows = spoilt.to_pylist()
    for position, row in enumerate(rows):
        row["_spoilt"] = position in truth
    former = [r for r in running.records.get(resource_id, []) if not r["_spoilt"]] if append else []
    fresh = {r["idCard"] for r in rows} if append else set()
    running.records[resource_id] = [r for r in former if r["idCard"] not in fresh] + rows
    if truth:
        note_marks(running, resource_id, delivery, spoilt, truth)


def _open_interfaces(running: RunningCity) -> None:
    def records(resource_id: str) -> list[dict[str, Any]]:
        return [{k: v for k, v in r.items() if k != "_spoilt"} for r in running.records.get(resource_id, [])]

    def employment(query: Answer) -> object:
        since, until = _naive(query.get("since")), _naive(query.get("until"))
        found = [
            r
            for r in records("rsj.employment")
            if (since is None or r["updateTime"] >= since) and (until is None or r["updateTime"] < until)
        ]
        found.sort(key=lambda r: (r["updateTime"], r["idCard"]))
        page, size = int(query.get("pageNo", "1")), int(query.get("pageSize", "200"))
        return {"code": "0", "msg": "", "data": {"total": len(found), "list": found[(page - 1) * size : page * size]}}

    def facilities(query: Answer) -> object:
        return {"status": "200", "message": "ok", "result": records("cgj.facility")}

    def stations(query: Answer) -> object:
        found = records("qxj.station")
        start, size = int(query.get("after") or 0), int(query.get("limit", "50"))
        return {"items": found[start : start + size], "next": str(start + size) if start + size < len(found) else None}

    def prices(query: Answer) -> object:
        found = records("fgw.price_index")
        start, size = int(query.get("offset") or 0), int(query.get("limit", "100"))
        return {"count": len(found), "rows": found[start : start + size]}

    def investment(query: Answer) -> object:
        found = records("fgw.key_project")
        page, size = int(query.get("page", "0")), int(query.get("size", "20"))
        return {"code": 200, "msg": "ok", "total": len(found), "data": found[page * size : (page + 1) * size]}

    def permits(query: Answer) -> object:
        found = records("sthj.permit")
        page, size = int(query.get("page", "1")), int(query.get("size", "50"))
        rows = found[(page - 1) * size : page * size]
        return {"code": "0", "message": "ok", "data": {"total": len(found), "records": rows}}

    running.interfaces.answers.update(
        {
            "/api/employment": employment,
            "/gis/components": facilities,
            "/v1/stations": stations,
            "/open/price": prices,
            "/open/investment": investment,
            "/ep/permits": permits,
        }
    )


def _naive(text: str | None) -> str | None:
    """A query's ISO timestamp as the department's system writes time."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    moment = moment.astimezone(TIME_ZONE) if moment.tzinfo else moment
    return f"{moment:%Y-%m-%d %H:%M:%S}"
