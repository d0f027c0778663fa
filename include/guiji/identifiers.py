"""Identifiers judged column by column: citizen id, credit code, registration number, division.

Three verdicts besides "in order": **wrong** (certainly an error), **suspicious** (accepted, reported) and **cannot
judge**. Accusing a department of an error it did not make is the worst defect this module can have: what isn't
certain is never wrong. Divisions are dated (``quality/codes/division.csv``); an abolished code is no error.

GB 11643-1999 (citizen id), GB 32100-2015 with GB 11714-1997 (credit code), GS 15-2006 with GB/T 17710
(registration number), GB/T 2260 (division).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from guiji.codes import CODES_DIRECTORY, load_divisions
from guiji.identifier_bytes import (
    MALFORMED,
    MEND_CASE,
    MEND_NONE,
    MEND_SPACE,
    MEND_UPGRADE,
    MEND_WIDTH,
    Bools,
    Bytes,
    Cleaned,
    Ints,
    Judged,
    judge_texts,
    read_texts,
    to_strings,
)
from guiji.identifier_reasons import NUMBER, REASONS, UNJUDGED, WRONG, explain

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

CITIZEN_WEIGHTS = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2], np.uint16)
CITIZEN_CHECK = b"10X98765432"
CREDIT_ALPHABET = b"0123456789ABCDEFGHJKLMNPQRTUWXY"
CREDIT_WEIGHTS = np.array([1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28], np.uint16)
BODY_WEIGHTS = np.array([3, 7, 9, 10, 5, 8, 4, 2], np.uint16)
#: authority -> types that the standard lists; None: types are not known well enough to doubt one
AUTHORITY_TYPES: dict[str, str | None] = {"1": "1239", "5": "1239", "9": "123", "Y": "1"} | dict.fromkeys("234678AN")

NEVER_ENDS = 99999999
#: from then on numbers are given when a birth is registered (国发〔1999〕15号)
NUMBERS_AT_BIRTH = 19991001
#: the first numbers were given in 1984
FIRST_NUMBERS = 19840101
OLDEST_AGE = 130

_X = ord("X") - ord("0")
_R = NUMBER
_BIG = 26000
_CITIZEN_EXPECTED = np.frombuffer(CITIZEN_CHECK, np.uint8)[np.arange(_BIG) % 11] - np.uint8(48)
_VALUE = np.full(256, 255, np.uint8)
_VALUE[np.frombuffer(CREDIT_ALPHABET, np.uint8)] = np.arange(31, dtype=np.uint8)
_BODY_VALUE = np.zeros(256, np.uint8)
_BODY_VALUE[48:58] = np.arange(10)
_BODY_VALUE[65:91] = np.arange(10, 36)
_BODY_EXPECTED = np.frombuffer(b"0X987654321", np.uint8)  # by sum mod 11
_VERDICT = np.array([r.verdict for r in REASONS], np.int8)
_MEND_REASON = np.zeros(5, np.uint8)
_MEND_REASON[[MEND_NONE, MEND_SPACE, MEND_CASE, MEND_WIDTH, MEND_UPGRADE]] = [
    NUMBER[code] for code in ("", "mended_space", "mended_case", "mended_width", "upgraded_15")
]


@dataclass(frozen=True)
class Checked:
    """One answer per row; null in, null out.

    ``normalised``: the text to keep (mended where possible). ``verdict``: 0 in order, 1 wrong, 2 suspicious,
    3 cannot judge. ``reason``: code of ``identifier_reasons``, null where there is nothing to say; of a row that is
    in order it is the mend. ``mend``: what was mended, also in rows that are wrong all the same.
    """

    normalised: pa.Array
    verdict: pa.Array
    reason: pa.Array
    mend: pa.Array

    def count(self) -> dict[str, int]:
        """Rows per reason."""
        counted = Counter(self.reason.to_pylist())
        return {str(reason): n for reason, n in sorted(counted.items(), key=str) if reason is not None}


# --- citizen id --------------------------------------------------------------------------------------


def check_citizen_id(
    values: pa.Array | pa.ChunkedArray,
    birth: pa.Array | pa.ChunkedArray | None = None,
    sex: pa.Array | pa.ChunkedArray | None = None,
    *,
    today: date,
) -> Checked:
    """公民身份号码, GB 11643-1999, with residence permits (81/82/83), foreigners (9…) and 15-digit predecessors.

    ``birth`` (date, timestamp, or text in ISO form or eight digits) and ``sex`` (GB/T 2261.1 code, or 男/女) are the
    row's own columns; a disagreement makes the row suspicious. A 15-digit number comes back upgraded to 18.
    """
    births = _birth_numbers(birth)
    sexes = _sex_numbers(sex)
    now = today.year * 10000 + today.month * 100 + today.day

    def judge(matrix: Bytes, rows: Ints) -> Bytes:
        return _judge_citizen(
            matrix, None if births is None else births[rows], None if sexes is None else sexes[rows], now
        )

    def judge_other(cleaned: Cleaned, rows: Ints) -> tuple[Bytes, tuple[Ints, Bytes] | None]:
        lengths = cleaned.texts.lengths
        reason = np.where((lengths == 18) | (lengths == 15) | cleaned.foreign, _R["characters"], _R["length"]).astype(
            np.uint8
        )
        fifteen = np.flatnonzero((lengths == 15) & ~cleaned.foreign)
        matrix = cleaned.texts.take(fifteen).matrix(15)
        digits = (matrix >= 48) & (matrix <= 57)
        letters = (matrix[:, :3] >= 65) & (matrix[:, :3] <= 90)
        reason[fifteen[letters.all(axis=1) & digits[:, 3:].all(axis=1)]] = _R["foreign_former"]
        numbers = digits.all(axis=1)
        fifteen, upgraded = fifteen[numbers], upgrade_fifteen(matrix[numbers])
        judged = judge(upgraded, rows[fifteen])
        judged[(upgraded[:, 14] == 57) & (upgraded[:, 15] == 57) & (upgraded[:, 16] >= 54)] = _R["century_unknown"]
        reason[fifteen] = judged
        keep = (_VERDICT[judged] != WRONG) & (judged != _R["century_unknown"])
        return reason, (fifteen[keep], upgraded[keep])

    return _answer(judge_texts(values, 18, judge, judge_other))


def upgrade_fifteen(matrix: Bytes) -> Bytes:
    """15-digit numbers (bytes) as 18-digit ones: century 19 and the check digit."""
    out = np.empty((len(matrix), 18), np.uint8)
    out[:, :6] = matrix[:, :6]
    out[:, 6], out[:, 7] = 49, 57
    out[:, 8:17] = matrix[:, 6:]
    total = (out[:, :17] - 48).astype(np.uint16) @ CITIZEN_WEIGHTS
    out[:, 17] = np.frombuffer(CITIZEN_CHECK, np.uint8)[total % 11]
    return out


def _judge_citizen(matrix: Bytes, births: npt.NDArray[np.int32] | None, sexes: Bytes | None, now: int) -> Bytes:
    """Reason per row of 18 bytes; MALFORMED where a byte isn't a digit (or an X at the end)."""
    d = np.ascontiguousarray(matrix.T) - np.uint8(48)
    sound = (d[:17].max(axis=0) <= 9) & ((d[17] <= 9) | (d[17] == _X))
    reason = np.full(len(matrix), MALFORMED, np.uint8)
    if not sound.all():
        part = np.flatnonzero(sound)
        reason[part] = _judge_citizen(
            matrix[part], None if births is None else births[part], None if sexes is None else sexes[part], now
        )
        return reason
    total = np.zeros(len(matrix), np.uint16)
    for column, weight in enumerate(CITIZEN_WEIGHTS):
        total += d[column] * weight
    month_day = _number(d[10:14])
    year = _number(d[6:10])
    leap = ((year % 4 == 0) & (year % 100 != 0)) | (year % 400 == 0)
    real = _calendar()[month_day + leap * 10000] & (year > 0)
    birth = year * 10000 + month_day
    division = _citizen_divisions()
    rank = division.rank[_number(d[:6])]
    early = birth < NUMBERS_AT_BIRTH
    reason = np.where(early, division.reason_early[rank], division.reason_late[rank])
    dated = ~early & (reason == 0)
    reason[dated & (division.valid_from[rank] > birth)] = _R["division_began_after_birth"]
    reason[dated & (division.valid_to[rank] < birth)] = _R["division_abolished_before_birth"]
    # a later line wins: from the mildest suspicion to certain errors
    doubt = _VERDICT[reason] != 2
    reason[doubt & (birth <= now - (OLDEST_AGE + 1) * 10000)] = _R["age"]
    foreign = d[0] == 9
    if sexes is not None:
        reason[doubt & ~foreign & (sexes != 0) & ((d[16] & 1) != (sexes & 1))] = _R["sex_disagrees"]
    if births is not None:
        reason[doubt & (births > 0) & (births != birth)] = _R["birth_disagrees"]
    reason[birth > now] = _R["future_birth"]
    reason[~real] = _R["impossible_date"]
    reason[foreign & (~real | (birth > now))] = _R["foreign_layout"]
    wrong_check = d[17] != _CITIZEN_EXPECTED[total]
    reason[wrong_check & (real | foreign)] = _R["check_digit"]
    return reason


