"""What of a cursor is read that the database takes for no moment: a text or a number, of whatever form its values have.

Only the values can tell. A text is trusted as far as it is written like the others: what is not (``待定``, another
separator, an hour without its zero) counts as no cursor at all, so it is read every time and is never a watermark.
Digits alone are moments only where they lie near the clock, for a running number may look the same. What can't be told
to sort is refused: rows would be lost without a word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from guiji.errors import CatalogError
from guiji.sources.cursor_form import CursorForm, find_form

if TYPE_CHECKING:
    from guiji.sources.database import Reading

#: expressions, aggregates over the table that give the column's values or numbers -> their texts
Fetch = Callable[[Sequence[str], Sequence[str]], Sequence[str | None]]

_TEXT = re.compile("char|text|string", re.I)
_NUMBER = re.compile(
    r"(tiny|small|medium|big)?(int|integer|serial)\d?\b|num(ber|eric)\b|dec(imal)?\b|float\d?\b|double|real\b|binary_",
    re.I,
)
#: digits that mean a moment in a number, beside milliseconds
_NUMBER_FORMS = ("%Y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S")
_BEFORE, _AFTER = timedelta(days=3 * 365), timedelta(days=1)

_UNEQUAL = re.compile(
    r"\d{4}([-/.年])(?:\d([-/.月]\d{1,2}|(?!\d))|\d\d[-/.月]\d(?!\d)"
    r"|\d\d[-/.月]\d\d(?:日?[T ]|日)(?:\d(?!\d)|\d\d\D\d(?!\d)|\d\d[:时]\d\d\D\d(?!\d))).*"
)
#: moments that don't sort, or of which it can't be told: day or month first, names of months; what has no digit
_DOUBTFUL = re.compile(
    r"\D*|.*(\d:\d|\d[月日时点秒]).*|\d{1,2}([-/. ])\d{1,2}\2\d{2,4}.*|(19|20)\d\d([-/.])\d{1,2}\4\d{1,2}(?!\d).*"
    r"|(\d{1,2}[ -])?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[ -]+\d{1,4}\b.*",
    re.I | re.S,
)


def is_text(kind: str) -> bool:
    return _TEXT.search(kind) is not None


def is_number(kind: str) -> bool:
    return _NUMBER.match(kind) is not None


@dataclass(frozen=True)
class Column:
    """A cursor in SQL: the quoted column, its value as a text (None: it is none), whether it is a number."""

    name: str
    text: str | None
    is_number: bool
    length: str = "LENGTH"

    @property
    def blank(self) -> str:
        """The condition that a text is none; in Oracle an empty text is NULL."""
        trimmed = f"LTRIM(RTRIM({self.text or self.name}))"
        return f"{trimmed} IS NULL OR {trimmed} = ''"


@dataclass(frozen=True)
class Bounds:
    """What of a cursor is read, in the cursor's own form; None: no bound."""

    low: str | None
    high: str | None
    now: str | None  # a cursor beyond it is in the future
    alike: str | None = None  # SQL, true of a cursor that is written like the others; the rest counts as none
    example: str = ""  # how they are written


def plan_bounds(reading: Reading, column: Column, fetch: Fetch) -> Bounds:
    """The bounds of a read. Raises CatalogError for a cursor that does not sort as its values follow one another.

    A window of a cursor that is no moment at all (a running number) can't be told: all is read then, and noted."""
    if column.text is not None:
        form, low = _plan_text(reading, column, column.text, fetch)
    elif column.is_number:
        form, low = _find_number_form(reading, column.name, fetch), reading.watermark
    else:
        form, low = None, reading.watermark
    now = form.write(reading.now) if form else None
    alike = _is_alike(column, form, now) if form and now else None
    if (window := reading.window) is not None:
        if form is not None:
            return Bounds(form.write(window.start), form.write(window.end), now, alike)
        reading.report.notes.append(f"{reading.what}：增量字段不是时间，无法只读一段时间，已读取全部")
        return Bounds(None, None, None)
    written = find_form((low,), reading.zone)
    if low is not None and form is not None and written is not None and form.is_alike(written):
        if written.read(low) > reading.now:  # of a time when it was not known to be a moment
            low = None
        elif reading.source.lag_seconds or form.suffix:
            low = written.move_back(low, timedelta(seconds=reading.source.lag_seconds))
    elif form is not None and column.text is not None:
        low = None  # written otherwise than what is there now: nothing can be said of what lies above it
    return Bounds(low, None, now, alike, "" if form is None else form.write(reading.now))


def _is_alike(column: Column, form: CursorForm, now: str) -> str:
    """SQL, true where the cursor is written as ``form``; a number has as many digits (0 often stands for none)."""
    if column.text is not None:
        return form.condition(f"RTRIM({column.text})")
    return f"{column.name} BETWEEN {10 ** (len(now) - 1)} AND {10 ** len(now) - 1}"


