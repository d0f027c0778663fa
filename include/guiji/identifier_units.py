"""统一社会信用代码 (GB 32100-2015) and 注册号 (GS 15-2006), judged column by column."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from guiji.identifier_bytes import MALFORMED, Bytes, Cleaned, Ints, judge_texts, read_texts, to_strings
from guiji.identifier_checks import (
    BODY_CHECK,
    BODY_WEIGHTS,
    CREDIT_ALPHABET,
    CREDIT_WEIGHTS,
    NEXT_PRODUCT,
    Checked,
    known_divisions,
    make_checked,
    mark,
    read_number,
)
from guiji.identifier_reasons import NUMBER

#: authority -> types that the standard lists; None: types are not known well enough to doubt one
AUTHORITY_TYPES: dict[str, str | None] = {"1": "1239", "5": "1239", "9": "123", "Y": "1"} | dict.fromkeys("234678AN")

#: byte -> its value in the code, 255 where it may not stand there
_VALUE = bytes(CREDIT_ALPHABET.index(b) if b in CREDIT_ALPHABET else 255 for b in range(256))


#: by the weighted sum of the body: the ninth character; and of the whole code: whether the check is off. A remainder for
#: each row costs thrice as much as looking it up
_EXPECTED_BODY = BODY_CHECK[np.arange(36 * int(BODY_WEIGHTS.sum())) % 11]
_OFF = np.arange(31 * (1 + int(CREDIT_WEIGHTS.sum()))) % 31 != 0


def check_credit_code(values: pa.Array | pa.ChunkedArray, *, today: date | None = None) -> Checked:
    """统一社会信用代码, GB 32100-2015: alphabet, check, body (GB 11714), authority and type, division.

    Authorities added after the standard (A 军队, N 农村集体经济组织 …) are in order; an unlisted one, an unlisted type
    and an unlisted division (development zones have codes of their own) are suspicious at most.
    """
    known = known_divisions()
    pairs = _authority_pairs()

    def judge(matrix: Bytes, rows: Ints) -> Bytes:
        columns = matrix.T.tobytes()
        letters = np.frombuffer(columns, np.uint8).reshape(matrix.shape[::-1])
        values_of = np.frombuffer(columns.translate(_VALUE), np.uint8).reshape(letters.shape)
        military = letters[0] == ord("A")
        sound = (values_of.max(axis=0) < 255) & ((values_of[2:8].max(axis=0) <= 9) | military)
        if not sound.all():
            mixed = np.full(len(matrix), MALFORMED, np.uint8)
            part = np.flatnonzero(sound)
            mixed[part] = judge(matrix[part], rows[part])
            return mixed
        total = values_of[17].astype(np.uint16)
        for column, weight in enumerate(CREDIT_WEIGHTS):
            total += values_of[column] * weight
        # letters count from A = 10 without gaps there (GB 11714), unlike in the code itself
        body_values = letters[8:16] - np.uint8(48) - np.uint8(7) * (letters[8:16] > ord("9"))
        body = np.zeros(len(matrix), np.uint16)
        for column, weight in enumerate(BODY_WEIGHTS):
            body += body_values[column] * weight
        reason: Bytes = pairs.take(values_of[0] * np.uint16(31) + values_of[1])
        division = np.minimum(read_number(values_of[2:8]), 999_999)  # more only where letters stand there (A)
        mark(reason, NUMBER["division_unknown"], (reason == 0) & ~military & ~known.take(division))
        mark(reason, NUMBER["body_check_digit"], letters[16] != _EXPECTED_BODY.take(body))
        mark(reason, NUMBER["check_digit"], _OFF.take(total))
        same = np.flatnonzero((letters[0] == letters[1]) & (letters[1] == letters[17]))
        reason[same[(letters[:, same] == letters[0, same]).all(axis=0)]] = NUMBER["placeholder"]
        return reason

    def judge_other(cleaned: Cleaned, rows: Ints) -> tuple[Bytes, None]:
        form = (cleaned.texts.lengths == 18) | cleaned.foreign
        return np.where(form, NUMBER["characters"], NUMBER["length"]).astype(np.uint8), None

    return make_checked(judge_texts(values, 18, judge, judge_other))


@lru_cache(maxsize=1)
def _authority_pairs() -> Bytes:
    """Reason per authority and type: 31 times the value of one in the alphabet plus that of the other."""
    pairs = np.full((31, 31), NUMBER["authority_unknown"], np.uint8)
    for authority, types in AUTHORITY_TYPES.items():
        row = pairs[CREDIT_ALPHABET.index(authority.encode())]
        row[:] = 0 if types is None else NUMBER["type_unknown"]
        for type_ in types or "":
            row[CREDIT_ALPHABET.index(type_.encode())] = 0
    return pairs.ravel()


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
    known = known_divisions()
    others = None if credit_code is None else _credit_divisions(credit_code)

    def judge(matrix: Bytes, rows: Ints) -> Bytes:
        d = np.ascontiguousarray(matrix.T) - np.uint8(48)
        sound = d.max(axis=0) <= 9
        reason = np.zeros(len(matrix), np.uint8)
        division = read_number(np.where(sound, d[:6], 0))
        mark(reason, NUMBER["division_unknown"], ~known.take(division))
        if others is not None:
            theirs = others[rows]
            mark(reason, NUMBER["division_disagrees"], (theirs >= 0) & (theirs != division))
        product = np.full(len(matrix), 10, np.uint8)
        for column in range(14):
            product = NEXT_PRODUCT[product, np.where(sound, d[column], 0)]
        mark(reason, NUMBER["check_digit"], (product % 10 + d[14] % 10) % 10 != 1)
        mark(reason, NUMBER["placeholder"], (matrix == matrix[:, :1]).all(axis=1))
        reason[~sound] = MALFORMED
        return reason

    def judge_other(cleaned: Cleaned, rows: Ints) -> tuple[Bytes, None]:
        lengths = cleaned.texts.lengths
        reason = np.where(lengths == 15, NUMBER["characters"], NUMBER["length"]).astype(np.uint8)
        for width, code in ((13, "former_number"), (18, "credit_code_instead")):
            at = np.flatnonzero(lengths == width)
            matrix = cleaned.texts.take(at).matrix(width)
            plain = (matrix[:, :8] >= 48).all(axis=1) & (matrix[:, :13] <= (57 if width == 13 else 90)).all(axis=1)
            reason[at[plain]] = NUMBER[code]
        reason[cleaned.foreign] = NUMBER["former_number"]
        return reason, None

    return make_checked(judge_texts(values, 15, judge, judge_other))


def _credit_divisions(credit_code: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int32]:
    """Characters 3 to 8 of each credit code as a number; -1 where there is no such number."""
    strings = to_strings(credit_code)
    texts = read_texts(strings)
    out = np.full(len(strings), -1, np.int32)
    at = np.flatnonzero((texts.lengths == 18) & strings.is_valid().to_numpy(zero_copy_only=False))
    digits = texts.take(at).matrix(18)[:, 2:8].T - np.uint8(48)
    sound = digits.max(axis=0) <= 9
    out[at[sound]] = read_number(digits[:, sound])
    return out