@dataclass(frozen=True)
class _Divisions:
    """Dated divisions as arrays: ``rank[code]`` leads to the others; rank 0 is a code that never existed."""

    rank: npt.NDArray[np.uint16]
    valid_from: npt.NDArray[np.int32]
    valid_to: npt.NDArray[np.int32]
    #: reason of people born before October 1999, any division in force at some time from 1984 on being fine
    reason_early: Bytes
    #: reason of people born later, where the birth doesn't matter
    reason_late: Bytes


def _citizen_divisions() -> _Divisions:
    return _build_divisions(_table_version())


def _table_version() -> int:
    """Changes when the division table does."""
    return (CODES_DIRECTORY / "division.csv").stat().st_mtime_ns


@lru_cache(maxsize=2)
def _build_divisions(version: int) -> _Divisions:
    known = [d for d in load_divisions().values() if d.code != "100000"]
    rank = np.zeros(1_000_000, np.uint16)
    rank[900_000:] = 1  # foreigners: no division
    rank[710_000:720_000] = 2  # no county codes were ever published for these
    rank[810_000:840_000] = 2
    rows: list[tuple[int, int, int, int]] = [
        (0, NEVER_ENDS, _R["division_unknown"], _R["division_unknown"]),
        (0, NEVER_ENDS, 0, 0),
        (0, NEVER_ENDS, _R["division_undated"], _R["division_undated"]),
    ]
    for division in known:
        rank[int(division.code)] = len(rows)
        rows.append(_date_division(division.code, division.valid_from, division.valid_to, division.status))
    table = np.array(rows, np.int32)
    return _Divisions(rank, table[:, 0], table[:, 1], table[:, 2].astype(np.uint8), table[:, 3].astype(np.uint8))


