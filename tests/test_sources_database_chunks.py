"""F-14: a long extraction in ranges of its key goes on where it broke off, and reads the same rows as one read at once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from bad_input import HEADER, FrontEnd, command_env, connection_json, sound_rows, write_catalog
from delivering import NOW, OCTOBER, make_resource, plain_settings
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from guiji.catalog.models import Resource
from guiji.connections import Connection
from guiji.errors import CatalogError, DeliveryRefused, SourceUnavailable
from guiji.records import Delivery, Window
from guiji.settings import Settings
from guiji.sources import open_delivery
from guiji.sources.database import BatchStream
from guiji.staging import load_staged

Fill = Callable[..., None]
Row = tuple[Any, ...]


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return plain_settings(tmp_path / "home")


@pytest.fixture(params=["pg", "maria"])
def fill(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fill]:
    """Runs statements in a department's database, which is connection ``fep``; PostgreSQL and MariaDB."""
    s = request.getfixturevalue("fep_postgres" if request.param == "pg" else "mariadb_server")
    plain = Connection(s.conn_id, s.conn_type, s.host, s.port, s.login, s.password, s.schema)
    monkeypatch.setenv("AIRFLOW_CONN_FEP", plain.to_json())
    engine = sa.create_engine(s.admin_url.replace("postgresql://", "postgresql+psycopg://"))

    def run(*statements: str, rows: list[Row] | None = None) -> None:
        with engine.begin() as conn:
            for statement in statements:
                conn.exec_driver_sql(statement)
            if rows:
                marks = ", ".join(["%s"] * len(rows[0]))
                conn.exec_driver_sql(f"INSERT INTO t VALUES ({marks})", rows)

    run.engine = engine  # type: ignore[attr-defined]
    yield run
    engine.dispose()


def drop(delivery: Delivery) -> None:
    """Lets go of a delivery that was not read to its end."""
    assert isinstance(delivery.batches, BatchStream)
    delivery.batches.close()


def table(*columns: str, rows: int = 2, key: str = "id", **source: Any) -> Resource:
    more = {k: source.pop(k) for k in ("load",) if k in source}
    chunks = {"chunk_key": key, "chunk_key_rows": rows}
    return make_resource({"kind": "database", "connection": "fep", "table": "t", **chunks, **source}, columns, **more)


def open_chunks(
    resource: Resource, place: Settings, *, window: Window = OCTOBER, watermark: str | None = None
) -> Delivery:
    return open_delivery(
        resource,
        place.at(NOW),
        window,
        watermark=watermark,
        known_files=(),
        scratch=place.home / "scratch",
        resume=place.home / "chunks",
    )


def read_all(delivery: Delivery) -> list[Row]:
    found = [r for b in delivery.batches for r in b.to_pylist()]
    assert [r["_line"] for r in found] == list(range(1, len(found) + 1))
    return [tuple(None if r[c] is None else str(r[c]) for c in delivery.columns) for r in found]


def read_until(delivery: Delivery, chunks: int, place: Settings) -> None:
    """Reads until so many chunks are finished, then lets go, as a run that broke off."""
    for _ in delivery.batches:
        if len(ledger(place).get("rows", [])) >= chunks:
            break
    drop(delivery)
    assert len(ledger(place)["rows"]) == chunks


def ledger(place: Settings) -> dict[str, Any]:
    found = list((place.home / "chunks").glob("*/ledger.json"))
    content: dict[str, Any] = json.loads(found[0].read_text()) if found else {}
    return content


def test_chunks_at_every_border(fill: Fill, place: Settings) -> None:
    fill("CREATE TABLE t (id int PRIMARY KEY, a varchar(9))")
    for rows in range(6):
        assert read_all(open_chunks(table("id", "a"), place)) == [(str(7 * i), f"v{i}") for i in range(rows)]
        assert list((place.home / "chunks").iterdir()) == []
        fill(rows=[(7 * rows, f"v{rows}")])


KEYS = {
    "int": ["-5", "-1", "0", "3", "9007199254740993", None, "3", "3", "3", None],
    "varchar(20)": ["a", "B", "b", "A", "张", "", " ", "ä", "%s", "'", None, "a", "\\", "1"],
    "char(4)": ["ab", "abc", "b", "ab", None, "Ab", "zz"],
    "decimal(30,10)": ["0.1", "0.1000000001", "12345678901234567890.5", "-3", None],
    "date": ["2026-01-01", "1999-12-31", "2026-01-01", None],
    "timestamp(6)": ["2026-01-01 00:00:00.000001", "2026-01-01 00:00:00.000002", "2026-01-01 00:00:00", "1999-12-31"],
    "double precision": ["0.1", "0.30000000000000004", "1e300", "-1", "0.1", None],
}


