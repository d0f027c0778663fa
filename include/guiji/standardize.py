"""Rename, trim, normalise, map codes and cast: each declared field as SQL expressions over the staged columns.

The text of a field is normalised first, then cast to its declared type exactly once. What can't be cast exactly is
null and fails the field's ``type`` check; nothing is rounded, guessed or coerced. Columns that a database delivers
in their declared type don't go through text. The expressions stand in layers, so that each is computed once:

``_s<i>`` the staged column · ``_d<i>`` how it was damaged before it came (``damage.py``; 0: not) · ``_t<i>`` its
normalised text (null when empty or damaged) · ``_m<i>`` after the code map ·
``_c<i>`` cast · ``_n<i> _v<i> _r<i>`` what identifiers.py made of it, where that is not "in order as it stands"
(``quality/identify.py``) · ``"<name>"`` the value.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guiji import damage
from guiji.casting import cast_text
from guiji.engine import quote_identifier, quote_text
from guiji.errors import CatalogError, DeliveryRefused

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec, Resource
    from guiji.records import StagedBatch

#: counts in the resource's fingerprint: raise it when a row could be judged or hashed differently than before
VERSION = 2

#: stands between cells that are tested together; a noncharacter, never part of a text
_SEP = "\U0010ffff"
#: blanks at the edges: ASCII, no-break, ideographic and the typographic ones
_EDGES = " \t\r\n\u00a0\u3000\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f"
_EDGE_CLASS = r"[ \t\r\n\x{A0}\x{3000}\x{2000}-\x{200A}\x{202F}\x{205F}]"
_DAMAGED = damage.look_for(_EDGE_CLASS)
_CONTROLS = r"\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F"
#: nothing a reader sees. Joiners and Mongolian selectors are kept in names: they are part of the spelling there
_INVISIBLE_IN_TEXT = rf"[{_CONTROLS}\x{{200B}}\x{{200E}}\x{{200F}}\x{{202A}}-\x{{202E}}\x{{2060}}-\x{{2064}}\x{{FEFF}}]"
_INVISIBLE = (
    rf"[{_CONTROLS}\t\r\n\x{{AD}}\x{{180E}}\x{{200B}}-\x{{200F}}\x{{2028}}-\x{{202E}}\x{{2060}}-\x{{2064}}\x{{FEFF}}]"
)
#: in a key nobody could tell such texts apart: there joiners, soft hyphens and variation selectors go too
_INVISIBLE_IN_KEY = (
    rf"[{_CONTROLS}\x{{AD}}\x{{200B}}-\x{{200F}}\x{{202A}}-\x{{202E}}\x{{2060}}-\x{{2064}}"
    r"\x{FE00}-\x{FE0F}\x{FEFF}]"
)
_FULL_WIDTH = "".join(chr(c) for c in range(0xFF01, 0xFF5F)) + "\u3000"
_HALF_WIDTH = "".join(chr(c - 0xFEE0) for c in range(0xFF01, 0xFF5F)) + " "
#: letters and digits only: full-width punctuation is how Chinese is written
_KEY_FOLD = {chr(c + 0xFEE0): chr(c) for c in range(0x30, 0x7B) if chr(c).isalnum()}
_ZERO_DATE = r"^(0000-\d\d-\d\d|\d{4}-00-\d\d|\d{4}-\d\d-00)"

#: what no date of a public record lies outside of; a field that means more (长期 = 9999-12-31) declares its own bounds
EARLIEST, LATEST = "1800-01-01", "2200-01-01"

#: reference systems in degrees, longitude first: CGCS2000, WGS 84, Xi'an 1980, Beijing 1954
GEOGRAPHIC = ("EPSG:4490", "EPSG:4326", "EPSG:4610", "EPSG:4214")

_BIRTH_TITLES = {"出生日期", "出生年月日", "生日"}
_BIRTH_NAMES = {"birth", "birth_date", "birthday", "date_of_birth", "csrq"}
_SEX_TITLES = {"性别", "性别代码"}


@dataclass(frozen=True)
class Check:
    """One thing that can be said of a row: ``kind`` is the last part of the rule's id, ``condition`` is true when
    it is to be said, ``verdict`` what is then the matter (``failed`` becomes rejected or suspicious by severity)."""

    kind: str
    verdict: str  # failed | suspicious | unjudged | mended
    condition: str


@dataclass(frozen=True)
class Identified:
    """An identifier's text, and the fields that say the same in other words: (role, index, expression)."""

    kind: str
    subject: str
    companions: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True)
