"""Code tables: facts with the standard's number and date, as CSV files in ``quality/codes``.

A file begins with ``# standard: …``, ``# date: …`` and ``# source: …`` lines (further ``# note: …`` lines as
needed), then a header line; its first two columns are ``code`` and ``name``. Codes stay text.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from guiji.errors import UsageError
from guiji.settings import ROOT

CODES_DIRECTORY = ROOT / "quality" / "codes"
_HEADINGS = ("standard", "date", "source", "note")


class CodeTableError(UsageError):
    """A code table is absent or badly formed. Nothing was judged by it."""

    cause = "code_table"


@dataclass(frozen=True)
class CodeTable:
    """One code table. ``rows`` holds every column of the file, by code; ``names`` the second column."""

    name: str
    standard: str
    date: str
    source: str
    codes: frozenset[str]
    names: Mapping[str, str]
    rows: Mapping[str, Mapping[str, str]]
    path: str


@dataclass(frozen=True)
class Division:
    """One division code. Dates are ISO or empty (unknown; ``valid_to`` is also empty while the code is in use).

    Years are all that is published of most changes, so ``valid_from`` is the first day of the first year and
    ``valid_to`` the last day of the last: a department is not accused on the strength of a rounding.
    """

    code: str
    name: str
    valid_from: str
    valid_to: str
    #: current | abolished | statistical (development zones of the statistics list) | special (number blocks)
    status: str


def list_code_tables() -> list[str]:
    """Names of the code tables, sorted."""
    return sorted(p.stem for p in CODES_DIRECTORY.glob("*.csv"))


def load_code_table(name: str) -> CodeTable:
    """The table ``quality/codes/<name>.csv``, cached. Raises CodeTableError that names file and line."""
    path = CODES_DIRECTORY / f"{name}.csv"
    if not path.is_file():
        tables = list_code_tables()
        near = difflib.get_close_matches(name, tables, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise CodeTableError(
            f"There is no code table {name!r}: {path} does not exist.{hint} Allowed: {', '.join(tables)}.", table=name
        )
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _load(path: Path, modified: int) -> CodeTable:
    return read_code_table(path)


def read_code_table(path: Path) -> CodeTable:
    """Parses one file strictly. Raises CodeTableError with ``file:line`` for anything that is not as it must be."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as exc:
        raise CodeTableError(f"{path}: is not UTF-8. Save it as UTF-8.", path=str(path)) from exc
    heading: dict[str, str] = {}
    start = 0
    for start, line in enumerate(lines):
        if not line.startswith("#"):
            break
        word, _, text = line[1:].partition(":")
        if word.strip() not in _HEADINGS or not text.strip():
            raise _broken(path, start + 1, f"must be '# word: text' with word one of {', '.join(_HEADINGS)}")
        heading.setdefault(word.strip(), text.strip())
    for word in ("standard", "date", "source"):
        if word not in heading:
            raise _broken(path, 1, f"lacks the line '# {word}: …'")
    body = lines[start:]
    header = next(csv.reader(body[:1], strict=True), [])
    if header[:2] != ["code", "name"]:
        raise _broken(path, start + 1, f"the header must begin with code,name and is {','.join(header) or 'missing'}")
    rows: dict[str, Mapping[str, str]] = {}
    for number, line in enumerate(body[1:], start + 2):
        try:
            cells = next(csv.reader([line], strict=True), [])
        except csv.Error as exc:
            raise _broken(path, number, str(exc)) from exc
        if len(cells) != len(header):
            raise _broken(path, number, f"has {len(cells)} cells, the header {len(header)}")
        code, name = cells[0], cells[1]
        if not code or code != code.strip() or not name.strip():
            raise _broken(path, number, "code and name must be filled, without spaces around the code")
        if code in rows:
            raise _broken(path, number, f"code {code!r} is already in the table")
        rows[code] = MappingProxyType(dict(zip(header, cells, strict=True)))
    if not rows:
        raise _broken(path, len(lines), "the table is empty")
    return CodeTable(
        name=path.stem,
        standard=heading["standard"],
        date=heading["date"],
        source=heading["source"],
        codes=frozenset(rows),
        names=MappingProxyType({code: row["name"] for code, row in rows.items()}),
        rows=MappingProxyType(rows),
        path=str(path),
    )


def load_divisions() -> Mapping[str, Division]:
    """Every division code that is or was, by code."""
    table = load_code_table("division")
    return MappingProxyType(
        {
            code: Division(code, row["name"], row["valid_from"], row["valid_to"], row["status"])
            for code, row in table.rows.items()
        }
    )


def _broken(path: Path, line: int, what: str) -> CodeTableError:
    return CodeTableError(f"{path}:{line}: {what}. Mend the code table; nothing was judged by it.", path=str(path))
