"""Resolving a library of N persons from four sources, against one hand-written INSERT … SELECT over the same tables.

The source tables are filled by the server itself, as publish would have left them; ours is ``resolve`` in a process of
its own, so that its peak memory can be read from the kernel. Memory of the server's processes is sampled beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from guiji.bench import Result, compare_at_most
from guiji.bench.load import fresh_database
from guiji.errors import GuijiError
from guiji.settings import ROOT, Settings

CATALOG = ROOT / "benchmarks" / "resolve"
LIBRARY = "people"
#: changes that are timed: the first follows a comparison of both results, which fills the server's memory with them
CHANGES = 3
#: of the N persons, by source: from which person on, every how many, and how their values differ
SOURCES = {
    "gaj.person": "SELECT {id} AS id_no, {name} AS name, '汉' AS ethnic, {birth} AS birth_date,"
    " '东胜区民族东街' || i % 997 || '号' AS address, {phone} AS phone, {moment} AS updated, NULL AS status"
    " FROM generate_series(1, {n}) i",
    "wjw.record": "SELECT {id} AS id_no, CASE WHEN i % 200 = 0 THEN '张叁' ELSE {name} END AS name,"
    " CASE WHEN i % 25 = 0 THEN '13900000000' ELSE {phone} END AS phone, 'A' AS blood_type,"
    " '东胜区民族东街' || i % 997 || '号' || CASE WHEN i % 50 = 0 THEN '二单元' ELSE '' END AS address,"
    " {moment} AS updated, {birth} AS birth_date FROM generate_series({n} / 3 + 1, {n} + {n} / 100) i",
    "mzj.case": "SELECT {id} AS id_no, {name} AS name, '20' AS marital, {moment} AS updated"
    " FROM generate_series(1, {n}, 3) i",
    "rsj.work": "SELECT {id} AS id_no, {name} AS name, '某公司' || i % 1000 AS employer,"
    " CASE WHEN i % 40 = 0 THEN '13700000000' ELSE {phone} END AS phone, {moment} AS updated"
    " FROM generate_series(2, {n}, 3) i",
}
EXPRESSIONS = {
    "id": "'150602' || lpad((19400101 + i % 700000)::text, 8, '0') || lpad((i / 7 % 10000)::text, 4, '0')"
    " || lpad(i::text, 8, '0')",
    "name": "'张' || chr(20000 + i % 2000) || chr(21000 + i % 501)",
    "birth": "date '1940-01-01' + i % 25000",
    "phone": "'139' || lpad((i % 99999999)::text, 8, '0')",
    "moment": "timestamptz '2026-01-01 00:00+08' + (i % 500000) * interval '1 second'",
}
#: what an engineer would write who needs the values only, once
BY_HAND = """
INSERT INTO by_hand
SELECT COALESCE(g.id_no, w.id_no, m.id_no, r.id_no), COALESCE(g.name, w.name, m.name, r.name), g.ethnic,
  COALESCE(g.birth_date, w.birth_date),
  CASE WHEN char_length(w.address) > char_length(g.address) OR g.address IS NULL THEN w.address ELSE g.address END,
  CASE WHEN g.phone IS NOT NULL AND (w.phone IS NULL OR g.updated >= w.updated) AND (r.phone IS NULL OR g.updated >= r.updated)
       THEN g.phone WHEN r.phone IS NOT NULL AND (w.phone IS NULL OR r.updated >= w.updated) THEN r.phone ELSE w.phone END,
  w.blood_type, m.marital, r.employer, g.status