class FieldPlan:
    """How one field is made; every expression reads the layer below."""

    spec: FieldSpec
    index: int
    column: str | None  # the staged column; None for a constant or an optional column that is not there
    source: str  # over the staged Parquet
    #: the flag of rows whose text needs cleaning: _nd one-byte characters (codes, numbers, dates), _kd text of a key,
    #: _wd other text; None: not text
    dirty: str | None
    damaged: str | None  # over _s, _od
    text: str | None  # over _s, _d, _nd, _wd, _kd
    mapped: str | None
    cast: str | None
    identified: Identified | None
    value: str
    checks: tuple[Check, ...]

    @property
    def name(self) -> str:
        return quote_identifier(self.spec.name)

    def hashed(self) -> str:
        """The value as text for the row hash: the same in every version of the engine."""
        if self.spec.type == "string":
            text = self.name
        elif self.spec.type == "timestamp":
            text = f"epoch_us({self.name})::VARCHAR"
        elif self.spec.type == "geometry":
            text = f"md5({self.name})"
        else:
            text = f"{self.name}::VARCHAR"
        return f"coalesce({text}, '')"


def plan_fields(resource: Resource, staged: StagedBatch) -> tuple[FieldPlan, ...]:
    """The plan of every declared field, in declared order.

    Raises DeliveryRefused when a required column is not in the package, naming the nearest one that is (F-16), and
    CatalogError when two columns differ in case only.
    """
    from guiji.catalog.models import FieldSpec

    model = resource.model
    _demand_distinct(resource, staged.columns)
    types = dict(zip(staged.columns, staged.types, strict=True))
    spare = [c for c in staged.columns if c not in {f.source_column for f in model.fields}]
    missing: list[str] = []
    plans = []
    companions = _find_companions(model.fields)
    keys = {*model.key, *(name for mapping in model.mappings for name in mapping.key)}
    for i, spec in enumerate(model.fields):
        assert isinstance(spec, FieldSpec)
        column = next((c for c in (spec.source_column, spec.title, *spec.aliases) if c in types), None)
        if spec.constant is not None:
            column = None
        elif column is None and spec.required:
            near = difflib.get_close_matches(spec.source_column, spare, n=1, cutoff=0.5)
            missing.append(f"“{spec.source_column}”" + (f"（是否写成了“{near[0]}”？）" if near else ""))
        plan = _plan_field(spec, i, column, types.get(column or "", "string"), companions, spec.name in keys)
        plans.append(_place(plan, resource.city_bounds) if spec.type == "geometry" else plan)
    if missing:
        raise DeliveryRefused(
            f"{model.name}：缺少必需的列 {'、'.join(missing)}。现有数据继续有效；请补上这些列后重新提供。",
            rule_id="delivery.missing_column",
        )
    return tuple(plans)


def _demand_distinct(resource: Resource, columns: Sequence[str]) -> None:
    """The engine does not tell upper from lower case in names: of two such columns one would be read twice."""
    seen: dict[str, str] = {}
    for column in columns:
        other = seen.setdefault(column.lower(), column)
        if other != column:
            raise CatalogError(
                f"{resource.path}: the columns {other!r} and {column!r} of {resource.id} differ in case only. "
                "Nothing was judged; rename one of them in the source's view."
            )


def dirty_flags(plans: Sequence[FieldPlan]) -> dict[str, tuple[str, str]]:
    """For each kind of text: name of the flag -> (expression of the cells side by side, pattern of what is not clean).

    Most cells are clean. They are tested together, once per row, and only rows that fail are normalised cell by cell.
    """
    edge = rf"(^|\x{{10FFFF}}){_EDGE_CLASS}|{_EDGE_CLASS}(\x{{10FFFF}}|$)"
    patterns = {
        "_nd": r"[^ -~\x{10FFFF}]|(^|\x{10FFFF}) | (\x{10FFFF}|$)",
        "_kd": f"{_INVISIBLE_IN_KEY}|[{''.join(_KEY_FOLD)}]|{edge}",
        "_wd": f"{_INVISIBLE_IN_TEXT}|{edge}",
    }
    found = {}
    for flag, pattern in patterns.items():
        cells = [f"_s{p.index}" for p in plans if p.dirty == flag]
        if cells:
            # what may be damaged is looked for in the same pass over the text
            found[flag] = (f"concat_ws({quote_text(_SEP)}, {', '.join(cells)})", f"{pattern}|{_DAMAGED}")
    return found


