"""A cleaned text as the declared type of its field, exactly or not at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from guiji.engine import quote_text

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec

#: the end of a time of day in no zone on earth: they lie within 14 hours of UTC
_NO_OFFSET = r"[+-]((1[5-9]|[2-9][0-9])(:?[0-9]{2})?|14:?(0[1-9]|[1-9][0-9])|[0-9]{2}:?[6-9][0-9])$"

#: a fraction of a second of more than six digits
_FINER = r"([^0-9][0-9]{6})[0-9]{1,3}([^0-9]|$)"
_DECIMAL = re.compile(r"decimal128\((\d+),\s*(\d+)\)")
_TRUE = ("true", "t", "1", "y", "yes", "是")
_FALSE = ("false", "f", "0", "n", "no", "否")


def cast_text(spec: FieldSpec, t: str) -> str:
    """``t`` as the declared type, or null when it is not exactly that."""
    if spec.type == "int64":
        return f"CASE WHEN regexp_full_match({t}, '[+-]?[0-9]+(\\.0*)?') THEN try_cast({t} AS BIGINT) END"
    if spec.type == "float64":
        number = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"
        return (
            f"CASE WHEN regexp_full_match({t}, '{number}') AND isfinite(try_cast({t} AS DOUBLE)) "
            f"THEN try_cast({t} AS DOUBLE) END"
        )
    if found := _DECIMAL.fullmatch(spec.type):
        precision, scale = int(found[1]), int(found[2])
        bare = rf"[0-9]{{1,{scale}}}0*" if scale else "0+"
        number = rf"[+-]?([0-9]+(\.[0-9]{{0,{scale}}}0*)?|\.{bare})"
        return f"CASE WHEN regexp_full_match({t}, '{number}') THEN try_cast({t} AS DECIMAL({precision},{scale})) END"
    if spec.type == "bool":
        return f"CASE WHEN lower({t}) IN ({_listed(_TRUE)}) THEN true WHEN lower({t}) IN ({_listed(_FALSE)}) THEN false END"
    if spec.type == "date32":
        if spec.formats:
            return f"({_parse_formats(spec.formats, t, zoned=False)})::DATE"
        return (
            f"CASE WHEN regexp_full_match({t}, '[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}([T ]00:00(:00(\\.0+)?)?)?') "
            f"THEN try_cast(left({t}, 10) AS DATE) END"
        )
    if spec.type == "timestamp":
        if spec.formats:
            return _parse_formats(spec.formats, t, zoned=True)
        iso = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?( ?(Z|[+-]"
        # PostgreSQL writes seconds where the clocks had them: Shanghai was at +08:05:43 until 1900
        iso += r"((0[0-9]|1[0-3])(:?[0-5][0-9](:[0-5][0-9])?)?|14(:?00)?)))?)?"
        return f"CASE WHEN regexp_full_match({t}, '{iso}') THEN try_cast({t} AS TIMESTAMPTZ) END"
    if spec.type == "geometry":
        return f"guiji_{spec.encoding}({t})"
    raise AssertionError(spec.type)


def cast_local(spec: FieldSpec, t: str) -> str:
    """The naive time of day that ``t`` gives for a ``timestamp``; null where ``t`` says its offset itself."""
    if not spec.formats:
        return f"CASE WHEN NOT regexp_matches(substr({t}, 11), '[Z+-]') THEN try_cast({t} AS TIMESTAMP) END"
    # the format that gives the value decides whether there is an offset
    whens = []
    for f in spec.formats:
        naive = "NULL" if "%z" in f else _parse_formats([f], t, zoned=False)
        whens.append(f"WHEN {_parse_formats([f], t, zoned=True)} IS NOT NULL THEN {naive}")
    return f"CASE {' '.join(whens)} END"


def _parse_formats(formats: Sequence[str], t: str, *, zoned: bool) -> str:
    """The first format that fits. A format without separators must fit digit for digit: 2024111 is no date."""
    tries = []
    for f in formats:
        # the engine would round what is finer than a microsecond up
        given = f"regexp_replace({t}, {quote_text(_FINER)}, '\\1\\2')" if "%n" in f else t
        parsed = f"try_strptime({given}, {quote_text(f)})"
        if length := _compact_length(f):
            parsed = f"CASE WHEN length({t}) = {length} THEN {parsed} END"
        if f.endswith("%z"):
            parsed = f"CASE WHEN NOT regexp_matches({t}, {quote_text(_NO_OFFSET)}) THEN {parsed} END"
        tries.append(f"({parsed})::TIMESTAMPTZ" if zoned else f"({parsed})::TIMESTAMP")
    return f"coalesce({', '.join(tries)})"


def _compact_length(form: str) -> int | None:
    """How long a text of ``form`` is, when two of its numbers touch; else None."""
    widths = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2, "y": 2, "j": 3, "I": 2}
    if not re.search(r"%[YmdHMSyj]%[mdHMSj]", form):
        return None
    length = 0
    for part in re.findall(r"%.|.", form):
        if part.startswith("%") and len(part) == 2:
            if part[1] not in widths:
                return None
            length += widths[part[1]]
        else:
            length += 1
    return length


def _listed(values: Sequence[str]) -> str:
    return ", ".join(quote_text(v) for v in values)
