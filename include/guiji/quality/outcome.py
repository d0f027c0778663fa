# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""From the rows that raised a signal: the rejected rows, the findings, the flags and the keys that are present."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.engine import copy_to_parquet, quote_identifier, quote_text, scan_parquet
from guiji.masking import mask, scrub
from guiji.quality import rules as r
from guiji.standardize.survey import SURVEYED

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from guiji.catalog.models import Resource
    from guiji.quality.statement import Signal
    from guiji.standardize import FieldPlan

FINDINGS_PER_RULE = 10_000
_LONGEST_VALUE = 60
#: characters of a value that are looked at to show that many: normalised, three may become one
_LONGEST_READ = 1_000
_WRITTEN_IN_DIGITS = ("date32", "timestamp", "int64", "float64")
_DIGITS = re.compile(r"[\w\s.,:/+%\-]*", re.ASCII)
#: what ``str.strip`` takes away
_BLANKS = "".join(c for c in map(chr, range(0x3001)) if c.isspace())
#: as long as a phone number
_LONG_NUMBER = re.compile(r"\d{11}")


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


def write_findings(
    con: DuckDBPyConnection,
    resource: Resource,
    plans: Sequence[FieldPlan],
    rules: Sequence[r.RuleDefinition],
    signals: Sequence[Signal],
    counts: Mapping[int, int],
    flagged: Path,
    path: Path,
) -> None:
    """One line per rule a row broke, was doubted or mended by; no personal value in clear."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    by_id = {rule.rule_id: rule for rule in rules}
    staged_as = {p.spec.name: p.column or p.spec.source_column for p in plans}
    schema = pa.schema(
        [
            ("_row_no", pa.int64()),
            ("_origin", pa.string()),
            ("_line", pa.int64()),
            ("rule_id", pa.string()),
            ("verdict", pa.string()),
            ("value_masked", pa.string()),
        ]
    )
    wanted: list[tuple[str, str, str, str]] = [
        (s.rule_id, s.verdict, f"({s.mask} & {s.value}) <> 0", _reason_of(s, plans))
        for s in signals
        if counts.get(s.bit)
    ]
    wanted += [
        (rule_id, "rejected", f"_broken = {quote_text(rule_id)}", "NULL")
        for rule_id in by_id
        if rule_id.startswith("structure.")
    ]
    wanted.append((r.KEY_DUPLICATE, "rejected", "_loser", "NULL"))
    with pq.ParquetWriter(path, schema, compression="lz4") as writer:
        for rule_id, verdict, condition, reason in wanted:
            for batch in _read_findings(
                con, resource, by_id[rule_id], staged_as, verdict, condition, reason, flagged, schema
            ):
                writer.write_batch(batch)
    path.chmod(0o600)


def _read_findings(
    con: DuckDBPyConnection,
    resource: Resource,
    rule: r.RuleDefinition,
    staged_as: Mapping[str, str],
    verdict: str,
    condition: str,
    reason: str,
    flagged: Path,
    schema: Any,
) -> Iterator[Any]:
    import pyarrow as pa

    columns = [resource.model.field(name) for name in rule.fields]
    if rule.rule_id.rpartition(".")[2] in SURVEYED:
        columns = [c for c in columns if c.type != "geometry"]  # what was measured says more than coordinates
    shown = [_extract(staged_as[c.name]) for c in columns]
    names: list[Any] = list(columns)
    if rule.rule_id in (r.CURSOR_BLANK, r.CURSOR_FUTURE):
        cursor = r.cursor_column(resource.model) or ""
        shown, names = [_extract(cursor)], [None]
    found = con.sql(
        f"/* guiji {resource.id} findings */ SELECT _row_no, _origin, _line, {reason} AS _reason, "
        f"{'[' + ', '.join(f'{s}::VARCHAR' for s in shown) + ']' if shown else '[]::VARCHAR[]'} AS _values "
        f"FROM {scan_parquet(flagged)} WHERE {condition} ORDER BY _row_no LIMIT {FINDINGS_PER_RULE}"
    ).to_arrow_table()
    if not found.num_rows:
        return
    reasons = found.column("_reason").to_pylist()
    values = [
        _show(names, row, why, rule) for row, why in zip(found.column("_values").to_pylist(), reasons, strict=True)
    ]
    n = found.num_rows
    yield pa.record_batch(
        [
            found.column("_row_no").combine_chunks().cast(pa.int64()),
            found.column("_origin").combine_chunks().cast(pa.string()),
            found.column("_line").combine_chunks().cast(pa.int64()),
            pa.array([rule.rule_id] * n, pa.string()),
            pa.array([verdict] * n, pa.string()),
            pa.array(values, pa.string()),
        ],
        schema=schema,
    )


def _show(
    columns: Sequence[Any], values: Sequence[str | None], reason: str | None, rule: r.RuleDefinition
) -> str | None:
    """The values a rule is about, masked; with the field's title where there is more than one."""
    if not columns:
        return scrub(reason) if reason else None
    parts = []
    for column, value in zip(columns, values, strict=True):
        text = _mask_value(column, value)
        parts.append(f"{column.title}={text}" if len(columns) > 1 and column is not None else text)
    shown = "，".join(parts)
    if reason and columns[0] is not None and columns[0].identifier:
        from guiji.identifier_reasons import explain

        shown += f"（{explain(reason, columns[0].identifier)[0].rstrip('。')}）"
    elif reason:
        shown += f"（{scrub(reason)}）"
    return shown