def damaged_flag(flags: Sequence[str]) -> str:
    """Whether a row may hold a damaged cell, over these flags and their cells side by side: few rows are looked at."""
    tests = [f"CASE WHEN {flag} THEN regexp_matches({flag}c, {quote_text(_DAMAGED)}) ELSE false END" for flag in flags]
    return f"({' OR '.join(tests)})"


def _find_companions(fields: Sequence[FieldSpec]) -> dict[str, tuple[tuple[str, int, str], ...]]:
    """What the row says elsewhere about the holder of its identifier, by identifier; only where it is beyond doubt.

    ``birth`` and ``sex`` beside the one citizen id of a resource, ``credit_code`` beside its one registration number.
    """
    found: dict[str, tuple[tuple[str, int, str], ...]] = {}

    def only(chosen: list[int]) -> int | None:
        return chosen[0] if len(chosen) == 1 else None

    def text_of(i: int) -> str:
        return f"_m{i}" if fields[i].code_map.fixable or fields[i].code_map.ignored else f"_t{i}"

    if only([i for i, f in enumerate(fields) if f.identifier == "citizen_id"]) is not None:
        dated = [i for i, f in enumerate(fields) if f.type in ("date32", "timestamp")]
        birth = only([i for i in dated if fields[i].title in _BIRTH_TITLES or fields[i].name in _BIRTH_NAMES])
        texts = [i for i, f in enumerate(fields) if f.type == "string"]
        sex = only([i for i in texts if fields[i].codes == "sex" or fields[i].title in _SEX_TITLES])
        found["citizen_id"] = tuple(
            c
            for c in (
                ("birth", birth, f"_c{birth}::DATE") if birth is not None else None,
                ("sex", sex, text_of(sex)) if sex is not None else None,
            )
            if c is not None
        )
    if only([i for i, f in enumerate(fields) if f.identifier == "registration_number"]) is not None:
        credit = only([i for i, f in enumerate(fields) if f.identifier == "credit_code" and f.type == "string"])
        if credit is not None:
            found["registration_number"] = (("credit_code", credit, text_of(credit)),)
    return found