def _date_division(code: str, valid_from: str, valid_to: str, status: str) -> tuple[int, int, int, int]:
    if code in ("810000", "820000", "830000"):  # residence permits, whatever the holder's age
        return 0, NEVER_ENDS, 0, 0
    start = int(valid_from.replace("-", "")) if valid_from else 0
    end = int(valid_to.replace("-", "")) if valid_to else (NEVER_ENDS if status == "current" else 0)
    early = 0 if end >= FIRST_NUMBERS else _R["division_abolished_before_1984"] if end else _R["division_undated"]
    late = 0 if start and end else _R["division_undated"]
    return start, end or NEVER_ENDS, early, late


@lru_cache(maxsize=1)
def _calendar() -> Bools:
    """True for every MMDD that is a day; 10000 further on for leap years."""
    days = np.zeros(20000, bool)
    for month, length in enumerate((31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), 1):
        for leap in (0, 1):
            first = leap * 10000 + month * 100 + 1
            days[first : first + length + (leap and month == 2)] = True
    return days


def _number(digits: Bytes) -> npt.NDArray[np.int32]:
    """The number that columns of digits spell."""
    total = digits[0].astype(np.int32)
    for column in digits[1:]:
        total *= 10
        total += column
    return total


def _birth_numbers(birth: pa.Array | pa.ChunkedArray | None) -> npt.NDArray[np.int32] | None:
    """YYYYMMDD per row, 0 where there is none or it can't be read."""
    if birth is None:
        return None
    if isinstance(birth, pa.ChunkedArray):
        birth = birth.combine_chunks()
    if not pa.types.is_temporal(birth.type):
        compact = pc.replace_substring(pc.utf8_trim_whitespace(birth.cast(pa.string())), "-", "")
        plain = pc.fill_null(pc.match_substring_regex(compact, r"^[0-9]{8}$"), False)
        return np.asarray(pc.if_else(plain, compact, "0").cast(pa.int32()), dtype=np.int32)
    if pa.types.is_timestamp(birth.type) and birth.type.tz:
        birth = pc.local_timestamp(pc.cast(birth, pa.timestamp("us", "Asia/Shanghai")))
    days = birth.cast(pa.date32(), safe=False).view(pa.int32()).fill_null(np.iinfo(np.int32).min).to_numpy()
    given = days != np.iinfo(np.int32).min
    dates = np.where(given, days, 0).astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    month_number = months.astype(np.int64)
    year, month = 1970 + month_number // 12, month_number % 12 + 1
    day = (dates - months).astype(np.int64) + 1
    return np.where(given, year * 10000 + month * 100 + day, 0).astype(np.int32)


