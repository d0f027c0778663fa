"""A folder of exported files on this machine or a mounted share."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.errors import SourceUnavailable, UsageError
from guiji.sources.remote_folder import Listed, bad_directory, decode_name, from_epoch

if TYPE_CHECKING:
    from guiji.settings import Settings

_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")


class LocalFolder:
    """A directory of the file system; links are not followed out of it."""

    def __init__(self, directory: Path, resource_id: str, archive: str | None = None) -> None:
        self.directory = directory
        self.archive = directory / (archive or "")
        self.resource_id = resource_id

    def list_files(self, *, archived: bool = False) -> list[Listed]:
        where = self.archive if archived else self.directory
        try:
            entries = list(os.scandir(os.fsencode(where)))
        except FileNotFoundError as exc:
            if archived:
                return []
            raise self._unavailable(f"directory {where} can't be listed", exc) from exc
        except OSError as exc:
            raise self._unavailable(f"directory {where} can't be listed", exc) from exc
        found = []
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                modified_at = from_epoch(status.st_mtime)
                found.append(Listed(decode_name(entry.name), entry.name, status.st_size, modified_at, archived))
        return found

    def _unavailable(self, what: str, exc: OSError) -> SourceUnavailable:
        return SourceUnavailable(
            f"{self.resource_id}: {what}: {exc.strerror}. Nothing was staged; check that the share is mounted and "
            "readable, then run it again."
        )

    def fetch(self, file: Listed, target: Path, attempt: int) -> None:
        try:
            shutil.copyfile(self._path(file), os.fsencode(target))
        except OSError as exc:
            raise SourceUnavailable(
                f"{self.resource_id}: file {file.name} can't be read: {exc.strerror}. Nothing was staged; "
                "check its permissions, then run it again."
            ) from exc

    def look(self, file: Listed) -> object:
        try:
            status = os.stat(self._path(file))
        except OSError as exc:
            raise self._unavailable(f"file {file.name} can't be read", exc) from exc
        return status.st_ino, status.st_size, status.st_mtime_ns

    def read_small(self, file: Listed, limit: int = 4096) -> bytes:
        with open(self._path(file), "rb") as f:
            return f.read(limit)

    def move(self, file: Listed, target: Listed) -> bool:
        try:
            if target.archived:
                self.archive.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(self._path(target)):
                return False
            os.rename(self._path(file), self._path(target))
        except OSError as exc:
            raise self._unavailable(f"file {file.name} can't be moved", exc) from exc
        return True

    def close(self) -> None:
        """Nothing to log out of."""

    def _path(self, file: Listed) -> bytes:
        return os.path.join(os.fsencode(self.archive if file.archived else self.directory), file.raw)


def resolve_directory(directory: str, settings: Settings, resource_id: str) -> Path:
    """The folder with ``${NAME}`` replaced; relative paths are below GUIJI_REAL_DATA. Raises UsageError."""
    from guiji.settings import ROOT

    given = {"GUIJI_HOME": str(settings.home), "GUIJI_ROOT": str(ROOT)}
    if settings.real_data:
        given["GUIJI_REAL_DATA"] = str(settings.real_data)

    def replace(m: re.Match[str]) -> str:
        value = given.get(m[1]) or os.environ.get(m[1])
        if not value:
            raise bad_directory(resource_id, directory, f"names {m[1]}, which is not set")
        return value

    path = Path(_VARIABLE.sub(replace, directory)).expanduser()
    if not path.is_absolute():
        if settings.real_data is None:
            raise UsageError(
                f"{resource_id}: directory {directory!r} is relative and GUIJI_REAL_DATA is not set. Nothing was read; "
                "set it, or write an absolute path or ${NAME}/… in the catalog."
            )
        path = settings.real_data / path
    if ".." in path.parts:
        raise bad_directory(resource_id, directory, "leads out of itself with '..'")
    return path
