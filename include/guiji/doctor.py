"""What is wrong with this installation, and the mend; and the pinning of SFTP host keys.

A finding is ``error`` (something will fail), ``warning`` (something may) or ``ok`` (looked at, sound). Every check says
what it looked at; a check that itself fails becomes a finding, so that one trouble never hides another.
"""

from __future__ import annotations

import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from guiji import connections, postgres, secrets, warehouse
from guiji.errors import GuijiError, UsageError
from guiji.masking import scrub
from guiji.settings import TIME_ZONE, Settings

if TYPE_CHECKING:
    from guiji.catalog import Catalog

Level = Literal["ok", "warning", "error"]
GIB = 1 << 30
#: Airflow's tokens tolerate ten seconds (jwt_leeway); from there on tasks die (F-58)
SKEW_ERROR, SKEW_WARNING = timedelta(seconds=10), timedelta(seconds=3)


@dataclass(frozen=True)
class Finding:
    level: Level
    what: str
    mend: str = ""


def diagnose(settings: Settings, *, probe: bool = False) -> list[Finding]:
    """Everything that was looked at, in a fixed order. With ``probe`` every source of the catalog is tried as well."""
    checks: list[tuple[str, Callable[[Settings], Iterable[Finding]]]] = [
        ("Python", _check_python),
        ("disk", _check_disk),
        ("files", _check_private_files),
        ("warehouse", _check_warehouse),
        ("key", _check_key),
        ("catalog", _check_catalog),
        ("connections", _check_connections),
        ("mail", _check_mail),
    ]
    if probe:
        checks.append(("sources", _probe_sources))
    findings: list[Finding] = []
    for name, check in checks:
        try:
            findings.extend(check(settings))
        except GuijiError as exc:
            findings.append(Finding("error", f"{name}: {exc}"))
        except Exception as exc:  # a doctor must not fall ill over one patient
            findings.append(Finding("error", f"{name}: could not be checked ({type(exc).__name__}: {scrub(str(exc))})"))
    return findings


def render_findings(findings: Iterable[Finding]) -> str:
    """One block per finding, for a terminal; the last line counts them."""
    marks = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}
    listed = list(findings)
    lines: list[str] = []
    for f in listed:
        lines.append(f"{marks[f.level]}  {f.what}")
        if f.mend:
            lines.append(f"         → {f.mend}")
    errors, warnings = (sum(f.level == level for f in listed) for level in ("error", "warning"))
    lines.append(f"{len(listed)} checks: {errors} errors, {warnings} warnings")
    return "\n".join(lines)


# --- the machine ------------------------------------------------------------------------------------


def _check_python(settings: Settings) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= (3, 14):
        yield Finding(
            "warning", f"Python {version} is newer than what guiji was tried with", "prefer Python 3.11 to 3.13"
        )
    else:
        yield Finding("ok", f"Python {version} in {sys.prefix}")
    from importlib.util import find_spec

    bare = [
        name
        for name in ("great_expectations", "airflow", "pandas")
        if (spec := find_spec(name)) is not None and spec.cached and not Path(spec.cached).exists()
    ]
    if bare and sys.dont_write_bytecode:
        yield Finding(
            "warning",
            f"no bytecode of {', '.join(bare)}, and PYTHONDONTWRITEBYTECODE is set: every start costs seconds more",
            f"unset PYTHONDONTWRITEBYTECODE (./guiji does) or run {sys.executable} -m compileall -q {sys.prefix}/lib",
        )
    if settings.fixed_now is not None:
        yield Finding(
            "warning",
            f"GUIJI_NOW stands for the clock: {settings.fixed_now.isoformat()}",
            "unset it outside of replays",
        )


def _check_disk(settings: Settings) -> Iterator[Finding]:
    places = {"GUIJI_HOME": settings.home}
    if "://" not in settings.staging:
        places["GUIJI_STAGING"] = Path(settings.staging)
    for name, path in places.items():
        there = next(p for p in (path, *path.parents) if p.exists())
        usage = shutil.disk_usage(there)
        yield judge_disk(f"{name} ({path})", usage.free, usage.total)


def judge_disk(place: str, free: int, total: int) -> Finding:
    """F-53: an error below 1 GiB or 1 %, a warning below 5 GiB; publishing would fail and be rolled back."""
    what = f"{place}: {free / GIB:.1f} GiB of {total / GIB:.0f} GiB free"
    mend = "free space or move the folder; old load packages are what grows (they may go once published)"
    if free < GIB or free < total * 0.01:
        return Finding("error", what, mend)
    return Finding("warning", what, mend) if free < 5 * GIB else Finding("ok", what)


