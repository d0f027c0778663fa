"""First load and re-runs of one big table, PostgreSQL to PostgreSQL, against dlt and against bare COPY.

Everything runs against one embedded server of its own below ``GUIJI_HOME/bench``. Our side is the real command
(``guiji run``) in a process of its own, so that start-up counts and peak memory can be read from the kernel.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from guiji.bench import Result, compare_at_most
from guiji.demo.servers.databases import with_password
from guiji.errors import GuijiError
from guiji.settings import ROOT, Settings

RESOURCE = "bench.people"
INCREMENTAL = "bench.people_changes"


@dataclass(frozen=True)
class Timed:
    seconds: float
    peak_mb: float
    record: dict[str, Any]
    gx_seconds: float


def measure(settings: Settings, rows: int) -> Iterator[Result]:
    """Yields the rows of the issue's table, each as a ratio within this run."""
    from guiji.postgres import hold, server_url

    home = settings.home / "bench"
    own = replace(settings, home=home, warehouse=None, staging=str(home / "staging"), fixed_now=None, failpoint=None)
    peers = install_peers(home)
    with hold(own):
        source = server_url(own, "bench_fep")
        fill_people(source, rows)
        limit = copy_through(source, fresh_database(own, "bench_copy"))
        yield Result("load.limit COPY|COPY + key", limit, "s", "", None, "", None)

        peer_target = fresh_database(own, "bench_peer")
        shutil.rmtree(home / "dlt", ignore_errors=True)
        dlt_first = run_peer(peers, source, peer_target, home)
        yield Result("load.dlt first", dlt_first, "s", "limit", dlt_first / limit, "", None)

        target = fresh_database(own, "bench_warehouse")
        first = run_ours(own, source, target, RESOURCE)
        yield compare_at_most("load.first", first.seconds, "s", "dlt first", dlt_first, 0.42)
        yield compare_at_most("load.first", first.seconds, "s", "limit", limit, 2.8)
        yield Result("load.gx", first.gx_seconds, "s", "", None, "≤ 5 s", first.gx_seconds <= 5)

        dlt_again = run_peer(peers, source, peer_target, home)
        yield Result("load.dlt again", dlt_again, "s", "limit", dlt_again / limit, "", None)
        again = run_ours(own, source, target, RESOURCE)
        yield compare_at_most("load.unchanged", again.seconds, "s", "dlt again", dlt_again, 0.15)
        change_people(source, rows, share=0.001)
        changed = run_ours(own, source, target, RESOURCE)
        yield compare_at_most("load.changed_0.1%", changed.seconds, "s", "dlt again", dlt_again, 0.15)
        peak = max(first.peak_mb, again.peak_mb, changed.peak_mb)
        yield Result(f"load.peak_memory {rows:,} rows", peak, "MB", "", None, "≤ 900 MB", peak <= 900)

        yield from measure_watermark(own, rows)

        fill_people(server_url(own, "bench_fep_double"), 2 * rows)
        double = run_ours(own, server_url(own, "bench_fep_double"), fresh_database(own, "bench_double"), RESOURCE)
        again = run_ours(own, server_url(own, "bench_fep_double"), server_url(own, "bench_double"), RESOURCE)
        yield compare_at_most(
            f"load.peak_memory {2 * rows:,} rows",
            max(double.peak_mb, again.peak_mb),
            "MB",
            f"{rows:,} rows",
            peak,
            1.1,
        )


