"""Cells whose value was destroyed before they came: shortened by a spreadsheet, an error instead of a value, text that
was decoded wrongly.

What is told here is beyond doubt from the cell alone. A damaged cell has no value and rejects its row, whatever the
field's severity: the text that stands there is not what the department has. What the catalog itself declares (null
tokens, the code map) is never damage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guiji.engine import quote_text
from guiji.misread import MAY_BE_MISREAD, common_characters, pair_up
from guiji.structure import GARBLED, NOT_A_NUMBER, PRECISION_LOST, STRUCTURE

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec

#: last part of the rule's id -> what ``judge_cell`` says of such a cell
KINDS = {"precision_lost": 1, "cell_error": 2, "not_a_number": 3, "garbled": 4}

#: a long number as programs shorten it (1.23457E+11, 1.1E17); 3E12 is no such form by itself: a room may be called so
_SHORTENED = r"-?[0-9](\.[0-9]+[Ee]\+?|[Ee]\+)[0-9]{2,3}"
#: it is one where the field holds nothing but long numbers
_BARE = r"[1-9][Ee][0-9]{2}"
_ERROR = r"#{3,}|#N/A|#(VALUE|REF|NUM|NULL|DIV/0|SPILL|CALC)!|#NAME\?"
_NO_NUMBER = r"[+-]?(nan|inf)"
#: what the second and third byte of a Chinese character in UTF-8 look like, read as Latin-1 or Windows-1252
_TRAIL = (
    r"[\x{80}-\x{BF}\x{152}\x{153}\x{160}\x{161}\x{178}\x{17D}\x{17E}\x{192}\x{2C6}\x{2DC}\x{2013}\x{2014}"
    r"\x{2018}-\x{201A}\x{201C}-\x{201E}\x{2020}-\x{2022}\x{2026}\x{2030}\x{2039}\x{203A}\x{20AC}\x{2122}]"
)
_GB2312 = r"[\x{B0}-\x{F7}][\x{A1}-\x{FE}]"
_COMMON = r"[\x{C0}-\x{D6}][\x{A1}-\x{FE}]"
#: text that was never decoded: two characters in HZ (~{VPND~}), or the switch to another alphabet of ISO 2022
_UNDECODED = r"~\{([!-w][!-~]){2,}~\}|\x1B\$|\x0E([!-~]{2})+\x0F"
#: a letter with an accent and the letter behind it, read as one character of GBK (Müller: M黮ler); a common one may be meant
_ACCENT = f"[A-Za-z]{pair_up(range(0xC0, 0xFF), range(0x61, 0x7B), common_characters())}[a-z]"
#: text decoded wrongly before it came (F-37): the marks of what is lost, two characters of UTF-8 or two of GB2312, one of
#: them common, read as Latin-1 (æµ‹è¯•, ÖÐÎÄ). No language writes such letters in a row
_GARBLED = rf"\x{{FFFD}}|锟斤拷|([ä-é]{_TRAIL}{{2}}){{2}}|{_COMMON}{_GB2312}|{_GB2312}{_COMMON}|{_UNDECODED}|{_ACCENT}"
#: asked only of cells that fit ``MAY_BE_MISREAD``: a function of Python is slow (``quality.functions`` registers it)
MISREAD = "guiji_is_misread"


def look_for(edge: str) -> str:
    """A pattern over cells side by side (U+10FFFF between them) that every row with a damaged text fits.

    ``edge``: the class of blanks that may stand around a text.
    """
    shortened = rf"({_SHORTENED}|{_BARE}){edge}*(\x{{10FFFF}}|$)"
    return rf"(^|\x{{10FFFF}}){edge}*(#[#NVRDSC]|{shortened})|{_GARBLED}|{MAY_BE_MISREAD}"


def list_kinds(spec: FieldSpec, floating: int) -> tuple[str, ...]:
    """How a text of this field can be damaged; ``floating``: digits of the floating type it comes from, 0 for none."""
    if spec.type != "string":
        return ("cell_error",)
    return ("garbled", "precision_lost", "cell_error", *(("not_a_number",) if floating else ()))


def is_garbled(text: str) -> str:
    """SQL: whether a text, with the control characters that belong to what was decoded wrongly, is garbled."""
    misread = f"CASE WHEN regexp_matches({text}, {quote_text(MAY_BE_MISREAD)}) THEN {MISREAD}({text}) ELSE false END"
    return f"(regexp_matches({text}, {quote_text(_GARBLED)}) OR {misread})"


def judge_cell(text: str, garbled: str, spec: FieldSpec, floating: int) -> str:
    """SQL: which of ``KINDS`` the cleaned ``text`` is damaged by; 0 for none. ``garbled``: what ``is_garbled`` says of
    the text before it was cleaned, null where it wasn't asked."""
    declared = [*spec.null_tokens, *spec.code_map.fixable, *spec.code_map.ignored]
    # whole numbers a float still holds are written without a fraction: one with both is beyond its digits
    shortened = _SHORTENED + (rf"|-?[0-9]{{{floating},}}\.[0-9]+" if floating else "")
    patterns = {"precision_lost": shortened, "cell_error": _ERROR, "not_a_number": _NO_NUMBER}
    whens = [f"WHEN {text} IN ({', '.join(map(quote_text, declared))}) THEN 0"] if declared else []
    whens += [
        f"WHEN {garbled} THEN {KINDS[kind]}"
        if kind == "garbled"
        else f"WHEN regexp_full_match({text}, {quote_text(patterns[kind])}) THEN {KINDS[kind]}"
        for kind in list_kinds(spec, floating)
    ]
    if spec.type == "string" and (long := _demand_digits(text, spec)):
        whens.append(f"WHEN regexp_full_match({text}, {quote_text(_BARE)}) AND {long} THEN {KINDS['precision_lost']}")
    return f"CASE WHEN {text} IS NULL THEN 0 {' '.join(whens)} ELSE 0 END"


def _demand_digits(text: str, spec: FieldSpec) -> str:
    """SQL: whether the declared form of the field knows a number like 1E17 written out only; "" where it says nothing
    of it. An identifier is long, a pattern tells the two spellings apart, a length is met exactly."""
    if spec.identifier:
        return "true"
    written_out = f"rpad(substr({text}, 1, 1), TRY_CAST(substr({text}, 3, 2) AS INTEGER) + 1, '0')"
    if spec.pattern is not None:
        pattern = quote_text(spec.pattern)
        return f"regexp_full_match({written_out}, {pattern}) AND NOT regexp_full_match({text}, {pattern})"
    return f"length({written_out}) = {spec.length}" if spec.length and not spec.codes else ""


def say_damage(title: str, kind: str) -> tuple[str, str]:
    """(what is demanded, how it is mended), for the field of this title."""
    if kind == "cell_error":
        return (
            f"“{title}”：单元格不得为错误值（单元格错误，如 #N/A、########）",
            "请改正该单元格的公式；因列宽不足而显示为 ######## 的，请加宽该列后重新导出。",
        )
    rules = {"precision_lost": PRECISION_LOST, "not_a_number": NOT_A_NUMBER, "garbled": GARBLED}
    demand, mend = STRUCTURE[rules[kind]]
    return f"“{title}”：{demand}", mend
