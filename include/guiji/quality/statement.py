# ruff: noqa: S608 - text reaches SQL through quote_identifier and quote_text only
"""One SQL statement that standardises and judges every row of a package, in one pass.

What it gives per row: the typed fields; ``_row_no _origin _line``; ``_row_hash``; the raw hashes of rows that are in
order in every respect (null else); the fields that are accepted in doubt (``_suspect``); which signals the row raised (``_mask_<k>``, 60 bits each); and, only where it
raised any, its staged cells as JSON (``_staged``) and the reasons of its identifiers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guiji import damage
from guiji.engine import quote_identifier, quote_text, render_expression
from guiji.errors import CatalogError
from guiji.limits import LARGEST_KEY
from guiji.quality import rules as r
from guiji.standardize import FieldPlan, clean_cells, damaged_flag, dirty_flags, find_garbled
from guiji.standardize.survey import SURVEYED, said_by, verdict_of
from guiji.structure import NUL

if TYPE_CHECKING:
    from guiji.catalog.models import Resource
    from guiji.records import StagedBatch

BITS = 60
CLOCK_SKEW_MINUTES = 10


@dataclass(frozen=True)
class Signal:
    """A rule's verdict on a row, and its bit in the masks."""

    rule_id: str
    verdict: str  # rejected | suspicious | unjudged | mended
    condition: str
    bit: int
    #: a broken rule counts in ``RuleResult.failed`` (a mend, a doubt and an open question don't)
    breach: bool

    @property
    def mask(self) -> str:
        return f"_mask_{self.bit // BITS}"

    @property
    def value(self) -> int:
        return 1 << (self.bit % BITS)


def list_signals(
    resource: Resource, plans: Sequence[FieldPlan], rules: Sequence[r.RuleDefinition]
) -> tuple[Signal, ...]:
    """Everything that can be said of a row, in the order of the rules."""
    model = resource.model
    severity = {rule.rule_id: rule.severity for rule in rules}
    key = set(model.key)
    alive = " AND NOT _tomb" if model.tombstone else ""
    found: list[tuple[str, str, str, bool]] = [
        (NUL, "rejected", "_nul", True),
        (r.KEY_BLANK, "rejected", _blank_key(resource, plans), True),
    ]
    if looked_up := r.list_looked_up(model):
        sizes = " + ".join(f"coalesce(strlen({quote_identifier(name)}), 0)" for name in looked_up)
        found.append((r.KEY_TOO_LONG, "rejected", f"({sizes} > {LARGEST_KEY})", True))
    if r.cursor_column(model):
        found.append((r.CURSOR_BLANK, "rejected", "(_cursor IS NULL OR trim(_cursor) = '')", True))
        found.append((r.CURSOR_FUTURE, "rejected", "_cursor_ahead", True))
    for plan in plans:
        for check in plan.checks:
            if check.kind == "required" and plan.spec.name in key:
                continue
            rule_id = f"{plan.spec.name}.{check.kind}"
            # a damaged cell has no value: its row is rejected whatever the field's severity
            warns = check.kind not in damage.KINDS and severity.get(rule_id, plan.spec.severity) != "reject"
            failed = "suspicious" if warns else "rejected"
            verdict = failed if check.verdict == "failed" else check.verdict
            exempt = "" if plan.spec.name in key else alive
            found.append((rule_id, verdict, f"({check.condition}){exempt}", check.verdict == "failed"))
    names = [f.name for f in model.fields]
    for rule in model.rules:
        verdict = "rejected" if rule.severity == "reject" else "suspicious"
        found.append((rule.id, verdict, f"NOT coalesce({render_expression(rule.expr, names)}, true){alive}", True))
    return tuple(
        Signal(rule_id, verdict, cond, bit, breach) for bit, (rule_id, verdict, cond, breach) in enumerate(found)
    )