FROM source.gaj__person g FULL JOIN source.wjw__record w ON w.id_no = g.id_no
FULL JOIN source.mzj__case m ON m.id_no = COALESCE(g.id_no, w.id_no)
FULL JOIN source.rsj__work r ON r.id_no = COALESCE(g.id_no, w.id_no, m.id_no)
"""
TABLE = """CREATE TABLE by_hand (id_no text COLLATE "C" PRIMARY KEY, name text, ethnic text, birth_date date, address text,
phone text, blood_type text, marital text, employer text, status text)"""


@dataclass(frozen=True)
class Timed:
    seconds: float
    peak_mb: float
    server_mb: float
    told: dict[str, Any]


def measure(settings: Settings, rows: int) -> Iterator[Result]:
    """Yields the first load, a change of 0.1 %, a trace and the memory, as ratios within this run."""
    from guiji.postgres import hold

    home = settings.home / "bench"
    own = replace(settings, home=home, warehouse=None, fixed_now=None, failpoint=None, catalog=CATALOG)
    with hold(own):
        own = replace(own, warehouse=fresh_database(own, "bench_resolve"))
        fill_sources(own, rows)
        hand = insert_by_hand(own)
        yield Result("resolve.hand INSERT … SELECT", hand, "s", "", None, "", None)
        first = run_child(own, "resolve")
        yield compare_at_most("resolve.first", first.seconds, "s", "hand", hand, 2.0)
        demand_equal(own)
        changes = [resolve_change(own, rows // 1000, turn) for turn in range(CHANGES)]
        changed = sorted(changes, key=lambda timed: timed.seconds)[CHANGES // 2]
        name = f"resolve.changed_0.1% (median of {CHANGES})"
        yield compare_at_most(name, changed.seconds, "s", "first", first.seconds, 0.05)
        slowest = max(timed.seconds for timed in changes)
        yield Result("resolve.changed_0.1% (slowest)", slowest, "s", "first", slowest / first.seconds, "", None)
        traced = run_child(own, "trace")
        yield Result(
            "resolve.trace beyond process start",
            traced.seconds * 1000,
            "ms",
            "",
            None,
            "≤ 50 ms",
            traced.seconds <= 0.05,
        )
        peak = max(timed.peak_mb for timed in (first, *changes))
        yield Result(f"resolve.peak_memory {rows:,} persons", peak, "MB", "", None, "≤ 900 MB", peak <= 900)
        yield Result("resolve.peak_memory server", first.server_mb, "MB", "", None, "", None)


# --- the tables --------------------------------------------------------------------------------------


def fill_sources(settings: Settings, rows: int) -> None:
    """The four source tables as publish leaves them, all keys of the library dirty."""
    from guiji.catalog import load_catalog
    from guiji.library.tables import add_source_key, ensure_source_table
    from guiji.warehouse import connect

    catalog = load_catalog(settings.catalog)
    with connect(settings) as conn:
        for id_, query in SOURCES.items():
            resource = catalog.resources[id_]
            ensure_source_table(conn, resource)
            conn.execute(
                "INSERT INTO ops.batch (batch_id, resource_id, department_id, window_start, window_end, status,"
                " started_at, published_at) VALUES (%s, %s, %s, '2026-01-01', '2026-01-02', 'published', now(), now())",
                (id_, id_, resource.model.department_id),
            )
            inner = query.format(n=rows, **EXPRESSIONS)
            names = [f.name for f in resource.model.fields]
            conn.execute(
                f"INSERT INTO source.{resource.model.table} ({', '.join(names)}, _batch_id, _row_hash, _published_at,"  # noqa: S608
                f" _origin, _line) SELECT {', '.join(names)}, '{id_}', hashtextextended(x::text, 0) >> 1, now(), 't', 1"
                f" FROM ({inner}) x"
            )
            add_source_key(conn, resource)
            conn.execute(
                "INSERT INTO ops.dirty_library (library, resource_id, batch_id, marked_at) VALUES (%s, %s, %s, now())",
                (LIBRARY, id_, id_),
            )
        conn.commit()
        conn.autocommit = True
        for id_ in SOURCES:
            conn.execute(f"VACUUM ANALYZE source.{catalog.resources[id_].model.table}")


def insert_by_hand(settings: Settings) -> float:
    """Seconds of the hand-written statement into a keyed table."""
    from guiji.warehouse import connect

    with connect(settings) as conn:
        conn.execute("SET work_mem = '64MB'")
        conn.execute(TABLE)
        conn.commit()
        start = time.perf_counter()
        conn.execute(BY_HAND)
        conn.commit()
        return time.perf_counter() - start


def demand_equal(settings: Settings) -> None:
    """Both ways must have found the same values, else their times say nothing."""
    from guiji.warehouse import connect

    names = "id_no, name, ethnic, birth_date, address, phone, blood_type, marital, employer, status"
    with connect(settings) as conn:
        row = conn.execute(
            f"SELECT (SELECT count(*) FROM by_hand) AS hand, (SELECT count(*) FROM library.people) AS ours,"  # noqa: S608
            f" (SELECT count(*) FROM (SELECT {names} FROM by_hand EXCEPT SELECT {names} FROM library.people) x) AS apart"
        ).fetchone()
    assert row is not None
    if row["hand"] != row["ours"] or row["apart"]:
        raise GuijiError(f"the two ways differ: {row['hand']} and {row['ours']} rows, {row['apart']} apart")


def resolve_change(settings: Settings, rows: int, turn: int) -> Timed:
    """The resolve after that many persons have changed, other ones each turn."""
    change_sources(settings, rows, turn)
    timed = run_child(settings, "resolve")
    if timed.told["keys"] < rows:
        raise GuijiError(f"only {timed.told['keys']} of {rows} changed keys were resolved")
    return timed


def change_sources(settings: Settings, rows: int, turn: int = 0) -> None:
    """Changes that many persons of the police's table, and marks them as publish would."""
    from guiji.warehouse import connect

    with connect(settings) as conn:
        conn.execute(
            "WITH changed AS (UPDATE source.gaj__person SET address = address || '甲', phone = '1350000000' || %s,"
            " updated = now() WHERE id_no IN (SELECT id_no FROM source.gaj__person TABLESAMPLE SYSTEM (20) REPEATABLE (%s)"
            " LIMIT %s) RETURNING id_no) INSERT INTO ops.dirty_key (library, key, batch_id, marked_at)"
            " SELECT %s, ARRAY[id_no], 'gaj.person', now() FROM changed",
            (turn, turn + 1, rows, LIBRARY),
        )
        conn.commit()


