"""Folders of files, near and far: what is in them, and how one file gets here whole (F-34) or is put away.

A file is downloaded under another name, its size compared, synced and renamed; one that was written again meanwhile is
fetched again. A server that sends more than it said,
or hardly anything, is cut off.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from guiji.errors import SourceUnavailable, UsageError
from guiji.records import DeliveredFile

ATTEMPTS = 3
SLOWEST = 1024  # bytes per second, once twice the time-out has passed
MOST_FILES = 500_000  # a longer listing is no folder of deliveries


@dataclass(frozen=True)
class Listed:
    """One file of a listing. ``raw`` is its name on the wire; ``archived``: it lies in the archive folder; ``day_only``:
    the server says only the day of its time."""

    name: str
    raw: bytes
    size: int
    modified_at: datetime
    archived: bool = False
    day_only: bool = False

    @property
    def identity(self) -> tuple[str, int, float]:
        return self.name, self.size, self.modified_at.timestamp()

    def is_still(self, size: int, modified_at: datetime) -> bool:
        """Whether nothing in the listing speaks against its being the file of that size and time."""
        if self.day_only:
            return self.size == size and self.modified_at.date() == modified_at.astimezone(UTC).date()
        return self.size == size and self.modified_at == modified_at


class Folder(Protocol):
    """A folder of files, local or far away, and the archive folder that belongs to it."""

    def list_files(self, *, archived: bool = False) -> list[Listed]:
        """The regular files; of an archive that isn't there, none. Raises SourceUnavailable, SourceRefused."""

    def fetch(self, file: Listed, target: Path, attempt: int) -> None:
        """Writes the file to ``target``. Raises SourceUnavailable when it breaks off."""

    def look(self, file: Listed) -> object:
        """What differs once the file has been written again (size and time); None where the server can't say."""

    def read_small(self, file: Listed, limit: int = 4096) -> bytes:
        """The content of a marker file, at most ``limit`` bytes of it."""

    def move(self, file: Listed, target: Listed) -> bool:
        """Renames the file; the archive folder is made where it is absent. False when the name is taken: nothing is
        ever overwritten. Raises SourceUnavailable, SourceRefused."""

    def close(self) -> None:
        """Logs out."""


def list_remembered(folder: Folder, known_files: Sequence[DeliveredFile], *, archived: bool = False) -> list[Listed]:
    """The files of a folder. One whose server says only the day by now has the time that it had when it was taken: else
    each old file would one day be a new delivery."""
    times: dict[str, list[DeliveredFile]] = {}
    for k in known_files:
        times.setdefault(k.path, []).append(k)
    return [
        replace(
            f,
            modified_at=max(
                (k.modified_at for k in times.get(f.name, ()) if f.is_still(k.size, k.modified_at)),
                default=f.modified_at,
            ),
        )
        if f.day_only
        else f
        for f in folder.list_files(archived=archived)
    ]


def decode_name(raw: bytes) -> str:
    """A file name: UTF-8, else GB18030 (F-40); what is neither keeps its bytes as escapes."""
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("utf-8", "backslashreplace")


class Pace:
    """Counts the bytes of a transfer. Raises TimeoutError for one that crawls, OSError for one that has no end."""

    def __init__(self, size: int, timeout: float) -> None:
        self._size, self._grace, self._began, self._count = size, 2 * timeout, time.monotonic(), 0

    def count(self, chunk: bytes) -> bytes:
        self._count += len(chunk)
        if self._count > self._size:
            raise OSError("more bytes than the listing says")
        elapsed = time.monotonic() - self._began
        if elapsed > self._grace and self._count < SLOWEST * elapsed:
            raise TimeoutError(f"less than {SLOWEST} bytes per second")
        return chunk


def fetch_by_chunks(read: Callable[[], bytes], target: Path, pace: Pace) -> None:
    with target.open("wb") as f:
        while chunk := read():
            f.write(pace.count(chunk))


def fetch_whole(folder: Folder, file: Listed, target: Path) -> tuple[Path, str]:
    """The file at ``target``, whole and synced, and its SHA-256. Retried; raises SourceUnavailable in the end."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = target.with_name(target.name + ".download")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            temporary.unlink(missing_ok=True)
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            before = folder.look(file)
            folder.fetch(file, temporary, attempt)
            arrived = temporary.stat().st_size
            if arrived != file.size:
                raise SourceUnavailable(
                    f"File {file.name} has {file.size} bytes in the listing, {arrived} arrived. Nothing was staged; "
                    "it will be fetched again."
                )
            if folder.look(file) != before:  # of as many bytes, some may be of the former file
                raise SourceUnavailable(
                    f"File {file.name} was written again while it was fetched. Nothing was staged; it will be fetched again."
                )
            break
        except SourceUnavailable:
            temporary.unlink(missing_ok=True)
            if attempt == ATTEMPTS:
                raise
            time.sleep(0.2 * attempt)
    digest = hash_file(temporary)
    with temporary.open("rb") as f:
        os.fsync(f.fileno())
    os.replace(temporary, target)
    return target, digest


def hash_file(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def from_epoch(seconds: float) -> datetime:
    """A file time, to the second: servers disagree on anything finer."""
    return datetime.fromtimestamp(int(seconds), UTC)


def bad_directory(resource_id: str, directory: str, why: str) -> UsageError:
    return UsageError(f"{resource_id}: directory {directory!r} {why}. Nothing was read; correct the catalog.")


def join_archive(directory: str, archive: str | None) -> str:
    """The archive folder: absolute, or below ``directory``."""
    if archive is None or archive.startswith("/"):
        return archive or directory
    return f"{directory.rstrip('/')}/{archive}"
