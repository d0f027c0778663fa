"""Published files are moved to the folder's archive: never before their batch is published, never over another file.

What has to be moved is what the ledger says was published and what still lies in the folder as it was then; so a run
that was killed between publish and move is made good by the next one, and a file that was replaced meanwhile stays.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from guiji.errors import GuijiError
from guiji.records import DeliveredFile
from guiji.sources.remote_folder import Folder, Listed

log = logging.getLogger(__name__)


def put_away(
    folder: Folder, listed: Sequence[Listed], known_files: Sequence[DeliveredFile]
) -> tuple[list[Listed], list[str]]:
    """Moves what was published; returns what is left in the folder and, in a department's words, what went wrong."""
    published = {
        (k.path, k.size, k.modified_at.timestamp()): k
        for k in known_files
        if getattr(k, "status", "published") == "published"
    }
    left, moved, troubles = [], [], []
    for file in listed:
        if file.identity not in published:
            left.append(file)
            continue
        try:
            target = _move(folder, file)
        except GuijiError as error:
            log.warning("%s was published but not moved to the archive: %s", file.name, error)
            target = None
        if target is None:
            left.append(file)
            troubles.append(f"文件 {file.name} 已入库，但未能移入归档目录，下次采集时再移")
        else:
            moved.append((file, target))
    for file in _return_strangers(folder, moved):
        left.append(file)
        troubles.append(f"文件 {file.name} 在归档时被替换，已放回原处，将作为新文件采集")
    return left, troubles


def _move(folder: Folder, file: Listed) -> Listed | None:
    """Where the file went; None when every name that it could have there is taken."""
    stamp = file.modified_at.strftime("%Y%m%dT%H%M%SZ").encode()
    path = PurePosixPath(file.name)
    suffix = path.suffix.encode() if file.raw.endswith(path.suffix.encode()) else b""
    stem = file.raw[: len(file.raw) - len(suffix)]
    for raw in (
        file.raw,
        stem + b"." + stamp + suffix,
        *(stem + b"." + stamp + b".%d" % n + suffix for n in range(2, 10)),
    ):
        target = replace(file, raw=raw, archived=True)
        if folder.move(file, target):
            return target
    return None


def _return_strangers(folder: Folder, moved: Sequence[tuple[Listed, Listed]]) -> list[Listed]:
    """Puts back what was replaced between listing and move: nobody has read it yet."""
    if not moved:
        return []
    try:
        there = {f.raw: f for f in folder.list_files(archived=True)}
    except GuijiError as error:
        log.warning("the archive can't be listed, so what was moved is not compared: %s", error)
        return []
    back = []
    for file, target in moved:
        found = there.get(target.raw)
        if found is not None and not found.is_still(file.size, file.modified_at):
            log.warning("%s was replaced while it was moved to the archive; it goes back", file.name)
            if folder.move(found, replace(file, size=found.size, modified_at=found.modified_at)):
                back.append(replace(file, size=found.size, modified_at=found.modified_at))
    return back