@pytest.mark.parametrize("kind", KEYS)
def test_any_type_of_key_with_ties_and_blanks(fill: Fill, place: Settings, kind: str) -> None:
    kept = [(key, str(i)) for i, key in enumerate(KEYS[kind])]
    fill(f"CREATE TABLE t (id {'bigint' if kind == 'int' else kind} NULL, a varchar(9))", rows=kept)
    whole = make_resource({"kind": "database", "connection": "fep", "table": "t"}, ("id", "a"))
    at_once = read_all(open_chunks(whole, place))
    assert Counter(r[1] for r in at_once) == Counter(a for _, a in kept)
    for size in (1, 3):
        assert Counter(read_all(open_chunks(table("id", "a", rows=size), place))) == Counter(at_once)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_bits_bound_ranges_too(fill: Fill, place: Settings, size: int) -> None:
    fill(
        "CREATE TABLE t (id bit(3) NULL, a varchar(9))",
        *(f"INSERT INTO t VALUES (B'{v:03b}', 'v{v}')" for v in (5, 1, 7, 5)),
    )
    read = read_all(open_chunks(table("id", "a", rows=size), place))
    assert Counter(r[1] for r in read) == Counter(["v5", "v1", "v7", "v5"])


@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.lists(st.none() | st.text("aAbBäß张 ", max_size=3), max_size=9),
    size=st.integers(1, 4),
    broken_after=st.integers(1, 3),
)
def test_f14_what_broke_off_and_went_on_is_the_whole(
    fill: Fill, place: Settings, keys: list[str | None], size: int, broken_after: int
) -> None:
    kept = [(key, str(i)) for i, key in enumerate(keys)]
    fill("DROP TABLE IF EXISTS t", "CREATE TABLE t (id varchar(9), a varchar(9))", rows=kept)
    first = open_chunks(table("id", "a", rows=size), place)
    for _ in first.batches:
        if len(ledger(place).get("rows", [])) >= broken_after:
            break
    drop(first)
    assert Counter(read_all(open_chunks(table("id", "a", rows=size), place))) == Counter(kept)


def test_f14_ranges_have_the_declared_number_of_rows(fill: Fill, place: Settings) -> None:
    fill("CREATE TABLE t (id int PRIMARY KEY)", rows=[(i,) for i in range(0, 20, 2)])
    read_until(open_chunks(table("id", rows=4), place), 2, place)
    assert (ledger(place)["rows"], ledger(place)["reached"]) == ([4, 4], "14")


def test_f14_chunks_keep_the_declared_filter_and_need_not_be_collected(fill: Fill, place: Settings) -> None:
    fill("CREATE TABLE t (id int, a varchar(9), b varchar(9))", rows=[(i, str(i % 2), f"v{i}") for i in range(9)])
    resource = table("a", "b", filter="a = '1'")
    assert read_all(open_chunks(resource, place)) == [("1", "v1"), ("1", "v3"), ("1", "v5"), ("1", "v7")]


@pytest.mark.parametrize("kind", ["binary(2)", "varbinary(2)", "blob"])
def test_bytes_bound_ranges_as_what_their_digits_mean(
    mariadb_server: Any, monkeypatch: pytest.MonkeyPatch, place: Settings, kind: str
) -> None:
    s = mariadb_server
    plain = Connection(s.conn_id, s.conn_type, s.host, s.port, s.login, s.password, s.schema)
    monkeypatch.setenv("AIRFLOW_CONN_FEP", plain.to_json())
    kept = {"00ff", "6162", "ffff", "7a7a", "0000"}
    engine = sa.create_engine(s.admin_url)
    with engine.begin() as conn:
        conn.exec_driver_sql(f"CREATE TABLE t (id {kind})")
        conn.exec_driver_sql("INSERT INTO t VALUES (%s)", [(bytes.fromhex(key),) for key in sorted(kept)])
    engine.dispose()
    assert Counter(read_all(open_chunks(table("id", rows=2), place))) == Counter((key,) for key in kept)


def test_f15_a_line_that_is_cut_between_two_ranges_is_tried_again(fill: Fill, place: Settings) -> None:
    fill("CREATE TABLE t (id int PRIMARY KEY)", rows=[(i,) for i in range(9)])
    delivery = open_chunks(table("id"), place)
    for _ in delivery.batches:
        if len(ledger(place).get("rows", [])) == 2:
            cut_lines(fill)
            break
    with pytest.raises(SourceUnavailable, match="tried again"):
        list(delivery.batches)
    assert read_all(open_chunks(table("id"), place)) == [(str(i),) for i in range(9)]