def _sex_numbers(sex: pa.Array | pa.ChunkedArray | None) -> Bytes | None:
    """1 male, 2 female, 0 for anything else (which is not for this check to judge)."""
    if sex is None:
        return None
    texts = to_strings(sex)
    found = pc.index_in(texts, value_set=pa.array(["1", "男", "2", "女"]))
    index = found.fill_null(4).to_numpy()
    return np.array([1, 1, 2, 2, 0], np.uint8)[index]


# --- credit code -------------------------------------------------------------------------------------


def check_credit_code(values: pa.Array | pa.ChunkedArray, *, today: date | None = None) -> Checked:
    """统一社会信用代码, GB 32100-2015: alphabet, check, body (GB 11714), authority and type, division.

    Authorities added after the standard (A 军队, N 农村集体经济组织 …) are in order; an unlisted one, an unlisted type
    and an unlisted division (development zones have codes of their own) are suspicious at most.
    """
    known = _known_divisions()
    pairs = _authority_pairs()

    def judge(matrix: Bytes, rows: Ints) -> Bytes:
        values_of = _VALUE[np.ascontiguousarray(matrix.T)]
        reason = np.full(len(matrix), MALFORMED, np.uint8)
        military = matrix[:, 0] == ord("A")
        sound = (values_of.max(axis=0) < 255) & ((values_of[2:8].max(axis=0) <= 9) | military)
        if not sound.all():
            part = np.flatnonzero(sound)
            reason[part] = judge(matrix[part], rows[part])
            return reason
        total = np.zeros(len(matrix), np.uint16)
        for column, weight in enumerate(CREDIT_WEIGHTS):
            total += values_of[column] * weight
        body = np.zeros(len(matrix), np.uint16)
        for column, weight in enumerate(BODY_WEIGHTS):
            body += _BODY_VALUE[matrix[:, 8 + column]] * weight
        reason = np.zeros(len(matrix), np.uint8)
        division = np.where(military, 0, _number(values_of[2:8]) % 1_000_000)
        reason[~known[division] & ~military] = _R["division_unknown"]
        pair = pairs[values_of[0], values_of[1]]
        reason[pair != 0] = pair[pair != 0]
        reason[matrix[:, 16] != _BODY_EXPECTED[body % 11]] = _R["body_check_digit"]
        reason[(total + values_of[17]) % 31 != 0] = _R["check_digit"]
        reason[(matrix == matrix[:, :1]).all(axis=1)] = _R["placeholder"]
        return reason

    def judge_other(cleaned: Cleaned, rows: Ints) -> tuple[Bytes, None]:
        form = (cleaned.texts.lengths == 18) | cleaned.foreign
        return np.where(form, _R["characters"], _R["length"]).astype(np.uint8), None

    return _answer(judge_texts(values, 18, judge, judge_other))


