"""The processes of the embedded PostgreSQL: who is the postmaster, who is left over, under which user it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from guiji.errors import UsageError
from guiji.postgres_cluster import binary

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
class Postmaster:
    """What postmaster.pid says."""

    pid: int
    port: int
    status: str


def read_pid_file(data: Path) -> Postmaster | None:
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        status = lines[7].strip() if len(lines) > 7 else "starting"
        return Postmaster(int(lines[0]), int(lines[3]) if len(lines) > 3 else 0, status)
    except (OSError, ValueError, IndexError):
        return None


def find_postmaster(base: Path) -> Postmaster | None:
    """The live postmaster of this cluster; None for a stale file, even if another program got its process id."""
    found = read_pid_file(base / "data")
    if found is None or not is_alive(found.pid) or not _is_postmaster(found.pid, base / "data"):
        return None
    return found


def is_alive(pid: int) -> bool:
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


def end_orphans(data: Path) -> None:
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


def clear_foreign_pid(data: Path) -> None:
    """Makes a stale postmaster.pid harmless whose process id now belongs to another program (or a zombie).

    PostgreSQL mistakes that program for a postmaster. The file of a live postmaster is never touched, and the file is
    not removed either: it names the shared memory by which PostgreSQL finds orphaned backends that still write.
    """
    file = data / "postmaster.pid"
    found = read_pid_file(data)
    if found is None:
        with contextlib.suppress(OSError):
            if file.stat().st_size == 0:  # the disk was full when it was written; PostgreSQL refuses to start on it
                file.unlink()
        return
    try:
        os.kill(found.pid, 0)
    except OSError:
        return  # nobody has that process id: PostgreSQL sees it itself
    if is_alive(found.pid) and _is_postmaster(found.pid, data):
        return
    gone = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])
    gone.wait()
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text(f"{gone.pid}\n" + "".join(lines[1:]), encoding="utf-8")


def choose_launcher(base: Path) -> list[str]:
    """Command prefix under which PostgreSQL agrees to run; empty for an ordinary user."""
    if os.geteuid() != 0:
        return []
    prefix = [sys.executable, "-I", "-S", "-c", _UNPRIVILEGED]
    tried = subprocess.run([*prefix, "namespace", "/bin/sh", "-c", ":"], capture_output=True, text=True, check=False)  # noqa: S603
    if tried.returncode == 0:
        give_cluster(base, f"{os.geteuid()}:{os.getegid()}")
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


def give_cluster(base: Path, owner: str) -> None:
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
