"""What the standing DAGs say of the catalog, kept below ``GUIJI_HOME`` so that a parse of their file reads no model.

Airflow parses DAG files again and again, and a catalog of 3,000 resources takes seconds to validate. The descriptions
hang on the content of every catalog file and code table and on this package's own code: whatever of them changes, by
however little, the catalog is read again as a whole. What is kept is a cache and nothing else: where it is missing,
damaged or can't be written, the DAGs are the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from guiji.catalog.fingerprint import CODES
from guiji.settings import ROOT, Settings

log = logging.getLogger(__name__)
_PACKAGE = Path(__file__).parents[1]
#: files of the catalog folder that are read for what they say; others (a boundary) may be large, and count by size and time
_READ = (".yml", ".yaml")


@dataclass(frozen=True)
class StandingDag:
    """One DAG that follows from the catalog; ``kind`` is library, reconcile or broken, ``name`` the library or department."""

    kind: str
    name: str
    display_name: str = ""
    doc_md: str = ""
    #: a cron expression; None: as its kind does it
    schedule: str | None = None
    #: resources whose publishing starts it
    resources: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    #: what is wrong with it (kind broken)
    problems: tuple[str, ...] = ()


def load_descriptions(settings: Settings, describe: Callable[[], Iterable[StandingDag]]) -> tuple[StandingDag, ...]:
    """What ``describe`` says of the catalog as its files stand now; it is called only when one of them has changed."""
    place = hashlib.sha256(f"{settings.catalog.resolve()}|{os.getcwd()}".encode()).hexdigest()[:16]
    kept = settings.home / "dags" / f"standing-{place}.json"
    content = hash_content(settings.catalog)
    if (found := _read_kept(kept, content)) is not None:
        return found
    made = tuple(describe())
    if hash_content(settings.catalog) == content:  # else what was read lies between two versions: next time
        _keep(kept, content, made)
    return made


def hash_content(catalog: Path) -> str:
    """sha256 over names and content of the catalog's files, the code tables and the code that reads them."""
    digest = hashlib.sha256(_hash_code().encode())
    for path in _list_files(catalog):
        _add(digest, path, whole=path.suffix in _READ)
    for path in _list_files(CODES):
        _add(digest, path, whole=True)
    return digest.hexdigest()


@cache
def _hash_code() -> str:
    """Of the package; once in a process, which goes on with the code that it has imported."""
    digest = hashlib.sha256()
    for path in _list_files(_PACKAGE):
        if path.suffix == ".py":
            _add(digest, path, whole=True)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, path: Path, *, whole: bool) -> None:
    content = _content(path, whole=whole)
    name = str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path).encode()
    digest.update(b"%d %s %d " % (len(name), name, len(content)))
    digest.update(content)


def _content(path: Path, *, whole: bool) -> bytes:
    try:
        if whole:
            return path.read_bytes()
        status = path.stat()
        return f"{status.st_size} {status.st_mtime_ns}".encode()
    except OSError as error:  # a file that can't be read is the catalog's matter, and no other DAG's
        return f"unreadable {error.errno}".encode()


def _list_files(root: Path) -> Iterator[Path]:
    """All files below a folder, in the order of their paths."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f != "__pycache__")
        yield from (Path(folder, name) for name in sorted(files))


def _read_kept(path: Path, content: str) -> tuple[StandingDag, ...] | None:
    try:
        kept = json.loads(path.read_bytes())
        if kept["content"] != content:
            return None
        return tuple(_read_entry(entry) for entry in kept["dags"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _read_entry(entry: dict[str, Any]) -> StandingDag:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    return StandingDag(**values)


def _keep(path: Path, content: str, dags: tuple[StandingDag, ...]) -> None:
    """Replaces what is kept, in one step: another process reads the old one or the new one."""
    text = json.dumps({"content": content, "dags": [asdict(d) for d in dags]}, ensure_ascii=False)
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        log.warning("the descriptions of the standing DAGs could not be kept, each parse reads the catalog: %s", error)
        with contextlib.suppress(OSError):
            os.unlink(temporary)