def _is_number(kind: str) -> bool:
    return kind.startswith(("int", "float", "decimal"))


def _mask_value(column: Any, value: str | None) -> str:
    if value is None:
        return "（空）"
    shown = _mask_whole(column, value.strip())
    return shown if len(shown) <= _LONGEST_VALUE else shown[:_LONGEST_VALUE] + "…"


def _mask_whole(column: Any, text: str) -> str:
    if column is not None and (column.sensitivity >= 3 or column.identifier in ("citizen_id", "registration_number")):
        return mask(text)
    if column is not None and column.type in _WRITTEN_IN_DIGITS and not _DIGITS.fullmatch(text):
        return mask(text)  # columns have shifted: what stands where a date or number should be may be a name
    normal = unicodedata.normalize("NFKC", text)
    if column is not None and _is_number(column.type) and _LONG_NUMBER.search(normal):
        return mask(text)  # 13812345678x is no number and no phone, and yet somebody's
    return scrub(normal)


def _reason_of(signal: Signal, plans: Sequence[FieldPlan]) -> str:
    for p in plans:
        if p.identified and signal.rule_id == f"{p.spec.name}.identifier" and signal.verdict != "mended":
            return f"_reason_{p.index}"
        for kind in SURVEYED:
            if signal.rule_id == f"{p.spec.name}.{kind}":
                return f"_reason_{kind}_{p.index}"
    return "NULL"


def _key_text(resource: Resource) -> str:
    """The key's values as text, U+001F between them; null where the row or one of them can't be read."""
    parts = [f"{quote_identifier(k)}::VARCHAR" for k in resource.model.key]
    return f"CASE WHEN _broken IS NULL THEN {' || chr(31) || '.join(parts)} END"


def _extract(column: str) -> str:
    """The staged cell of a column, as far as it can be shown: thousands of rows may have long ones."""
    pointer = "/" + column.replace("~", "~0").replace("/", "~1")
    # blanks go before it is cut: half of a number that stands behind a thousand of them is not known for one
    return f"left(trim(json_extract_string(_staged, {quote_text(pointer)}), {quote_text(_BLANKS)}), {_LONGEST_READ})"


def parse_raw(text: str) -> dict[str, str | None]:
    """The staged row that a rejected row's ``_raw`` holds."""
    found: dict[str, str | None] = json.loads(text)
    return found