def _check_private_files(settings: Settings) -> Iterator[Finding]:
    names = ("key", "connections.json", "host_keys.json", "postgres/pgpass", "postgres/data", "staging")
    opened = [
        path
        for path in (settings.home / name for name in names)
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    for path in opened:
        yield Finding("error", f"{path} can be read by others", f"chmod go-rwx {path}; then renew the secrets in it")
    if not opened:
        yield Finding("ok", f"secrets and state in {settings.home} are readable by their owner only")


def judge_skew(ours: datetime, theirs: datetime, whose: str) -> Finding:
    """F-58: how far two clocks are apart, and whether Airflow's tokens survive it."""
    skew = abs(ours - theirs)
    what = f"clock: {skew.total_seconds():.1f} s apart from {whose}"
    mend = "let both machines follow one time server (chrony or systemd-timesyncd)"
    if skew >= SKEW_ERROR:
        return Finding("error", what + "; Airflow's tokens tolerate 10 s", mend)
    return Finding("warning", what, mend) if skew >= SKEW_WARNING else Finding("ok", what)


# --- the warehouse ----------------------------------------------------------------------------------


def _check_warehouse(settings: Settings) -> Iterator[Finding]:
    with warehouse.connect(settings, autocommit=True) as conn:
        before = datetime.now(TIME_ZONE)
        row = conn.execute(
            "/* guiji doctor */ SELECT clock_timestamp() AS now, current_setting('server_version') AS version, "
            "current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync, "
            "pg_size_pretty(pg_database_size(current_database())) AS size"
        ).fetchone()
        assert row is not None
        middle = before + (datetime.now(TIME_ZONE) - before) / 2
        where = "embedded" if settings.warehouse is None else "GUIJI_WAREHOUSE"
        yield Finding("ok", f"warehouse ({where}): PostgreSQL {row['version']}, {row['size']}")
        if row["encoding"] != "UTF8":
            yield Finding(
                "error", f"the warehouse's encoding is {row['encoding']}", "make a database with ENCODING 'UTF8'"
            )
        if row["fsync"] != "on":
            yield Finding("error", "the warehouse runs with fsync off: a power cut loses it", "set fsync = on")
        if settings.warehouse is None:
            yield Finding(
                "ok", "clock: the embedded warehouse shares this machine's, so there is nothing to compare it with"
            )
            yield from _check_embedded(settings)
        else:
            yield judge_skew(middle, row["now"], f"the warehouse's, at {row['now'].isoformat(timespec='seconds')}")
        yield from _check_migrations(conn)
        yield from _check_work(conn)


def _check_embedded(settings: Settings) -> Iterator[Finding]:
    pid = postgres.postmaster_pid(settings)
    port = (settings.home / "postgres" / "port").read_text(encoding="ascii").strip()
    yield Finding(
        "ok", f"embedded server: process {pid}, 127.0.0.1:{port}, log in {settings.home / 'postgres' / 'log'}"
    )


def _check_migrations(conn: warehouse.Connection) -> Iterator[Finding]:
    import hashlib

    done = {r["name"]: r["sha256"] for r in conn.execute("/* guiji doctor */ SELECT name, sha256 FROM ops.migration")}
    changed = [
        file.name
        for file in sorted(warehouse.DDL.glob("*.sql"))
        if done.get(file.name) not in (None, hashlib.sha256(file.read_bytes()).hexdigest())
    ]
    if changed:
        yield Finding(
            "warning",
            f"DDL that was applied has been edited since: {', '.join(changed)}",
            "put the file back; a change of the tables is a new numbered file",
        )
    else:
        yield Finding("ok", f"warehouse migrated: {len(done)} DDL files applied")


def _check_work(conn: warehouse.Connection) -> Iterator[Finding]:
    row = conn.execute(
        "/* guiji doctor */ SELECT "
        "(SELECT count(*) FROM ops.outbox WHERE dead_at IS NOT NULL) AS dead, "
        "(SELECT count(*) FROM ops.batch WHERE status = 'held') AS held"
    ).fetchone()
    assert row is not None
    if row["dead"]:
        yield Finding(
            "error",
            f"{row['dead']} notices could not be delivered for good",
            "see last_error in ops.outbox; mend addresses",
        )
    if row["held"]:
        yield Finding("warning", f"{row['held']} batches wait for a decision", "./guiji hold list")


def _check_key(settings: Settings) -> Iterator[Finding]:
    with warehouse.connect(settings, autocommit=True) as conn:
        row = conn.execute(
            "/* guiji doctor */ SELECT sealed FROM ops.rejected_row ORDER BY batch_id LIMIT 1"
        ).fetchone()
    origin = "GUIJI_KEY" if settings.key else str(secrets.key_path(settings))
    if row is None:
        secrets.seal(settings, b"")  # reads or makes the key
        yield Finding("ok", f"key: {origin}; keep a copy, rejected rows can't be opened without it")
        return
    try:
        secrets.unseal(settings, row["sealed"])
    except GuijiError:
        yield Finding(
            "error",
            f"key: {origin} does not open the rejected rows of this warehouse",
            "restore the key they were sealed with",
        )
    else:
        yield Finding("ok", f"key: {origin} opens the rejected rows")


# --- the catalog and what it leads to ---------------------------------------------------------------


def _check_catalog(settings: Settings) -> Iterator[Finding]:
    from guiji.catalog import check_catalog

    problems = check_catalog(settings.catalog)
    for problem in problems[:20]:
        yield Finding("error", f"catalog: {problem}", "./guiji catalog check lists all" if len(problems) > 20 else "")
    if not problems:
        yield Finding("ok", f"catalog {settings.catalog}: {len(_catalog(settings).resources)} resources, no problem")


def _catalog(settings: Settings) -> Catalog:
    from guiji.catalog import load_catalog

    return load_catalog(settings.catalog)


def _check_connections(settings: Settings) -> Iterator[Finding]:
    users: dict[str, list[str]] = {}
    for resource in _catalog(settings).resources.values():
        conn_id = getattr(resource.model.source, "connection", None)
        if conn_id:
            users.setdefault(conn_id, []).append(resource.id)
    sound = 0
    for conn_id, resources in sorted(users.items()):
        who = f"{', '.join(resources[:3])}{' …' if len(resources) > 3 else ''}"
        try:
            found = connections.get_connection(settings, conn_id)
        except UsageError:
            mend = f"define it in Airflow, or set {connections.variable_name(conn_id)}"
            yield Finding("error", f"connection {conn_id} is not defined here (needed by {who})", mend)
            continue
        flaw = _find_flaw(found)
        if flaw is not None:
            yield flaw
        else:
            sound += 1
    yield Finding("ok", f"connections: {sound} of the {len(users)} that the catalog names are defined and sound")


def _find_flaw(found: connections.Connection) -> Finding | None:
    """F-69: an SFTP connection pins its host key and has no way around it."""
    if found.conn_type not in ("sftp", "ssh"):
        return None
    for way_around in ("no_host_key_check", "allow_host_key_change"):
        if str(found.extra.get(way_around, "")).lower() in ("true", "1", "yes"):
            return Finding(
                "error",
                f"connection {found.conn_id} sets {way_around}: anybody may pose as that server",
                f"remove it and pin the key: ./guiji doctor enroll-host-key {found.conn_id}",
            )
    if not found.extra.get("host_key"):
        return Finding(
            "error", f"connection {found.conn_id} pins no host key", f"./guiji doctor enroll-host-key {found.conn_id}"
        )
    return None


def _check_mail(settings: Settings) -> Iterator[Finding]:
    try:
        found = connections.get_connection(settings, "smtp_default")
    except UsageError:
        mend = "set AIRFLOW_CONN_SMTP_DEFAULT; until then notices wait in the outbox"
        yield Finding("warning", "connection smtp_default is not defined", mend)
        return
    host, port = found.host or "localhost", found.port or 25
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as exc:
        mend = "check address and firewall; notices wait in the outbox"
        yield Finding("warning", f"mail server {host}:{port} does not answer ({exc.strerror or exc})", mend)
    else:
        yield Finding("ok", f"mail server {host}:{port} answers")


def _probe_sources(settings: Settings) -> Iterator[Finding]:
    from guiji.sources import probe

    for resource in _catalog(settings).resources.values():
        try:
            probe(resource, settings)
        except GuijiError as exc:
            yield Finding("error", f"source of {resource.id}: {exc}")
        else:
            yield Finding("ok", f"source of {resource.id} answers")
