"""One embedded PostgreSQL for the whole session; every test gets its own database, home and staging.

Servers (SFTP, FTP, HTTP, mail, MariaDB, a department's PostgreSQL) are real ones on free ports of the loopback.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from guiji import postgres, warehouse
from guiji.demo import servers
from guiji.settings import Settings

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server_settings() -> Iterator[Settings]:
    """Settings whose home holds the session's embedded server."""
    home = Path(tempfile.mkdtemp(prefix="guiji-test-"))
    settings = Settings.from_env({"GUIJI_HOME": str(home)})
    yield settings
    postgres.release(settings)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def template_database(server_settings: Settings) -> str:
    """Name of a migrated, empty database that tests are cloned from."""
    with warehouse.connect(
        dataclasses.replace(server_settings, warehouse=postgres.server_url(server_settings, "template"))
    ):
        pass
    return "template"


def _clone(server_settings: Settings, template: str) -> str:
    name = f"t{os.getpid()}_{next(_numbers)}"
    _administer(
        server_settings, sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(sql.Identifier, (name, template)))
    )
    return name


def _drop(server_settings: Settings, name: str) -> None:
    _administer(server_settings, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _administer(server_settings: Settings, statement: sql.Composed) -> None:
    with psycopg.connect(postgres.server_url(server_settings, "postgres"), autocommit=True) as conn:
        conn.execute(statement)


@pytest.fixture
def settings(server_settings: Settings, template_database: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings of one test: an empty migrated warehouse, a home of its own, the shipped catalog."""
    name = _clone(server_settings, template_database)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    yield dataclasses.replace(
        Settings.from_env({"GUIJI_HOME": str(home), "GUIJI_REAL_DATA": os.environ.get("GUIJI_REAL_DATA", "")}),
        warehouse=postgres.server_url(server_settings, name),
    )
    _drop(server_settings, name)


@pytest.fixture
def conn(settings: Settings) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """A connection to the test's warehouse; rows are dicts."""
    with warehouse.connect(settings) as connection:
        yield connection


# --- servers ----------------------------------------------------------------------------------------


@pytest.fixture
def sftp_server(tmp_path: Path) -> Iterator[servers.SftpServer]:
    """An SFTP server over an empty folder; itself the Connection."""
    with servers.serve_sftp(tmp_path / "sftp") as server:
        yield server


@pytest.fixture
def ftp_server(tmp_path: Path) -> Iterator[servers.FtpServer]:
    """An FTP server over an empty folder; itself the Connection."""
    with servers.serve_ftp(tmp_path / "ftp") as server:
        yield server


@pytest.fixture
def http_server() -> Iterator[servers.HttpServer]:
    """A paged HTTP interface without data: fill ``http_server.data["/path"]``."""
    with servers.serve_http() as server:
        yield server


@pytest.fixture
def smtp_server() -> Iterator[servers.MailServer]:
    """A mail server; what it accepted is in ``smtp_server.messages``."""
    with servers.serve_smtp() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.MariadbCluster]:
    with servers.serve_mariadb(tmp_path_factory.mktemp("mariadb")) as cluster:
        yield cluster


@pytest.fixture
def mariadb_server(mariadb_cluster: servers.MariadbCluster) -> Iterator[servers.DatabaseServer]:
    """An empty MariaDB database with a reader; ``admin_url`` fills it."""
    name = f"fep{next(_numbers)}"
    yield mariadb_cluster.make_database(name, "fep_mariadb")
    mariadb_cluster.drop_database(name)


@pytest.fixture(scope="session")
def fep_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.PostgresCluster]:
    with servers.serve_postgres(tmp_path_factory.mktemp("fep")) as cluster:
        yield cluster


@pytest.fixture
def fep_postgres(fep_cluster: servers.PostgresCluster) -> servers.DatabaseServer:
    """An empty PostgreSQL database of a department, on a server of its own, with a reader; ``admin_url`` fills it."""
    return fep_cluster.make_database(f"fep{next(_numbers)}", "fep_postgres")
