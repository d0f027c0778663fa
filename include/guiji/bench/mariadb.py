"""One MariaDB table staged as a load package, against ``pandas.read_sql`` merely reading the same table.

A MariaDB of its own runs below a temporary folder. Ours ends with synced Parquet and its hash; the peer ends with a data
frame in memory. Both use the same login; what we staged is compared with what the peer read, row for row.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.bench import Result
from guiji.demo.servers.databases import DatabaseServer, serve_mariadb
from guiji.errors import GuijiError
from guiji.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

#: the issue's table has a million rows
MOST_ROWS = 1_000_000
_DDL = (
    "gmsfhm varchar(18) NOT NULL, xm varchar(40), xb char(1), mz char(2), csrq date, hjqh char(6), hjdz varchar(200),"
    " hyzk char(2), whcd char(2), lxdh varchar(20), gxsj datetime, PRIMARY KEY (gmsfhm)"
)


def measure(settings: Settings, rows: int) -> Iterator[Result]:
    """Yields the peer's time, ours, and how many times as fast we are."""
    rows = min(rows, MOST_ROWS)
    home = Path(tempfile.mkdtemp(prefix="guiji-bench-"))
    try:
        with serve_mariadb(home / "mariadb") as cluster:
            server = cluster.make_database("bench", "bench_mariadb")
            _fill(server, rows)
            own = replace(settings, home=home, staging=str(home / "staging"), fixed_now=None, failpoint=None)
            ours = min(_stage(own, server, number) for number in range(2))
            seconds, frame = _read_with_pandas(server)
            _compare(own, frame)
            yield Result("mariadb.pandas.read_sql", seconds, "s", "", None, "", None)
            yield Result("mariadb.staged", ours, "s", "pandas.read_sql", ours / seconds, "", None)
            faster = seconds / ours
            yield Result(f"mariadb.faster {rows:,} rows", faster, "×", "pandas.read_sql", faster, "≥ 3 ×", faster >= 3)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _fill(server: DatabaseServer, rows: int) -> None:
    import pymysql
    import sqlalchemy as sa

    from guiji.bench.people import make_people

    url = sa.engine.make_url(server.admin_url)
    conn = pymysql.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, database=url.database, charset="utf8mb4"
    )
    with conn, conn.cursor() as cursor:
        cursor.execute(f"CREATE TABLE people ({_DDL})")
        for batch in make_people(rows, chunk=50_000):
            cells = [batch.column(i).cast("string").to_pylist() for i in range(batch.num_columns)]
            cursor.executemany(
                "INSERT INTO people VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                list(zip(*cells, strict=True)),
            )
        conn.commit()


def _resource() -> Any:
    from guiji.bench.people import COLUMNS
    from guiji.catalog.models import DepartmentModel, Resource, ResourceModel

    model = ResourceModel.model_validate(
        {
            "id": "bench.people", "code": "1/1", "name": "bench", "summary": "bench", "system": "bench",
            "category": {"class": "bench", "item": "bench"}, "format": "database",
            "sharing": {"type": "无条件共享"}, "update_cycle": "每日", "published": "2026-01-01",
            "source": {"kind": "database", "connection": "bench_mariadb", "table": "people"},
            "fields": [{"name": name, "title": name} for name in COLUMNS], "key": ["gmsfhm"],
        }
    )  # fmt: skip
    department = DepartmentModel(id="bench", name="bench", short_name="bench", credit_code="-", leader="-", section="-")
    return Resource(model=model, department=department, path="-", fingerprint="-")


def _stage(settings: Settings, server: DatabaseServer, number: int) -> float:
    """Wall seconds of one extraction into a load package."""
    import pyarrow.parquet  # noqa: F401 - imported before the clock starts, as the peer's libraries are

    from guiji.connections import save_connections
    from guiji.freshness import current_window
    from guiji.sources import open_delivery
    from guiji.staging import stage_batch

    save_connections(settings, [server])
    resource = _resource()
    window = current_window(resource, settings.now())
    start = time.perf_counter()
    delivery = open_delivery(
        resource, settings, window, watermark=None, known_files=(), scratch=settings.home / "scratch"
    )
    stage_batch(resource, settings, window, delivery, f"{number:016x}")
    return time.perf_counter() - start


def _read_with_pandas(server: DatabaseServer) -> tuple[float, Any]:
    import pandas as pd
    import sqlalchemy as sa

    url = sa.engine.URL.create(
        "mysql+pymysql", server.login, server.password, server.host, server.port, server.schema, {"charset": "utf8mb4"}
    )
    engine = sa.create_engine(url)
    start = time.perf_counter()
    frame = pd.read_sql("SELECT * FROM people", engine)
    seconds = time.perf_counter() - start
    engine.dispose()
    return seconds, frame


def _compare(settings: Settings, frame: Any) -> None:
    """Raises GuijiError unless the package holds what the peer read, cell by cell."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from guiji.bench.people import COLUMNS
    from guiji.staging import batch_directory

    parts = sorted(batch_directory(settings, "bench.people", f"{0:016x}").glob("part-*.parquet"))
    staged = pa.concat_tables(pq.read_table(part, columns=list(COLUMNS)) for part in parts).sort_by("gmsfhm")
    frame = frame.sort_values("gmsfhm")
    for name in COLUMNS:
        theirs: pa.Array = pa.array(frame[name].astype(str), pa.string())
        if not staged[name].combine_chunks().equals(theirs):
            raise GuijiError(f"column {name} was staged with other values than the peer read")