def cut_lines(fill: Fill) -> None:
    """The server ends every session of the reader, as one does that is restarted."""
    with fill.engine.connect() as conn:  # type: ignore[attr-defined]
        if fill.engine.name == "postgresql":  # type: ignore[attr-defined]
            conn.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return
        mine = conn.exec_driver_sql("SELECT CONNECTION_ID()").scalar()
        for (number,) in conn.exec_driver_sql(
            f"SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> {mine}"
        ).all():
            conn.exec_driver_sql(f"KILL {number}")


@pytest.mark.parametrize("kind", ["json", "point"])
def test_a_chunk_key_without_an_order_is_an_error_of_the_catalog(
    fep_postgres: Any, monkeypatch: pytest.MonkeyPatch, place: Settings, kind: str
) -> None:
    s = fep_postgres
    plain = Connection(s.conn_id, s.conn_type, s.host, s.port, s.login, s.password, s.schema)
    monkeypatch.setenv("AIRFLOW_CONN_FEP", plain.to_json())
    with psycopg.connect(s.admin_url, autocommit=True) as conn:
        conn.execute(f"CREATE TABLE t (id {kind})")
    with pytest.raises(CatalogError, match="be read as the catalog asks"):
        read_all(open_chunks(table("id"), place))


def test_a_chunk_key_that_is_gone_refuses_the_delivery(fill: Fill, place: Settings) -> None:
    fill("CREATE TABLE t (id int)")
    with pytest.raises(DeliveryRefused, match="“nr”") as caught:
        open_chunks(table("id", key="nr"), place)
    assert caught.value.rule_id == "delivery.missing_column"


def test_f14_each_key_that_was_there_all_the_while_is_read_once(fill: Fill, place: Settings) -> None:
    fill("CREATE TABLE t (id int PRIMARY KEY)", rows=[(i,) for i in range(0, 20, 2)])
    first = open_chunks(table("id"), place)
    read_until(first, 3, place)
    fill("DELETE FROM t WHERE id IN (2, 16)", rows=[(1,), (13,)])
    second = open_chunks(table("id"), place)
    found = [r[0] for r in read_all(second)]
    # 2 and 1 changed where it had been read, 16 and 13 where it had not
    assert sorted(found, key=int) == ["0", "2", "4", "6", "8", "10", "12", "13", "14", "18"]
    assert [n for n in second.report.notes if "前 3 段（6 行）" in n] == second.report.notes[-1:]


def test_f14_a_change_behind_the_chunks_comes_with_the_next_run(fill: Fill, place: Settings) -> None:
    kind = "timestamp"
    fill(
        f"CREATE TABLE t (id int PRIMARY KEY, ts {kind})",
        rows=[(i, f"2026-10-01 08:00:0{i}") for i in range(6)],
    )
    resource = table("id", "ts", load="incremental", cursor="ts")
    read_until(open_chunks(resource, place), 2, place)
    fill("UPDATE t SET ts = '2026-10-02 00:00:00' WHERE id = 0")
    resumed = open_chunks(resource, place)
    assert [r[0] for r in read_all(resumed)] == ["0", "1", "2", "3", "4", "5"]
    assert (resumed.report.cursor_max or "")[:19] == "2026-10-01 08:00:05"
    following = open_chunks(resource, place, watermark=resumed.report.cursor_max)
    assert sorted(r[0] for r in read_all(following)) == ["0", "5"]


@pytest.mark.parametrize("change", ["window", "watermark", "filter", "size", "age", "lost file", "type"])
def test_f14_chunks_of_another_extraction_are_never_taken(fill: Fill, place: Settings, change: str) -> None:
    fill("CREATE TABLE t (id int, ts timestamp)", rows=[(i, f"2026-10-01 08:00:0{i}") for i in range(6)])
    more: dict[str, Any] = {"load": "incremental", "cursor": "ts"}
    read_until(open_chunks(table("id", "ts", **more), place), 1, place)
    fill("UPDATE t SET id = 90 WHERE id = 0")
    said: dict[str, Any] = {}
    if change == "window":
        said["window"] = Window(OCTOBER.start, NOW)
    elif change == "watermark":
        said["watermark"] = "2020-01-01 00:00:00"
    elif change == "filter":
        more["filter"] = "id >= 0"
    elif change == "size":
        more["rows"] = 3
    elif change == "type":
        fill("ALTER TABLE t ADD COLUMN id2 varchar(9)", "UPDATE t SET id2 = id", "ALTER TABLE t DROP COLUMN id")
        fill("ALTER TABLE t ADD COLUMN id varchar(9)", "UPDATE t SET id = id2", "ALTER TABLE t DROP COLUMN id2")
    elif change == "lost file":
        next((place.home / "chunks").glob("*/chunk-00000.arrow")).unlink()
    else:
        path = next((place.home / "chunks").glob("*/ledger.json"))
        path.write_text(json.dumps({**ledger(place), "began_at": ledger(place)["began_at"] - 86_401}))
    found = read_all(open_chunks(table("id", "ts", **more), place, **said))
    assert sorted(int(r[0]) for r in found) == [1, 2, 3, 4, 5, 90]


