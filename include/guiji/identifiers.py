"""Identifiers judged column by column: citizen id, credit code, registration number, division.

Three verdicts besides "in order": **wrong** (certainly an error), **suspicious** (accepted, reported) and **cannot
judge**. Accusing a department of an error it did not make is the worst defect this module can have: what isn't
certain is never wrong. Divisions are dated (``quality/codes/division.csv``); an abolished code is no error.

GB 11643-1999 (citizen id), GB 32100-2015 with GB 11714-1997 (credit code), GS 15-2006 with GB/T 17710
(registration number), GB/T 2260 (division).
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa

from guiji.codes import load_divisions
from guiji.identifier_bytes import MALFORMED, Bytes, Cleaned, Ints, judge_texts
from guiji.identifier_checks import (
    Checked,
    citizen_check_digit,
    credit_check_digit,
    known_divisions,
    make_checked,
    organisation_check_digit,
    read_number,
    registration_check_digit,
)
from guiji.identifier_citizen import check_citizen_id
from guiji.identifier_reasons import NUMBER, explain
from guiji.identifier_units import check_credit_code, check_registration_number

__all__ = [
    "VERSION",
    "Checked",
    "check_citizen_id",
    "check_credit_code",
    "check_division",
    "check_registration_number",
    "citizen_check_digit",
    "credit_check_digit",
    "explain",
    "organisation_check_digit",
    "registration_check_digit",
]

#: counts in the fingerprint of the rules: raise it when a verdict changes, and every row is judged again
VERSION = "1"


def check_division(values: pa.Array | pa.ChunkedArray, *, today: date) -> Checked:
    """行政区划代码, GB/T 2260 (6 digits), or a statistical code of 9 or 12 digits whose first six are one.

    A province that doesn't exist is wrong; an unlisted county is suspicious, and so is one abolished by ``today``.
    """
    divisions = load_divisions()
    known = known_divisions()
    now = today.isoformat()
    provinces = np.zeros(100, bool)
    provinces[[int(code[:2]) for code in divisions]] = True
    abolished = np.zeros(1_000_000, bool)
    abolished[[int(d.code) for d in divisions.values() if d.status == "abolished" and d.valid_to < now]] = True

    def judge(matrix: Bytes, rows: Ints) -> Bytes:
        d = np.ascontiguousarray(matrix.T) - np.uint8(48)
        sound = d.max(axis=0) <= 9
        code = read_number(np.where(sound, d[:6], 0))
        reason = np.zeros(len(matrix), np.uint8)
        reason[abolished[code]] = NUMBER["division_abolished"]
        reason[~known[code]] = NUMBER["division_unknown"]
        reason[~provinces[code // 10000]] = NUMBER["province_unknown"]
        reason[~sound] = MALFORMED
        return reason

    def judge_other(cleaned: Cleaned, rows: Ints) -> tuple[Bytes, None]:
        lengths = cleaned.texts.lengths
        reason = np.full(len(lengths), NUMBER["length"], np.uint8)
        for width in (6, 9, 12):
            at = np.flatnonzero(lengths == width)
            judged = judge(cleaned.texts.take(at).matrix(width), rows[at])
            judged[judged == MALFORMED] = NUMBER["characters"]
            reason[at] = judged
        reason[cleaned.foreign] = NUMBER["characters"]
        return reason, None

    return make_checked(judge_texts(values, 6, judge, judge_other))
