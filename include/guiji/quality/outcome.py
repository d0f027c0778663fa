# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""From the rows that raised a signal: the rejected rows, the flags and the keys that are present."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from guiji.engine import copy_to_parquet, quote_identifier, quote_text, scan_parquet
from guiji.quality import rules as r

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from guiji.catalog.models import Resource
    from guiji.quality.statement import Signal


def is_rejected(signals: Sequence[Signal]) -> str:
    """The condition over flagged rows that is true for a rejected one."""
    parts = ["_broken IS NOT NULL", "_loser"]
    for mask_name in dict.fromkeys(s.mask for s in signals):
        bits = sum(s.value for s in signals if s.mask == mask_name and s.verdict == "rejected")
        if bits:
            parts.append(f"({mask_name} & {bits}) <> 0")
    return f"({' OR '.join(parts)})"


def write_rejected(
    con: DuckDBPyConnection, resource: Resource, signals: Sequence[Signal], flagged: Path, path: Path
) -> int:
    """``_row_no _origin _line _rules _key _raw`` of every rejected row; returns their number."""
    named = [
        f"CASE WHEN ({s.mask} & {s.value}) <> 0 THEN {quote_text(s.rule_id)} END"
        for s in signals
        if s.verdict == "rejected"
    ]
    named += ["_broken", f"CASE WHEN _loser THEN {quote_text(r.KEY_DUPLICATE)} END"]
    return copy_to_parquet(
        con,
        f"SELECT _row_no, _origin, _line, list_filter([{', '.join(named)}], lambda x: x IS NOT NULL) AS _rules, "
        f"{_key_text(resource)} AS _key, _staged AS _raw FROM {scan_parquet(flagged)} WHERE {is_rejected(signals)}",
        path,
        comment=f"{resource.id} rejected",
    )


def write_present_keys(
    con: DuckDBPyConnection, resource: Resource, signals: Sequence[Signal], flagged: Path, path: Path
) -> int:
    """The keys of rejected rows that can be read; returns their number (rows, not distinct keys)."""
    key = ", ".join(quote_identifier(k) for k in resource.model.key)
    readable = " AND ".join(f"{quote_identifier(k)} IS NOT NULL" for k in resource.model.key)
    return copy_to_parquet(
        con,
        f"SELECT {key} FROM {scan_parquet(flagged)} WHERE {is_rejected(signals)} AND _broken IS NULL AND {readable}",
        path,
        comment=f"{resource.id} present keys",
    )


def write_flags(
    con: DuckDBPyConnection,
    resource: Resource,
    rule_ids: Sequence[str],
    signals: Sequence[Signal],
    flagged: Path,
    path: Path,
) -> int:
    """One boolean per rule, of the rows that broke one."""
    columns = []
    broken_by: dict[str, list[str]] = {rule_id: [] for rule_id in rule_ids}
    for s in signals:
        if s.breach:
            broken_by[s.rule_id].append(f"({s.mask} & {s.value}) <> 0")
    for rule_id, parts in broken_by.items():
        if rule_id.startswith("structure."):
            parts.append(f"coalesce(_broken = {quote_text(rule_id)}, false)")
        if rule_id == r.KEY_DUPLICATE:
            parts.append("_loser")
        columns.append(f"bool_or({' OR '.join(parts) or 'false'}) AS {quote_identifier(rule_id)}")
    breaches = [s for s in signals if s.breach]
    any_breach = " OR ".join(["_broken IS NOT NULL", "_loser", *(f"({s.mask} & {s.value}) <> 0" for s in breaches)])
    return copy_to_parquet(
        con,
        f"SELECT _row_no, {', '.join(columns)} FROM {scan_parquet(flagged)} WHERE {any_breach} GROUP BY _row_no",
        path,
        comment=f"{resource.id} flags",
    )


def _key_text(resource: Resource) -> str:
    """The key's values as text, U+001F between them; null where the row or one of them can't be read."""
    parts = [f"{quote_identifier(k)}::VARCHAR" for k in resource.model.key]
    return f"CASE WHEN _broken IS NULL THEN {' || chr(31) || '.join(parts)} END"


def parse_raw(text: str) -> dict[str, str | None]:
    """The staged row that a rejected row's ``_raw`` holds."""
    found: dict[str, str | None] = json.loads(text)
    return found
