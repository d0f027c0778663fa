# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""What a department is told of single rows: one finding per rule that a row broke, was doubted or was mended by.

Of each rule at most ``FINDINGS_PER_RULE`` rows are told, the first ones. Their cells are taken out of the staged rows
once, into a file of columns, and each rule then reads those it is about; no personal value is written in clear.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guiji.engine import copy_to_parquet, judge_fields, quote_identifier, quote_text, scan_parquet
from guiji.masking import mask, scrub
from guiji.quality import rules as r
from guiji.standardize.survey import SURVEYED

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from guiji.catalog.model_field import FieldSpec
    from guiji.catalog.models import Resource
    from guiji.quality.statement import Signal
    from guiji.quality.tally import Tally
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
#: beside the masks, what of a flagged row says where it is and why
_PLACES = ("_row_no", "_origin", "_line", "_broken", "_loser")


@dataclass(frozen=True)
class _Told:
    """A verdict of a rule, the condition over flagged rows that gave it, and what is shown of such a row."""

    rule: r.RuleDefinition
    verdict: str
    condition: str
    #: the column with the reason that an identifier's or a shape's check gave
    reason: str
    rows: int
    #: by staged column, the field it is shown as; None for the cursor, which is no field
    shown: tuple[tuple[str, FieldSpec | None], ...]


