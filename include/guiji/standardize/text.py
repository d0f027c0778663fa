"""The normalised text of a cell: without what nobody sees, half-width where it is a code, a number or a date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from guiji import damage
from guiji.engine import quote_text
from guiji.standardize.plan import FieldPlan

if TYPE_CHECKING:
    from guiji.catalog.models import FieldSpec

#: stands between cells that are tested together; a noncharacter, never part of a text
_SEP = "\U0010ffff"
#: blanks at the edges: ASCII, no-break, ideographic and the typographic ones
EDGES = " \t\r\n\u00a0\u3000\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f"
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


def _clean(s: str, dirty: str) -> str:
    """``s`` without what nobody sees and without blanks at its edges."""
    invisible = {"_nd": _INVISIBLE, "_kd": _INVISIBLE_IN_KEY, "_wd": _INVISIBLE_IN_TEXT}[dirty]
    if dirty == "_nd":
        s = f"translate({s}, {quote_text(_FULL_WIDTH)}, {quote_text(_HALF_WIDTH)})"
    elif dirty == "_kd":
        s = f"translate({s}, {quote_text(''.join(_KEY_FOLD))}, {quote_text(''.join(_KEY_FOLD.values()))})"
    return f"trim(regexp_replace({s}, {quote_text(invisible)}, '', 'g'), {quote_text(EDGES)})"


def clean_cells(plans: Sequence[FieldPlan]) -> tuple[list[str], list[str]]:
    """The texts of the fields without what nobody sees, in two layers: the cells of each kind cleaned as a list, in
    rows whose flag is set; then ``_k<i>``. As a list, for a pattern is held once for every place where it stands."""
    lists, cells = [], []
    for flag in dirty_flags(plans):
        indices = [p.index for p in plans if p.dirty == flag]
        listed = ", ".join(f"_s{i}" for i in indices)
        lists.append(f"CASE WHEN {flag} THEN list_transform([{listed}], lambda x: {_clean('x', flag)}) END AS {flag}l")
        cells += [f"CASE WHEN {flag} THEN {flag}l[{n}] ELSE _s{i} END AS _k{i}" for n, i in enumerate(indices, 1)]
    return lists, cells


def find_garbled(plans: Sequence[FieldPlan]) -> tuple[str, list[str]]:
    """Whether texts are garbled, in two layers as ``clean_cells``: a list in rows that may hold a damaged cell; then
    ``_g<i>``."""
    indices = [p.index for p in plans if p.damaged and p.spec.type == "string"]
    if not indices:
        return "NULL AS _gl", []
    listed = ", ".join(f"_s{i}" for i in indices)
    found = f"list_transform([{listed}], lambda x: {damage.is_garbled('x')})"
    return f"CASE WHEN _od THEN {found} END AS _gl", [f"_gl[{n}] AS _g{i}" for n, i in enumerate(indices, 1)]


def normalise_text(i: int, damaged: bool, spec: FieldSpec) -> str:
    text = f"CASE WHEN _d{i} > 0 THEN NULL ELSE nullif(_k{i}, '') END" if damaged else f"nullif(_k{i}, '')"
    if spec.null_tokens:
        return f"CASE WHEN {text} IN ({quote_texts(spec.null_tokens)}) THEN NULL ELSE {text} END"
    return text


def quote_texts(values: Sequence[str]) -> str:
    return ", ".join(quote_text(v) for v in values)
