"""What a spreadsheet shows for a number or a date under its cell's number format (ECMA-376 part 1, 18.8.30 and 18.8.31).

Only what can be known exactly is told: the zeros of ``000000``, the places of ``0.00``, year and month of a date. Where a
format adds, leaves out or rearranges something that a text field would have to keep (``0000-00-00``, ``"A"000``, a day
without its year), the shown text and the stored number are two things, and nobody here may choose.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache

from guiji.structure import NUMBER_FORMAT

#: before a text that the file itself shows for the cell (ods), instead of a format
AS_SHOWN = "\x00"
#: formats that a file names by number only; 27 to 58 as the Chinese editions have them
BUILT_IN: dict[int, str] = {
    0: "General", 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00", 12: "# ?/?",
    13: "# ??/??", 14: "yyyy/m/d", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM", 19: "h:mm:ss AM/PM",
    20: "h:mm", 21: "h:mm:ss", 22: "yyyy/m/d h:mm", 27: 'yyyy"年"m"月"', 28: 'm"月"d"日"', 29: 'm"月"d"日"',
    30: "m/d/yy", 31: 'yyyy"年"m"月"d"日"', 32: 'h"时"mm"分"', 33: 'h"时"mm"分"ss"秒"', 34: 'h"时"mm"分"',
    35: 'h"时"mm"分"ss"秒"', 36: 'yyyy"年"m"月"', 37: "#,##0", 38: "#,##0", 39: "#,##0.00", 40: "#,##0.00",
    41: "#,##0", 42: "#,##0", 43: "#,##0.00", 44: "#,##0.00", 45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss.0",
    48: "##0.0E+0", 49: "@", 50: 'yyyy"年"m"月"', 51: 'm"月"d"日"', 52: 'yyyy"年"m"月"', 53: 'm"月"d"日"',
    54: 'm"月"d"日"', 55: 'h"时"mm"分"', 56: 'h"时"mm"分"ss"秒"', 57: 'yyyy"年"m"月"', 58: 'm"月"d"日"',
}  # fmt: skip

_LITERAL = "\x01"
#: digits in Chinese: a field that shows no part of a date, and is not rendered
_CHINESE = "\x02"
_TOKEN = re.compile(r'"([^"]*)"?|\\(.?)|[_*](?:.|$)|\[([^\]]*)\]?|(G/通用格式|General|常规)|(.)', re.S | re.I)
#: what stands around a number and takes nothing from it
_HARMLESS = frozenset(" \u00a0\u3000()¥￥$€£+")
_SPLIT = re.compile(r'((?:"[^"]*"?|\\.|[_*].|\[[^\]]*\]?|[^;])*)(?:;|$)', re.S)
_FIELDS = re.compile(r"yyyy|yy|e+|m+|d+|a+|g+|b+|h+|s+|AM/PM|A/P|上午/下午", re.I)
_DIGITS = re.compile(r"-?\d+(?:\.\d+)?")


@lru_cache(maxsize=4096)
def is_telling(code: str) -> bool:
    """True for a format under which the text of a cell may be another than that of its number or its whole date."""
    if code.startswith(AS_SHOWN):
        return True
    if is_date_format(code):
        return not _date_parts(code) >= {"y", "m", "d"}
    return any(_kind(section)[0] != "raw" for section in _sections(code))


def is_date_format(code: str) -> bool:
    """True for a format of dates or times; one that a reader does not take for such shows numbers."""
    return bool(_date_parts(code)) and not code.startswith(AS_SHOWN)


def is_time_format(code: str) -> bool:
    """True for a format that shows a time of day and no part of a date."""
    parts = _date_parts(code)
    return is_date_format(code) and "h" in parts and not parts & {"y", "d"}


def shown_number(value: float, text: str, code: str) -> tuple[str | None, str | None]:
    """(the text that is shown for a number under ``code``, the rule that is broken where it can't be known); ``text`` is
    the number itself, in digits. Where the shown text would be a rounded one, the number stands."""
    if code.startswith(AS_SHOWN):
        shown = code[1:]
        if _DIGITS.fullmatch(shown) and Decimal(shown) == Decimal(text):
            return shown, None
        return None, NUMBER_FORMAT
    sections = _sections(code)
    kind, whole, places = _kind(sections[_section_of(value, len(sections))])
    if kind == "raw":
        return text, None
    if kind == "other":
        return None, NUMBER_FORMAT
    number = Decimal(text)
    digits, _, fraction = format(abs(number), "f").partition(".")
    if len(fraction) > places:
        return (text, None) if whole < 2 else (None, NUMBER_FORMAT)
    said = digits.zfill(whole) + ("." + fraction.ljust(places, "0") if places else "")
    return ("-" + said if number < 0 else said), None


def pad_width(code: str) -> int:
    """The digits to which ``code`` fills up any whole number that is not negative, where that is all it does; else 0."""
    sections = [] if code.startswith(AS_SHOWN) else _sections(code)
    kind, whole, places = _kind(sections[0]) if len(sections) == 1 else ("other", 0, 0)
    return whole if kind == "padded" and not places else 0


def shown_date(value: date, code: str) -> tuple[str | None, str | None]:
    """(the text of a date in a text field, the rule that is broken): ISO 8601 where the whole date is shown; year and
    month as they are shown for a first of the month. A day without its year was a code or a number before (3-1)."""
    if code.startswith(AS_SHOWN):
        shown, parts = code[1:], _parts_shown(value, code[1:])
    else:
        shown, parts = render_date(value, code) or "", _date_parts(code)
    whole = value.date() if isinstance(value, datetime) and value.time() == time(0) else value
    if parts >= {"y", "m", "d"}:
        return str(whole), None
    if parts == {"y", "m"} and whole.day == 1 and not isinstance(whole, datetime) and shown:
        return shown, None
    return None, NUMBER_FORMAT


def shown_time(value: time, code: str) -> tuple[str | None, str | None]:
    """The same of a time of day. Under a format of dates a spreadsheet shows a day before its calendar (1900-01-00), for
    the cell holds 0 or less, or next to it."""
    shows_day = _date_parts(code) & {"y", "d"} or _date_parts(code) == {"m"}
    return (None, NUMBER_FORMAT) if shows_day else (value.isoformat(), None)


def note_shown(value: float | date, shown: str) -> str | None:
    """The mark of a cell whose shown text ``shown`` is another than its value's; None where it says no more."""
    shown = shown.strip()
    if not shown:  # the format hides the value
        return AS_SHOWN
    if not shown.strip("#"):  # a column that is too narrow shows ###
        return None
    if isinstance(value, date):
        return AS_SHOWN + shown if not _parts_shown(value, shown) >= {"y", "m", "d"} else None
    if _DIGITS.fullmatch(shown):
        digits = shown.lstrip("-")
        same = Decimal(shown) == Decimal(f"{value:.15g}")
        padded = len(digits) > 1 and digits[0] == "0" and digits[1] != "."
        # programs that show nothing write a whole number as 2.0
        return AS_SHOWN + shown if padded or (same and "." in shown and shown != repr(value)) else None
    plain = shown.strip("".join(_HARMLESS)).replace(",", "").replace("，", "")
    if re.fullmatch(r"-?\d*(?:\.\d*)?(?:[Ee][+-]?\d+)?\s*%?", plain):
        return None
    return AS_SHOWN + shown


def render_date(value: date, code: str) -> str | None:
    """The text of a date under ``code`` where year, month and day in digits are all that it shows, else None."""
    if code.startswith(AS_SHOWN):
        return code[1:]
    out = []
    for kind, part in _date_tokens(code):
        if kind == "text":
            out.append(part)
            continue
        field = part.lower()
        known: dict[str, str] = {
            "yyyy": f"{value.year:04}", "e": str(value.year), "yy": f"{value.year % 100:02}", "m": str(value.month),
            "mm": f"{value.month:02}", "d": str(value.day), "dd": f"{value.day:02}",
        }  # fmt: skip
        if field not in known:
            return None
        out.append(known[field])
    return "".join(out).strip()


def spell_header(value: date, code: str, is_known: Callable[[str], bool]) -> str:
    """The name that a date in a header stands for: as it is shown, else as the declared names or the pattern know it (a
    first of a month may name its month), else ISO 8601."""
    shown = render_date(value, code) if code else None
    iso = value.isoformat()[:10]
    spellings = [shown] if shown else []
    spellings.append(iso)
    if value.day == 1:
        y, m = value.year, value.month
        spellings += [f"{y}-{m:02}", f"{y}年{m}月", f"{y}年{m:02}月", f"{y}{m:02}", f"{y}/{m:02}", f"{y}/{m}"]
        spellings += [f"{y}.{m:02}", f"{y}.{m}", f"{y}-{m}"]
    return next(filter(is_known, spellings), iso)


# --- reading a format ------------------------------------------------------------------------------------


def _sections(code: str) -> list[str]:
    found = [m.group(1) for m in _SPLIT.finditer(code)]
    return found[:-1] if len(found) > 1 and found[-1] == "" and not code.endswith(";") else found[:4]


def _section_of(value: float, sections: int) -> int:
    if value < 0:
        return 1 if sections > 1 else 0
    return 2 if value == 0 and sections > 2 else 0


@lru_cache(maxsize=4096)
def _kind(section: str) -> tuple[str, int, int]:
    """(raw, padded or other; digits before the point; places behind it) of one section for numbers."""
    core = ""
    for quoted, escaped, bracket, general, char in _TOKEN.findall(section):
        if general:
            core += "G"
        elif bracket:
            if re.match(r"(?i)dbnum|[<>=]|natnum", bracket):
                return "other", 0, 0
            symbol = bracket[1:].partition("-")[0] if bracket.startswith("$") else ""
            core += _LITERAL if symbol.strip("".join(_HARMLESS)) else ""
        elif literal := quoted or escaped:
            core += "".join(c if c in "-" else _LITERAL for c in literal if c not in _HARMLESS)
        elif char and char not in _HARMLESS:
            core += char if char in "0#?.,%eE-@/" else _LITERAL
        elif char == "+" and core[-1:] in ("e", "E"):
            core += "+"
    core = core.strip("-")
    if core in ("G", "@"):
        return "raw", 0, 0
    if m := re.fullmatch(r"#*(0*)(?:\.(0+))?", core):
        whole, places = len(m[1]), len(m[2] or "")
        if places or whole > 1:
            return "padded", whole, places
        return ("raw", 0, 0) if core else ("other", 0, 0)
    if re.fullmatch(r"[#?,]*0?(?:\.[0#?]*)?,*%?(?:[eE][+-][0#]+)?|##0\.0E\+0", core):
        return "raw", 0, 0
    return "other", 0, 0


@lru_cache(maxsize=4096)
def _date_parts(code: str) -> frozenset[str]:
    """Which of y, m, d, h, s a format shows; m beside h or s may be minutes. Empty for a format of numbers."""
    fields = [part.lower() for kind, part in _date_tokens(code) if kind == "field"]
    if any(char in "0#?" for kind, part in _date_tokens(code) if kind == "text" for char in part) and not any(
        f[0] in "ydhs" for f in fields
    ):
        return frozenset()
    return frozenset("y" if f[0] == "e" else "h" if f[0] == "上" else f[0] for f in fields if f[0] in "yemdhs上")


@lru_cache(maxsize=4096)
def _date_tokens(code: str) -> tuple[tuple[str, str], ...]:
    """(field or text, what stands there) of the first section."""
    tokens: list[tuple[str, str]] = []
    bare = ""

    def flush() -> None:
        at = 0
        for m in _FIELDS.finditer(bare):
            if m.start() > at:
                tokens.append(("text", bare[at : m.start()]))
            tokens.append(("field", m.group()))
            at = m.end()
        if at < len(bare):
            tokens.append(("text", bare[at:]))

    for quoted, escaped, bracket, general, char in _TOKEN.findall(_sections(code)[0]):
        if char:
            bare += char
            continue
        flush()
        bare = ""
        if general:
            return ()
        if quoted or escaped:
            tokens.append(("text", quoted or escaped))
        elif re.fullmatch(r"(?i)h+|m+|s+", bracket):
            tokens.append(("field", bracket))
        elif re.match(r"(?i)dbnum|natnum", bracket):
            tokens.append(("field", _CHINESE))
    flush()
    return tuple(tokens)


def _parts_shown(value: date, shown: str) -> frozenset[str]:
    """Which of year, month and day a shown text holds in digits."""
    numbers = [int(n) for n in re.findall(r"\d+", shown)]
    parts = set()
    for part, number in (("y", value.year), ("m", value.month), ("d", value.day)):
        if number in numbers:
            numbers.remove(number)
            parts.add(part)
    if "y" not in parts and len(parts) == 2 and value.year % 100 in numbers:
        parts.add("y")
    if not parts and re.fullmatch(r"\d{8}", shown.strip()) and shown.strip() == f"{value:%Y%m%d}":
        parts = {"y", "m", "d"}
    return frozenset(parts)