def _plan_field(
    spec: FieldSpec,
    i: int,
    column: str | None,
    arrow_type: str,
    companions: dict[str, tuple[tuple[str, int, str], ...]],
    in_key: bool,
) -> FieldPlan:
    kind = "string" if column is None else _kind(arrow_type)
    if spec.constant is not None:
        source = quote_text(spec.constant)
    elif column is None:
        source = "NULL::VARCHAR"
    else:
        source = quote_identifier(column)
        if kind == "other":
            source, kind = f"{source}::VARCHAR", "string"
    checks: list[Check] = []
    direct = _cast_directly(spec, kind, f"_s{i}") if kind != "string" else None
    text: str | None
    mapped: str | None
    cast: str | None
    dirty: str | None
    damaged: str | None = None
    spoilt: list[str] = []
    if direct is not None:
        text = mapped = dirty = None
        given = f"_s{i} IS NOT NULL"
        cast = direct
        value = f"_c{i}"
    else:
        floating = 0
        if kind == "float":
            floating = _float_digits(arrow_type) if spec.type == "string" else 0
            source, kind = _float_as_text(source, "16777216" if floating == 8 else "1e15"), "string"
        elif kind != "string":
            source, kind = f"{source}::VARCHAR", "string"
        narrow = bool(spec.identifier or spec.codes or spec.code_map.fixable or spec.code_map.ignored) or (
            spec.type not in ("string", "geometry")
        )
        dirty = "_nd" if narrow else "_kd" if in_key and spec.type == "string" else "_wd"
        clean = _clean(f"_s{i}", dirty)
        if column is not None:
            judged = damage.judge_cell(clean, spec, floating)
            damaged = judged if floating else f"CASE WHEN _od THEN {judged} ELSE 0 END"
            for kind_of_damage in damage.list_kinds(spec, floating):
                spoilt.append(f"_d{i} = {damage.KINDS[kind_of_damage]}")
                checks.append(Check(kind_of_damage, "failed", spoilt[-1]))
        text = _normalise(f"_s{i}", clean, dirty, i if damaged else None, spec)
        mapped = _map_codes(spec, f"_t{i}")
        given = f"_t{i} IS NOT NULL"
        m = f"_m{i}" if mapped else f"_t{i}"
        cast = None if spec.type == "string" else cast_text(spec, m)
        value = m if cast is None else f"_c{i}"
        checks.append(
            Check(
                _kind_of_text(spec),
                "mended",
                f"CASE WHEN {dirty} THEN _t{i} IS NOT NULL AND trim(_s{i}, {quote_text(_EDGES)}) <> _t{i} ELSE false END",
            )
        )
        if mapped:
            written = [*spec.code_map.fixable, *spec.code_map.ignored]
            if written:
                checks.append(Check("code", "mended", f"coalesce(_t{i} IN ({_texts(written)}), false)"))
        if spec.codes:
            checks.append(Check("code", "failed", f"coalesce({m} NOT IN ({_texts(_codes_of(spec))}), false)"))
    identified = None
    if spec.identifier:
        subject = value if spec.type == "string" else f"{value}::VARCHAR"
        identified = Identified(spec.identifier, subject, companions.get(spec.identifier, ()))
        value = f"coalesce(_n{i}, {subject})"
        checks += [
            Check("identifier", "failed", f"coalesce(_v{i} = 1, false)"),
            Check("identifier", "suspicious", f"coalesce(_v{i} = 2, false)"),
            Check("identifier", "unjudged", f"coalesce(_v{i} = 3, false)"),
            Check("identifier", "mended", f"coalesce(_n{i} <> {subject}, false)"),
        ]
    name = quote_identifier(spec.name)
    lost = "false"
    if cast is not None:
        lost = f"(_c{i} IS NULL AND {given}{_not_ignored(spec, i)})"
        zero = "false"
        if spec.type in ("date32", "timestamp") and text is not None:
            zero = f"CASE WHEN _c{i} IS NULL AND {given} THEN regexp_matches(_t{i}, {quote_text(_ZERO_DATE)}) ELSE false END"
            checks.append(Check("type", "mended", zero))
            lost = f"({lost} AND NOT {zero})"
        checks.append(Check("geometry" if spec.type == "geometry" else "type", "failed", lost))
    if not spec.nullable:
        whole = f" AND _d{i} = 0" if damaged else ""
        checks.append(Check("required", "failed", f"({name} IS NULL AND NOT {lost}{whole})"))
    if spec.length is not None:
        subject = name if spec.type == "string" or text is None else f"_t{i}"
        checks.append(Check("length", "failed", f"coalesce(length({subject}::VARCHAR) > {spec.length}, false)"))
    if spec.pattern is not None:
        subject = name if spec.type == "string" or text is None else f"_t{i}"
        checks.append(
            Check(
                "pattern",
                "failed",
                f"NOT coalesce(regexp_full_match({subject}::VARCHAR, {quote_text(spec.pattern)}), true)",
            )
        )
    if bounds := _bounds(spec):
        checks.append(Check("range", "failed", f"coalesce({' OR '.join(f'{name} {b}' for b in bounds)}, false)"))
    return FieldPlan(
        spec=spec,
        index=i,
        column=column,
        source=source,
        dirty=dirty,
        damaged=damaged,
        text=text,
        mapped=mapped,
        cast=cast,
        identified=identified,
        value=value,
        checks=tuple(checks),
    )


def _place(plan: FieldPlan, city: tuple[float, float, float, float] | None) -> FieldPlan:
    """The plan of a geometry that must lie in a box: its own, else the city's where its system has degrees (F-46)."""
    box = tuple(plan.spec.bounds) if plan.spec.bounds else city if plan.spec.crs in GEOGRAPHIC else None
    if box is None or plan.cast is None:
        return plan
    where = f"guiji_place({plan.value}, {', '.join(repr(float(b)) + '::DOUBLE' for b in box)})"
    checks = (
        Check("bounds", "failed", f"coalesce({where} = 1, false)"),
        Check("axis_order", "failed", f"coalesce({where} = 2, false)"),
    )
    return replace(plan, checks=(*plan.checks, *checks))