def measure_watermark(settings: Settings, rows: int) -> Iterator[Result]:
    """A watermark run of 3,000 changed rows on the whole table against one tenth of it."""
    from guiji.postgres import server_url

    seconds: dict[int, float] = {}
    for n in (rows // 10, rows):
        source = server_url(settings, f"bench_fep_{n}")
        fill_people(source, n)
        target = fresh_database(settings, f"bench_watermark_{n}")
        run_ours(settings, source, target, INCREMENTAL)
        best = []
        for _ in range(3):
            touch_people(source, 3_000)
            best.append(run_ours(settings, source, target, INCREMENTAL))
        # one row in 500 has a planted error and is rejected, all others must have been found
        if any(not 2_900 <= t.record["rows_changed"] <= 3_000 for t in best):
            raise GuijiError(f"the watermark runs changed {[t.record['rows_changed'] for t in best]} rows of 3,000")
        seconds[n] = min(t.seconds for t in best)
    yield compare_at_most(
        "load.watermark 3,000 rows", seconds[rows], "s", f"a table of {rows // 10:,}", seconds[rows // 10], 1.3
    )


# --- the table ---------------------------------------------------------------------------------------


def fill_people(url: str, rows: int) -> None:
    """Fills table ``people`` with ``rows`` rows, replacing what it holds."""
    import io

    import psycopg
    import pyarrow.csv as csv

    from guiji.bench.people import DDL, make_people

    with psycopg.connect(url, autocommit=True) as conn:
        with conn.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS people")
            cursor.execute(f"CREATE TABLE people ({DDL})")
            with cursor.copy("COPY people FROM STDIN (FORMAT csv)") as copy:
                for batch in make_people(rows):
                    sink = io.BytesIO()
                    csv.write_csv(batch, sink, csv.WriteOptions(include_header=False))
                    copy.write(sink.getvalue())
            cursor.execute("ALTER TABLE people ADD PRIMARY KEY (gmsfhm)")
            cursor.execute("CREATE INDEX ON people (gxsj)")
        conn.execute("VACUUM ANALYZE people")


def change_people(url: str, rows: int, share: float) -> None:
    """Changes the address of a share of the rows."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "UPDATE people SET hjdz = hjdz || '甲', gxsj = gxsj + interval '1 second' WHERE gmsfhm IN"
            " (SELECT gmsfhm FROM people TABLESAMPLE SYSTEM (50) REPEATABLE (1) LIMIT %s)",
            (int(rows * share),),
        )


def touch_people(url: str, rows: int) -> None:
    """Changes the ``rows`` rows that were changed longest ago, so that a watermark run finds just them."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "WITH picked AS (SELECT gmsfhm FROM people ORDER BY gxsj LIMIT %s), last AS (SELECT max(gxsj) AS at FROM people)"
            " UPDATE people p SET hjdz = p.hjdz || '乙', gxsj = last.at + interval '1 minute' FROM picked, last"
            " WHERE p.gmsfhm = picked.gmsfhm",
            (rows,),
        )


def fresh_database(settings: Settings, name: str) -> str:
    """An empty database of the bench's server; returns its URL."""
    import psycopg
    from psycopg import sql

    from guiji.postgres import server_url

    with psycopg.connect(server_url(settings, "postgres"), autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    return server_url(settings, name)


# --- the runners -------------------------------------------------------------------------------------


def copy_through(source: str, target: str) -> float:
    """The physical limit: COPY out piped into COPY in, plus building the key."""
    import psycopg

    from guiji.bench.people import DDL

    with closing(psycopg.connect(source)) as a, closing(psycopg.connect(target)) as b:
        b.execute(f"CREATE TABLE people ({DDL})")
        start = time.perf_counter()
        with (
            a.cursor().copy("COPY people TO STDOUT (FORMAT binary)") as out,
            b.cursor().copy("COPY people FROM STDIN (FORMAT binary)") as into,
        ):
            for data in out:
                into.write(data)
        b.execute("ALTER TABLE people ADD PRIMARY KEY (gmsfhm)")
        b.commit()
        return time.perf_counter() - start


def run_peer(python: Path, source: str, target: str, home: Path) -> float:
    """One dlt run; returns its wall seconds."""
    start = time.perf_counter()
    urls = with_password(source), with_password(target)
    done = subprocess.run(  # noqa: S603
        [str(python), str(ROOT / "benchmarks" / "dlt_peer.py"), *urls, str(home / "dlt")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "RUNTIME__DLTHUB_TELEMETRY": "false"},
    )
    if done.returncode:
        raise GuijiError(f"the peer failed: {done.stderr[-800:]}")
    return time.perf_counter() - start


def run_ours(settings: Settings, source: str, target: str, resource: str) -> Timed:
    """``guiji run`` in a process of its own."""
    connection = with_password(source).replace("postgresql://", "postgres://", 1)
    env = {
        **os.environ,
        "GUIJI_HOME": str(settings.home),
        "GUIJI_STAGING": str(settings.home / "staging"),
        "GUIJI_CATALOG": str(ROOT / "benchmarks" / "catalog"),
        "GUIJI_WAREHOUSE": target,
        "AIRFLOW_CONN_FEP_BENCH": connection,
    }
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    start = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "guiji", "run", resource, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    )
    captured: list[bytes] = []
    out_pipe, error_pipe = process.stdout, process.stderr
    if out_pipe is None or error_pipe is None:
        raise GuijiError("guiji run gave no output pipes")
    reader = threading.Thread(target=lambda: captured.append(error_pipe.read()))
    reader.start()
    out = out_pipe.read()
    reader.join()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise GuijiError(f"guiji run failed with {process.returncode}: {captured[0].decode()[-1500:]}")
    record: dict[str, Any] = json.loads(out.decode().strip().splitlines()[-1])
    quality = settings.home / "staging" / resource / record["batch_id"] / "quality.json"
    gx = json.loads(quality.read_text())["seconds"] if quality.exists() else 0.0
    return Timed(seconds, usage.ru_maxrss / 1024, record, gx)


def install_peers(home: Path) -> Path:
    """The Python of the peers' virtual environment, made on first use; the packages come from the registry."""
    folder = home / "peers"
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    wanted = (ROOT / "benchmarks" / "peers.txt").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print("installing the peers …", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: S603
    subprocess.run(  # noqa: S603
        [str(python), "-m", "pip", "install", "-q", "-r", str(ROOT / "benchmarks" / "peers.txt")], check=True
    )
    stamp.write_text(wanted)
    return python
