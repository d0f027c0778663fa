"""Typed cells of a spreadsheet as text, exactly once; what the spreadsheet has destroyed is named.

A number in a text or identifier column has lost its digits beyond fifteen (精度已丢失, F-19) or its leading zeros
(前导零丢失); a code that was turned into a date is gone, and 2024.1 is no date, but January or October. Such a
cell has no text, only the rule it breaks.
``cell_text`` says what holds for one cell; ``column_text`` says the same of a whole column, many times faster; that some of its
numbers were calculated is only seen there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Any

from guiji.sources.formats.number_format import pad_width, shown_date, shown_number, shown_time
from guiji.sources.formats.sixteenth import is_calculated, says_sixteenth
from guiji.sources.formats.tokenizer import LOST_MARKS, find_flaw
from guiji.structure import LEADING_ZERO_LOST, NOT_A_NUMBER, NUMBER_FOR_DATE, PRECISION_LOST, TURNED_INTO_DATE

if TYPE_CHECKING:
    import pyarrow as pa

    from guiji.catalog.models import FieldSpec

#: a spreadsheet keeps fifteen digits
LOST_FROM = 1e15
_MIDNIGHT = time(0)
_DATES = ("date32", "timestamp")


def cell_text(value: object, field: FieldSpec | None) -> tuple[str | None, str | None]:
    """(a cell's text, the rule it breaks): exactly what the cell says, None for an empty or destroyed one."""
    if isinstance(value, str):
        flaw = find_flaw([value]) if value else None
        return (None, flaw) if flaw else (value or None, None)
    if isinstance(value, bool):
        return ("true" if value else "false"), None
    if isinstance(value, int | float):
        return _number_text(value, field)
    if isinstance(value, datetime | date | time | timedelta):
        if field is not None and (field.codes or field.identifier):
            return None, TURNED_INTO_DATE
        if field is not None and field.formats and isinstance(value, date) and (said := _declared_text(value, field)):
            return said, None
        if isinstance(value, datetime):
            whole = value.time() == _MIDNIGHT and (field is None or field.type != "timestamp")
            return (value.date().isoformat() if whole else value.isoformat(sep=" ")), None
        return (_duration_text(value) if isinstance(value, timedelta) else value.isoformat()), None
    return (None if value is None else str(value)), None


def title_text(value: object) -> str:
    """A cell of a title, header or total line; a destroyed one is blank."""
    return cell_text(value, None)[0] or ""


def is_blank(value: object) -> bool:
    """True for a cell without a value, or with blanks only."""
    return value == "" or (isinstance(value, str) and not value.strip())


def column_text(values: Sequence[Any], field: FieldSpec | None) -> tuple[pa.Array, dict[int, str]]:
    """``cell_text`` of every cell of a column: (their texts, row -> the rule it breaks)."""
    import pyarrow as pa

    kinds = set(map(type, values))
    fast: pa.Array | None = None
    if kinds == {str}:
        fast = _strings(values)
    elif kinds and kinds <= {int, float}:
        fast = _numbers(values, field)
    elif kinds == {bool}:
        fast = pa.array(values, pa.bool_()).cast(pa.string())
    elif kinds == {date} and not (field is not None and (field.codes or field.identifier or field.formats)):
        fast = pa.array(values, pa.date32()).cast(pa.string())
    if fast is not None:
        return fast, {}
    pairs = list(map(cell_text, values, repeat(field)))
    if any(wrong == PRECISION_LOST for _, wrong in pairs) and is_calculated(values):
        pairs = [
            _number_text(v, field, calculated=True) if pair[1] == PRECISION_LOST else pair
            for v, pair in zip(values, pairs, strict=True)
        ]
    return pa.array([text for text, _ in pairs], pa.string()), {i: wrong for i, (_, wrong) in enumerate(pairs) if wrong}


def format_text(
    values: Sequence[Any], text: pa.Array, broken: Mapping[int, str], field: FieldSpec, formats: Mapping[int, str]
) -> tuple[pa.Array, dict[int, str]]:
    """``column_text`` of a text field, ``text`` and ``broken``, as the formats of single cells show it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(formats) == len(values) and not broken and not field.codes and len(set(formats.values())) == 1:
        width = pad_width(next(iter(formats.values())))
        digits = pc.match_substring_regex(text, r"\A[0-9]+\z")
        if width and set(map(type, values)) <= {int, float} and pc.all(digits).as_py():
            return pc.utf8_lpad(text, width, "0"), {}  # the whole column is one list of codes
    texts, wrong = text.to_pylist(), dict(broken)
    for i, code in formats.items():
        value, rule = values[i], wrong.pop(i, None)
        if isinstance(value, bool) or not isinstance(value, int | float | date | time):
            pass
        elif isinstance(value, date):
            texts[i], rule = (None, rule) if rule else shown_date(value, code)
        elif isinstance(value, time):
            texts[i], rule = (None, rule) if rule else shown_time(value, code)
        elif rule not in (PRECISION_LOST, NOT_A_NUMBER):
            said, rule = shown_number(value, _digits(value), code)
            short = said is not None and field.codes and field.length and len(said) < field.length
            texts[i], rule = (None, LEADING_ZERO_LOST) if short else (said, rule)
        if rule:
            wrong[i] = rule
    return pa.array(texts, pa.string()), wrong


def _strings(values: Sequence[str]) -> pa.Array | None:
    """A column of nothing but sound texts; None where one of them is flawed."""
    import pyarrow as pa

    joined = "\n".join(values)
    if "\x00" in joined or any(mark in joined for mark in LOST_MARKS):
        return None
    return pa.array([v or None for v in values] if "" in values else values, pa.string())


def _numbers(values: Sequence[int | float], field: FieldSpec | None) -> pa.Array | None:
    """A column of nothing but numbers that lost nothing; None where a cell needs a closer look."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if field is not None and field.type == "float64":
        return pa.array(list(map(repr, values)), pa.string()) if all(map(math.isfinite, values)) else None
    if field is not None and field.codes and field.length:
        return None
    numbers = np.array(values, np.float64) + 0.0  # no negative zero
    if not bool((np.abs(numbers) < LOST_FROM).all()):  # false for NaN and infinity too
        return None
    whole = numbers.astype(np.int64)
    if bool((whole == numbers).all()):
        return pa.array(whole).cast(pa.string())
    if field is not None and field.type in _DATES:
        return None
    # the shortest text that says the same number; where it needs more than fifteen digits, the rest is noise
    texts = pa.array(numbers).cast(pa.string())
    noisy = pc.or_(pc.greater(pc.binary_length(texts), 15), pc.match_substring(texts, "e"))
    if not pc.any(noisy).as_py():
        return texts
    long = numbers[noisy.to_numpy(zero_copy_only=False)]
    rounded = [f"{v:.15g}" for v in long.tolist()]
    off = long != np.array(rounded, np.float64)
    scale = _scale(field)
    off &= np.abs(long) >= (0 if scale is None else 10.0 ** (14 - scale))
    if any(map(says_sixteenth, long[off].tolist())):
        return None
    return (
        None if any("e" in t for t in rounded) else pc.replace_with_mask(texts, noisy, pa.array(rounded, pa.string()))
    )


@lru_cache(maxsize=65_536)
def _spell(value: date, form: str) -> str | None:
    """``value`` under a strptime format; None where that does not say all of it."""
    if not re.fullmatch(r"(?:[^%]|%-?[YmdHMSfyjbBpI]|%%)*", form):
        return None
    said = value.strftime(form)
    try:
        back = datetime.strptime(said, form.replace("%-", "%"))  # noqa: DTZ007 - a cell has no zone
    except ValueError:
        return None
    return said if back == (value if isinstance(value, datetime) else datetime.combine(value, _MIDNIGHT)) else None


def _declared_text(value: date, field: FieldSpec) -> str | None:
    """A date cell in a field of dates, spelled as the field's formats ask for: it is no text that could be misspelled."""
    return next((said for form in field.formats if (said := _spell(value, form))), None)


def _duration_text(value: timedelta) -> str:
    """A duration in hours (25:30:00), no days; below a day like a time of day."""
    seconds, part = divmod(abs(value) // timedelta(microseconds=1), 1_000_000)
    shown = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" + (f".{part:06}" if part else "")
    return "-" + shown if value < timedelta(0) else shown


def _number_text(
    value: int | float, field: FieldSpec | None, *, calculated: bool = False
) -> tuple[str | None, str | None]:
    if not math.isfinite(value):
        return None, NOT_A_NUMBER
    if field is not None and field.type == "float64":
        return repr(value), None
    if abs(value) >= LOST_FROM:
        return (None, PRECISION_LOST) if field is not None else (repr(value), None)
    if field is not None and field.type in _DATES and value != int(value):
        return None, NUMBER_FOR_DATE
    text = _digits(value)
    if field is not None and _is_cut(value, text, field, calculated):
        return None, PRECISION_LOST
    if field is not None and field.codes and field.length and len(text) < field.length:
        return None, LEADING_ZERO_LOST
    return text, None


def _digits(value: int | float) -> str:
    """A number in digits: fifteen are what a spreadsheet shows and keeps; the rest is binary noise."""
    return str(int(value)) if value == int(value) else format(Decimal(f"{value:.15g}"), "f")


def _is_cut(value: int | float, text: str, field: FieldSpec, calculated: bool) -> bool:
    """True where ``text`` lacks a digit that the field keeps and that somebody wrote."""
    if not says_sixteenth(value, calculated=calculated):
        return False
    scale = _scale(field)
    return scale is None or round(Decimal(repr(value)), scale) != round(Decimal(text), scale)


def _scale(field: FieldSpec | None) -> int | None:
    """Places behind the point that a field of decimals keeps."""
    found = re.fullmatch(r"decimal128\(\s*\d+\s*,\s*(\d+)\s*\)", field.type) if field is not None else None
    return int(found[1]) if found else None
