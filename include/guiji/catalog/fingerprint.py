"""What decides how a row is judged, as one hash: when it changes, every row is checked again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from guiji.catalog.models import ResourceModel
from guiji.measures import UNIT_TABLE
from guiji.settings import ROOT

CODES = ROOT / "quality" / "codes"
#: code that judges rows; its stated VERSION counts, or its text where it states none
_JUDGING_CODE = ("identifiers.py", "standardize/__init__.py", "casting.py", "local_time.py", "damage.py", "misread.py")
_VERSION = re.compile(rb'^VERSION\s*(?::[^=]*)?=\s*["\']?([^"\'\s]+)', re.MULTILINE)
#: how a field or rule is called, explained and reported changes no verdict
_WORDS_OF_FIELD = {"title", "sensitivity", "tolerance", "registered"}
_WORDS_OF_RULE = {"title", "mend", "standard", "tolerance", "indicator"}


def fingerprint_rules(
    model: ResourceModel,
    city_bounds: Sequence[float] | None = None,
    city_boundary: tuple[str, float] | None = None,
    kept_units: Mapping[str, tuple[tuple[str, ...], str]] | None = None,
) -> str:
    """sha256 over fields, rules, key, order, the content of the code tables, the city's bounds and boundary where they
    are judged by, the units that libraries keep, and the version of the judging code."""
    tables = {f.codes for f in model.fields if f.codes}
    if kept_units:
        tables.add(UNIT_TABLE)
    material = {
        "fields": [
            {**f.model_dump(mode="json", exclude=_WORDS_OF_FIELD), "column": f.source_column} for f in model.fields
        ],
        "rules": [r.model_dump(mode="json", exclude=_WORDS_OF_RULE) for r in model.rules],
        "key": model.key,
        "library_keys": sorted({name for mapping in model.mappings for name in mapping.key}),
        "order": model.order,
        "tombstone": model.tombstone,
        "time_zone": model.time_zone,
        "city_bounds": list(city_bounds) if city_bounds else None,
        **({"city_boundary": [hash_file(Path(city_boundary[0])), city_boundary[1]]} if city_boundary else {}),
        **({"kept_units": kept_units} if kept_units else {}),
        "codes": {name: hash_file(CODES / f"{name}.csv") for name in sorted(tables)},
        "divisions": [hash_file(p) for p in list_division_tables()] if any(f.identifier for f in model.fields) else [],
        "code": [read_version(ROOT / "include" / "guiji" / name) for name in _JUDGING_CODE],
    }
    return hashlib.sha256(json.dumps(material, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def list_code_tables() -> list[str]:
    """The names a field's ``codes`` may have."""
    return sorted(p.stem for p in CODES.glob("*.csv"))


def list_division_tables() -> list[Path]:
    return sorted(CODES.glob("division*.csv"))


def hash_file(path: Path) -> str:
    """sha256 of a file, or ``absent``; read again only when size or time changed."""
    try:
        status = path.stat()
    except OSError:
        return "absent"
    return _hash(path, status.st_size, status.st_mtime_ns)


def read_version(path: Path) -> str:
    """The VERSION a module states, read without importing it; the hash of its text where it states none."""
    try:
        status = path.stat()
    except OSError:
        return "absent"
    return _version(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash(path: Path, size: int, modified: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@lru_cache(maxsize=16)
def _version(path: Path, size: int, modified: int) -> str:
    match = _VERSION.search(path.read_bytes())
    return match.group(1).decode() if match else _hash(path, size, modified)
