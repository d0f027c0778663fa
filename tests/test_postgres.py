"""The embedded server: starts, survives kill -9, is shared, and stops with its last user (F-55)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from guiji import postgres, postgres_process, warehouse
from guiji.errors import UsageError, WarehouseUnavailable
from guiji.settings import Settings


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Settings]:
    """Settings with an embedded server of the test's own."""
    settings = Settings.from_env({"GUIJI_HOME": str(tmp_path / "home")})
    yield settings
    postgres.release(settings)
    assert postgres.postmaster_pid(settings) is None


def start_user(settings: Settings, code: str) -> subprocess.Popen[str]:
    """Another process that uses the server; it says ``up`` once it does, and ends when its stdin closes."""
    program = f"""
        import sys
        from guiji import postgres, warehouse
        from guiji.settings import Settings
        settings = Settings.from_env()
        {code}
        print("up", postgres.postmaster_pid(settings), flush=True)
        sys.stdin.read()
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "GUIJI_HOME": str(settings.home), "GUIJI_WAREHOUSE": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_until_up(user: subprocess.Popen[str]) -> int:
    assert user.stdout is not None
    word, pid = user.stdout.readline().split()
    assert word == "up"
    return int(pid)


def end(user: subprocess.Popen[str]) -> None:
    user.communicate(timeout=60)
    assert user.returncode == 0


def kill_postmaster(settings: Settings) -> int:
    pid = postgres.postmaster_pid(settings)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def test_server_has_the_settings_it_promises(own: Settings) -> None:
    names = ("fsync", "full_page_writes", "synchronous_commit", "server_encoding", "TimeZone", "wal_level")
    names += ("listen_addresses", "unix_socket_directories", "max_connections", "data_checksums", "lc_collate")
    with warehouse.connect(own) as conn:
        got = {n: conn.execute("SELECT setting FROM pg_settings WHERE name = %s", (n,)).fetchone() for n in names[:-1]}
        collation = conn.execute("SELECT datcollate FROM pg_database WHERE datname = current_database()").fetchone()
    assert {n: row["setting"] for n, row in got.items() if row} == {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "server_encoding": "UTF8",
        "TimeZone": "Asia/Shanghai",
        "wal_level": "minimal",
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": "200",
        "data_checksums": "on",
    }
    assert collation == {"datcollate": "C"}


def test_what_rests_on_disk_is_closed_to_others(own: Settings) -> None:
    postgres.ensure_running(own)
    base = own.home / "postgres"
    open_to_others = [p.name for p in [base, *base.iterdir()] if p.stat().st_mode & 0o077]
    assert open_to_others == []


def test_loopback_wants_the_password(own: Settings) -> None:
    url = postgres.server_url(own)
    assert "passfile=" in url
    secret = (own.home / "postgres" / "pgpass").read_text().strip().rpartition(":")[2]
    assert secret not in url
    assert len(secret) >= 40
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.partition("?")[0] + "?passfile=/dev/null")


def test_errors_of_statements_leave_no_values_in_the_log(own: Settings) -> None:
    with warehouse.connect(own, autocommit=True) as conn:
        conn.execute("CREATE TABLE t (id text PRIMARY KEY); INSERT INTO t VALUES ('110105199001010017')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute("INSERT INTO t VALUES ('110105199001010017')")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            conn.execute("SELECT '110105199001010017x'::bigint")
    assert "1101051990" not in (own.home / "postgres" / "log").read_text()


def test_the_last_user_stops_the_server(own: Settings) -> None:
    first, second = (start_user(own, "postgres.ensure_running(settings)") for _ in range(2))
    assert wait_until_up(first) == wait_until_up(second)
    end(first)
    assert postgres.postmaster_pid(own) is not None
    end(second)
    assert postgres.postmaster_pid(own) is None


def test_hold_counts_and_releases(own: Settings) -> None:
    with postgres.hold(own) as outer:
        with postgres.hold(own) as inner:
            assert inner == outer
        assert postgres.postmaster_pid(own) is not None
    assert postgres.postmaster_pid(own) is None


def test_a_forked_child_does_not_stop_its_parent_s_server(own: Settings) -> None:
    postgres.ensure_running(own)
    code = (
        "import os; pid = os.fork(); sys.exit(0) if pid == 0 else os.waitpid(pid, 0); postgres.ensure_running(settings)"
    )
    user = start_user(own, f"postgres.ensure_running(settings); {code}")
    wait_until_up(user)
    end(user)
    assert postgres.postmaster_pid(own) is not None


def test_f55_starters_at_once_share_one_server(own: Settings) -> None:
    users = [start_user(own, "postgres.server_url(settings)") for _ in range(4)]
    pids = {wait_until_up(user) for user in users}
    assert len(pids) == 1
    for user in users:
        end(user)
    assert postgres.postmaster_pid(own) is None


def test_f55_users_that_come_and_go_at_once_never_see_a_stopping_server(own: Settings) -> None:
    failures: list[str] = []

    def come_and_go() -> None:
        for _ in range(5):
            user = start_user(own, "warehouse.connect(settings).execute('SELECT 1')")
            out, _err = user.communicate(timeout=120)
            if user.returncode or not out.startswith("up"):
                failures.append(out)

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failures == []
    assert postgres.postmaster_pid(own) is None


def test_f55_a_killed_user_leaves_nothing_that_hurts(own: Settings) -> None:
    user = start_user(own, "warehouse.connect(settings).execute('SELECT 1')")
    pid = wait_until_up(user)
    user.kill()
    user.communicate()
    assert postgres.postmaster_pid(own) == pid
    with postgres.hold(own), warehouse.connect(own) as conn:
        assert conn.execute("SELECT 1 AS x").fetchone() == {"x": 1}
    postgres.release(own)
    assert postgres.postmaster_pid(own) is None


def test_f55_kill_9_of_the_postmaster_under_load_loses_no_committed_row(own: Settings) -> None:
    """Writers commit numbered rows while the postmaster is killed again and again; every commit seen is there."""
    with warehouse.connect(own) as conn:
        conn.execute("CREATE TABLE load (writer int, n int, filler text, PRIMARY KEY (writer, n))")
    committed: dict[int, int] = dict.fromkeys(range(4), 0)
    stop = threading.Event()

    def write(writer: int) -> None:
        while not stop.is_set():
            try:
                with warehouse.connect(own) as conn:
                    done = conn.execute("SELECT max(n) AS n FROM load WHERE writer = %s", (writer,)).fetchone()
                    n = (done and done["n"]) or 0
                    assert n >= committed[writer]
                    while not stop.is_set():
                        n += 1
                        conn.execute("INSERT INTO load VALUES (%s, %s, repeat('x', 500))", (writer, n))
                        conn.commit()
                        committed[writer] = n
            except (psycopg.OperationalError, psycopg.InterfaceError, WarehouseUnavailable):
                time.sleep(0.05)

    threads = [threading.Thread(target=write, args=(w,)) for w in committed]
    for t in threads:
        t.start()
    rng, killed = random.Random(55), 0
    try:
        for _ in range(20):
            before = sum(committed.values())
            deadline = time.monotonic() + 60
            # backends outlive their postmaster for a moment, and go on committing
            while sum(committed.values()) < before + 20 or postgres.postmaster_pid(own) in (None, killed):
                assert time.monotonic() < deadline, "the writers did not come back"
                time.sleep(0.01)
            time.sleep(rng.random() / 5)
            killed = kill_postmaster(own)
    finally:
        stop.set()
        for t in threads:
            t.join()
    with warehouse.connect(own) as conn:
        rows = conn.execute("SELECT writer, count(*) AS rows, max(n) AS last FROM load GROUP BY writer").fetchall()
    assert {r["writer"] for r in rows} == set(committed)
    for r in rows:
        assert r["rows"] == r["last"] >= committed[r["writer"]] > 0


def test_f55_a_busy_backend_of_a_killed_postmaster_does_not_stop_the_next_one(own: Settings) -> None:
    busy = start_user(
        own,
        """warehouse.connect(settings).close()
        import psycopg, threading
        def work():
            try:
                warehouse.connect(settings).execute("SELECT count(*) FROM generate_series(1, 10000000000)")
            except psycopg.Error:
                pass
        threading.Thread(target=work, daemon=True).start()""",
    )
    try:
        wait_until_up(busy)
        with warehouse.connect(own, autocommit=True) as conn:
            query = "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE %s AND pid <> pg_backend_pid()"
            while conn.execute(query, ("%generate_series%",)).fetchone() == {"n": 0}:
                time.sleep(0.01)
        kill_postmaster(own)
        began = time.monotonic()
        with warehouse.connect(own) as conn:
            assert conn.execute("SELECT 1 AS x").fetchone() == {"x": 1}
        assert time.monotonic() - began < 15
    finally:
        busy.kill()
        busy.communicate()


def test_f55_the_process_id_of_a_dead_postmaster_may_be_somebody_else_s(own: Settings) -> None:
    """After a container restart process ids start again; the stale file then names a living stranger."""
    with warehouse.connect(own) as conn:
        conn.execute("CREATE TABLE kept (x int); INSERT INTO kept VALUES (1)")
    kill_postmaster(own)
    time.sleep(0.5)
    file = own.home / "postgres" / "data" / "postmaster.pid"
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        file.write_text(f"{stranger.pid}\n" + file.read_text().partition("\n")[2])
        with warehouse.connect(own) as conn:
            assert conn.execute("SELECT x FROM kept").fetchall() == [{"x": 1}]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_f55_the_pid_file_of_a_live_postmaster_is_left_alone(own: Settings) -> None:
    postgres.ensure_running(own)
    file = own.home / "postgres" / "data" / "postmaster.pid"
    before = file.read_text()
    postgres_process.clear_foreign_pid(own.home / "postgres" / "data")
    assert file.read_text() == before


def test_f55_an_empty_pid_file_is_not_in_the_way(own: Settings) -> None:
    with postgres.hold(own):
        pass
    (own.home / "postgres" / "data" / "postmaster.pid").touch()
    with warehouse.connect(own) as conn:
        assert conn.execute("SELECT 1 AS x").fetchone() == {"x": 1}


def test_a_taken_port_is_replaced(own: Settings) -> None:
    import socket

    with postgres.hold(own):
        pass
    port = int((own.home / "postgres" / "port").read_text())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with postgres.hold(own), warehouse.connect(own) as conn:
            assert conn.execute("SELECT 1 AS x").fetchone() == {"x": 1}
            assert int((own.home / "postgres" / "port").read_text()) != port


def test_an_interrupted_setup_is_made_again(own: Settings) -> None:
    left = own.home / "postgres" / "data.new"
    left.mkdir(parents=True)
    (left / "PG_VERSION").write_text("18\n")
    with warehouse.connect(own) as conn:
        assert conn.execute("SELECT 1 AS x").fetchone() == {"x": 1}
    assert not left.exists()


def test_data_of_another_postgres_is_refused_and_untouched(own: Settings) -> None:
    data = own.home / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("12\n")
    with pytest.raises(UsageError, match="made by PostgreSQL 12"):
        postgres.ensure_running(own)
    assert [p.name for p in data.iterdir()] == ["PG_VERSION"]


def test_a_server_that_cannot_start_says_why(own: Settings) -> None:
    with postgres.hold(own):
        pass
    with (own.home / "postgres" / "data" / "postgresql.conf").open("a") as conf:
        conf.write("\nno_such_setting = 1\n")
    with pytest.raises(WarehouseUnavailable, match="no_such_setting"):
        postgres.ensure_running(own)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user")
def test_as_root_no_account_is_made_and_no_folder_opened(own: Settings) -> None:
    accounts, modes = Path("/etc/passwd").read_bytes(), [p.stat().st_mode for p in own.home.parents]
    with warehouse.connect(own) as conn:
        conn.execute("SELECT 1")
    assert Path("/etc/passwd").read_bytes() == accounts
    assert [p.stat().st_mode for p in own.home.parents] == modes
    assert {p.stat().st_uid for p in (own.home / "postgres" / "data").rglob("*")} == {0}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user")
def test_as_root_without_user_namespaces_nobody_runs_the_server_or_the_message_says_why(
    own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbidden = postgres_process._UNPRIVILEGED.replace("libc.unshare(0x10000000) != 0", "True")
    monkeypatch.setattr(postgres_process, "_UNPRIVILEGED", forbidden)
    with pytest.raises(UsageError, match=r"PostgreSQL refuses to run as root.*may not enter .*GUIJI_WAREHOUSE"):
        postgres.ensure_running(own)  # pytest's folders are closed to others


# --- the warehouse ----------------------------------------------------------------------------------


def test_first_connection_applies_the_ddl_once(own: Settings) -> None:
    users = [start_user(own, "warehouse.connect(settings).close()") for _ in range(3)]
    for user in users:
        wait_until_up(user)
    for user in users:
        end(user)
    with warehouse.connect(own) as conn:
        rows = [r["name"] for r in conn.execute("SELECT name FROM ops.migration ORDER BY name")]
        assert rows == sorted(p.name for p in warehouse.DDL.glob("*.sql"))
        assert warehouse.migrate(conn) == []


def test_a_warehouse_of_a_newer_guiji_is_refused(settings: Settings) -> None:
    with warehouse.connect(settings) as conn:
        conn.execute("INSERT INTO ops.migration (name, sha256) VALUES ('9999_future.sql', '')")
        conn.commit()
        with pytest.raises(UsageError, match="newer guiji"):
            warehouse.migrate(conn)


def test_an_unreachable_warehouse_is_retryable_and_tells_no_password() -> None:
    settings = Settings.from_env({"GUIJI_WAREHOUSE": "postgresql+psycopg://u:geheim@127.0.0.1:1/x"})
    with pytest.raises(WarehouseUnavailable, match="can't be reached") as caught:
        warehouse.connect(settings)
    assert caught.value.retryable
    assert "geheim" not in str(caught.value)


def test_a_warehouse_that_is_no_postgres_is_refused() -> None:
    with pytest.raises(UsageError, match="GUIJI_WAREHOUSE must be"):
        warehouse.connect(Settings.from_env({"GUIJI_WAREHOUSE": "mysql://u@h/x"}))


@pytest.mark.parametrize("n", [0, 1, 3])
def test_read_arrow_streams_a_query(settings: Settings, n: int) -> None:
    with warehouse.read_arrow(settings, "SELECT g, '中' || g AS t FROM generate_series(1, $1::int) g", (n,)) as reader:
        assert reader.read_all().to_pylist() == [{"g": i, "t": f"中{i}"} for i in range(1, n + 1)]


def test_read_arrow_cannot_write(settings: Settings) -> None:
    with (
        pytest.raises(Exception, match="read-only"),
        warehouse.read_arrow(settings, "INSERT INTO ops.migration (name, sha256) VALUES ('x', '') RETURNING 1"),
    ):
        pass
