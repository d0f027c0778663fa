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

#: a long number as programs shorten it (1.23457E+11, 1.1E17); 3E12 is no such form: a room may be called so
_SHORTENED = r"-?[0-9](\.[0-9]+[Ee]\+?|[Ee]\+)[0-9]{2,3}"
_ERROR = r"#{3,}|#N/A|#(VALUE|REF|NUM|NULL|DIV/0|SPILL|CALC)!|#NAME\?"
_NO_NUMBER = r"[+-]?(nan|inf)"


def look_for(edge: str) -> str:
    """A pattern over cells side by side (U+10FFFF between them) that every row with a damaged text fits.

    ``edge``: the class of blanks that may stand around a text.
    """
    shortened = rf"{_SHORTENED}{edge}*(\x{{10FFFF}}|$)"
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
    return f"CASE WHEN {text} IS NULL THEN 0 {' '.join(whens)} ELSE 0 END"


def say_damage(title: str, kind: str) -> tuple[str, str]:
    """(what is demanded, how it is mended), for the field of this title."""
    if kind == "cell_error":
        return (
            f"“{title}”：单元格不得为错误值（单元格错误，如 #N/A、########）",
            "请改正该单元格的公式；因列宽不足而显示为 ######## 的，请加宽该列后重新导出。",
        )
    demand, mend = STRUCTURE[PRECISION_LOST if kind == "precision_lost" else NOT_A_NUMBER]
    return f"“{title}”：{demand}", mend
