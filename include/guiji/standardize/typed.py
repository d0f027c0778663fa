"""Columns that a database delivers in a type of its own: cast without a detour, or brought to an exact text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec


#: writes a single-precision number with the fewest digits that mean it; the engine's own text of 343126.12 is 343126.125
#: (``quality.functions`` registers it)
SINGLE = "guiji_single"


def kind_of(arrow_type: str) -> str:
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


def cast_directly(spec: FieldSpec, kind: str, arrow_type: str, s: str) -> str | None:
    """The value from a column that already has a type; None when it must go through text to be exact.

    Texts, codes and identifiers always go through text: they are normalised and looked up there.
    """
    if spec.codes or spec.identifier or spec.code_map.fixable or spec.code_map.ignored or spec.null_tokens:
        return None
    if spec.type == "int64" and kind == "int":
        return f"try_cast({s} AS BIGINT)"
    if spec.type == "float64" and kind in ("int", "float", "decimal"):
        # a single's 0.1 is 0.10000000149011612 as a double: what was written is in its text
        number = f"({float_as_text(s, '1e15', arrow_type)})" if kind == "float" and not is_double(arrow_type) else s
        return f"CASE WHEN isfinite({s}::DOUBLE) THEN {number}::DOUBLE END"
    if spec.type == "bool" and kind == "bool":
        return s
    if spec.type == "date32" and kind in ("date", "timestamp"):
        return f"CASE WHEN isfinite({s}) THEN {s}::DATE END"
    if spec.type == "timestamp" and kind in ("date", "timestamp") and "[ns" not in arrow_type:
        return f"CASE WHEN isfinite({s}) THEN {s}::TIMESTAMPTZ END"
    if spec.type == "geometry" and kind == "binary":
        return f"guiji_wkb_binary({s})"
    return None


def is_double(arrow_type: str) -> bool:
    """Whether a floating type is of double precision."""
    return arrow_type.lower().startswith("double")


def float_digits(arrow_type: str) -> int:
    """How many digits before the point a whole number of this type has at least once it may have lost some."""
    return 16 if is_double(arrow_type) else 8


def float_as_text(source: str, limit: str, arrow_type: str) -> str:
    """A float as text: whole numbers without a fraction; from ``limit`` a float no longer holds what was meant
    (F-19), so that what is left is a text no check accepts as a number or identifier."""
    text = f"{source}::VARCHAR" if is_double(arrow_type) else f"{SINGLE}({source})"
    # 0.00001 is written 1e-05; 17 digits of what is not smaller than this are within 30 decimals
    small = f"abs({source}) < 0.001 AND abs({source}) >= 1e-13"
    return (
        f"CASE WHEN {source} = trunc({source}) AND abs({source}) < {limit} THEN {source}::BIGINT::VARCHAR "
        f"WHEN {small} THEN rtrim({text}::DECIMAL(38,30)::VARCHAR, '0') "
        f"WHEN {source} <> trunc({source}) THEN {text} ELSE {source}::VARCHAR END"
    )
