"""One declared field planned: where its text or typed value comes from, how it is cast, what can be wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guiji import damage, local_time
from guiji.casting import cast_text
from guiji.engine import quote_identifier, quote_text
from guiji.projection import project_box
from guiji.standardize.plan import Check, FieldPlan, Identified
from guiji.standardize.text import EDGES, normalise_text, quote_texts
from guiji.standardize.typed import cast_directly, float_as_text, float_digits, kind_of

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec

_ZERO_DATE = r"^(0000-\d\d-\d\d|\d{4}-00-\d\d|\d{4}-\d\d-00)"

#: what no date of a public record lies outside of; a field that means more (长期 = 9999-12-31) declares its own bounds
EARLIEST, LATEST = "1800-01-01", "2200-01-01"

#: reference systems in degrees, longitude first: CGCS2000, WGS 84, Xi'an 1980, Beijing 1954
GEOGRAPHIC = ("EPSG:4490", "EPSG:4326", "EPSG:4610", "EPSG:4214")


@dataclass(frozen=True)
class _Layers:
    """The expressions of a field up to its cast, in the order they are read; ``given`` is true where a cell said
    anything."""

    source: str
    dirty: str | None
    damaged: str | None
    text: str | None
    mapped: str | None
    cast: str | None
    value: str
    given: str
    checks: tuple[Check, ...]


def plan_field(
    spec: FieldSpec,
    i: int,
    column: str | None,
    arrow_type: str,
    companions: dict[str, tuple[tuple[str, int, str], ...]],
    in_key: bool,
    made: str | None = None,
) -> FieldPlan:
    """The plan of one field, the ``i``th of its resource, from a staged column of this type (None: not there), or from
    ``made``, a text over the staged columns."""
    kind = "string" if column is None else kind_of(arrow_type)
    source = made or _find_source(spec, column)
    if kind == "other":
        source, kind = f"{source}::VARCHAR", "string"
    elif kind == "binary" and spec.type != "geometry":
        source, kind = f"lower(hex({source}))", "string"  # bytes are hexadecimal digits, whatever way they come
    direct = cast_directly(spec, kind, arrow_type, f"_s{i}") if kind != "string" else None
    if direct is not None:
        layers = _Layers(source, None, None, None, None, direct, f"_c{i}", f"_s{i} IS NOT NULL", ())
    else:
        layers = _cast_through_text(spec, i, column, source, kind, arrow_type, in_key)
    value = layers.value
    identified: Identified | None = None
    identifier_checks: tuple[Check, ...] = ()
    if spec.identifier:
        subject = value if spec.type == "string" else f"{value}::VARCHAR"
        identified = Identified(spec.identifier, subject, companions.get(spec.identifier, ()))
        value = f"coalesce(_n{i}, {subject})"
        identifier_checks = _check_identifier(i, subject)
    return FieldPlan(
        spec=spec,
        index=i,
        column=column,
        source=layers.source,
        dirty=layers.dirty,
        damaged=layers.damaged,
        text=layers.text,
        mapped=layers.mapped,
        cast=layers.cast,
        identified=identified,
        value=value,
        checks=(*layers.checks, *identifier_checks, *_check_value(spec, i, layers)),
    )


def find_column(spec: FieldSpec, staged: Collection[str]) -> str | None:
    """The staged column that the field reads; None where there is none."""
    return next((c for c in (spec.source_column, spec.title, *spec.aliases) if c in staged), None)


def join_cells(parts: Sequence[FieldSpec], staged: Collection[str]) -> str:
    """The cells of some fields one after another, without blanks around them; null where all are empty."""
    cells = []
    for part in parts:
        column = None if part.constant is not None else find_column(part, staged)
        cells.append(f"trim(coalesce({_find_source(part, column)}::VARCHAR, ''), {quote_text(EDGES)})")
    return f"nullif(concat({', '.join(cells)}), '')"


def _find_source(spec: FieldSpec, column: str | None) -> str:
    if spec.constant is not None:
        return quote_text(spec.constant)
    return "NULL::VARCHAR" if column is None else quote_identifier(column)


def _cast_through_text(
    spec: FieldSpec, i: int, column: str | None, source: str, kind: str, arrow_type: str, in_key: bool
) -> _Layers:
    """Normalised, mapped to the standard code, then cast once."""
    floating = 0
    if kind == "float":
        floating = float_digits(arrow_type) if spec.type == "string" else 0
        source = float_as_text(source, "16777216" if floating == 8 else "1e15", arrow_type)
    elif kind != "string":
        source = f"{source}::VARCHAR"
    narrow = bool(spec.identifier or spec.codes or spec.code_map.fixable or spec.code_map.ignored) or (
        spec.type not in ("string", "geometry")
    )
    dirty = "_nd" if narrow else "_kd" if in_key and spec.type == "string" else "_wd"
    checks: list[Check] = []
    damaged: str | None = None
    if column is not None:
        judged = damage.judge_cell(f"_k{i}", f"_g{i}", spec, floating)
        damaged = judged if floating else f"CASE WHEN _od THEN {judged} ELSE 0 END"
        checks += [Check(k, "failed", f"_d{i} = {damage.KINDS[k]}") for k in damage.list_kinds(spec, floating)]
    text = normalise_text(i, bool(damaged), spec)
    mapped = _map_codes(spec, f"_t{i}")
    m = f"_m{i}" if mapped else f"_t{i}"
    cast = None if spec.type == "string" else cast_text(spec, m)
    mended = f"_t{i} IS NOT NULL AND trim(_s{i}, {quote_text(EDGES)}) <> _t{i}"
    checks.append(Check(_kind_of_text(spec), "mended", f"CASE WHEN {dirty} THEN {mended} ELSE false END"))
    if mapped:
        written = [*spec.code_map.fixable, *spec.code_map.ignored]
        checks.append(Check("code", "mended", f"coalesce(_t{i} IN ({quote_texts(written)}), false)"))
    if spec.codes:
        checks.append(Check("code", "failed", f"coalesce({m} NOT IN ({quote_texts(_codes_of(spec))}), false)"))
    value = m if cast is None else f"_c{i}"
    return _Layers(source, dirty, damaged, text, mapped, cast, value, f"_t{i} IS NOT NULL", tuple(checks))


def _check_identifier(i: int, subject: str) -> tuple[Check, ...]:
    return (
        Check("identifier", "failed", f"coalesce(_v{i} = 1, false)"),
        Check("identifier", "suspicious", f"coalesce(_v{i} = 2, false)"),
        Check("identifier", "unjudged", f"coalesce(_v{i} = 3, false)"),
        Check("identifier", "mended", f"coalesce(_n{i} <> {subject}, false)"),
    )


def _check_value(spec: FieldSpec, i: int, layers: _Layers) -> list[Check]:
    """What the declared type, presence, length, pattern and bounds say of the value."""
    checks: list[Check] = []
    name = quote_identifier(spec.name)
    lost = "false"
    if layers.cast is not None:
        lost = f"(_c{i} IS NULL AND {layers.given}{_not_ignored(spec, i)})"
        if spec.type in ("date32", "timestamp") and layers.text is not None:
            zero_date = f"regexp_matches(_t{i}, {quote_text(_ZERO_DATE)})"
            zero = f"CASE WHEN _c{i} IS NULL AND {layers.given} THEN {zero_date} ELSE false END"
            checks.append(Check("type", "mended", zero))
            lost = f"({lost} AND NOT {zero})"
        checks.append(Check("geometry" if spec.type == "geometry" else "type", "failed", lost))
    if not spec.nullable:
        whole = f" AND _d{i} = 0" if layers.damaged else ""
        checks.append(Check("required", "failed", f"({name} IS NULL AND NOT {lost}{whole})"))
    as_written = name if spec.type == "string" or layers.text is None else f"_t{i}"
    if spec.length is not None:
        checks.append(Check("length", "failed", f"coalesce(length({as_written}::VARCHAR) > {spec.length}, false)"))
    if spec.pattern is not None:
        matches = f"regexp_full_match({as_written}::VARCHAR, {quote_text(spec.pattern)})"
        checks.append(Check("pattern", "failed", f"NOT coalesce({matches}, true)"))
    if bounds := _bounds(spec):
        checks.append(Check("range", "failed", f"coalesce({' OR '.join(f'{name} {b}' for b in bounds)}, false)"))
    return checks


def place_geometry(plan: FieldPlan, city: tuple[float, float, float, float] | None) -> FieldPlan:
    """The plan of a geometry that must lie in a box: its own, else the city's, brought into its system (F-46)."""
    spec = plan.spec
    box: tuple[float, ...] | None = tuple(spec.bounds) if spec.bounds else city
    if not spec.bounds and city is not None and spec.crs not in GEOGRAPHIC:
        box = project_box(city, spec.crs or "ellipsoid")
    if box is None or plan.cast is None:
        return plan
    where = f"guiji_place({plan.value}, {', '.join(repr(float(b)) + '::DOUBLE' for b in box)})"
    checks = (
        Check("bounds", "failed", f"coalesce({where} = 1, false)"),
        Check("axis_order", "failed", f"coalesce({where} = 2, false)"),
    )
    return replace(plan, checks=(*plan.checks, *checks))