def _plan_text(reading: Reading, column: Column, text: str, fetch: Fetch) -> tuple[CursorForm | None, str | None]:
    """(form, watermark as far as it can be used)"""
    day, milliseconds = (reading.now + _AFTER).astimezone(reading.zone).strftime("%Y%m%d"), _milliseconds(reading)

    def among(condition: str) -> str:
        return f"CASE WHEN {text} >= '1' AND {condition} THEN {text} END"

    filled = f"CASE WHEN {column.blank} THEN NULL ELSE {{}} END".format
    three = "'3'"
    # the years 1000 to 2999 lie between 1 and 3 in the order of any language
    values = [f"MAX({among(f'{text} < {end}')})" for end in (three, f"'{day}'", f"'{milliseconds}'")]
    values += [f"MIN({among(f'{text} < {three}')})", f"MAX({filled(text)})", f"MIN({filled(text)})"]
    size = f"{column.length}(RTRIM({text}))"
    *samples, shortest, longest = fetch(values, [f"MIN({filled(size)})", f"MAX({filled(size)})"])
    found = [s.rstrip() for s in samples if s is not None]
    for one in found:
        _refuse_unequal(reading, one)
    forms = _find_forms(reading, [*found, *([reading.watermark] if reading.watermark else [])])
    form = forms[0] if forms else None
    if len(forms) > 1:  # what most rows have
        counts = [f"SUM(CASE WHEN {one.condition(f'RTRIM({text})')} THEN 1 ELSE 0 END)" for one in forms]
        rows = [int(count or 0) for count in fetch([], counts)]
        form = forms[rows.index(max(rows))]
    low = reading.watermark
    if form is None and found:
        if shortest != longest or any(_DOUBTFUL.fullmatch(one) for one in found):
            raise _refusal(reading, "holds texts of unequal length, or moments in a form that does not sort")
        if low is not None and len(low.rstrip()) != len(found[0]):
            low = None
    return form, low


def _find_forms(reading: Reading, samples: Sequence[str]) -> list[CursorForm]:
    """The forms of the samples, those with separators first; of digits only those that lie near the clock."""
    forms: list[CursorForm] = []
    for one in samples:
        form = find_form((one,), reading.zone)
        if form is None or (form.is_compact and not _is_near(reading, form.read(one))):
            continue
        if not any(form.is_alike(other) for other in forms):
            forms.append(form)
    return sorted(forms, key=lambda form: form.is_compact)


def _find_number_form(reading: Reading, name: str, fetch: Fetch) -> CursorForm | None:
    newest, oldest = (_whole(value) for value in fetch([f"MAX({name})", f"MIN({name})"], []))
    if newest is None or len(newest) < 8:
        return None
    forms = _find_forms(reading, [newest])
    if forms and (len(newest) > 8 or (oldest is not None and len(oldest) == 8)):
        return forms[0]
    # the newest may be an accident: the newest that lies near the clock tells
    start, end = reading.now - _BEFORE, reading.now + _AFTER
    written = [CursorForm(parts, "", 0, reading.zone) for parts in (*_NUMBER_FORMS, None)]
    spans = [(form.write(start), form.write(end)) for form in written]
    spans.append((spans[2][0] + "000", spans[2][1] + "999"))
    values = [f"MAX(CASE WHEN {name} BETWEEN {low} AND {high} THEN {name} END)" for low, high in spans]
    *found, smallest = (_whole(v) for v in fetch([*values, f"MIN(CASE WHEN {name} > 0 THEN {name} END)"], []))
    if smallest is None or len(smallest) != 8:
        found[0] = None  # a running number on its way through twenty millions
    forms = _find_forms(reading, [value for value in reversed(found) if value is not None])
    return forms[0] if forms else None


def _whole(value: str | None) -> str | None:
    return None if value is None else re.sub(r"\.0*$", "", value.strip())


def _milliseconds(reading: Reading) -> int:
    return int((reading.now + _AFTER).timestamp() * 1000)


def _is_near(reading: Reading, moment: datetime) -> bool:
    return reading.now - _BEFORE <= moment <= reading.now + _AFTER


def _refuse_unequal(reading: Reading, text: str) -> None:
    if _UNEQUAL.fullmatch(text):
        raise _refusal(reading, "holds moments as text without leading zeros")


def _refusal(reading: Reading, why: str) -> CatalogError:
    return CatalogError(
        f"{reading.resource.id}: cursor {reading.source.cursor!r} of {reading.what} {why}, which don't sort as they "
        "follow one another: rows would be lost. Nothing was read; ask the department for a cursor that sorts, or "
        "declare load: snapshot.",
        resource_id=reading.resource.id,
    )


def note_watermark(reading: Reading, newest: str | None, future: object, strange: object, bounds: Bounds) -> None:
    """Reports what was found in the snapshot: the new watermark, and how many rows can't move it."""
    if newest is not None:
        reading.report.cursor_max = newest
    if count := int(str(future or 0)):
        reading.report.notes.append(f"{reading.what}：{count} 行的增量字段晚于采集时间，未推进增量位置")
    if count := int(str(strange or 0)):
        reading.report.notes.append(
            f"{reading.what}：{count} 行的增量字段与其余各行写法不同（应形如 {bounds.example}），每次采集都会读取"
        )
