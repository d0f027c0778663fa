"""公民身份号码, GB 11643-1999, judged column by column against dated divisions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from guiji.codes import load_divisions
from guiji.identifier_bytes import MALFORMED, Bools, Bytes, Cleaned, Ints, judge_texts, to_strings
from guiji.identifier_checks import (
    CITIZEN_CHECK,
    CITIZEN_WEIGHTS,
    VERDICT,
    Checked,
    division_table_version,
    make_checked,
    mark,
    read_number,
)
from guiji.identifier_reasons import NUMBER, SUSPICIOUS, WRONG

NEVER_ENDS = 99999999
#: from then on numbers are given when a birth is registered (国发〔1999〕15号)
NUMBERS_AT_BIRTH = 19991001
#: the first numbers were given in 1984
FIRST_NUMBERS = 19840101
OLDEST_AGE = 130

_X = ord("X") - ord("0")
#: the check digit by the weighted sum, which stays below 26,000 even for bytes that are no digits
_EXPECTED = np.frombuffer(CITIZEN_CHECK, np.uint8)[np.arange(26000) % 11] - np.uint8(48)


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
        reason = np.where(
            (lengths == 18) | (lengths == 15) | cleaned.foreign, NUMBER["characters"], NUMBER["length"]
        ).astype(np.uint8)
        fifteen = np.flatnonzero((lengths == 15) & ~cleaned.foreign)
        matrix = cleaned.texts.take(fifteen).matrix(15)
        digits = (matrix >= 48) & (matrix <= 57)
        letters = (matrix[:, :3] >= 65) & (matrix[:, :3] <= 90)
        reason[fifteen[letters.all(axis=1) & digits[:, 3:].all(axis=1)]] = NUMBER["foreign_former"]
        numbers = digits.all(axis=1)
        fifteen, upgraded = fifteen[numbers], upgrade_fifteen(matrix[numbers])
        judged = judge(upgraded, rows[fifteen])
        judged[(upgraded[:, 14] == 57) & (upgraded[:, 15] == 57) & (upgraded[:, 16] >= 54)] = NUMBER["century_unknown"]
        reason[fifteen] = judged
        keep = (VERDICT[judged] != WRONG) & (judged != NUMBER["century_unknown"])
        return reason, (fifteen[keep], upgraded[keep])

    return make_checked(judge_texts(values, 18, judge, judge_other))


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
    month_day = read_number(d[10:14])
    year = read_number(d[6:10])
    leap = ((year % 4 == 0) & (year % 100 != 0)) | (year % 400 == 0)
    real = _calendar()[month_day + leap * 10000] & (year > 0)
    birth = year * 10000 + month_day
    division = _citizen_divisions()
    rank = division.rank[read_number(d[:6])]
    early = birth < NUMBERS_AT_BIRTH
    reason = np.where(early, division.reason_early[rank], division.reason_late[rank])
    dated = ~early & (reason == 0)
    mark(reason, NUMBER["division_began_after_birth"], dated & (division.valid_from[rank] > birth))
    mark(reason, NUMBER["division_abolished_before_birth"], dated & (division.valid_to[rank] < birth))
    # a later line wins: from the mildest suspicion to certain errors
    doubt = VERDICT[reason] != SUSPICIOUS
    mark(reason, NUMBER["age"], doubt & (birth <= now - (OLDEST_AGE + 1) * 10000))
    foreign = d[0] == 9
    if sexes is not None:
        mark(reason, NUMBER["sex_disagrees"], doubt & ~foreign & (sexes != 0) & ((d[16] & 1) != (sexes & 1)))
    if births is not None:
        mark(reason, NUMBER["birth_disagrees"], doubt & (births > 0) & (births != birth))
    mark(reason, NUMBER["future_birth"], birth > now)
    mark(reason, NUMBER["impossible_date"], ~real)
    mark(reason, NUMBER["foreign_layout"], foreign & (~real | (birth > now)))
    wrong_check = d[17] != _EXPECTED[total]
    mark(reason, NUMBER["check_digit"], wrong_check & (real | foreign))
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
    return _build_divisions(division_table_version())


@lru_cache(maxsize=2)
def _build_divisions(version: int) -> _Divisions:
    known = [d for d in load_divisions().values() if d.code != "100000"]
    rank = np.zeros(1_000_000, np.uint16)
    rank[900_000:] = 1  # foreigners: no division
    rank[710_000:720_000] = 2  # no county codes were ever published for these
    rank[810_000:840_000] = 2
    rows: list[tuple[int, int, int, int]] = [
        (0, NEVER_ENDS, NUMBER["division_unknown"], NUMBER["division_unknown"]),
        (0, NEVER_ENDS, 0, 0),
        (0, NEVER_ENDS, NUMBER["division_undated"], NUMBER["division_undated"]),
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
    early = (
        0 if end >= FIRST_NUMBERS else NUMBER["division_abolished_before_1984"] if end else NUMBER["division_undated"]
    )
    late = 0 if start and end else NUMBER["division_undated"]
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
    return np.asarray(np.array([1, 1, 2, 2, 0], np.uint8)[index], np.uint8)