def tell_time(plan: FieldPlan, arrow_type: str, zone: str) -> FieldPlan:
    """The plan of a moment without the times that the clocks of ``zone`` skipped or showed twice (F-08)."""
    i = plan.index
    text = None if plan.text is None else f"_m{i}" if plan.mapped else f"_t{i}"
    checks = list(plan.checks)
    if text is not None:
        cut = f"CASE WHEN _c{i} IS NOT NULL THEN {local_time.is_cut(plan.spec, text)} ELSE false END"
        checks.append(Check(local_time.FRACTION, "mended", cut))
    local = local_time.read_local(plan.spec, text, f"_s{i}", arrow_type)
    if local is None:
        return replace(plan, checks=tuple(checks))
    checks = [replace(c, condition=f"({c.condition} AND _e{i} = 0)") if c.kind == "required" else c for c in checks]
    checks += [Check(kind, "failed", f"_e{i} = {number}") for kind, number in local_time.KINDS.items()]
    return replace(
        plan,
        doubt=local_time.judge_local_time(local, f"_c{i}", zone),
        value=f"CASE WHEN _e{i} = 0 THEN {plan.value} END",
        checks=tuple(checks),
    )


def _kind_of_text(spec: FieldSpec) -> str:
    """The rule that a cleaned text is counted under."""
    if spec.identifier:
        return "identifier"
    if spec.codes:
        return "code"
    return "text" if spec.type in ("string", "geometry") else "type"


