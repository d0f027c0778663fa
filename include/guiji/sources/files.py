"""A folder of exported files on this machine or a mounted share."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.errors import SourceUnavailable, UsageError
from guiji.records import DeliveredFile, Delivery, Window
from guiji.sources.remote import Listed, bad_directory, decode_name, from_epoch, open_files

if TYPE_CHECKING:
    from guiji.catalog.models import Resource
    from guiji.settings import Settings

_VARIABLE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")


class LocalFolder:
    """A directory of the file system; links are not followed out of it."""

    def __init__(self, directory: Path, resource_id: str) -> None:
        self.directory = directory
        self.resource_id = resource_id

    def list_files(self) -> list[Listed]:
        try:
            entries = list(os.scandir(os.fsencode(self.directory)))
        except OSError as exc:
            raise SourceUnavailable(
                f"{self.resource_id}: directory {self.directory} can't be listed: {exc.strerror}. Nothing was staged; "
                "check that the share is mounted and readable, then run it again."
            ) from exc
        found = []
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                found.append(Listed(decode_name(entry.name), entry.name, status.st_size, from_epoch(status.st_mtime)))
        return found

    def fetch(self, file: Listed, target: Path, attempt: int) -> None:
        try:
            shutil.copyfile(self._path(file), os.fsencode(target))
        except OSError as exc:
            raise SourceUnavailable(
                f"{self.resource_id}: file {file.name} can't be read: {exc.strerror}. Nothing was staged; "
                "check its permissions, then run it again."
            ) from exc

    def read_small(self, file: Listed) -> bytes:
        with open(self._path(file), "rb") as f:
            return f.read(4096)

    def _path(self, file: Listed) -> bytes:
        return os.path.join(os.fsencode(self.directory), file.raw)


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


def open_folder(
    resource: Resource,
    settings: Settings,
    window: Window,
    *,
    known_files: Sequence[DeliveredFile],
    scratch: Path,
    explicit: bool,
) -> Delivery:
    """The delivery that lies in the resource's folder."""
    return open_files(
        resource,
        settings,
        window,
        _folder(resource, settings),
        known_files=known_files,
        scratch=scratch,
        explicit=explicit,
    )


def _folder(resource: Resource, settings: Settings) -> LocalFolder:
    from guiji.catalog.models import FilesSource

    source = resource.model.source
    assert isinstance(source, FilesSource)
    return LocalFolder(resolve_directory(source.directory, settings, resource.id), resource.id)


def probe_folder(resource: Resource, settings: Settings) -> None:
    """Lists the folder."""
    _folder(resource, settings).list_files()