def write_findings(
    con: DuckDBPyConnection,
    resource: Resource,
    plans: Sequence[FieldPlan],
    rules: Sequence[r.RuleDefinition],
    signals: Sequence[Signal],
    tally: Tally,
    flagged: Path,
    path: Path,
) -> tuple[str, ...]:
    """One line per rule a row broke, was doubted or mended by, in the order of the rules and then of the rows.

    Returns the rules that have more rows than are told.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

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
    told = _list_told(resource, plans, rules, signals, tally)
    cells = path.with_name("cells.parquet")
    columns = {column: f"_cell_{i}" for i, column in enumerate(dict.fromkeys(c for t in told for c, _ in t.shown))}
    with pq.ParquetWriter(path, schema, compression="lz4") as writer:
        path.chmod(0o600)
        if told:
            _write_cells(con, resource, told, columns, flagged, cells)
        for t in told:
            for batch in _read_findings(con, resource, t, columns, cells, schema):
                writer.write_batch(batch)
    cells.unlink(missing_ok=True)
    return tuple(sorted({t.rule.rule_id for t in told if t.rows > FINDINGS_PER_RULE}))


def _list_told(
    resource: Resource,
    plans: Sequence[FieldPlan],
    rules: Sequence[r.RuleDefinition],
    signals: Sequence[Signal],
    tally: Tally,
) -> list[_Told]:
    by_id = {rule.rule_id: rule for rule in rules}
    staged_as = {p.spec.name: p.column or p.spec.source_column for p in plans}
    cursor = r.cursor_column(resource.model) or ""

    def show(rule: r.RuleDefinition) -> tuple[tuple[str, FieldSpec | None], ...]:
        if rule.rule_id in (r.CURSOR_BLANK, r.CURSOR_FUTURE):
            return ((cursor, None),)
        fields = [resource.model.field(name) for name in rule.fields]
        if rule.rule_id.rpartition(".")[2] in SURVEYED:
            fields = [f for f in fields if f.type != "geometry"]  # what was measured says more than coordinates
        return tuple((staged_as[f.name], f) for f in fields)

    found = [
        (s.rule_id, s.verdict, f"({s.mask} & {s.value}) <> 0", _reason_of(s, plans), tally.counts.get(s.bit, 0))
        for s in signals
    ]
    found += [(i, "rejected", f"_broken = {quote_text(i)}", "NULL", rows) for i, rows in tally.broken.items()]
    found.append((r.KEY_DUPLICATE, "rejected", "_loser", "NULL", tally.losers))
    return [
        _Told(by_id[rule_id], verdict, condition, reason, rows, show(by_id[rule_id]))
        for rule_id, verdict, condition, reason, rows in found
        if rows
    ]


def _write_cells(
    con: DuckDBPyConnection,
    resource: Resource,
    told: Sequence[_Told],
    columns: Mapping[str, str],
    flagged: Path,
    path: Path,
) -> None:
    """The flagged rows that are told, without their staged cells but with a column of each that a rule shows."""
    import pyarrow.parquet as pq

    chosen = []
    for t in told:
        if t.rows <= FINDINGS_PER_RULE:
            chosen.append(f"({t.condition})")
            continue
        (last,) = con.execute(
            f"SELECT max(_row_no) FROM (SELECT _row_no FROM {scan_parquet(flagged)} WHERE {t.condition} "
            f"ORDER BY _row_no LIMIT {FINDINGS_PER_RULE})"
        ).fetchall()[0]
        chosen.append(f"({t.condition} AND _row_no <= {last})")
    kept = [n for n in pq.read_schema(flagged).names if n in _PLACES or n.startswith(("_mask_", "_reason_"))]
    listed = ", ".join(map(quote_identifier, kept))
    pointers = ", ".join(quote_text(_pointer(column)) for column in columns)
    rows = f"SELECT {listed}, _staged FROM {scan_parquet(flagged)} WHERE {' OR '.join(chosen)}"
    if columns:
        cells = ", ".join(f"{_shorten(f'_cells[{i}]')} AS {name}" for i, name in enumerate(columns.values(), 1))
        rows = f"SELECT {listed}, {cells} FROM (SELECT *, json_extract_string(_staged, [{pointers}]) AS _cells FROM ({rows}))"
    else:
        rows = f"SELECT {listed} FROM ({rows})"
    with judge_fields(con, len(columns)):
        copy_to_parquet(con, rows, path, comment=f"{resource.id} cells")


def _read_findings(
    con: DuckDBPyConnection,
    resource: Resource,
    told: _Told,
    columns: Mapping[str, str],
    cells: Path,
    schema: Any,
) -> Iterator[Any]:
    import pyarrow as pa

    shown = ", ".join(columns[column] for column, _ in told.shown)
    found = con.sql(
        f"/* guiji {resource.id} findings */ SELECT _row_no, _origin, _line, {told.reason} AS _reason, "
        f"[{shown}]::VARCHAR[] AS _values "
        f"FROM {scan_parquet(cells)} WHERE {told.condition} ORDER BY _row_no LIMIT {FINDINGS_PER_RULE}"
    ).to_arrow_table()
    n = found.num_rows
    if not n:
        return
    fields = [field for _, field in told.shown]
    rows = zip(found.column("_values").to_pylist(), found.column("_reason").to_pylist(), strict=True)
    yield pa.record_batch(
        [
            found.column("_row_no").combine_chunks().cast(pa.int64()),
            found.column("_origin").combine_chunks().cast(pa.string()),
            found.column("_line").combine_chunks().cast(pa.int64()),
            pa.array([told.rule.rule_id] * n, pa.string()),
            pa.array([told.verdict] * n, pa.string()),
            pa.array([_show(fields, values, reason) for values, reason in rows], pa.string()),
        ],
        schema=schema,
    )


def _show(columns: Sequence[FieldSpec | None], values: Sequence[str | None], reason: str | None) -> str | None:
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


def _mask_value(column: FieldSpec | None, value: str | None) -> str:
    if value is None:
        return "（空）"
    shown = _mask_whole(column, value.strip())
    return shown if len(shown) <= _LONGEST_VALUE else shown[:_LONGEST_VALUE] + "…"


def _mask_whole(column: FieldSpec | None, text: str) -> str:
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


def _pointer(column: str) -> str:
    return "/" + column.replace("~", "~0").replace("/", "~1")


def _shorten(cell: str) -> str:
    """A staged cell as far as it can be shown: thousands of rows may have long ones."""
    # blanks go before it is cut: half of a number that stands behind a thousand of them is not known for one
    return f"left(trim({cell}, {quote_text(_BLANKS)}), {_LONGEST_READ})"