def _kind_of_text(spec: FieldSpec) -> str:
    """The rule that a cleaned text is counted under."""
    if spec.identifier:
        return "identifier"
    if spec.codes:
        return "code"
    return "text" if spec.type in ("string", "geometry") else "type"


def _kind(arrow_type: str) -> str:
    """string, int, float, decimal, bool, date, timestamp, binary or other."""
    t = arrow_type.lower()
    if t in ("string", "large_string", "utf8", "large_utf8", "string_view", "null") or t.startswith("dictionary"):
        return "string"
    for prefix, kind in (
        ("int", "int"),
        ("uint", "int"),
        ("float", "float"),
        ("double", "float"),
        ("halffloat", "float"),
        ("decimal", "decimal"),
        ("bool", "bool"),
        ("date", "date"),
        ("timestamp", "timestamp"),
        ("binary", "binary"),
        ("large_binary", "binary"),
        ("fixed_size_binary", "binary"),
    ):
        if t.startswith(prefix):
            return kind
    return "other"


def _cast_directly(spec: FieldSpec, kind: str, s: str) -> str | None:
    """The value from a column that already has a type; None when it must go through text to be exact.

    Texts, codes and identifiers always go through text: they are normalised and looked up there.
    """
    if spec.codes or spec.identifier or spec.code_map.fixable or spec.code_map.ignored or spec.null_tokens:
        return None
    if spec.type == "int64" and kind == "int":
        return f"try_cast({s} AS BIGINT)"
    if spec.type == "float64" and kind in ("int", "float", "decimal"):
        return f"CASE WHEN isfinite({s}::DOUBLE) THEN {s}::DOUBLE END"
    if spec.type == "bool" and kind == "bool":
        return s
    if spec.type == "date32" and kind in ("date", "timestamp"):
        return f"CASE WHEN isfinite({s}) THEN {s}::DATE END"
    if spec.type == "timestamp" and kind in ("date", "timestamp"):
        return f"CASE WHEN isfinite({s}) THEN {s}::TIMESTAMPTZ END"
    if spec.type == "geometry" and kind == "binary":
        return f"guiji_wkb_binary({s})"
    return None


def _float_digits(arrow_type: str) -> int:
    """How many digits before the point a whole number of this type has at least once it may have lost some."""
    return 16 if arrow_type.lower().startswith("double") else 8


def _float_as_text(source: str, limit: str) -> str:
    """A float as text: whole numbers without a fraction; from ``limit`` a float no longer holds what was meant
    (F-19), so that what is left is a text no check accepts as a number or identifier."""
    return (
        f"CASE WHEN {source} = trunc({source}) AND abs({source}) < {limit} THEN {source}::BIGINT::VARCHAR "
        f"ELSE {source}::VARCHAR END"
    )


def _clean(s: str, dirty: str) -> str:
    """``s`` without what nobody sees and without blanks at its edges."""
    invisible = {"_nd": _INVISIBLE, "_kd": _INVISIBLE_IN_KEY, "_wd": _INVISIBLE_IN_TEXT}[dirty]
    if dirty == "_nd":
        s = f"translate({s}, {quote_text(_FULL_WIDTH)}, {quote_text(_HALF_WIDTH)})"
    elif dirty == "_kd":
        s = f"translate({s}, {quote_text(''.join(_KEY_FOLD))}, {quote_text(''.join(_KEY_FOLD.values()))})"
    return f"trim(regexp_replace({s}, {quote_text(invisible)}, '', 'g'), {quote_text(_EDGES)})"


def _normalise(s: str, clean: str, dirty: str, damaged: int | None, spec: FieldSpec) -> str:
    spoilt = "" if damaged is None else f"WHEN _d{damaged} > 0 THEN NULL "
    text = f"nullif(CASE {spoilt}WHEN {dirty} THEN {clean} ELSE {s} END, '')"
    if spec.null_tokens:
        return f"CASE WHEN {text} IN ({_texts(spec.null_tokens)}) THEN NULL ELSE {text} END"
    return text


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


def _texts(values: Sequence[str]) -> str:
    return ", ".join(quote_text(v) for v in values)