# --- the runners -------------------------------------------------------------------------------------


def run_child(settings: Settings, what: str) -> Timed:
    """``resolve`` or ``trace`` in a process of its own; the seconds are those after its imports."""
    env = {
        **os.environ,
        "GUIJI_HOME": str(settings.home),
        "GUIJI_CATALOG": str(settings.catalog),
        "GUIJI_WAREHOUSE": settings.warehouse or "",
    }
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    sampler = _Sampler()
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", f"from guiji.bench.resolve import child; child({what!r})"],
        stdout=subprocess.PIPE,
        env=env,
    ) as process:
        assert process.stdout is not None
        with sampler:
            out = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise GuijiError(f"the bench's {what} failed with {process.returncode}")
    told: dict[str, Any] = json.loads(out.decode().strip().splitlines()[-1])
    return Timed(told["seconds"], usage.ru_maxrss / 1024, sampler.peak_mb, told)


def child(what: str) -> None:
    """Runs in the process of its own; prints one line of JSON."""
    import contextlib
    import io

    import psycopg  # noqa: F401 - a process that has started has its imports done
    import rich.console
    import rich.table
    import rich.text  # noqa: F401

    from guiji.catalog import load_catalog, load_libraries
    from guiji.library.resolve import resolve
    from guiji.library.trace import render_card, trace
    from guiji.warehouse import connect

    settings = Settings.from_env()
    if what == "resolve":
        catalog = load_catalog(settings.catalog)
        start = time.perf_counter()
        with connect(settings) as conn:
            record = resolve(conn, settings, LIBRARY, catalog)
        print(json.dumps({"seconds": time.perf_counter() - start, "keys": record.keys, "conflicts": record.conflicts}))
        return
    with connect(settings) as conn:
        row = conn.execute("SELECT id_no FROM library.people TABLESAMPLE SYSTEM (1) LIMIT 1").fetchone()
        assert row is not None
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        with connect(settings) as conn, contextlib.redirect_stdout(io.StringIO()):
            render_card(trace(conn, settings, load_libraries(settings.catalog)[LIBRARY], row["id_no"]))
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": sorted(seconds)[2]}))


class _Sampler:
    """The peak of the private memory of all PostgreSQL processes of this machine, sampled while a child runs."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.1):
            total = 0
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    text = (folder / "status").read_text()
                except OSError:
                    continue
                if text.startswith("Name:\tpostgres\n"):
                    total += next((int(x.split()[1]) for x in text.splitlines() if x.startswith("RssAnon:")), 0)
            self.peak_mb = max(self.peak_mb, total / 1024)