def test_chunks_are_for_their_owner_only(fill: Fill, place: Settings) -> None:
    fill("CREATE TABLE t (id int)", rows=[(i,) for i in range(6)])
    read_until(open_chunks(table("id"), place), 2, place)
    kept = [place.home / "chunks", *(place.home / "chunks").rglob("*")]
    assert {(p.is_dir(), oct(p.stat().st_mode & 0o777)) for p in kept} == {(True, "0o700"), (False, "0o600")}
    assert len(kept) == 2 + 1 + 3  # folders, ledger, two finished ranges and one that is not


# --- a killed process ----------------------------------------------------------------------------------


class Log:
    """What statements of ours reached the department's server."""

    def __init__(self, server: Any, cluster: Any) -> None:
        self.server, self.cluster = server, cluster
        if self.is_postgres:
            self._run_pg(f"ALTER ROLE \"{server.login}\" SET log_statement = 'all'")
        else:
            self._run_maria("SET GLOBAL log_output = 'TABLE'", "SET GLOBAL general_log = ON")

    @property
    def is_postgres(self) -> bool:
        return bool(self.server.conn_type == "postgres")

    def _run_pg(self, statement: str) -> None:
        with psycopg.connect(self.server.admin_url, autocommit=True) as conn:
            conn.execute(statement)

    def _run_maria(self, *statements: str) -> list[Any]:
        engine = sa.create_engine(self.server.admin_url)
        with engine.begin() as conn:
            found = [conn.exec_driver_sql(s) for s in statements][-1]
            rows = list(found) if found.returns_rows else []
        engine.dispose()
        return rows

    def take_chunk_queries(self) -> int:
        """How many ranges were asked for since the last call."""
        if self.is_postgres:
            path = next(self.cluster.settings.home.rglob("log"))
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            path.write_text("")
            asked = [x for x in lines if "COPY (" in x and "guiji ab.people stage" in x and f'"{HEADER[1]}"' in x]
            return len([x for x in asked if "guiji_bound" not in x])
        rows = self._run_maria(
            "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE command_type = 'Query'"
            f" AND user_host LIKE '{self.server.login}%%'"
        )
        self._run_maria("SET GLOBAL general_log = OFF", "TRUNCATE mysql.general_log", "SET GLOBAL general_log = ON")
        return len([q for (q,) in rows if "ab.people stage" in q and "guiji_bound" not in q and "FROM `people`" in q])

    def close(self) -> None:
        if not self.is_postgres:
            self._run_maria("SET GLOBAL general_log = OFF", "TRUNCATE mysql.general_log")


STAGE = """
import sys
from guiji.pipeline import stage_resource
from guiji.settings import Settings
print(stage_resource("ab.people", Settings.from_env(), None, "run"))
"""


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_f14_after_kill_9_only_the_remaining_ranges_are_asked_for(
    kind: str, request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = request.getfixturevalue("fep_postgres" if kind == "postgres" else "mariadb_server")
    cluster = request.getfixturevalue("fep_cluster" if kind == "postgres" else "mariadb_cluster")
    monkeypatch.setenv("AIRFLOW_CONN_FEP_AB", connection_json(server, "fep_ab"))
    good = sound_rows(50)
    front_end, log = FrontEnd(server), Log(server, cluster)

    def stage(**env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", STAGE], capture_output=True, text=True, check=False, env=command_env(city, **env)
        )

    try:
        front_end.insert(good)
        chunks = {"chunk_key": HEADER[0], "chunk_key_rows": 10}
        city = write_catalog(settings, {"source": {**front_end.source, **chunks}})
        log.take_chunk_queries()
        killed = stage(GUIJI_FAILPOINT="stage.chunk_2")
        assert killed.returncode == -signal.SIGKILL
        assert log.take_chunk_queries() == 2
        again = stage()
        assert again.returncode == 0, again.stderr
        # 50 rows in ranges of 10, and the range above the last key
        assert log.take_chunk_queries() == 6 - 2
        staged = load_staged(city, "ab.people", again.stdout.strip())
        rows = pq.read_table(f"{staged.directory}/part-00000.parquet", columns=[HEADER[0], "_row_no"]).to_pylist()
        assert [r["_row_no"] for r in rows] == list(range(1, 51))
        assert sorted(r[HEADER[0]] for r in rows) == sorted(r[0] for r in good)
        assert sorted(p.name for p in Path(staged.directory).parent.glob(".chunks/*")) == []
    finally:
        log.close()
        front_end.close()
