"""Front-end processor databases: a second embedded PostgreSQL, and MariaDB from the system's packages."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from guiji.connections import Connection
from guiji.errors import SourceUnavailable, UsageError
from guiji.settings import Settings


@dataclass(frozen=True)
class DatabaseServer(Connection):
    """One database of a front-end processor, as its reader sees it; ``schema`` is the database, as in Airflow.

    ``admin_url`` is an SQLAlchemy/libpq URL of the same database for its owner, who fills it.
    """

    admin_url: str = field(default="", repr=False)


@dataclass(frozen=True)
class PostgresCluster:
    """A running PostgreSQL in which departments have databases. ``stop()`` and ``start()`` play an outage."""

    settings: Settings
    make_database: Callable[[str, str], DatabaseServer]
    stop: Callable[[], None]
    start: Callable[[], None]


@dataclass(frozen=True)
class MariadbCluster:
    """A running MariaDB; ``root`` is its administrator (database mysql)."""

    root: Connection
    make_database: Callable[[str, str], DatabaseServer]
    drop_database: Callable[[str], None]


@contextlib.contextmanager
def serve_postgres(directory: Path) -> Iterator[PostgresCluster]:
    """An embedded PostgreSQL of its own in ``directory``: not the warehouse's, so that either can fail alone.

    ``make_database(name, conn_id)`` makes a database with a user who may only read.
    """
    import psycopg
    from psycopg import sql

    from guiji import postgres

    settings = dataclasses.replace(Settings.from_env({}), home=directory)

    def make_database(name: str, conn_id: str = "fep_postgres") -> DatabaseServer:
        url = postgres.server_url(settings, name)
        reader, password = f"{name}_reader", secrets.token_urlsafe(16)
        names = {"reader": sql.Identifier(reader), "database": sql.Identifier(name), "word": sql.Literal(password)}
        with psycopg.connect(url, autocommit=True) as conn:
            for statement in (
                "DROP ROLE IF EXISTS {reader}",
                "CREATE ROLE {reader} LOGIN PASSWORD {word}",
                "GRANT CONNECT ON DATABASE {database} TO {reader}",
                "GRANT USAGE ON SCHEMA public TO {reader}",
                "GRANT pg_read_all_data TO {reader}",
                "ALTER ROLE {reader} SET default_transaction_read_only = on",
            ):
                conn.execute(sql.SQL(statement).format(**names))
        parts = urlsplit(url)
        return DatabaseServer(
            conn_id, "postgres", "127.0.0.1", parts.port, reader, password, schema=name, admin_url=with_password(url)
        )

    def start() -> None:
        postgres.ensure_running(settings)

    def stop() -> None:
        postgres.release(settings)

    start()
    try:
        yield PostgresCluster(settings, make_database, stop, start)
    finally:
        stop()


def with_password(url: str) -> str:
    """The URL with its password instead of the password file, for libraries that don't know pgpass."""
    parts = urlsplit(url)
    word = Path(unquote(parse_qs(parts.query)["passfile"][0])).read_text(encoding="ascii").strip().rpartition(":")[2]
    return f"{parts.scheme}://{parts.username}:{word}@{parts.hostname}:{parts.port}{parts.path}"


def find_mariadbd() -> str:
    """Path of mariadbd. Raises UsageError saying how to install it."""
    found = shutil.which("mariadbd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/usr/libexec")
    if found is None:
        raise UsageError(
            "MariaDB is not installed. Nothing was started; install it with `apt-get install mariadb-server` "
            "(or your system's package) and run the command again."
        )
    return found


@contextlib.contextmanager
def serve_mariadb(directory: Path) -> Iterator[MariadbCluster]:
    """MariaDB with its data in ``directory``, on a free port of the loopback, without any other network."""
    daemon, installer = find_mariadbd(), shutil.which("mariadb-install-db")
    if installer is None:
        raise UsageError("mariadb-install-db is not on PATH. Nothing was started; complete the MariaDB installation.")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    data = directory / "data"
    as_user = ["--user=root"] if os.geteuid() == 0 else []
    if not (data / "mysql").is_dir():
        installed = subprocess.run(  # noqa: S603
            [
                *(installer, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"),
                *("--skip-test-db", "--skip-name-resolve", *as_user),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if installed.returncode:
            raise SourceUnavailable(f"MariaDB could not be set up in {data}: {installed.stderr[-400:]} Nothing runs.")
    # a socket's path may have 107 bytes, test folders are often longer
    with tempfile.TemporaryDirectory(prefix="gjm") as short, (directory / "log").open("ab") as log:
        port = _free_port()
        process = subprocess.Popen(  # noqa: S603
            [
                *(daemon, "--no-defaults", f"--datadir={data}", f"--socket={short}/s", f"--pid-file={short}/pid"),
                *(f"--port={port}", "--bind-address=127.0.0.1", "--skip-name-resolve", "--skip-log-bin"),
                *("--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin", "--default-time-zone=+08:00"),
                *("--innodb-buffer-pool-size=96M", "--innodb-log-file-size=48M", "--performance-schema=OFF"),
                *("--local-infile=0", "--max-connections=60", *as_user),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield _administer_mariadb(process, f"{short}/s", port, directory / "log")
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _administer_mariadb(process: subprocess.Popen[bytes], unix_socket: str, port: int, log: Path) -> MariadbCluster:
    import pymysql

    def as_root(*statements: tuple[str, tuple[str, ...]]) -> None:
        conn = pymysql.connect(user="root", unix_socket=unix_socket, autocommit=True)
        with conn, conn.cursor() as cursor:
            for statement, params in statements:
                cursor.execute(statement, params)

    deadline = time.monotonic() + 60
    while True:
        try:
            as_root(("SELECT 1", ()))
            break
        except pymysql.err.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                words = log.read_text(encoding="utf-8", errors="replace")[-600:]
                raise SourceUnavailable(f"MariaDB did not start: {words} Nothing runs; mend what it says.") from None
            time.sleep(0.05)
    password = secrets.token_urlsafe(16)
    as_root(
        ("CREATE OR REPLACE USER owner@'127.0.0.1' IDENTIFIED BY %s", (password,)),
        ("GRANT ALL ON *.* TO owner@'127.0.0.1' WITH GRANT OPTION", ()),
    )

    def make_database(name: str, conn_id: str = "fep_mariadb") -> DatabaseServer:
        quoted, word = "`" + name.replace("`", "``") + "`", secrets.token_urlsafe(16)
        as_root(
            (f"CREATE DATABASE IF NOT EXISTS {quoted}", ()),
            ("CREATE OR REPLACE USER %s@'127.0.0.1' IDENTIFIED BY %s", (f"{name}_reader", word)),
            (f"GRANT SELECT ON {quoted}.* TO %s@'127.0.0.1'", (f"{name}_reader",)),
        )
        return DatabaseServer(
            *(conn_id, "mysql", "127.0.0.1", port, f"{name}_reader", word, name),
            admin_url=f"mysql+pymysql://owner:{password}@127.0.0.1:{port}/{name}?charset=utf8mb4",
        )

    def drop_database(name: str) -> None:
        as_root(("DROP DATABASE `" + name.replace("`", "``") + "`", ()))

    root = Connection("mariadb_root", "mysql", "127.0.0.1", port, "owner", password, "mysql")
    return MariadbCluster(root, make_database, drop_database)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