@lru_cache(maxsize=1)
def _authority_pairs() -> Bytes:
    """Reason per (authority, type), both by their value in the alphabet."""
    pairs = np.full((31, 31), _R["authority_unknown"], np.uint8)
    for authority, types in AUTHORITY_TYPES.items():
        row = pairs[CREDIT_ALPHABET.index(authority.encode())]
        row[:] = 0 if types is None else _R["type_unknown"]
        for type_ in types or "":
            row[CREDIT_ALPHABET.index(type_.encode())] = 0
    return pairs


def _known_divisions() -> Bools:
    """True for every code that is or was in the division table."""
    return _build_known(_table_version())


@lru_cache(maxsize=2)
def _build_known(version: int) -> Bools:
    known = np.zeros(1_000_000, bool)
    known[[int(code) for code in load_divisions()]] = True
    return known


# --- registration number -----------------------------------------------------------------------------


def check_registration_number(
    values: pa.Array | pa.ChunkedArray,
    credit_code: pa.Array | pa.ChunkedArray | None = None,
    *,
    today: date | None = None,
) -> Checked:
    """注册号, GS 15-2006: 15 digits with a mod 11,10 check (GB/T 17710), and agreement with the credit code.

    13 digits and forms with words (企独蒙总字第…号) are older than the rule: cannot judge.
    """
    known = _known_divisions()
    others = None if credit_code is None else _credit_divisions(credit_code)

    def judge(matrix: Bytes, rows: Ints) -> Bytes:
        d = np.ascontiguousarray(matrix.T) - np.uint8(48)
        sound = d.max(axis=0) <= 9
        reason = np.zeros(len(matrix), np.uint8)
        division = _number(np.where(sound, d[:6], 0))
        reason[~known[division]] = _R["division_unknown"]
        if others is not None:
            theirs = others[rows]
            reason[(theirs >= 0) & (theirs != division)] = _R["division_disagrees"]
        product = np.full(len(matrix), 10, np.uint8)
        for column in range(14):
            product = _NEXT_PRODUCT[product, np.where(sound, d[column], 0)]
        reason[(product % 10 + d[14] % 10) % 10 != 1] = _R["check_digit"]
        reason[(matrix == matrix[:, :1]).all(axis=1)] = _R["placeholder"]
        reason[~sound] = MALFORMED
        return reason

    def judge_other(cleaned: Cleaned, rows: Ints) -> tuple[Bytes, None]:
        lengths = cleaned.texts.lengths
        reason = np.where(lengths == 15, _R["characters"], _R["length"]).astype(np.uint8)
        for width, code in ((13, "former_number"), (18, "credit_code_instead")):
            at = np.flatnonzero(lengths == width)
            matrix = cleaned.texts.take(at).matrix(width)
            plain = (matrix[:, :8] >= 48).all(axis=1) & (matrix[:, :13] <= (57 if width == 13 else 90)).all(axis=1)
            reason[at[plain]] = _R[code]
        reason[cleaned.foreign] = _R["former_number"]
        return reason, None

    return _answer(judge_texts(values, 15, judge, judge_other))


_NEXT_PRODUCT = np.array(
    [[(((p + d) % 10 or 10) * 2) % 11 for d in range(10)] for p in range(11)], np.uint8
)  # ISO 7064 MOD 11,10


def _credit_divisions(credit_code: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int32]:
    """Characters 3 to 8 of each credit code as a number; -1 where there is no such number."""
    strings = to_strings(credit_code)
    texts = read_texts(strings)
    out = np.full(len(strings), -1, np.int32)
    at = np.flatnonzero((texts.lengths == 18) & strings.is_valid().to_numpy(zero_copy_only=False))
    digits = texts.take(at).matrix(18)[:, 2:8].T - np.uint8(48)
    sound = digits.max(axis=0) <= 9
    out[at[sound]] = _number(digits[:, sound])
    return out