def _map_codes(spec: FieldSpec, t: str) -> str | None:
    fixable, ignored = spec.code_map.fixable, spec.code_map.ignored
    if not fixable and not ignored:
        return None
    whens = [f"WHEN {quote_text(written)} THEN {quote_text(standard)}" for written, standard in fixable.items()]
    whens += [f"WHEN {quote_text(written)} THEN NULL" for written in ignored]
    return f"CASE {t} {' '.join(whens)} ELSE {t} END"


def _not_ignored(spec: FieldSpec, i: int) -> str:
    return f" AND _m{i} IS NOT NULL" if spec.code_map.fixable or spec.code_map.ignored else ""


def _codes_of(spec: FieldSpec) -> list[str]:
    from guiji.codes import load_code_table

    assert spec.codes is not None
    return sorted(load_code_table(spec.codes).codes)


def _bounds(spec: FieldSpec) -> list[str]:
    low, high = spec.minimum, spec.maximum
    if spec.type in ("date32", "timestamp"):
        sql_type = "DATE" if spec.type == "date32" else "TIMESTAMPTZ"
        low, high = low if low is not None else EARLIEST, high if high is not None else LATEST
        return [f"< {sql_type} {quote_text(str(low))}", f"> {sql_type} {quote_text(str(high))}"]
    if spec.type in ("geometry", "bool"):
        return []
    found = []
    for sign, bound in (("<", low), (">", high)):
        if bound is not None:
            literal = quote_text(bound) if isinstance(bound, str) else _number(bound)
            if isinstance(bound, str) and spec.type != "string":
                literal = _number(float(bound))
            found.append(f"{sign} {literal}")
    return found


def _number(value: float) -> str:
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
