"""Cells whose value was destroyed before they came: shortened by a spreadsheet, an error instead of a value.

What is told here is beyond doubt from the cell alone. A damaged cell has no value and rejects its row, whatever the
field's severity: the text that stands there is not what the department has. What the catalog itself declares (null
tokens, the code map) is never damage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guiji.engine import quote_text
from guiji.structure import NOT_A_NUMBER, PRECISION_LOST, STRUCTURE

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec

#: last part of the rule's id -> what ``judge_cell`` says of such a cell
KINDS = {"precision_lost": 1, "cell_error": 2, "not_a_number": 3}

#: a long number as programs shorten it (1.23457E+11, 1.1E17); 3E12 is no such form by itself: a room may be called so
_SHORTENED = r"-?[0-9](\.[0-9]+[Ee]\+?|[Ee]\+)[0-9]{2,3}"
#: it is one where the field holds nothing but long numbers
_BARE = r"[1-9][Ee][0-9]{2}"
_ERROR = r"#{3,}|#N/A|#(VALUE|REF|NUM|NULL|DIV/0|SPILL|CALC)!|#NAME\?"
_NO_NUMBER = r"[+-]?(nan|inf)"


def look_for(edge: str) -> str:
    """A pattern over cells side by side (U+10FFFF between them) that every row with a damaged text fits.

    ``edge``: the class of blanks that may stand around a text.
    """
    shortened = rf"({_SHORTENED}|{_BARE}){edge}*(\x{{10FFFF}}|$)"
    return rf"(^|\x{{10FFFF}}){edge}*(#[#NVRDSC]|{shortened})"


def list_kinds(spec: FieldSpec, floating: int) -> tuple[str, ...]:
    """How a text of this field can be damaged; ``floating``: digits of the floating type it comes from, 0 for none."""
    if spec.type != "string":
        return ("cell_error",)
    return ("precision_lost", "cell_error", *(("not_a_number",) if floating else ()))


def judge_cell(text: str, spec: FieldSpec, floating: int) -> str:
    """SQL: which of ``KINDS`` the cleaned ``text`` is damaged by; 0 for none."""
    declared = [*spec.null_tokens, *spec.code_map.fixable, *spec.code_map.ignored]
    # whole numbers a float still holds are written without a fraction: one with both is beyond its digits
    shortened = _SHORTENED + (rf"|-?[0-9]{{{floating},}}\.[0-9]+" if floating else "")
    patterns = {"precision_lost": shortened, "cell_error": _ERROR, "not_a_number": _NO_NUMBER}
    whens = [f"WHEN {text} IN ({', '.join(map(quote_text, declared))}) THEN 0"] if declared else []
    whens += [
        f"WHEN regexp_full_match({text}, {quote_text(patterns[kind])}) THEN {KINDS[kind]}"
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
    demand, mend = STRUCTURE[PRECISION_LOST if kind == "precision_lost" else NOT_A_NUMBER]
    return f"“{title}”：{demand}", mend
