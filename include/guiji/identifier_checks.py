"""The answer of an identifier check, known divisions, and the check digits one at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from guiji.codes import CODES_DIRECTORY, load_divisions
from guiji.identifier_bytes import (
    MEND_CASE,
    MEND_NONE,
    MEND_SPACE,
    MEND_UPGRADE,
    MEND_WIDTH,
    Bools,
    Bytes,
    Judged,
)
from guiji.identifier_reasons import NUMBER, REASONS

CITIZEN_WEIGHTS = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2], np.uint16)
CITIZEN_CHECK = b"10X98765432"
CREDIT_ALPHABET = b"0123456789ABCDEFGHJKLMNPQRTUWXY"
CREDIT_WEIGHTS = np.array([1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28], np.uint16)
BODY_WEIGHTS = np.array([3, 7, 9, 10, 5, 8, 4, 2], np.uint16)
#: the 9th character of an organisation code, by the sum of the others mod 11
BODY_CHECK = np.frombuffer(b"0X987654321", np.uint8)
#: ISO 7064 MOD 11,10: [product, digit] -> next product
NEXT_PRODUCT = np.array([[(((p + d) % 10 or 10) * 2) % 11 for d in range(10)] for p in range(11)], np.uint8)

VERDICT = np.array([r.verdict for r in REASONS], np.int8)
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


_REASON_CODES = pa.array([r.code for r in REASONS])


def make_checked(judged: Judged) -> Checked:
    mend = _MEND_REASON.take(judged.mend)  # take: a third of the time of [] with an index of bytes
    reason = np.where(judged.reason == 0, mend, judged.reason)
    return Checked(
        normalised=judged.normalised,
        verdict=pa.array(VERDICT.take(reason), mask=judged.null if judged.null.any() else None),
        reason=_words(reason, judged.null),
        mend=_words(mend, judged.null),
    )


def _words(numbers: Bytes, null: Bools) -> pa.Array:
    """The codes of these reasons, null for none."""
    valid = np.packbits((numbers != 0) & ~null, bitorder="little")
    indices = pa.Array.from_buffers(pa.int8(), len(numbers), [pa.py_buffer(valid), pa.py_buffer(numbers)])
    return pa.DictionaryArray.from_arrays(indices, _REASON_CODES)


def citizen_check_digit(body: str) -> str:
    """The 18th character of a citizen id's first 17."""
    return chr(CITIZEN_CHECK[_sum(body, CITIZEN_WEIGHTS) % 11])


def credit_check_digit(body: str) -> str:
    """The 18th character of a credit code's first 17."""
    return chr(CREDIT_ALPHABET[-_sum(body, CREDIT_WEIGHTS, CREDIT_ALPHABET) % 31])


def organisation_check_digit(body: str) -> str:
    """The 9th character of an organisation code's first 8 (GB 11714)."""
    return chr(BODY_CHECK[_sum(body, BODY_WEIGHTS, b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") % 11])


def registration_check_digit(body: str) -> str:
    """The 15th digit of a registration number's first 14 (GB/T 17710, mod 11,10)."""
    product = 10
    for digit in body:
        product = int(NEXT_PRODUCT[product, int(digit)])
    return str((11 - product) % 10)


def _sum(body: str, weights: npt.NDArray[Any], alphabet: bytes = b"0123456789") -> int:
    if len(body) != len(weights):
        raise ValueError(f"needs {len(weights)} characters and got {len(body)}")
    return sum(alphabet.index(c.encode()) * int(w) for c, w in zip(body, weights, strict=True))


def mark(reason: Bytes, number: int, rows: Bools) -> None:
    """Gives the rows this reason, in the place of what they had."""
    np.copyto(reason, np.uint8(number), where=rows)


def read_number(digits: Bytes) -> npt.NDArray[np.int32]:
    """The number that columns of digits spell."""
    total = digits[0].astype(np.int32)
    for column in digits[1:]:
        total *= 10
        total += column
    return np.asarray(total, np.int32)


def division_table_version() -> int:
    """Changes when the division table does."""
    return (CODES_DIRECTORY / "division.csv").stat().st_mtime_ns


def known_divisions() -> Bools:
    """True for every code that is or was in the division table."""
    return _build_known(division_table_version())


@lru_cache(maxsize=2)
def _build_known(version: int) -> Bools:
    known = np.zeros(1_000_000, bool)
    known[[int(code) for code in load_divisions()]] = True
    return known