# --- division ----------------------------------------------------------------------------------------


def check_division(values: pa.Array | pa.ChunkedArray, *, today: date) -> Checked:
    """行政区划代码, GB/T 2260 (6 digits), or a statistical code of 9 or 12 digits whose first six are one.

    A province that doesn't exist is wrong; an unlisted county is suspicious, and so is one abolished by ``today``.
    """
    divisions = load_divisions()
    known = _known_divisions()
    now = today.isoformat()
    provinces = np.zeros(100, bool)
    provinces[[int(code[:2]) for code in divisions]] = True
    abolished = np.zeros(1_000_000, bool)
    abolished[[int(d.code) for d in divisions.values() if d.status == "abolished" and d.valid_to < now]] = True

    def judge(matrix: Bytes, rows: Ints) -> Bytes:
        d = np.ascontiguousarray(matrix.T) - np.uint8(48)
        sound = d.max(axis=0) <= 9
        code = _number(np.where(sound, d[:6], 0))
        reason = np.zeros(len(matrix), np.uint8)
        reason[abolished[code]] = _R["division_abolished"]
        reason[~known[code]] = _R["division_unknown"]
        reason[~provinces[code // 10000]] = _R["province_unknown"]
        reason[~sound] = MALFORMED
        return reason

    def judge_other(cleaned: Cleaned, rows: Ints) -> tuple[Bytes, None]:
        lengths = cleaned.texts.lengths
        reason = np.full(len(lengths), _R["length"], np.uint8)
        for width in (6, 9, 12):
            at = np.flatnonzero(lengths == width)
            judged = judge(cleaned.texts.take(at).matrix(width), rows[at])
            judged[judged == MALFORMED] = _R["characters"]
            reason[at] = judged
        reason[cleaned.foreign] = _R["characters"]
        return reason, None

    return _answer(judge_texts(values, 6, judge, judge_other))


# --- answers and check digits ------------------------------------------------------------------------

_REASON_CODES = pa.array([r.code for r in REASONS])


def _answer(judged: Judged) -> Checked:
    mend = _MEND_REASON[judged.mend]
    reason = np.where(judged.reason == 0, mend, judged.reason)
    return Checked(
        normalised=judged.normalised,
        verdict=pa.array(_VERDICT[reason], mask=judged.null if judged.null.any() else None),
        reason=_words(reason, judged.null),
        mend=_words(mend, judged.null),
    )


def _words(numbers: Bytes, null: Bools) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(numbers.astype(np.int8), mask=(numbers == 0) | null), _REASON_CODES)


def citizen_check_digit(body: str) -> str:
    """The 18th character of a citizen id's first 17."""
    return chr(CITIZEN_CHECK[_sum(body, CITIZEN_WEIGHTS) % 11])


def credit_check_digit(body: str) -> str:
    """The 18th character of a credit code's first 17."""
    return chr(CREDIT_ALPHABET[-_sum(body, CREDIT_WEIGHTS, CREDIT_ALPHABET) % 31])


def organisation_check_digit(body: str) -> str:
    """The 9th character of an organisation code's first 8 (GB 11714)."""
    return chr(_BODY_EXPECTED[_sum(body, BODY_WEIGHTS, b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") % 11])


def registration_check_digit(body: str) -> str:
    """The 15th digit of a registration number's first 14 (GB/T 17710, mod 11,10)."""
    product = 10
    for digit in body:
        product = int(_NEXT_PRODUCT[product, int(digit)])
    return str((11 - product) % 10)


def _sum(body: str, weights: npt.NDArray[Any], alphabet: bytes = b"0123456789") -> int:
    if len(body) != len(weights):
        raise ValueError(f"needs {len(weights)} characters and got {len(body)}")
    return sum(alphabet.index(c.encode()) * int(w) for c, w in zip(body, weights, strict=True))