def mask_columns(signals: Sequence[Signal]) -> list[str]:
    return [f"_mask_{k}" for k in range((len(signals) + BITS - 1) // BITS)]


def raw_columns(resource: Resource, plans: Sequence[FieldPlan], staged: StagedBatch) -> list[str]:
    """The staged columns that decide how a row is judged."""
    names = [p.column for p in plans if p.column is not None]
    cursor = r.cursor_column(resource.model)
    if cursor is not None and cursor in staged.columns:
        names.append(cursor)
    return sorted(set(names))


def raw_hashes(columns: Sequence[str]) -> tuple[str, str]:
    """Two hashes, 128 bits together, over the staged columns as they are. Stable within one version of the engine."""
    listed = ", ".join(quote_identifier(c) for c in columns) or "0"
    return f"hash({listed})", f"hash('guiji', {listed})"


def build_statement(
    resource: Resource,
    plans: Sequence[FieldPlan],
    signals: Sequence[Signal],
    staged: StagedBatch,
    source: str,
    identified: str | None,
    surveyed: Mapping[str, str] | None = None,
) -> str:
    """The statement over ``source``, a table expression with the staged columns.

    ``identified``: a table of the rows whose identifiers are not in order as they stand (``quality/identify.py``);
    None where there is no such row. ``surveyed``: by the name of its verdict's column, a table of the rows whose shapes
    are not in order (``quality/survey.py``).
    """
    model = resource.model
    raw = raw_columns(resource, plans, staged)
    h1, h2 = raw_hashes(raw)
    extra = [f"{h1} AS _h1", f"{h2} AS _h2", *(f"{quote_identifier(c)} AS _r_{j}" for j, c in enumerate(raw))]
    extra += [f"{column}" for p in plans if p.identified for column in (f"_n{p.index}", f"_v{p.index}", f"_r{p.index}")]
    if identified is not None:
        source = f"(SELECT * FROM {source} s LEFT JOIN {identified} e USING (_row_no))"
    else:
        none = [
            f"NULL::VARCHAR AS _n{p.index}, 0 AS _v{p.index}, NULL::VARCHAR AS _r{p.index}"
            for p in plans
            if p.identified
        ]
        source = f"(SELECT *, {', '.join(none)} FROM {source})" if none else source
    noted = [(verdict_of(kind, i), said_by(kind, i)) for kind, i in _list_surveyed(plans)]
    extra += [column for pair in noted for column in pair]
    for verdict, words in noted:
        table = (surveyed or {}).get(verdict)
        if table is None:
            source = f"(SELECT *, NULL::TINYINT AS {verdict}, NULL::VARCHAR AS {words} FROM {source})"
        else:
            source = f"(SELECT * FROM {source} s LEFT JOIN {table} e USING (_row_no))"
    cursor = r.cursor_column(model)
    if cursor is not None:
        have = cursor in staged.columns
        extra.append((f"{quote_identifier(cursor)}::VARCHAR" if have else "'-'") + " AS _cursor")
    sql = build_layers(plans, source, extra)
    if cursor is not None:
        limit = quote_text(staged.staged_at.isoformat())
        sql = (
            "SELECT *, coalesce(CASE WHEN regexp_matches(_cursor, '^[0-9]{4}-[0-9]{2}-[0-9]{2}') "
            f"THEN try_cast(_cursor AS TIMESTAMPTZ) > TIMESTAMPTZ {limit} + INTERVAL {CLOCK_SKEW_MINUTES} MINUTE END, false) "
            f"AS _cursor_ahead FROM ({sql})"
        )
    sql = f"SELECT *, {', '.join(f'{p.value} AS {p.name}' for p in plans)} FROM ({sql})"
    if model.tombstone:
        sql = f"SELECT *, coalesce({render_expression(model.tombstone, [f.name for f in model.fields])}, false) AS _tomb FROM ({sql})"
    sql = f"SELECT *, {', '.join(f'{s.condition} AS _b{s.bit}' for s in signals)} FROM ({sql})"
    sql = f"SELECT *, (_broken IS NOT NULL OR {' OR '.join(f'_b{s.bit}' for s in signals)}) AS _any FROM ({sql})"

    out = [p.name for p in plans]
    out += ["_row_no", "_origin", "_line"]
    out.append(f"{_row_hash(plans)} AS _row_hash")
    out += ["CASE WHEN NOT _any THEN _h1 END AS _raw_hash_1", "CASE WHEN NOT _any THEN _h2 END AS _raw_hash_2"]
    for k, name in enumerate(mask_columns(signals)):
        bits = " + ".join(f"CASE WHEN _b{s.bit} THEN {s.value} ELSE 0 END" for s in signals[k * BITS : (k + 1) * BITS])
        # a row the source could not read whole has that one fault; its cells say nothing
        out.append(f"CASE WHEN _any AND _broken IS NULL THEN {bits} ELSE 0 END::BIGINT AS {name}")
    out.append("_broken")
    out.append(f"CASE WHEN _any THEN {_suspect(resource, plans, signals)} END AS _suspect")
    cells = ", ".join(f"{quote_text(c)}, _r_{j}" for j, c in enumerate(raw))
    whole = f"CASE WHEN _broken IS NULL THEN json_object({cells}) ELSE json_object('_raw', _raw) END"
    out.append(f"CASE WHEN _any THEN ({whole})::VARCHAR END AS _staged")
    out.append(f"hash({', '.join(quote_identifier(k) for k in model.key)}) AS _key_hash")
    out += [f"_r{p.index} AS _reason_{p.index}" for p in plans if p.identified]
    out += [f"{said_by(kind, i)} AS _reason_{kind}_{i}" for kind, i in _list_surveyed(plans)]
    if model.tombstone:
        out.append("_tomb")
    return f"/* guiji {resource.id} check */ SELECT {', '.join(out)} FROM ({sql})"


def _list_surveyed(plans: Sequence[FieldPlan]) -> list[tuple[str, int]]:
    """(kind, field) of every check that the survey makes."""
    return [(kind, p.index) for p in plans for kind in SURVEYED if any(c.kind == kind for c in p.checks)]


def build_layers(plans: Sequence[FieldPlan], source: str, extra: Sequence[str] = ()) -> str:
    """The staged columns of ``plans`` cleaned, mapped and cast, beside the system columns, ``_nul`` and ``extra``."""
    layer = ["_row_no, _origin, _line, _broken, _raw", *(f"{p.source} AS _s{p.index}" for p in plans), *extra]
    sql = f"SELECT {', '.join(layer)} FROM {source}"
    flags = dirty_flags(plans)
    if flags:
        # most cells are clean: tested side by side, once per row, and only rows that fail are cleaned cell by cell
        sql = f"SELECT *, {', '.join(f'{cells} AS {flag}c' for flag, (cells, _) in flags.items())} FROM ({sql})"
        tests = [f"regexp_matches({flag}c, {quote_text(pattern)}) AS {flag}" for flag, (_, pattern) in flags.items()]
        sql = f"SELECT *, {', '.join(tests)} FROM ({sql})"
    lists, cleaned = clean_cells(plans)
    if damaged := [f"{p.damaged} AS _d{p.index}" for p in plans if p.damaged]:
        listed, garbled = find_garbled(plans)
        sql = f"SELECT *, {damaged_flag(list(flags))} AS _od FROM ({sql})"
        sql = f"SELECT *, {', '.join([listed, *lists])} FROM ({sql})"
        sql = f"SELECT *, {', '.join([*cleaned, *garbled])} FROM ({sql})"
        sql = f"SELECT *, {', '.join(damaged)} FROM ({sql})"
    elif lists:
        sql = f"SELECT *, {', '.join(cleaned)} FROM (SELECT *, {', '.join(lists)} FROM ({sql}))"
    nul = " OR ".join(f"(CASE WHEN {flag} THEN contains({flag}c, chr(0)) ELSE false END)" for flag in flags) or "false"
    sql = f"SELECT *, {', '.join([f'{nul} AS _nul'] + [f'{p.text} AS _t{p.index}' for p in plans if p.text])} FROM ({sql})"
    mapped = [f"{p.mapped} AS _m{p.index}" for p in plans if p.mapped]
    if mapped:
        sql = f"SELECT *, {', '.join(mapped)} FROM ({sql})"
    cast = [f"{p.cast} AS _c{p.index}" for p in plans if p.cast]
    sql = f"SELECT *, {', '.join(cast)} FROM ({sql})" if cast else sql
    doubts = [f"{p.doubt} AS _e{p.index}" for p in plans if p.doubt]
    return f"SELECT *, {', '.join(doubts)} FROM ({sql})" if doubts else sql


def _blank_key(resource: Resource, plans: Sequence[FieldPlan]) -> str:
    """A key field without a value, unless its value is there and only damaged or of the wrong type (that rule says so)."""
    by_name = {p.spec.name: p for p in plans}
    parts = []
    for name in resource.model.key:
        plan = by_name[name]
        lost = [c.condition for c in plan.checks if c.kind in r.WITHOUT_VALUE and c.verdict == "failed"]
        parts.append(f"({plan.name} IS NULL AND NOT ({' OR '.join(lost)}))" if lost else f"({plan.name} IS NULL)")
    return " OR ".join(parts)


def _suspect(resource: Resource, plans: Sequence[FieldPlan], signals: Sequence[Signal]) -> str:
    """The fields whose values are accepted in doubt, as PostgreSQL writes an array of texts; null where none is.

    Libraries prefer another department's value to one in doubt.
    """
    fields = {rule.rule_id: rule.fields for rule in r.list_rules(resource, plans)}
    by_field: dict[str, list[str]] = {}
    for s in signals:
        if s.verdict == "suspicious":
            # what is told only where a row broke it is about the field that its id names
            for name in fields.get(s.rule_id, (s.rule_id.partition(".")[0],)):
                by_field.setdefault(name, []).append(f"_b{s.bit}")
    if not by_field:
        return "NULL::VARCHAR"
    named = ", ".join(f"CASE WHEN {' OR '.join(bits)} THEN {quote_text(name)} END" for name, bits in by_field.items())
    return f"nullif('{{' || concat_ws(',', {named}) || '}}', '{{}}')"


def _row_hash(plans: Sequence[FieldPlan]) -> str:
    """63 bits of the MD5 over the standardised values, U+001F between them (no text holds one), empty for null."""
    joined = "concat_ws(chr(31), " + ", ".join(p.hashed() for p in plans) + ")"
    return f"(md5_number_lower({joined}) & 9223372036854775807)::BIGINT"


def check_statement(con: object, statement: str, resource: Resource) -> None:
    """Binds the statement without running it. Raises CatalogError when a declared expression doesn't fit its types."""
    import duckdb

    assert isinstance(con, duckdb.DuckDBPyConnection)
    try:
        con.execute("EXPLAIN " + statement.split("*/", 1)[1])
    except (duckdb.BinderException, duckdb.ParserException, duckdb.CatalogException) as exc:
        reason = str(exc).splitlines()[0][:200]
        raise CatalogError(
            f"{resource.path}: the rules of {resource.id} don't fit the types of its fields: {reason}. "
            "Nothing was judged; mend the expression or the type."
        ) from exc
